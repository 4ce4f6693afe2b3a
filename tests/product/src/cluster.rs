//! Owns the product in the rack: conductor workers as they ship, driven through the operator's command line.
//! Leaves the rack's parts to `ironbeat-rack`, and what the product should do to the tests.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ironbeat_rack::dnsmasq::BUS_NAME;
use ironbeat_rack::layout::{BOOT_PORT, GATEWAY, HTTPS_PORT, NATS_PORT};
use ironbeat_rack::logfile::LogCursor;
use ironbeat_rack::logins::Logins;
use ironbeat_rack::machine::KERNEL_ARGS;
use ironbeat_rack::process::{Process, run};
use ironbeat_rack::rack::{Rack, RackSpec};
use ironbeat_rack::secrets;
use serde_json::Value;

use crate::product::Product;

/// One call of the command line takes some 30 ms; an overloaded machine gets room.
/// Under which it is served.
const RESCUE: &str = "rescue.cpio.zst";
const CLI_TIMEOUT: Duration = Duration::from_secs(30);
/// A worker is ready within a second; its view of the nodes is loaded by then.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A rack with workers.
#[derive(Debug)]
pub struct Cluster {
    workers: Vec<Option<Process>>,
    product: Product,
    /// `[policy]` of every worker, as TOML lines.
    policy: String,
    /// Lines of `[http]` of every worker.
    http: String,
    /// The rack; its nodes are enrolled by [`Self::enroll`].
    pub rack: Rack,
    logins: Logins,
    /// What commands printed.
    said: Mutex<String>,
}

impl Cluster {
    /// Starts the rack and `workers` workers, and waits until they answer. `policy` is lines of the worker's `[policy]`.
    ///
    /// # Errors
    /// When a part does not come up.
    pub fn start(product: Product, spec: RackSpec, workers: usize, policy: &str) -> Result<Self> {
        let host = GATEWAY.to_string();
        let logins = Logins::init(&product.ironbeat, &["--tls", "--host", &host])?;
        Self::start_as(logins, product, spec, workers, policy, "")
    }

    /// The same as a site that there is. `http` is lines of the worker's `[http]`.
    ///
    /// # Errors
    /// When a part does not come up.
    pub fn start_as(
        logins: Logins,
        product: Product,
        spec: RackSpec,
        workers: usize,
        policy: &str,
        http: &str,
    ) -> Result<Self> {
        let nats_config = spec.nats_config + &logins.server_lines()?;
        let spec = RackSpec {
            nats_config,
            ..spec
        };
        let rack = Rack::start(spec)?;
        let images = rack.dir().join("images");
        std::fs::create_dir(&images).with_context(|| format!("make {}", images.display()))?;
        std::os::unix::fs::symlink(&product.image, images.join(product.image_name()))
            .context("link the image")?;
        std::os::unix::fs::symlink(&product.rescue, images.join(RESCUE))
            .context("link the rescue system")?;
        let mut cluster = Self {
            workers: Vec::new(),
            product,
            policy: policy.into(),
            http: http.into(),
            rack,
            logins,
            said: Mutex::default(),
        };
        for index in 0..workers {
            cluster.workers.push(None);
            cluster.start_worker(index)?;
        }
        for index in 0..workers {
            cluster.wait_worker(index)?;
        }
        Ok(cluster)
    }

    /// The `ironbeat` binary.
    pub fn ironbeat(&self) -> &Path {
        &self.product.ironbeat
    }

    /// Who may do what.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Starts worker `index` (from 0), or starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_worker(&mut self, index: usize) -> Result<()> {
        let name = worker_name(index);
        let n = u16::try_from(index).context("worker number")?;
        let port = BOOT_PORT + n;
        let https = SocketAddr::new(GATEWAY.into(), HTTPS_PORT + n);
        let https = match self.logins.ca().exists() {
            true => self.logins.https(&self.product.ironbeat, &name, https)?,
            false => String::new(),
        };
        let dnsmasq = self.rack.dnsmasq();
        let config = format!(
            "id = '{name}'\n[nats]\nservers = ['nats://{GATEWAY}:{NATS_PORT}']\nlogin = '{}'\n[http]\nlisten = '{GATEWAY}:{port}'\n\
             boot_dir = '{}'\nimage_dir = '{}'\nkernel_args = '{KERNEL_ARGS}'\n{}\n{https}\
             [dnsmasq]\nhosts_dir = '{}'\ntftp_dir = '{}'\nbus = '{}'\nbus_name = '{BUS_NAME}'\n{}[policy]\n{}\n\
             rescue_image = '{RESCUE}'\nrescue_checksum = 'sha256:{}'\n",
            self.logins.worker().display(),
            self.product.boot_dir.display(),
            self.rack.dir().join("images").display(),
            self.http,
            dnsmasq.hosts_dir().display(),
            dnsmasq.tftp_dir().display(),
            dnsmasq.bus_address(),
            secrets::section(self.rack.dir())?,
            self.policy,
            self.product.rescue_sha256,
        );
        let path = self.rack.dir().join(format!("{name}.toml"));
        std::fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let mut command = Command::new(&self.product.ironbeat);
        command
            .args(["conductor", "--config"])
            .arg(&path)
            .env("IRONBEAT_LOG", "info,ironbeat=debug");
        self.workers[index] = Some(self.rack.spawn_worker(&name, command)?);
        Ok(())
    }

    /// # Errors
    /// When the worker does not say that it is ready.
    pub fn wait_worker(&mut self, index: usize) -> Result<()> {
        let worker = self.workers[index]
            .as_mut()
            .context("the worker was not started")?;
        worker.wait_for_log("ready", READY_TIMEOUT)?;
        Ok(())
    }

    /// Kills a worker as `kill -9` does.
    pub fn kill_worker(&mut self, index: usize) {
        if let Some(mut worker) = self.workers[index].take() {
            worker.kill();
        }
    }

    /// Whether every started worker still runs.
    pub fn workers_alive(&mut self) -> bool {
        self.workers.iter_mut().flatten().all(Process::is_running)
    }

    /// All that a worker has printed.
    pub fn worker_log(&self, index: usize) -> LogCursor {
        LogCursor::at_start(self.rack.worker_log(&worker_name(index)))
    }

    /// The product's command line inside the rack, connected to its NATS.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn cli_command(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.rack.command(&self.product.ironbeat)?;
        command.env("IRONBEAT_NATS", format!("nats://{GATEWAY}:{NATS_PORT}"));
        command.env("IRONBEAT_CREDS", self.logins.admin());
        if self.logins.ca().exists() {
            command.env("IRONBEAT_CA", self.logins.ca());
        }
        command.env("IRONBEAT_BMC_PASSWORD", &self.rack.login().password);
        command.args(args);
        Ok(command)
    }

    /// Runs `ironbeat ARGS --json`.
    ///
    /// # Errors
    /// What the command line printed as its error.
    pub fn cli(&self, args: &[&str]) -> Result<Value> {
        let mut command = self.cli_command(args)?;
        command.arg("--json");
        let output = self.run(command)?;
        serde_json::from_str(&output)
            .with_context(|| format!("understand the output of ironbeat {}", args.join(" ")))
    }

    /// Runs `ironbeat ARGS` and returns what a person would read.
    ///
    /// # Errors
    /// What the command line printed as its error.
    pub fn cli_text(&self, args: &[&str]) -> Result<String> {
        self.run(self.cli_command(args)?)
    }

    /// The standard output of a command line that was made here.
    ///
    /// # Errors
    /// What it printed as its error.
    pub fn run(&self, command: Command) -> Result<String> {
        let output = run(command, CLI_TIMEOUT)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&format!("{out}\n{err}\n"));
        if !output.status.success() {
            bail!("{}", err.trim());
        }
        Ok(out)
    }

    /// All that workers, machines and the commands so far have printed, by who it was.
    pub fn printed(&self) -> Vec<(String, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![("a command".to_string(), said.clone())];
        let workers = (0..self.workers.len()).map(|n| (worker_name(n), self.worker_log(n).text()));
        all.extend(workers);
        let nodes = 1..=self.rack.machines().len();
        let consoles = nodes.map(|n| {
            (
                format!("the console of {}", node_name(n)),
                self.rack.console(n).text(),
            )
        });
        all.extend(consoles);
        all
    }

    /// Enrolls a node of the rack as `node<I>`, known by its first NIC's MAC; `extra` is more arguments.
    ///
    /// # Errors
    /// When the conductor refuses.
    pub fn enroll(&self, node: usize, extra: &[&str]) -> Result<Value> {
        let number = self.rack.machine(node).node();
        let (name, bmc) = (node_name(node), number.bmc_address().to_string());
        let (mac, user) = (number.mac(0).to_string(), self.rack.login().user.clone());
        let mut args = vec![
            "node",
            "enroll",
            "--name",
            &name,
            "--bmc",
            &bmc,
            "--bmc-user",
            &user,
            "--mac",
            &mac,
        ];
        args.extend(extra);
        self.cli(&args)
    }

    /// Deploys the product's own demo image.
    ///
    /// # Errors
    /// When the conductor refuses.
    pub fn deploy(&self, node: usize, hostname: &str) -> Result<Value> {
        let args = self.deploy_args(node, hostname);
        self.cli(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, for whoever types it.
    pub fn deploy_args(&self, node: usize, hostname: &str) -> Vec<String> {
        let product = &self.product;
        let (image, sha256) = (product.image_name(), &product.image_sha256);
        let node = node_name(node);
        format!(
            "node deploy {node} --image {image} --checksum sha256:{sha256} --hostname {hostname}"
        )
        .split(' ')
        .map(Into::into)
        .collect()
    }

    /// `ironbeat node show`.
    ///
    /// # Errors
    /// When the conductor does not answer.
    pub fn show(&self, node: usize) -> Result<Value> {
        self.cli(&["node", "show", &node_name(node)])
    }

    /// Waits until a worker answers again: after the NATS server was away, they come back within seconds.
    ///
    /// # Errors
    /// When none does in time.
    pub fn wait_answer(&self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            match self.cli(&["workers"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Waits until the node is in one of these states.
    ///
    /// # Errors
    /// When it rests in another state, or `timeout` passes; says what `explain` says.
    pub fn wait_state(&self, node: usize, states: &[&str], timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let shown = self.show(node)?;
            let state = shown["provision_state"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if states.contains(&state.as_str()) {
                return Ok(shown);
            }
            let resting = shown.get("wake_at").is_none_or(Value::is_null);
            if resting || Instant::now() > deadline {
                let explained = self.cli_text(&["node", "explain", &node_name(node)])?;
                bail!(
                    "{} is {state}, not {states:?}:\n{explained}",
                    node_name(node)
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the node is working at this step of its job.
    ///
    /// # Errors
    /// When it comes to rest before, or `timeout` passes.
    pub fn wait_step(&self, node: usize, step: &str, timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let shown = self.show(node)?;
            let job = &shown["state"]["busy"];
            let at = job["at"].as_u64().unwrap_or_default() as usize;
            let text = job["steps"][at].to_string();
            if !job.is_null() && text.contains(step) {
                return Ok(shown);
            }
            if job.is_null() || Instant::now() > deadline {
                bail!(
                    "{} never came to {step}: {}",
                    node_name(node),
                    shown["provision_state"]
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// From enroll to `available`.
    ///
    /// # Errors
    /// When a step does not lead where it should.
    pub fn make_available(&self, node: usize, timeout: Duration) -> Result<()> {
        self.cli(&["node", "manage", &node_name(node)])?;
        self.wait_state(node, &["manageable"], timeout)?;
        self.cli(&["node", "provide", &node_name(node)])?;
        self.wait_state(node, &["available"], timeout)?;
        Ok(())
    }

    /// The error on record, in the operator's words.
    ///
    /// # Errors
    /// When the conductor does not answer.
    pub fn last_error(&self, node: usize) -> Result<String> {
        Ok(self.show(node)?["last_error"]["what"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

/// A site for racks in a directory that stays, for [`Cluster::start_as`].
///
/// # Errors
/// What `ironbeat auth init` said.
pub fn make_site(ironbeat: &Path, dir: &Path) -> Result<()> {
    Logins::init_at(ironbeat, dir, &["--tls", "--host", &GATEWAY.to_string()])
}

fn worker_name(index: usize) -> String {
    format!("w{}", index + 1)
}

/// How the cluster names a node of the rack.
pub fn node_name(node: usize) -> String {
    format!("node{node}")
}
