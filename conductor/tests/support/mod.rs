//! A nats-server and workers of the shipped binary on loopback, and the ways to talk to them.
//! The tests say what is asked, and what should be answered.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod bmcs;
pub mod printed;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::revoke::Order;
use ironbeat_common::codec;
use ironbeat_common::id::{BootId, Mac, SystemUuid};
use ironbeat_common::inventory::{Disk, Inventory, Nic};
use ironbeat_common::lookup::{BootTimings, Lookup};
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::{Process, run};
use ironbeat_rack::secrets;
use nkeys::KeyPair;
use printed::{IDLE, Printed, is_given};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// For something that takes milliseconds on an idle machine; a loaded one with two cores may take a thousand times as long.
pub const SOON: Duration = Duration::from_secs(60);
/// Between two looks of [`until`].
const LOOK: Duration = Duration::from_millis(20);
const PROGRAM: &str = env!("CARGO_BIN_EXE_ironbeat");
pub const JSON: &str = "application/json";

/// Looks again and again until there is something to see.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        tokio::time::sleep(LOOK).await;
    }
}

pub async fn connect(server: &NatsServer) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().request_timeout(Some(SOON));
    options.connect(server.url()).await.unwrap()
}

/// Connects with a login of `auth`.
pub async fn connect_as(
    server: &NatsServer,
    auth: &Path,
    creds: &str,
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let creds = std::fs::read_to_string(auth.join(creds)).unwrap();
    let creds = Creds::parse(&creds).unwrap();
    let ca = auth.join("people/ca.pem");
    let options = ironbeat_cli::connect::options(Some(&creds), ca.exists().then_some(&*ca));
    let options = options.request_timeout(Some(SOON));
    options.connect(server.url()).await
}

/// A server and one client of it; workers are started by [`Site::worker`].
pub struct Site {
    pub nats: NatsServer,
    pub client: async_nats::Client,
    dir: TempDir,
    /// What `ironbeat auth init` made; none: nobody has a login.
    auth: Option<PathBuf>,
    /// Environment of workers and commands that start from now on.
    pub env: Vec<(&'static str, PathBuf)>,
    printed: Arc<Printed>,
}

/// A worker process. Killed on drop.
pub struct Worker {
    pub process: Process,
    pub http: PortLease,
    /// By all of its site.
    by_all: Arc<Printed>,
}

impl Worker {
    /// The boot script that it has for a NIC.
    pub async fn script(&self, n: u8) -> String {
        let address = ("127.0.0.1", self.http.port());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mac = mac(n);
        let request =
            format!("GET /v1/boot/{mac} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }
}

/// What stands behind `key` in a boot script.
pub fn word(script: &str, key: &str) -> Option<String> {
    let (_, rest) = script.split_once(key)?;
    rest.split_whitespace().next().map(Into::into)
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    /// None: a signal has ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The standard output of a command that must have succeeded.
    pub fn good(self) -> String {
        assert!(self.ok, "{self:?}");
        self.out
    }

    /// The error of a command that must have failed.
    pub fn bad(self) -> String {
        assert!(!self.ok, "{self:?}");
        self.err
    }
}

impl Site {
    pub async fn start() -> Self {
        let nats = NatsServer::start_loopback(NatsBinary::Floor).unwrap();
        let client = connect(&nats).await;
        Self::with(nats, client, tempfile::tempdir().unwrap(), None)
    }

    /// A site whose server asks who is there, with all that `ironbeat auth init` makes for it.
    pub async fn start_with_logins(binary: NatsBinary, init: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = dir.path().join("auth");
        let mut command = Command::new(PROGRAM);
        command.args(["auth", "init"]).arg(&auth).args(init);
        let output = run(command, SOON).unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = std::fs::read_to_string(auth.join("server/auth.conf")).unwrap();
        let nats = NatsServer::start_loopback_with(binary, &lines).unwrap();
        let client = connect_as(&nats, &auth, "people/admin.creds")
            .await
            .unwrap();
        Self::with(nats, client, dir, Some(auth))
    }

    fn with(
        nats: NatsServer,
        client: async_nats::Client,
        dir: TempDir,
        auth: Option<PathBuf>,
    ) -> Self {
        // Nobody boots them, but a worker without them refuses what needs a ramdisk.
        for name in ["vmlinuz", "initrd", "disk.img.gz"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let printed = Printed::new(dir.path().into(), auth.clone());
        Self {
            nats,
            client,
            dir,
            auth,
            env: vec![],
            printed: Arc::new(printed),
        }
    }

    /// Starts a worker and waits until it answers. `policy` goes under `[policy]` of its configuration.
    pub fn worker(&self, id: &str, policy: &str) -> Worker {
        let mut worker = self.spawn(id, policy, PortLease::take().unwrap());
        worker.process.wait_for_log(" ready ", SOON).unwrap();
        worker
    }

    /// Starts a worker that serves HTTP at `http`.
    pub fn spawn(&self, id: &str, policy: &str, http: PortLease) -> Worker {
        self.spawn_as(id, id, policy, http)
    }

    /// As a host of its own, whatever its worker is called.
    pub fn spawn_as(&self, host: &str, id: &str, policy: &str, http: PortLease) -> Worker {
        let secrets = secrets::section(self.dir.path()).unwrap();
        self.spawn_with(host, id, &format!("{secrets}[policy]\n{policy}"), http)
    }

    /// `more`: the rest of its configuration, options of no section first.
    pub fn spawn_with(&self, host: &str, id: &str, more: &str, http: PortLease) -> Worker {
        self.spawn_by("worker", host, id, more, http)
    }

    /// With the logins of a directory in [`Site::auth`], should there be logins.
    pub fn spawn_by(
        &self,
        login: &str,
        host: &str,
        id: &str,
        more: &str,
        http: PortLease,
    ) -> Worker {
        let dir = self.dir.path().display();
        let config = self.dir.path().join(format!("{host}.toml"));
        let auth = match &self.auth {
            Some(auth) => format!("nats.login = \"{}\"", auth.join(login).display()),
            None => "nats.auth = \"none\"".into(),
        };
        let text = format!(
            "id = \"{id}\"\nnats.servers = [\"{}\"]\n{auth}\n\
             http.listen = \"127.0.0.1:{}\"\nhttp.boot_dir = \"{dir}\"\nhttp.image_dir = \"{dir}\"\n\
             {more}\n",
            self.nats.url(),
            http.port(),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["conductor", "--config"]).arg(&config);
        // Whatever must never be printed must not be printed at this level either.
        command.env("IRONBEAT_LOG", "debug");
        command.envs(self.env.iter().cloned());
        if self.clock_path(host).exists() {
            command.env("IRONBEAT_TEST_CLOCK", self.clock_path(host));
        }
        let process = Process::start(host, command, &self.log_path(host)).unwrap();
        let by_all = Arc::clone(&self.printed);
        Worker {
            process,
            http,
            by_all,
        }
    }

    fn clock_path(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("{id}.clock"))
    }

    /// Sets a worker's wall clock wrong by so much, from now on. The first time, before it starts.
    pub fn set_clock(&self, id: &str, ahead_ms: i64) {
        std::fs::write(self.clock_path(id), ahead_ms.to_string()).unwrap();
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("{id}.log"))
    }

    /// Where its files are: configurations, images, logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file that a command of the test reads.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The operator's command line, with `password` as the BMC's where one is needed.
    pub async fn cli_as(&self, password: &str, args: &[&str]) -> Said {
        assert!(is_given(password), "it would not be looked for");
        let mut command = self.command(args, "admin");
        command.env("IRONBEAT_BMC_PASSWORD", password);
        self.said(command).await
    }

    /// The command line as `login`, one of the people.
    pub async fn cli_by(&self, login: &str, args: &[&str]) -> Said {
        self.said(self.command(args, login)).await
    }

    fn command(&self, args: &[&str], login: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        command.envs(self.env.iter().cloned());
        command.env("IRONBEAT_NATS", self.nats.url());
        match &self.auth {
            Some(auth) => {
                command.env("IRONBEAT_AUTH_DIR", auth);
                command.env("IRONBEAT_CREDS", auth.join(format!("people/{login}.creds")));
                let ca = auth.join("people/ca.pem");
                if ca.exists() {
                    command.env("IRONBEAT_CA", ca);
                }
            }
            None => drop(command.env("IRONBEAT_AUTH", "none")),
        }
        command
    }

    async fn said(&self, command: Command) -> Said {
        let output = tokio::task::spawn_blocking(|| run(command, SOON));
        let output = output.await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said {
            ok: output.status.success(),
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        let mut all = self.printed.said.lock().unwrap();
        all.push_str(&format!("{}\n{}\n", said.out, said.err));
        said
    }

    /// A command that goes on while the test does something.
    pub fn start_cli(&self, args: &[&str]) -> Process {
        self.start_cli_by("admin", args)
    }

    /// The same as `login`, one of the people.
    pub fn start_cli_by(&self, login: &str, args: &[&str]) -> Process {
        let command = self.command(args, login);
        let log = self.dir.path().join(format!("cli-{}.log", args[0]));
        Process::start(&format!("ironbeat {}", args[0]), command, &log).unwrap()
    }

    /// All that nobody may print, each with a name.
    pub fn secrets(&self) -> Vec<(String, String)> {
        self.printed.secrets()
    }

    /// What `ironbeat auth init` made.
    pub fn auth(&self) -> &Path {
        self.auth.as_deref().expect("the site has logins")
    }

    /// A request of `auth.revoke` that ends a login or a key, by the operator's order.
    pub fn order(&self, key: &str) -> Value {
        let seed = std::fs::read_to_string(self.auth().join("operator/signer.seed")).unwrap();
        let signer = KeyPair::from_seed(seed.trim()).unwrap();
        let order = Order::new(key, None, None, now());
        json!({ "key": key, "order": order.sign(&signer).unwrap() })
    }

    pub async fn cli(&self, args: &[&str]) -> Said {
        self.cli_as(IDLE, args).await
    }

    /// One raw request.
    pub async fn send(&self, subject: &str, content_type: Option<&str>, body: Bytes) -> Reply {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("Content-Type", content_type);
        }
        let sent = self
            .client
            .request_with_headers(subject.to_owned(), headers, body);
        match sent.await {
            Ok(message) => Reply(message),
            Err(error) => panic!("{subject}: {error}"),
        }
    }

    /// `endpoint` is `noun.verb`.
    pub async fn ask(&self, endpoint: &str, body: Value) -> Reply {
        let subject = format!("ib.v1.api.{endpoint}");
        self.send(&subject, Some(JSON), body.to_string().into())
            .await
    }

    /// A request as an agent sends it.
    pub async fn agent<T: DeserializeOwned>(&self, subject: &str, message: &impl Serialize) -> T {
        let body = codec::encode(message).into();
        let reply = self.send(subject, Some(codec::CONTENT_TYPE), body).await;
        assert_eq!(reply.error(), None, "{subject}");
        codec::decode(&reply.0.payload).unwrap()
    }

    /// Enrolls through the API and returns the id.
    pub async fn enroll(&self, wish: Value) -> String {
        let shown = self.ask("node.enroll", wish).await.good();
        shown["id"].as_str().unwrap().to_owned()
    }

    pub async fn show(&self, node: &str) -> Value {
        self.ask("node.show", json!({ "node": node })).await.good()
    }

    /// The node once it has come to rest in `state`.
    pub async fn rests(&self, node: &str, state: &str) -> Value {
        let what = format!("{node} comes to rest");
        let shown = until(&what, async || {
            let shown = self.show(node).await;
            shown["state"].get("busy").is_none().then_some(shown)
        });
        let shown = shown.await;
        assert_eq!(shown["provision_state"], state, "{shown}");
        shown
    }
}

impl Worker {
    /// Everything it has printed.
    pub fn printed(&self) -> String {
        self.process.log().text()
    }

    /// It lives, none of its tasks has panicked, and nobody of its site has printed a secret.
    pub fn assert_well(&mut self) {
        assert!(self.process.is_running(), "{}", self.process.log().tail());
        let printed = self.printed();
        assert!(!printed.contains("panicked"), "{printed}");
        self.by_all.assert_hushed();
    }
}

pub struct Reply(pub Message);

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers.as_ref()?;
        headers.get(name).map(|value| value.as_str())
    }

    /// Code and text of a refusal.
    pub fn error(&self) -> Option<(u32, String)> {
        let text = self.header("Nats-Service-Error")?.to_owned();
        let code = self.header("Nats-Service-Error-Code").unwrap();
        Some((code.parse().unwrap(), text))
    }

    /// The text of a refusal with this code.
    pub fn refused(&self, code: u32) -> String {
        let (found, text) = self.error().expect("it is refused");
        assert_eq!(found, code, "{text}");
        text
    }

    /// The answer, as JSON.
    pub fn good(&self) -> Value {
        assert_eq!(self.error(), None);
        assert_eq!(self.header("Content-Type"), Some(JSON));
        serde_json::from_slice(&self.0.payload).unwrap()
    }
}

pub fn mac(n: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0x77, n])
}

/// A machine with two NICs and one disk.
pub fn machine(n: u8) -> Inventory {
    let mut machine = Inventory::default();
    machine.system.uuid = Some(SystemUuid::from_bytes([n; 16]));
    machine.system.serial = Some(format!("SN-{n}"));
    machine.disks = vec![Disk {
        name: "/dev/vda".into(),
        size_bytes: 64 << 30,
        logical_sector_bytes: 512,
        serial: Some(format!("DISK-{n}")),
        ..Disk::default()
    }];
    let nic = |name: &str, mac| {
        serde_json::from_value::<Nic>(json!({ "name": name, "mac": mac })).unwrap()
    };
    machine.nics = vec![nic("eth0", mac(n)), nic("eth1", mac(n + 100))];
    machine
}

pub fn boot(n: u8) -> BootId {
    BootId::from_bytes([n; 16])
}

pub fn lookup(boot: BootId, inventory: Inventory) -> Lookup {
    Lookup {
        version: codec::VERSION,
        boot,
        agent: "test".into(),
        inventory,
        timings: BootTimings::default(),
        login: None,
        measured: None,
    }
}

/// A BMC that nobody ever asks.
pub fn idle_bmc(n: u8) -> Value {
    json!({ "protocol": "ipmi", "address": format!("127.0.9.{n}"), "username": "admin", "password": IDLE })
}
