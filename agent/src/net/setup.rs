//! Brings every interface up and gives the boot NIC an address: the boot script's, or one from DHCP. Keeps watching for
//! cards and cables that come later, and turns to the other NICs where an address leads nowhere. The DHCP exchange is left
//! to `dhcp`, the address to `serving`.
use super::dhcp::{Client, Lease};
use super::lldp::Neighbours;
use super::serving::{Server, Serving};
use super::{interfaces, sys};
use crate::clock::Timings;
use crate::ipv4::InterfaceAddress;
use crate::netlink::Events;
use anyhow::Context;
use ironbeat_common::id::Mac;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Interfaces are checked this often even without an event, as a safety net.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often the log says that there is still no network.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// The firmware got the boot script's address with a lease of unknown length. Renew it once the boot is over ...
const HINT_RENEWAL: Duration = Duration::from_secs(60);
/// ... and this often when no server renews it, as with an address set by hand.
const RENEW_AGAIN: Duration = Duration::from_secs(120);
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// Fires once, when the first NIC with a link has an address.
struct Ready {
    tell: Mutex<Option<oneshot::Sender<Vec<Ipv4Addr>>>>,
    timings: Arc<Timings>,
}

impl Ready {
    fn now(&self, lease: &Lease) {
        let tell = self
            .tell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(tell) = tell {
            self.timings.note(|t, now| t.network_ms = now);
            // The receiver may be gone.
            let _ = tell.send(lease.time_servers.clone());
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

/// The machine around it; another one in tests.
pub struct Surroundings {
    pub sys: PathBuf,
    pub resolver: PathBuf,
    /// Set by the link whenever it has reached a server.
    pub reached: Arc<AtomicBool>,
    /// Why there may be no network, in words, for whoever looks at the console.
    pub reasons: Box<dyn Fn() -> Vec<String> + Send>,
    /// Other NICs are tried only after this: the driver or switch port of the boot NIC may be slow, but it worked once.
    pub booted_only: Duration,
    /// An address by which no server was reached for this long leads nowhere: others are tried. A connection takes 5 s to fail,
    /// and there are a few servers.
    pub deaf_after: Duration,
}

impl Surroundings {
    pub fn of_machine(
        reached: Arc<AtomicBool>,
        reasons: impl Fn() -> Vec<String> + Send + 'static,
    ) -> Self {
        Self {
            sys: "/sys".into(),
            resolver: RESOLVER_FILE.into(),
            reached,
            reasons: Box::new(reasons),
            booted_only: Duration::from_secs(20),
            deaf_after: Duration::from_secs(30),
        }
    }
}

struct Setup {
    around: Surroundings,
    boot: BootNetwork,
    neighbours: Arc<Neighbours>,
    ready: Arc<Ready>,
    socket: OwnedFd,
    server: Arc<Server>,
    /// Interfaces set up, with the kernel's number: one that returns has another.
    up: BTreeMap<String, i32>,
    /// Those that could not be, and why.
    failing: BTreeMap<String, String>,
    /// Interfaces on which DHCP runs.
    asking: BTreeMap<String, Asker>,
    /// Since when the interface with the address has no link.
    unplugged: Option<Instant>,
}

/// DHCP on one interface, on a thread of its own.
struct Asker {
    index: i32,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Asker {
    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

/// Starts a thread for it; the receiver fires when the network can be used, with the time servers that DHCP named.
///
/// # Errors
/// When the kernel has no network or no thread to give.
pub fn start(
    boot: BootNetwork,
    around: Surroundings,
    neighbours: Arc<Neighbours>,
    timings: Arc<Timings>,
) -> anyhow::Result<oneshot::Receiver<Vec<Ipv4Addr>>> {
    let (tell, ready) = oneshot::channel();
    let events = Events::of_interfaces().context("listening for network interfaces")?;
    let server = Server::new(around.resolver.clone(), around.reached.clone())?;
    let mut setup = Setup {
        around,
        boot,
        neighbours,
        ready: Arc::new(Ready {
            tell: Mutex::new(Some(tell)),
            timings,
        }),
        socket: sys::control_socket().context("opening a socket for network set-up")?,
        server: Arc::new(server),
        up: BTreeMap::new(),
        failing: BTreeMap::new(),
        asking: BTreeMap::new(),
        unplugged: None,
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
            if Instant::now() >= complain && self.server.serving().is_none() {
                complain = Instant::now() + COMPLAIN_EVERY;
                tracing::warn!(
                    seconds = started.elapsed().as_secs(),
                    nics = self.describe(),
                    "no network yet"
                );
                for reason in (self.around.reasons)() {
                    tracing::error!("{reason}");
                }
            }
            let wait = LOOK_AGAIN.min(self.around.deaf_after);
            if let Err(error) = events.wait(wait) {
                tracing::warn!(%error, "cannot listen for network interfaces");
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    fn describe(&self) -> String {
        let one = |name: &String| {
            format!(
                "{name} {}",
                if interfaces::carrier(&self.around.sys, name) {
                    "up"
                } else {
                    "no link"
                }
            )
        };
        let failing = self.failing.values().cloned();
        let all: Vec<String> = self.up.keys().map(one).chain(failing).collect();
        if all.is_empty() {
            "none".to_string()
        } else {
            all.join(", ")
        }
    }

    fn look(&mut self, since_start: Duration) {
        let names = interfaces::names(&self.around.sys).unwrap_or_default();
        self.bring_all_up(&names);
        self.asking.retain(|_, asker| !asker.thread.is_finished());
        let serving = self.judge_serving();
        if let Some(serving) = serving.as_ref().filter(|serving| !serving.is_deaf) {
            let others = self
                .asking
                .iter()
                .filter(|(name, _)| **name != serving.name);
            others.for_each(|(_, asker)| asker.stop());
            return;
        }
        if serving.is_none()
            && let Some(address) = self.boot.address
        {
            self.use_address(&names, &address);
        }
        // The boot NIC comes first, with the boot script's address or one from DHCP; the others once its time is up.
        let late = since_start >= self.around.booted_only;
        let mut turn = Vec::new();
        for name in &names {
            let its_turn = match &serving {
                // It would get its old address at once, and the others never their turn.
                Some(deaf) => deaf.name != *name,
                None => {
                    late || self.boot.address.is_none()
                        && (self.boot.booted.is_none() || self.is_booted(name))
                }
            };
            if its_turn && interfaces::carrier(&self.around.sys, name) {
                turn.push(name.clone());
            }
        }
        turn.iter().for_each(|name| self.ask_dhcp(name));
    }

    /// One that fails, because its driver is still busy or its firmware missing, is tried again at every look, and so is one
    /// that vanished and returned.
    fn bring_all_up(&mut self, names: &[String]) {
        self.up.retain(|name, _| names.contains(name));
        self.failing.retain(|name, _| names.contains(name));
        for name in names {
            let index = sys::index(&self.socket, name).ok();
            let is_up = index.is_some() && self.up.get(name).copied() == index;
            if is_up && !self.failing.contains_key(name) {
                continue;
            }
            match self.bring_up(name) {
                Ok(()) => drop(self.failing.remove(name)),
                Err(error) => {
                    let why = format!("{error:#}");
                    if self.failing.get(name) != Some(&why) {
                        tracing::warn!("{why}");
                        self.failing.insert(name.clone(), why);
                    }
                }
            }
        }
    }

    fn bring_up(&mut self, name: &str) -> anyhow::Result<()> {
        sys::set_up(&self.socket, name).with_context(|| format!("bringing up {name}"))?;
        let index = sys::index(&self.socket, name)
            .with_context(|| format!("asking for the index of {name}"))?;
        self.up.insert(name.to_string(), index);
        self.neighbours
            .listen_on(index)
            .with_context(|| format!("listening for LLDP on {name}"))
    }

    /// The interface with the address, after a look whether it is there, has a link and leads anywhere.
    fn judge_serving(&mut self) -> Option<Serving> {
        let serving = self.server.serving()?;
        let (name, deaf_after) = (&serving.name, self.around.deaf_after);
        if self.up.get(name) != Some(&serving.index) {
            self.server.forget(name);
            self.unplugged = None;
        } else if interfaces::carrier(&self.around.sys, name) {
            self.unplugged = None;
            if self.server.has_reached() {
                self.server.set_deaf(name, false);
            } else if serving.since.elapsed() >= deaf_after {
                self.server.set_deaf(name, true);
            }
        } else {
            let unplugged = self.unplugged.get_or_insert_with(Instant::now);
            if unplugged.elapsed() >= deaf_after {
                self.server.set_deaf(name, true);
            }
        }
        self.server.serving()
    }

    fn is_booted(&self, name: &str) -> bool {
        let permanent = || sys::permanent_mac(&self.socket, name).ok().flatten();
        self.boot.booted.is_some_and(|booted| {
            interfaces::mac(&self.around.sys, name) == Some(booted) || permanent() == Some(booted)
        })
    }

    /// The boot script's address belongs to the boot NIC; if that is unknown, to the first NIC with a link.
    fn use_address(&mut self, names: &[String], address: &InterfaceAddress) {
        let has_link = |name: &&String| interfaces::carrier(&self.around.sys, name);
        let name = match self.boot.booted {
            Some(_) => names.iter().find(|name| self.is_booted(name)),
            None => names.iter().find(has_link),
        };
        let Some(name) = name.filter(has_link) else {
            return;
        };
        let lease = Lease {
            ip: address.ip,
            prefix_len: address.prefix_len,
            gateway: address.gateway,
            name_servers: self.boot.name_servers.clone(),
            time_servers: Vec::new(),
            renew_after: HINT_RENEWAL,
        };
        match self.server.take(name, &lease) {
            Ok(_) => {
                self.ready.now(&lease);
                self.spawn_dhcp(name, Some(lease));
            }
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    fn ask_dhcp(&mut self, name: &str) {
        if let Some(asker) = self.asking.get(name) {
            if self.up.get(name) != Some(&asker.index) {
                // Its socket belongs to an interface that is gone.
                asker.stop();
            }
            return;
        }
        self.spawn_dhcp(name, None);
    }

    fn spawn_dhcp(&mut self, name: &str, lease: Option<Lease>) {
        let (Some(mac), Some(index)) = (
            interfaces::mac(&self.around.sys, name),
            self.up.get(name).copied(),
        ) else {
            return;
        };
        let stop = Arc::new(AtomicBool::new(false));
        let asking = Asking {
            name: name.to_string(),
            mac,
            server: self.server.clone(),
            ready: self.ready.clone(),
            stop: stop.clone(),
        };
        let work = move || {
            if let Err(error) = asking.run(lease) {
                tracing::error!("{error:#}");
            }
        };
        let spawned = std::thread::Builder::new()
            .name(format!("dhcp {name}"))
            .spawn(work);
        match spawned {
            Ok(thread) => {
                let asker = Asker {
                    index,
                    stop,
                    thread,
                };
                if let Some(old) = self.asking.insert(name.to_string(), asker) {
                    old.stop();
                }
            }
            Err(error) => tracing::error!(%error, name, "cannot start the DHCP client"),
        }
    }
}

/// What a thread for DHCP needs.
struct Asking {
    name: String,
    mac: Mac,
    server: Arc<Server>,
    ready: Arc<Ready>,
    stop: Arc<AtomicBool>,
}

impl Asking {
    /// Obtains a lease unless given one, then keeps renewing it for as long as this interface serves.
    fn run(&self, lease: Option<Lease>) -> anyhow::Result<()> {
        let mut client = Client::open(&self.name, self.mac)?;
        let mut lease = match lease {
            Some(lease) => lease,
            None => match self.get(&mut client)? {
                Some(lease) => lease,
                None => return Ok(()),
            },
        };
        while self.pause(lease.renew_after) {
            match client.renew(lease.ip, &self.stop) {
                Some(renewed) => {
                    if !self.server.renewed(&self.name, &renewed)? {
                        return Ok(());
                    }
                    lease = renewed;
                }
                None if self.server.is_deaf(&self.name) => match self.get(&mut client)? {
                    Some(another) => lease = another,
                    None => return Ok(()),
                },
                None => {
                    // Keep the address: giving it up would certainly cut the machine off, keeping it only might.
                    tracing::debug!(nic = self.name, ip = %lease.ip, "no server renewed the address");
                    lease.renew_after = RENEW_AGAIN;
                }
            }
        }
        Ok(())
    }

    /// Whether to go on afterwards.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::park_timeout(left);
        }
        false
    }

    fn get(&self, client: &mut Client) -> anyhow::Result<Option<Lease>> {
        tracing::info!(nic = self.name, "asking for an address");
        let Some(lease) = client.obtain(&self.stop) else {
            return Ok(None);
        };
        // Another interface may have been faster; this lease simply expires.
        if !self.server.take(&self.name, &lease)? {
            return Ok(None);
        }
        self.ready.now(&lease);
        Ok(Some(lease))
    }
}
