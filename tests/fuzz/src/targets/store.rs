//! What workers keep in NATS and in files: records and what lies beside them, events, keys, backups, the configuration.
//! Whatever is understood is written again and read as the same; see `conductor/src/records/fuzz.rs`.
use super::{JSON, Target, behind};
use data_encoding::BASE64;
use ironbeat::fuzz::{self as worker, records};
use ironbeat_common::id::BootId;
use ironbeat_core::decide::{Ctx, Enrolment, Event, Policy, decide};
use ironbeat_core::id::Incarnation;
use ironbeat_core::index::Entry;
use ironbeat_core::lookup::Match;
use ironbeat_core::node::Node;
use ironbeat_core::time::Time;
use ironbeat_fleet::{enrolment, hardware};
use ironbeat_ops::lookup::LookupRecord;
use ironbeat_ops::sealed::{Bound, Letter};
use ironbeat_replay::example::file;
use nkeys::XKey;
use serde::Serialize;
use serde_json::json;
use std::net::Ipv4Addr;

const CONFIG: &str = r#"id = "w1"
discovery = true
[nats]
servers = ["nats://10.0.0.1:4222"]
login = "/etc/ironbeat/worker"
prefix = "ib.v1"
[http]
listen = "10.0.0.1:8081"
boot_dir = "/srv/ironbeat/boot"
image_dir = "/srv/ironbeat/images"
kernel_args = "console=ttyS0"
[http.limits]
images = 8
[secrets]
key_file = "/etc/ironbeat/master.key"
[dnsmasq]
hosts_dir = "/var/lib/ironbeat/dnsmasq/hosts"
tftp_dir = "/var/lib/ironbeat/dnsmasq/tftp"
[policy]
heartbeat_timeout_secs = 300
"#;

const TOML: &[&str] = &[
    "[policy]\n",
    "[http.limits]\n",
    "[[",
    "]]",
    "\"\"\"",
    "'''",
    "\\u0000",
    "1979-05-27T07:32:00Z",
    "inf",
    "nan",
    "0x7f",
    "a.b.c = 1\n",
    "= {",
    "}",
    "[",
    "]",
    "#",
    "-1",
    "agent_login_secs = 0\n",
    "[[[[[[[[[[[[[[[[",
];

/// Words of records, beside those of JSON.
const RECORD: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{\"",
    "\":",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "\"schema\":",
    "\"wake_at\":",
    "\"state\":",
    "\"rest\":",
    "\"phase\":",
    "\"busy\":",
    "\"deploy\"",
    "\"9999-12-31T23:59:59.999Z\"",
    "\"1970-01-01T00:00:00.000Z\"",
    "\"0000-00-00T00:00:00.000Z\"",
];

/// The record of [`records::NODE`] as it is when it was enrolled; then on its way to be cleaned.
fn nodes() -> Vec<Node> {
    let asked = enrolment(7, "10.77.1.7");
    let first = Enrolment {
        id: records::NODE,
        name: asked.name,
        bmc: asked.bmc,
        macs: asked.macs,
        system_uuid: asked.system_uuid,
        serial: asked.serial,
        boot_mode: asked.boot_mode,
        secure_boot: asked.secure_boot,
        root_device: asked.root_device,
        skip_block_devices: asked.skip_block_devices,
        further: Default::default(),
        inventory: Some(hardware::inventory(7, Ipv4Addr::LOCALHOST.into())),
    };
    let (op, worker) = ("op-1".parse(), "w1".parse());
    let (op, worker) = (op.expect("a token"), worker.expect("a token"));
    let ctx = Ctx {
        now: Time::from_unix_ms(1_796_009_753_000),
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &Policy::default(),
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    let node = decide(None, &Event::Enrolled(first), ctx).ok();
    vec![
        node.and_then(|decision| decision.node)
            .expect("it is sound"),
    ]
}

fn bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents are JSON")
}

fn beside() -> Vec<Vec<u8>> {
    vec![
        behind(
            &[0],
            bytes(&hardware::inventory(7, Ipv4Addr::LOCALHOST.into())),
        ),
        behind(
            &[1],
            bytes(
                &json!({ "user_data": "#cloud-config\n", "network_data": "{}", "token": "sesame" }),
            ),
        ),
        behind(
            &[2],
            bytes(
                &json!({ "description": "left of the door", "properties": { "memory_mb": 4096 }, "extra": { "a": [1, "b"] } }),
            ),
        ),
        behind(
            &[3],
            bytes(&json!({ "password": "Rack-pw-1", "kg": "00ff" })),
        ),
    ]
}

fn others() -> Vec<Vec<u8>> {
    let info = json!({
        "id": "w1", "incarnation": Incarnation::default(), "url": "http://10.0.0.1:8081", "version": "0.1.0",
        "started": "2026-11-30T03:35:53.000Z", "lacks": ["vmlinuz"], "host": "h1",
    });
    let mut renewal = info.clone();
    renewal["renewed"] = json!("2026-11-30T03:35:53.500Z");
    renewal["number"] = json!(7);
    let lookup = LookupRecord {
        at: Time::from_unix_ms(1_796_009_753_000),
        boot: BootId::from_bytes([1; 16]),
        matched: Match::None,
        outcome: "wait".into(),
        inventory: hardware::inventory(7, Ipv4Addr::LOCALHOST.into()),
        count: 3,
    };
    let happening = |kind: &str, more: serde_json::Value| {
        let mut all = json!({
            "node": records::NODE, "name": "web1", "at": "2026-11-30T03:35:53.000Z", "worker": "w1", "kind": kind,
        });
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        all
    };
    let wrapped =
        json!({ "master": "0011223344556677", "nonce": "AAAAAAAAAAAAAAAA", "sealed": "c2VhbGVk" });
    let documents = [
        (
            0,
            json!({ "w1": { "info": info, "host": "h1", "trouble": "it is away" } }),
        ),
        (
            1,
            json!({ "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4": 1_796_009_753 }),
        ),
        (
            10,
            json!({
                "schema": 1, "id": records::NODE, "name": "job7", "created": "2026-11-30T03:35:53.000Z", "op": "op-1",
                "wanted": { "resource_class": "large", "traits": ["CUSTOM_GPU"], "candidates": [records::NODE], "owner": "a" },
            }),
        ),
        (
            11,
            json!({
                "schema": 1, "id": records::NODE, "created": "2026-11-30T03:35:53.000Z", "updated": "2026-11-30T03:35:53.000Z",
                "op": "op-1",
                "text": { "name": "burn-in", "traits": ["CUSTOM_GPU"], "owner": "a", "steps": [
                    { "step": "wait", "args": { "seconds": 5 } },
                    { "step": "inspect", "timeout_secs": 60, "tries": 2, "on_failure": "continue" },
                ] },
            }),
        ),
        (
            12,
            json!({
                "schema": 1, "id": records::NODE, "created": "2026-11-30T03:35:53.000Z", "updated": "2026-11-30T03:35:53.000Z",
                "op": "op-1",
                "text": { "name": "CUSTOM_WIPE", "steps": [{ "priority": 90, "step": "erase_devices_metadata", "tries": 1 }] },
            }),
        ),
        (
            13,
            json!({
                "schema": 1, "id": records::NODE, "created": "2026-11-30T03:35:53.000Z", "op": "op-1",
                "rule": { "name": "r", "actions": [{ "op": "log", "args": ["x"], "loop": [1] }], "scope": "discovery" },
            }),
        ),
        (2, json!({ "id": "x", "made": "2026-11-30T03:35:53.000Z" })),
        (
            3,
            json!({ "current": "k1", "data": { "k1": wrapped }, "sealing": "XA", "seals": { "XA": wrapped } }),
        ),
        (4, renewal),
        (5, json!(lookup)),
        (
            6,
            json!({ "head": { "ironbeat_backup": 1, "bucket": "ib", "at": "2026-11-30T03:35:53.000Z" } }),
        ),
        (
            6,
            json!({ "key": { "key": "node.17.x", "value": "{}", "entry": "{}" } }),
        ),
        (6, json!({ "end": { "keys": 3 } })),
        (
            7,
            happening(
                "netboot",
                json!({ "mac": "52:54:00:77:01:01", "what": "kernel" }),
            ),
        ),
        (
            7,
            happening(
                "lease",
                json!({ "mac": "52:54:00:77:01:01", "ip": "fd77::1" }),
            ),
        ),
        (
            7,
            happening(
                "state",
                json!({ "from": "enroll", "to": "verifying", "step": null, "because": "manage", "error": null }),
            ),
        ),
        (7, happening("from the future", json!({}))),
        (
            8,
            json!({ "key": "0011223344556677", "mark": "0123456789abcdef" }),
        ),
        (9, json!({ "ABC": "eyJ0.e30.AA" })),
    ];
    documents
        .iter()
        .map(|(kind, document)| behind(&[*kind], bytes(document)))
        .collect()
}

/// Words of rules, beside those of JSON.
const RULE: &[&str] = &[
    "{inventory",
    "{node.",
    "{item}",
    "[0]",
    "{{",
    "}}",
    "!",
    "\"op\":\"matches\"",
    "\"loop\":",
    "\"{inventory}\"",
    "\"{node}\"",
    "properties/capabilities",
    "extra/",
    "(a+)+",
    "\\\\p{L}{9}",
    "::/0",
    "1e308",
];

/// With a machine.
fn rules() -> Vec<Vec<u8>> {
    let inventory = hardware::inventory(7, Ipv4Addr::LOCALHOST.into());
    let conditions = json!([
        { "op": "!matches", "args": { "value": "{inventory[disks][0][name]}", "regex": "sdx[a-z]+" } },
        { "op": "ge", "args": { "values": ["{item[size]}", 7] }, "loop": "{inventory[disks]}", "multiple": "all" },
        { "op": "in-net", "args": ["127.0.0.1", "127.0.0.0/8"] },
        { "op": "one-of", "args": ["{inventory.boot.mode}", ["bios", "uefi"]] },
    ]);
    let actions = json!([
        { "op": "set-attribute", "args": ["extra/{inventory.cpu.architecture}", "{{}} {inventory.cpu}"] },
        { "op": "extend-attribute", "args": { "path": "extra/l", "value": "{node.extra}" }, "loop": [1, 2] },
        { "op": "set-capability", "args": { "name": "a", "value": "{inventory.cpu.count}" } },
        { "op": "add-trait", "args": ["CUSTOM_{item}"], "loop": ["A", "B"] },
        { "op": "del-attribute", "args": ["properties.x"] },
        { "op": "log", "args": ["{inventory.system.serial}", "info"] },
    ]);
    let rule = json!({ "name": "r", "priority": 7, "conditions": conditions, "actions": actions });
    vec![bytes(&json!({ "rule": rule, "inventory": inventory }))]
}

/// A secret as the command line seals it to the workers.
fn letter() -> String {
    let letter = Letter {
        bound: Bound::to("node.enroll", "/bmc/password", |_| None),
        secret: "x".into(),
    };
    let (own, to) = (XKey::new_from_raw([9; 32]), XKey::new_from_raw(worker::KEY));
    let sealed = own.seal_with_nonce(&bytes(&letter), &to, [3; 24].into());
    let base64 = BASE64.encode(&sealed.expect("it has a private half"));
    format!("{}:{}:{base64}", to.public_key(), own.public_key())
}

pub fn targets() -> Vec<Target> {
    let nodes = nodes();
    vec![
        Target::new(
            "node-record",
            "records of nodes",
            "conductor/src/records/document.rs",
            records::node,
        )
        .seeds(nodes.iter().map(bytes))
        .words(RECORD),
        Target::new(
            "node-entry",
            "entries of nodes in the index",
            "conductor/core/src/index/entry.rs",
            records::entry,
        )
        .seeds(nodes.iter().map(|node| bytes(&Entry::of(node))))
        .words(RECORD),
        Target::new(
            "beside-record",
            "inventories, instance data and BMC secrets beside records",
            "conductor/src/records/beside.rs",
            records::beside,
        )
        .seeds(beside())
        .words(JSON),
        Target::new(
            "other-documents",
            "presence, lookups, events, DHCP servers, revoked logins, granted keys, data keys, lines of backups, marks of passwords",
            "conductor/src/records/mod.rs",
            records::other,
        )
        .seeds(others())
        .words(RECORD),
        Target::new(
            "inspection-rule",
            "inspection rules, and what they do with an inventory",
            "conductor/core/src/rules/run.rs",
            worker::rule,
        )
        .seeds(rules())
        .words(RULE),
        Target::new(
            "flight-record",
            "exported flight records",
            "tests/replay/src/lib.rs",
            ironbeat_replay::is_read,
        )
        .seeds([file(&Policy::default()).join("\n")])
        .words(RECORD),
        Target::new(
            "envelope",
            "sealed documents and wrapped keys",
            "conductor/src/secrets/envelope.rs",
            worker::envelope,
        )
        .seeds([worker::SEALED, worker::WRAPPED])
        .words(JSON),
        Target::new(
            "sealed-text",
            "secrets that were sealed on their way",
            "conductor/ops/src/sealed.rs",
            worker::letter,
        )
        .seeds([letter()])
        .words(&[":", "X", "=", "xkv1"]),
        Target::new(
            "master-keys",
            "files of master keys",
            "conductor/src/secrets/master.rs",
            worker::master_keys,
        )
        .seeds([
            worker::MASTER.to_string(),
            format!("# the new one\n\n  {}\n", worker::MASTER),
        ])
        .words(&["ironbeat-master-key:", "\n", "#", "=", "AAAA"]),
        Target::new(
            "config",
            "a worker's configuration (TOML)",
            "conductor/src/config.rs",
            worker::config,
        )
        .seeds([CONFIG])
        .words(TOML),
    ]
}
