//! Keeps dnsmasq's hosts directory and the first boot script as the records want them, and listens for leases.
//! DHCP itself is dnsmasq's; an existing DHCP server with static rules works too, then nothing of this is configured.
use crate::config::DnsmasqConfig;
use futures_util::StreamExt;
use ironbeat_common::boot::Boot;
use ironbeat_common::id::Mac;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

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
    ///
    /// dnsmasq sees new and changed files by itself, but keeps the rule of a deleted one until it is restarted (its
    /// D-Bus method that reads all again ends dnsmasq 2.90 where it serves no names). So no file is ever deleted: that
    /// of a forgotten machine says what is true of every unknown one.
    pub fn apply(
        &mut self,
        desired: &BTreeMap<Mac, Boot>,
        entry_script: &str,
    ) -> Result<(), DnsmasqError> {
        if !self.begun {
            self.written = self.found()?;
            self.begun = true;
        }
        let forgotten = self
            .written
            .keys()
            .filter_map(|path| mac_of(path))
            .map(|mac| (mac, Boot::Ramdisk));
        let mut wanted: BTreeMap<Mac, Boot> = forgotten.collect();
        wanted.extend(desired);
        for (mac, boot) in wanted {
            self.write(
                self.config
                    .hosts_dir
                    .join(format!("{FILE_PREFIX}{}", mac.hex())),
                host(mac, boot),
            )?;
        }
        self.write(self.config.tftp_dir.join("boot.ipxe"), entry_script.into())
    }

    /// Written beside the directory's own names (dnsmasq ignores names that begin with a dot), then renamed.
    fn write(&mut self, path: PathBuf, text: String) -> Result<(), DnsmasqError> {
        if self.written.get(&path) == Some(&text) {
            return Ok(());
        }
        let fail = |source| DnsmasqError::Write {
            path: path.clone(),
            source,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Several workers may share the directory; each has its own half-written file.
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        std::fs::write(&temporary, &text).map_err(fail)?;
        std::fs::rename(&temporary, &path).map_err(fail)?;
        self.written.insert(path, text);
        Ok(())
    }

    /// Our files of an earlier life.
    fn found(&self) -> Result<BTreeMap<PathBuf, String>, DnsmasqError> {
        let list = |source| DnsmasqError::List {
            path: self.config.hosts_dir.clone(),
            source,
        };
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.config.hosts_dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if mac_of(&path).is_some() {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                found.insert(path, text);
            }
        }
        Ok(found)
    }
}

fn mac_of(path: &Path) -> Option<Mac> {
    path.file_name()?
        .to_str()?
        .strip_prefix(FILE_PREFIX)?
        .parse()
        .ok()
}

fn host(mac: Mac, boot: Boot) -> String {
    let tag = match boot {
        Boot::Ramdisk => NETBOOT,
        Boot::Disk => LOCAL,
    };
    format!("{mac},set:{tag}\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_follow_the_records_and_a_forgotten_machine_boots_as_an_unknown_one() {
        let (hosts, tftp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = DnsmasqConfig {
            hosts_dir: hosts.path().into(),
            tftp_dir: tftp.path().into(),
            bus: Some("unix:path=/nonexistent".into()),
            bus_name: "uk.org.thekelleys.dnsmasq".into(),
        };
        let read = || {
            let mut files: Vec<(String, String)> = std::fs::read_dir(hosts.path())
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|e| {
                    (
                        e.file_name().to_string_lossy().into(),
                        std::fs::read_to_string(e.path()).unwrap(),
                    )
                })
                .collect();
            files.sort();
            files
        };
        let mac = |n| Mac::from_bytes([2, 0, 0, 0, 0, n]);
        let mut first = Dnsmasq::start(config.clone(), |_, _| {});
        first
            .apply(
                &BTreeMap::from([(mac(1), Boot::Ramdisk), (mac(2), Boot::Disk)]),
                "#!ipxe\n",
            )
            .unwrap();
        let file = |n: u8, tag: &str| {
            (
                format!("ironbeat-02000000000{n}"),
                format!("02:00:00:00:00:0{n},set:{tag}\n"),
            )
        };
        assert_eq!(read(), [file(1, "ibnetboot"), file(2, "iblocal")]);
        assert_eq!(
            std::fs::read_to_string(tftp.path().join("boot.ipxe")).unwrap(),
            "#!ipxe\n"
        );
        // A worker that starts later finds what an earlier one wrote.
        let mut second = Dnsmasq::start(config, |_, _| {});
        second
            .apply(&BTreeMap::from([(mac(1), Boot::Disk)]), "#!ipxe\n")
            .unwrap();
        assert_eq!(read(), [file(1, "iblocal"), file(2, "ibnetboot")]);
    }
}
