//! The logins of a site under test, made as an operator makes them: by `ironbeat auth init`.
//! What they allow is the product's; who uses them is the tests'.
use crate::owner::RunDir;
use crate::process::run_ok;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// It makes a few keys.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Seconds since 1970 by the clock that servers and workers read too, as tokens have them.
#[expect(clippy::disallowed_methods, reason = "tests make tokens")]
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Those that [`Logins::init`] made are removed on drop.
#[derive(Debug)]
pub struct Logins {
    // Keeps them there.
    _above: Option<RunDir>,
    dir: PathBuf,
}

impl Logins {
    /// `ironbeat auth init DIR OPTIONS`.
    ///
    /// # Errors
    /// What it said.
    pub fn init(ironbeat: &Path, options: &[&str]) -> Result<Self> {
        let above = RunDir::create()?;
        let dir = above.path().join("auth");
        Self::init_at(ironbeat, &dir, options)?;
        let above = Some(above);
        Ok(Self { _above: above, dir })
    }

    /// The same in a directory that stays.
    ///
    /// # Errors
    /// What it said.
    pub fn init_at(ironbeat: &Path, dir: &Path, options: &[&str]) -> Result<()> {
        let mut command = Command::new(ironbeat);
        command.args(["auth", "init"]).arg(dir).args(options);
        run_ok(command, INIT_TIMEOUT)?;
        Ok(())
    }

    /// What [`Self::init_at`] made.
    pub fn at(dir: &Path) -> Self {
        let dir = dir.into();
        Self { _above: None, dir }
    }

    /// `[http.tls]` of a worker that listens there, under a certificate of the site's CA.
    ///
    /// # Errors
    /// What `ironbeat auth certificate` said.
    pub fn https(&self, ironbeat: &Path, worker: &str, listen: SocketAddr) -> Result<String> {
        let file = |end: &str| self.dir.join(format!("{worker}.{end}"));
        let (certificate, key) = (file("pem"), file("key"));
        // A worker that starts again has one.
        if !certificate.exists() {
            let mut command = Command::new(ironbeat);
            command.args(["auth", "certificate"]).arg(&self.dir);
            command.args([worker, "--host", &listen.ip().to_string(), "--to"]);
            command.arg(&self.dir);
            run_ok(command, INIT_TIMEOUT)?;
        }
        Ok(format!(
            "[http.tls]\nlisten = '{listen}'\ncertificate = '{}'\nkey = '{}'\n",
            certificate.display(),
            key.display()
        ))
    }

    /// Where `auth init` made everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What makes a nats-server ask who is there: lines of its configuration.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn server_lines(&self) -> Result<String> {
        let path = self.dir.join("server/auth.conf");
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// The same for one of several servers, each of which keeps its accounts in a directory of its own.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn server_lines_in(&self, accounts: &Path) -> Result<String> {
        let (shared, own) = (self.dir.join("server/accounts"), accounts);
        let lines = self.server_lines()?;
        let own = lines.replace(&*shared.to_string_lossy(), &own.to_string_lossy());
        ensure!(own != lines, "{lines} do not name {}", shared.display());
        Ok(own)
    }

    /// `nats.login` of workers.
    pub fn worker(&self) -> PathBuf {
        self.dir.join("worker")
    }

    /// The certificate of the CA of its servers, where they have TLS.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("people/ca.pem")
    }

    /// For people who may do everything.
    pub fn admin(&self) -> PathBuf {
        self.dir.join("people/admin.creds")
    }

    /// Where their answers come to.
    ///
    /// # Errors
    /// When their key cannot be read.
    pub fn admin_inbox(&self) -> Result<String> {
        let path = self.dir.join("people/admin.json");
        let text = std::fs::read_to_string(&path)?;
        let person: serde_json::Value = serde_json::from_str(&text)?;
        let key = person["key"].as_str();
        Ok(format!(
            "_INBOX.{}",
            key.with_context(|| format!("find a key in {}", path.display()))?
        ))
    }
}
