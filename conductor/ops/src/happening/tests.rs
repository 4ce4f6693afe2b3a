//! Each kind of event as the stream holds it, and as operators and their programs read it.
//! The conductor's own tests say which change of a node gives which event.
use super::{Body, Event, Happening, PowerChange, Transition, What};
use ironbeat_common::heartbeat::NudgeLatency;
use ironbeat_common::id::{BootId, Mac, NodeId, StepId};
use ironbeat_common::lookup::BootTimings;
use ironbeat_core::node::{During, LastError};
use ironbeat_core::time::Time;
use serde_json::{Value, json};

fn at() -> Time {
    Time::from_unix_ms(1_795_236_676_123)
}

fn happening(what: What) -> Happening {
    Happening {
        node: NodeId::from_bytes([7; 16]),
        name: Some("box".parse().unwrap()),
        at: at(),
        worker: "w1".parse().unwrap(),
        asked: None,
        what,
    }
}

fn transition(from: &str, to: &str) -> Transition {
    Transition {
        from: from.into(),
        to: to.into(),
        step: Some("write_image".into()),
        because: "asked to deploy".into(),
        error: None,
    }
}

fn power(from: Option<bool>, to: Option<bool>) -> PowerChange {
    PowerChange {
        from,
        to,
        target: Some("power on".into()),
        because: "asked".into(),
        error: None,
    }
}

const MAC: Mac = Mac::from_bytes([0x52, 0x54, 0, 0x77, 1, 0x0a]);

/// One of each kind, and what is special about it in JSON.
fn all() -> Vec<(What, Value)> {
    vec![
        (What::Enrolled, json!({ "kind": "enrolled" })),
        (What::Deleted, json!({ "kind": "deleted" })),
        (
            What::State(transition("available", "deploying")),
            json!({ "kind": "state", "from": "available", "to": "deploying", "step": "write_image",
                    "because": "asked to deploy", "error": null }),
        ),
        (
            What::Step(Transition {
                step: None,
                error: Some(LastError {
                    at: at(),
                    during: During::PowerSync,
                    what: "no answer".into(),
                }),
                ..transition("active", "active")
            }),
            json!({ "kind": "step", "from": "active", "to": "active", "step": null, "because": "asked to deploy",
                    "error": { "at": "2026-11-21T04:51:16.123Z", "during": "power_sync", "what": "no answer" } }),
        ),
        (
            What::Refused {
                state: "active".into(),
                because: "cannot deploy a node that is active".into(),
            },
            json!({ "kind": "refused", "state": "active", "because": "cannot deploy a node that is active" }),
        ),
        (
            What::PowerSetStart(power(None, Some(false))),
            json!({ "kind": "power_set.start", "from": null, "to": false, "target": "power on", "because": "asked",
                    "error": null }),
        ),
        (
            What::PowerSetEnd(power(Some(false), Some(true))),
            json!({ "kind": "power_set.end", "from": false, "to": true, "target": "power on", "because": "asked",
                    "error": null }),
        ),
        (
            What::PowerSetError(power(Some(false), Some(false))),
            json!({ "kind": "power_set.error", "from": false, "to": false, "target": "power on", "because": "asked",
                    "error": null }),
        ),
        (
            What::PowerStateCorrected(PowerChange {
                target: None,
                ..power(Some(true), Some(false))
            }),
            json!({ "kind": "power_state_corrected.success", "from": true, "to": false, "target": null,
                    "because": "asked", "error": null }),
        ),
        (
            What::Lookup {
                boot: BootId::from_bytes([1; 16]),
                agent: "0.1.0".into(),
                timings: BootTimings {
                    agent_ms: 1,
                    modules_ms: 2,
                    network_ms: 3,
                    inventory_ms: 4,
                    lookup_ms: 5,
                },
            },
            json!({ "kind": "lookup", "boot": "01010101-0101-0101-0101-010101010101", "agent": "0.1.0",
                    "timings": { "agent_ms": 1, "modules_ms": 2, "network_ms": 3, "inventory_ms": 4, "lookup_ms": 5 } }),
        ),
        (
            What::Nudge(NudgeLatency {
                step: StepId(9),
                micros: 1500,
            }),
            json!({ "kind": "nudge", "step": 9, "micros": 1500 }),
        ),
        (
            What::Netboot {
                mac: MAC,
                what: "boot script".into(),
            },
            json!({ "kind": "netboot", "mac": "52:54:00:77:01:0a", "what": "boot script" }),
        ),
        (
            What::Lease {
                mac: MAC,
                ip: "10.77.0.11".parse().unwrap(),
            },
            json!({ "kind": "lease", "mac": "52:54:00:77:01:0a", "ip": "10.77.0.11" }),
        ),
    ]
}

#[test]
fn each_kind_has_one_form_and_is_read_back() {
    for (what, special) in all() {
        let happening = happening(what);
        let mut expected = json!({ "node": "07070707-0707-0707-0707-070707070707", "name": "box",
            "at": "2026-11-21T04:51:16.123Z", "worker": "w1" });
        let fields = special.as_object().unwrap().clone();
        expected.as_object_mut().unwrap().extend(fields);
        assert_eq!(serde_json::to_value(&happening).unwrap(), expected);
        assert_eq!(expected["kind"], happening.kind());
        assert_eq!(
            serde_json::from_value::<Body>(expected).unwrap(),
            Body::Known(happening)
        );
    }
}

#[test]
fn a_node_without_a_name_says_so() {
    let (what, _) = all().remove(0);
    let nameless = Happening {
        name: None,
        ..happening(what)
    };
    assert_eq!(
        serde_json::to_value(&nameless).unwrap()["name"],
        Value::Null
    );
}

/// The stream may hold what a worker of a later version wrote.
#[test]
fn an_unknown_kind_is_passed_on_unchanged() {
    for body in [
        json!({ "kind": "moved", "node": "07070707-0707-0707-0707-070707070707", "name": "box", "rack": 3 }),
        json!({ "kind": "nudge" }),
        json!(null),
    ] {
        let event = json!({ "subject": "ib.v1.event.x.y", "body": body });
        let read: Event = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(read.known(), None);
        assert_eq!(read.name(), body["name"].as_str());
        assert_eq!(serde_json::to_value(&read).unwrap(), event);
    }
}
