//! What runs: a nats-server with the logins of `ironbeat auth init`, a worker, and simulated BMCs, all on loopback.
//! What is asked of them is for `lab` and the rows.
use crate::wire::{Pass, SOON, Wire};
use anyhow::{Context, Result, ensure};
use ironbeat_auth::creds::Creds;
use ironbeat_bmc_sim::{Fleet, FleetConfig, Settings, User};
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::{Process, run};
use ironbeat_rack::secrets;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of the simulated BMCs.
pub const BMC_PASSWORD: &str = "sesame-bmc-4711";
/// A file with it lies beside the image directory, where `../` would find it.
pub const BESIDE: &str = "beside-the-images.txt";
/// Between two looks of [`until`].
const LOOK: Duration = Duration::from_millis(20);

/// What is given to a run.
#[derive(Clone, Debug)]
pub struct Programs {
    pub ironbeat: PathBuf,
    pub agent: PathBuf,
    pub nats_server: PathBuf,
    /// Logs and configurations stay there.
    pub dir: PathBuf,
}

pub struct Site {
    // In the order of tearing down.
    pub worker: Process,
    pub bmcs: Fleet,
    pub nats: NatsServer,
    pub programs: Programs,
    http: PortLease,
    _bmc_port: PortLease,
}

/// What a command printed.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

/// Looks again and again until there is something to see.
///
/// # Errors
/// When there is not.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let tries = SOON.as_millis() / LOOK.as_millis();
    for _ in 0..tries {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("{what}: not within {SOON:?}")
}

impl Site {
    /// # Errors
    /// When a part does not come up.
    pub fn start(programs: Programs, bmcs: usize) -> Result<Self> {
        // Another run's logs would be taken for this one's.
        drop(std::fs::remove_dir_all(&programs.dir));
        let images = programs.dir.join("images");
        std::fs::create_dir_all(&images).context("make the logs' directory")?;
        let files = [
            ("vmlinuz", "kernel"),
            ("initrd", "ramdisk"),
            ("disk.img.gz", "medium"),
            ("images/os.raw", "an operating system"),
            (BESIDE, "sesame-beside-4712"),
        ];
        for (name, content) in files {
            std::fs::write(programs.dir.join(name), content)
                .with_context(|| format!("write {name}"))?;
        }
        let auth = programs.dir.join("auth");
        init(&programs, &auth, &[])?;
        let lines = std::fs::read_to_string(auth.join("server/auth.conf"))?;
        let nats =
            NatsServer::start_loopback_with(NatsBinary::At(programs.nats_server.clone()), &lines)?;
        let bmc_port = PortLease::take()?;
        let settings = |_| Settings {
            users: vec![User {
                id: 2,
                name: "admin".into(),
                password: BMC_PASSWORD.into(),
                privilege: 4,
                enabled: true,
            }],
            ..Settings::default()
        };
        let bmcs = Fleet::start(&FleetConfig::loopback(bmcs, bmc_port.port()), settings)?;
        let http = PortLease::take()?;
        let config = worker_config(
            &programs,
            "w1",
            &nats.url(),
            &auth.join("worker"),
            http.port(),
        )?;
        let worker = start_worker(&programs, "w1", &config)?;
        let mut site = Self {
            worker,
            bmcs,
            nats,
            programs,
            http,
            _bmc_port: bmc_port,
        };
        site.worker.wait_for_log(" ready ", SOON)?;
        for (name, role) in [
            ("olga", "operator"),
            ("otto", "observer"),
            ("eve", "observer"),
        ] {
            site.cli("admin", &["auth", "user", "add", name, "--role", role])?;
        }
        Ok(site)
    }

    pub fn auth(&self) -> PathBuf {
        self.programs.dir.join("auth")
    }

    /// A file of `auth`, without the line break at its end.
    ///
    /// # Errors
    /// When it is not there.
    pub fn key(&self, file: &str) -> Result<String> {
        let path = self.auth().join(file);
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().into())
    }

    /// # Errors
    /// When there is no such login.
    pub fn creds(&self, file: &str) -> Result<Creds> {
        Creds::parse(&self.key(file)?).with_context(|| format!("read {file}"))
    }

    /// A connection with a login of `auth`.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn wire(&self, file: &str) -> Result<Wire> {
        Wire::login(self.nats.address(), &Pass::of(&self.creds(file)?))
    }

    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.http.port()))
    }

    pub fn worker_log(&self) -> PathBuf {
        self.worker.log().path().into()
    }

    pub fn nats_log(&self) -> PathBuf {
        self.nats.log().path().into()
    }

    /// The command line as one of the people.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_cli(&self, login: &str, args: &[&str]) -> Result<Said> {
        let auth = self.auth();
        let mut command = Command::new(&self.programs.ironbeat);
        command
            .args(args)
            .env("IRONBEAT_NATS", self.nats.url())
            .env("IRONBEAT_AUTH_DIR", &auth)
            .env("IRONBEAT_CREDS", auth.join(format!("people/{login}.creds")))
            .env("IRONBEAT_BMC_PASSWORD", BMC_PASSWORD);
        said(command)
    }

    /// The standard output of a command that succeeds.
    ///
    /// # Errors
    /// When it does not.
    pub fn cli(&self, login: &str, args: &[&str]) -> Result<String> {
        let said = self.try_cli(login, args)?;
        ensure!(said.ok, "ironbeat {}: {}", args.join(" "), said.err);
        Ok(said.out)
    }

    /// A worker with logins of its own, which has come up. `more`: of `ironbeat auth worker add`.
    ///
    /// # Errors
    /// When it does not.
    pub fn one_more_worker(&self, name: &str, more: &[&str]) -> Result<Process> {
        let add = [&["auth", "worker", "add", name], more].concat();
        self.cli("admin", &add)?;
        let (http, login) = (PortLease::take()?.keep(), self.auth().join("workers"));
        let (programs, nats) = (&self.programs, self.nats.url());
        let config = worker_config(programs, name, &nats, &login.join(name), http)?;
        let mut worker = start_worker(programs, name, &config)?;
        worker.wait_for_log(" ready ", SOON)?;
        Ok(worker)
    }

    /// # Errors
    /// When it has ended, or a task of it has panicked.
    pub fn worker_is_well(&mut self) -> Result<()> {
        let log = self.worker.log();
        ensure!(self.worker.is_running(), "the worker ended: {}", log.tail());
        let text = log.text();
        let panicked = text.lines().find(|line| line.contains("panicked"));
        ensure!(panicked.is_none(), "the worker: {panicked:?}");
        Ok(())
    }
}

/// # Errors
/// When it cannot be run.
pub fn said(command: Command) -> Result<Said> {
    let output = run(command, SOON)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        ok: output.status.success(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// `ironbeat auth init`.
///
/// # Errors
/// When it fails.
pub fn init(programs: &Programs, auth: &Path, more: &[&str]) -> Result<()> {
    let mut command = Command::new(&programs.ironbeat);
    command.args(["auth", "init"]).arg(auth).args(more);
    let said = said(command)?;
    ensure!(said.ok, "ironbeat auth init: {}", said.err);
    Ok(())
}

/// Writes a worker's configuration.
///
/// # Errors
/// When it cannot be written.
pub fn worker_config(
    programs: &Programs,
    id: &str,
    nats: &str,
    login: &Path,
    http: u16,
) -> Result<PathBuf> {
    let dir = programs.dir.display();
    let text = format!(
        "id = \"{id}\"\n[nats]\nservers = [\"{nats}\"]\nlogin = \"{}\"\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\nboot_dir = \"{dir}\"\nimage_dir = \"{dir}/images\"\n{}\
         [policy]\npower_sync_secs = 0\nautomated_clean = false\nlldp_wait_secs = 1\n",
        login.display(),
        secrets::section(&programs.dir)?,
    );
    let config = programs.dir.join(format!("{id}.toml"));
    std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    Ok(config)
}

/// As an operator runs it: it logs what it logs unless told.
///
/// # Errors
/// When it cannot be started.
pub fn start_worker(programs: &Programs, id: &str, config: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.ironbeat);
    command.args(["conductor", "--config"]).arg(config);
    command.env_remove("IRONBEAT_LOG");
    Process::start(id, command, &programs.dir.join(format!("{id}.log")))
}
