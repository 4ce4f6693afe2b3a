//! Node records as documents: what a node has to itself is its BMC, MAC addresses, system UUID, name and turn.
//! The core decides what a record says.
use super::document::{Claims, Document};
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_core::id::{NodeName, OpId};
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BmcAddress, Node, SCHEMA};
use ironbeat_core::turn::Turn;

impl Document for Node {
    const KIND: &'static str = "node";
    const SCHEMA: u32 = SCHEMA;
    type Id = NodeId;
    type Entry = Entry;

    fn id(&self) -> NodeId {
        self.id
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    fn op(&self) -> &OpId {
        &self.op
    }

    fn claims(&self) -> Claims {
        let macs = self.macs.iter();
        let mut claims: Claims = macs
            .map(|mac| (mac_claim(mac), format!("MAC address {mac}")))
            .collect();
        if let Some(uuid) = self.system_uuid.filter(SystemUuid::is_meaningful) {
            claims.insert(format!("uuid.{uuid}"), format!("system UUID {uuid}"));
        }
        if let Some(name) = &self.name {
            claims.insert(name_claim(name), format!("the name {name}"));
        }
        let address = self.bmc.address();
        claims.insert(
            format!("bmc.{}", bmc_token(address)),
            format!("BMC {address}"),
        );
        if let Some(Turn::Has(kind, place)) = self.job().and_then(Turn::of) {
            // In the words of its record: `deploy`, `clean`.
            let kind = serde_json::to_value(kind).expect("a word");
            let kind = kind.as_str().unwrap_or_default();
            claims.insert(
                format!("turn.{kind}-{place}"),
                format!("place {} among those that {kind} at once", place + 1),
            );
        }
        claims
    }

    fn claims_as(&self, other: &Self) -> bool {
        let turn = |node: &Self| match node.job().and_then(Turn::of) {
            Some(Turn::Has(kind, place)) => Some((kind, place)),
            Some(Turn::Waits(_)) | None => None,
        };
        self.macs == other.macs
            && self.system_uuid == other.system_uuid
            && self.name == other.name
            && self.bmc.address() == other.bmc.address()
            && turn(self) == turn(other)
    }

    fn entry(&self) -> Entry {
        Entry::of(self)
    }
}

pub(super) fn mac_claim(mac: &Mac) -> String {
    format!("mac.{}", mac.hex())
}

pub(super) fn name_claim(name: &NodeName) -> String {
    format!("name.{name}")
}

/// An address has one spelling already; what a key cannot hold becomes `-`.
fn bmc_token(address: &BmcAddress) -> String {
    address
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '[' | ']'))
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_the_same_while_nothing_that_is_claimed_has_changed() {
        let node = crate::records::tests::node(1);
        let alike = |change: fn(&mut Node), expected: bool| {
            let mut other = node.clone();
            change(&mut other);
            assert_eq!(other.claims_as(&node), expected, "{other:?}");
            assert_eq!(other.claims() == node.claims(), expected, "{other:?}");
        };
        alike(|node| node.counter += 1, true);
        alike(|node| node.serial = Some("S1".into()), true);
        alike(|node| node.macs.clear(), false);
        alike(|node| node.name = None, false);
        alike(
            |node| node.system_uuid = Some(SystemUuid::from_bytes([7; 16])),
            false,
        );
        alike(|node| node.bmc = crate::records::tests::node(2).bmc, false);
    }

    #[test]
    fn a_bmc_has_one_key_however_it_is_written() {
        for (address, token) in [
            ("10.77.1.1", "10-77-1-1"),
            ("10.77.1.1:623", "10-77-1-1"),
            ("10.77.1.1:6230", "10-77-1-1-6230"),
            ("[fd00::1]:623", "fd00--1"),
            ("[FD00:0:0::1]", "fd00--1"),
            ("fd00::1", "fd00--1"),
            ("[fd00::1]:6230", "fd00--1-6230"),
            ("bmc7.Rack-2.example", "bmc7-rack-2-example"),
            ("bmc7.rack-2.example:623", "bmc7-rack-2-example"),
        ] {
            assert_eq!(bmc_token(&address.parse().unwrap()), token, "{address}");
        }
    }
}
