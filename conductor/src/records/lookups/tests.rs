//! Lookups on a real nats-server: remembered, counted, found again, and bounded.
//! `ironbeat_core::lookup` tests whose machine it was.
use super::{
    Found, GENERATION, Lookups, MAX_FITTING, MAX_INVENTORY_BYTES, MAX_LIST_BYTES, QUIET, name_of,
    turn,
};
use crate::records::tests::{DEADLINE, mac, server, store};
use ironbeat_common::id::{BootId, NodeId, SystemUuid};
use ironbeat_common::inventory::{Inventory, Nic, Problem};
use ironbeat_core::lookup::{By, Identity, Match};
use ironbeat_ops::lookup::{LookupEntry, LookupRecord};
use tokio::time::Instant;

/// A machine with a NIC, and a UUID unless it is machine 0.
fn machine(n: u16) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.system.serial = Some(format!("SN{n}"));
    inventory.cpu.flags = vec!["aes".into()];
    inventory.nics = vec![Nic {
        name: "eth0".into(),
        mac: mac(n),
        carrier: true,
        speed_mbps: None,
        driver: None,
        pci_address: None,
        pci_id: None,
        mtu: 1500,
        addresses: vec![],
        lldp: None,
    }];
    let [high, low] = n.to_be_bytes();
    inventory.system.uuid = (n > 0).then(|| {
        let mut bytes = [0x22; 16];
        (bytes[0], bytes[1]) = (high, low);
        SystemUuid::from_bytes(bytes)
    });
    inventory
}

async fn lookup(lookups: &Lookups, inventory: &Inventory, outcome: &str) {
    let machine = Identity::of_machine(inventory);
    let boot = BootId::from_bytes([3; 16]);
    let matched = Match::None;
    let inventory = || Some(inventory.clone());
    lookups
        .record(&machine, boot, matched, outcome.into(), inventory)
        .await;
}

fn entry(found: Found) -> LookupEntry {
    match found {
        Found::One(entry) => *entry,
        other => panic!("{other:?}"),
    }
}

fn one(found: Found) -> LookupRecord {
    entry(found).lookup
}

async fn flushed(lookups: &Lookups) {
    tokio::time::timeout(DEADLINE, lookups.flush())
        .await
        .expect("everything is written");
}

#[tokio::test]
async fn lookups_are_listed_latest_first_and_found_by_the_start_of_their_key() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    assert!(lookups.list().await.unwrap().is_empty());
    for n in [0, 0x1100, 0x1234] {
        lookup(&lookups, &machine(n), "unknown machine: discovered").await;
    }
    flushed(&lookups).await;
    let list = lookups.list().await.unwrap();
    let names: Vec<&str> = list.iter().map(|entry| name_of(&entry.key)).collect();
    assert_eq!(
        names,
        [
            "12342222-2222-2222-2222-222222222222",
            "11002222-2222-2222-2222-222222222222",
            "020000000000",
        ]
    );
    assert!(list[0].lookup.inventory.cpu.flags.is_empty(), "shortened");

    let found = one(lookups.find("12").await.unwrap());
    assert_eq!(found.inventory, machine(0x1234), "in full");
    assert_eq!((found.count, found.matched), (1, Match::None));
    let whole = lookups.find(&list[2].key).await.unwrap();
    assert_eq!(one(whole).inventory, machine(0));
    for wrong in ["", "*", ">", "12342222.>", "9", "1 2"] {
        let found = lookups.find(wrong).await.unwrap();
        assert_eq!(found, Found::None, "{wrong:?}");
    }
    let Found::Several {
        first,
        count,
        is_conflict,
    } = lookups.find("1").await.unwrap()
    else {
        panic!("two fit");
    };
    assert_eq!(
        (first.len(), count, is_conflict),
        (2, 2, false),
        "{first:?}"
    );
    for (n, told) in [0x1100, 0x1234].into_iter().zip(&first) {
        let words = format!(" (serial SN{n}, MAC {})", mac(n));
        assert!(told.ends_with(&words), "{first:?}");
    }
}

#[tokio::test]
async fn a_machine_that_repeats_itself_is_counted_and_rarely_written() {
    let server = server();
    let store = store(&server).await;
    let lookups = Lookups::open(&store).await.unwrap();
    let begun = Instant::now();
    let due = |outcome, now| lookups.due("m", outcome, now).map(|(count, _)| count);
    assert_eq!(due("refused", begun), Some(1));
    for second in 1..30 {
        let now = begun + second * QUIET / 30;
        assert_eq!(due("refused", now), None, "{second} s");
    }
    assert_eq!(due("refused", begun + QUIET), Some(30));
    assert_eq!(due("welcome", begun + QUIET), Some(1), "another answer");

    // What two workers wrote is added up.
    let other = Lookups::open(&store).await.unwrap();
    let revisions = |lookups: &Lookups| {
        let lookups = lookups.clone();
        async move {
            flushed(&lookups).await;
            let found = lookups.find("00012222-2222-2222-2222-222222222222");
            let LookupEntry { key, lookup, .. } = entry(found.await.unwrap());
            let (_, revision) = lookups.bucket.read(&key).await.unwrap();
            (revision, lookup.count, lookup.outcome)
        }
    };
    lookup(&lookups, &machine(1), "refused").await;
    assert_eq!(revisions(&lookups).await, (1, 1, "refused".into()));
    lookup(&lookups, &machine(1), "refused").await;
    assert_eq!(revisions(&lookups).await, (1, 1, "refused".into()));
    lookup(&other, &machine(1), "welcome").await;
    assert_eq!(revisions(&other).await, (2, 2, "welcome".into()));
    lookup(&lookups, &machine(1), "welcome").await;
    assert_eq!(revisions(&lookups).await, (3, 4, "welcome".into()));
}

#[tokio::test]
async fn a_list_fits_one_message() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    for n in 1..=80 {
        let mut large = machine(n);
        large.system.product = Some("x".repeat(15_000));
        lookup(&lookups, &large, "unknown").await;
    }
    flushed(&lookups).await;
    let list = lookups.list().await.unwrap();
    let bytes = serde_json::to_vec(&list).unwrap().len();
    assert!((10..80).contains(&list.len()), "{} listed", list.len());
    assert!(bytes <= MAX_LIST_BYTES + list.len() + 1, "{bytes} bytes");
    assert_eq!(
        list[0].lookup.inventory.system.serial.as_deref(),
        Some("SN80")
    );
}

#[tokio::test]
async fn of_an_inventory_that_is_too_large_the_marks_are_kept() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let long = || "x".repeat(200_000);
    let mut shortened = machine(1);
    shortened.cpu.flags = vec![long()];
    let mut cut = machine(2);
    cut.system.product = Some(long());
    let mut serial = machine(3);
    serial.system.serial = Some(long());
    let mut nics = machine(4);
    nics.nics = vec![nics.nics[0].clone(); 2_000];
    for large in [&shortened, &cut, &serial, &nics] {
        lookup(&lookups, large, "unknown").await;
    }
    flushed(&lookups).await;
    for (n, large) in [(1, &shortened), (2, &cut), (3, &serial), (4, &nics)] {
        let key = format!("000{n}2222-2222-2222-2222-222222222222");
        let kept = one(lookups.find(&key).await.unwrap()).inventory;
        let bytes = serde_json::to_vec(&kept).unwrap().len();
        assert!(bytes <= MAX_INVENTORY_BYTES, "{n}: {bytes}");
        assert_eq!(kept.system.uuid, large.system.uuid);
        assert_eq!(kept.nics[0].mac, large.nics[0].mac);
        assert!(
            kept.problems[0].what.contains("is not remembered whole"),
            "{:?}",
            kept.problems
        );
    }
}

#[tokio::test]
async fn what_could_not_be_read_of_a_known_machine_is_remembered() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let mut poor = machine(1);
    poor.problems = vec![Problem {
        collector: "smbios".into(),
        what: "not read within 3000 ms".into(),
        by_path: None,
    }];
    let known = Match::One {
        node: NodeId::from_bytes([1; 16]),
        by: By::Uuid,
    };
    let identity = Identity::of_machine(&poor);
    let boot = BootId::from_bytes([3; 16]);
    let inventory = || Some(poor.clone());
    lookups
        .record(&identity, boot, known, "welcome".into(), inventory)
        .await;
    flushed(&lookups).await;
    let kept = one(lookups.find("0001").await.unwrap()).inventory;
    assert_eq!(kept.problems, poor.problems);
}

#[tokio::test]
async fn of_many_that_fit_a_few_are_named() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    for n in 1..=20 {
        lookup(&lookups, &machine(n), "unknown").await;
    }
    flushed(&lookups).await;
    let Found::Several { first, count, .. } = lookups.find("00").await.unwrap() else {
        panic!("twenty fit");
    };
    assert_eq!((first.len(), count), (MAX_FITTING, 20));
}

#[tokio::test(start_paused = true)]
async fn one_reads_the_lookups_at_a_time() {
    let readers = tokio::sync::Semaphore::new(1);
    let first = turn(&readers).await.unwrap();
    let why = turn(&readers).await.unwrap_err().to_string();
    assert!(why.contains("ask again"), "{why}");
    let mut next = Box::pin(turn(&readers));
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(first);
    drop(next.await.unwrap());
}

/// A data centre comes up at once: more machines than may wait to be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_machines_that_look_up_at_once_are_remembered() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let machines = 1..=3 * super::QUEUE as u16;
    let all = machines.clone().map(|n| {
        let lookups = lookups.clone();
        tokio::spawn(async move { lookup(&lookups, &machine(n), "unknown").await })
    });
    for recorded in all.collect::<Vec<_>>() {
        recorded.await.unwrap();
    }
    flushed(&lookups).await;
    let mut kept = 0;
    lookups.bucket.scan(">", |_| kept += 1).await.unwrap();
    assert_eq!(kept, machines.len());
}

/// What a worker remembers does not depend on how many others there are, as long as there are not more than it can hold.
#[tokio::test]
async fn a_machine_is_known_again_after_many_others() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let now = Instant::now();
    let others = |from: usize, to: usize| {
        for n in from..to {
            assert!(lookups.due(&format!("other-{n}"), "refused", now).is_some());
        }
    };
    assert!(lookups.due("m", "refused", now).is_some());
    others(0, GENERATION);
    assert!(lookups.due("m", "refused", now).is_none(), "it is known");
    others(GENERATION, 2 * GENERATION - 2);
    assert!(lookups.due("m", "refused", now).is_none(), "still");
    others(2 * GENERATION, 4 * GENERATION);
    assert!(
        lookups.due("m", "refused", now).is_some(),
        "memory is bounded"
    );
}

/// A hostile network makes machines up; the bucket forgets those that looked up longest ago.
#[tokio::test]
async fn the_bucket_is_bounded() {
    let server = server();
    let store = store(&server).await;
    let lookups = Lookups::open_with(&store, 64 << 10).await.unwrap();
    for n in 0..200 {
        let key = format!("made-up-{n:03}");
        lookups.bucket.put(&key, vec![b'x'; 1000]).await.unwrap();
    }
    let mut kept = Vec::new();
    let each = |change: crate::records::Change| kept.push(change.key);
    lookups.bucket.scan(">", each).await.unwrap();
    assert!((50..=64).contains(&kept.len()), "{} are kept", kept.len());
    let newest: Vec<_> = (200 - kept.len()..200)
        .map(|n| format!("made-up-{n:03}"))
        .collect();
    assert_eq!(kept, newest);
}

#[tokio::test]
async fn of_a_nodes_machine_only_a_list_is_kept() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let (inventory, boot) = (machine(7), BootId::from_bytes([3; 16]));
    let matched = Match::One {
        node: crate::records::tests::id(1),
        by: By::Uuid,
    };
    let known = Identity::of_machine(&inventory);
    lookups
        .record(&known, boot, matched, "welcome".into(), || {
            Some(inventory.clone())
        })
        .await;
    flushed(&lookups).await;
    let found = one(lookups.find("0007").await.unwrap());
    assert!(found.inventory.cpu.flags.is_empty());
    assert_eq!(found.inventory.nics, inventory.nics);
}

#[tokio::test]
async fn a_machine_without_any_name_is_not_remembered() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    lookup(&lookups, &Inventory::default(), "unknown").await;
    let mut blank = Inventory::default();
    blank.system.serial = Some(String::new());
    lookup(&lookups, &blank, "unknown").await;
    let mut odd = Inventory::default();
    odd.system.serial = Some("S/N *.> 7".into());
    lookup(&lookups, &odd, "unknown").await;
    flushed(&lookups).await;
    let list = lookups.list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(name_of(&list[0].key), "S-N-----7");
}

/// Whoever has the token of boot scripts can claim any machine's UUID.
#[tokio::test]
async fn a_machine_that_claims_anothers_uuid_takes_no_place_and_is_not_chosen() {
    let server = server();
    let lookups = Lookups::open(&store(&server).await).await.unwrap();
    let (real, mut false_macs, mut more_macs) = (machine(7), machine(7), machine(7));
    false_macs.nics[0].mac = mac(99);
    more_macs.nics.push(Nic {
        mac: mac(98),
        ..real.nics[0].clone()
    });
    let mut swapped = more_macs.clone();
    swapped.nics.reverse();
    for inventory in [&real, &false_macs, &more_macs, &swapped] {
        lookup(&lookups, inventory, "unknown").await;
    }
    flushed(&lookups).await;
    let list = lookups.list().await.unwrap();
    assert_eq!(list.len(), 3, "the order of NICs does not matter");
    for listed in &list {
        assert_eq!(listed.conflicts.len(), 2, "{}", listed.key);
        let found = entry(lookups.find(&listed.key).await.unwrap());
        assert_eq!(found.lookup.inventory.nics, listed.lookup.inventory.nics);
        assert_eq!(found.conflicts.len(), 2);
        assert!(!found.conflicts.contains(&found.key));
    }
    for start in ["0007", "00072222-2222-2222-2222-222222222222"] {
        let found = lookups.find(start).await.unwrap();
        let Found::Several {
            first,
            count: 3,
            is_conflict: true,
        } = found
        else {
            panic!("{found:?}");
        };
        let all = first.join(" ");
        assert!(all.contains(&mac(7).to_string()), "{all}");
        assert!(all.contains(&mac(99).to_string()), "{all}");
    }
    // One whose serial number is the key of another.
    let mut named = Inventory::default();
    named.system.serial = Some(list[0].key.clone());
    lookup(&lookups, &named, "unknown").await;
    flushed(&lookups).await;
    let found = entry(lookups.find(&list[0].key).await.unwrap());
    assert_eq!(found.lookup.inventory.nics, list[0].lookup.inventory.nics);
}
