//! Owns the choice of loopback ports for servers that tests start, so that parallel test processes do not collide.
//! Leaves binding them to the servers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Context as _, Result, bail};

/// Listeners stay below the kernel's ephemeral range (32768–60999): an outgoing connection of any program may take a
/// port in that range at any moment.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_767;

/// How many ports are tried before giving up; with a thousand tests running the chance of needing ten is below 10⁻⁹.
const TRIES: u64 = 100;

/// A port that no other holder of a `PortLease` has, and that no TCP or UDP socket used when it was taken.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// The lease itself: an abstract socket name per port, freed by the kernel when this process dies.
    _name: UnixListener,
}

impl PortLease {
    /// Takes a port.
    ///
    /// # Errors
    /// When none of a hundred candidates is free, or the kernel's tables of sockets cannot be read.
    pub fn take() -> Result<Self> {
        let used = used_ports()?;
        let hasher = RandomState::new();
        for attempt in 0..TRIES {
            let span = u64::from(LAST_PORT - FIRST_PORT) + 1;
            let port = FIRST_PORT
                + u16::try_from(hasher.hash_one(attempt) % span).expect("below the span of ports");
            let address = SocketAddr::from_abstract_name(format!("ironbeat-port-{port}"))?;
            if used.contains(&port) {
                continue;
            }
            if let Ok(name) = UnixListener::bind_addr(&address) {
                return Ok(Self { port, _name: name });
            }
        }
        bail!("no free loopback port in {FIRST_PORT}-{LAST_PORT} among {TRIES} tried");
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port, leased until this process ends.
    pub fn keep(self) -> u16 {
        let port = self.port;
        std::mem::forget(self);
        port
    }
}

/// The local ports of every TCP and UDP socket in this network namespace, read from the kernel's tables. Binding a port
/// to see whether it is free would take it: a child that another thread forks at that moment keeps the socket until it
/// executes its program.
fn used_ports() -> Result<BTreeSet<u16>> {
    let mut used = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let path = format!("/proc/self/net/{table}");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // A kernel without IPv6 has no such tables.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        used.extend(text.lines().skip(1).filter_map(local_port));
    }
    Ok(used)
}

/// The port of a row's second column, `ADDRESS:PORT` in hexadecimal (Linux, `Documentation/networking/proc_net_tcp.rst`).
fn local_port(row: &str) -> Option<u16> {
    let (_address, port) = row.split_whitespace().nth(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn leases_do_not_collide_and_are_bindable() {
        let leases: Vec<PortLease> = (0..50).map(|_| PortLease::take().unwrap()).collect();
        let mut ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), leases.len());
        for port in ports {
            assert!((FIRST_PORT..=LAST_PORT).contains(&port));
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn sockets_of_both_kinds_are_seen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let used = used_ports().unwrap();
        for port in [tcp.local_addr(), udp.local_addr()].map(|address| address.unwrap().port()) {
            assert!(used.contains(&port), "{port} is not among {used:?}");
        }
    }

    #[test]
    fn children_that_other_threads_fork_hold_no_leased_port() {
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..6 {
                threads.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let mut child = Command::new("true");
                        // SAFETY: the closure only sleeps, which allocates nothing and takes no lock.
                        unsafe {
                            child.pre_exec(|| {
                                std::thread::sleep(Duration::from_millis(5));
                                Ok(())
                            });
                        }
                        child.status().unwrap();
                    }
                });
            }
            let taken: Vec<(PortLease, bool)> = (0..300)
                .map(|_| PortLease::take().unwrap())
                .map(|lease| {
                    let bound = TcpListener::bind(("127.0.0.1", lease.port())).is_ok();
                    (lease, bound)
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            let refused = taken.iter().filter(|(_lease, bound)| !bound).count();
            assert_eq!(refused, 0, "of {} ports", taken.len());
        });
    }
}
