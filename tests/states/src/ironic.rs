//! Ironic's provision states, as its machine has them (`ironic/common/state_machine.py` of Ironic 39.0.0): 30 states, 93 transitions.
//! What ours does is asked of the core itself, in `ours`.

/// A state, what happens in it, and the state after that.
pub const TRANSITIONS: &[(&str, &str, &str)] = &[
    ("enroll", "manage", "verifying"),
    ("verifying", "done", "manageable"),
    ("verifying", "fail", "enroll"),
    ("manageable", "provide", "cleaning"),
    ("manageable", "clean", "cleaning"),
    ("manageable", "inspect", "inspecting"),
    ("manageable", "adopt", "adopting"),
    ("available", "deploy", "deploying"),
    ("available", "manage", "manageable"),
    ("deploying", "wait", "wait call-back"),
    ("deploying", "hold", "deploy hold"),
    ("deploying", "done", "active"),
    ("deploying", "fail", "deploy failed"),
    ("wait call-back", "resume", "deploying"),
    ("wait call-back", "hold", "deploy hold"),
    ("wait call-back", "fail", "deploy failed"),
    ("wait call-back", "abort", "deploy failed"),
    ("wait call-back", "delete", "deleting"),
    ("deploy hold", "unhold", "wait call-back"),
    ("deploy hold", "abort", "deploy failed"),
    ("deploy failed", "deploy", "deploying"),
    ("deploy failed", "rebuild", "deploying"),
    ("deploy failed", "delete", "deleting"),
    ("active", "rebuild", "deploying"),
    ("active", "delete", "deleting"),
    ("active", "rescue", "rescuing"),
    ("active", "service", "servicing"),
    ("deleting", "clean", "cleaning"),
    ("deleting", "fail", "error"),
    ("error", "rebuild", "deploying"),
    ("error", "delete", "deleting"),
    ("cleaning", "done", "available"),
    ("cleaning", "manage", "manageable"),
    ("cleaning", "wait", "clean wait"),
    ("cleaning", "hold", "clean hold"),
    ("cleaning", "fail", "clean failed"),
    ("clean wait", "resume", "cleaning"),
    ("clean wait", "hold", "clean hold"),
    ("clean wait", "fail", "clean failed"),
    ("clean wait", "abort", "clean failed"),
    ("clean hold", "unhold", "clean wait"),
    ("clean hold", "abort", "clean failed"),
    ("clean failed", "manage", "manageable"),
    ("inspecting", "wait", "inspect wait"),
    ("inspecting", "done", "manageable"),
    ("inspecting", "fail", "inspect failed"),
    ("inspect wait", "resume", "inspecting"),
    ("inspect wait", "done", "manageable"),
    ("inspect wait", "fail", "inspect failed"),
    ("inspect wait", "abort", "inspect failed"),
    ("inspect failed", "inspect", "inspecting"),
    ("inspect failed", "manage", "manageable"),
    ("adopting", "done", "active"),
    ("adopting", "fail", "adopt failed"),
    ("adopt failed", "adopt", "adopting"),
    ("adopt failed", "manage", "manageable"),
    ("rescuing", "wait", "rescue wait"),
    ("rescuing", "done", "rescue"),
    ("rescuing", "fail", "rescue failed"),
    ("rescue wait", "resume", "rescuing"),
    ("rescue wait", "fail", "rescue failed"),
    ("rescue wait", "abort", "rescue failed"),
    ("rescue wait", "delete", "deleting"),
    ("rescue", "rescue", "rescuing"),
    ("rescue", "unrescue", "unrescuing"),
    ("rescue", "delete", "deleting"),
    ("rescue failed", "rescue", "rescuing"),
    ("rescue failed", "unrescue", "unrescuing"),
    ("rescue failed", "delete", "deleting"),
    ("unrescuing", "done", "active"),
    ("unrescuing", "fail", "unrescue failed"),
    ("unrescue failed", "rescue", "rescuing"),
    ("unrescue failed", "unrescue", "unrescuing"),
    ("unrescue failed", "delete", "deleting"),
    ("servicing", "wait", "service wait"),
    ("servicing", "hold", "service hold"),
    ("servicing", "done", "active"),
    ("servicing", "fail", "service failed"),
    ("service wait", "resume", "servicing"),
    ("service wait", "hold", "service hold"),
    ("service wait", "fail", "service failed"),
    ("service wait", "abort", "service failed"),
    ("service wait", "delete", "deleting"),
    ("service hold", "unhold", "service wait"),
    ("service hold", "service", "servicing"),
    ("service hold", "fail", "service failed"),
    ("service hold", "abort", "service failed"),
    ("service failed", "service", "servicing"),
    ("service failed", "rescue", "rescuing"),
    ("service failed", "wait", "service wait"),
    ("service failed", "hold", "service hold"),
    ("service failed", "delete", "deleting"),
    ("service failed", "abort", "active"),
];

/// Each state, in the order of the transitions.
pub fn states() -> Vec<&'static str> {
    each(TRANSITIONS.iter().map(|(state, _, _)| *state))
}

/// Each event, in the order of the transitions.
pub fn events() -> Vec<&'static str> {
    each(TRANSITIONS.iter().map(|(_, event, _)| *event))
}

fn each(all: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut found = vec![];
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Where Ironic goes from there; none: it refuses the event.
pub fn next(state: &str, event: &str) -> Option<&'static str> {
    let mut of_it = TRANSITIONS
        .iter()
        .filter(|(from, what, _)| (*from, *what) == (state, event));
    of_it.next().map(|(_, _, next)| *next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!((states().len(), TRANSITIONS.len()), (30, 93));
        let all = states();
        for (state, event, next) in TRANSITIONS {
            assert!(all.contains(next), "{state} {event} {next}");
        }
    }
}
