//! Keeps dnsmasq's hosts directory, the first boot script and GRUB's files as the records want them.
//! dnsmasq does DHCP, `bus` is its D-Bus side. An existing DHCP server with static rules works too; then nothing
//! of this is configured.
mod bus;
pub mod fuzz;
mod signed;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod tests;

pub(crate) use signed::FOLDER;

use crate::config::DnsmasqConfig;
use ironbeat_common::id::Mac;
use ironbeat_core::boot::{Boot, Loader, loader_of};
use ironbeat_core::index::Entry;
use ironbeat_core::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What dnsmasq's configuration gives to unknown machines.
const UNKNOWN: Host = Host::Ramdisk(Loader::Ipxe);
/// Our files in the hosts directory begin with this; we change no others.
const FILE_PREFIX: &str = "ironbeat-";
/// The script that dnsmasq gives to iPXE.
const ENTRY_SCRIPT: &str = "boot.ipxe";
/// Where files are written before they are renamed into place: a name that dnsmasq skips, because of its dot, and
/// a directory of its own, because dnsmasq wakes up for every file that is closed beside the others.
const STAGING: &str = ".staging";
/// Host files written at once; the rest has its turn with the next call. dnsmasq 2.90 goes through all rules it knows at
/// every file (1 ms with 15,000) and answers no machine meanwhile; and it never hears of what is beyond the kernel's
/// 16,384 unread inotify events.
const MAX_WRITES: usize = 1000;
/// How often to read the directories again, which puts right what others did to our files, or a lost disk. A forgotten
/// machine's last file stays this long too, for dnsmasq to read.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A D-Bus call that takes longer means that dnsmasq is wedged.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum DnsmasqError {
    #[error("write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be read, and machines with Secure Boot boot nothing without it: {source}", path.display())]
    Lacks { path: PathBuf, source: io::Error },
    #[error("delete {}: {source}", path.display())]
    Delete { path: PathBuf, source: io::Error },
    #[error("list {}: {source}", path.display())]
    List { path: PathBuf, source: io::Error },
    /// The attempt, such as `reach the bus …`.
    #[error("{attempt}: {source}")]
    Bus {
        attempt: String,
        source: Box<zbus::Error>,
    },
    #[error("{attempt}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { attempt: String },
}

/// What DHCP sends a machine to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Disk,
    Ramdisk(Loader),
}

impl Host {
    const ALL: [Host; 3] = [
        Host::Disk,
        Host::Ramdisk(Loader::Ipxe),
        Host::Ramdisk(Loader::Shim),
    ];

    pub fn of(node: &Entry, policy: &Policy) -> Self {
        match node.boot {
            Boot::Disk => Host::Disk,
            Boot::Ramdisk => Host::Ramdisk(loader_of(node.secure_boot, policy)),
        }
    }

    /// As dnsmasq's configuration knows them.
    fn tags(self) -> &'static str {
        match self {
            Host::Disk => "set:iblocal",
            Host::Ramdisk(Loader::Ipxe) => "set:ibnetboot",
            Host::Ramdisk(Loader::Shim) => "set:ibnetboot,set:ibsecure",
        }
    }
}

/// What the TFTP directory shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TftpFiles {
    /// iPXE's first script.
    pub entry_script: String,
    /// The signed GRUB's configuration.
    pub grub_config: String,
    /// Where GRUB's kernel and ramdisk are.
    pub boot_dir: PathBuf,
}

/// Follows the records. Several workers may follow them into the same directories: they agree sooner or later, because
/// each writes what the same records say.
pub struct Dnsmasq {
    config: DnsmasqConfig,
    /// What each known NIC shall boot.
    wanted: BTreeMap<Mac, Host>,
    /// What our host files say, as far as we know; none: something else.
    hosts: BTreeMap<Mac, Option<Host>>,
    /// Files that do not say what is wanted.
    due: BTreeSet<Mac>,
    /// Forgotten machines, whose files said so already at the last look.
    fading: BTreeSet<Mac>,
    /// None: they may say anything.
    tftp: Option<TftpFiles>,
    looked: Option<Instant>,
    leases: JoinHandle<()>,
    health: watch::Receiver<Option<String>>,
    /// How often a file was compared with what is wanted.
    #[cfg(test)]
    compared: usize,
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.leases.abort();
    }
}

impl Dnsmasq {
    /// Listens for leases; `on_lease` is called for each new or renewed one, on a task that only listens, so it must not
    /// block. While the bus or dnsmasq is away it says so in the log and tries again.
    pub fn start(
        config: DnsmasqConfig,
        on_lease: impl Fn(Mac, IpAddr) + Send + Sync + 'static,
    ) -> Self {
        let (tell, health) = watch::channel(None);
        let leases = tokio::spawn(bus::watch_leases(config.clone(), on_lease, tell));
        Self {
            config,
            wanted: BTreeMap::new(),
            hosts: BTreeMap::new(),
            due: BTreeSet::new(),
            fading: BTreeSet::new(),
            tftp: None,
            looked: None,
            leases,
            health,
            #[cfg(test)]
            compared: 0,
        }
    }

    /// Why dnsmasq does not answer; none: it does, or nobody has asked it yet.
    pub fn trouble(&self) -> Option<String> {
        self.health.borrow().clone()
    }

    /// dnsmasq's own counters (`GetMetrics`): packets by kind, leases, since it started.
    ///
    /// # Errors
    /// When the bus or dnsmasq is away, or does not answer in time.
    pub async fn metrics(config: &DnsmasqConfig) -> Result<BTreeMap<String, u32>, DnsmasqError> {
        bus::call(config, "GetMetrics").await
    }

    /// # Errors
    /// When the bus or dnsmasq is away, or does not answer in time.
    pub async fn version(config: &DnsmasqConfig) -> Result<String, DnsmasqError> {
        bus::call(config, "GetVersion").await
    }

    /// From now on that NIC boots this; none: it is no node's any more. Costs the same however many others there are.
    pub fn want(&mut self, mac: Mac, host: Option<Host>) {
        match host {
            Some(host) => drop(self.wanted.insert(mac, host)),
            None => drop(self.wanted.remove(&mac)),
        }
        self.compare(mac);
    }

    /// From now on these NICs boot this, and no others are known.
    pub fn want_all(&mut self, wanted: BTreeMap<Mac, Host>) {
        self.wanted = wanted;
        self.compare_all();
    }

    fn compare(&mut self, mac: Mac) {
        #[cfg(test)]
        {
            self.compared += 1;
        }
        match self.hosts.get(&mac).copied() == self.content(mac).map(Some) {
            true => self.due.remove(&mac),
            false => self.due.insert(mac),
        };
    }

    fn compare_all(&mut self) {
        let known = self.hosts.keys().chain(self.wanted.keys());
        let known: Vec<Mac> = known.copied().collect();
        self.due.clear();
        known.into_iter().for_each(|mac| self.compare(mac));
    }

    /// What the file of this NIC has to say; none: it needs no file.
    fn content(&self, mac: Mac) -> Option<Host> {
        let forgotten = self.hosts.contains_key(&mac).then_some(UNKNOWN);
        self.wanted.get(&mac).copied().or(forgotten)
    }

    /// Makes the directories say what is wanted. Files are replaced whole, never seen half-written. Where nothing is to be
    /// written, and no look is due, it touches nothing.
    ///
    /// dnsmasq sees new and changed files by itself, and the latest word on a MAC counts; but it keeps the rule of a
    /// deleted file until it is restarted. Reading all again (D-Bus `ClearCache`, SIGHUP) would drop it, but ends
    /// dnsmasq 2.90 whenever a machine whose rule sets a tag has been answered before (double free). So the file of a
    /// forgotten machine first says what is true of every unknown one, and goes when dnsmasq has read that.
    ///
    /// # Errors
    /// The first file that could not be written; all others were, and the next call tries again.
    pub fn apply(&mut self, tftp: &TftpFiles) -> Result<(), DnsmasqError> {
        let mut result = Ok(());
        let look = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN);
        if look {
            result = result.and(self.look());
        }
        result = result.and(self.write_tftp(tftp));
        let batch: Vec<Mac> = self.due.iter().copied().take(MAX_WRITES).collect();
        for mac in batch {
            let host = self.content(mac);
            let written = match host {
                Some(host) => put(&self.host_file(mac), &rule(mac, host)),
                None => Ok(()),
            };
            match written {
                Ok(()) => {
                    self.due.remove(&mac);
                    if host.is_some() {
                        self.hosts.insert(mac, host);
                    }
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Reads what is there, and deletes the files of machines that were forgotten before the last look.
    fn look(&mut self) -> Result<(), DnsmasqError> {
        self.looked = Some(Instant::now());
        self.hosts.clear();
        self.tftp = None;
        let faded = std::mem::take(&mut self.fading);
        let result = self.read_hosts(&faded);
        self.compare_all();
        result
    }

    fn read_hosts(&mut self, faded: &BTreeSet<Mac>) -> Result<(), DnsmasqError> {
        let hosts_dir = self.config.hosts_dir.clone();
        let list = |source| DnsmasqError::List {
            path: hosts_dir.clone(),
            source,
        };
        let mut result = Ok(());
        for entry in std::fs::read_dir(&hosts_dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let Some(mac) = mac_of(&path) else { continue };
            // An unreadable file is written anew.
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let says = Host::ALL.into_iter().find(|host| text == rule(mac, *host));
            if !self.wanted.contains_key(&mac) && says == Some(UNKNOWN) {
                if faded.contains(&mac) {
                    result = result.and(delete(&path));
                    continue;
                }
                self.fading.insert(mac);
            }
            self.hosts.insert(mac, says);
        }
        result
    }

    fn write_tftp(&mut self, files: &TftpFiles) -> Result<(), DnsmasqError> {
        if self.tftp.as_ref() == Some(files) {
            return Ok(());
        }
        let dir = &self.config.tftp_dir;
        put(&dir.join(ENTRY_SCRIPT), &files.entry_script)?;
        signed::write(dir, files)?;
        let is_used = self
            .wanted
            .values()
            .any(|host| *host == Host::Ramdisk(Loader::Shim));
        if is_used {
            signed::check(dir)?;
        }
        self.tftp = Some(files.clone());
        Ok(())
    }

    fn host_file(&self, mac: Mac) -> PathBuf {
        self.config
            .hosts_dir
            .join(format!("{FILE_PREFIX}{}", mac.hex()))
    }
}

fn mac_of(path: &Path) -> Option<Mac> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(FILE_PREFIX)?.parse().ok()
}

fn rule(mac: Mac, host: Host) -> String {
    format!("{mac},{}\n", host.tags())
}

/// Replaces a file whole; leaves one alone that says so already, perhaps written by another worker.
fn put(path: &Path, text: &str) -> Result<(), DnsmasqError> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let write = |staged: &Path| std::fs::write(staged, text);
    replace(path, write).map_err(|source| DnsmasqError::Write {
        path: path.into(),
        source,
    })
}

/// `make` makes it where nobody looks, and it takes its place whole.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let staging = path.with_file_name(STAGING);
    match std::fs::create_dir(&staging) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Each worker stages for itself.
    let staged = staging.join(format!("{name}.{}", std::process::id()));
    make(&staged)?;
    std::fs::rename(&staged, path)
}

fn delete(path: &Path) -> Result<(), DnsmasqError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DnsmasqError::Delete {
            path: path.into(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
