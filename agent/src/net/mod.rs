//! The machine's network interfaces: brings them up, gives the boot NIC its address, asks the kernel about them and others for the time.
//! Talking to the conductor is left to `heart`.
pub mod dhcp;
pub mod interfaces;
pub mod lldp;
mod packet;
pub mod serving;
pub mod setup;
pub mod sntp;
pub mod sys;

use ironbeat_common::id::Mac;
use ironbeat_common::inventory::LldpNeighbour;
use lldp::Neighbours;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use sys::addresses;

/// What the kernel knows of one interface that sysfs does not show.
#[derive(Default)]
pub struct KernelFacts {
    /// The address burnt in, where the driver reports it.
    pub permanent_mac: Option<Mac>,
    /// With prefix length, `10.77.0.11/24`.
    pub addresses: Vec<String>,
    pub neighbour: Option<LldpNeighbour>,
}

/// Reads the [`KernelFacts`] of all interfaces at one moment.
pub struct KernelView {
    neighbours: Arc<Neighbours>,
    socket: OwnedFd,
    addresses: BTreeMap<String, Vec<String>>,
}

impl KernelView {
    /// # Errors
    /// When the kernel has no network.
    pub fn now(neighbours: Arc<Neighbours>) -> std::io::Result<Self> {
        Ok(Self {
            neighbours,
            socket: sys::control_socket()?,
            addresses: addresses()?,
        })
    }

    pub fn facts(&self, name: &str) -> KernelFacts {
        let index = sys::index(&self.socket, name).ok();
        KernelFacts {
            // Many drivers do not report it.
            permanent_mac: sys::permanent_mac(&self.socket, name).ok().flatten(),
            addresses: self.addresses.get(name).cloned().unwrap_or_default(),
            neighbour: index.and_then(|index| self.neighbours.get(index)),
        }
    }
}

/// A link comes up at most this long after its interface: 1 Gbit/s over copper takes some 3 s to negotiate.
const LINK_GRACE: Duration = Duration::from_secs(5);

/// Waits until every interface that has a link, or may still get one, has a neighbour; at most `limit`.
/// `up_since` is when the interfaces were set up.
pub fn wait_for_neighbours(
    sys_root: &Path,
    neighbours: &Neighbours,
    up_since: Instant,
    limit: Duration,
    cancelled: &AtomicBool,
) {
    let Ok(socket) = sys::control_socket() else {
        return;
    };
    let wanted = || {
        let names = interfaces::names(sys_root).unwrap_or_default().into_iter();
        let linked = names
            .filter(|name| up_since.elapsed() < LINK_GRACE || interfaces::carrier(sys_root, name));
        linked
            .filter_map(|name| sys::index(&socket, &name).ok())
            .collect()
    };
    neighbours.wait_for(&wanted, limit, cancelled);
}

/// Listens for neighbours on the present interfaces without changing them.
pub fn listen_everywhere(sys_root: &Path, neighbours: &Arc<Neighbours>) {
    let Ok(socket) = sys::control_socket() else {
        return;
    };
    for name in interfaces::names(sys_root).unwrap_or_default() {
        let listening = sys::index(&socket, &name).and_then(|index| neighbours.listen_on(index));
        if let Err(error) = listening {
            tracing::info!(%error, name, "cannot listen for LLDP");
        }
    }
}
