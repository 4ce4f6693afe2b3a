//! Each operator and each action by itself, and what is refused before it is stored.
use super::{
    ATTRIBUTES, Deed, MAX_PARTS, Network, Operator, Outcome, RuleSpec, Scope, apply, nobody, trial,
};
use ironbeat_common::inventory::{BmcAddress, Disk, Inventory};
use serde_json::{Value, json};

fn machine() -> Inventory {
    let mut found = Inventory::default();
    found.system.product = Some("PowerEdge R640".into());
    found.system.serial = Some("SN7".into());
    found.cpu.architecture = "x86_64".into();
    found.cpu.count = 64;
    found.cpu.flags = vec!["vmx".into(), "aes".into()];
    found.memory.total_bytes = 64 << 30;
    found.bmc = Some(BmcAddress {
        ipv4: Some("10.0.7.9".into()),
        ..BmcAddress::default()
    });
    for (name, size) in [("/dev/sda", 100), ("/dev/nvme0n1", 800)] {
        found.disks.push(Disk {
            name: name.into(),
            size_bytes: size << 30,
            ..Disk::default()
        });
    }
    found
}

fn rule(json: Value) -> RuleSpec {
    let rule: RuleSpec = serde_json::from_value(json).unwrap();
    rule.check().unwrap();
    rule
}

fn holds(condition: &Value) -> bool {
    let log = json!({ "op": "log", "args": { "msg": "x" } });
    let rule = rule(json!({ "name": "r", "conditions": [condition], "actions": [log] }));
    let node = json!({ "name": "web1", "traits": [], "extra": { "rack": 7 } });
    let trial = trial(&rule, &machine(), &node);
    let held = trial.conditions[0].clone().unwrap();
    assert_eq!(trial.outcome.is_some(), held);
    held
}

#[test]
fn each_operator_holds_for_what_it_is_for_and_its_inverse_for_the_rest() {
    let product = "{inventory[system][product]}";
    let disks = "{inventory[disks]}";
    let size = "{item[size_bytes]}";
    for (expected, op, args) in [
        (true, "eq", json!({ "values": [product, "PowerEdge R640"] })),
        (false, "eq", json!({ "values": [product, "other"] })),
        (
            true,
            "eq",
            json!({ "values": ["{inventory.cpu.count}", 64] }),
        ),
        (
            true,
            "eq",
            json!({ "values": ["{inventory.cpu.count}", "64"] }),
        ),
        (true, "eq", json!([["{node.extra.rack}", 7, 7]])),
        (false, "eq", json!([["{node.extra.rack}", 7, 8]])),
        (false, "eq", json!({ "values": ["{node.extra.none}", ""] })),
        (true, "ne", json!({ "values": [product, "other"] })),
        (false, "ne", json!({ "values": [1, 1.0] })),
        (true, "lt", json!({ "values": [9, "10"] })),
        (true, "lt", json!({ "values": ["a", "b"] })),
        (false, "lt", json!({ "values": ["{node.none}", 1] })),
        (false, "lt", json!({ "values": [1, "b"] })),
        (
            true,
            "lt",
            json!({ "values": [1, "b"], "force_strings": true }),
        ),
        (true, "le", json!({ "values": [1, 1, 2] })),
        (false, "le", json!({ "values": [1, 3, 2] })),
        (
            true,
            "gt",
            json!({ "values": ["{inventory[memory][physical_mb]}", 65535] }),
        ),
        (
            false,
            "gt",
            json!({ "values": ["{inventory[memory][physical_mb]}", 65536] }),
        ),
        (
            true,
            "ge",
            json!({ "values": ["{inventory[memory][physical_mb]}", 65536] }),
        ),
        (false, "ge", json!({ "values": [1, 2] })),
        (true, "is-empty", json!({ "value": "{inventory[nics]}" })),
        (true, "is-empty", json!({ "value": "{node.none}" })),
        (false, "is-empty", json!({ "value": disks })),
        (true, "is-none", json!(["{node.none}"])),
        (false, "is-none", json!([""])),
        (true, "is-true", json!(["Yes"])),
        (true, "is-true", json!([2])),
        (false, "is-true", json!(["{node.none}"])),
        (true, "is-false", json!(["{node.none}"])),
        (true, "is-false", json!([0])),
        (false, "is-false", json!(["maybe"])),
        (
            true,
            "in-net",
            json!(["{inventory[bmc_address]}", "10.0.0.0/16"]),
        ),
        (true, "in-net", json!(["10.0.7.9/24", "10.0.7.9"])),
        (
            false,
            "in-net",
            json!(["{inventory[bmc_address]}", "10.1.0.0/16"]),
        ),
        (false, "in-net", json!(["{inventory[bmc_address]}", "::/0"])),
        (false, "in-net", json!(["{node.none}", "0.0.0.0/0"])),
        (true, "matches", json!([product, "PowerEdge R6[0-9]+"])),
        (false, "matches", json!([product, "PowerEdge"])),
        (true, "matches", json!([product, "x|PowerEdge.*"])),
        (true, "matches", json!(["{inventory[cpu][flags]}", "v.x"])),
        (true, "contains", json!([product, r"R\d+$"])),
        (false, "contains", json!([product, "^R"])),
        (true, "contains", json!(["{inventory[cpu][flags]}", "ae"])),
        (true, "one-of", json!([product, ["x", "PowerEdge R640"]])),
        (false, "one-of", json!([product, []])),
        (true, "eq", json!({ "values": ["{{x}}", "{{x}}"] })),
        (
            true,
            "eq",
            json!({ "values": ["r-{node.extra.rack}{node.none}", "r-7"] }),
        ),
        // Ironic's names for what we call otherwise.
        (
            true,
            "eq",
            json!({ "values": ["{inventory[system_vendor][serial_number]}", "SN7"] }),
        ),
        (
            true,
            "eq",
            json!({ "values": ["{inventory.disks[0].size}", 107_374_182_400u64] }),
        ),
    ] {
        let condition = json!({ "op": op, "args": args });
        assert_eq!(holds(&condition), expected, "{condition}");
        for inverted in [format!("!{op}"), format!("! {op}")] {
            let inverse = json!({ "op": inverted, "args": condition["args"] });
            assert_eq!(holds(&inverse), !expected, "{inverse}");
        }
    }
    for (expected, multiple) in [
        ("any", true),
        ("all", false),
        ("first", false),
        ("last", true),
    ]
    .map(|(multiple, expected)| (expected, multiple))
    {
        let args = json!({ "values": [size, 200u64 << 30] });
        let over = json!({ "op": "gt", "args": args, "loop": disks, "multiple": multiple });
        assert_eq!(holds(&over), expected, "{multiple}");
    }
    let in_list = json!({ "op": "eq", "args": { "values": ["{item.a}", 64] },
        "loop": [{ "a": "{inventory.cpu.count}" }], "multiple": "all" });
    assert!(holds(&in_list));
}

fn done(node: &Value, actions: Value) -> Result<Outcome, String> {
    let rule = rule(json!({ "name": "r", "actions": actions }));
    let found = machine();
    apply(&[rule], Scope::Inspection, &found, node).map_err(|failed| failed.to_string())
}

#[test]
fn each_action_changes_what_it_says() {
    let node = json!({
        "name": "old", "owner": "us", "traits": ["CUSTOM_A"],
        "properties": { "capabilities": "a:1,b:2", "deep": { "x": 1, "y": 2 } }, "extra": { "list": [1] },
    });
    let act = |op: &str, args: Value| json!([{ "op": op, "args": args }]);
    for (actions, patch) in [
        (
            act(
                "set-attribute",
                json!(["name", "web-{inventory.system.serial}"]),
            ),
            json!({ "name": "web-SN7" }),
        ),
        (
            act("set-attribute", json!(["resource_class", 7])),
            json!({ "resource_class": "7" }),
        ),
        (
            act("set-attribute", json!(["/automated_clean", false])),
            json!({ "automated_clean": false }),
        ),
        (
            act(
                "set-attribute",
                json!(["extra/a/b", "{inventory.cpu.count}"]),
            ),
            json!({ "extra": { "a": { "b": 64 } } }),
        ),
        (
            act("set-attribute", json!(["properties.deep.x", 3])),
            json!({ "properties": { "deep": { "x": 3, "y": 2 } } }),
        ),
        (
            act(
                "set-attribute",
                json!(["properties/root_device", { "serial": "S" }]),
            ),
            json!({ "root_device": { "serial": "S" } }),
        ),
        (act("set-attribute", json!(["owner", "us"])), json!({})),
        (
            act("extend-attribute", json!(["extra/list", 2])),
            json!({ "extra": { "list": [1, 2] } }),
        ),
        (
            act("extend-attribute", json!(["extra/list", 1, true])),
            json!({}),
        ),
        (
            act("extend-attribute", json!(["extra/new", 1])),
            json!({ "extra": { "new": [1] } }),
        ),
        (
            act("del-attribute", json!(["owner"])),
            json!({ "clear": ["owner"] }),
        ),
        (
            act("del-attribute", json!(["extra/list"])),
            json!({ "extra": { "list": null } }),
        ),
        (act("del-attribute", json!(["extra/none/x"])), json!({})),
        (
            act("set-capability", json!(["a", "x"])),
            json!({ "properties": { "capabilities": "b:2,a:x" } }),
        ),
        (
            act("unset-capability", json!(["b"])),
            json!({ "properties": { "capabilities": "a:1" } }),
        ),
        (
            act("add-trait", json!(["CUSTOM_B"])),
            json!({ "traits": ["CUSTOM_A", "CUSTOM_B"] }),
        ),
        (act("add-trait", json!(["CUSTOM_A"])), json!({})),
        (
            act("remove-trait", json!(["CUSTOM_A"])),
            json!({ "traits": [] }),
        ),
        (act("remove-trait", json!(["CUSTOM_NONE"])), json!({})),
        (
            json!([{ "op": "set-attribute", "args": ["extra/{item[k]}", "{item[v]}"],
                "loop": [{ "k": "p", "v": 1 }, { "k": "q", "v": "{inventory.cpu.count}" }] }]),
            json!({ "extra": { "p": 1, "q": 64 } }),
        ),
    ] {
        let outcome = done(&node, actions.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(&outcome.patch).unwrap(),
            patch,
            "{actions}"
        );
        let changes = patch != json!({});
        assert_eq!(outcome.changing.len(), usize::from(changes), "{actions}");
    }
    let said = done(
        &node,
        act("log", json!(["{node.name} has {inventory.cpu.count}"])),
    )
    .unwrap();
    assert_eq!(said.log, ["r: old has 64"]);
    assert_eq!(said.words(&[]), "inspection rule r applied; r: old has 64");
    for (actions, why) in [
        (
            act("fail", json!(["no {node.name}\u{7}"])),
            "inspection rule r: no old\u{fffd}",
        ),
        (
            act("set-attribute", json!(["extra/x", "{node.none}"])),
            "inspection rule r: set-attribute: \"{node.none}\" is not there",
        ),
        (
            act(
                "set-attribute",
                json!(["name", "{inventory.system.product}"]),
            ),
            "inspection rule r: set-attribute: name: \"PowerEdge R640\" is not a node name (letters, digits, '-' and '_', at most 63)",
        ),
        (
            act("add-trait", json!(["{inventory.system.product}"])),
            "inspection rule r: add-trait: \"PowerEdge R640\" is not a trait (capital letters, digits and '_', a letter first, at most 255)",
        ),
        (
            act("extend-attribute", json!(["properties/deep", 1])),
            "inspection rule r: extend-attribute: \"properties/deep\" is no list",
        ),
    ] {
        assert_eq!(done(&node, actions).unwrap_err(), why);
    }
}

#[test]
fn rules_apply_by_priority_and_name_and_each_sees_what_others_set() {
    let set = |name: &str, priority: u16, scope: Value, value: &str| {
        rule(json!({
            "name": name, "priority": priority, "scope": scope,
            "actions": [{ "op": "set-attribute", "args": ["extra/log", value] }],
        }))
    };
    let rules = [
        set("b", 1, json!(null), "{node.extra.log}b"),
        set("z", 9, json!(null), "z"),
        set("a", 1, json!("inspection"), "{node.extra.log}a"),
        set("d", 5, json!("discovery"), "{node.extra.log}d"),
    ];
    for (scope, expected) in [(Scope::Inspection, "zab"), (Scope::Discovery, "zdb")] {
        let outcome = apply(&rules, scope, &machine(), &nobody()).unwrap();
        assert_eq!(outcome.patch.extra["log"], expected);
        let applied: String = outcome.applied.iter().map(|name| name.as_str()).collect();
        assert_eq!(applied, expected);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_what_there_is() {
    let log = json!({ "op": "log", "args": ["x"] });
    let condition =
        |condition: Value| json!({ "name": "r", "conditions": [condition], "actions": [log] });
    let action = |action: Value| json!({ "name": "r", "actions": [action] });
    let over = |each: Value| condition(json!({ "op": "eq", "args": [[1, 1]], "loop": each }));
    for (rule, why) in [
        (json!({ "name": "r", "actions": [] }), "has no actions"),
        (
            json!({ "name": "r", "priority": 10_000, "actions": [log] }),
            "priority is 10000, at most 9999",
        ),
        (
            json!({ "name": "r", "actions": vec![log.clone(); MAX_PARTS + 1] }),
            "33 actions, at most 32",
        ),
        (
            json!({ "name": "r", "description": "x".repeat(256), "actions": [log] }),
            "more than 255",
        ),
        (
            action(json!({ "op": "log", "args": ["x".repeat(17_000)] })),
            "at most 16384",
        ),
        (
            condition(json!({ "op": "like", "args": [1] })),
            "condition 1: there is no operator \"like\": there are eq, ne, ",
        ),
        (
            condition(json!({ "op": "eq" })),
            "eq: its argument \"values\" is missing",
        ),
        (
            condition(json!({ "op": "eq", "args": [[1]] })),
            "fewer than two",
        ),
        (
            condition(json!({ "op": "eq", "args": 7 })),
            "neither a list nor an object",
        ),
        (
            condition(json!({ "op": "eq", "args": { "values": [1, 2], "x": 1 } })),
            "no argument \"x\": there are values",
        ),
        (
            condition(json!({ "op": "is-none", "args": [1, 2] })),
            "2 arguments, at most 1",
        ),
        (
            condition(json!({ "op": "is-none", "args": ["{plugin_data[x]}"] })),
            "{plugin_data} is nothing here",
        ),
        (
            condition(json!({ "op": "is-none", "args": ["{item}"] })),
            "nothing outside of a loop",
        ),
        (
            condition(json!({ "op": "is-none", "args": ["{system.product}"] })),
            "there are {inventory}",
        ),
        (
            condition(json!({ "op": "is-none", "args": ["{inventory!r}"] })),
            "braces that hold no reference",
        ),
        (
            condition(json!({ "op": "is-none", "args": ["{inventory"] })),
            "braces that hold no reference",
        ),
        (
            condition(json!({ "op": "matches", "args": ["x", "("] })),
            "regular expression: error: unclosed group",
        ),
        (
            condition(json!({ "op": "matches", "args": ["x", "(?:a{1000}){1000}"] })),
            "regular expression: ",
        ),
        (
            condition(json!({ "op": "matches", "args": ["x", "x".repeat(1025)] })),
            "1025 bytes, at most 1024",
        ),
        (
            condition(json!({ "op": "in-net", "args": ["x", "10.0.0.0/33"] })),
            "is no network",
        ),
        (over(json!([])), "nothing to go over"),
        (over(json!(vec![1; 65])), "65 things, at most 64"),
        (over(json!("disks")), "\"loop\" is a list, or a reference"),
        (
            action(json!({ "op": "api-call", "args": ["http://x"] })),
            "action 1: there is no api-call, as workers call nobody",
        ),
        (
            action(json!({ "op": "set-port-attribute", "args": [] })),
            "ports are no things of their own here: there are fail, log",
        ),
        (
            action(json!({ "op": "run", "args": [] })),
            "there is no action \"run\": there are fail, log",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["driver_info/ipmi_password", "x"] })),
            "rules cannot change \"driver_info/ipmi_password\"",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["protected", true] })),
            "rules cannot change",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["extra", {}] })),
            "extra needs a key",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["name/x", 1] })),
            "name has no parts",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["boot_mode", "fast"] })),
            "boot_mode: unknown variant",
        ),
        (
            action(json!({ "op": "set-attribute", "args": ["name", "a b"] })),
            "is not a node name",
        ),
        (
            action(json!({ "op": "add-trait", "args": ["gpu"] })),
            "is not a trait",
        ),
        (
            action(json!({ "op": "set-capability", "args": ["a:b", 1] })),
            "no name of a capability",
        ),
        (
            action(json!({ "op": "log", "args": ["x", "loud"] })),
            "there is no level \"loud\"",
        ),
        (
            action(json!({ "op": "log", "args": [7] })),
            "\"msg\" is not a text",
        ),
    ] {
        let read: RuleSpec = serde_json::from_value(rule.clone()).unwrap();
        let refused = read.check().expect_err(&rule.to_string());
        assert!(refused.contains(why), "{refused}: expected {why}");
    }
    for wrong in [
        json!({ "name": "r", "actions": [], "phase": "early" }),
        json!({ "name": "r", "actions": [], "scope": "x" }),
        json!({ "name": "a b", "actions": [] }),
        json!({ "name": "r", "actions": [], "uuid": "x" }),
    ] {
        assert!(
            serde_json::from_value::<RuleSpec>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn what_a_machine_says_makes_no_rule_slow_or_long() {
    let mut found = machine();
    found.cpu.flags = (0..40_000).map(|n| format!("f{n}")).collect();
    found.system.product = Some("a".repeat(100_000));
    let failed = |rule: Value| {
        let rule = self::rule(rule);
        let failed = apply(&[rule], Scope::Inspection, &found, &nobody());
        failed.unwrap_err().to_string()
    };
    let log = json!({ "op": "log", "args": ["x"] });
    let many = json!({ "op": "eq", "args": [["{item}", "x"]], "loop": "{inventory[cpu][flags]}" });
    assert_eq!(
        failed(json!({ "name": "r", "conditions": [many], "actions": [log] })),
        "inspection rule r: condition 1: the rules go over too many things"
    );
    let long = json!({ "op": "contains", "args": ["{inventory[system][product]}", "(a+)+b"] });
    assert_eq!(
        failed(json!({ "name": "r", "conditions": [long], "actions": [log] })),
        "inspection rule r: condition 1: a value of 100000 bytes, at most 4096"
    );
    let message = json!({ "op": "log", "args": ["{inventory[system][product]}"] });
    assert_eq!(
        failed(json!({ "name": "r", "actions": [message] })),
        "inspection rule r: log: a value of 100000 bytes, at most 4096"
    );
}

#[test]
fn what_is_put_into_itself_has_an_end() {
    let both = json!([
        { "op": "set-attribute", "args": ["extra/{item}", "{node.extra}"], "loop": vec!["x"; 40] },
        { "op": "extend-attribute", "args": ["extra/y", "{node.extra}"], "loop": vec!["x"; 40] },
    ]);
    let node = json!({ "traits": [], "properties": {}, "extra": { "a": "b" } });
    let why = done(&node, both).unwrap_err();
    assert!(why.contains("inside each other"), "{why}");
    let wide = json!([{ "op": "extend-attribute", "args": ["extra/l", "{inventory}"], "loop": vec![1; 64] },
        { "op": "extend-attribute", "args": ["extra/m", "{node.extra.l}"], "loop": vec![1; 64] }]);
    let why = done(&node, wide).unwrap_err();
    assert!(why.contains("at most 131072"), "{why}");
}

#[test]
fn a_network_has_its_addresses() {
    for (network, address, inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "11.0.0.1", true),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1/32", "10.0.0.2", false),
        ("fd00::/8", "fdff::1", true),
        ("fd00::1", "fd00::2", false),
        ("::/0", "fd00::2", true),
    ] {
        let network: Network = network.parse().unwrap();
        assert_eq!(
            network.contains(address.parse().unwrap()),
            inside,
            "{address}"
        );
    }
}

#[test]
fn names_are_told_apart() {
    let mut operators: Vec<&str> = Operator::ALL.into_iter().map(Operator::name).collect();
    let mut deeds: Vec<&str> = Deed::ALL.into_iter().map(Deed::name).collect();
    for names in [&mut operators, &mut deeds] {
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
    let patch = serde_json::to_value(crate::patch::Patch::default()).unwrap();
    assert_eq!(patch, json!({}));
    for (name, _, _) in ATTRIBUTES {
        let clear = json!({ "clear": [name] });
        let read = serde_json::from_value::<crate::patch::Patch>(clear);
        assert!(read.is_ok(), "{name} can be cleared");
    }
}

/// Whatever is understood is applied to whatever machine without a panic.
#[test]
fn broken_rules_are_refused_or_harmless() {
    let good = json!({
        "name": "r", "priority": 7, "description": "d", "scope": "discovery",
        "conditions": [
            { "op": "!matches", "args": { "value": "{inventory[disks][0][name]}", "regex": "sd[a-z]+" } },
            { "op": "gt", "args": { "values": ["{item[size]}", 7] }, "loop": "{inventory[disks]}", "multiple": "all" },
        ],
        "actions": [
            { "op": "set-attribute", "args": ["extra/{inventory.cpu.architecture}", "{{}} {node}"] },
            { "op": "set-capability", "args": { "name": "a", "value": "{inventory.cpu.count}" } },
            { "op": "add-trait", "args": ["CUSTOM_{item}"], "loop": ["A", "B"] },
        ],
    });
    let good = serde_json::to_vec(&good).unwrap();
    let mut applied = 0;
    let mut mutator = ironbeat_mutate::Mutator::new(7);
    for _ in 0..20_000 {
        let bytes = mutator.mutate(&good);
        let Ok(rule) = serde_json::from_slice::<RuleSpec>(&bytes) else {
            continue;
        };
        if rule.check().is_ok() {
            let scope = rule.scope.unwrap_or(Scope::Inspection);
            let _ = apply(&[rule], scope, &machine(), &nobody());
            applied += 1;
        }
    }
    assert!(applied > 100, "{applied}");
}
