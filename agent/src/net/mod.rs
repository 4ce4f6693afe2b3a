//! The machine's network interfaces: bringing them up, addressing the booted one, and what only the kernel knows of them.
//! What is said over them is `link`'s affair.
pub mod sys;

use crate::collect::nics::Live;
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::LldpNeighbour;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// One reading of what sysfs does not know of the interfaces.
pub struct Seen {
    socket: OwnedFd,
    addresses: BTreeMap<String, Vec<String>>,
}

impl Seen {
    /// # Errors
    /// When the kernel has no network.
    pub fn now() -> std::io::Result<Self> {
        Ok(Self {
            socket: sys::control_socket()?,
            addresses: sys::addresses()?,
        })
    }
}

impl Live for Seen {
    fn permanent_mac(&self, name: &str) -> Option<Mac> {
        // Many drivers do not tell it: nothing to report.
        sys::permanent_mac(&self.socket, name).ok().flatten()
    }
    fn addresses(&self, name: &str) -> Vec<String> {
        self.addresses.get(name).cloned().unwrap_or_default()
    }
    fn neighbour(&self, _name: &str) -> Option<LldpNeighbour> {
        None
    }
}
