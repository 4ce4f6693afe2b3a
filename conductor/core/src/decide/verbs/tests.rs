//! An operator is never locked out: what stops a job, what takes its place, and that `explain` names only such verbs.
//! What the verbs then do is tried in `decide/tests.rs`.
mod adopt;
mod deploy;
mod hold;
mod manual;
mod rescue;

use super::super::tests::{Story, instance};
use super::super::{BmcFault, Ctx, Event, Patch, PowerVerb, Verb, decide};
use crate::explain::explain;
use crate::id::{Actor, Incarnation, OpId, WorkerId};
use crate::index::Entry;
use crate::node::{
    BmcAct, During, JobKind, LastError, Maintenance, Node, Rescue, Rest, Secret, State,
};
use core::time::Duration;
use ironbeat_common::id::Mac;
use std::string::{String, ToString};

const SOFT: PowerVerb = PowerVerb::SoftOff {
    timeout_secs: None,
    then_hard: false,
};
const SOFT_REBOOT: PowerVerb = PowerVerb::SoftReboot {
    timeout_secs: None,
    then_hard: false,
};

fn power(verb: PowerVerb) -> Verb {
    Verb::Power(verb)
}

fn stopped(story: Story) -> Story {
    let (op, _) = story.acting();
    story.event(Event::Bmc {
        op,
        result: Err(BmcFault {
            what: "stopped".into(),
            permanent: false,
            accepted: None,
            untold: false,
            let_go: false,
        }),
    })
}

fn ctx<'a>(story: &'a Story, op: &'a OpId, worker: &'a WorkerId) -> Ctx<'a> {
    Ctx {
        now: story.now,
        op,
        worker,
        incarnation: Incarnation::default(),
        policy: &story.policy,
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    }
}

fn refused(story: &mut Story, verb: Verb) -> String {
    let request = "refused".parse().unwrap();
    let refused = story.try_event(Event::Asked { request, verb });
    refused.unwrap_err().to_string()
}

#[test]
fn a_hard_verb_takes_the_place_of_a_soft_one_once_the_worker_has_let_go() {
    for (soft, hard, first) in [
        (SOFT, PowerVerb::Off, BmcAct::PowerOff),
        (SOFT, PowerVerb::Reboot, BmcAct::PowerOff),
        (SOFT_REBOOT, PowerVerb::Off, BmcAct::PowerOff),
        (SOFT_REBOOT, PowerVerb::Reboot, BmcAct::PowerOff),
        (SOFT_REBOOT, PowerVerb::Cycle, BmcAct::Cycle),
        (SOFT_REBOOT, PowerVerb::Reset, BmcAct::Reset),
    ] {
        let story = Story::available().ask(power(soft));
        let (old, _) = story.acting();
        let story = story.ask(power(hard)).is("available");
        assert_eq!(story.acting().0, old, "never two acts at a time");
        assert_eq!(story.effects, [], "{hard:?}");
        assert_eq!(Entry::of(&story.node).stopped, Some(old));
        let story = stopped(story);
        assert_eq!(story.acting().1, first, "{soft:?}, {hard:?}");
        assert_eq!(Entry::of(&story.node).stopped, None);
        assert_eq!(story.node.bmc_error, None);
    }
}

#[test]
fn a_soft_verb_does_not_take_the_place_of_a_hard_one() {
    let mut story = Story::available().ask(power(PowerVerb::Reboot));
    for verb in [SOFT, PowerVerb::Off, PowerVerb::On] {
        assert_eq!(
            refused(&mut story, power(verb)),
            "cannot change the power of a node that is available with its BMC busy on another request \
             (abort that first)"
        );
    }
}

#[test]
fn every_job_can_be_aborted_in_mid_act() {
    let deploying = || Story::available().ask(Verb::Deploy(instance()));
    let active = || {
        deploying()
            .bmc_did()
            .boots(super::super::tests::BOOT, &["S1"])
            .agent_did()
            .agent_did()
    };
    for (story, end) in [
        (Story::new().ask(Verb::Manage), "enroll"),
        (
            Story::new().ask(Verb::Manage).bmc_did().ask(Verb::Inspect),
            "inspect failed",
        ),
        (
            Story::new().ask(Verb::Manage).bmc_did().ask(Verb::Provide),
            "clean failed",
        ),
        (
            Story::new()
                .ask(Verb::Manage)
                .bmc_did()
                .ask(Verb::Adopt(instance())),
            "adopt failed",
        ),
        (
            manual::manageable().ask(Verb::Clean(manual::inspect())),
            "clean failed",
        ),
        (
            manual::active().ask(Verb::Service(manual::inspect())),
            "service failed",
        ),
        (deploying(), "deploy failed"),
        (active(), "deploy failed"),
        (deploying().ask(Verb::Undeploy), "deploy failed"),
        (active().bmc_did().bmc_did().ask(Verb::Undeploy), "error"),
        (Story::available().ask(Verb::ResetBmc), "available"),
        (Story::available().ask(power(SOFT)), "available"),
    ] {
        let kind = story.node.job().unwrap().kind;
        let story = story.ask(Verb::Abort);
        let words = explain(&story.node, story.now, &story.policy);
        assert!(
            words.waiting_for.starts_with("worker w1 to let go"),
            "{words}"
        );
        assert_eq!(words.next, "the job is aborted");
        let story = stopped(story);
        assert!(
            story.error().contains("aborted by the operator"),
            "{}",
            story.error()
        );
        match kind {
            // The machine that it leaves running is switched off, and that can be stopped too.
            JobKind::Deploy | JobKind::Inspect => {
                assert_eq!(story.acting().1, BmcAct::PowerOff);
                stopped(story.ask(Verb::Abort)).is(end);
            }
            JobKind::Verify
            | JobKind::Adopt
            | JobKind::Clean
            | JobKind::ManualClean
            | JobKind::Service
            | JobKind::Rescue
            | JobKind::Unrescue
            | JobKind::Delete
            | JobKind::Bmc => {
                story.is(end);
            }
        }
    }
}

#[test]
fn what_stops_an_act_follows_even_when_the_act_succeeded_or_its_worker_died() {
    let asked = || {
        Story::available()
            .ask(power(SOFT))
            .ask(power(PowerVerb::Off))
    };
    let story = asked().bmc_did();
    assert_eq!(story.acting().1, BmcAct::PowerOff);

    let mut story = asked();
    story.now = story.now.after(Duration::from_secs(10));
    let until = story.node.wake_at.unwrap();
    let actor = Actor {
        worker: "w1".parse().unwrap(),
        incarnation: Incarnation::default(),
    };
    let story = story.event(Event::WorkerLost {
        actor,
        until,
        replaced: false,
    });
    assert_eq!(story.acting().1, BmcAct::PowerOff);

    let story = asked().alarm(None);
    assert_eq!(story.acting().1, BmcAct::PowerOff);
}

#[test]
fn the_last_of_several_wishes_counts() {
    let story = Story::available()
        .ask(power(SOFT))
        .ask(power(PowerVerb::Off))
        .ask(Verb::Abort);
    let story = stopped(story).is("available");
    assert!(story.node.job().is_none());
    assert!(
        story.error().ends_with("aborted by the operator"),
        "{}",
        story.error()
    );
}

#[test]
fn an_act_that_counts_once_may_have_been_carried_out_when_it_is_aborted() {
    let story = stopped(
        Story::available()
            .ask(power(PowerVerb::Cycle))
            .ask(Verb::Abort),
    );
    assert!(
        story.error().contains("may have been carried out"),
        "{}",
        story.error()
    );
}

#[test]
fn undeploy_takes_the_place_of_a_deploy_in_mid_act() {
    let story = Story::available()
        .ask(Verb::Deploy(instance()))
        .ask(Verb::Undeploy)
        .is("deploying");
    let story = stopped(story).is("deleting");
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    story.bmc_did().is("cleaning");
}

/// Nodes in every state that there is, with and without an error, an instance, maintenance.
fn everywhere() -> Vec<Node> {
    let mut nodes = vec![];
    let error = LastError {
        at: Story::new().now,
        during: During::PowerSync,
        what: "silent".into(),
    };
    for rest in Rest::ALL {
        let mut node = Story::new().node;
        node.state = State::Resting(*rest);
        match rest {
            Rest::Enroll | Rest::Manageable | Rest::Available => {}
            Rest::Active
            | Rest::AdoptFailed
            | Rest::DeployFailed
            | Rest::ServiceFailed
            | Rest::RescueFailed
            | Rest::UnrescueFailed
            | Rest::Error => {
                node.instance = Story::writing().node.instance;
            }
            Rest::Rescue => {
                node.instance = Story::writing().node.instance;
                node.rescue = Some(Rescue::default());
            }
            Rest::InspectFailed | Rest::CleanFailed | Rest::ManualCleanFailed => {}
        }
        node.last_error = Some(error.clone());
        node.schema = node.lowest_schema();
        nodes.push(node.clone());
        if !rest.is_failure() {
            node.last_error = None;
            nodes.push(node);
        }
    }
    let deploying = Story::available().ask(Verb::Deploy(instance()));
    let tidying = Story::writing().ask(Verb::Abort);
    nodes.extend([
        Story::new().ask(Verb::Manage).node,
        Story::new().ask(Verb::Manage).bmc_failed(false).node,
        Story::cleaning().node,
        deploying.node,
        Story::available()
            .ask(Verb::Deploy(instance()))
            .ask(Verb::Abort)
            .node,
        Story::writing().node,
        tidying.node,
        Story::writing().ask(Verb::Hold).node,
        Story::writing().ask(Verb::Hold).agent_did().node,
        manual::active().ask(Verb::Service(manual::inspect())).node,
        manual::manageable()
            .ask(Verb::Clean(manual::inspect()))
            .bmc_did()
            .node,
        Story::available().ask(power(SOFT)).node,
        Story::available().ask(power(SOFT_REBOOT)).bmc_did().node,
        Story::available().ask(power(PowerVerb::Off)).node,
        Story::available().ask(Verb::ResetBmc).node,
        Story::available()
            .ask(Verb::SetPassword(Secret::new("new")))
            .node,
    ]);
    let kept = nodes.clone();
    for node in &kept {
        for fault in [None, Some(crate::node::HardwareFault::Power)] {
            let mut node = node.clone();
            let reason = "fan".into();
            node.maintenance = Some(Maintenance {
                since: node.since,
                reason,
                fault,
            });
            nodes.push(node);
        }
    }
    nodes
}

#[test]
fn explain_names_only_verbs_that_are_accepted() {
    let mut story = Story::new();
    story.policy = rescue::policy();
    let patch = Patch {
        add_macs: vec![Mac::from_bytes([2, 0, 0, 0, 0, 9])],
        ..Patch::default()
    };
    let op = "op".parse().unwrap();
    let worker = "w1".parse().unwrap();
    for node in everywhere() {
        crate::invariant::check(&node).unwrap();
        let words = explain(&node, story.now, &story.policy);
        assert!(!words.verbs.is_empty(), "{words}");
        let text = words.to_string();
        for name in &words.verbs {
            assert!(text.contains(name.as_str()), "{text}");
            let verb = match name.as_str() {
                "node manage" => Verb::Manage,
                "node inspect" => Verb::Inspect,
                "node provide" => Verb::Provide,
                "node deploy" => Verb::Deploy(instance()),
                "node rebuild" => Verb::Rebuild(None),
                "node undeploy" => Verb::Undeploy,
                "node adopt" => Verb::Adopt(instance()),
                "node clean" => Verb::Clean(manual::inspect()),
                "node service" => Verb::Service(manual::inspect()),
                "node rescue" => Verb::Rescue(rescue::login()),
                "node unrescue" => Verb::Unrescue,
                "node abort" => Verb::Abort,
                "node hold" => Verb::Hold,
                "node unhold" => Verb::Unhold,
                "node maintenance unset" => Verb::Maintenance(None),
                "node set" => Verb::set(patch.clone()),
                // It asks the BMC, whatever the node is at.
                "bmc check" => continue,
                "power off" => power(PowerVerb::Off),
                "power reboot" => power(PowerVerb::Reboot),
                other => panic!("explain names {other:?}, which this test does not know"),
            };
            let request = "r".parse().unwrap();
            let event = Event::Asked { request, verb };
            let accepted = decide(Some(&node), &event, ctx(&story, &op, &worker));
            assert!(accepted.is_ok(), "{name} of {node:?}: {accepted:?}");
        }
    }
}
