//! Which node a machine is: matched by SMBIOS UUID, then MAC addresses, then serial number or BMC address.
//! `decide` says what happens to the matched node; to the machine, all refusals look the same.
use crate::node::Node;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_common::inventory::Inventory;
use ironbeat_common::lookup::Marks;
use serde::{Deserialize, Serialize};

/// The marks by which a machine is recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uuid: Option<SystemUuid>,
    pub macs: Vec<Mac>,
    pub serial: Option<String>,
    pub bmc: Vec<String>,
}

impl Identity {
    pub fn of_machine(inventory: &Inventory) -> Self {
        let bmc = inventory.bmc.clone().unwrap_or_default();
        Self {
            uuid: inventory.system.uuid.filter(SystemUuid::is_meaningful),
            macs: inventory.nics.iter().map(|nic| nic.mac).collect(),
            serial: inventory.system.serial.clone(),
            bmc: [bmc.ipv4, bmc.ipv6].into_iter().flatten().collect(),
        }
    }

    /// As [`Identity::of_machine`], of a lookup that was read in part.
    pub fn of_marks(marks: Marks) -> Self {
        let bmc = marks.bmc.unwrap_or_default();
        Self {
            uuid: marks.system.uuid.filter(SystemUuid::is_meaningful),
            macs: marks.nics.iter().map(|nic| nic.mac).collect(),
            serial: marks.system.serial,
            bmc: [bmc.ipv4, bmc.ipv6].into_iter().flatten().collect(),
        }
    }

    pub fn of_node(node: &Node) -> Self {
        Self {
            uuid: node.system_uuid.filter(SystemUuid::is_meaningful),
            macs: node.macs.clone(),
            serial: node.serial.clone(),
            bmc: [node.bmc.address().host().to_string()].into(),
        }
    }
}

/// What to do about a node whose machine nothing but the address of its BMC tells from others. None: it has better marks.
pub fn weak_identity(node: &Node) -> Option<String> {
    let marks = Identity::of_node(node);
    let strong = marks.uuid.is_some() || marks.serial.is_some() || !marks.macs.is_empty();
    (!strong).then(|| {
        format!(
            "only its BMC's address, {}, says which machine it is, and it boots the ramdisk only where discovery is on: give it \
             a MAC address, the system UUID or the serial number (`ironbeat node set`), or have `ironbeat node inspect` read them",
            node.bmc.address()
        )
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum By {
    Uuid,
    Mac,
    Serial,
    BmcAddress,
}

/// The result of a match, in full: for the operator only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Match {
    One {
        node: NodeId,
        by: By,
    },
    None,
    /// Several nodes match the machine: all of them, or the first 16.
    Ambiguous {
        nodes: Vec<NodeId>,
    },
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Uuid => "SMBIOS UUID",
            By::Mac => "MAC address",
            By::Serial => "serial number",
            By::BmcAddress => "BMC address",
        })
    }
}

/// An ambiguous match names so many nodes at most: a thousand would fill a message, and help nobody.
pub const MAX_NAMED: usize = 16;

/// The nodes that have each of a machine's marks, each once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    pub uuid: &'a [NodeId],
    pub mac: &'a [NodeId],
    pub serial: &'a [NodeId],
    pub bmc: &'a [NodeId],
}

impl Evidence<'_> {
    /// The strongest evidence that names a node decides, unless UUID and MACs name different ones: vendors ship
    /// duplicate UUIDs and people swap NICs, and guessing would write to the wrong machine.
    pub fn weigh(self) -> Match {
        // Clear MACs settle a duplicate UUID.
        let (strong, by) = match (self.uuid, self.mac) {
            ([], _) => (self.mac, By::Mac),
            ([_], []) => (self.uuid, By::Uuid),
            ([one], [other]) if one == other => (self.uuid, By::Uuid),
            ([_, _, ..], [one]) if self.uuid.contains(one) => (self.mac, By::Mac),
            (_, _) => return ambiguous(self.uuid.iter().chain(self.mac)),
        };
        for (nodes, by) in [
            (strong, by),
            (self.serial, By::Serial),
            (self.bmc, By::BmcAddress),
        ] {
            match nodes {
                [] => {}
                [node] => return Match::One { node: *node, by },
                _ => return ambiguous(nodes.iter()),
            }
        }
        Match::None
    }
}

fn ambiguous<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> Match {
    let mut named = BTreeSet::new();
    for node in nodes {
        named.insert(*node);
        if named.len() == MAX_NAMED {
            break;
        }
    }
    Match::Ambiguous {
        nodes: named.into_iter().collect(),
    }
}

/// The same by a walk over all nodes, which is slow and plainly right.
#[cfg(test)]
pub(crate) fn walk<'a>(
    machine: &Identity,
    nodes: impl Iterator<Item = (NodeId, &'a Identity)>,
) -> Match {
    let mut found: [Vec<NodeId>; 4] = Default::default();
    for (id, node) in nodes {
        let holds = [
            machine.uuid.is_some() && machine.uuid == node.uuid,
            machine.macs.iter().any(|mac| node.macs.contains(mac)),
            machine.serial.is_some() && machine.serial == node.serial,
            machine.bmc.iter().any(|address| node.bmc.contains(address)),
        ];
        for (list, holds) in found.iter_mut().zip(holds) {
            if holds {
                list.push(id);
            }
        }
    }
    let [uuid, mac, serial, bmc] = &found;
    Evidence {
        uuid,
        mac,
        serial,
        bmc,
    }
    .weigh()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn known(uuid: u8, mac: u8, serial: &str, bmc: &str) -> Identity {
        Identity {
            uuid: (uuid > 0).then(|| SystemUuid::from_bytes([uuid; 16])),
            macs: if mac > 0 {
                vec![Mac::from_bytes([2, 0, 0, 0, 0, mac])]
            } else {
                vec![]
            },
            serial: (!serial.is_empty()).then(|| serial.into()),
            bmc: if bmc.is_empty() {
                vec![]
            } else {
                vec![bmc.into()]
            },
        }
    }

    #[test]
    fn one_mark_is_enough_to_tell_a_machine() {
        let bare = Node {
            macs: vec![],
            system_uuid: None,
            serial: None,
            ..crate::decide::tests::enrolled()
        };
        let why = weak_identity(&bare).unwrap();
        assert!(
            why.contains("10.0.0.1") && why.contains("node inspect"),
            "{why}"
        );
        for node in [
            Node {
                macs: vec![Mac::from_bytes([2; 6])],
                ..bare.clone()
            },
            Node {
                serial: Some("SN".into()),
                ..bare.clone()
            },
            Node {
                system_uuid: Some(SystemUuid::from_bytes([7; 16])),
                ..bare.clone()
            },
        ] {
            assert_eq!(weak_identity(&node), None);
        }
    }

    #[test]
    fn evidence_is_weighed() {
        let nodes = [
            (id(1), known(1, 1, "S1", "10.0.0.1")),
            (id(2), known(2, 2, "S2", "10.0.0.2")),
            (id(3), known(9, 3, "", "10.0.0.3")),
            (id(4), known(9, 4, "S1", "10.0.0.4")),
        ];
        let one = |n, by| Match::One { node: id(n), by };
        for (machine, expected, why) in [
            (known(1, 1, "S1", "10.0.0.1"), one(1, By::Uuid), "all agree"),
            (known(1, 0, "", ""), one(1, By::Uuid), "UUID alone"),
            (known(7, 2, "", ""), one(2, By::Mac), "new board, same NIC"),
            (known(0, 0, "S2", ""), one(2, By::Serial), "serial alone"),
            (
                known(0, 0, "", "10.0.0.3"),
                one(3, By::BmcAddress),
                "BMC address alone",
            ),
            (
                known(9, 3, "", ""),
                one(3, By::Mac),
                "duplicate UUID, clear MAC",
            ),
            (known(0, 0, "", "10.0.0.99"), Match::None, "unknown"),
            (
                known(1, 2, "", ""),
                Match::Ambiguous {
                    nodes: vec![id(1), id(2)],
                },
                "UUID and MAC disagree",
            ),
            (
                known(9, 0, "", ""),
                Match::Ambiguous {
                    nodes: vec![id(3), id(4)],
                },
                "duplicate UUID alone",
            ),
            (
                known(0, 0, "S1", ""),
                Match::Ambiguous {
                    nodes: vec![id(1), id(4)],
                },
                "duplicate serial",
            ),
        ] {
            assert_eq!(
                walk(&machine, nodes.iter().map(|(id, node)| (*id, node))),
                expected,
                "{why}"
            );
        }
    }

    /// All BMCs behind one gateway, or one serial number in a whole batch: evidence that a thousand nodes share.
    #[test]
    fn an_ambiguous_match_names_a_few_nodes() {
        let many: Vec<NodeId> = (0..200).map(id).collect();
        let found = Evidence {
            bmc: &many,
            ..Evidence::default()
        };
        let named = |found: Match| match found {
            Match::Ambiguous { nodes } => nodes.len(),
            other @ (Match::One { .. } | Match::None) => panic!("{other:?}"),
        };
        assert_eq!(named(found.weigh()), MAX_NAMED);
        let one = [id(7)];
        let found = Evidence {
            uuid: &one,
            ..found
        };
        let node = Match::One {
            node: id(7),
            by: By::Uuid,
        };
        assert_eq!(found.weigh(), node, "weaker evidence is not looked at");
    }
}
