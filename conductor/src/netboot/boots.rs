//! Who boots what: a NIC's node, what it boots, which workers serve it, and the events on its way there.
//! `script` and `dnsmasq` turn this into scripts and rules.
use super::budget::Budgets;
use super::leases::Leases;
use crate::clock;
use crate::config::Scripts;
use crate::netboot::http::{RAMDISK_ARGUMENTS, RAMDISK_SCRIPT};
use crate::netboot::script::{Access, Token, Workers};
use crate::netboot::whose::Whose;
use crate::records::events::Events;
use crate::records::presence::Presence;
use crate::records::view::View;
use crate::seldom::Seldom;
use crate::tickets::{Seed, Tickets, new_ticket};
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_common::login::UserKey;
use ironbeat_core::boot::Boot;
use ironbeat_core::id::WorkerId;
use ironbeat_core::node::{Rest, Sign};
use ironbeat_ops::happening::{Happening, What};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// iPXE waits 10 s for a script, and asks again or the next worker then.
const SAYS_WHOSE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Boots {
    pub worker: WorkerId,
    pub view: View,
    pub presence: Presence,
    pub events: Events,
    /// Told what is seen of a machine whose node waits for its ramdisk.
    pub on_sign: Arc<dyn Fn(NodeId, Sign) + Send + Sync>,
    pub whose: Whose,
    pub budgets: Arc<Budgets>,
    /// None: nobody needs a login.
    pub tickets: Option<Arc<Tickets>>,
    pub scripts: Arc<Budgets>,
    /// Lines that whoever reaches the HTTP port can cause.
    pub lines: Arc<Seldom>,
    /// How machines get them.
    pub scripts_by: Scripts,
    pub leases: Arc<Leases>,
    /// Gives a node the ticket of a script that its machine asked for. The record says whether it is to boot the ramdisk
    /// with it.
    pub on_script: Arc<dyn Fn(NodeId, UserKey) -> Given + Send + Sync>,
}

/// Whether the node has the ticket now; none: that cannot be said at the moment.
pub type Given = Pin<Box<dyn Future<Output = Option<bool>> + Send>>;

impl Boots {
    /// Whose it is and what it boots; none: nobody can say at the moment.
    async fn boots(&self, mac: Mac) -> Option<(Option<NodeId>, Boot)> {
        // One that was cut off may ask a server that was, too.
        let why = match self.presence.is_in_touch() {
            true => match tokio::time::timeout(SAYS_WHOSE, self.whose.boots(mac)).await {
                Ok(Ok(found)) => return Some(found),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the records have not answered in time".into(),
            },
            false => "this worker has lost touch with NATS".into(),
        };
        // One that serves its owner does not wait for NATS.
        let seen = self.view.of_mac(&mac);
        if let Some(node) = seen.filter(|node| node.rest == Some(Rest::Active)) {
            return Some((Some(node.id), Boot::Disk));
        }
        if let Some(untold) = self.lines.told(Instant::now()) {
            tracing::warn!(%mac, untold, "no boot script, and it has to ask again: {why}");
        }
        None
    }

    /// What a NIC boots, with what a ramdisk needs to be let in; none: nobody can say at the moment.
    pub async fn script_of(&self, mac: Mac) -> Option<(Boot, Access)> {
        let (node, boot) = self.boots(mac).await?;
        if boot == Boot::Disk || self.tickets.is_none() {
            return Some((boot, Access::default()));
        }
        let mut ticket = None;
        if let Some(node) = node {
            if !self.scripts.take(mac, Instant::now()) {
                if let Some(untold) = self.lines.told(Instant::now()) {
                    tracing::warn!(%mac, %node, untold, "it asks for boot scripts too often, and has to wait");
                }
                return None;
            }
            let (seed, key) = new_ticket();
            if !(self.on_script)(node, key).await? {
                return Some((Boot::Disk, Access::default()));
            }
            ticket = Some(seed);
        }
        Some((Boot::Ramdisk, self.access(ticket)))
    }

    /// With what a ramdisk comes to NATS.
    pub fn access(&self, ticket: Option<Seed>) -> Access {
        let bootstrap = self.tickets.as_ref().map(|it| Token(it.bootstrap()));
        Access {
            ticket: ticket.filter(|_| bootstrap.is_some()),
            bootstrap,
        }
    }

    /// Live workers, this one first. One that speaks no TLS gives no boot script where those want it.
    pub fn workers(&self) -> Workers {
        let heard = self.presence.heard();
        let plain: Vec<String> = heard.iter().map(|info| info.url.clone()).collect();
        let boot = match self.scripts_by {
            Scripts::Http => plain.clone(),
            Scripts::Https => heard.into_iter().filter_map(|info| info.https).collect(),
        };
        Workers { plain, boot }
    }

    /// A machine fetched something on its way to the ramdisk.
    pub fn fetched(&self, mac: Mac, what: &str) {
        let sign = match what {
            // With a ticket the node knows already.
            RAMDISK_SCRIPT | RAMDISK_ARGUMENTS => self.tickets.is_none().then_some(Sign::Script),
            "kernel" => Some(Sign::Kernel),
            _ => None,
        };
        let netboot = What::Netboot {
            mac,
            what: what.into(),
        };
        self.report(mac, sign, netboot);
    }

    /// A machine got an address.
    pub fn leased(&self, mac: Mac, ip: IpAddr) {
        self.leases.keep(ip, mac);
        self.report(mac, Some(Sign::Lease), What::Lease { mac, ip });
    }

    /// A TLS session with whoever has this address did not come about. dnsmasq beside this worker may have said whose it is.
    pub fn distrusted(&self, ip: IpAddr, why: &str) {
        let Some(mac) = self.leases.holder(ip) else {
            return;
        };
        let what = format!("no TLS session: {why}");
        self.report(mac, None, What::Netboot { mac, what });
    }

    /// A line, and for a machine that is a node's an event. Only its time names it, so it counts once a millisecond.
    fn report(&self, mac: Mac, sign: Option<Sign>, what: What) {
        let Some(node) = self.view.of_mac(&mac) else {
            if let Some(untold) = self.lines.told(Instant::now()) {
                tracing::info!(%mac, ?what, untold, "netboot");
            }
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
        tracing::info!(%mac, node = %node.id, ?what, "netboot");
        let now = clock::now();
        let happening = Happening {
            node: node.id,
            name: node.name.clone(),
            at: now,
            worker: self.worker.clone(),
            asked: None,
            what,
        };
        self.events.publish(&happening, &now.unix_ms().to_string());
    }
}
