//! Owns the choice of loopback ports for servers that tests start, so that parallel test processes do not collide.
//! Leaves binding them to the servers.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Result, bail};

/// Listeners stay below the kernel's ephemeral range (32768–60999): an outgoing connection of any program may take a
/// port in that range at any moment.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_767;

/// How many ports are tried before giving up; with a thousand tests running the chance of needing ten is below 10⁻⁹.
const TRIES: u64 = 100;

/// A loopback port that no other holder of a `PortLease` has, and that nothing listened on when it was taken, over TCP or
/// UDP.
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
    /// When none of a hundred candidates is free.
    pub fn take() -> Result<Self> {
        let hasher = RandomState::new();
        for attempt in 0..TRIES {
            let span = u64::from(LAST_PORT - FIRST_PORT) + 1;
            let port = FIRST_PORT
                + u16::try_from(hasher.hash_one(attempt) % span).expect("below the span of ports");
            let address = SocketAddr::from_abstract_name(format!("ironbeat-port-{port}"))?;
            let Ok(name) = UnixListener::bind_addr(&address) else {
                continue;
            };
            let address = (Ipv4Addr::LOCALHOST, port);
            if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
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

#[cfg(test)]
mod tests {
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
}
