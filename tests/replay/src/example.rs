//! A small flight record as a worker writes it, for the tests and for the fuzz target.
//! The core decides what is in it.
use ironbeat_core::decide::{BmcReport, Ctx, Enrolment, Event, Policy, Verb, decide};
use ironbeat_core::flight::{Decided, Decider, Entry};
use ironbeat_core::id::{Incarnation, OpId};
use ironbeat_core::node::{Node, Phase};
use ironbeat_core::time::Time;
use ironbeat_ops::policy::changed;
use serde_json::json;

/// A node that is enrolled, verified, and refuses to be deployed: a line each, behind the head's.
pub fn file(policy: &Policy) -> Vec<String> {
    let head = json!({
        "ironbeat": "0.1.0", "flight": 1, "schema": 1, "node": "01010101-0101-0101-0101-010101010101",
        "name": null, "at": "2026-11-21T04:51:16.123Z", "worker": "w1",
        "policy": policy, "changed": changed(policy),
    });
    let mut lines = vec![head.to_string()];
    let mut node: Option<Node> = None;
    let mut happens = |event: Event| {
        let op: OpId = format!("op{}", lines.len()).parse().expect("a token");
        let worker = "w1".parse().expect("a token");
        let ctx = Ctx {
            now: Time::from_unix_ms(1_800_000_000_000 + lines.len() as u64),
            op: &op,
            worker: &worker,
            incarnation: Incarnation(7),
            policy,
            inventory: None,
            secrets: None,
            instance_data: None,
            notes: None,
            rules: None,
        };
        let decision = decide(node.as_ref(), &event, ctx);
        let decided = match &decision {
            Ok(decision) => Decided::To {
                after: decision.node.as_ref(),
                effects: &decision.effects,
                because: &decision.because,
                revision: None,
            },
            Err(why) => Decided::Refused(why),
        };
        let by = Decider {
            version: "0.1.0",
            policy: changed(policy).into_iter().collect(),
        };
        let entry = Entry::of(node.as_ref(), &event, ctx, decided, &by);
        lines.push(serde_json::to_string(&entry).expect("its keys are strings"));
        if let Ok(decision) = decision {
            node = decision.node;
        }
        node.as_ref().and_then(|node| match node.job()?.phase {
            Phase::Acting { ref op, .. } => Some(op.clone()),
            _ => None,
        })
    };
    let enrolment: Enrolment = serde_json::from_value(json!({
        "id": "01010101-0101-0101-0101-010101010101", "name": "box", "macs": ["02:00:00:00:00:01"],
        "bmc": { "protocol": "ipmi", "address": "10.0.0.1", "username": "admin", "password": "hush" },
        "system_uuid": null, "serial": null, "boot_mode": null, "secure_boot": null, "root_device": {},
        "skip_block_devices": [], "further": {}, "inventory": null,
    }))
    .expect("an enrolment");
    happens(Event::Enrolled(enrolment));
    let asked = |verb| Event::Asked {
        request: "r".parse().expect("a token"),
        verb,
    };
    let op = happens(asked(Verb::Manage)).expect("its BMC is asked");
    let result = Ok(BmcReport { power_on: false });
    happens(Event::Bmc { op, result });
    happens(Event::Asked {
        request: "other".parse().expect("a token"),
        verb: Verb::Undeploy,
    });
    lines
}
