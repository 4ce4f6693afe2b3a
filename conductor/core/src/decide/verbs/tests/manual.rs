//! Steps that an operator names: in which order, with which ramdisk, and what a failure leaves.
use super::super::super::tests::{BOOT, NEXT_BOOT, Story};
use super::super::super::{Event, LastBeat, Verb};
use super::refused;
use crate::explain::explain;
use crate::manual::Wish;
use crate::named::{Bounds, ManualStep, NamedStep, OnStepFailure};
use crate::node::{AgentStep, BmcAct, HardwareFault, JobKind, Phase, Step};
use crate::turn::Turn;
use ironbeat_common::heartbeat::{Retry, Status, StepError};
use ironbeat_common::id::BootId;
use std::string::String;
use std::vec::Vec;

/// Of a machine that was deployed before.
const LATER: BootId = BootId::from_bytes([0xb2; 16]);

fn wish(steps: &[ManualStep]) -> Wish {
    Wish {
        steps: steps.iter().copied().map(NamedStep::from).collect(),
        disable_ramdisk: false,
        runbook: None,
    }
}

fn without_ramdisk(steps: &[ManualStep]) -> Wish {
    Wish {
        disable_ramdisk: true,
        ..wish(steps)
    }
}

pub(super) fn inspect() -> Wish {
    wish(&[ManualStep::Inspect])
}

pub(super) fn manageable() -> Story {
    Story::new().ask(Verb::Manage).bmc_did().is("manageable")
}

pub(super) fn active() -> Story {
    let story = Story::writing().agent_did().agent_did();
    story.bmc_did().bmc_did().is("active")
}

fn steps(story: &Story) -> Vec<&'static str> {
    let job = story.node.job().unwrap();
    job.steps.iter().map(Step::name).collect()
}

fn step(story: &Story) -> &Step {
    story.node.job().unwrap().step()
}

#[test]
fn a_manual_cleaning_does_what_was_named_and_leaves_the_node_manageable() {
    let story = manageable().ask(Verb::Clean(wish(&[
        ManualStep::EraseDevicesMetadata,
        ManualStep::PowerOff,
        ManualStep::Inspect,
    ])));
    let story = story.is("cleaning");
    assert_eq!(
        story.node.state.target_provision_state(),
        Some("manageable")
    );
    let all = [
        "boot_ramdisk",
        "await_agent",
        "erase_devices_metadata",
        "power_off",
        "boot_ramdisk",
        "await_agent",
        "inspect",
        "power_off",
    ];
    assert_eq!(steps(&story), all);
    // The disks are those that the ramdisk finds.
    let story = story.bmc_did().boots(BOOT, &["S1", "S2"]).is("clean wait");
    let Step::Agent(AgentStep::EraseMetadata { disks }) = step(&story) else {
        panic!("{:?}", step(&story));
    };
    assert_eq!(disks.len(), 2);
    assert_eq!(steps(&story), all);
    let story = story.agent_did().bmc_did().bmc_did();
    let story = story.boots(NEXT_BOOT, &["S1", "S2"]).agent_did().bmc_did();
    story.is("manageable");
}

#[test]
fn a_service_boots_the_ramdisk_and_then_the_instance_again() {
    let story = active().ask(Verb::Service(inspect())).is("servicing");
    assert_eq!(story.node.state.target_provision_state(), Some("active"));
    let story = story.bmc_did().boots(LATER, &["S1"]).is("service wait");
    let story = story.agent_did();
    assert_eq!(*step(&story), Step::Agent(AgentStep::PowerOff));
    let story = story.agent_did();
    assert_eq!(story.acting().1.name(), "tear_down_agent");
    let story = story.bmc_did();
    assert_eq!(story.acting().1, BmcAct::BootDisk);
    let story = story.bmc_did().is("active");
    assert!(story.node.instance.is_some());
}

#[test]
fn what_cannot_be_done_is_refused_with_what_there_is() {
    let mut story = active();
    for (wish, why) in [
        (wish(&[]), "there are hold, wait, power_on, power_off"),
        (
            wish(&[ManualStep::Hold, ManualStep::EraseDevicesMetadata]),
            "step 2, erase_devices_metadata: the instance needs its disks",
        ),
        (
            wish(&[ManualStep::Wait { seconds: 0 }]),
            "step 1, wait: 0 s: it must be from 1 to 86400",
        ),
        (
            without_ramdisk(&[ManualStep::Inspect]),
            "step 1, inspect: it is done by the ramdisk",
        ),
        (wish(&[ManualStep::Hold; 65]), "65 steps: from 1 to 64"),
    ] {
        let said = refused(&mut story, Verb::Service(wish));
        assert!(said.contains(why), "{said}");
    }
    let mut story = Story::available();
    for verb in [Verb::Clean(inspect()), Verb::Service(inspect())] {
        assert!(refused(&mut story, verb).ends_with("a node that is available"));
    }
}

#[test]
fn a_step_that_holds_ends_with_unhold_and_one_that_waits_by_itself() {
    let story = manageable().ask(Verb::Clean(wish(&[
        ManualStep::Wait { seconds: 60 },
        ManualStep::Hold,
        ManualStep::Inspect,
    ])));
    let story = story.bmc_did().boots(BOOT, &["S1"]).is("clean wait");
    assert!(matches!(
        story.node.job().unwrap().phase,
        Phase::Waiting { since, until } if until.since(since).as_secs() == 60
    ));
    let story = story.alarm(None).is("clean hold");
    assert_eq!(story.node.wake_at, None);
    assert_eq!(story.node.boot, Some(BOOT), "its ramdisk stays");
    // It reboots meanwhile, and is let come.
    let story = story.boots(NEXT_BOOT, &["S1"]).is("clean hold");
    let story = story.ask(Verb::Unhold).is("clean wait");
    assert_eq!(step(&story).name(), "inspect");
    story.agent_did().bmc_did().is("manageable");
}

#[test]
fn a_job_that_an_operator_holds_as_well_is_let_go_once() {
    let story = manageable().ask(Verb::Clean(wish(&[ManualStep::Hold, ManualStep::Inspect])));
    let story = story.ask(Verb::Hold).bmc_did().boots(BOOT, &["S1"]);
    let story = story.is("clean hold").ask(Verb::Unhold).is("clean wait");
    assert_eq!(step(&story).name(), "inspect");
}

#[test]
fn a_machine_lost_in_a_later_step_is_booted_again_and_does_nothing_twice() {
    let story = manageable().ask(Verb::Clean(wish(&[
        ManualStep::EraseDevicesMetadata,
        ManualStep::Hold,
        ManualStep::Inspect,
    ])));
    let story = story.bmc_did().boots(BOOT, &["S1"]).agent_did();
    let story = story.ask(Verb::Unhold);
    assert_eq!(step(&story).name(), "inspect");
    let story = story.alarm(None).is("cleaning");
    assert_eq!(story.acting().1, BmcAct::Netboot);
    let story = story.bmc_did().boots(NEXT_BOOT, &["S1"]).is("clean wait");
    assert_eq!(
        step(&story).name(),
        "inspect",
        "neither erased nor held again"
    );
    story.agent_did().bmc_did().is("manageable");
}

#[test]
fn a_failed_step_of_a_service_puts_the_machine_aside_and_abort_boots_its_disk() {
    let story = active().ask(Verb::Service(inspect())).bmc_did();
    let story = story.boots(LATER, &["S1"]);
    let error = StepError {
        what: "no".into(),
        retry: Retry::Useless,
    };
    let step = story.node.agent_step().unwrap();
    let status = Status::Failed { step, error };
    let boot = LATER;
    let mut story = story
        .event(Event::Beat { boot, status })
        .is("service failed");
    let aside = story.node.maintenance.as_ref().unwrap();
    assert_eq!(aside.fault, Some(HardwareFault::Service));
    assert!(refused(&mut story, Verb::Abort).contains("maintenance"));
    let mut story = story.ask(Verb::Maintenance(None));
    let words = explain(&story.node, story.now, &story.policy);
    assert!(words.verbs.contains(&"node abort".to_string()), "{words}");
    let said = refused(
        &mut story,
        Verb::Service(without_ramdisk(&[ManualStep::PowerOn])),
    );
    assert!(said.contains("may run the ramdisk still"), "{said}");
    let story = story.ask(Verb::Abort).is("servicing");
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.bmc_did();
    assert_eq!(story.acting().1, BmcAct::BootDisk);
    story.bmc_did().is("active");
}

#[test]
fn without_a_ramdisk_the_machine_is_only_switched() {
    let story = active().ask(Verb::Service(without_ramdisk(&[
        ManualStep::Hold,
        ManualStep::Reboot,
    ])));
    // Nothing has begun: it serves on.
    let story = story.is("service hold").ask(Verb::Abort).is("active");
    assert_eq!(story.node.last_error, None);
    let story = story.ask(Verb::Service(without_ramdisk(&[ManualStep::Reboot])));
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.bmc_did();
    assert_eq!(story.acting().1, BmcAct::EnsureOn);
    story.bmc_did().is("active");
}

#[test]
fn an_abort_of_what_has_only_waited_leaves_the_machine_alone() {
    let waits = [
        ManualStep::ResetBmc,
        ManualStep::Hold,
        ManualStep::Wait { seconds: 20 },
        ManualStep::PowerOff,
    ];
    let waiting = || {
        let story = active().ask(Verb::Service(without_ramdisk(&waits)));
        story.bmc_did().ask(Verb::Unhold).is("service wait")
    };
    let mut story = waiting();
    story.effects.clear();
    let story = story.ask(Verb::Abort).is("active");
    assert_eq!(story.effects, [], "nobody touches its power");
    // Once its power was touched, nobody knows.
    let story = waiting().alarm(None);
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.ask(Verb::Abort).bmc_failed(false);
    let story = story.is("service failed");
    let words = explain(&story.node, story.now, &story.policy);
    assert!(
        words.next.contains("node abort switches the machine off"),
        "{words}"
    );
}

#[test]
fn explain_says_what_follows_a_hold_and_a_wait_runs_on_in_maintenance() {
    let steps = [
        ManualStep::Hold,
        ManualStep::Wait { seconds: 20 },
        ManualStep::Inspect,
    ];
    let story = manageable().ask(Verb::Clean(wish(&steps)));
    let story = story.bmc_did().boots(BOOT, &["S1"]).is("clean hold");
    let next = |story: &Story| explain(&story.node, story.now, &story.policy).next;
    assert_eq!(
        next(&story),
        "wait for 20 s, when an operator has ended the hold"
    );
    let story = story.ask(Verb::Unhold).is("clean wait");
    let until = story.node.wake_at;
    assert!(
        next(&story).starts_with("read the hardware"),
        "{}",
        next(&story)
    );
    let story = story.ask(Verb::Maintenance(Some("fan".into())));
    let story = story.ask(Verb::Maintenance(None));
    assert_eq!(story.node.wake_at, until);
    assert_eq!(step(&story.alarm(None)).name(), "inspect");
}

#[test]
fn a_node_in_service_can_be_taken_from_its_user() {
    let story = active().ask(Verb::Service(inspect())).bmc_did();
    story.ask(Verb::Undeploy).is("deleting");
}

#[test]
fn manual_cleanings_wait_in_the_line_of_the_others() {
    let mut story = manageable();
    story.policy.max_concurrent_clean = 1;
    let story = story.ask(Verb::Clean(inspect())).is("cleaning");
    let job = story.node.job().unwrap();
    assert_eq!(Turn::of(job), Some(Turn::Waits(JobKind::Clean)));
    let story = story.event(Event::Turn { place: Some(0) });
    let job = story.node.job().unwrap();
    assert_eq!(Turn::of(job), Some(Turn::Has(JobKind::Clean, 0)));
    let story = story.bmc_did().boots(BOOT, &["S1"]).agent_did().bmc_did();
    story.is("manageable");
    // One that only waits is ended as if it had never been asked for.
    let mut story = manageable();
    story.policy.max_concurrent_clean = 1;
    let story = story.ask(Verb::Clean(inspect())).ask(Verb::Abort);
    story.is("manageable");
}

#[test]
fn steps_are_said_as_ironic_says_them() {
    let said =
        r#"{"steps":[{"step":"wait","args":{"seconds":5}},{"step":"erase_devices_metadata"}]}"#;
    let wish: Wish = serde_json::from_str(said).unwrap();
    let steps = [
        ManualStep::Wait { seconds: 5 },
        ManualStep::EraseDevicesMetadata,
    ];
    assert_eq!(wish.steps, steps.map(NamedStep::from));
    let unknown: Result<Wish, _> = serde_json::from_str(r#"{"steps":[{"step":"format"}]}"#);
    let unknown: String = unknown.unwrap_err().to_string();
    assert!(
        unknown.contains("unknown variant `format`, expected one of `hold`"),
        "{unknown}"
    );
}

fn bounded(step: ManualStep, bounds: Bounds) -> Wish {
    let steps = vec![NamedStep { step, bounds }, ManualStep::Inspect.into()];
    Wish {
        steps,
        disable_ramdisk: false,
        runbook: None,
    }
}

fn failed(story: &Story, retry: Retry) -> Event {
    let what = "sda: I/O error".into();
    Event::Beat {
        boot: story.node.boot.unwrap(),
        status: Status::Failed {
            step: story.node.agent_step().unwrap(),
            error: StepError { what, retry },
        },
    }
}

#[test]
fn a_step_has_its_own_time_and_its_own_tries() {
    let bounds = Bounds {
        timeout_secs: Some(90),
        tries: Some(2),
        ..Bounds::NONE
    };
    let erase = || {
        let wish = bounded(ManualStep::EraseDevicesMetadata, bounds);
        let story = manageable().ask(Verb::Clean(wish)).bmc_did();
        story.boots(BOOT, &["S1"]).is("clean wait")
    };
    let mut story = erase();
    let Phase::AgentStep { since, until, .. } = story.node.job().unwrap().phase else {
        panic!("{:?}", story.node.state);
    };
    assert_eq!(until.since(since).as_secs(), 90);
    // Its agent beats to the end.
    let beat = LastBeat {
        boot: BOOT,
        at: until,
        status: Status::Idle,
    };
    story.now = until;
    let hung = story.event(Event::Alarm {
        last_beat: Some(beat),
    });
    assert!(
        hung.because.contains("its whole budget"),
        "{}",
        hung.because
    );
    assert!(hung.node.maintenance.is_some(), "it is put aside");
    // Twice, not five times as the policy has it.
    let story = erase();
    let event = failed(&story, Retry::Useful);
    let story = story.event(event).is("cleaning").alarm(None);
    let event = failed(&story, Retry::Useful);
    let story = story.event(event).is("clean failed");
    assert!(story.because.contains("(2 tries)"), "{}", story.because);
    // The next one has the policy's.
    let story = erase().agent_did();
    let Phase::AgentStep { since, until, .. } = story.node.job().unwrap().phase else {
        panic!("{:?}", story.node.state);
    };
    let usual = story.policy.step_budget_secs;
    assert_eq!(until.since(since).as_secs(), u64::from(usual));
}

#[test]
fn a_step_that_is_not_relied_on_leaves_its_failure_and_the_next_one_follows() {
    let bounds = Bounds {
        on_failure: OnStepFailure::Continue,
        ..Bounds::NONE
    };
    let wish = || bounded(ManualStep::EraseDevicesMetadata, bounds);
    let story = manageable().ask(Verb::Clean(wish())).bmc_did();
    let story = story.boots(BOOT, &["S1"]);
    // A boot more in the middle of it changes nothing of what was said.
    let story = story.boots(NEXT_BOOT, &["S1"]);
    let event = failed(&story, Retry::Useless);
    let story = story.event(event).is("clean wait");
    assert_eq!(
        story.because,
        "erase_devices_metadata failed (sda: I/O error), and is not relied on: inspect follows"
    );
    let story = story.agent_did().bmc_did().is("manageable");
    let last = story.node.last_error.as_ref().unwrap();
    assert_eq!(last.what, "sda: I/O error");
    assert!(story.node.maintenance.is_none());
    // The next job begins afresh.
    let story = story.ask(Verb::Inspect);
    assert!(story.node.last_error.is_none());
}

#[test]
fn a_boot_that_comes_between_has_not_the_time_of_a_step_that_is_done() {
    let bounds = Bounds {
        timeout_secs: Some(60),
        ..Bounds::NONE
    };
    let time = |story: &Story| {
        let phase = &story.node.job().unwrap().phase;
        let Phase::AwaitingAgent { since, until, .. } = phase else {
            panic!("{phase:?}");
        };
        until.since(*since).as_secs()
    };
    let wish = bounded(ManualStep::Reboot, bounds);
    let story = manageable().ask(Verb::Clean(wish)).bmc_did();
    let story = story.boots(BOOT, &["S1"]).bmc_did();
    assert_eq!(time(&story), 60);
    let story = story.boots(NEXT_BOOT, &["S1"]);
    // It falls silent in the middle of the inspection. The boot that was named is not one of those that are bounded.
    let story = story.alarm(None).bmc_did();
    let usual = story.policy.boot_timeout_secs;
    assert_eq!(time(&story), u64::from(usual));
}
