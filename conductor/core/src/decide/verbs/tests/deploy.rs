//! Deploys with steps beside their own: in which order, with which disks, and what stays of them.
use super::super::super::tests::{BOOT, NEXT_BOOT, Story, instance};
use super::super::super::{Event, Verb};
use super::refused;
use crate::explain::explain;
use crate::named::DeployStep;
use crate::node::{AgentStep, NewInstance, Phase, Step};
use ironbeat_common::heartbeat::{Retry, Status, StepError};
use ironbeat_common::id::BootId;
use std::string::String;
use std::vec::Vec;

const THIRD_BOOT: BootId = BootId::from_bytes([0xd4; 16]);

fn with(steps: &str) -> NewInstance {
    let deploy_steps: Vec<DeployStep> = serde_json::from_str(steps).unwrap();
    NewInstance {
        deploy_steps,
        ..instance()
    }
}

fn steps(story: &Story) -> Vec<&'static str> {
    let job = story.node.job().unwrap();
    job.steps[job.at..].iter().map(Step::name).collect()
}

fn written_beside(story: &Story) -> usize {
    let job = story.node.job().unwrap();
    let beside = job.steps.iter().find_map(|step| match step {
        Step::Agent(AgentStep::WriteImage(write)) => Some(write.neutralise.len()),
        Step::Agent(_) | Step::Bmc(_) | Step::AwaitAgent | Step::Hold | Step::Wait { .. } => None,
    });
    beside.expect("it writes")
}

#[test]
fn a_deploy_does_what_was_added_where_its_priority_says() {
    let added = with(
        r#"[{"step":"hold","priority":50},
            {"step":"erase_devices_metadata","priority":90,"tries":1},
            {"step":"wait","args":{"seconds":5},"priority":30},
            {"step":"inspect","priority":0}]"#,
    );
    let story = Story::available().ask(Verb::Deploy(added)).bmc_did();
    let job = story.node.job().unwrap();
    let foreseen = crate::plan::steps_of(job, None, story.node.instance.as_ref());
    let words = explain(&story.node, story.now, &story.policy);
    assert!(
        words.next.starts_with("erase devices metadata;"),
        "{}",
        words.next
    );
    let story = story.boots(BOOT, &["S1", "S2"]).is("wait call-back");
    let all = [
        "erase_devices_metadata",
        "write_image",
        "hold",
        "power_off",
        "tear_down_agent",
        "wait",
        "boot_instance",
    ];
    assert_eq!(steps(&story), all);
    // One step less: this machine boots by BIOS, which was not known.
    assert_eq!(story.node.job().unwrap().steps.len(), foreseen - 1);
    let Step::Agent(AgentStep::EraseMetadata { disks }) = story.node.job().unwrap().step() else {
        panic!("it erases first");
    };
    assert_eq!(disks.len(), 2);
    // Of its step alone was said that it is tried once.
    let status = Status::Failed {
        step: story.node.agent_step().unwrap(),
        error: StepError {
            what: "sda: I/O error".into(),
            retry: Retry::Useful,
        },
    };
    let failed = story.event(Event::Beat { boot: BOOT, status });
    assert!(failed.because.contains("(1 tries)"), "{}", failed.because);
    failed.bmc_did().is("deploy failed");
}

#[test]
fn a_step_that_holds_a_deploy_ends_with_unhold() {
    let added = with(r#"[{"step":"hold","priority":50}]"#);
    let story = Story::available().ask(Verb::Deploy(added)).bmc_did();
    let story = story.boots(BOOT, &["S1"]).agent_did().is("deploy hold");
    let story = story.ask(Verb::Unhold).is("wait call-back");
    story.agent_did().bmc_did().bmc_did().is("active");
}

#[test]
fn a_machine_that_reboots_before_the_write_is_looked_at_anew_for_it() {
    let added = with(r#"[{"step":"wait","args":{"seconds":50},"priority":90}]"#);
    let mut story = Story::available();
    story.policy.disk_collisions = crate::policy::OnCollision::Neutralise;
    let story = story.ask(Verb::Deploy(added)).bmc_did();
    let story = story.boots(BOOT, &["S1"]);
    assert!(matches!(
        story.node.job().unwrap().phase,
        Phase::Waiting { .. }
    ));
    assert_eq!(written_beside(&story), 0);
    let story = story.boots(NEXT_BOOT, &["S1", "S2"]);
    assert_eq!(written_beside(&story), 1);
    // One that is lost in the middle of the write does all from the beginning.
    let story = story.alarm(None).is("wait call-back").alarm(None).bmc_did();
    let story = story.boots(THIRD_BOOT, &["S1", "S2"]);
    assert_eq!(steps(&story)[..2], ["wait", "write_image"]);
}

#[test]
fn a_deploy_is_refused_where_it_could_not_be_done() {
    for (added, why) in [
        (with(r#"[{"step":"reboot","priority":90}]"#), "by itself"),
        (
            NewInstance {
                traits: vec!["CUSTOM_GPU".parse().unwrap()],
                ..instance()
            },
            "has not the traits that the instance asks for: CUSTOM_GPU",
        ),
    ] {
        let said: String = refused(&mut Story::available(), Verb::Deploy(added));
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_rebuild_does_the_same_steps_unless_others_are_given() {
    let added = with(r#"[{"step":"hold","priority":50}]"#);
    let story = Story::available().ask(Verb::Deploy(added)).bmc_did();
    let story = story.boots(BOOT, &["S1"]).agent_did().ask(Verb::Unhold);
    let story = story.agent_did().bmc_did().bmc_did().is("active");
    let holds = |story: &Story| story.node.instance.as_ref().unwrap().deploy_steps.len();
    let story = story.ask(Verb::Rebuild(None));
    assert_eq!(holds(&story), 1);
    let story = story.ask(Verb::Abort).bmc_did().bmc_did();
    let story = story
        .is("deploy failed")
        .ask(Verb::Rebuild(Some(instance())));
    assert_eq!(holds(&story), 1);
    let story = story.ask(Verb::Abort).bmc_did().bmc_did();
    let other = with(r#"[{"step":"hold","priority":0},{"step":"hold","priority":0}]"#);
    let story = story.ask(Verb::Rebuild(Some(other)));
    assert_eq!(holds(&story), 2);
}
