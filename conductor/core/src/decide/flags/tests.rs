//! What is kept from a node that is protected, retired, or never to be switched off; and where its cleaning is its own affair.
use super::super::tests::{BOOT, Story, instance};
use super::super::{Event, Patch, PowerVerb, Verb};
use crate::explain::explain;
use crate::index::Entry;
use crate::node::{BmcAct, Node, Rest, State};
use serde_json::{Value, json};
use std::string::{String, ToString};

fn say(said: &Value) -> Verb {
    Verb::set(serde_json::from_value::<Patch>(said.clone()).unwrap())
}

fn refused(story: &mut Story, verb: Verb) -> String {
    let request = "refused".parse().unwrap();
    let refused = story.try_event(Event::Asked { request, verb });
    refused.unwrap_err().to_string()
}

fn manageable() -> Story {
    Story::new().ask(Verb::Manage).bmc_did()
}

fn active() -> Story {
    let story = manageable().ask(Verb::Adopt(instance())).bmc_did();
    story.is("active")
}

#[test]
fn a_protected_instance_is_not_taken_away() {
    let mut story = active().ask(say(&json!({ "protected": "payroll" })));
    assert_eq!(
        story.because,
        "the operator changed protected (no → payroll)"
    );
    assert!(Entry::of(&story.node).protected);
    let why =
        "the node is protected (payroll); `ironbeat node set NODE --clear protected` ends that";
    for verb in [Verb::Undeploy, Verb::Rebuild(None), Verb::Delete] {
        let expected = format!("cannot {}: {why}", verb.name());
        assert_eq!(refused(&mut story, verb), expected);
    }
    let mut held = story.ask(Verb::Maintenance(Some("fan".into())));
    assert!(refused(&mut held, Verb::Delete).starts_with("cannot delete: the node is protected"));
    let story = held.ask(Verb::Maintenance(None));
    let words = explain(&story.node, story.now, &story.policy).to_string();
    assert!(
        words.contains("node service or node set") && !words.contains("undeploy"),
        "{words}"
    );
    // Its power is another matter.
    let story = story.ask(Verb::Power(PowerVerb::Off)).bmc_did();
    let story = story
        .ask(say(&json!({ "clear": ["protected"] })))
        .ask(Verb::Undeploy);
    assert_eq!(story.because, "deleting begins");
}

#[test]
fn only_what_serves_somebody_is_protected() {
    let said = json!({ "protected": "why" });
    for (mut story, state) in [
        (Story::new(), "enroll"),
        (manageable(), "manageable"),
        (Story::available(), "available"),
        (active().ask(Verb::Undeploy), "deleting (abort that first)"),
        (Story::cleaning(), "clean wait (abort that first)"),
    ] {
        let expected = format!("cannot protect a node that is {state}");
        assert_eq!(refused(&mut story, say(&said)), expected);
    }
    let bad = json!({ "protected": " " });
    assert_eq!(
        refused(&mut active(), say(&bad)),
        "the reason is empty: clear it instead"
    );
}

#[test]
fn a_retired_node_serves_to_the_end_and_is_manageable_after_its_cleaning() {
    let retire = || say(&json!({ "retired": "too old" }));
    let mut available = Story::available();
    assert_eq!(
        refused(&mut available, retire()),
        "cannot retire a node that is available (manage it first)"
    );
    let mut story = available.ask(Verb::Manage).ask(retire());
    assert_eq!(
        refused(&mut story, Verb::Provide),
        "cannot provide: the node is retired (too old); `ironbeat node set NODE --clear retired` ends that"
    );
    let words = explain(&story.node, story.now, &story.policy).to_string();
    assert!(!words.contains("provide"), "{words}");
    for clean in [true, false] {
        let story = active().ask(retire());
        let own = say(&json!({ "automated_clean": clean }));
        let story = story.ask(own).ask(Verb::Undeploy);
        let target = |node: &Node| Entry::of(node).target_provision_state;
        assert_eq!(target(&story.node).as_deref(), Some("manageable"));
        let story = story.bmc_did();
        let story = match clean {
            true => story.bmc_did().boots(BOOT, &["S1"]).agent_did().bmc_did(),
            false => story,
        };
        assert_eq!(story.node.state, State::Resting(Rest::Manageable));
        assert_eq!(story.node.instance, None);
        assert!(story.node.retired.is_some());
    }
    // In the middle of a cleaning it is not too late.
    let story = Story::cleaning().ask(retire());
    let story = story.boots(BOOT, &["S1"]).agent_did().bmc_did();
    assert_eq!(story.node.state, State::Resting(Rest::Manageable));
}

#[test]
fn a_node_may_have_its_own_word_on_cleaning() {
    for (policy, own, cleans) in [
        (true, None, true),
        (true, Some(false), false),
        (false, Some(true), true),
        (false, None, false),
    ] {
        let mut story = manageable();
        story.policy.automated_clean = policy;
        let story = match own {
            Some(own) => story.ask(say(&json!({ "automated_clean": own }))),
            None => story,
        };
        let story = story.ask(Verb::Provide);
        assert_eq!(story.node.job().is_some(), cleans, "{policy} {own:?}");
    }
    let story = manageable().ask(say(&json!({ "automated_clean": false })));
    let story = story.ask(say(&json!({ "clear": ["automated_clean"] })));
    assert_eq!(
        story.because,
        "the operator changed automated cleaning (off → none)"
    );
}

#[test]
fn a_machine_that_must_not_be_switched_off_is_reset_at_most() {
    let story = active().ask(say(&json!({ "disable_power_off": true })));
    assert_eq!(
        story.because,
        "the operator changed power off (enabled → disabled)"
    );
    let mut story = story.ask(Verb::Power(PowerVerb::On)).bmc_did();
    let soft = PowerVerb::SoftOff {
        timeout_secs: None,
        then_hard: false,
    };
    for verb in [
        Verb::Power(PowerVerb::Off),
        Verb::Power(PowerVerb::Cycle),
        Verb::Power(soft),
        Verb::Undeploy,
        Verb::Rebuild(None),
    ] {
        let expected = format!(
            "cannot {} the node: its power off is disabled, and this would switch it off",
            verb.name().trim_end_matches(" of")
        );
        assert_eq!(refused(&mut story, verb), expected);
    }
    let story = story.ask(Verb::Power(PowerVerb::Reboot));
    assert_eq!(story.acting().1, BmcAct::Reset);
    let words = explain(&active().node, story.now, &story.policy).to_string();
    assert!(words.contains("undeploy"), "{words}");
    // A job depends on it.
    let mut cleaning = Story::cleaning();
    let why = refused(&mut cleaning, say(&json!({ "disable_power_off": true })));
    assert!(why.contains("whether it may be switched off"), "{why}");
    let mut node = story.node;
    node.power.as_mut().unwrap().on = false;
    node.state = State::Resting(Rest::Active);
    node.wake_at = None;
    node.requests.clear();
    let mut story = active();
    story.node = node;
    let story = story.ask(Verb::Power(PowerVerb::Reboot));
    assert_eq!(story.acting().1, BmcAct::EnsureOn);
}

/// No flag stands between an operator and the verbs that `explain` names.
#[test]
fn explain_names_no_verb_that_a_flag_keeps_from_the_node() {
    let flags = [
        json!({ "disable_power_off": true }),
        json!({ "retired": "old" }),
    ];
    for said in &flags {
        for (name, story) in [
            ("enroll", Story::new()),
            ("manageable", manageable()),
            ("active", active()),
        ] {
            let story = story.ask(say(said));
            let words = explain(&story.node, story.now, &story.policy).to_string();
            for (verb, name) in [
                (Verb::Inspect, "node inspect"),
                (Verb::Provide, "node provide"),
                (Verb::Undeploy, "node undeploy"),
                (Verb::Rebuild(None), "node rebuild"),
            ] {
                if words.contains(name) {
                    assert!(super::allow(&story.node, &verb).is_ok(), "{name}: {words}");
                }
            }
            assert!(words.contains("node "), "{name}: {words}");
        }
    }
}
