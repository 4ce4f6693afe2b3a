//! A rescue: who may log in, what is said of it, how it ends, and that its owner's disks are left alone.
//! How the ramdisk lets people in is tried in the agent and in the rack.
use super::super::super::tests::Story;
use super::super::super::{BmcReport, Event, Policy, PowerVerb, Verb};
use super::{manual::active, refused};
use crate::boot::{Boot, boot_for};
use crate::explain::explain;
use crate::node::{AgentStep, BmcAct, RescueLogin, Secret, Step};
use ironbeat_common::heartbeat::{Outcome, Rescued, Retry, Status, StepError};
use ironbeat_common::id::BootId;
use serde_json::json;
use std::string::{String, ToString};
use std::vec;

const RESCUE: BootId = BootId::from_bytes([0xc3; 16]);

pub(super) fn login() -> RescueLogin {
    RescueLogin {
        password_hash: Some(Secret::new("$6$salt$hush")),
        ssh_keys: vec![],
    }
}

pub(super) fn policy() -> Policy {
    Policy {
        rescue_image: "rescue.cpio.zst".into(),
        rescue_checksum: "0".repeat(64),
        ..Policy::default()
    }
}

fn rescuing() -> Story {
    let mut story = active();
    story.policy = policy();
    story.ask(Verb::Rescue(login())).is("rescuing")
}

fn told(outcome: Outcome) -> impl Fn(&Story) -> Event {
    move |story| Event::Beat {
        boot: RESCUE,
        status: Status::Done {
            step: story.node.agent_step().unwrap(),
            outcome: outcome.clone(),
        },
    }
}

fn rescued() -> Story {
    let story = rescuing().bmc_did().is("rescue wait");
    let story = story.boots(RESCUE, &["S1"]);
    let step = story.node.job().unwrap().step();
    assert!(
        matches!(step, Step::Agent(AgentStep::Rescue(_))),
        "{step:?}"
    );
    let event = told(Outcome::Rescued(Rescued {
        addresses: vec!["192.0.2.7".into()],
        said: "ssh-ed25519 AAAAhost".into(),
    }))(&story);
    story.event(event).is("rescue")
}

fn words(story: &Story) -> String {
    explain(&story.node, story.now, &story.policy).to_string()
}

#[test]
fn an_active_machine_is_rescued_and_unrescued_without_a_touch_to_its_disks() {
    let story = rescuing();
    assert_eq!(story.node.state.target_provision_state(), Some("rescue"));
    assert!(story.node.beside.rescue_login.is_some());
    let story = rescued();
    let all = words(&story);
    for said in [
        "rescue    ssh rescue@192.0.2.7; its key is ssh-ed25519 AAAAhost",
        "next      the operator: node unrescue, node rescue or node undeploy; node unrescue switches the machine off",
    ] {
        assert!(all.contains(said), "{all}");
    }
    assert!(story.node.instance.is_some());
    // What the agent knows by now lies nowhere else.
    assert!(story.node.beside.rescue_login.is_none());
    assert!(!serde_json::to_string(&story.node).unwrap().contains("hush"));
    assert_eq!(boot_for(&story.node), Boot::Disk, "a reboot ends it");
    let story = story.ask(Verb::Unrescue).is("unrescuing");
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.bmc_did();
    assert_eq!(story.acting().1, BmcAct::BootDisk);
    let story = story.bmc_did().is("active");
    assert!(story.node.rescue.is_none() && story.node.instance.is_some());
}

#[test]
fn an_agent_that_does_not_say_how_it_is_reached_has_let_nobody_in() {
    for outcome in [Outcome::Nothing, Outcome::Inventory(Default::default())] {
        let story = rescuing().bmc_did().boots(RESCUE, &["S1"]);
        let event = told(outcome)(&story);
        let story = story.event(event).is("rescue failed");
        assert!(story.error().contains("how its rescue system is reached"));
        assert!(story.node.beside.rescue_login.is_none());
        // Another try begins from there, and the machine goes back to its owner.
        let story = story.ask(Verb::Rescue(login())).bmc_did();
        let story = story.ask(Verb::Abort).is("rescue failed");
        story.ask(Verb::Unrescue).bmc_did().bmc_did().is("active");
    }
}

#[test]
fn a_rescue_that_fails_or_is_aborted_says_so_and_leaves_the_instance() {
    let story = rescuing().bmc_did().boots(RESCUE, &["S1"]);
    let step = story.node.agent_step().unwrap();
    let story = story.event(Event::Beat {
        boot: RESCUE,
        status: Status::Failed {
            step,
            error: StepError {
                what: "the image's checksum is wrong".into(),
                retry: Retry::Useless,
            },
        },
    });
    let story = story.is("rescue failed");
    assert!(story.error().contains("checksum"), "{}", story.error());
    assert_eq!(story.node.state.target_provision_state(), Some("rescue"));
    assert!(story.node.instance.is_some() && story.node.maintenance.is_none());
    let aborted = rescuing().bmc_did().ask(Verb::Abort).is("rescue failed");
    assert!(aborted.node.beside.rescue_login.is_none());
    rescued().ask(Verb::Undeploy).is("deleting");
    rescuing().bmc_did().ask(Verb::Undeploy).is("deleting");
}

#[test]
fn what_would_end_a_rescue_silently_is_refused_and_says_what_ends_it() {
    for verb in [
        PowerVerb::On,
        PowerVerb::Reboot,
        PowerVerb::Cycle,
        PowerVerb::Reset,
    ] {
        let said = refused(&mut rescued(), Verb::Power(verb));
        assert!(said.contains("unrescue boots its disk"), "{said}");
    }
    let story = rescued()
        .ask(Verb::Power(PowerVerb::Off))
        .bmc_did()
        .is("rescue");
    assert!(story.node.rescue.is_some());
    // Nor does the power sync switch it on again.
    let mut story = rescued();
    let at = story.now.after(core::time::Duration::from_secs(5));
    let off = Event::PowerRead {
        at,
        result: Ok(BmcReport { power_on: false }),
        troubles: 1,
    };
    story.now = at;
    let story = story.event(off).is("rescue");
    assert!(story.node.job().is_none(), "{}", story.because);
}

#[test]
fn a_rescue_that_nobody_could_log_in_to_is_refused_before_anything_is_done() {
    let mut story = active();
    let said = refused(&mut story, Verb::Rescue(login()));
    assert!(said.contains("policy.rescue_image"), "{said}");
    assert!(!words(&story).contains("node rescue"), "{}", words(&story));
    story.policy = policy();
    assert!(words(&story).contains("node rescue"), "{}", words(&story));
    let said = refused(&mut story, Verb::Rescue(RescueLogin::default()));
    assert!(said.contains("nobody could log in"), "{said}");
    for mut story in [Story::available(), Story::writing()] {
        story.policy = policy();
        refused(&mut story, Verb::Rescue(login()));
        refused(&mut story, Verb::Unrescue);
    }
}

#[test]
fn a_ramdisk_that_reboots_in_the_middle_lets_people_in_anew() {
    let story = rescuing().bmc_did().boots(RESCUE, &["S1"]);
    let story = story
        .boots(BootId::from_bytes([0xc4; 16]), &["S1"])
        .is("rescue wait");
    let step = story.node.job().unwrap().step();
    assert!(
        matches!(step, Step::Agent(AgentStep::Rescue(_))),
        "{step:?}"
    );
}

#[test]
fn a_machine_that_must_stay_on_is_not_rescued_and_a_rescued_one_can_be_protected() {
    let say = |said: serde_json::Value| Verb::set(serde_json::from_value(said).unwrap());
    let stays_on = || say(json!({ "disable_power_off": true }));
    let mut story = active().ask(stays_on());
    story.policy = policy();
    let said = refused(&mut story, Verb::Rescue(login()));
    assert!(said.contains("power off is disabled"), "{said}");
    assert!(!words(&story).contains("node rescue"), "{}", words(&story));
    let mut story = rescued().ask(stays_on());
    let said = refused(&mut story, Verb::Unrescue);
    assert!(said.contains("power off is disabled"), "{said}");
    let story = rescued().ask(say(json!({ "protected": "payroll" })));
    let mut story = story.is("rescue");
    let said = refused(&mut story, Verb::Undeploy);
    assert!(said.contains("protected (payroll)"), "{said}");
    story.ask(Verb::Unrescue).is("unrescuing");
}
