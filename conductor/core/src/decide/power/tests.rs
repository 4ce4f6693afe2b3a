//! Power that an operator changes, and power that changes by itself: situation, event, outcome.
use crate::decide::tests::{BOOT, Story, instance, w1};
use crate::decide::{
    Accepted, BmcFault, BmcReport, Effect, Event, LastBeat, Policy, PowerVerb, Rejected, Verb,
};
use crate::explain::explain;
use crate::index::Entry;
use crate::node::{
    BMC_RESTART_SECS, BmcAct, BootDevice, HardwareFault, Power, PowerSource, Rest, State,
};
use crate::time::{Time, secs};
use core::time::Duration;
use ironbeat_common::heartbeat::Status;
use std::string::ToString;

fn verb(verb: PowerVerb) -> Verb {
    Verb::Power(verb)
}

/// A node whose power is known to be off.
fn manageable() -> Story {
    let mut story = Story::new().ask(Verb::Manage);
    let (op, _) = story.acting();
    story = story.event(Event::Bmc {
        op,
        result: Ok(BmcReport { power_on: false }),
    });
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
    story
}

fn silent() -> Result<BmcReport, BmcFault> {
    Err(BmcFault {
        what: "BMC 10.0.0.1: silent".into(),
        permanent: false,
        accepted: None,
        untold: false,
        let_go: false,
    })
}

fn reads(story: Story, result: Result<BmcReport, BmcFault>, troubles: u32) -> Story {
    let at = story.now.after(Duration::from_secs(1));
    story.event(Event::PowerRead {
        at,
        result,
        troubles,
    })
}

fn on(on: bool) -> Result<BmcReport, BmcFault> {
    Ok(BmcReport { power_on: on })
}

#[test]
fn a_reboot_is_off_and_on_and_leaves_the_node_where_it_was() {
    let story = manageable().ask(verb(PowerVerb::Reboot));
    let job = story.node.job().unwrap();
    assert_eq!(job.target_power_state(), Some("rebooting"));
    assert_eq!(story.node.state.provision_state(), "manageable");
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.bmc_did();
    assert_eq!(story.acting().1, BmcAct::EnsureOn);
    let story = story.bmc_did();
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
    assert!(story.node.power.unwrap().on);
}

/// Its agent is asked first: a BMC that has just restarted says "off" of a running machine.
#[test]
fn a_machine_that_is_switched_off_under_its_agent_is_booted_again_when_its_agent_does_not_answer() {
    let story = reads(Story::writing(), on(false), 1);
    assert_eq!(story.effects, [Effect::Nudge], "{}", story.because);
    let entry = Entry::of(&story.node);
    assert!(entry.power.is_some_and(|power| !power.on));
    let words = explain(&story.node, story.now, &story.policy).to_string();
    assert!(words.contains("power     off, as the BMC said"), "{words}");
    assert!(
        words.contains("the BMC says that the machine is off"),
        "{words}"
    );
    let until = story.node.wake_at.unwrap();
    assert!(until.since(story.now) <= secs(60));
    let answer = |at| LastBeat {
        boot: BOOT,
        at,
        status: Status::Idle,
    };
    let silent = Story::writing();
    let before = answer(silent.now);
    let silent = reads(silent, on(false), 1);
    let silent = silent.alarm(Some(before)).is("deploying");
    assert_eq!(silent.acting().1, BmcAct::Netboot, "{}", silent.because);
    assert!(
        silent.because.contains("the BMC says since"),
        "{}",
        silent.because
    );
    let lives = answer(until);
    let lives = story.alarm(Some(lives)).is("wait call-back");
    let power = lives.node.power.clone().unwrap();
    assert_eq!((power.on, power.source), (true, PowerSource::Agent));
    assert!(lives.node.wake_at.unwrap().since(lives.now) > secs(200));
}

#[test]
fn a_reading_of_a_busy_node_is_put_down_unless_its_bmc_is_driven() {
    let story = Story::available().ask(Verb::Deploy(instance()));
    let known = story.node.power.clone();
    let story = reads(story, on(true), 1);
    assert_eq!(story.node.power, known, "{}", story.because);
    let story = reads(story.bmc_did(), on(false), 1).is("wait call-back");
    assert!(!story.node.power.unwrap().on);
}

#[test]
fn a_bmc_gets_one_job_at_a_time() {
    let mut story = manageable().ask(verb(PowerVerb::On));
    for late in [
        verb(PowerVerb::Off),
        Verb::Inspect,
        Verb::BootDevice {
            device: BootDevice::Pxe,
            persistent: false,
        },
        Verb::ResetBmc,
    ] {
        let request = "late".parse().unwrap();
        let refused = story.try_event(Event::Asked {
            request,
            verb: late,
        });
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("its BMC busy"), "{words}");
    }
}

#[test]
fn a_dead_workers_reboot_is_finished_by_another_and_its_cycle_is_not_repeated() {
    let lost = |story: &Story| Event::WorkerLost {
        actor: w1(0),
        until: story.node.wake_at.unwrap(),
        replaced: false,
    };
    let mut story = manageable().ask(verb(PowerVerb::Reboot));
    story.now = story.now.after(secs(10));
    let event = lost(&story);
    let story = story.event(event);
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let mut story = manageable().ask(verb(PowerVerb::Cycle));
    story.now = story.now.after(secs(10));
    let event = lost(&story);
    let story = story.event(event);
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
    let what = story.node.bmc_error.unwrap().what;
    assert!(what.contains("may have been carried out"), "{what}");
}

#[test]
fn a_restart_of_the_bmc_is_one_act_that_nobody_repeats() {
    let story = manageable().ask(Verb::ResetBmc);
    assert_eq!(story.node.state.provision_state(), "manageable");
    assert_eq!(story.acting().1, BmcAct::ResetBmc);
    let (worker, act) = story.node.job().unwrap().bmc_act().unwrap();
    assert_eq!((worker.as_str(), act), ("w1", BmcAct::ResetBmc));
    let until = story.node.wake_at.unwrap();
    assert!(until.since(story.now) > secs(BMC_RESTART_SECS));
    let (op, _) = story.acting();
    let story = story.event(Event::Bmc {
        op,
        result: silent(),
    });
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
    let what = story.node.bmc_error.clone().unwrap().what;
    assert!(what.contains("may have been carried out"), "{what}");

    let story = story.ask(Verb::Maintenance(Some("it hangs".into())));
    let story = story.ask(Verb::ResetBmc).bmc_did();
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
    assert_eq!(story.node.bmc_error, None);
}

/// What a BMC says first after a restart is no order to switch a machine off, whoever restarted it.
#[test]
fn a_bmc_that_says_off_after_a_restart_costs_no_machine_its_power() {
    let running = || manageable().ask(verb(PowerVerb::On)).bmc_did();
    let says_off = |story: Story| {
        let (op, _) = story.acting();
        let result = on(false);
        story.event(Event::Bmc { op, result })
    };
    let reset = || says_off(running().ask(Verb::ResetBmc));
    let device = Verb::BootDevice {
        device: BootDevice::Pxe,
        persistent: false,
    };
    let too_many = Policy::default().power_sync_max_retries + 1;
    for story in [
        reset(),
        says_off(reset().ask(device)),
        // By itself, or its network did.
        reads(reads(running(), silent(), too_many), on(false), 1),
    ] {
        assert!(story.node.power.clone().unwrap().on);
        let story = reads(story, on(true), 1);
        assert!(story.node.job().is_none(), "{:?}", story.node.state);
        // If it really is off, it goes on again.
        let story = reads(story, on(false), 1);
        assert_eq!(story.acting().1, BmcAct::EnsureOn);
    }
}

#[test]
fn a_soft_power_off_has_the_time_it_was_given() {
    let soft = |timeout_secs| PowerVerb::SoftOff {
        timeout_secs,
        then_hard: false,
    };
    let story = manageable().ask(verb(soft(Some(30))));
    let until = story.node.wake_at.unwrap();
    assert_eq!(
        until.since(story.now),
        secs(story.policy.bmc_budget_secs + 30)
    );
    let mut story = manageable();
    for wrong in [0, 1_000_000] {
        let asked = Event::Asked {
            request: "r".parse().unwrap(),
            verb: verb(soft(Some(wrong))),
        };
        assert!(matches!(
            story.try_event(asked),
            Err(Rejected::Invalid { .. })
        ));
    }
}

#[test]
fn a_power_command_without_a_witness_is_evidence_of_the_command_alone() {
    let story = manageable().ask(verb(PowerVerb::On));
    let (op, _) = story.acting();
    let story = story.event(Event::Bmc {
        op,
        result: Err(BmcFault {
            what: "silent".into(),
            permanent: false,
            accepted: Some(Accepted::PowerOn),
            untold: false,
            let_go: false,
        }),
    });
    let power = story.node.power.clone().unwrap();
    assert!(power.on && !power.confirmed());
    let words = explain(&story.node, story.now, &story.policy).to_string();
    assert!(words.contains("nobody has confirmed it"), "{words}");
    assert!(words.contains("wanted: power on"), "{words}");
}

#[test]
fn power_that_nobody_ordered_is_put_right_or_recorded() {
    let story = reads(manageable(), on(true), 1);
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    assert!(!story.bmc_did().node.power.unwrap().on);

    let mut story = manageable();
    story.policy.force_power_state_during_sync = false;
    let story = reads(story, on(true), 1);
    assert!(story.node.job().is_none());
    assert!(story.node.power.unwrap().on);
}

#[test]
fn power_that_does_not_stay_as_ordered_ends_in_maintenance() {
    let story = reads(manageable(), on(true), 4);
    let maintenance = story.node.maintenance.unwrap();
    assert_eq!(maintenance.fault, Some(HardwareFault::Power));
    assert!(maintenance.reason.contains("does not become off"));
}

#[test]
fn a_silent_bmc_brings_maintenance_and_its_answer_ends_it() {
    let story = manageable();
    let before = story.node.clone();
    let story = reads(story, silent(), 3);
    assert_eq!(story.node, before);
    let story = reads(story, silent(), 4);
    assert_eq!(
        story.node.maintenance.as_ref().unwrap().fault,
        Some(HardwareFault::Power)
    );
    let error = story.node.bmc_error.clone().unwrap();
    assert!(
        error.what.contains("4 times in a row: BMC 10.0.0.1"),
        "{error:?}"
    );
    let story = reads(story, silent(), 5);
    let story = reads(story, on(false), 6);
    assert_eq!(story.node.maintenance, None);
    assert_eq!(story.node.bmc_error, None);
}

#[test]
fn an_operators_maintenance_is_left_alone() {
    let story = manageable().ask(Verb::Maintenance(Some("fan".into())));
    let before = story.node.clone();
    for result in [on(true), on(false), silent()] {
        let at = before.power.as_ref().unwrap().at.after(secs(600));
        let mut story = Story::new();
        story.node = before.clone();
        let story = story.event(Event::PowerRead {
            at,
            result,
            troubles: 9,
        });
        assert_eq!(story.node, before);
    }
}

#[test]
fn a_reading_from_before_a_power_change_changes_nothing() {
    let story = manageable();
    let early = story.now;
    let story = story.ask(verb(PowerVerb::On)).bmc_did();
    let before = story.node.clone();
    let story = story.event(Event::PowerRead {
        at: early,
        result: on(false),
        troubles: 1,
    });
    assert_eq!(story.node, before);
}

#[test]
fn readings_that_agree_are_rarely_written() {
    let story = manageable();
    let before = story.node.clone();
    let story = reads(story, on(false), 0);
    assert_eq!(story.node, before);
    let mut story = story;
    story.now = story.now.after(secs(story.policy.power_evidence_secs));
    let story = reads(story, on(false), 0);
    let power = story.node.power.unwrap();
    assert!(power.at > before.power.unwrap().at);
    assert_eq!(power.source, PowerSource::Bmc);
}

/// A node that rests in failure after its job, and one that did not fail but was refused by its BMC.
fn after_a_failure() -> [Story; 2] {
    let mut unverified = Story::new().ask(Verb::Manage);
    unverified = unverified.bmc_failed(true).is("enroll");
    let deploy = Story::available().ask(Verb::Deploy(instance()));
    [unverified, deploy.bmc_failed(true).is("deploy failed")]
}

#[test]
fn a_verb_for_the_bmc_leaves_the_error_of_the_nodes_life_alone() {
    for (story, wanted) in after_a_failure().into_iter().zip(["check", "boot_ramdisk"]) {
        let before = story.node.last_error.clone();
        assert!(story.error().contains(wanted), "{}", story.error());
        let verbs = [
            verb(PowerVerb::On),
            verb(PowerVerb::Cycle),
            Verb::BootDevice {
                device: BootDevice::Disk,
                persistent: false,
            },
            Verb::ResetBmc,
        ];
        let mut story = story;
        for verb in verbs {
            story = story.ask(verb.clone()).bmc_failed(true);
            assert_eq!(story.node.last_error, before, "{verb:?}");
            let error = story.node.bmc_error.clone().unwrap();
            assert!(error.what.contains("BMC 10.0.0.1"), "{error}");
            let words = explain(&story.node, story.now, &story.policy);
            assert_eq!(words.last_error, before);
            assert_eq!(words.bmc_error, Some(error));
            assert!(words.verbs.contains(&"node set".to_string()));

            story = story.ask(verb).bmc_did();
            assert_eq!(story.node.last_error, before);
            assert_eq!(story.node.bmc_error, None);
        }
        // What the next job of its life says is true of all.
        story = story.ask(verb(PowerVerb::On)).bmc_failed(true);
        let next = match story.node.state.provision_state() {
            "enroll" => Verb::Manage,
            _ => Verb::Deploy(instance()),
        };
        let story = story.ask(next);
        assert_eq!(story.node.last_error, None);
        assert_eq!(story.node.bmc_error, None);
    }
}

#[test]
fn a_power_sync_that_gives_up_leaves_the_error_of_the_nodes_life_alone() {
    let [_, story] = after_a_failure();
    let before = story.node.last_error.clone();
    let story = reads(story, silent(), 4);
    assert!(story.node.maintenance.is_some());
    assert_eq!(story.node.last_error, before);
    assert!(story.node.bmc_error.is_some());
    let story = reads(story, on(false), 5);
    assert_eq!(story.node.maintenance, None);
    assert_eq!(story.node.last_error, before);
    assert_eq!(story.node.bmc_error, None);
}

#[test]
fn power_evidence_round_trips() {
    let power = Power {
        on: true,
        at: Time::from_unix_ms(1),
        source: PowerSource::Command,
    };
    let json = serde_json::to_string(&power).unwrap();
    assert_eq!(serde_json::from_str::<Power>(&json).unwrap(), power);
}
