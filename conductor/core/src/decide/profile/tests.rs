//! What an operator can say of a node beyond its machine, and the bounds of it.
use super::super::tests::{Story, enrolment};
use super::super::{Ctx, Decision, Event, Patch, Policy, Rejected, Verb, decide};
use crate::id::Incarnation;
use crate::index::Entry;
use crate::node::{Beside, Node, Notes};
use crate::time::Time;
use serde_json::{Value, json};
use std::string::{String, ToString};
use std::vec::Vec;

/// A patch as an operator with the `nats` command writes it.
fn patch(json: &Value) -> Patch {
    serde_json::from_value(json.clone()).unwrap()
}

fn set(story: Story, json: &Value) -> Story {
    story.ask(Verb::set(patch(json)))
}

fn refused(json: &Value) -> String {
    let (request, verb) = ("refused".parse().unwrap(), Verb::set(patch(json)));
    let refused = Story::new().try_event(Event::Asked { request, verb });
    refused.unwrap_err().to_string()
}

fn traits(node: &Node) -> Vec<&str> {
    node.traits.iter().map(|one| one.as_str()).collect()
}

#[test]
fn what_lists_ask_for_is_in_the_record_and_in_the_index() {
    let said = json!({ "resource_class": "large", "owner": "team a", "lessee": "b", "traits": ["CUSTOM_B", "CUSTOM_A"] });
    let story = set(Story::new(), &said);
    assert_eq!(
        story.because,
        "the operator changed resource class (none → large), owner (none → team a), lessee (none → b), traits"
    );
    assert_eq!(traits(&story.node), ["CUSTOM_A", "CUSTOM_B"]);
    let entry = Entry::of(&story.node);
    assert_eq!(entry.resource_class.as_deref(), Some("large"));
    assert_eq!(entry.owner.as_deref(), Some("team a"));
    assert_eq!(entry.lessee.as_deref(), Some("b"));
    assert_eq!(entry.traits, story.node.traits);
    let again = set(story, &said);
    assert_eq!(again.because, "the operator changed nothing");
    let clear = json!({ "clear": ["resource_class", "owner", "lessee", "traits"] });
    let story = set(again, &clear);
    let bare = Story::new().node;
    assert_eq!(
        (&story.node.resource_class, &story.node.owner),
        (&bare.resource_class, &bare.owner)
    );
    assert_eq!((&story.node.lessee, traits(&story.node)), (&None, vec![]));
}

#[test]
fn traits_are_added_and_taken_away_one_by_one() {
    let story = set(Story::new(), &json!({ "add_traits": ["B", "A", "B"] }));
    assert_eq!(traits(&story.node), ["A", "B"]);
    let story = set(
        story,
        &json!({ "remove_traits": ["B"], "add_traits": ["C"] }),
    );
    assert_eq!(traits(&story.node), ["A", "C"]);
    let story = set(story, &json!({ "traits": [] }));
    assert!(traits(&story.node).is_empty());
}

#[test]
fn notes_lie_beside_the_record_and_change_key_by_key() {
    let said = json!({ "description": "left of\nthe door", "properties": { "memory_mb": 4096, "cpu_arch": "x86_64" }, "extra": { "rack": "R7" } });
    let story = set(Story::new(), &said);
    assert_eq!(
        story.because,
        "the operator changed description, properties, extra"
    );
    assert!(!serde_json::to_string(&story.node).unwrap().contains("R7"));
    let story = set(
        story,
        &json!({ "properties": { "memory_mb": 8192, "cpu_arch": null }, "extra": { "row": [1, 2] } }),
    );
    let noted = |story: &Story| serde_json::to_value(story.notes.clone().unwrap()).unwrap();
    assert_eq!(
        noted(&story),
        json!({ "description": "left of\nthe door", "properties": { "memory_mb": 8192 }, "extra": { "rack": "R7", "row": [1, 2] } })
    );
    let version = story.node.beside.notes.clone();
    let story = set(story, &json!({ "properties": { "memory_mb": 8192 } }));
    assert_eq!(story.because, "the operator changed nothing");
    assert_eq!(story.node.beside.notes, version, "no new version");
    // What is given beside `clear` is all that there is then.
    let story = set(story, &json!({ "clear": ["extra"], "extra": { "u": 3 } }));
    assert_eq!(noted(&story)["extra"], json!({ "u": 3 }));
    let story = set(
        story,
        &json!({ "clear": ["description", "properties", "extra"] }),
    );
    assert_eq!(story.node.beside.notes, None);
}

#[test]
fn all_of_it_has_a_bound_that_is_named() {
    let deep = (0..17).fold(json!(1), |inner, _| json!([inner]));
    let many: Vec<String> = (0..51).map(|n| format!("T{n}")).collect();
    for (said, why) in [
        (
            json!({ "description": "ä".repeat(4097) }),
            "the description has 4097 characters, at most 4096",
        ),
        (
            json!({ "resource_class": "x".repeat(81) }),
            "the resource class has 81 characters, at most 80",
        ),
        (
            json!({ "owner": "x".repeat(256) }),
            "the owner has 256 characters, at most 255",
        ),
        (
            json!({ "lessee": " " }),
            "the lessee is empty: clear it instead",
        ),
        (
            json!({ "owner": "a\u{1b}[2J" }),
            "the owner has a control character",
        ),
        (json!({ "traits": many }), "51 traits, at most 50"),
        (json!({ "remove_traits": ["A"] }), "the node has no trait A"),
        (
            json!({ "traits": ["A"], "clear": ["traits"] }),
            "the traits are both given and cleared",
        ),
        (
            json!({ "extra": { "a": "x".repeat(16_384) } }),
            "extra: 16392 bytes as JSON, at most 16384",
        ),
        (
            json!({ "properties": { "a": deep } }),
            "properties: \"a\" has more than 16 lists and objects inside each other",
        ),
    ] {
        assert_eq!(refused(&said), why);
    }
    for good in [
        json!({ "description": "ä".repeat(4096) }),
        json!({ "owner": "ä".repeat(255) }),
        json!({ "extra": { "a": "x".repeat(16_376) } }),
    ] {
        set(Story::new(), &good);
    }
    assert!(serde_json::from_value::<Patch>(json!({ "add_traits": ["gpu"] })).is_err());
}

#[test]
fn a_node_in_the_middle_of_a_job_can_be_described() {
    let said = json!({ "owner": "a", "traits": ["A"], "description": "d", "extra": { "a": 1 }, "clear": ["lessee"] });
    let story = set(Story::cleaning(), &said).is("clean wait");
    assert_eq!(story.node.owner.as_deref(), Some("a"));
}

fn enrolls(
    present: Option<&Node>,
    further: Patch,
    notes: Option<&Notes>,
) -> Result<Decision, Rejected> {
    let (op, worker) = ("op1".parse().unwrap(), "w1".parse().unwrap());
    let secrets = super::super::tests::access().split().1;
    let ctx = Ctx {
        now: Time::from_unix_ms(7),
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &Policy::default(),
        inventory: None,
        secrets: Some(&secrets),
        instance_data: None,
        notes,
        rules: None,
    };
    let mut wish = enrolment();
    wish.further = further.into();
    decide(present, &Event::Enrolled(wish), ctx)
}

#[test]
fn a_node_is_enrolled_with_all_that_is_said_of_it() {
    let further = patch(&json!({ "owner": "a", "add_traits": ["A"], "extra": { "a": 1 } }));
    let first = enrolls(None, further.clone(), None).unwrap();
    let node = first.node.unwrap();
    assert_eq!(node.owner.as_deref(), Some("a"));
    let noted = first.beside.iter().find_map(|document| match document {
        Beside::Notes(notes) => Some(notes),
        Beside::Inventory(_)
        | Beside::InstanceData(_)
        | Beside::BmcSecrets(_)
        | Beside::RescueLogin(_) => None,
    });
    let noted = noted.expect("they are put");
    assert_eq!(node.beside.notes.as_ref(), Some(&node.op));
    // The client repeats itself.
    let again = enrolls(Some(&node), further.clone(), Some(noted)).unwrap();
    assert_eq!(again.node.as_ref(), Some(&node));
    let mut other = further;
    other.owner = None;
    other.extra.clear();
    let refused = enrolls(Some(&node), other, Some(noted)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a node with this id exists, and differs in: owner, extra"
    );
    let bad = patch(&json!({ "owner": "" }));
    assert!(enrolls(None, bad, None).is_err());
}
