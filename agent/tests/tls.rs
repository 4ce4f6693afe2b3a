//! The agent's TLS against real nats-servers with good and bad certificates, and what it says on the console when it believes none.
//! Logins are tried in `login`; images over HTTPS beside the code.
use ironbeat_agent::clock::Wall;
use ironbeat_agent::heart::link::{Link, Servers};
use ironbeat_agent::heart::pass::Pass;
use ironbeat_agent::heart::set_clock::{self, Bounds, Sources};
use ironbeat_agent::init::cmdline;
use ironbeat_agent::random;
use ironbeat_agent::web::trust::{Authority, Trust};
use ironbeat_agent::web::url::Url;
use ironbeat_rack::certificates::{self, Certified, GOOD, OVER};
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A wait that never ends on a working agent; generous, because the machine may be busy.
const FOR_EVER: Duration = Duration::from_secs(120);
/// A day in 2026, and how an HTTP server writes it.
const NOW_SECS: u64 = 1_796_126_400;
const NOW: &str = "Tue, 01 Dec 2026 12:00:00 GMT";

/// A server that takes TLS only and shows this certificate.
fn nats(shown: &Certified) -> NatsServer {
    let dir = tempfile::tempdir().unwrap().keep();
    let [certificate, key] = ["server.pem", "server.key"].map(|name| dir.join(name));
    for (path, pem) in [&certificate, &key].into_iter().zip(shown.pem()) {
        std::fs::write(path, pem).unwrap();
    }
    let (certificate, key) = (certificate.display(), key.display());
    let lines = format!("tls {{\n cert_file: \"{certificate}\"\n key_file: \"{key}\"\n}}\n");
    let server = NatsServer::start_loopback_with(NatsBinary::Floor, &lines).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    server
}

/// By this clock, with this CA.
async fn link(url: String, site: &certificates::Authority, wall: Arc<Wall>) -> Link {
    let trust = Trust::new(wall);
    trust.believe(Authority::from_pem(site.pem().as_bytes()).unwrap());
    let boot = random::boot_id();
    let servers = Servers {
        urls: vec![url],
        boot,
        name: "agent under test".into(),
        reached: Arc::default(),
        tls: Some(trust.of_site()),
    };
    let pass = cmdline::parse("ib.login=hush.hush.hush");
    let pass = Pass::Bearer(pass.login.unwrap());
    Link::start(&servers, pass).await.unwrap()
}

async fn gets_online(link: &Link) {
    tokio::time::timeout(FOR_EVER, link.online())
        .await
        .expect("it is believed");
}

#[tokio::test]
async fn servers_of_the_ca_and_of_their_name_are_believed_and_no_others() {
    let (site, other) = (
        certificates::Authority::new(),
        certificates::Authority::new(),
    );
    let good = nats(&site.certify(&["127.0.0.1"], GOOD));
    gets_online(&link(good.url(), &site, Arc::default()).await).await;
    let by_tls = good.url().replace("nats://", "tls://");
    gets_online(&link(by_tls, &site, Arc::default()).await).await;
    for (shown, wall) in [
        (other.certify(&["127.0.0.1"], GOOD), Wall::default()),
        (site.certify(&["localhost"], GOOD), Wall::default()),
        (site.certify(&["127.0.0.1"], OVER), Wall::default()),
        (
            site.certify(&["127.0.0.1"], GOOD),
            Wall::off_by(-55 * 365 * 86_400),
        ),
        (
            site.certify(&["127.0.0.1"], GOOD),
            Wall::off_by(73 * 365 * 86_400),
        ),
    ] {
        let server = nats(&shown);
        let link = link(server.url(), &site, Arc::new(wall)).await;
        let mut log = server.log();
        let twice = move || {
            // Once more: it stays so.
            (0..2).all(|_| log.wait_for("TLS handshake error", FOR_EVER).is_ok())
        };
        assert!(tokio::task::spawn_blocking(twice).await.unwrap());
        assert!(!link.is_online());
    }
}

/// A middle-man that strips TLS, say. All that was sent to it.
fn stripped(connections: usize) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hear = move || {
        let mut heard = Vec::new();
        for _ in 0..connections {
            let (mut socket, _) = listener.accept().unwrap();
            let greeting = "INFO {\"server_id\":\"NA\",\"version\":\"2.10.0\",\"go\":\"go1\",\"host\":\"127.0.0.1\",\"port\":4222,\
                            \"headers\":true,\"max_payload\":1048576,\"proto\":1,\"client_id\":1,\"nonce\":\"AAAA\"}\r\n";
            socket.write_all(greeting.as_bytes()).unwrap();
            let wait = Some(Duration::from_millis(500));
            socket.set_read_timeout(wait).unwrap();
            let _ = socket.read_to_end(&mut heard);
        }
        heard
    };
    (address, thread::spawn(hear))
}

#[tokio::test]
async fn a_server_without_tls_is_sent_no_word() {
    let site = certificates::Authority::new();
    let (address, heard) = stripped(3);
    let link = link(format!("nats://{address}"), &site, Arc::default()).await;
    let heard = tokio::task::spawn_blocking(|| heard.join().unwrap());
    let heard = tokio::time::timeout(FOR_EVER, heard)
        .await
        .unwrap()
        .unwrap();
    assert!(!link.is_online());
    let text = String::from_utf8_lossy(&heard);
    assert!(
        !text.contains("hush") && !text.contains("CONNECT"),
        "{text}"
    );
    // The first byte of TLS.
    assert_eq!(heard.first(), Some(&0x16), "{text}");
}

/// A worker's HTTP server, as far as the agent needs it before it has a login: the time, and the CA.
fn worker(date: &'static str, ca: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let _ = answer(client, date, &ca);
        }
    });
    address
}

fn answer(client: TcpStream, date: &str, ca: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(&client).lines();
    let path = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match path.contains(" /v1/ca.pem ") {
        true => (200, ca),
        false => (404, ""),
    };
    write!(
        &client,
        "HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_clock_that_stood_still_or_ran_away_stops_nobody() {
    let site = certificates::Authority::new();
    let server = nats(&site.certify(&["127.0.0.1"], [(2026, 11, 30), (2027, 1, 1)]));
    let worker = Url::parse(&format!("http://{}", worker(NOW, String::new()))).unwrap();
    let kernel = i64::try_from(Wall::default().now().as_secs()).unwrap();
    for clock in [0, 4_102_444_799] {
        let wall = Arc::new(Wall::off_by(clock - kernel));
        let sources = Sources {
            ntp: vec![],
            workers: vec![worker.clone()],
        };
        let built = Bounds::from_built(NOW_SECS - 86_400 * 300);
        set_clock::start(&wall, built, sources);
        let waiting = wall.clone();
        tokio::task::spawn_blocking(move || waiting.wait(FOR_EVER))
            .await
            .unwrap();
        gets_online(&link(server.url(), &site, wall).await).await;
    }
}

/// The program, with these words of a boot script.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn start(words: &[String]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_ironbeat-agent"))
            .args(words)
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits until it says all of this.
    fn says(&mut self, wanted: &[&str]) {
        let mut lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let line = lines.next().expect("it goes on").unwrap();
            left.retain(|words| !line.contains(words));
            said += &format!("{line}\n");
        }
        assert!(!said.contains("hush"), "{said}");
    }
}

/// What a boot script says of a site with this CA.
fn script(nats: String, worker: SocketAddr, ca: &str) -> Vec<String> {
    let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(ca));
    vec![
        format!("ib.nats={nats}"),
        format!("ib.http=http://{worker}"),
        format!("ib.ca=sha256:{sha256}"),
        "ib.login=hush.hush.hush".into(),
    ]
}

#[test]
fn an_agent_gets_the_ca_of_its_boot_script_and_goes_by_the_workers_time() {
    let site = certificates::Authority::new();
    // Good in the worker's time alone.
    let days = [(2026, 12, 1), (2026, 12, 2)];
    let server = nats(&site.certify(&["127.0.0.1"], days));
    let ca = site.pem();
    let words = script(server.url(), worker(NOW, ca.clone()), &ca);
    Agent::start(&words).says(&["got the CA of the site", "connected to NATS"]);
}

#[test]
fn an_agent_says_why_it_believes_a_server_not() {
    let (site, other) = (
        certificates::Authority::new(),
        certificates::Authority::new(),
    );
    let shown = site.certify(&["127.0.0.1"], [(2020, 1, 1), (2030, 1, 1)]);
    let server = nats(&shown);
    let ca = site.pem();
    let check = |words: Vec<String>, wanted: &[&str]| Agent::start(&words).says(wanted);
    check(
        script(server.url(), worker(NOW, other.pem()), &other.pem()),
        &["is not of a CA that this ramdisk believes"],
    );
    check(
        script(server.url(), worker(NOW, other.pem()), &ca),
        &[
            "the CA that the boot script names is not to be had",
            "and the boot script says",
        ],
    );
    for (date, said) in [
        (
            "Thu, 01 Jan 1970 00:00:01 GMT",
            "is not valid yet; here it is 1970-01-01",
        ),
        (
            "Thu, 31 Dec 2099 00:00:00 GMT",
            "has ended; here it is 2099-12-31",
        ),
    ] {
        check(script(server.url(), worker(date, ca.clone()), &ca), &[said]);
    }
    let named = nats(&site.certify(&["localhost"], GOOD));
    check(
        script(named.url(), worker(NOW, ca.clone()), &ca),
        &["its certificate is for another name"],
    );
    let plain = NatsServer::start_loopback(NatsBinary::Floor).unwrap();
    check(
        script(plain.url(), worker(NOW, ca.clone()), &ca),
        &[
            "no NATS server is reached",
            "it offers no TLS, and without it nothing is sent",
        ],
    );
    // Public CAs vouch for nobody here.
    let tls = server.url().replace("nats://", "tls://");
    check(
        vec![format!("ib.nats={tls}"), "ib.login=hush.hush.hush".into()],
        &["is not of a CA that this ramdisk believes"],
    );
}
