//! Entrances to what is read from buckets, streams and backups, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
use super::backup::Line;
use super::beside;
use super::dhcp::Servers;
use super::document::{self, Document};
use super::keys::Keys;
use super::lookups;
use super::origin::Origin;
use super::presence::Renewal;
use super::revoked;
use crate::secrets::Mark;
use ironbeat_auth::grant::Grants;
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::allocation::Allocation;
use ironbeat_core::explain::explain;
use ironbeat_core::index::Entry;
use ironbeat_core::kept::Kept;
use ironbeat_core::node::{BmcSecrets, InstanceData, Node, Notes};
use ironbeat_core::policy::Policy;
use ironbeat_core::rules::Rule;
use ironbeat_core::runbook::Runbook;
use ironbeat_core::template::DeployTemplate;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Body, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whose record [`node`] reads.
pub const NODE: NodeId = NodeId::from_bytes([0xa5; 16]);

/// The record of [`NODE`], with all that is made of it without asking anybody.
pub fn node(bytes: &[u8]) -> bool {
    let key = document::key::<Node>(NODE);
    let node: Node = match document::parse(&key, bytes) {
        Ok(node) => node,
        Err(error) => {
            drop(error.to_string());
            return false;
        }
    };
    drop(node.claims());
    again(&node.entry());
    again(&node);
    drop(explain(
        &node,
        Time::from_unix_ms(1 << 41),
        &Policy::default(),
    ));
    true
}

/// A node's entry in the index.
pub fn entry(bytes: &[u8]) -> bool {
    read::<Entry>(bytes)
}

/// What lies beside a record: which of the four, and the document.
pub fn beside(bytes: &[u8]) -> bool {
    fn of<T: DeserializeOwned + Serialize>(json: &[u8]) -> bool {
        beside::parse::<T>("key", json).is_ok_and(|it| again(&it))
    }
    match bytes {
        [0, json @ ..] => of::<Inventory>(json),
        [1, json @ ..] => of::<InstanceData>(json),
        [2, json @ ..] => of::<Notes>(json),
        [_, json @ ..] => of::<BmcSecrets>(json),
        [] => false,
    }
}

/// The other documents: which of them, and the document.
pub fn other(bytes: &[u8]) -> bool {
    match bytes {
        [0, json @ ..] => read::<Servers>(json),
        [1, json @ ..] => revoked::parse(json).is_ok_and(|it| again(&it)),
        [2, json @ ..] => read::<Origin>(json),
        [3, json @ ..] => read::<Keys>(json),
        [4, json @ ..] => read::<Renewal>(json),
        [5, json @ ..] => lookups::parse("key", json).is_some_and(|it| again(&it)),
        [6, json @ ..] => read::<Line>(json),
        [8, json @ ..] => read::<Mark>(json),
        [9, json @ ..] => read::<Grants>(json),
        [10, json @ ..] => read::<Allocation>(json),
        [11, json @ ..] => read::<Kept<Runbook>>(json),
        [12, json @ ..] => read::<Kept<DeployTemplate>>(json),
        [13, json @ ..] => read::<Rule>(json),
        [_, json @ ..] => serde_json::from_slice::<Body>(json).is_ok_and(|body| {
            let subject = String::new();
            let event = Event { subject, body };
            let _ = event.name();
            event.known().is_none_or(again)
        }),
        [] => false,
    }
}

fn read<T: DeserializeOwned + Serialize>(json: &[u8]) -> bool {
    serde_json::from_slice::<T>(json).is_ok_and(|it| again(&it))
}

/// Whatever was read can be written again, and be read by the next worker.
fn again<T: DeserializeOwned + Serialize>(document: &T) -> bool {
    let json = serde_json::to_vec(document).expect("what was read is written");
    if let Err(error) = serde_json::from_slice::<T>(&json) {
        panic!("{error}: {}", String::from_utf8_lossy(&json));
    }
    true
}
