//! Tries conditions on nodes, patterns on texts, and damaged conditions on the parser.
use super::{Filter, KEYS, Looked, Values, matches};
use crate::decide::tests::enrolled;
use crate::id::WorkerId;
use crate::index::Entry;
use crate::node::{JobKind, Rest};
use ironbeat_common::id::NodeId;
use ironbeat_mutate::Mutator;
use std::string::{String, ToString};
use std::vec::Vec;

fn owner(_: NodeId) -> Option<WorkerId> {
    "w1".parse().ok()
}

fn entry(state: &str, rest: Option<Rest>) -> Entry {
    let mut entry = Entry::of(&enrolled());
    entry.name = "Rack7-web_1".parse().ok();
    entry.bmc = "10.0.0.7:6230".parse().unwrap();
    entry.macs = vec!["52:54:00:12:34:56".parse().unwrap()];
    (entry.provision_state, entry.rest) = (state.into(), rest);
    entry
}

fn fits(entry: &Entry, conditions: &str) -> bool {
    let filter = Filter::parse(conditions.split(',').filter(|text| !text.is_empty()));
    let filter = filter.unwrap_or_else(|bad| panic!("{conditions}: {bad}"));
    filter.fits(Looked {
        entry,
        owner: &owner,
    })
}

#[test]
fn a_node_fits_when_it_fits_every_condition() {
    let mut active = entry("active", Some(Rest::Active));
    active.last_error = Some("write the image: no space".into());
    active.target_provision_state = None;
    active.traits = ["CUSTOM_GPU", "HW_CPU_X86_VMX"]
        .map(|name| name.parse().unwrap())
        .into();
    (active.owner, active.protected) = (Some("Team A".into()), true);
    for (conditions, expected) in [
        ("", true),
        ("state=active", true),
        ("state=Active,job=none", true),
        ("state!=active", false),
        ("state=failed", false),
        ("state=busy", false),
        ("name=rack7-*", true),
        ("name=rack7-web-1", false),
        ("name=*_?", true),
        ("name!=*", false),
        ("bmc=10.0.0.7", true),
        ("bmc=10.0.0.7:6230", true),
        ("bmc=10.0.0.*,bmc!=10.0.0.7", false),
        ("mac=52:54:00:12:34:56", true),
        ("mac=52:54:00:12:34:57", false),
        ("worker=w1", true),
        ("worker=w2", false),
        ("maintenance=no,fault=none", true),
        ("maintenance=yes", false),
        ("error=*", true),
        ("error=*no space*", true),
        ("error!=*", false),
        ("target=*", false),
        ("trait=custom_gpu,trait=HW_CPU_*", true),
        ("trait!=CUSTOM_GPU", false),
        ("trait!=CUSTOM_FPGA,owner=team a,lessee!=*", true),
        ("class=*", false),
        ("allocation!=*,protected=yes,retired=no", true),
        ("retired=yes", false),
        (" state = active ", true),
    ] {
        assert_eq!(fits(&active, conditions), expected, "{conditions}");
    }
}

#[test]
fn states_with_spaces_need_no_quotes_and_failures_go_by_one_word() {
    let failed = entry("deploy failed", Some(Rest::DeployFailed));
    let waits = entry("wait call-back", None);
    for same in ["deploy failed", "deploy-failed", "deploy_failed", "*failed"] {
        assert!(fits(&failed, &format!("state={same}")), "{same}");
    }
    assert!(fits(&failed, "state=failed") && !fits(&failed, "state=busy"));
    assert!(fits(&waits, "state=wait-call-back,state=busy,job=deploy"));
    assert!(!fits(&waits, "job=none") && !fits(&waits, "state=failed"));
    let error = entry("error", Some(Rest::Error));
    assert!(fits(&error, "state=failed"));
}

/// Its state names the job; one for the BMC alone leaves the state that was there.
#[test]
fn the_job_under_way_is_known_from_the_state() {
    for kind in JobKind::ALL {
        let state = kind.spec().names.map_or("active", |names| names.waiting);
        assert_eq!(entry(state, None).job(), Some(kind.line()), "{kind:?}");
    }
    assert_eq!(entry("active", Some(Rest::Active)).job(), None);
}

#[test]
fn what_cannot_be_understood_is_refused_with_what_there_is() {
    let check = |condition: &str, expected: &[&str]| {
        let bad = Filter::parse([condition]).unwrap_err().to_string();
        for words in expected {
            assert!(bad.contains(words), "{condition}: {bad}");
        }
    };
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    check("colour=red", &["\"colour\"", &keys.join(", ")]);
    check("active", &["\"active\"", "key=value"]);
    check("", &["key=value"]);
    check("=", &["there are"]);
    check("power=onn", &["\"onn\"", "on, off, unknown"]);
    check("state=*x", &["deploy failed", "wait call-back", "busy"]);
    check(&format!("name={}", "x".repeat(257)), &["256"]);
    let many = Filter::parse(["name=x"; 33]).unwrap_err().to_string();
    assert!(many.contains("32"), "{many}");
    assert!(Filter::parse(["name=x"; 32]).is_ok());
}

/// By the definition, which takes exponential time.
fn plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], []) => plainly(rest, &[]),
        (['*', rest @ ..], [_, after @ ..]) => plainly(rest, text) || plainly(pattern, after),
        (['?', rest @ ..], [_, after @ ..]) => plainly(rest, after),
        ([c, rest @ ..], [t, after @ ..]) => c == t && plainly(rest, after),
        ([_, ..], []) => false,
    }
}

#[test]
fn patterns_match_what_their_definition_says() {
    let mut random = Mutator::new(7);
    let mut invent = |of: &[char]| -> Vec<char> {
        let length = random.below(8);
        (0..length).map(|_| of[random.below(of.len())]).collect()
    };
    for _ in 0..20_000 {
        let (pattern, text) = (invent(&['a', 'b', '*', '?']), invent(&['a', 'b', 'ü']));
        let said: String = text.iter().collect();
        let found = matches(&pattern, &said, Values::Text.fold());
        assert_eq!(found, plainly(&pattern, &text), "{pattern:?} {said:?}");
    }
}

#[test]
fn damaged_conditions_are_refused_or_compared_and_nothing_panics() {
    let mut mutator = Mutator::seeded("conditions");
    let nodes = [
        entry("active", Some(Rest::Active)),
        entry("wait call-back", None),
    ];
    for n in 0..20_000 {
        let key = &KEYS[n % KEYS.len()];
        let good = match &key.values {
            Values::Text => format!("{}=*a?*b", key.name),
            Values::Words(words) => format!("{}!={}", key.name, words()[n % words().len()]),
        };
        let bytes = mutator.mutate(good.as_bytes());
        let text = String::from_utf8_lossy(&bytes).to_string();
        match Filter::parse([&*text]) {
            Ok(filter) => {
                for entry in &nodes {
                    let owner = &owner;
                    filter.fits(Looked { entry, owner });
                }
            }
            Err(bad) => assert!(bad.to_string().len() < 4096),
        }
    }
}
