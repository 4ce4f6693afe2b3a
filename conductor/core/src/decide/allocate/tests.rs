//! Who gets a node, who is refused, and what frees it.
use super::super::tests::{Story, instance};
use super::super::{Event, Patch, PowerVerb, Verb};
use crate::allocation::{Unfit, Wanted, tell};
use crate::index::Entry;
use crate::node::Node;
use ironbeat_common::id::{AllocationId, NodeId};
use serde_json::{Value, json};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::{String, ToString};

const FIRST: AllocationId = AllocationId::from_bytes([1; 16]);
const OTHER: AllocationId = AllocationId::from_bytes([2; 16]);

fn wanted() -> Wanted {
    Wanted {
        resource_class: "large".into(),
        traits: vec!["CUSTOM_GPU".parse().unwrap()],
        candidates: vec![],
        owner: None,
        backfill: false,
    }
}

fn give(allocation: AllocationId) -> Verb {
    let wanted = Box::new(wanted());
    Verb::Allocate { allocation, wanted }
}

fn refused(story: &mut Story, verb: Verb) -> String {
    let request = "refused".parse().unwrap();
    let refused = story.try_event(Event::Asked { request, verb });
    refused.unwrap_err().to_string()
}

fn say(said: &Value) -> Verb {
    Verb::set(serde_json::from_value::<Patch>(said.clone()).unwrap())
}

fn free() -> Story {
    let kind = json!({ "resource_class": "large", "traits": ["CUSTOM_GPU", "A"], "owner": "a", "lessee": "b" });
    Story::available().ask(say(&kind))
}

#[test]
fn the_first_has_the_node_and_the_second_is_told_who() {
    let story = free().ask(give(FIRST));
    assert_eq!(Entry::of(&story.node).allocation, Some(FIRST));
    let mut story = story.ask(give(FIRST));
    assert!(story.because.contains("already"), "twice is once");
    let words = format!("allocated (`ironbeat allocation delete {FIRST}` ends that)");
    for verb in [give(OTHER), Verb::Manage, Verb::Delete] {
        let expected = format!("cannot {} a node that is {words}", verb.name());
        assert_eq!(refused(&mut story, verb), expected);
    }
    // Its power is no reason to lose it.
    let story = story.ask(Verb::Power(PowerVerb::On)).bmc_did();
    assert_eq!(story.node.allocation, Some(FIRST));
    let story = story.ask(Verb::Deallocate(OTHER));
    assert_eq!(story.node.allocation, Some(FIRST));
    let story = story.ask(Verb::Deallocate(FIRST));
    assert_eq!(story.node.allocation, None);
}

#[test]
fn the_end_of_the_instance_frees_the_node() {
    let mut story = free().ask(give(FIRST)).ask(Verb::Deploy(instance()));
    assert_eq!(story.node.allocation, Some(FIRST));
    let why = refused(&mut story, Verb::Deallocate(FIRST));
    assert!(why.contains("undeploy it"), "{why}");
    let (op, _) = story.acting();
    let result = Ok(super::super::BmcReport { power_on: true });
    let story = story.event(Event::Bmc { op, result }).ask(Verb::Undeploy);
    assert_eq!(story.node.allocation, Some(FIRST));
    let story = story.bmc_did().is("cleaning");
    assert_eq!(story.node.allocation, None);
}

#[test]
fn a_node_that_serves_somebody_is_allocated_by_a_backfill_alone() {
    let kind = json!({ "resource_class": "large", "traits": ["CUSTOM_GPU"] });
    let active = Story::new().ask(Verb::Manage).bmc_did().ask(say(&kind));
    let mut active = active.ask(Verb::Adopt(instance())).bmc_did();
    assert_eq!(
        refused(&mut active, give(FIRST)),
        "cannot allocate a node that is active: it is in another state"
    );
    let backfill = Box::new(Wanted {
        backfill: true,
        ..wanted()
    });
    let story = active.ask(Verb::Allocate {
        allocation: FIRST,
        wanted: backfill.clone(),
    });
    assert_eq!(story.node.allocation, Some(FIRST));
    assert_eq!(
        backfill.fits(&Entry::of(&free().node)),
        Err(Unfit::OtherState)
    );
}

#[test]
fn a_node_fits_by_all_that_is_asked_for() {
    let node = free().node;
    let check = |change: &dyn Fn(&mut Wanted, &mut Node), expected| {
        let (mut wanted, mut node) = (wanted(), node.clone());
        change(&mut wanted, &mut node);
        assert_eq!(wanted.fits(&Entry::of(&node)), expected);
    };
    check(&|_, _| (), Ok(()));
    check(&|it, _| it.owner = Some("a".into()), Ok(()));
    check(&|it, _| it.owner = Some("b".into()), Ok(()));
    check(&|it, _| it.owner = Some("c".into()), Err(Unfit::OtherOwner));
    check(
        &|_, node| node.resource_class = None,
        Err(Unfit::OtherClass),
    );
    check(&|_, node| node.traits.clear(), Err(Unfit::LacksTraits));
    check(&|it, node| it.candidates = vec![node.id], Ok(()));
    let other = NodeId::from_bytes([9; 16]);
    check(
        &|it, _| it.candidates = vec![other],
        Err(Unfit::NoCandidate),
    );
    check(
        &|_, node| node.allocation = Some(OTHER),
        Err(Unfit::Allocated),
    );
    check(&|_, node| node.power = None, Err(Unfit::PowerUnknown));
    let many = BTreeMap::from([(Unfit::Allocated, 10), (Unfit::InMaintenance, 2)]);
    assert_eq!(tell(&many), "of 12 nodes 10 allocated, 2 in maintenance");
    assert_eq!(tell(&BTreeMap::new()), "there are no nodes");
}
