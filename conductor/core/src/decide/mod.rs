//! The deciding core: `decide(node, event) -> node and effects`.
//! It reads no clock and touches nothing; the conductor loads, calls this, saves by compare-and-swap, and only then acts.
mod agent;
mod alarm;
mod allocate;
mod answer;
mod astray;
mod bmc;
mod changes;
mod confirm;
mod draft;
mod enroll;
mod flags;
#[cfg(test)]
pub(crate) mod histories;
mod identity;
mod job;
mod netboot;
mod password;
mod power;
mod profile;
mod rules;
mod set;
#[cfg(test)]
pub(crate) mod tests;
mod ticket;
mod turn;
mod verbs;

use crate::node::Node;
use alloc::format;
use draft::Draft;
pub(crate) use draft::{ANSWER_SECS, wake_at};

pub use crate::event::{
    Accepted, BmcFault, BmcReport, Enrolment, Event, LastBeat, Marks, PowerVerb, Proof, Verb,
};
pub use crate::patch::{BmcPatch, Clear, Patch};
pub use crate::policy::Policy;
pub use agent::{Wanted, refusal, wanted};
pub use alarm::heard;
pub use answer::{Decision, Effect, Rejected, WrongTicket};
pub use draft::Ctx;
pub use power::{is_news, power_is_read, power_is_synced};
pub use set::bmc_is_checked;
pub use ticket::may_renew;

/// One event, one answer. Delivering the same event twice gives the same node as once, and no further effect.
///
/// # Errors
/// When the event is not possible now; the node is as it was.
pub fn decide(node: Option<&Node>, event: &Event, ctx: Ctx<'_>) -> Result<Decision, Rejected> {
    match (node, event) {
        (present, Event::Enrolled(enrolment)) => enroll::enrolled(present, enrolment, ctx),
        (Some(node), _) => of_a_node(node, event, ctx),
        (None, _) => Err(Rejected::NoNode),
    }
}

fn of_a_node(node: &Node, event: &Event, ctx: Ctx<'_>) -> Result<Decision, Rejected> {
    let mut draft = Draft::new(node, ctx);
    let mut because = match event {
        Event::Enrolled(enrolment) => return enroll::enrolled(Some(node), enrolment, ctx),
        Event::Asked {
            verb: Verb::Delete, ..
        } => return enroll::forgotten(node),
        Event::Asked { request, verb } => verbs::asked(&mut draft, request, verb)?,
        Event::Booted {
            boot,
            inventory,
            proof,
            measured,
        } => agent::booted(&mut draft, *boot, inventory, *proof, measured)?,
        Event::Identified { boot, marks } => identity::identified(&mut draft, *boot, marks)?,
        Event::Confirmed { sha256 } => confirm::confirmed(&mut draft, sha256)?,
        Event::Beat { boot, status } => agent::beat(&mut draft, *boot, status)?,
        Event::Seen { sign, at } => netboot::seen(&mut draft, *sign, *at),
        Event::Script { ticket, at } => ticket::fetched(&mut draft, *ticket, *at)?,
        Event::LoginsEnded { keys } => ticket::ended(&mut draft, keys),
        Event::Bmc { op, result } => bmc::reported(&mut draft, op, result),
        Event::Alarm { last_beat } => alarm::due(&mut draft, last_beat.as_ref()),
        Event::WorkerLost {
            actor,
            until,
            replaced,
        } => alarm::worker_lost(&mut draft, actor, *until, *replaced),
        Event::Turn { place } => turn::comes(&mut draft, *place),
        Event::PowerRead {
            at,
            result,
            troubles,
        } => power::read(&mut draft, *at, result, *troubles),
        Event::PasswordFound { version, found } => password::found(&mut draft, version, *found),
    };
    match event {
        // An abort is no failure.
        Event::Asked { .. } => {}
        Event::Enrolled(_)
        | Event::Seen { .. }
        | Event::Script { .. }
        | Event::LoginsEnded { .. }
        | Event::Identified { .. }
        | Event::Confirmed { .. }
        | Event::Booted { .. }
        | Event::Beat { .. }
        | Event::Bmc { .. }
        | Event::Alarm { .. }
        | Event::WorkerLost { .. }
        | Event::Turn { .. }
        | Event::PasswordFound { .. }
        | Event::PowerRead { .. } => draft.put_aside(node),
    }
    if let Some(over) = password::close_untold(&mut draft) {
        because = format!("{because}; {over}");
    }
    Ok(draft.finish(node, because))
}

/// Whether the decision compares with the inventory that lies beside the record. A ramdisk that nobody waits for costs no look
/// at it.
pub fn needs_inventory(node: &Node, event: &Event) -> bool {
    match event {
        Event::Booted { boot, .. } => agent::is_awaited(node, *boot),
        Event::Beat { status, .. } => agent::lacks_something(status),
        Event::Enrolled(_)
        | Event::Asked { .. }
        | Event::Seen { .. }
        | Event::Script { .. }
        | Event::LoginsEnded { .. }
        | Event::Identified { .. }
        | Event::Confirmed { .. }
        | Event::Bmc { .. }
        | Event::Alarm { .. }
        | Event::WorkerLost { .. }
        | Event::Turn { .. }
        | Event::PasswordFound { .. }
        | Event::PowerRead { .. } => false,
    }
}
