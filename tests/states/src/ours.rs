//! What our core does in each of Ironic's states with each of its events: asked of it, not written down.
//! Why some of it differs from Ironic is in `reasons`.
use crate::story::{Story, instance};
use ironbeat_core::decide::Verb;
use ironbeat_core::manual::Wish;
use ironbeat_core::named::ManualStep;
use ironbeat_core::node::{RescueLogin, Secret};

/// A node in this state of Ironic's, come there as nodes do; none: we have no such state.
pub fn node_in(state: &str) -> Option<Story> {
    let manageable = || Story::enrolled().ask(Verb::Manage).acted();
    let cleaning = || manageable().ask(Verb::Provide);
    let clean_wait = || cleaning().acted();
    let available = || clean_wait().boots().did().acted();
    let deploying = || available().ask(Verb::Deploy(instance()));
    let wait_call_back = || deploying().acted();
    let active = || wait_call_back().boots().did().did().acted().acted();
    let deleting = || active().ask(Verb::Undeploy);
    let inspecting = || manageable().ask(Verb::Inspect);
    let servicing = || active().ask(Verb::Service(inspect()));
    let service_wait = || servicing().acted();
    let rescuing = || active().ask(Verb::Rescue(login()));
    let rescue = || rescuing().acted().boots().did();
    let unrescuing = || rescue().ask(Verb::Unrescue);
    let adopting = || manageable().ask(Verb::Adopt(instance()));
    let found = match state {
        "enroll" => Story::enrolled(),
        "verifying" => Story::enrolled().ask(Verb::Manage),
        "manageable" => manageable(),
        "available" => available(),
        "deploying" => deploying(),
        "wait call-back" => wait_call_back(),
        "deploy hold" => wait_call_back().ask(Verb::Hold).boots(),
        "deploy failed" => deploying().failed(),
        "active" => active(),
        "deleting" => deleting(),
        "error" => deleting().failed(),
        "cleaning" => cleaning(),
        "clean wait" => clean_wait(),
        "clean hold" => clean_wait().ask(Verb::Hold).boots(),
        "clean failed" => cleaning().failed(),
        "inspecting" => inspecting(),
        "inspect wait" => inspecting().acted(),
        "inspect failed" => inspecting().failed(),
        "servicing" => servicing(),
        "service wait" => service_wait(),
        "service hold" => service_wait().ask(Verb::Hold).boots(),
        "service failed" => servicing().failed(),
        "rescuing" => rescuing(),
        "rescue wait" => rescuing().acted(),
        "rescue" => rescue(),
        "rescue failed" => rescuing().failed(),
        "unrescuing" => unrescuing(),
        "unrescue failed" => unrescuing().failed(),
        "adopting" => adopting(),
        "adopt failed" => adopting().failed(),
        _ => return None,
    };
    assert_eq!(found.state(), state);
    Some(found)
}

fn login() -> RescueLogin {
    RescueLogin {
        password_hash: Some(Secret::new("$6$salt$hash")),
        ssh_keys: vec![],
    }
}

fn inspect() -> Wish {
    Wish {
        steps: vec![ManualStep::Inspect.into()],
        disable_ramdisk: false,
        runbook: None,
    }
}

/// Where a node goes from there; none: the event is refused, or cannot be.
pub fn next(state: &str, event: &str) -> Option<&'static str> {
    if (state, event) == ("cleaning", "manage") {
        // Ironic's name for the end of a manual cleaning.
        let cleaning = node_in("manageable")?.ask(Verb::Clean(inspect()));
        return goes_well(cleaning, state, "done");
    }
    let mut story = node_in(state)?;
    let verb = match event {
        "manage" => Some(Verb::Manage),
        "provide" => Some(Verb::Provide),
        "inspect" => Some(Verb::Inspect),
        "adopt" => Some(Verb::Adopt(instance())),
        "clean" if state != "deleting" => Some(Verb::Clean(inspect())),
        "service" => Some(Verb::Service(inspect())),
        "rescue" => Some(Verb::Rescue(login())),
        "unrescue" => Some(Verb::Unrescue),
        "deploy" => Some(Verb::Deploy(instance())),
        "rebuild" => Some(Verb::Rebuild(None)),
        "delete" => Some(Verb::Undeploy),
        "abort" => Some(Verb::Abort),
        "hold" => Some(Verb::Hold),
        "unhold" => Some(Verb::Unhold),
        _ => None,
    };
    if let Some(verb) = verb {
        if !story.asks(verb) {
            return None;
        }
        // A hold begins with the end of the step under way; what an abort leaves is tidied up.
        match event {
            "hold" => goes_on(&mut story),
            "abort" => tidies(&mut story),
            _ => {}
        }
        return Some(story.state());
    }
    match event {
        "wait" | "resume" | "done" | "clean" => goes_well(story, state, event),
        "fail" => fails(&mut story).then(|| story.state()),
        _ => None,
    }
}

fn one_step(story: &mut Story) -> bool {
    if story.bmc(Ok(())) || story.agent() {
        return true;
    }
    if waits(story.state()) && story.node.boot.is_none() {
        *story = story.clone().boots();
        return true;
    }
    false
}

fn goes_on(story: &mut Story) {
    while !story.state().ends_with(" hold") && one_step(story) {}
}

fn waits(state: &str) -> bool {
    matches!(
        state,
        "wait call-back" | "clean wait" | "inspect wait" | "service wait" | "rescue wait"
    )
}

/// All goes well to the end of the job. Where the event leads from that state on the way; none: it does not come.
fn goes_well(mut story: Story, state: &str, event: &str) -> Option<&'static str> {
    loop {
        let before = story.state();
        if !one_step(&mut story) {
            return None;
        }
        let now = story.state();
        if before != state || now == before {
            continue;
        }
        let comes = match event {
            "wait" => waits(now),
            "clean" => before == "deleting" && now == "cleaning",
            "resume" => waits(before) && story.node.job().is_some(),
            _ => story.node.job().is_none(),
        };
        if comes {
            return Some(now);
        }
    }
}

fn tidies(story: &mut Story) {
    while story.node.job().is_some_and(|job| job.is_tidying()) && story.bmc(Ok(())) {}
}

/// Everything goes wrong until nothing more is tried.
fn fails(story: &mut Story) -> bool {
    if story.node.job().is_none() {
        return false;
    }
    for _ in 0..100 {
        if story.node.job().is_none() {
            return true;
        }
        if !story.bmc(Err("refused")) && !story.alarm() {
            return false;
        }
    }
    false
}
