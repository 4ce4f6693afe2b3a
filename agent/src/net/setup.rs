//! Brings every interface up and gives the boot NIC an address: the boot script's, or one from DHCP. Keeps watching for
//! cards and cables that come later. The DHCP exchange is left to `dhcp`.
use super::dhcp::{Client, Lease};
use super::lldp::Neighbours;
use super::{interfaces, sys};
use crate::clock::Timings;
use crate::ipv4::InterfaceAddress;
use crate::netlink::Events;
use anyhow::Context;
use ironbeat_common::id::Mac;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Interfaces are checked this often even without an event, as a safety net.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Other NICs are tried only after this: the driver or switch port of the boot NIC may be slow, but it worked once.
const BOOTED_ONLY: Duration = Duration::from_secs(20);
/// How often the log says that there is still no network.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// The firmware got the boot script's address with a lease of unknown length. Renew it once the boot is over ...
const HINT_RENEWAL: Duration = Duration::from_secs(60);
/// ... and this often when no server renews it, as with an address set by hand.
const RENEW_AGAIN: Duration = Duration::from_secs(120);
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// Fires once, when the first NIC with a link has an address.
struct Ready {
    tell: Mutex<Option<oneshot::Sender<()>>>,
    timings: Arc<Timings>,
}

impl Ready {
    fn now(&self) {
        let tell = self
            .tell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(tell) = tell {
            self.timings.note(|t, now| t.network_ms = now);
            // The receiver may be gone.
            let _ = tell.send(());
        }
    }
}

/// What the network boot left behind.
pub struct BootNetwork {
    /// The NIC that the firmware booted from.
    pub booted: Option<Mac>,
    /// The address that the firmware had.
    pub address: Option<InterfaceAddress>,
    pub name_servers: Vec<Ipv4Addr>,
}

struct Setup {
    sys: PathBuf,
    boot: BootNetwork,
    neighbours: Arc<Neighbours>,
    ready: Arc<Ready>,
    socket: OwnedFd,
    /// Interfaces set up.
    up: BTreeSet<String>,
    /// Interfaces on which DHCP was started.
    asking: BTreeSet<String>,
    /// Set when one interface has an address: DHCP on the others stops.
    addressed: Arc<AtomicBool>,
}

/// Starts a thread for it; the receiver fires when the network can be used.
///
/// # Errors
/// When the kernel has no network or no thread to give.
pub fn start(
    boot: BootNetwork,
    sys_root: &Path,
    neighbours: Arc<Neighbours>,
    timings: Arc<Timings>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (tell, ready) = oneshot::channel();
    let socket = sys::control_socket().context("opening a socket for network set-up")?;
    let events = Events::of_interfaces().context("listening for network interfaces")?;
    let mut setup = Setup {
        sys: sys_root.to_path_buf(),
        boot,
        neighbours,
        ready: Arc::new(Ready {
            tell: Mutex::new(Some(tell)),
            timings,
        }),
        socket,
        up: BTreeSet::new(),
        asking: BTreeSet::new(),
        addressed: Arc::default(),
    };
    std::thread::Builder::new()
        .name("network".to_string())
        .spawn(move || setup.run(&events))
        .context("starting the network thread")?;
    Ok(ready)
}

impl Setup {
    fn run(&mut self, events: &Events) {
        if let Err(error) = sys::set_up(&self.socket, "lo") {
            tracing::warn!(%error, "cannot bring up the loopback interface");
        }
        let started = Instant::now();
        let mut complain = started + COMPLAIN_EVERY;
        loop {
            self.look(started.elapsed());
            if Instant::now() >= complain && !self.addressed.load(Ordering::Relaxed) {
                complain = Instant::now() + COMPLAIN_EVERY;
                tracing::warn!(
                    seconds = started.elapsed().as_secs(),
                    nics = self.describe(),
                    "no network yet"
                );
            }
            if let Err(error) = events.wait(LOOK_AGAIN) {
                tracing::warn!(%error, "cannot listen for network interfaces");
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    fn describe(&self) -> String {
        let one = |name: &String| {
            format!(
                "{name} {}",
                if interfaces::carrier(&self.sys, name) {
                    "up"
                } else {
                    "no link"
                }
            )
        };
        if self.up.is_empty() {
            "none".to_string()
        } else {
            self.up.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }

    fn look(&mut self, since_start: Duration) {
        let names = interfaces::names(&self.sys).unwrap_or_default();
        for name in &names {
            if self.up.insert(name.clone())
                && let Err(error) = self.bring_up(name)
            {
                tracing::warn!("{error:#}");
            }
        }
        if self.addressed.load(Ordering::Relaxed) {
            return;
        }
        if let Some(address) = self.boot.address {
            self.use_address(&names, &address);
        }
        // The boot NIC comes first, with the boot script's address or one from DHCP; the others once its time is up.
        let late = since_start >= BOOTED_ONLY;
        for name in &names {
            let its_turn = late
                || self.boot.address.is_none()
                    && (self.boot.booted.is_none() || self.is_booted(name));
            if its_turn
                && !self.addressed.load(Ordering::Relaxed)
                && interfaces::carrier(&self.sys, name)
            {
                self.ask_dhcp(name);
            }
        }
    }

    fn bring_up(&self, name: &str) -> anyhow::Result<()> {
        sys::set_up(&self.socket, name).with_context(|| format!("bringing up {name}"))?;
        let index = sys::index(&self.socket, name)
            .with_context(|| format!("asking for the index of {name}"))?;
        self.neighbours
            .listen_on(index)
            .with_context(|| format!("listening for LLDP on {name}"))
    }

    fn is_booted(&self, name: &str) -> bool {
        let permanent = || sys::permanent_mac(&self.socket, name).ok().flatten();
        self.boot.booted.is_some_and(|booted| {
            interfaces::mac(&self.sys, name) == Some(booted) || permanent() == Some(booted)
        })
    }

    /// The boot script's address belongs to the boot NIC; if that is unknown, to the first NIC with a link.
    fn use_address(&mut self, names: &[String], address: &InterfaceAddress) {
        let linked = || {
            names
                .iter()
                .find(|name| interfaces::carrier(&self.sys, name))
        };
        let name = match self.boot.booted {
            Some(_) => names.iter().find(|name| self.is_booted(name)),
            None => linked(),
        };
        let Some(name) = name.filter(|name| interfaces::carrier(&self.sys, name)) else {
            return;
        };
        let lease = Lease {
            ip: address.ip,
            prefix_len: address.prefix_len,
            gateway: address.gateway,
            name_servers: self.boot.name_servers.clone(),
            renew_after: HINT_RENEWAL,
        };
        match apply(&self.socket, name, &lease) {
            Ok(()) => {
                self.addressed.store(true, Ordering::Relaxed);
                self.ready.now();
                self.spawn_dhcp(name, Some(lease));
            }
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    fn ask_dhcp(&mut self, name: &str) {
        if self.asking.insert(name.to_string()) {
            self.spawn_dhcp(name, None);
        }
    }

    fn spawn_dhcp(&self, name: &str, lease: Option<Lease>) {
        let Some(mac) = interfaces::mac(&self.sys, name) else {
            return;
        };
        let asking = Asking {
            name: name.to_string(),
            mac,
            addressed: self.addressed.clone(),
            ready: self.ready.clone(),
        };
        let work = move || {
            if let Err(error) = asking.run(lease) {
                tracing::error!("{error:#}");
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name(format!("dhcp {name}"))
            .spawn(work)
        {
            tracing::error!(%error, name, "cannot start the DHCP client");
        }
    }
}

/// DHCP on one interface, for as long as the machine runs.
struct Asking {
    name: String,
    mac: Mac,
    addressed: Arc<AtomicBool>,
    ready: Arc<Ready>,
}

impl Asking {
    /// Obtains a lease unless given one, then keeps renewing it.
    fn run(&self, lease: Option<Lease>) -> anyhow::Result<()> {
        let mut client = Client::open(&self.name, self.mac)?;
        let mut lease = match lease {
            Some(lease) => lease,
            None => match self.get(&mut client)? {
                Some(lease) => lease,
                None => return Ok(()),
            },
        };
        let never = AtomicBool::new(false);
        loop {
            std::thread::sleep(lease.renew_after);
            match client.renew(lease.ip, &never) {
                Some(renewed) => lease = renewed,
                None => {
                    // Keep the address: giving it up would certainly cut the machine off, keeping it only might.
                    tracing::debug!(nic = self.name, ip = %lease.ip, "no server renewed the address");
                    lease.renew_after = RENEW_AGAIN;
                }
            }
        }
    }

    fn get(&self, client: &mut Client) -> anyhow::Result<Option<Lease>> {
        let socket = sys::control_socket().context("opening a socket for network set-up")?;
        tracing::info!(nic = self.name, "asking for an address");
        let Some(lease) = client.obtain(&self.addressed) else {
            return Ok(None);
        };
        if self.addressed.swap(true, Ordering::Relaxed) {
            // Another interface was faster; this lease simply expires.
            return Ok(None);
        }
        apply(&socket, &self.name, &lease)?;
        self.ready.now();
        Ok(Some(lease))
    }
}

fn apply(socket: &OwnedFd, name: &str, lease: &Lease) -> anyhow::Result<()> {
    let (ip, length) = (lease.ip, lease.prefix_len);
    sys::set_address(socket, name, ip, length)
        .with_context(|| format!("giving {name} the address {ip}/{length}"))?;
    if let Some(gateway) = lease.gateway {
        sys::set_gateway(socket, gateway)
            .with_context(|| format!("making {gateway} the default gateway"))?;
    }
    if !lease.name_servers.is_empty() {
        let lines: String = lease
            .name_servers
            .iter()
            .map(|ip| format!("nameserver {ip}\n"))
            .collect();
        if let Err(error) = std::fs::write(RESOLVER_FILE, lines) {
            tracing::warn!(%error, "cannot write {RESOLVER_FILE}");
        }
    }
    tracing::info!(
        nic = name,
        address = format!("{ip}/{length}"),
        "network is up"
    );
    Ok(())
}
