//! Who boots what: a NIC's node, what it boots, which workers serve it, and the events on its way there.
//! `script` and `dnsmasq` turn this into scripts and rules.
use super::budget::Budgets;
use crate::clock;
use crate::records::events::Events;
use crate::records::presence::Presence;
use crate::records::view::View;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_core::boot::Boot;
use ironbeat_core::id::WorkerId;
use ironbeat_core::node::Sign;
use ironbeat_ops::happening::{Happening, What};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Clone)]
pub struct Boots {
    pub worker: WorkerId,
    pub view: View,
    pub presence: Presence,
    pub events: Events,
    /// Told what is seen of a machine whose node waits for its ramdisk.
    pub on_sign: Arc<dyn Fn(NodeId, Sign) + Send + Sync>,
    /// Unknown machines boot the ramdisk and are remembered.
    pub discovery: bool,
    pub budgets: Arc<Budgets>,
}

impl Boots {
    pub fn boot_of(&self, mac: Mac) -> Boot {
        match self.view.of_mac(&mac) {
            Some(node) => node.boot,
            None if self.discovery => Boot::Ramdisk,
            None => Boot::Disk,
        }
    }

    /// Base URLs of live workers, this one first.
    pub fn workers(&self) -> Vec<String> {
        let mirrors = self.presence.heard().into_iter();
        mirrors.map(|info| info.url).collect()
    }

    /// A machine fetched something on its way to the ramdisk.
    pub fn fetched(&self, mac: Mac, what: &str) {
        let sign = match what {
            "boot script: ramdisk" => Some(Sign::Script),
            "kernel" => Some(Sign::Kernel),
            _ => None,
        };
        let what = what.into();
        self.report(mac, sign, What::Netboot { mac, what });
    }

    /// A machine got an address.
    pub fn leased(&self, mac: Mac, ip: IpAddr) {
        self.report(mac, Some(Sign::Lease), What::Lease { mac, ip });
    }

    /// For a machine that is a node's. Only its time names the event, so it counts once a millisecond.
    fn report(&self, mac: Mac, sign: Option<Sign>, what: What) {
        let Some(node) = self.view.of_mac(&mac) else {
            return;
        };
        let waits = node.boot == Boot::Ramdisk && node.acting.is_none();
        if let Some(sign) = sign.filter(|_| waits) {
            (self.on_sign)(node.id, sign);
        }
        if !self.budgets.take(mac, Instant::now()) {
            tracing::debug!(%mac, "it boots in a loop: this is not told");
            return;
        }
        let now = clock::now();
        let happening = Happening {
            node: node.id,
            name: node.name.clone(),
            at: now,
            worker: self.worker.clone(),
            what,
        };
        self.events.publish(&happening, &now.unix_ms().to_string());
    }
}
