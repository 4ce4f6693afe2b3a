//! Allocations: somebody asks for any node of a kind, and has it from then on. What is asked for, and which nodes fit.
//! The node's record says whose it is, and so decides who wins; `decide/allocate.rs` writes it. The conductor stores the rest.
use crate::id::{AllocationName, OpId};
use crate::index::Entry;
use crate::node::{Node, Rest, Trait};
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::id::{AllocationId, NodeId};
use serde::{Deserialize, Serialize};

/// Version of the document.
pub const SCHEMA: u32 = 1;
/// Candidates that a request may name.
pub const MAX_CANDIDATES: usize = 500;

/// One allocation as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    pub schema: u32,
    pub id: AllocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AllocationName>,
    pub wanted: Wanted,
    pub created: Time,
    /// None: nobody has said yet that it has one. It counts while the node's record names this allocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The write that made this revision.
    pub op: OpId,
}

/// Which nodes will do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Wanted {
    pub resource_class: String,
    /// All of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// One of these; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<NodeId>,
    /// Whose nodes, or lent to whom; none: anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A node that serves somebody already, in place of one that is free.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub backfill: bool,
}

/// What is in the way, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    OtherClass,
    OtherOwner,
    NoCandidate,
    LacksTraits,
    Allocated,
    InMaintenance,
    /// Not active, for a backfill.
    OtherState,
    PowerUnknown,
}

impl Unfit {
    /// After a number of nodes.
    pub fn words(self) -> &'static str {
        match self {
            Unfit::OtherClass => "of another class",
            Unfit::OtherOwner => "of another owner",
            Unfit::NoCandidate => "not among the candidates",
            Unfit::LacksTraits => "without all of the traits",
            Unfit::Allocated => "allocated",
            Unfit::InMaintenance => "in maintenance",
            Unfit::OtherState => "in another state",
            Unfit::PowerUnknown => "with unknown power",
        }
    }
}

impl Wanted {
    /// # Errors
    /// The first thing that is in the way.
    pub fn fits(&self, node: &Entry) -> Result<(), Unfit> {
        let class = Some(&self.resource_class);
        let owned = |owner: &String| [&node.owner, &node.lessee].contains(&&Some(owner.clone()));
        let state = match self.backfill {
            true => Rest::Active,
            false => Rest::Available,
        };
        let checks = [
            (node.resource_class.as_ref() == class, Unfit::OtherClass),
            (self.owner.as_ref().is_none_or(owned), Unfit::OtherOwner),
            (
                self.candidates.is_empty() || self.candidates.contains(&node.id),
                Unfit::NoCandidate,
            ),
            (
                self.traits.iter().all(|one| node.traits.contains(one)),
                Unfit::LacksTraits,
            ),
            (node.allocation.is_none(), Unfit::Allocated),
            (node.maintenance.is_none(), Unfit::InMaintenance),
            (node.rest == Some(state), Unfit::OtherState),
            (node.power.is_some(), Unfit::PowerUnknown),
        ];
        let first = checks.iter().find(|(fits, _)| !fits);
        first.map_or(Ok(()), |(_, unfit)| Err(*unfit))
    }

    /// As [`Wanted::fits`], of the record, which alone is certain.
    pub(crate) fn fits_record(&self, node: &Node) -> Result<(), Unfit> {
        self.fits(&Entry::of(node))
    }
}

/// Why none of many nodes can be had, in words: "of 12 nodes 10 are allocated, 2 in maintenance".
pub fn tell(unfit: &BTreeMap<Unfit, usize>) -> String {
    let all: usize = unfit.values().sum();
    let words = unfit
        .iter()
        .map(|(unfit, count)| format!("{count} {}", unfit.words()));
    match all {
        0 => "there are no nodes".to_string(),
        all => format!("of {all} nodes {}", words.collect::<Vec<_>>().join(", ")),
    }
}
