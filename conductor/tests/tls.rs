//! A site as `ironbeat auth init --tls` makes it, its worker, and an agent that has what a boot script says and nothing else.
//! What the agent makes of bad certificates and clocks is tested with the agent.
mod support;

use ironbeat_agent::heart::machine;
use ironbeat_agent::heart::perform::Authority;
use ironbeat_agent::init::cmdline;
use ironbeat_agent::log::Lines;
use ironbeat_rack::nats::NatsBinary;
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::secrets;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use support::{Site, Worker, mac, until};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

async fn get(worker: &Worker, path: &str) -> String {
    let address = ("127.0.0.1", worker.http.port());
    ask(TcpStream::connect(address).await.unwrap(), path).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// The kernel's command line, as iPXE would fill it in.
fn command_line(script: &str) -> String {
    let line = script.lines().find(|line| line.starts_with("kernel "));
    let words = line.unwrap().split_whitespace();
    let known = words.filter(|word| word.starts_with("ib.") && !word.contains("${"));
    known.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_in_over_tls_with_what_its_boot_script_says() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let worker = site.worker("w1", "");
    let ca = std::fs::read_to_string(site.auth().join("worker/ca.pem")).unwrap();
    let served = get(&worker, "/v1/ca.pem").await;
    assert!(served.ends_with(&format!("\r\n\r\n{ca}")), "{served}");
    let script = get(&worker, &format!("/v1/boot/{}", mac(7))).await;
    let line = command_line(&script);
    assert!(
        line.contains("ib.ca=sha256:") && line.contains("ib.http=http://"),
        "{line}"
    );
    let settings = cmdline::parse(&line);
    assert_eq!(settings.refused, Vec::<String>::new());
    // It runs as long as this test does.
    std::thread::spawn(move || {
        machine::run_as_process(&settings, Lines::default(), Authority::LookOnly)
    });
    until("it has looked up", async || {
        let list = site.ask("lookup.list", json!({})).await.good();
        list.as_array()?.first().map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_a_ca_names_none() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let worker = site.worker("w1", "");
    let served = get(&worker, "/v1/ca.pem").await;
    assert!(served.starts_with("HTTP/1.1 404"), "{served}");
    let script = get(&worker, &format!("/v1/boot/{}", mac(7))).await;
    assert!(!script.contains("ib.ca"), "{script}");
}

/// A certificate of the site's CA for a worker that also listens at `https`: lines of its configuration.
async fn tls_section(site: &Site, to: &Path, worker: &str, https: &PortLease) -> String {
    let (dir, path) = (site.auth().display().to_string(), to.display().to_string());
    let certificate = [
        "auth",
        "certificate",
        &dir,
        worker,
        "--host",
        "127.0.0.1",
        "--to",
        &path,
    ];
    site.cli(&certificate).await.good();
    let port = https.port();
    format!(
        "{}[http.tls]\nlisten = \"127.0.0.1:{port}\"\ncertificate = \"{path}/{worker}.pem\"\nkey = \"{path}/{worker}.key\"\n",
        secrets::section(to).unwrap(),
    )
}

/// Whoever believes this CA and no other.
fn believer(ca: &Path, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_had_over_tls_by_whoever_believes_the_sites_ca() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let other = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let made = site.file("disk.img", "0123");
    let made = Path::new(&made).parent().unwrap();
    let (http, https) = (PortLease::take().unwrap(), PortLease::take().unwrap());
    let port = https.port();
    let tls = tls_section(&site, made, "w1", &https).await;
    let mut worker = site.spawn_with("w1", "w1", &tls, http);
    worker
        .process
        .wait_for_log(" ready ", support::SOON)
        .unwrap();

    let workers = site.ask("worker.list", json!({})).await.good();
    assert_eq!(workers[0]["https"], format!("https://127.0.0.1:{port}"));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connect = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let believer_of = |site: &Site| believer(&site.auth().join("worker/ca.pem"), &TLS13);
    let stream = believer_of(&site).connect(name.clone(), connect().await);
    let served = ask(stream.await.unwrap(), "/images/disk.img").await;
    assert!(
        served.starts_with("HTTP/1.1 200") && served.ends_with("0123"),
        "{served}"
    );
    let served = get(&worker, "/images/disk.img").await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    let older = believer(&site.auth().join("worker/ca.pem"), &TLS12);
    let older = older.connect(name.clone(), connect().await).await;
    assert!(older.is_err(), "there is no iPXE to speak TLS 1.2 with");

    let stranger = believer_of(&other).connect(name, connect().await).await;
    let why = stranger.expect_err("it is another site's").to_string();
    assert!(
        why.contains("UnknownIssuer") || why.contains("BadSignature"),
        "{why}"
    );
    let mut plain = connect().await;
    plain
        .write_all(b"GET /images/disk.img HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // What it says is a TLS alert, and then it hangs up.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|some| some == b"0123"));
    worker
        .process
        .wait_for_log("TLS handshake", support::SOON)
        .unwrap();

    // Whoever has nothing better to do fills no disk with the log.
    const FAILURES: usize = 400;
    for _ in 0..FAILURES {
        let mut plain = connect().await;
        plain.write_all(b"no TLS\r\n\r\n").await.unwrap();
        let _ = plain.read_to_end(&mut Vec::new()).await;
    }
    let told = worker.printed().matches("TLS handshake").count();
    assert!((1..FAILURES * 3 / 4).contains(&told), "{told} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn boot_scripts_are_had_over_tls_and_refused_over_http_where_the_site_says_so() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let made = site.file("here", "");
    let made = Path::new(&made).parent().unwrap();
    let (http, https) = (PortLease::take().unwrap(), PortLease::take().unwrap());
    let (plain_port, port) = (http.port(), https.port());
    let tls = tls_section(&site, made, "w1", &https).await;
    let mut worker = site.spawn_with(
        "w1",
        "w1",
        &format!("http.scripts = \"https\"\n{tls}"),
        http,
    );
    worker
        .process
        .wait_for_log(" ready ", support::SOON)
        .unwrap();
    // As iPXE speaks it.
    let believer = believer(&site.auth().join("worker/ca.pem"), &TLS12);
    let over_tls = async |path: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        ask(believer.connect(name, stream).await.unwrap(), path).await
    };
    for path in ["boot", "arguments"].map(|what| format!("/v1/{what}/{}", mac(7))) {
        let refused = get(&worker, &path).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        assert!(refused.contains("http.scripts is https"), "{refused}");
        assert!(!refused.contains("ib."), "{refused}");
        let served = over_tls(&path).await;
        assert!(served.starts_with("HTTP/1.1 200"), "{served}");
        assert!(served.contains("ib.login="), "{served}");
        // Of no secret, and before a CA is known.
        let asked = format!("ib.http=http://127.0.0.1:{plain_port} ");
        assert!(served.contains(&asked), "{served}");
    }
    let script = over_tls(&format!("/v1/boot/{}", mac(7))).await;
    for file in ["kernel ", "initrd --name initrd "] {
        let line = format!("\n{file}https://127.0.0.1:{port}/boot/");
        assert!(script.contains(&line), "{script}");
    }
    assert!(over_tls("/boot/vmlinuz").await.ends_with("vmlinuz"));
    let printed = worker.printed();
    let line = printed.lines().find(|line| line.contains("http: refused"));
    let line = line.unwrap_or_else(|| panic!("{printed}"));
    assert!(line.contains("load boot.ipxe from a worker's"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_not_start_with_anothers_key() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let to = Path::new(&site.file("here", ""))
        .parent()
        .unwrap()
        .display()
        .to_string();
    let dir = site.auth().display().to_string();
    for name in ["w1", "w2"] {
        let certificate = [
            "auth",
            "certificate",
            &dir,
            name,
            "--host",
            "127.0.0.1",
            "--to",
            &to,
        ];
        site.cli(&certificate).await.good();
        let again = site.cli(&certificate).await.bad();
        assert!(
            again.contains(&format!("{to}/{name}.pem is there already")),
            "{again}"
        );
    }
    let tls = format!(
        "{}[http.tls]\nlisten = \"127.0.0.1:1\"\ncertificate = \"{to}/w1.pem\"\nkey = \"{to}/w2.key\"\n",
        secrets::section(Path::new(&to)).unwrap(),
    );
    let mut worker = site.spawn_with("w1", "w1", &tls, PortLease::take().unwrap());
    let said = format!("serve https with {to}/w1.pem and {to}/w2.key");
    worker.process.wait_for_log(&said, support::SOON).unwrap();
}

/// As where the servers' certificate is of a public CA.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_ca_workers_and_commands_believe_the_systems_roots_and_nobody_else() {
    let mut site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let roots = site.dir().join("roots.pem");
    std::fs::rename(site.auth().join("worker/ca.pem"), &roots).unwrap();
    std::fs::remove_file(site.auth().join("people/ca.pem")).unwrap();
    // What OpenSSL and rustls-native-certs read in the place of the system's.
    site.env = vec![("SSL_CERT_FILE", roots)];
    let mut worker = site.worker("w1", "");
    site.cli(&["workers"]).await.good();
    site.env.clear();
    let why = site.cli(&["workers"]).await.bad();
    assert!(why.contains("connect to NATS"), "{why}");
    worker.assert_well();
}
