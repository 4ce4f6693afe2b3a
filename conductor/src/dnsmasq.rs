//! Keeps dnsmasq's hosts directory and the first boot script as the records want them, and listens for leases.
//! DHCP itself is dnsmasq's; an existing DHCP server with static rules works too, then nothing of this is configured.
use crate::config::DnsmasqConfig;
use futures_util::StreamExt;
use ironbeat_common::boot::Boot;
use ironbeat_common::id::{Mac, NodeId};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A D-Bus call that takes longer finds dnsmasq wedged.
const CALL: Duration = Duration::from_secs(5);
/// Between two tries to reach the bus.
const PAUSE: Duration = Duration::from_secs(5);
/// Tags that dnsmasq's configuration knows: boot from the network, or fall through to the disk.
const NETBOOT: &str = "ibnetboot";
const LOCAL: &str = "iblocal";
/// Our files in the hosts directory, which are ours to delete.
const FILE_PREFIX: &str = "ironbeat-";

#[derive(Debug, thiserror::Error)]
pub enum DnsmasqError {
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("list {path}: {source}")]
    List { path: PathBuf, source: io::Error },
    #[error("call {method} of dnsmasq over D-Bus: {why}")]
    Call { method: &'static str, why: String },
}

pub struct Dnsmasq {
    config: DnsmasqConfig,
    /// What each of our files says, so that only changes are written.
    written: BTreeMap<PathBuf, String>,
    begun: bool,
    leases: JoinHandle<()>,
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.leases.abort();
    }
}

impl Dnsmasq {
    /// Begins to listen for leases; `on_lease` is called for each new or renewed one.
    pub fn start(
        config: DnsmasqConfig,
        on_lease: impl Fn(Mac, IpAddr) + Send + Sync + 'static,
    ) -> Self {
        let leases = tokio::spawn(watch_leases(config.clone(), on_lease));
        Self {
            config,
            written: BTreeMap::new(),
            begun: false,
            leases,
        }
    }

    /// Makes the directories say what is desired. Files are replaced whole, never seen half-written.
    pub async fn apply(
        &mut self,
        desired: &BTreeMap<NodeId, (Vec<Mac>, Boot)>,
        entry_script: &str,
    ) -> Result<(), DnsmasqError> {
        let mut wanted: BTreeMap<PathBuf, String> = desired
            .iter()
            .filter(|(_, (macs, _))| !macs.is_empty())
            .map(|(id, (macs, boot))| {
                (
                    self.config.hosts_dir.join(format!("{FILE_PREFIX}{id}")),
                    hosts(macs, *boot),
                )
            })
            .collect();
        wanted.insert(self.config.tftp_dir.join("boot.ipxe"), entry_script.into());
        if !self.begun {
            self.written = self.found()?;
            self.begun = true;
        }
        let gone: Vec<PathBuf> = self
            .written
            .keys()
            .filter(|path| !wanted.contains_key(*path))
            .cloned()
            .collect();
        let mut hosts_changed = false;
        for (path, text) in wanted {
            if self.written.get(&path) != Some(&text) {
                write_whole(&path, &text)?;
                hosts_changed |= path.starts_with(&self.config.hosts_dir);
                self.written.insert(path, text);
            }
        }
        for path in gone {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(DnsmasqError::Write { path, source }),
            }
            hosts_changed = true;
            self.written.remove(&path);
        }
        if hosts_changed {
            // inotify tells dnsmasq of new files; rules of changed and deleted ones go only when it reads all again.
            self.call_clear_cache().await?;
        }
        Ok(())
    }

    /// Our files of an earlier life: what is as it should be is left alone, the rest goes.
    fn found(&self) -> Result<BTreeMap<PathBuf, String>, DnsmasqError> {
        let list = |source| DnsmasqError::List {
            path: self.config.hosts_dir.clone(),
            source,
        };
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.config.hosts_dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let ours = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(FILE_PREFIX));
            if ours {
                found.insert(
                    path.clone(),
                    std::fs::read_to_string(&path).unwrap_or_default(),
                );
            }
        }
        Ok(found)
    }

    async fn call_clear_cache(&self) -> Result<(), DnsmasqError> {
        let fail = |why: String| DnsmasqError::Call {
            method: "ClearCache",
            why,
        };
        let call = async {
            let connection = connect(&self.config).await?;
            proxy(&connection, &self.config)
                .await?
                .call_method("ClearCache", &())
                .await
        };
        match tokio::time::timeout(CALL, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Err(_) => Err(fail(format!("no answer within {} s", CALL.as_secs()))),
        }
    }
}

fn hosts(macs: &[Mac], boot: Boot) -> String {
    let tag = match boot {
        Boot::Ramdisk => NETBOOT,
        Boot::Disk => LOCAL,
    };
    macs.iter()
        .map(|mac| format!("{mac},set:{tag}\n"))
        .collect()
}

/// Written beside the directory's own names (dnsmasq ignores names that begin with a dot), then renamed.
fn write_whole(path: &Path, text: &str) -> Result<(), DnsmasqError> {
    let fail = |source| DnsmasqError::Write {
        path: path.into(),
        source,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Several workers may share the directory; each has its own half-written file.
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::write(&temporary, text).map_err(fail)?;
    std::fs::rename(&temporary, path).map_err(fail)
}

async fn connect(config: &DnsmasqConfig) -> zbus::Result<zbus::Connection> {
    match &config.bus {
        Some(address) => {
            zbus::connection::Builder::address(address.as_str())
                .build()
                .await
        }
        None => zbus::Connection::system().await,
    }
}

async fn proxy<'a>(
    connection: &'a zbus::Connection,
    config: &'a DnsmasqConfig,
) -> zbus::Result<zbus::Proxy<'a>> {
    zbus::Proxy::new(
        connection,
        config.bus_name.as_str(),
        "/uk/org/thekelleys/dnsmasq",
        config.bus_name.as_str(),
    )
    .await
}

/// On a connection of its own, always drained: a full signal queue would block every call on the same connection.
async fn watch_leases(config: DnsmasqConfig, on_lease: impl Fn(Mac, IpAddr)) {
    let mut last = String::new();
    loop {
        let why = match watch_leases_once(&config, &on_lease).await {
            Ok(()) => "the bus closed the connection".to_string(),
            Err(error) => error.to_string(),
        };
        // The same trouble is said once, not every few seconds.
        if why != last {
            tracing::warn!("dnsmasq over D-Bus: {why}; trying again");
            last = why;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn watch_leases_once(
    config: &DnsmasqConfig,
    on_lease: &impl Fn(Mac, IpAddr),
) -> zbus::Result<()> {
    let connection = connect(config).await?;
    let proxy = proxy(&connection, config).await?;
    let mut signals = proxy.receive_all_signals().await?;
    let version: String = proxy.call("GetVersion", &()).await?;
    tracing::info!(version, "dnsmasq answers");
    while let Some(signal) = signals.next().await {
        let header = signal.header();
        let added = header
            .member()
            .is_some_and(|member| matches!(member.as_str(), "DhcpLeaseAdded" | "DhcpLeaseUpdated"));
        if !added {
            continue;
        }
        let body = signal.body();
        let Ok((ip, mac, _host)) = body.deserialize::<(String, String, String)>() else {
            continue;
        };
        if let (Ok(ip), Ok(mac)) = (ip.parse(), mac.parse()) {
            on_lease(mac, ip);
        }
    }
    Ok(())
}
