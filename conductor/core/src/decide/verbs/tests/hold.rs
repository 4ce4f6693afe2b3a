//! Jobs that an operator holds: what waits, what goes on meanwhile, and how it ends.
use super::super::super::tests::{BOOT, NEXT_BOOT, Story, instance};
use super::super::super::{Event, Rejected, Verb, Wanted, wanted};
use super::refused;
use crate::explain::explain;
use crate::index::Entry;
use crate::node::{BmcAct, JobKind, Phase, Step};
use crate::turn::Turn;
use ironbeat_common::heartbeat::Status;

fn is_held(story: &Story) -> bool {
    matches!(
        story.node.job().map(|job| &job.phase),
        Some(Phase::Held { .. })
    )
}

#[test]
fn a_deploy_is_held_before_its_next_step_and_goes_on_with_it() {
    let story = Story::writing().ask(Verb::Hold).is("wait call-back");
    let words = explain(&story.node, story.now, &story.policy);
    assert_eq!(
        words.next,
        "be held before its next step, as the operator wants"
    );
    assert!(words.verbs.contains(&"node unhold".to_string()), "{words}");

    let story = story.agent_did().is("deploy hold");
    assert_eq!(story.node.wake_at, None, "no time counts");
    assert_eq!(story.node.boot, Some(BOOT), "its ramdisk stays");
    assert_eq!(wanted(&story.node, BOOT, &Status::Idle), Wanted::Idle);
    let words = explain(&story.node, story.now, &story.policy);
    assert_eq!(
        words.waiting_for,
        "an operator to end the hold; no time counts"
    );

    let story = story.ask(Verb::Unhold).is("wait call-back");
    assert!(story.node.wake_at.is_some());
    story.agent_did().bmc_did().bmc_did().is("active");
}

#[test]
fn a_machine_that_boots_is_let_come_and_held_before_anything_is_written() {
    let story = Story::available()
        .ask(Verb::Deploy(instance()))
        .ask(Verb::Hold)
        .bmc_did()
        .is("wait call-back")
        .boots(BOOT, &["S1"])
        .is("deploy hold");
    let job = story.node.job().unwrap();
    assert_eq!(job.step().name(), "write_image");
    // It reboots meanwhile: whatever it shows now is what the step is planned with.
    let story = story.boots(NEXT_BOOT, &["S1", "S2"]).is("deploy hold");
    assert_eq!(story.node.boot, Some(NEXT_BOOT));
    story.ask(Verb::Unhold).is("wait call-back").agent_did();
}

#[test]
fn a_hold_that_is_taken_back_holds_nothing() {
    let story = Story::writing().ask(Verb::Hold).ask(Verb::Unhold);
    let mut story = story.agent_did().is("wait call-back");
    assert_eq!(
        refused(&mut story, Verb::Unhold),
        "cannot unhold a node that is wait call-back"
    );
}

#[test]
fn cleaning_is_held_too_and_can_be_aborted_then() {
    let story = Story::cleaning().ask(Verb::Hold).boots(BOOT, &["S1"]);
    story.is("clean hold").ask(Verb::Abort).is("clean failed");
    let story = Story::writing()
        .ask(Verb::Hold)
        .agent_did()
        .is("deploy hold");
    let story = story.ask(Verb::Abort).is("deploying");
    assert_eq!(
        story.acting().1,
        BmcAct::PowerOff,
        "what tidies up is not held"
    );
    story.bmc_did().is("deploy failed");
}

#[test]
fn a_pause_before_another_try_is_held_at_once() {
    let story = Story::available()
        .ask(Verb::Deploy(instance()))
        .bmc_failed(false);
    let tries = story.node.job().unwrap().tries;
    let story = story.ask(Verb::Hold).is("deploy hold");
    let story = story.ask(Verb::Unhold).is("deploying");
    assert_eq!(story.acting().1, BmcAct::Netboot);
    assert_eq!(story.node.job().unwrap().tries, tries + 1);
}

#[test]
fn whoever_is_held_in_line_keeps_its_place_when_its_turn_comes() {
    let mut story = Story::available();
    story.policy.max_concurrent_deploy = 1;
    let story = story.ask(Verb::Deploy(instance())).ask(Verb::Hold);
    assert_eq!(
        Turn::of(story.node.job().unwrap()),
        Some(Turn::Waits(JobKind::Deploy))
    );
    let story = story
        .event(Event::Turn { place: Some(0) })
        .is("deploy hold");
    assert_eq!(
        Entry::of(&story.node).turn,
        Some(Turn::Has(JobKind::Deploy, 0))
    );
    assert_eq!(
        *story.node.job().unwrap().step(),
        Step::Bmc(BmcAct::Netboot)
    );
    let story = story.ask(Verb::Abort).is("deploy failed");
    assert!(story.error().ends_with("the machine is as it was"));
}

#[test]
fn nothing_else_can_be_held() {
    for mut story in [
        Story::available(),
        Story::new().ask(Verb::Manage),
        Story::available().ask(Verb::ResetBmc),
        Story::writing().ask(Verb::Abort),
    ] {
        let request = "hold".parse().unwrap();
        let refusal = story.try_event(Event::Asked {
            request,
            verb: Verb::Hold,
        });
        assert!(
            matches!(refusal, Err(Rejected::WrongState { .. })),
            "{refusal:?}"
        );
        assert!(!is_held(&story));
    }
}
