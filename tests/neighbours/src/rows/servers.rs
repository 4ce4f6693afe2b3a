//! Servers that are not ours: of another CA, with a certificate that has expired or names another, or without TLS. Each is a real
//! nats-server that would take the logins, so that only the certificate tells it from ours.
//! Whom a ramdisk's agent believes is tried with the agent.
use crate::book::{Book, Got};
use crate::eyes::Eyes;
use crate::lab::Lab;
use crate::site::{self, Programs, Said, init, start_worker, worker_config};
use crate::wire::SOON;
use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::Process;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use time::OffsetDateTime;

const WHO: &str = "a server that is not ours";
const DAY: i64 = 24 * 3600;
/// A worker that is let in says so in a fraction of this.
const BELIEVES: Duration = Duration::from_secs(5);
/// It looks once a second.
const TRIES_AGAIN: Duration = Duration::from_millis(1500);

/// The site with TLS.
struct Tls {
    programs: Programs,
    auth: PathBuf,
    lines: String,
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    let programs = lab.site.programs.clone();
    let auth = programs.dir.join("tls");
    init(&programs, &auth, &["--tls", "--host", "127.0.0.1"])?;
    let other = programs.dir.join("other");
    init(&programs, &other, &["--tls", "--host", "127.0.0.1"])?;
    let lines = std::fs::read_to_string(auth.join("server/auth.conf"))?;
    let tls = Tls {
        programs,
        auth,
        lines,
    };
    let ours = tls.pair(&tls.auth.join("server"));
    let server = tls.server("ours", Some(&ours))?;
    let believed = tls
        .worker("believes", &server.url())
        .and_then(|mut worker| {
            worker.wait_for_log(" ready ", SOON)?;
            let said = tls.cli(&server.url(), true)?;
            ensure!(said.ok, "the command line: {}", said.err);
            Ok(worker)
        });
    let (control, worker) = book.control(
        "our own server is believed by worker and command line",
        believed,
    )?;
    drop(worker);
    let expired = tls.certificate("expired", &["127.0.0.1"], (-40 * DAY, -DAY))?;
    let young = tls.certificate("young", &["127.0.0.1"], (DAY, 40 * DAY))?;
    let named = tls.certificate(
        "named",
        &["elsewhere.example", "127.0.0.2"],
        (-DAY, 40 * DAY),
    )?;
    let foreign = tls.pair(&other.join("server"));
    // It is the dates and the name that make the difference: one made in the same way is believed.
    let good = tls.certificate("good", &["127.0.0.1"], (-DAY, 40 * DAY))?;
    let server = tls.server("good", Some(&good))?;
    let listening = tls
        .worker("believes-too", &server.url())
        .and_then(|mut worker| {
            worker.wait_for_log(" ready ", SOON)?;
            tls.cli(&server.url(), true)
        });
    let said = listening.and_then(|said| said.ok.then_some(()).context(said.err));
    let (made, ()) = book.control(
        "a certificate of our CA, as those below but for what is wrong with them",
        said,
    )?;
    drop(server);
    for (tries, certificate, control) in [
        (
            "with a certificate of another CA, to be believed",
            Some(&foreign),
            &control,
        ),
        (
            "with a certificate that has expired, to be believed",
            Some(&expired),
            &made,
        ),
        (
            "with a certificate that is not valid yet, to be believed",
            Some(&young),
            &made,
        ),
        (
            "with a certificate of another name, to be believed",
            Some(&named),
            &made,
        ),
        ("without TLS, to be believed", None, &control),
    ] {
        let server = tls.server("bad", certificate)?;
        let log = tls.programs.dir.join("doubts.log");
        drop(std::fs::remove_file(&log));
        let eyes = Eyes::on(&[("worker", &log)]);
        let mut worker = tls.worker("doubts", &server.url())?;
        let seen = eyes.see(&["no NATS server is reached"]);
        // It goes on trying, and is watched for a while where it has not said that it does not believe.
        let patience = if seen.is_some() {
            TRIES_AGAIN
        } else {
            BELIEVES
        };
        let believed =
            worker.wait_for_log(" ready ", patience).is_ok() || log_says(&log, "nats: connected");
        worker.stop();
        let got = believed.then(|| "a worker's login".to_string());
        book.attempt(control, &format!("{tries} by a worker"), Got::of(got), seen);
        let said = tls.cli(&server.url(), true)?;
        let believed = said.ok
            || said.err.contains("do not take this login")
            || said.err.contains("no conductor");
        let got = believed.then(|| "an admin's login".to_string());
        let told = said
            .err
            .lines()
            .next()
            .map(|line| format!("ironbeat: {line}"));
        book.attempt(
            control,
            &format!("{tries} by the command line"),
            Got::of(got),
            told,
        );
    }
    strips(&tls, book)
}

/// A middle-man who says that there is no TLS, and keeps what he is sent.
fn strips(tls: &Tls, book: &mut Book) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PortLease::take()?.keep()))?;
    let url = format!("nats://{}", listener.local_addr()?);
    let (say, sent) = std::sync::mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let info = r#"{"server_id":"N","server_name":"n","version":"2.9.10","proto":1,"host":"127.0.0.1","port":1,"headers":true,"max_payload":1048576,"auth_required":true,"nonce":"bm9uY2Vub25jZW5vbmNl"}"#;
            let _ = stream.write_all(format!("INFO {info}\r\n").as_bytes());
            let mut bytes = vec![];
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                bytes.extend(&piece[..count]);
                if bytes.len() > 1 << 16 {
                    break;
                }
            }
            if say.send(bytes).is_err() {
                break;
            }
        }
    });
    let take = || {
        let mut all = String::new();
        while let Ok(bytes) = sent.recv_timeout(Duration::from_millis(1500)) {
            all += &String::from_utf8_lossy(&bytes);
        }
        all
    };
    // A command without a CA tells him who it is.
    tls.cli(&url, false)?;
    let plain = take();
    let plain = plain
        .contains("\"jwt\"")
        .then_some(())
        .context("it sends nothing");
    let (control, ()) = book.control("whoever is given no CA sends its login", plain)?;
    let said = tls.cli(&url, true)?;
    let got = take()
        .contains("CONNECT")
        .then(|| "an admin's token and signature".to_string());
    let told = said
        .err
        .lines()
        .next()
        .map(|line| format!("ironbeat: {line}"));
    book.attempt(
        &control,
        "to strip TLS, and to be sent the command line's login",
        Got::of(got),
        told,
    );
    let log = tls.programs.dir.join("doubts.log");
    drop(std::fs::remove_file(&log));
    let eyes = Eyes::on(&[("worker", &log)]);
    let mut worker = tls.worker("doubts", &url)?;
    let seen = eyes.see(&["no NATS server is reached"]);
    let got = take()
        .contains("CONNECT")
        .then(|| "a worker's token and signature".to_string());
    worker.stop();
    book.attempt(
        &control,
        "to strip TLS, and to be sent a worker's login",
        Got::of(got),
        seen,
    );
    Ok(())
}

fn log_says(log: &Path, words: &str) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains(words))
}

impl Tls {
    fn pair(&self, dir: &Path) -> (PathBuf, PathBuf) {
        (dir.join("server.pem"), dir.join("server.key"))
    }

    /// A server of the same operator with another certificate, or with none.
    fn server(&self, name: &str, pair: Option<&(PathBuf, PathBuf)>) -> Result<NatsServer> {
        let (head, rest) = self
            .lines
            .split_once("\ntls {")
            .context("the site has TLS")?;
        let (_, rest) = rest.split_once('}').context("its section ends")?;
        let accounts = self
            .programs
            .dir
            .join(format!("accounts-{name}-{}", rand()));
        std::fs::create_dir_all(&accounts)?;
        let mut lines = String::new();
        for line in head.lines().chain(rest.lines()) {
            match line.trim().starts_with("dir:") {
                true => lines += &format!("  dir: \"{}\"\n", accounts.display()),
                false => lines += &format!("{line}\n"),
            }
        }
        if let Some((certificate, key)) = pair {
            let (certificate, key) = (certificate.display(), key.display());
            lines += &format!(
                "tls {{\n  cert_file: \"{certificate}\"\n  key_file: \"{key}\"\n  timeout: 5\n}}\n"
            );
        }
        NatsServer::start_loopback_with(NatsBinary::At(self.programs.nats_server.clone()), &lines)
    }

    fn worker(&self, id: &str, url: &str) -> Result<Process> {
        let http = PortLease::take()?.keep();
        let config = worker_config(&self.programs, id, url, &self.auth.join("worker"), http)?;
        start_worker(&self.programs, id, &config)
    }

    fn cli(&self, url: &str, with_ca: bool) -> Result<Said> {
        let mut command = Command::new(&self.programs.ironbeat);
        command
            .args(["node", "list"])
            .env("HOME", "/nonexistent")
            .env("IRONBEAT_NATS", url)
            .env("IRONBEAT_CREDS", self.auth.join("people/admin.creds"));
        if with_ca {
            command.env("IRONBEAT_CA", self.auth.join("people/ca.pem"));
        }
        site::said(command)
    }

    /// Of the site's own CA.
    fn certificate(
        &self,
        name: &str,
        hosts: &[&str],
        (from, until): (i64, i64),
    ) -> Result<(PathBuf, PathBuf)> {
        let key = std::fs::read_to_string(self.auth.join("operator/ca.key"))
            .context("read the CA's key")?;
        let der: String = key
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let der = BASE64.decode(der.as_bytes()).context("read the CA's key")?;
        let ca_key = KeyPair::try_from(der.as_slice()).context("understand the CA's key")?;
        let named = |mut params: CertificateParams, name: &str| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut ca = named(CertificateParams::default(), "Ironbeat CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = named(CertificateParams::new(hosts)?, "nats-server");
        let at = |secs| OffsetDateTime::from_unix_timestamp(now() + secs);
        params.not_before = at(from)?;
        params.not_after = at(until)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
        let dir = self.programs.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let pair = self.pair(&dir);
        std::fs::write(&pair.0, pem("CERTIFICATE", signed.der()))?;
        std::fs::write(&pair.1, pem("PRIVATE KEY", &key.serialize_der()))?;
        Ok(pair)
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let lines = der.chunks(48).map(|line| BASE64.encode(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

/// So that no server finds another's accounts.
fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
