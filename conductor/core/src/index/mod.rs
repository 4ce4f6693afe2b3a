//! All nodes in memory, an entry each, found by whatever identifies their machines.
//! It may be a moment behind the records; the conductor follows them.
mod entry;
mod filter;
mod turns;

pub use entry::{AgentAt, Entry};
pub use filter::{BadFilter, Filter, KEYS, Key, Looked};
pub use turns::Turns;

use crate::lookup::{Evidence, Identity, MAX_NAMED, Match};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use ironbeat_common::id::{Mac, NodeId, SystemUuid};

/// Adding, removing and finding cost the same whether there are a hundred nodes or a hundred thousand.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: BTreeMap<NodeId, Arc<Entry>>,
    /// Who waits for a turn, and who has one.
    turns: Turns,
    /// Those with an alarm: nearly always few.
    busy: BTreeSet<NodeId>,
    by_mac: Many<Mac>,
    by_uuid: Many<SystemUuid>,
    by_serial: Many<String>,
    /// By host, without the port: a machine does not know the port of its BMC.
    by_bmc: Many<String>,
}

/// Most keys name one node; when two nodes share one, a lookup says so.
type Many<K> = BTreeMap<K, Vec<NodeId>>;

fn insert<K: Ord>(many: &mut Many<K>, key: K, id: NodeId) {
    many.entry(key).or_default().push(id);
}

fn remove<K: Ord>(many: &mut Many<K>, key: &K, id: NodeId) {
    if let Some(ids) = many.get_mut(key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            many.remove(key);
        }
    }
}

impl Index {
    /// Adds a node's entry, or replaces it.
    pub fn put(&mut self, entry: Entry) {
        let id = entry.id;
        let known = self.entries.get(&id);
        // A node's identity hardly ever changes, its state all the time.
        if !known.is_some_and(|known| is_same(known, &entry)) {
            if let Some(known) = known.map(|known| Identity::of_entry(known)) {
                self.forget(id, &known);
            }
            self.remember(id, Identity::of_entry(&entry));
        }
        match entry.wake_at {
            Some(_) => self.busy.insert(id),
            None => self.busy.remove(&id),
        };
        let before = self.entries.get(&id);
        self.turns
            .change(before.map(|before| &**before), Some(&entry));
        self.entries.insert(id, Arc::new(entry));
    }

    pub fn remove(&mut self, id: &NodeId) {
        if let Some(entry) = self.entries.remove(id) {
            self.busy.remove(id);
            self.turns.change(Some(&entry), None);
            self.forget(*id, &Identity::of_entry(&entry));
        }
    }

    fn remember(&mut self, id: NodeId, identity: Identity) {
        for mac in identity.macs {
            insert(&mut self.by_mac, mac, id);
        }
        if let Some(uuid) = identity.uuid {
            insert(&mut self.by_uuid, uuid, id);
        }
        if let Some(serial) = identity.serial {
            insert(&mut self.by_serial, serial, id);
        }
        for host in identity.bmc {
            insert(&mut self.by_bmc, host, id);
        }
    }

    fn forget(&mut self, id: NodeId, identity: &Identity) {
        for mac in &identity.macs {
            remove(&mut self.by_mac, mac, id);
        }
        if let Some(uuid) = &identity.uuid {
            remove(&mut self.by_uuid, uuid, id);
        }
        if let Some(serial) = &identity.serial {
            remove(&mut self.by_serial, serial, id);
        }
        for host in &identity.bmc {
            remove(&mut self.by_bmc, host, id);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, id: &NodeId) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    /// In order of id.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Those after that one, in the order of their ids.
    pub fn after(&self, node: Option<NodeId>) -> impl Iterator<Item = &Arc<Entry>> {
        let from = node.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range((from, Bound::Unbounded));
        entries.map(|(_, entry)| entry)
    }

    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Those that wait for something, and so have an alarm.
    pub fn busy(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.busy.iter().filter_map(|id| self.entries.get(id))
    }

    /// The node that this NIC belongs to. Claims ensure that there is one at most.
    pub fn of_mac(&self, mac: &Mac) -> Option<&Arc<Entry>> {
        let id = self.by_mac.get(mac)?.first()?;
        self.entries.get(id)
    }

    /// Finds the node that a machine is. What many nodes share costs no more than what one has.
    pub fn find(&self, machine: &Identity) -> Match {
        let of = |serial: &String| self.by_serial.get(serial).map(Vec::as_slice);
        let uuid = machine.uuid.and_then(|uuid| self.by_uuid.get(&uuid));
        let evidence = Evidence {
            uuid: uuid.map(Vec::as_slice).unwrap_or_default(),
            mac: &together(machine.macs.iter().filter_map(|mac| self.by_mac.get(mac))),
            serial: machine.serial.as_ref().and_then(of).unwrap_or_default(),
            bmc: &[],
        };
        match evidence.weigh() {
            Match::None => Evidence {
                bmc: &together(machine.bmc.iter().filter_map(|it| self.by_bmc.get(it))),
                ..evidence
            }
            .weigh(),
            found @ (Match::One { .. } | Match::Ambiguous { .. }) => found,
        }
    }
}

/// The nodes of several keys, each once; of so many that a match could not name them all, a part.
fn together<'a>(lists: impl Iterator<Item = &'a Vec<NodeId>>) -> Vec<NodeId> {
    let mut all: Vec<NodeId> = Vec::new();
    for id in lists.flatten() {
        if !all.contains(id) {
            all.push(*id);
        }
        if all.len() > MAX_NAMED {
            break;
        }
    }
    all
}

/// Whether both are recognised by the same.
fn is_same(a: &Entry, b: &Entry) -> bool {
    a.macs == b.macs && a.system_uuid == b.system_uuid && a.serial == b.serial && a.bmc == b.bmc
}

impl Identity {
    fn of_entry(entry: &Entry) -> Self {
        Self {
            uuid: entry.system_uuid.filter(SystemUuid::is_meaningful),
            macs: entry.macs.clone(),
            serial: entry.serial.clone(),
            bmc: [entry.bmc.host().to_string()].into(),
        }
    }
}

#[cfg(test)]
mod tests;
