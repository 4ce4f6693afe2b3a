//! Tickets: a boot script brings one, a ramdisk uses it, and the login that it got for it ends with its boot.
//! `agent` has what else a lookup changes; whether a signature is right is checked before.
use super::answer::{Rejected, WrongTicket};
use super::draft::Draft;
use super::netboot;
use crate::boot::{Boot, boot_for};
use crate::event::Proof;
use crate::node::{Node, Rival, RivalSign, Sign, Ticket, Used};
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::{String, ToString};
use ironbeat_common::id::BootId;
use ironbeat_common::login::UserKey;

/// A ramdisk that runs has this long to say so when a boot script is fetched for its node: it is nudged, and beats within
/// a second. No machine gets from its boot script to a lookup much sooner.
const HEARD_SECS: u32 = 5;

pub(super) fn fetched(
    draft: &mut Draft<'_>,
    ticket: UserKey,
    at: Time,
) -> Result<String, Rejected> {
    let tickets = &draft.node.tickets;
    if tickets.knows(&ticket) {
        return Ok("this boot script is known".into());
    }
    // The machine gave up waiting for this one, and has the later one.
    let open = tickets.open.as_ref().map(|it| it.since);
    let used = tickets.used.as_ref().map(|it| it.since);
    if open.max(used).is_some_and(|since| since > at) {
        return Err(Rejected::OldScript);
    }
    if boot_for(&draft.node) != Boot::Ramdisk {
        return Err(Rejected::AgentNotWanted {
            state: draft.node.state.provision_state().to_string(),
        });
    }
    let mut because = netboot::seen(draft, Sign::Script, at);
    if boot_for(&draft.node) != Boot::Ramdisk {
        return Ok(because);
    }
    let beside = draft.node.boot;
    let tickets = &mut draft.node.tickets;
    if tickets.void_open().is_some() {
        because += "; again: the ticket of its script before is void";
    }
    tickets.open = Some(Ticket {
        key: ticket,
        since: at,
        beside,
    });
    if beside.is_some() {
        draft.nudge();
        because +=
            "; a boot script was fetched while the ramdisk ran: it is asked whether it lives";
    }
    Ok(because)
}

/// What a lookup of a boot that is new to the node may do.
pub(super) enum Admitted {
    Welcome,
    /// It may not, and the record says why.
    Noted(String),
}

/// Lets a new boot in by its proof. The boot before it is over then.
pub(super) fn admit(draft: &mut Draft<'_>, proof: Proof) -> Result<Admitted, Rejected> {
    let now = draft.ctx.now;
    let wrong = |why| Err(Rejected::WrongTicket { why });
    let (ticket, key) = match proof {
        Proof::NotAsked => {
            draft.retire_boot();
            draft.node.tickets.open = None;
            return Ok(Admitted::Welcome);
        }
        Proof::Missing => return wrong(WrongTicket::Missing),
        Proof::Ticket { ticket, key } => (ticket, key),
    };
    let tickets = &draft.node.tickets;
    if tickets.void.contains(&ticket) {
        return match rival(draft, ticket, RivalSign::VoidTicket) {
            Some(words) => Ok(Admitted::Noted(words)),
            None => wrong(WrongTicket::Void),
        };
    }
    if tickets.used.as_ref().is_some_and(|it| it.ticket == ticket) {
        return wrong(WrongTicket::Used);
    }
    let Some(open) = tickets.open.clone().filter(|open| open.key == ticket) else {
        return wrong(WrongTicket::Unknown);
    };
    if open.beside.is_some() && now.since(open.since) < secs(HEARD_SECS) {
        return wrong(WrongTicket::TooEarly);
    }
    draft.retire_boot();
    draft.node.tickets.open = None;
    draft.node.tickets.used = Some(Used {
        ticket,
        since: open.since,
        key,
    });
    Ok(Admitted::Welcome)
}

/// The present boot looks up again: its answer may have been lost.
pub(super) fn repeats(node: &Node, proof: Proof) -> Result<(), Rejected> {
    let used = node.tickets.used.as_ref();
    let why = match proof {
        Proof::NotAsked => return Ok(()),
        Proof::Missing => WrongTicket::Missing,
        Proof::Ticket { ticket, key }
            if used.is_some_and(|used| used.ticket == ticket && used.key == key) =>
        {
            return Ok(());
        }
        Proof::Ticket { .. } => WrongTicket::Used,
    };
    Err(Rejected::WrongTicket { why })
}

/// The present ramdisk beats. If a boot script was fetched while it ran, that was for another machine.
pub(super) fn lives(draft: &mut Draft<'_>) -> Option<String> {
    let boot = draft.node.boot;
    let tickets = &mut draft.node.tickets;
    tickets
        .open
        .as_ref()
        .filter(|open| open.beside.is_some() && open.beside == boot)?;
    let ticket = tickets.void_open()?.key;
    rival(draft, ticket, RivalSign::BesideAgent)
}

/// In words, once for each ticket.
fn rival(draft: &mut Draft<'_>, ticket: UserKey, sign: RivalSign) -> Option<String> {
    let known = draft.node.tickets.rival.as_ref();
    if known.is_some_and(|rival| rival.ticket == ticket) {
        return None;
    }
    draft.node.tickets.rival = Some(Rival {
        at: draft.ctx.now,
        ticket,
        sign,
    });
    Some(sign.words().into())
}

pub(super) fn ended(draft: &mut Draft<'_>, keys: &[UserKey]) -> String {
    let logins = &mut draft.node.tickets.ended;
    let before = logins.len();
    logins.retain(|login| !keys.contains(&login.key));
    match before - logins.len() {
        0 => "these logins had ended".into(),
        1 => "the login of a former ramdisk has ended".into(),
        n => format!("the logins of {n} former ramdisks have ended"),
    }
}

/// Whether the login of this boot, with this key, may go on.
pub fn may_renew(node: &Node, boot: BootId, key: &UserKey) -> bool {
    let used = node.tickets.used.as_ref();
    node.boot == Some(boot) && used.is_some_and(|used| used.key == *key)
}

#[cfg(test)]
mod tests;
