//! What rules say at the end of an inspection is in the record with the inventory, or the inspection fails and says whose doing it is.
use super::super::tests::{BOOT, Story, inventory};
use super::super::{Event, Verb};
use crate::node::Trait;
use crate::rules::{RuleSpec, Rules};
use ironbeat_common::heartbeat::{Outcome, Status};
use serde_json::{Value, json};

fn rules(all: &[Value]) -> Rules {
    let read = |rule: &Value| {
        let rule: RuleSpec = serde_json::from_value(rule.clone()).unwrap();
        rule.check().unwrap();
        rule
    };
    Rules {
        all: all.iter().map(read).collect(),
        refused: None,
    }
}

/// The agent has said what it saw.
fn inspected(rules: Rules) -> Story {
    let mut story = Story::new()
        .ask(Verb::Manage)
        .bmc_did()
        .ask(Verb::Inspect)
        .bmc_did()
        .boots(BOOT, &["S1"]);
    story.rules = rules;
    let mut seen = inventory(&["S1", "S2"]);
    seen.system.serial = Some("SN7".into());
    let status = Status::Done {
        step: story.step_id(),
        outcome: Outcome::Inventory(seen.into()),
    };
    story.event(Event::Beat { boot: BOOT, status })
}

fn set(name: &str, path: &str, value: Value) -> Value {
    json!({ "name": name, "actions": [{ "op": "set-attribute", "args": [path, value] }] })
}

#[test]
fn an_inspection_ends_with_what_the_rules_say_of_the_machine() {
    let product = json!({ "op": "is-none", "args": ["{inventory.system.product}"] });
    let named = json!({
        "name": "named", "priority": 9, "conditions": [product],
        "actions": [
            { "op": "set-attribute", "args": ["name", "box-{inventory.system.serial}"] },
            { "op": "add-trait", "args": ["CUSTOM_BOX"] },
            { "op": "set-attribute", "args": ["extra/disks", "{inventory.disks[1].serial}"] },
            { "op": "log", "args": ["seen {inventory.system.serial}"] },
        ],
    });
    let other = json!({ "name": "other", "actions": [{ "op": "fail", "args": ["never"] }],
        "conditions": [{ "op": "eq", "args": [["{node.name}", "x"]] }] });
    let story = inspected(rules(&[named, other])).is("inspecting");
    let expected = "inspection rule named applied and changed name (none → box-SN7), traits, extra; named: seen SN7";
    assert!(story.because.ends_with(expected), "{}", story.because);
    assert_eq!(story.node.name.as_ref().unwrap().as_str(), "box-SN7");
    let traits: Vec<&str> = story.node.traits.iter().map(Trait::as_str).collect();
    assert_eq!(traits, ["CUSTOM_BOX"]);
    assert_eq!(story.notes.as_ref().unwrap().extra["disks"], "S2");
    assert_eq!(story.inventory.as_ref().unwrap().disks.len(), 2);
    story.bmc_did().is("manageable");
}

#[test]
fn a_rule_that_says_no_fails_the_inspection_by_its_name_and_nothing_else_is_changed() {
    let first = set("first", "owner", json!("us"));
    let long = "x".repeat(300);
    for (rule, why) in [
        (
            json!({ "name": "too-old", "actions": [{ "op": "fail", "args": ["{inventory.system.serial} is too old"] }] }),
            "inspection rule too-old: SN7 is too old",
        ),
        (
            set("model", "extra/model", json!("{inventory.system.product}")),
            "inspection rule model: set-attribute: \"{inventory.system.product}\" is not there",
        ),
        (
            set("lent", "lessee", json!(long)),
            "inspection rules first, lent: the lessee has 300 characters, at most 255",
        ),
    ] {
        let story = inspected(rules(&[first.clone(), rule])).bmc_did();
        let story = story.is("inspect failed");
        assert!(story.error().ends_with(why), "{}", story.error());
        assert_eq!(story.node.owner, None);
        assert_eq!(story.node.lessee, None);
        assert_eq!(story.notes, None);
        let seen = story.inventory.as_ref().unwrap();
        assert_eq!(
            seen.system.serial.as_deref(),
            Some("SN7"),
            "it is to be seen"
        );
    }
}

#[test]
fn what_is_another_nodes_or_cannot_be_read_fails_the_inspection() {
    let refused = |all: &[Value]| Rules {
        refused: Some("the name box belongs to node X".into()),
        ..rules(all)
    };
    for (all, why) in [
        (
            vec![set("named", "name", json!("box"))],
            "inspection rule named: the name box belongs to node X",
        ),
        (vec![], "inspection rules: the name box belongs to node X"),
    ] {
        let story = inspected(refused(&all)).bmc_did().is("inspect failed");
        assert!(story.error().ends_with(why), "{}", story.error());
        assert_eq!(story.node.name, None);
    }
}
