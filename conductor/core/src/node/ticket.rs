//! Which boot script a node's ramdisk has to come from, and whose login speaks for it: a ticket at most, and the key it was used for.
//! `decide` moves them on. Of tickets and logins the record has public halves only.
use crate::time::Time;
use alloc::vec::Vec;
use ironbeat_common::id::BootId;
use ironbeat_common::login::UserKey;
use serde::{Deserialize, Serialize};

/// Void tickets remembered, to tell a second machine from a stranger.
pub const MAX_VOID: usize = 4;
/// Logins that are still to be ended. More than that end by themselves, when their time is over.
pub const MAX_ENDED: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tickets {
    /// In the last boot script, and not used yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Ticket>,
    /// By the present boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Another took their place before they were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<UserKey>,
    /// Logins of former boots that the NATS servers may still accept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
    /// Two machines claim the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub key: UserKey,
    /// When its script was asked for.
    pub since: Time,
    /// The ramdisk of this boot ran at that time. Either its machine started over, or this is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BootId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub ticket: UserKey,
    pub since: Time,
    /// The agent's own.
    pub key: UserKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub key: UserKey,
    /// No token of this key lives longer.
    pub until: Time,
}

/// A second machine was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    pub at: Time,
    /// The ticket that one of the two had.
    pub ticket: UserKey,
    pub sign: RivalSign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RivalSign {
    /// A ramdisk looked up with a ticket that another boot script had made void.
    VoidTicket,
    /// A boot script was fetched while the node's ramdisk ran, and that ramdisk was heard afterwards.
    BesideAgent,
}

impl RivalSign {
    pub fn words(self) -> &'static str {
        match self {
            RivalSign::VoidTicket => {
                "two machines claim this node: a ramdisk came with the ticket of an earlier boot script"
            }
            RivalSign::BesideAgent => {
                "two machines claim this node: a boot script was fetched for it while its ramdisk ran"
            }
        }
    }
}

impl Tickets {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is the one that lets a ramdisk in.
    pub fn opens(&self, ticket: &UserKey) -> bool {
        self.open.as_ref().is_some_and(|open| open.key == *ticket)
    }

    /// The last one that was given out, used or not.
    pub fn present(&self) -> Option<UserKey> {
        let open = self.open.as_ref().map(|it| it.key);
        open.or(self.used.as_ref().map(|it| it.ticket))
    }

    /// Whether this ticket was given out before, as far as is remembered.
    pub fn knows(&self, ticket: &UserKey) -> bool {
        let open = self.open.as_ref().map(|it| it.key);
        let used = self.used.as_ref().map(|it| it.ticket);
        open == Some(*ticket) || used == Some(*ticket) || self.void.contains(ticket)
    }

    /// The open ticket, if there is one, can be used no more.
    pub(crate) fn void_open(&mut self) -> Option<Ticket> {
        let open = self.open.take()?;
        push(&mut self.void, open.key, MAX_VOID);
        Some(open)
    }

    /// The agent with this key speaks for the node no longer.
    pub(crate) fn end(&mut self, key: UserKey, until: Time) {
        push(&mut self.ended, Ended { key, until }, MAX_ENDED);
    }
}

/// The oldest makes room.
fn push<T>(list: &mut Vec<T>, item: T, max: usize) {
    list.push(item);
    let surplus = list.len().saturating_sub(max);
    list.drain(..surplus);
}
