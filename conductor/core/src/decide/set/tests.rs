//! What an operator can change when, what is said of it, and that no secret is.
//! The store's tests have the claims.
use super::super::tests::{Story, access, instance};
use super::super::{BmcPatch, Clear, Event, Patch, PowerVerb, Verb};
use super::new_macs;
use crate::explain::explain;
use crate::index::Entry;
use crate::node::{BesideKind, BmcSecrets, InstanceData, Secret};
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::BootMode;
use std::string::ToString;

fn mac(n: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, n])
}

fn bmc() -> BmcPatch {
    BmcPatch::Ipmi {
        address: None,
        username: None,
        password: None,
        cipher_suite: None,
        kg: None,
        ipmi_1_5: None,
    }
}

/// A patch as an operator with the `nats` command writes it.
fn patch(json: &str) -> Patch {
    serde_json::from_str(json).unwrap()
}

fn set(story: Story, json: &str) -> Story {
    story.ask(Verb::set(patch(json)))
}

fn refused(mut story: Story, json: &str) -> String {
    let (request, verb) = ("refused".parse().unwrap(), Verb::set(patch(json)));
    let refused = story.try_event(Event::Asked { request, verb });
    refused.unwrap_err().to_string()
}

#[test]
fn everything_but_the_id_can_be_changed_and_taken_away() {
    let story = set(
        Story::new(),
        r#"{"name": "box", "macs": ["02:00:00:00:00:02", "02:00:00:00:00:03"], "boot_mode": "bios", "secure_boot": true, "serial": "SN-1",
            "system_uuid": "07070707-0707-0707-0707-070707070707", "root_device": {"serial": "S1"}, "skip_block_devices": [{"serial": "S2"}]}"#,
    );
    assert_eq!(
        story.because,
        "the operator changed name (none → box), \
         MAC addresses (02:00:00:00:00:01 → 02:00:00:00:00:02 02:00:00:00:00:03), \
         system UUID (none → 07070707-0707-0707-0707-070707070707), serial (none → SN-1), boot mode (none → bios), Secure Boot (none → on), \
         root device hints, skip list"
    );
    assert_eq!(story.node.macs, [mac(2), mac(3)]);
    assert_eq!(story.node.boot_mode, Some(BootMode::Bios));
    let story = set(
        story,
        r#"{"add_macs": ["02:00:00:00:00:04"], "remove_macs": ["02:00:00:00:00:02"]}"#,
    );
    assert_eq!(story.node.macs, [mac(3), mac(4)]);
    let story = set(
        story,
        r#"{"clear": ["name", "system_uuid", "serial", "boot_mode", "secure_boot", "root_device", "skip_block_devices"]}"#,
    );
    let (node, bare) = (&story.node, Story::new().node);
    assert_eq!((&node.name, &node.serial), (&None, &None));
    assert_eq!((node.system_uuid, node.boot_mode), (None, None));
    assert_eq!(node.secure_boot, None);
    assert_eq!(node.root_device, bare.root_device);
    assert_eq!(node.skip_block_devices, []);
    let again = set(story, r#"{"clear": ["name"]}"#);
    assert_eq!(again.because, "the operator changed nothing");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let long = format!(r#"{{"serial": "{}"}}"#, "x".repeat(256));
    for (json, why) in [
        ("{}", "nothing is given that could change"),
        (
            r#"{"remove_macs": ["02:00:00:00:00:09"]}"#,
            "the node has no MAC address 02:00:00:00:00:09",
        ),
        (
            r#"{"name": "box", "clear": ["name"]}"#,
            "the name is both given and cleared",
        ),
        (long.as_str(), "the serial number is longer than 255 bytes"),
    ] {
        assert_eq!(refused(Story::new(), json), why);
    }
    assert!(refused(Story::new(), r#"{"root_device": {"sirial": "S1"}}"#).contains("sirial"));
    let many: Vec<Mac> = (0..33).map(mac).collect();
    assert!(new_macs(&[], None, &many, &[]).is_err());
    assert!(
        serde_json::from_str::<Patch>(r#"{"bmc": {"protocol": "ipmi", "adress": "10.0.0.2"}}"#)
            .is_err()
    );
}

#[test]
fn a_part_of_the_access_to_a_bmc_keeps_the_rest_and_is_a_new_version() {
    let story = Story::new();
    let before = story.node.beside.of(BesideKind::BmcSecrets).cloned();
    let story = set(
        story,
        r#"{"bmc": {"protocol": "ipmi", "address": "10.0.0.2", "kg": "0a0b"}}"#,
    );
    let version = story.node.beside.of(BesideKind::BmcSecrets).cloned();
    assert!(version.is_some() && version != before);
    let secrets = story.secrets.clone().unwrap();
    assert_eq!(secrets.password.reveal(), "hush");
    assert_eq!(secrets.kg.unwrap().reveal(), [10, 11]);
    assert_eq!(Entry::of(&story.node).bmc.to_string(), "10.0.0.2");
    assert_eq!(
        story.because,
        "the operator changed BMC address (10.0.0.1 → 10.0.0.2), K_g; manage checks the access to the BMC"
    );
    // Another password, and the key goes.
    let bmc = r#"{"bmc": {"protocol": "ipmi", "password": "hush-2", "username": "root"}, "clear": ["kg"]}"#;
    let story = set(story, bmc);
    let secrets = BmcSecrets {
        password: Secret::new("hush-2"),
        kg: None,
        next: None,
    };
    assert_eq!(story.secrets, Some(secrets));
    assert!(
        story
            .because
            .contains("BMC user (admin → root), BMC password, K_g;"),
        "{}",
        story.because
    );
    assert!(!story.because.contains("hush"));
    // The same again is no news.
    let version = story.node.beside.of(BesideKind::BmcSecrets).cloned();
    let story = set(story, bmc);
    assert_eq!(story.because, "the operator changed nothing");
    assert_eq!(
        story.node.beside.of(BesideKind::BmcSecrets),
        version.as_ref()
    );
}

#[test]
fn a_bmc_whose_password_nobody_knows_needs_it_anew() {
    let mut story = Story::new();
    story.secrets = None;
    let moved = r#"{"bmc": {"protocol": "ipmi", "address": "10.0.0.2"}}"#;
    assert_eq!(
        refused(story, moved),
        "the BMC's password is not known: give it too"
    );
    let mut story = Story::new();
    story.secrets = None;
    let story = story.ask(Verb::set(Patch {
        bmc: Some(access().into()),
        ..Patch::default()
    }));
    assert_eq!(story.secrets, Some(access().split().1));
}

#[test]
fn another_bmc_says_nothing_of_the_power_until_it_is_asked() {
    let managed = || Story::new().ask(Verb::Manage).bmc_did();
    assert!(managed().node.power.is_some());
    let moved = r#"{"bmc": {"protocol": "ipmi", "address": "10.0.0.2"}}"#;
    let story = set(managed(), moved);
    assert_eq!(story.node.power, None);
    assert!(
        story
            .because
            .ends_with("; the next power sync checks the access to the BMC")
    );
    let story = set(
        managed(),
        r#"{"bmc": {"protocol": "ipmi", "password": "new"}}"#,
    );
    assert!(story.node.power.is_some());
    let story = set(managed().ask(Verb::Maintenance(Some("fan".into()))), moved);
    assert!(
        story
            .because
            .ends_with("; the first power sync after maintenance checks the access to the BMC")
    );
}

/// A machine may turn out to have another NIC just while its ramdisk is waited for.
#[test]
fn a_job_under_way_is_not_broken() {
    for json in [
        r#"{"bmc": {"protocol": "ipmi", "address": "10.0.0.2"}}"#,
        r#"{"clear": ["kg"]}"#,
        r#"{"macs": []}"#,
        r#"{"remove_macs": ["02:00:00:00:00:01"]}"#,
        r#"{"boot_mode": "uefi"}"#,
        r#"{"serial": "S"}"#,
        r#"{"root_device": {"serial": "S1"}}"#,
        r#"{"name": "box", "clear": ["serial"]}"#,
    ] {
        assert_eq!(
            refused(Story::cleaning(), json),
            "cannot change the BMC, what the machine is recognised by (but for further MAC addresses), its boot mode, its disks or \
             whether it may be switched off of a node that is clean wait (abort that first)",
            "{json}"
        );
    }
    let story = set(
        Story::cleaning(),
        r#"{"name": "box", "add_macs": ["02:00:00:00:00:09"], "secure_boot": true}"#,
    );
    assert_eq!(story.node.macs, [mac(1), mac(9)]);
    assert_eq!(story.node.secure_boot, Some(true));
    let story = set(story, r#"{"clear": ["name", "secure_boot"]}"#).is("clean wait");
    assert_eq!((&story.node.name, story.node.secure_boot), (&None, None));
    let story = Story::available().ask(Verb::Power(PowerVerb::On));
    assert_eq!(
        set(story, r#"{"name": "box"}"#).acting().1.name(),
        "ensure_power_on"
    );
}

#[test]
fn the_words_for_what_can_be_cleared_are_all_there() {
    for clear in Clear::ALL {
        let of_bmc = Patch {
            clear: vec![clear],
            ..Patch::default()
        };
        assert_eq!(of_bmc.is_of_bmc(), clear.is_of_bmc(), "{}", clear.name());
    }
    assert!(
        Patch {
            bmc: Some(bmc()),
            ..Patch::default()
        }
        .is_of_bmc()
    );
}

#[test]
fn a_rebuild_takes_another_image_and_keeps_what_is_not_given() {
    let active = || {
        Story::writing()
            .agent_did()
            .agent_did()
            .bmc_did()
            .bmc_did()
            .is("active")
    };
    let mut other = instance();
    other.image.source = "next.zst".parse().unwrap();
    (other.hostname, other.user_data, other.ssh_keys) = (None, None, vec![]);
    let before = active();
    let version = before.node.beside.of(BesideKind::InstanceData).cloned();
    let story = before
        .ask(Verb::Rebuild(Some(other.clone())))
        .is("deploying");
    let rebuilt = story.node.instance.as_ref().unwrap();
    assert_eq!(rebuilt.image.source.as_str(), "next.zst");
    assert_eq!(rebuilt.hostname.as_deref(), Some("web1"));
    assert_eq!(rebuilt.ssh_keys, instance().ssh_keys);
    assert_eq!(
        story.node.beside.of(BesideKind::InstanceData),
        version.as_ref()
    );

    other.network_data = Some("{}".into());
    let event = |instance| Event::Asked {
        request: "r".parse().unwrap(),
        verb: Verb::Rebuild(Some(instance)),
    };
    assert!(event(other.clone()).needs_instance_data(&active().node));
    let story = active().ask(Verb::Rebuild(Some(other.clone())));
    let data = InstanceData {
        user_data: instance().user_data,
        network_data: Some("{}".into()),
        ..InstanceData::default()
    };
    assert_eq!(story.data, Some(data));
    other.user_data = Some("#!/bin/sh".into());
    assert!(!event(other.clone()).needs_instance_data(&active().node));
    let story = active().ask(Verb::Rebuild(Some(other)));
    assert_eq!(story.data.unwrap().user_data.as_deref(), Some("#!/bin/sh"));
}

#[test]
fn the_query_of_an_images_url_comes_and_goes_with_the_image() {
    let active = |story: Story| {
        let story = story.agent_did().agent_did().bmc_did().bmc_did();
        story.is("active")
    };
    let rebuild = |source: &str| {
        let mut other = instance();
        other.image.source = source.parse().unwrap();
        (other.user_data, other.ssh_keys) = (None, vec![]);
        Verb::Rebuild(Some(other))
    };
    let url = |story: &Story| {
        let url = story.data.as_ref().and_then(|data| data.image_url.clone());
        url.map(|url| url.reveal().to_string())
    };
    let source = |story: &Story| {
        let image = &story.node.instance.as_ref().unwrap().image;
        image.source.as_str().to_string()
    };
    let story = active(Story::writing());
    assert_eq!(url(&story), None);
    let verb = rebuild("https://h/next.zst?sig=hush");
    let signed = story.ask(verb).is("deploying");
    assert_eq!(source(&signed), "https://h/next.zst?******");
    assert_eq!(url(&signed).as_deref(), Some("https://h/next.zst?sig=hush"));
    let data = signed.data.as_ref().unwrap();
    assert_eq!(data.user_data, instance().user_data, "the rest is kept");
    assert!(
        !serde_json::to_string(&signed.node)
            .unwrap()
            .contains("hush")
    );

    // What is known of a URL ends with it, although nothing else of the data changes.
    let signed = signed.ask(Verb::Abort).bmc_did().bmc_did();
    let signed = signed.is("deploy failed");
    let again = signed.ask(rebuild("plain.zst")).is("deploying");
    assert_eq!((source(&again).as_str(), url(&again)), ("plain.zst", None));
    assert_eq!(again.data.unwrap().user_data, instance().user_data);
}

#[test]
fn a_url_that_was_copied_from_a_reply_is_refused() {
    let mut masked = instance();
    masked.image.source = "https://h/os.zst?******".parse().unwrap();
    let (request, verb) = ("r".parse().unwrap(), Verb::Deploy(masked));
    let refused = Story::available().try_event(Event::Asked { request, verb });
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("give the whole URL"), "{why}");
}

/// It speaks of a login that is no more, and on an active node no verb comes that would take its place.
#[test]
fn an_error_of_the_bmc_ends_when_an_operator_changes_the_access_to_it() {
    let failed = Story::available().ask(Verb::Power(PowerVerb::Off));
    let failed = failed.bmc_failed(true).is("available");
    assert!(failed.node.bmc_error.is_some());
    let story = set(failed, r#"{ "name": "web1" }"#);
    assert!(story.node.bmc_error.is_some());
    let words = explain(&story.node, story.now, &story.policy);
    assert!(words.verbs.contains(&"bmc check".into()), "{words}");
    let story = set(
        story,
        r#"{ "bmc": { "protocol": "ipmi", "password": "right" } }"#,
    );
    assert_eq!(story.node.bmc_error, None);
}
