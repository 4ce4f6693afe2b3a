//! Which changes of a node's record are events: from the record before and after a change to happenings.
//! It reads no clock and touches nothing; whoever saved the record publishes them.
use ironbeat_core::id::WorkerId;
use ironbeat_core::node::{Job, Node};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Happening, PowerChange, Transition, What};

/// First the step or the change of state, then the power, if something happened to it.
/// A record that is new or gone is an event of its own.
pub fn announce(
    before: Option<&Node>,
    after: Option<&Node>,
    because: &str,
    at: Time,
    worker: &WorkerId,
) -> Vec<Happening> {
    let happening = |node, what| Happening::of(node, at, worker, what);
    match (before, after) {
        (None, None) => vec![],
        (None, Some(after)) => vec![happening(after, What::Enrolled)],
        (Some(before), None) => vec![happening(before, What::Deleted)],
        (Some(before), Some(after)) => {
            let power = power(before, after, because);
            let whats = [Some(transition(before, after, because)), power];
            let whats = whats.into_iter().flatten();
            whats.map(|what| happening(after, what)).collect()
        }
    }
}

fn transition(before: &Node, after: &Node, because: &str) -> What {
    let (from, to) = (
        before.state.provision_state(),
        after.state.provision_state(),
    );
    let transition = Transition {
        from: from.into(),
        to: to.into(),
        step: after.job().map(|job| job.step().name().into()),
        because: because.into(),
        error: new_error(before, after),
    };
    if from == to {
        What::Step(transition)
    } else {
        What::State(transition)
    }
}

/// Ironic's notifications of power: begin and end of an ordered change; any other change, when it was seen.
fn power(before: &Node, after: &Node, because: &str) -> Option<What> {
    let target = |node: &Node| node.job().and_then(Job::target_power_state);
    let on = |node: &Node| node.power.as_ref().map(|power| power.on);
    let error = new_error(before, after);
    let failed = error.is_some();
    let change = PowerChange {
        from: on(before),
        to: on(after),
        target: target(after).or(target(before)).map(Into::into),
        because: because.into(),
        error,
    };
    match (target(before), target(after)) {
        (None, Some(_)) => Some(What::PowerSetStart(change)),
        (Some(_), None) if failed => Some(What::PowerSetError(change)),
        (Some(_), None) => Some(What::PowerSetEnd(change)),
        // One change took the place of another.
        (Some(before), Some(after)) => (before != after).then_some(What::PowerSetStart(change)),
        (None, None) => {
            let by_itself = before.job().is_none() && after.job().is_none();
            let differs = change.from.is_some() && change.from != change.to;
            (by_itself && differs).then_some(What::PowerStateCorrected(change))
        }
    }
}

fn new_error(before: &Node, after: &Node) -> Option<ironbeat_core::node::LastError> {
    let of_the_job = (before.last_error != after.last_error).then(|| after.last_error.clone());
    let of_the_bmc = (before.bmc_error != after.bmc_error).then(|| after.bmc_error.clone());
    of_the_job.flatten().or(of_the_bmc.flatten())
}

#[cfg(test)]
mod tests;
