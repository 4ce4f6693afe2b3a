//! A DHCP client for one interface: obtains an address and renews it (RFC 2131).
//! What happens with the address is decided in `net::setup`.
pub mod packet;

use crate::random;
use anyhow::Context;
use ironbeat_common::id::Mac;
use packet::{Answer, Ask, Kind};
use rustix::net::sockopt::{set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Timeout of the first request; a server on the same wire answers within milliseconds, the rest is for lost packets ...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ... doubled up to here (RFC 2131 section 4.1 ends at 64 s; a rack that powers on should not wait that long).
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Requests for one offer before discovering again.
const REQUEST_TRIES: u32 = 4;
/// Used when a server gives no lease time.
const DEFAULT_LEASE_SECS: u32 = 3600;
/// Renewals are at least this far apart, however short the lease.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(30);
/// Longest message accepted, in bytes: one Ethernet frame.
const FRAME: usize = 1500;

/// An address for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    /// When to renew.
    pub renew_after: Duration,
}

/// A client on one interface.
pub struct Client {
    socket: UdpSocket,
    mac: Mac,
    xid: u32,
    started: Instant,
}

impl Client {
    /// # Errors
    /// When the interface is gone, or another program has the port.
    pub fn open(interface: &str, mac: Mac) -> anyhow::Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let socket = socket_with(
                AddressFamily::INET,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            set_socket_reuseaddr(&socket, true)?;
            set_socket_broadcast(&socket, true)?;
            super::sys::bind_to_device(&socket, interface)?;
            bind(
                &socket,
                &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
            )?;
            Ok(socket)
        };
        let socket = open().with_context(|| format!("opening a DHCP socket on {interface}"))?;
        Ok(Self {
            socket: socket.into(),
            mac,
            xid: random::number(),
            started: Instant::now(),
        })
    }

    /// Asks until there is a lease; `None` when `stop` was set.
    pub fn obtain(&mut self, stop: &AtomicBool) -> Option<Lease> {
        let mut tries = 0;
        while !stop.load(Ordering::Relaxed) {
            self.xid = random::number();
            let wait = wait(tries);
            tries += 1;
            let Some(offer) = self.ask(Ask::Discover, wait, stop, |a| {
                a.kind == Kind::Offer && a.server.is_some()
            }) else {
                continue;
            };
            let (ip, server) = (offer.ip, offer.server?);
            for request_try in 0..REQUEST_TRIES {
                let answer = self.ask(
                    Ask::Request { ip, server },
                    self::wait(request_try),
                    stop,
                    |a| a.kind != Kind::Offer,
                );
                match answer {
                    Some(ack) if ack.kind == Kind::Ack => return Some(lease(&ack)),
                    // Refused, perhaps because another client took it: discover again.
                    Some(_) => break,
                    None if stop.load(Ordering::Relaxed) => return None,
                    None => {}
                }
            }
        }
        None
    }

    /// Renews the lease; `None` when no server did.
    pub fn renew(&mut self, ip: Ipv4Addr, stop: &AtomicBool) -> Option<Lease> {
        self.xid = random::number();
        self.started = Instant::now();
        let answer = (0..REQUEST_TRIES).find_map(|tries| {
            self.ask(Ask::Renew { ip }, wait(tries), stop, |a| {
                a.kind != Kind::Offer
            })
        })?;
        (answer.kind == Kind::Ack && answer.ip == ip).then(|| lease(&answer))
    }

    /// Sends one request and waits for an answer that `fits`.
    fn ask(
        &self,
        ask: Ask,
        wait: Duration,
        stop: &AtomicBool,
        fits: impl Fn(&Answer) -> bool,
    ) -> Option<Answer> {
        /// How long `stop` may go unnoticed.
        const SLICE: Duration = Duration::from_millis(250);
        let secs = u16::try_from(self.started.elapsed().as_secs()).unwrap_or(u16::MAX);
        let message = packet::encode(ask, self.mac, self.xid, secs);
        if let Err(error) = self
            .socket
            .send_to(&message, (Ipv4Addr::BROADCAST, SERVER_PORT))
        {
            tracing::debug!(%error, ?ask, "cannot send DHCP");
        }
        let deadline = Instant::now() + wait;
        let mut buffer = [0u8; FRAME];
        while !stop.load(Ordering::Relaxed) {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .min(SLICE);
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return None;
            }
            // A timeout, or the interface went down: the deadline ends both.
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            if let Some(answer) =
                packet::decode(&buffer[..length], self.mac, self.xid).filter(|answer| fits(answer))
            {
                return Some(answer);
            }
        }
        None
    }
}

fn wait(tries: u32) -> Duration {
    random::back_off(FIRST_WAIT, tries, LONGEST_WAIT)
}

fn lease(ack: &Answer) -> Lease {
    let lease_secs = ack.lease_secs.unwrap_or(DEFAULT_LEASE_SECS);
    let renew_secs = ack.renew_secs.unwrap_or(lease_secs / 2).min(lease_secs);
    Lease {
        ip: ack.ip,
        // No mask: guess a /24, which fits most racks.
        prefix_len: ack.prefix_len.unwrap_or(24),
        gateway: ack.gateway,
        name_servers: ack.name_servers.clone(),
        time_servers: ack.time_servers.clone(),
        renew_after: Duration::from_secs(u64::from(renew_secs)).max(SHORTEST_RENEWAL),
    }
}
