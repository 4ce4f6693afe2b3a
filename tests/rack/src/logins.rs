//! The logins of a site under test, made as an operator makes them: by `ironbeat auth init`.
//! What they allow is the product's; who uses them is the tests'.
use crate::owner::RunDir;
use crate::process::run_ok;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// It makes a few keys.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Removed on drop.
#[derive(Debug)]
pub struct Logins {
    // Keeps it there.
    _above: RunDir,
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
        let mut command = Command::new(ironbeat);
        command.args(["auth", "init"]).arg(&dir).args(options);
        run_ok(command, INIT_TIMEOUT)?;
        Ok(Self { _above: above, dir })
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

    /// Of servers with TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        let ca = self.dir.join("people/ca.pem");
        ca.exists().then_some(ca)
    }

    /// For people who may do everything.
    pub fn admin(&self) -> PathBuf {
        self.dir.join("people/admin.creds")
    }
}
