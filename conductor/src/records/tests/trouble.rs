//! Acknowledgements that do not come, and a server that is killed while it is written to.
//! `view` tests how the view takes a restart.
use super::proxy::hold_back;
use super::{DEADLINE, PATIENCE, connect, create, id, masters, next, node, op, server};
use crate::records::{Names, Store, StoreError};
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

#[tokio::test]
async fn a_write_that_timed_out_and_landed_is_found_again() {
    let server = server();
    let hold = watch::Sender::new(false);
    // After the timeout the store reads the record back.
    let release = |words: &str| words.contains("STREAM.MSG.GET").then_some(false);
    let url = hold_back(server.address(), hold.clone(), release).await;
    let client = connect(&url).await;
    let store = Store::open_patiently(client, &Names::default(), masters(), PATIENCE)
        .await
        .unwrap();
    let before = node(1);
    let revision = create(&store, &before).await.unwrap();

    hold.send_replace(true);
    let after = next(&before, "landed");
    let saved = store.nodes.save(&before, &after, revision).await.unwrap();
    assert!(!*hold.borrow(), "the acknowledgement came in time");
    assert_eq!(saved, revision + 1);

    let direct = Store::open(connect(&server.url()).await, &Names::default(), masters())
        .await
        .unwrap();
    assert_eq!(
        direct.nodes.load(id(1)).await.unwrap(),
        Some((after, saved))
    );
}

/// As servers do while nobody leads the stream.
#[tokio::test]
async fn a_question_that_was_dropped_is_asked_again_soon() {
    let server = server();
    let hold = watch::Sender::new(false);
    let asked = Arc::new(AtomicU64::new(0));
    let second = {
        let (asked, hold) = (Arc::clone(&asked), hold.clone());
        move |words: &str| {
            if !*hold.borrow() || !words.contains("STREAM.MSG.GET") {
                return None;
            }
            (asked.fetch_add(1, Ordering::Relaxed) == 1).then_some(false)
        }
    };
    let url = hold_back(server.address(), hold.clone(), second).await;
    let slow = super::store_at(&url).await;
    let made = node(1);
    create(&super::store(&server).await, &made).await.unwrap();

    hold.send_replace(true);
    let found = slow.nodes.load(id(1)).await.unwrap();
    assert_eq!(found.map(|(node, _)| node), Some(made));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// All servers are killed in the middle of a save, and stay away for longer than anybody waits for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_in_the_middle_of_which_the_servers_die_is_known_when_they_are_back() {
    for lands in [true, false] {
        let mut server = server();
        let hold = watch::Sender::new(false);
        let mut first = Some(true);
        let hears = move |words: &str| match words.contains("PUB $KV.ib.node.") {
            true => first.take(),
            false => None,
        };
        let url = hold_back(server.address(), hold.clone(), hears).await;
        let slow =
            Store::open_patiently(connect(&url).await, &Names::default(), masters(), PATIENCE)
                .await
                .unwrap();
        let direct = super::store(&server).await;
        let before = node(1);
        let at = create(&direct, &before).await.unwrap();
        let after = next(&before, "middle");
        if !lands {
            server.freeze().unwrap();
        }
        let mut saving = {
            let (before, after) = (before.clone(), after.clone());
            tokio::spawn(async move { slow.nodes.save(&before, &after, at).await })
        };
        let mut held = hold.subscribe();
        let sent = tokio::time::timeout(DEADLINE, held.wait_for(|held| *held)).await;
        sent.expect("it is sent").unwrap();
        while lands && direct.nodes.load(id(1)).await.unwrap().unwrap().0 != after {}
        server.kill();
        drop(held);
        // Until then what the server said before is only held back.
        hold.closed().await;
        hold.send_replace(false);
        let early = tokio::time::timeout(PATIENCE * 2, &mut saving).await;
        assert!(early.is_err(), "nobody can know yet: {early:?}");
        server.start().unwrap();
        let saved = tokio::time::timeout(DEADLINE, saving).await;
        let saved = saved.expect("it is told").unwrap().unwrap();
        let present = direct.nodes.load(id(1)).await.unwrap();
        assert_eq!(present, Some((after, saved)), "lands: {lands}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 600;
    const KILLS: u64 = 3;
    let mut server = server();
    let store = Store::open_patiently(
        connect(&server.url()).await,
        &Names::default(),
        masters(),
        Duration::from_secs(2),
    )
    .await
    .unwrap();
    create(&store, &node(1)).await.unwrap();
    let done = watch::Sender::new(0u64);
    let unclear = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, done, unclear) = (store.clone(), done.clone(), Arc::clone(&unclear));
            tokio::spawn(async move {
                for attempt in 0.. {
                    if *done.borrow() >= WRITES {
                        return;
                    }
                    // While the server is away a load fails, and nothing was attempted.
                    let Ok(Some((before, revision))) = store.nodes.load(id(1)).await else {
                        continue;
                    };
                    let after = next(&before, op(format!("w{writer}-{attempt}")));
                    match store.nodes.save(&before, &after, revision).await {
                        Ok(_) => done.send_modify(|done| *done += 1),
                        Err(StoreError::Conflict { .. }) => {}
                        Err(_) => drop(unclear.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            })
        })
        .collect();
    for kills in 1..=KILLS {
        let mut progress = done.subscribe();
        let reached = progress.wait_for(|done| *done >= kills * WRITES / 4);
        tokio::time::timeout(DEADLINE, reached)
            .await
            .expect("writes go on")
            .unwrap();
        server.kill();
        server.start().unwrap();
    }
    for writer in writers {
        tokio::time::timeout(DEADLINE, writer)
            .await
            .expect("the writers finish")
            .unwrap();
    }
    let (counted, unclear) = (*done.borrow(), unclear.load(Ordering::Relaxed));
    let stored = store.nodes.load(id(1)).await.unwrap().unwrap().0.counter;
    println!("{counted} acknowledged, {unclear} unclear, {stored} stored");
    // One that landed unheard, and on top of which another was saved, counts as a lost race.
    let unheard = unclear + KILLS * WRITERS;
    assert!(
        (counted..=counted + unheard).contains(&stored),
        "{counted} acknowledged, {unclear} unclear, {stored} stored"
    );
}

#[tokio::test]
async fn a_cluster_without_a_leader_may_answer_later_and_a_bucket_that_is_gone_does_not() {
    let (listen, nobody) = (PortLease::take().unwrap(), PortLease::take().unwrap());
    let cluster = format!(
        "server_name: one\ncluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [\"nats://127.0.0.1:{}\"] }}\n",
        listen.port(),
        nobody.port()
    );
    let minority = NatsServer::start_loopback_with(NatsBinary::Floor, &cluster).unwrap();
    let client = connect(&minority.url()).await;
    let opened = Store::open_patiently(client, &Names::default(), masters(), PATIENCE).await;
    let lost = opened.err().expect("it has no leader");
    assert!(lost.may_pass(), "{lost}");

    let server = server();
    let store = super::store(&server).await;
    store.js.delete_stream("KV_ib").await.unwrap();
    let lost = store.nodes.load(id(1)).await.unwrap_err();
    assert!(!lost.may_pass(), "{lost}");
}
