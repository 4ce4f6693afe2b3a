//! Random histories, kept and decided again; and the secrets of them, looked for in what was kept.
//! `decide::histories` invents them.
use super::{Decided, Decider, Entry, Replay, Verdict};
use crate::decide::histories::{history, policy};
use crate::decide::tests::{BOOT, Story, enrolment, instance, inventory};
use crate::decide::{Ctx, Decision, Enrolment, Event, Policy, Proof, Rejected, Verb, decide};
use crate::id::{Incarnation, OpId, WorkerId};
use crate::node::{
    BmcAccess, ConfirmToken, MeasuredBoot, Node, Phase, RescueLogin, Rest, Secret, State,
};
use crate::rules::Rules;
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::image::Digest;
use serde_json::value::RawValue;
use std::println;

/// What the histories have of secrets, and what is told in `every_secret`.
const SECRETS: [&str; 6] = [
    "hush",
    "cloud-config",
    "$6$salt$hash",
    "new-",
    "sixteen-bytes",
    "foreign",
];

fn by() -> Decider {
    Decider {
        version: "0.1.0",
        ..Decider::default()
    }
}

/// Written and read again, as it comes out of a file.
fn written(entry: &Entry) -> Entry {
    let json = serde_json::to_string(entry).unwrap();
    for secret in SECRETS {
        assert!(!json.contains(secret), "{secret}: {json}");
    }
    let read: Entry = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    read
}

fn entry(
    before: Option<&Node>,
    event: &Event,
    ctx: Ctx<'_>,
    decided: &Result<Decision, Rejected>,
) -> Entry {
    let decided = match decided {
        Ok(decision) => Decided::To {
            after: decision.node.as_ref(),
            effects: &decision.effects,
            because: &decision.because,
            revision: Some(7),
        },
        Err(why) => Decided::Refused(why),
    };
    Entry::of(before, event, ctx, decided, &by())
}

/// Only what changes the record is kept, and refused requests.
#[test]
fn random_histories_are_decided_as_they_were_and_hold_no_secret() {
    let policy = policy();
    let (mut same, mut refused) = (0, 0);
    let mut skipped = BTreeMap::<String, u32>::new();
    for seed in 0..400 {
        let mut replay = Replay::default();
        history(seed * 7919, &mut |before, event, ctx, decided| {
            match decided {
                Ok(decision) if decision.node.as_ref() == Some(before) => return,
                Err(_) if !matches!(event, Event::Asked { .. }) => return,
                Ok(_) => {}
                Err(_) => refused += 1,
            }
            let entry = written(&entry(Some(before), event, ctx, decided));
            match replay.next(&entry, &policy) {
                Verdict::Same => same += 1,
                Verdict::Skipped(why) => *skipped.entry(why).or_default() += 1,
                differs @ Verdict::Differs { .. } => panic!("seed {seed}: {event:?}: {differs:?}"),
            }
        });
    }
    println!("same: {same}, of them refused: {refused}; skipped: {skipped:?}");
    // A password is changed now and then; whatever else is skipped, nearly all is not.
    let skipped: u32 = skipped.values().sum();
    assert!(same > 5_000 && refused > 500 && skipped * 5 < same);
}

fn ctx<'a>(policy: &'a Policy, op: &'a OpId, worker: &'a WorkerId) -> Ctx<'a> {
    Ctx {
        now: Time::from_unix_ms(5),
        op,
        worker,
        incarnation: Incarnation::default(),
        policy,
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    }
}

/// The ways in which a secret comes to a node, each with one that must not be found afterwards.
#[test]
fn no_secret_of_any_request_is_kept_and_the_decision_is_the_same() {
    let (op, worker, policy) = ("op".parse().unwrap(), "w1".parse().unwrap(), policy());
    let enrolment = Enrolment {
        bmc: BmcAccess::Ipmi {
            address: "10.0.0.1".parse().unwrap(),
            username: "admin".into(),
            password: Secret::new("hush"),
            cipher_suite: None,
            kg: "68757368".parse().ok(),
            ipmi_1_5: false,
        },
        ..enrolment()
    };
    let enrolled = Event::Enrolled(enrolment);
    let mut replay = Replay::default();
    let mut check = |before: Option<&Node>, event: &Event| {
        let ctx = ctx(&policy, &op, &worker);
        let decided = decide(before, event, ctx);
        let kept = entry(before, event, ctx, &decided);
        let json = serde_json::to_string(&kept).unwrap();
        assert!(!json.contains("68757368"), "{json}");
        assert_eq!(replay.next(&written(&kept), &policy), Verdict::Same);
        decided.unwrap().node.unwrap()
    };
    check(None, &enrolled);

    let mut story = Story::new();
    story.node.state = State::Resting(Rest::Available);
    let mut wanted = instance();
    wanted.image.source = "https://h/os.zst?sig=hush".parse().unwrap();
    wanted.network_data = Some("{\"hush\":1}".into());
    wanted.confirm = Some(true);
    wanted.token = Some(ConfirmToken {
        secret: Secret::new("hush"),
        sha256: Digest([9; 32]),
    });
    let asked = |verb| Event::Asked {
        request: "r".parse().unwrap(),
        verb,
    };
    let deploying = check(Some(&story.node), &asked(Verb::Deploy(wanted)));
    let confirm = deploying.instance.unwrap().confirm.unwrap();
    assert_eq!(
        confirm.sha256,
        Digest([9; 32]),
        "its token is known by its hash"
    );
    story.node.state = State::Resting(Rest::Active);
    story.node.instance = Some(instance().split().0);
    let login = RescueLogin {
        password_hash: Some(Secret::new("$6$salt$hash")),
        ssh_keys: Vec::new(),
    };
    check(Some(&story.node), &asked(Verb::Rescue(login)));
}

/// What is kept says less of a machine that is found as it is known, and is decided again all the same.
#[test]
fn an_inventory_that_was_known_is_not_repeated() {
    let (op, worker, policy) = ("op".parse().unwrap(), "w1".parse().unwrap(), policy());
    let version = "of-before".parse::<OpId>().unwrap();
    let known = inventory(&["S1", "S2"]);
    let mut story = Story::new();
    story.node.state = State::Resting(Rest::Manageable);
    story.node.beside.inventory = Some(version.clone());
    let mut story = story.ask(Verb::Inspect);
    while let Some(Phase::Acting { .. }) = story.node.job().map(|job| &job.phase) {
        story = story.bmc_did();
    }
    let booted = |found| Event::Booted {
        boot: BOOT,
        inventory: found,
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    };
    for (found, repeated) in [(known.clone(), false), (inventory(&["S1", "S3"]), true)] {
        let event = booted(found);
        let ctx = Ctx {
            inventory: Some(&known),
            ..ctx(&policy, &op, &worker)
        };
        let decided = decide(Some(&story.node), &event, ctx);
        let mut kept = entry(Some(&story.node), &event, ctx, &decided);
        assert_eq!(kept.found.is_none(), repeated);
        let json = serde_json::to_string(&kept.event).unwrap();
        assert_eq!(json.contains("\"S1\""), repeated, "{json}");
        // In a file, an entry before it has the record.
        let record = serde_json::to_string(&story.node).unwrap();
        kept.before = RawValue::from_string(record).ok();
        let kept = written(&kept);
        let mut replay = Replay::new(Some((version.clone(), known.clone())), None);
        assert_eq!(replay.next(&kept, &policy), Verdict::Same);
        let unknown = Replay::default().next(&kept, &policy);
        let why = "the inventory that it is decided with is not in the file";
        assert_eq!(unknown, Verdict::Skipped(why.to_string()));
    }
}

/// Another version of the core may decide otherwise: here another policy has it do so.
#[test]
fn the_first_difference_is_named() {
    let (op, worker, policy) = ("op".parse().unwrap(), "w1".parse().unwrap(), policy());
    let story = Story::new();
    let event = Event::Asked {
        request: "r".parse().unwrap(),
        verb: Verb::Manage,
    };
    let ctx = ctx(&policy, &op, &worker);
    let kept = || {
        let decided = decide(Some(&story.node), &event, ctx);
        written(&entry(Some(&story.node), &event, ctx, &decided))
    };
    assert_eq!(Replay::default().next(&kept(), &policy), Verdict::Same);
    let check = |kept: &Entry, policy: &Policy, expected: &str| match Replay::default()
        .next(kept, policy)
    {
        Verdict::Differs { what, then, now } => {
            assert_ne!(then, now);
            assert_eq!(what, expected, "{then} / {now}");
        }
        other @ (Verdict::Same | Verdict::Skipped(_)) => panic!("{expected}: {other:?}"),
    };
    let slower = Policy {
        bmc_budget_secs: policy.bmc_budget_secs + 1,
        ..policy.clone()
    };
    check(&kept(), &slower, "effects");
    let mut other = kept();
    other.because = "for fun".into();
    check(&other, &policy, "because");
    let mut other = kept();
    other.changed.remove("requests");
    let unchanged = "the record's field \"requests\", which stayed as it was";
    check(&other, &policy, unchanged);
    let mut other = kept();
    let raw = RawValue::from_string("[\"other\"]".into());
    other.changed.insert("requests".into(), raw.unwrap());
    check(&other, &policy, "the record's field \"requests\"");
    let mut other = kept();
    other.refused = Some(Rejected::UnknownBoot);
    check(&other, &policy, "the decision");
    let mut other = kept();
    other.forgotten = true;
    check(&other, &policy, "what is left");
    let mut other = kept();
    other.before = None;
    let missing = Verdict::Skipped("the record before is not in the file".into());
    assert_eq!(Replay::default().next(&other, &policy), missing);
    // What inspection rules have said is not decided again without them.
    let rules = Rules {
        refused: Some("one cannot be read".into()),
        ..Rules::default()
    };
    let ruled = Ctx {
        rules: Some(&rules),
        ..ctx
    };
    let decided = decide(Some(&story.node), &event, ruled);
    let other = written(&entry(Some(&story.node), &event, ruled, &decided));
    let kept_back = "it is decided with inspection rules, which are not kept";
    let skipped = Verdict::Skipped(kept_back.into());
    assert_eq!(Replay::default().next(&other, &policy), skipped);
}
