//! Owns a nats-server with JetStream: on loopback for integration tests, or at the rack's gateway address.
//! Leaves several of them to `cluster`, and streams, buckets and clients to the programs under test.

pub mod cluster;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::logfile::LogCursor;
use crate::owner::RunDir;
use crate::ports::PortLease;
use crate::process::{Process, find_program};

/// How long a start may take: 0.1 s on an idle machine, several seconds on a loaded one with a store to recover.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where it keeps its streams, in its directory.
const STORE: &str = "store";

/// Starts on loopback that lose the race for their port are tried again this often.
const PORT_RACES: usize = 5;

/// Which nats-server to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsBinary {
    /// The oldest supported one (2.9.10 in Debian 12): `$NATS_SERVER`, or `nats-server` in PATH or /usr/sbin.
    Floor,
    /// A current one (2.15 or later): the path in `$NATS_SERVER_CURRENT`.
    Current,
    /// This very file.
    At(PathBuf),
}

impl NatsBinary {
    /// The program's path.
    ///
    /// # Errors
    /// When there is no such program on this machine.
    pub fn path(&self) -> Result<PathBuf> {
        match self {
            Self::Floor => find_program("nats-server", Some("NATS_SERVER")),
            Self::Current => {
                let path = std::env::var_os("NATS_SERVER_CURRENT");
                path.map(PathBuf::from)
                    .context("find a current nats-server: set NATS_SERVER_CURRENT to its path")
            }
            Self::At(path) => Ok(path.clone()),
        }
    }

    /// The oldest supported one, and a current one where there is one.
    pub fn supported() -> Vec<Self> {
        match Self::Current.path() {
            Ok(_) => vec![Self::Floor, Self::Current],
            Err(_) => {
                eprintln!("no NATS_SERVER_CURRENT: only the oldest supported server is tried");
                vec![Self::Floor]
            }
        }
    }
}

/// A nats-server with JetStream on a store of its own. Stopped, and its store removed, on drop.
#[derive(Debug)]
pub struct NatsServer {
    command: ServerCommand,
    process: Option<Process>,
    address: SocketAddr,
    dir: RunDir,
    _lease: Option<PortLease>,
}

/// Makes the command for one start; `Send` so that a server can be shared between tests.
struct ServerCommand(Box<dyn Fn() -> Result<Command> + Send + Sync>);

impl std::fmt::Debug for ServerCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerCommand")
    }
}

impl NatsServer {
    /// Starts a server on 127.0.0.1 and a free port ≤ 32767, with an empty store, and waits until it is ready.
    ///
    /// # Errors
    /// When the program is missing or doesn't come up.
    pub fn start_loopback(binary: NatsBinary) -> Result<Self> {
        Self::start_loopback_with(binary, "")
    }

    /// As [`Self::start_loopback`], with lines added to the server's configuration file (accounts, limits, TLS …). Relative
    /// paths in them are within the server's own directory.
    ///
    /// # Errors
    /// When the program is missing, refuses the configuration, or doesn't come up.
    pub fn start_loopback_with(binary: NatsBinary, extra_config: &str) -> Result<Self> {
        let program = binary.path()?;
        let mut races = 0;
        loop {
            let lease = PortLease::take()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port()));
            let program = program.clone();
            let command = move || Ok(Command::new(&program));
            let mut server =
                Self::configure(address, extra_config, Box::new(command), Some(lease))?;
            match server.start() {
                Err(_)
                    if server.log_text().contains("address already in use")
                        && races < PORT_RACES =>
                {
                    races += 1
                }
                other => return other.map(|()| server),
            }
        }
    }

    /// Starts a server at `address`, run by whatever command `command` makes (for example one inside a namespace).
    pub(crate) fn start_at(
        address: SocketAddr,
        extra_config: &str,
        command: impl Fn() -> Result<Command> + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut server = Self::configure(address, extra_config, Box::new(command), None)?;
        server.start()?;
        Ok(server)
    }

    fn configure(
        address: SocketAddr,
        extra_config: &str,
        command: Box<dyn Fn() -> Result<Command> + Send + Sync>,
        lease: Option<PortLease>,
    ) -> Result<Self> {
        Self::configure_with(address, (extra_config, ""), command, lease)
    }

    /// `extra` has lines for the file, and some for its section `jetstream`.
    fn configure_with(
        address: SocketAddr,
        extra: (&str, &str),
        command: Box<dyn Fn() -> Result<Command> + Send + Sync>,
        lease: Option<PortLease>,
    ) -> Result<Self> {
        let dir = RunDir::create()?;
        let config = config_text(address, &dir.path().join(STORE), extra);
        fs::write(dir.path().join("nats.conf"), config)
            .context("write the nats-server configuration")?;
        Ok(Self {
            command: ServerCommand(command),
            process: None,
            address,
            dir,
            _lease: lease,
        })
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// CPU time that it has used since its last start.
    pub fn cpu_time(&self) -> Duration {
        self.process
            .as_ref()
            .map_or_else(Default::default, Process::cpu_time)
    }

    /// Everything it has logged, over all starts.
    fn log_text(&self) -> String {
        self.log().text()
    }

    /// A cursor at the start of its log.
    pub fn log(&self) -> LogCursor {
        LogCursor::at_start(self.dir.path().join("nats.log"))
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], on the same address and store; waits until it is ready.
    ///
    /// # Errors
    /// When it runs already or doesn't come up.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            bail!("nats-server at {} runs already", self.address);
        }
        let mut command = self.command.0()?;
        command.current_dir(self.dir.path());
        command.arg("-c").arg("nats.conf");
        let mut process =
            Process::start("nats-server", command, &self.dir.path().join("nats.log"))?;
        // Written after the listener is bound and JetStream has recovered its store.
        process.wait_for_log("Server is ready", START_TIMEOUT)?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it in order: SIGTERM, SIGKILL after 3 s. Clients are told.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in order if it runs, and starts it on the same address and store.
    ///
    /// # Errors
    /// When it doesn't come up again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.start()
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered, as with a hung server.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::freeze)
    }

    /// Undoes [`Self::freeze`].
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::thaw)
    }
}

fn config_text(address: SocketAddr, store: &Path, (extra, jetstream): (&str, &str)) -> String {
    // The limits are far above what tests need; without them the server reserves from the free disk and memory it sees.
    format!(
        "listen: \"{address}\"\n\
         jetstream {{\n  store_dir: \"{}\"\n  max_memory_store: 256MB\n  max_file_store: 8GB\n{jetstream}}}\n\
         {extra}\n",
        store.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpStream;

    /// The INFO line a server greets with.
    fn greeting(server: &NatsServer) -> String {
        let stream = TcpStream::connect(server.address()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn a_server_serves_jetstream_on_a_low_port() {
        let server = NatsServer::start_loopback(NatsBinary::Floor).unwrap();
        assert!(server.address().port() <= 32_767);
        let info = greeting(&server);
        assert!(
            info.starts_with("INFO {") && info.contains("\"jetstream\":true"),
            "{info}"
        );
    }

    /// One request to the JetStream API, by hand.
    fn jetstream(server: &NatsServer, subject: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let request = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.t 1\r\nPUB $JS.API.{subject} _INBOX.t {}\r\n{body}\r\n",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("MSG _INBOX.t")).unwrap();
        lines.next().unwrap()
    }

    #[test]
    fn kill_and_restart_keep_port_and_store() {
        let mut server = NatsServer::start_loopback(NatsBinary::Floor).unwrap();
        let address = server.address();
        let pid = server.pid();
        let created = jetstream(
            &server,
            "STREAM.CREATE.T",
            r#"{"name":"T","subjects":["t"],"storage":"file"}"#,
        );
        assert!(created.contains("\"did_create\":true"), "{created}");
        server.kill();
        assert!(TcpStream::connect(address).is_err());
        server.start().unwrap();
        assert!(server.start().is_err(), "it runs already");
        server.restart().unwrap();
        assert_eq!(server.address(), address);
        assert_ne!(server.pid(), pid);
        let info = jetstream(&server, "STREAM.INFO.T", "");
        assert!(info.contains("\"subjects\":[\"t\"]"), "{info}");
        let store = server.dir.path().to_owned();
        assert!(store.join("store/jetstream").exists());
        drop(server);
        assert!(!store.exists());
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_refused_configuration_is_an_error_that_shows_why() {
        let error =
            NatsServer::start_loopback_with(NatsBinary::Floor, "no_such_option: 1").unwrap_err();
        assert!(format!("{error:#}").contains("no_such_option"), "{error:#}");
    }
}
