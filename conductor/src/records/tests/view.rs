//! The view through restarts, unreadable records and a bucket that was restored without some of its nodes.
//! `trouble` tests how the store itself takes a restart.
use super::{DEADLINE, create, id, next, node, server, store};
use crate::records::KvError;
use crate::records::Store;
use crate::records::StoreError;
use crate::records::document::{key, parse};
use crate::records::kv::ENTRY;
use crate::records::view::View;
use futures_util::stream::{self, StreamExt};
use ironbeat_core::index::Entry;
use ironbeat_core::node::{Node, SCHEMA};
use ironbeat_core::time::Time;

/// Waits until the view is as it should be; it ticks whenever it changes.
async fn until(view: &View, what: &str, holds: impl Fn(&View) -> bool) {
    let mut changes = view.changes();
    let seen = tokio::time::timeout(DEADLINE, async {
        while !holds(view) {
            changes.changed().await.expect("the view goes on");
        }
    });
    assert!(seen.await.is_ok(), "never: {what}");
}

async fn ready(store: &Store) -> View {
    let view = View::start(store);
    let ready = tokio::time::timeout(DEADLINE, view.ready()).await;
    ready.expect("the view becomes ready");
    view
}

#[tokio::test]
async fn an_empty_bucket_is_a_ready_view_that_follows() {
    let server = server();
    let store = store(&server).await;
    let view = ready(&store).await;
    assert!(view.is_empty());
    let made = node(1);
    let revision = create(&store, &made).await.unwrap();
    until(&view, "the new node is seen", |view| {
        view.get(&id(1)).as_deref() == Some(&Entry::of(&made))
    })
    .await;
    store.nodes.remove(&made, revision).await.unwrap();
    until(&view, "the node is gone", |view| view.get(&id(1)).is_none()).await;
}

#[tokio::test]
async fn the_record_of_a_busy_node_comes_with_its_change() {
    let server = server();
    let store = store(&server).await;
    let mut before = node(1);
    let mut revision = create(&store, &before).await.unwrap();
    let view = ready(&store).await;
    for (round, wake_at) in [None, Some(Time::from_unix_ms(1)), None]
        .into_iter()
        .enumerate()
    {
        let mut changed = next(&before, format!("round-{round}"));
        changed.wake_at = wake_at;
        let saved = store.nodes.save(&before, &changed, revision).await;
        revision = saved.unwrap();
        until(&view, "the change is seen", |view| {
            view.revision(&id(1)) == Some(revision)
        })
        .await;
        let kept = wake_at.map(|_| (changed.clone(), revision));
        assert_eq!(view.record(&id(1)), kept, "round {round}");
        before = changed;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_followed_again() {
    let mut server = server();
    let store = store(&server).await;
    let mut present = node(1);
    let mut revision = create(&store, &present).await.unwrap();
    let view = ready(&store).await;
    for (round, kill) in [false, true].into_iter().enumerate() {
        match kill {
            true => server.kill(),
            false => server.stop(),
        }
        server.start().unwrap();
        assert_eq!(view.len(), 1, "nothing is forgotten meanwhile");
        let mut changed = next(&present, format!("round-{round}"));
        changed.since = Time::from_unix_ms(1 + round as u64);
        // The connection comes back by itself; until then a write fails.
        let saved = tokio::time::timeout(DEADLINE, async {
            loop {
                if let Ok(saved) = store.nodes.save(&present, &changed, revision).await {
                    return saved;
                }
            }
        });
        revision = saved.await.expect("the store comes back");
        present = changed;
        until(&view, "the change is seen", |view| {
            view.get(&id(1))
                .is_some_and(|seen| seen.since == present.since)
        })
        .await;
    }
}

#[tokio::test]
async fn nodes_that_vanished_unseen_are_dropped() {
    let server = server();
    let store_before = store(&server).await;
    for n in 1..=3 {
        create(&store_before, &node(n)).await.unwrap();
    }
    let view = ready(&store_before).await;
    assert_eq!(view.len(), 3);
    store_before.js.delete_stream("KV_ib").await.unwrap();
    let restored = store(&server).await;
    create(&restored, &node(2)).await.unwrap();
    until(&view, "what is gone is dropped", |view| view.len() == 1).await;
    assert!(view.get(&id(2)).is_some());
}

#[tokio::test]
async fn an_unreadable_record_is_named_and_harms_no_other() {
    let server = server();
    let store = store(&server).await;
    let good = node(1);
    create(&store, &good).await.unwrap();
    create(&store, &node(2)).await.unwrap();
    let view = ready(&store).await;
    let key = |n| key::<Node>(id(n));
    let later = serde_json::to_string(&node(3)).unwrap().replacen(
        "\"schema\":1",
        &format!("\"schema\":{}", SCHEMA + 1),
        1,
    );
    let of_another = serde_json::to_string(&node(1)).unwrap();
    for (n, document, says) in [
        (2, "{\"schema\":", "EOF"),
        (3, later.as_str(), "schema 3"),
        (4, of_another.as_str(), "it is about node"),
        (5, "{\"schema\":7,\"new\":true}", "schema 7"),
        (6, "\u{0}\u{0}", "expected value"),
    ] {
        let document = document.as_bytes().to_vec();
        store.nodes.kv.put(&key(n), document).await.unwrap();
        let error = store.nodes.load(id(n)).await.unwrap_err().to_string();
        assert!(error.contains(&key(n)) && error.contains(says), "{error}");
    }
    store.nodes.kv.put("node.nonsense", vec![]).await.unwrap();
    until(&view, "all five are known", |view| {
        view.unreadable().len() == 5
    })
    .await;
    assert_eq!(view.get(&id(1)).as_deref(), Some(&Entry::of(&good)));
    assert!(view.get(&id(2)).is_some(), "the last good record stays");
    assert_eq!(view.len(), 2);

    // A view that begins now has no last good record; a repaired one is taken up.
    let late = ready(&store).await;
    assert_eq!((late.len(), late.unreadable().len()), (1, 5));
    let repaired = serde_json::to_vec(&node(2)).unwrap();
    store.nodes.kv.put(&key(2), repaired).await.unwrap();
    until(&late, "the repaired record is taken up", |view| {
        view.get(&id(2)).is_some() && view.unreadable().len() == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_nodes_are_loaded_whole() {
    const NODES: u16 = 10_000;
    let server = server();
    let store = store(&server).await;
    stream::iter(0..NODES)
        .for_each_concurrent(64, |n| {
            let bucket = store.nodes.kv.clone();
            async move {
                let node = node(n);
                let value = serde_json::to_vec(&node).unwrap().into();
                let entry = serde_json::to_string(&Entry::of(&node)).unwrap();
                let (key, headers) = (key::<Node>(id(n)), [(ENTRY, entry.as_str())]);
                bucket.write_with(&key, value, &headers, 0).await.unwrap();
            }
        })
        .await;
    let begun = std::time::Instant::now();
    let view = ready(&store).await;
    println!("{NODES} nodes loaded in {:?}", begun.elapsed());
    assert_eq!(view.len(), usize::from(NODES));
    let begun = std::time::Instant::now();
    let looked = (0..100).map(|_| view.len()).sum::<usize>();
    println!("listed in {:?} each", begun.elapsed() / 100);
    assert_eq!(looked, 100 * usize::from(NODES));
}

/// What lies beside a record may be a password.
#[tokio::test]
async fn an_error_does_not_quote_a_document() {
    let server = server();
    let store = store(&server).await;
    let node = node(1);
    let version = node.beside.bmc_secrets.clone().unwrap();
    let key = format!(
        "bmc_secrets.{}.{version}",
        &key::<Node>(id(1))["node.".len()..]
    );
    for (document, says) in [
        (
            "{\"password\":12345678}",
            "unexpected value before line 1 column ",
        ),
        (
            "{\"password\":[\"12345678\"]}",
            "unexpected value before line 1 column ",
        ),
        (
            "{\"password\":\"12345678",
            "neither a sealed document nor a plain one",
        ),
        ("{}", "missing field `password`"),
    ] {
        store.nodes.kv.put(&key, document.into()).await.unwrap();
        let error = store.beside.bmc_secrets(&node).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("1234"), "{text}");
        }
    }
    store.nodes.kv.erase(&key).await.unwrap();
    let missing = store.beside.bmc_secrets(&node).await;
    assert!(
        matches!(missing, Err(StoreError::Missing { .. })),
        "{missing:?}"
    );
    let error = parse::<Node>("node", b"{}").unwrap_err().to_string();
    assert!(error.contains("missing field `schema`"), "{error}");
}

/// Whatever is in the bucket, it is a record or an error.
#[test]
fn no_document_makes_a_worker_fall_over() {
    let seed = 0x9e37_79b9_7f4a_7c15u64;
    println!("seed {seed:#x}");
    let mut random = seed;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("below a usize")
    };
    let good = serde_json::to_vec(&node(1)).unwrap();
    let key = key::<Node>(id(1));
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=draw(4) {
            let at = draw(bytes.len());
            match draw(4) {
                0 => bytes[at] = draw(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"{}[]\":,0-\\"[draw(10)]),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        refused += usize::from(parse::<Node>(&key, &bytes).is_err());
    }
    assert!(refused > 10_000, "{refused} of 20,000 refused");
}

/// nats-server 2.9 passes over what it has not shown yet when somebody purges what is not there.
#[tokio::test]
async fn a_reader_misses_no_key_without_saying_so() {
    const KEYS: usize = 6;
    let server = server();
    let store = store(&server).await;
    let kv = &store.nodes.kv;
    for n in 0..KEYS {
        kv.put(&format!("a.{n}"), vec![b' ']).await.unwrap();
    }
    let purge = async || {
        for _ in 0..3 {
            let nothing = kv.stream.purge().filter(format!("{}nothing.>", kv.prefix));
            nothing.await.unwrap();
        }
    };
    let read = async || {
        for _ in 0..4 {
            let mut found = 0;
            kv.scan(">", |_| found += 1).await?;
            assert_eq!(found, KEYS);
        }
        Ok::<(), KvError>(())
    };
    for _ in 0..40 {
        if let ((), Err(_)) = tokio::join!(purge(), read()) {
            break;
        }
    }
    read().await.unwrap();
}
