//! Follows the nodes and the workers, and keeps dnsmasq's directories as they want them.
//! `dnsmasq` and `script` write the files. One node's change costs its own NICs, however many nodes there are.
use super::boots::Boots;
use super::dnsmasq::{Dnsmasq, Host, TftpFiles};
use super::script::{entry_script, grub_config};
use crate::config::{DnsmasqConfig, Http};
use crate::records::dhcp::{Dhcp, Server};
use crate::records::view::Moved;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_common::image::Digest;
use ironbeat_core::index::Entry;
use ironbeat_core::policy::Policy;
use ironbeat_ops::reply::WorkerInfo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Workers come and go while no node changes: the entry script is looked at this often too.
const LOOK: Duration = Duration::from_secs(3);

/// What the files are made of, beside the records.
pub struct Site {
    pub dnsmasq: DnsmasqConfig,
    pub http: Http,
    pub policy: Policy,
    /// Of the CA of the site.
    pub ca: Option<Digest<32>>,
}

/// Runs until the worker stops.
pub async fn run(boots: Boots, site: Site, dhcp: Dhcp, info: WorkerInfo) {
    let on_lease = {
        let boots = boots.clone();
        move |mac, ip| boots.leased(mac, ip)
    };
    let mut dnsmasq = Dnsmasq::start(site.dnsmasq, on_lease);
    let mut news = boots.view.news();
    let mut nics = Nics::default();
    let mut moved = vec![Moved::All];
    let mut told = None;
    loop {
        for moved in moved.drain(..) {
            match moved {
                Moved::All => {
                    nics = Nics::of(boots.view.pick(|node| Some(Arc::clone(node))));
                    dnsmasq.want_all(nics.hosts(&site.policy));
                }
                Moved::Node(id) => {
                    for mac in nics.change(id, boots.view.get(&id)) {
                        let node = boots.view.of_mac(&mac);
                        dnsmasq.want(mac, node.map(|node| Host::of(&node, &site.policy)));
                    }
                }
            }
        }
        let mut workers = boots.workers();
        workers.plain.sort();
        workers.boot.sort();
        let files = TftpFiles {
            entry_script: entry_script(&workers.boot),
            grub_config: grub_config(&workers, site.ca.as_ref(), &site.http.kernel_args),
            boot_dir: site.http.boot_dir.clone(),
        };
        let applied = dnsmasq.apply(&files).map_err(|error| {
            tracing::warn!("dnsmasq: {error}");
            error.to_string()
        });
        let trouble = applied.err().or_else(|| dnsmasq.trouble());
        if told.as_ref() != Some(&trouble) {
            let server = Server {
                info: info.clone(),
                host: host_name(),
                trouble: trouble.clone(),
            };
            match dhcp.tell(&boots.worker, Some(server)).await {
                Ok(()) => told = Some(trouble),
                Err(error) => tracing::warn!("tell how dnsmasq is: {error}"),
            }
        }
        moved = next(&mut news).await;
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().into()
}

/// Waits for news, or for the time to look at the workers; takes all that is there, for as many files to be written at once.
async fn next(news: &mut Receiver<Moved>) -> Vec<Moved> {
    let mut all = match tokio::time::timeout(LOOK, news.recv()).await {
        Ok(Ok(moved)) => vec![moved],
        Ok(Err(RecvError::Lagged(_))) => vec![Moved::All],
        // The view goes on for as long as the process does.
        Ok(Err(RecvError::Closed)) | Err(_) => return vec![],
    };
    loop {
        match news.try_recv() {
            Ok(moved) => all.push(moved),
            Err(TryRecvError::Lagged(_)) => all = vec![Moved::All],
            Err(TryRecvError::Empty | TryRecvError::Closed) => return all,
        }
    }
}

/// The NICs of each node as they were last seen: a NIC that a node has lost changes too.
#[derive(Default)]
struct Nics(BTreeMap<NodeId, Arc<Entry>>);

impl Nics {
    fn of(nodes: Vec<Arc<Entry>>) -> Self {
        Self(nodes.into_iter().map(|node| (node.id, node)).collect())
    }

    fn hosts(&self, policy: &Policy) -> BTreeMap<Mac, Host> {
        let nics = self.0.values().flat_map(|node| {
            let host = Host::of(node, policy);
            node.macs.iter().map(move |mac| (*mac, host))
        });
        nics.collect()
    }

    /// The NICs that the node has or had; none: there is no such node any more.
    fn change(&mut self, id: NodeId, now: Option<Arc<Entry>>) -> Vec<Mac> {
        let macs = now.iter().flat_map(|node| node.macs.clone()).collect();
        let before = match now {
            Some(node) => self.0.insert(id, node),
            None => self.0.remove(&id),
        };
        let lost = before.into_iter().flat_map(|node| node.macs.clone());
        let mut all: Vec<Mac> = macs;
        all.extend(lost);
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{id, node};

    #[test]
    fn a_node_changes_the_nics_that_it_has_and_those_that_it_had() {
        let mac = |n: u8| Mac::from_bytes([2, 0, 0, 0, 0, n]);
        let entry = |n: u16, macs: &[u8]| {
            let mut node = node(n);
            node.macs = macs.iter().map(|n| mac(*n)).collect();
            Arc::new(Entry::of(&node))
        };
        let mut nics = Nics::of(vec![entry(1, &[1, 2]), entry(2, &[7])]);
        let known: Vec<Mac> = nics.hosts(&Policy::default()).into_keys().collect();
        assert_eq!(known, [mac(1), mac(2), mac(7)]);
        for (now, changed) in [
            (Some(entry(1, &[1, 2])), vec![mac(1), mac(2)]),
            (Some(entry(1, &[2, 3])), vec![mac(1), mac(2), mac(3)]),
            (None, vec![mac(2), mac(3)]),
            (None, vec![]),
        ] {
            assert_eq!(nics.change(id(1), now), changed);
        }
        assert_eq!(nics.hosts(&Policy::default()).len(), 1);
    }

    #[tokio::test]
    async fn whoever_falls_behind_looks_at_all_nodes() {
        let (tell, mut news) = tokio::sync::broadcast::channel(2);
        let one = Moved::Node(id(1));
        tell.send(one).unwrap();
        tell.send(one).unwrap();
        assert_eq!(next(&mut news).await, [one, one]);
        for _ in 0..4 {
            tell.send(one).unwrap();
        }
        assert_eq!(next(&mut news).await[0], Moved::All);
    }
}
