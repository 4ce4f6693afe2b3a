//! Owns the rack's network namespace: made, populated by `ip`, entered by programs and threads, removed, swept.
//! Leaves addresses and names to `layout`, and what runs inside to others.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::exec::enter_netns;
use crate::layout::{BMC_NET, BRIDGE, BRIDGE_TWO, GATEWAY, GATEWAY6};
use crate::owner::{Owner, PREFIX};
use crate::process::{find_program, run_ok};

/// `ip` answers in milliseconds; deleting a namespace waits for the kernel's global network lock.
const IP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where iproute2 keeps named namespaces.
const NAMED: &str = "/run/netns";

/// A network namespace. Removed on drop; one that was left by a killed process is removed by the next [`Netns::create`].
#[derive(Debug)]
pub struct Netns {
    kind: Kind,
    handle: File,
    removed: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    /// Made by `ip netns add`.
    Named(String),
    /// The one this process was started in, by `unshare -Urn`: inside a user namespace `ip netns` can't mount names.
    /// The socket's abstract name exists once per network namespace, so it tells whether another rack is in here.
    Current { _only_rack_here: UnixListener },
}

impl Netns {
    /// Makes a namespace (or takes the current one inside a user namespace) with `lo`, the BMC network and one bridge,
    /// or two.
    ///
    /// # Errors
    /// When the process may not (needs root, or `unshare -Urn`), or an `ip` command fails.
    pub fn create(name: &str, two_bridges: bool) -> Result<Self> {
        // What killed racks left goes first; failing at that harms nobody.
        drop(sweep());
        let netns = if in_user_namespace() {
            Self::take_current()?
        } else {
            Self::add_named(name)?
        };
        let bridges = if two_bridges {
            &[BRIDGE, BRIDGE_TWO][..]
        } else {
            &[BRIDGE][..]
        };
        netns.ip(&links(bridges))?;
        Ok(netns)
    }

    /// Makes a namespace with `lo` alone, for a host that is plugged in by a cable of its own (see `host`).
    ///
    /// # Errors
    /// When the process is not root, or an `ip` command fails.
    pub fn create_bare(name: &str) -> Result<Self> {
        let netns = Self::add_named(name)?;
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(netns)
    }

    fn add_named(name: &str) -> Result<Self> {
        run_ok(ip_command(&["netns", "add", name])?, IP_TIMEOUT)
            .context("make a network namespace (needs root)")?;
        let path = Path::new(NAMED).join(name);
        let handle = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self {
            kind: Kind::Named(name.to_owned()),
            handle,
            removed: AtomicBool::new(false),
        })
    }

    fn take_current() -> Result<Self> {
        let address = SocketAddr::from_abstract_name("ironbeat-rack").context("name a socket")?;
        let only_rack_here = UnixListener::bind_addr(&address)
            .context("take the current network namespace (does another rack live in it?)")?;
        let handle =
            File::open("/proc/self/ns/net").context("open the current network namespace")?;
        let netns = Self {
            kind: Kind::Current {
                _only_rack_here: only_rack_here,
            },
            handle,
            removed: AtomicBool::new(false),
        };
        netns.delete_links()?;
        Ok(netns)
    }

    /// Its name for `ip netns exec`; `None` when it is the one that the whole process runs in.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Named(name) => Some(name),
            Kind::Current { .. } => None,
        }
    }

    /// A command that will run inside.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.apply(&mut command)?;
        Ok(command)
    }

    /// Makes `command` run inside.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn apply(&self, command: &mut Command) -> Result<()> {
        if let Kind::Named(_) = self.kind {
            enter_netns(
                command,
                self.handle
                    .try_clone()
                    .context("duplicate the namespace's handle")?,
            );
        }
        Ok(())
    }

    /// Runs `work` on a thread inside the namespace: sockets made there stay inside, wherever they are used later.
    ///
    /// # Errors
    /// When the thread can't enter, or the error of `work`.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let enter_and_work = || {
                if let Kind::Named(name) = &self.kind {
                    move_into_link_name_space(
                        self.handle.as_fd(),
                        Some(LinkNameSpaceType::Network),
                    )
                    .with_context(|| format!("enter network namespace {name}"))?;
                }
                work()
            };
            let result = scope.spawn(enter_and_work).join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs lines of `ip -batch` inside.
    ///
    /// # Errors
    /// When `ip` refuses one of them.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut batch = tempfile::NamedTempFile::new().context("make a file of ip commands")?;
        batch
            .write_all(lines.join("\n").as_bytes())
            .context("write ip commands")?;
        let mut command = ip_command(&["-batch"])?;
        command.arg(batch.path());
        self.apply(&mut command)?;
        run_ok(command, IP_TIMEOUT)
            .with_context(|| format!("set up links: {}", lines.join("; ")))?;
        Ok(())
    }

    /// Adds tap devices and plugs each into a bridge: `(tap, bridge)`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn add_taps(&self, cables: &[(String, &str)]) -> Result<()> {
        let lines = cables.iter().flat_map(|(tap, bridge)| {
            [
                format!("tuntap add dev {tap} mode tap"),
                // No IPv6 on the host's end: it would only send router solicitations into the rack.
                format!("link set {tap} addrgenmode none"),
                format!("link set {tap} master {bridge}"),
                format!("link set {tap} up"),
            ]
        });
        self.ip(&lines.collect::<Vec<_>>())
    }

    /// Kills what still runs inside and removes the namespace, whoever else holds a handle to it. Once is enough.
    pub fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        // Failures leave it to the next run's sweep.
        let _ = match &self.kind {
            Kind::Named(name) => remove_named(name),
            Kind::Current { .. } => self.delete_links(),
        };
    }

    /// Names of the links inside.
    fn links(&self) -> Result<Vec<String>> {
        let mut command = ip_command(&["-o", "link", "show"])?;
        self.apply(&mut command)?;
        let listing = run_ok(command, IP_TIMEOUT)?;
        let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
        Ok(listing.lines().filter_map(name).collect())
    }

    fn delete_links(&self) -> Result<()> {
        let ours = |link: &String| link == BRIDGE || link == BRIDGE_TWO || link.starts_with("tap");
        let mut lines: Vec<String> = self
            .links()?
            .into_iter()
            .filter(ours)
            .map(|l| format!("link del {l}"))
            .collect();
        if !lines.is_empty() {
            lines.push(format!("route flush table local {BMC_NET}"));
        }
        self.ip(&lines)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The commands that make the rack's links; see `layout` for the numbers.
fn links(bridges: &[&str]) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("route add local {BMC_NET} dev lo"),
    ];
    for bridge in bridges {
        lines.extend([
            // No forwarding delay and no spanning tree: a port forwards the moment QEMU opens its tap.
            // 0x4000 lets LLDP (01:80:c2:00:00:0e) through, which a bridge keeps to itself otherwise.
            format!(
                "link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0 group_fwd_mask 0x4000"
            ),
            // Addresses without duplicate detection are usable at once; a bridge without a carrier never finishes it.
            format!("link set {bridge} addrgenmode none"),
            format!("link set {bridge} up"),
        ]);
    }
    lines.extend([
        format!("addr add {GATEWAY}/24 dev {BRIDGE}"),
        format!("addr add {GATEWAY6}/64 dev {BRIDGE} nodad"),
        format!("addr add fe80::1/64 dev {BRIDGE} nodad"),
    ]);
    lines
}

/// True inside `unshare -U`: the map of user ids is not the whole one.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let first: Vec<&str> = map
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    first != ["0", "0", "4294967295"]
}

/// Removes namespaces whose owner is gone, and what still runs in them. Returns their names.
///
/// # Errors
/// When named namespaces can't be listed.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for name in named_by_us()? {
        let dead = Owner::of(&name).is_some_and(|owner| !owner.is_alive());
        // Another run may sweep at the same moment; losing that race is fine.
        if dead && remove_named(&name).is_ok() {
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Names of all namespaces that a rack made, of any process.
///
/// # Errors
/// When the directory of named namespaces exists and can't be read.
pub fn named_by_us() -> Result<Vec<String>> {
    let entries = match fs::read_dir(NAMED) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("list {NAMED}"))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter(|name| name.starts_with(&format!("{PREFIX}-")) && Owner::of(name).is_some())
        .collect())
}

/// Processes whose network namespace is the one named `name`.
///
/// # Errors
/// When there is no such namespace.
pub fn processes_in(name: &str) -> Result<Vec<u32>> {
    let path = Path::new(NAMED).join(name);
    let namespace = fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
    let is_inside = |pid: &u32| {
        let theirs = fs::metadata(PathBuf::from(format!("/proc/{pid}/ns/net")));
        theirs
            .is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (namespace.dev(), namespace.ino()))
    };
    let entries = fs::read_dir("/proc").context("list processes")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter(is_inside).collect())
}

fn remove_named(name: &str) -> Result<()> {
    for pid in processes_in(name)? {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    run_ok(ip_command(&["netns", "del", name])?, IP_TIMEOUT)?;
    Ok(())
}

fn ip_command(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(find_program("ip", None)?);
    command.args(args);
    Ok(command)
}
