//! Workers that come, leave, crash and are cut off, on a real nats-server.
//! `roster` tests, without waiting, what follows from which renewals.
use super::{Liveness, Lost, Presence, Timing, WorkerInfo, lock};
use crate::records::tests::{DEADLINE, contents, eventually, id, server, store};
use ironbeat_core::id::{Incarnation, WorkerId};
use ironbeat_core::time::Time;
use ironbeat_rack::nats::NatsServer;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A fifth of the real times: lapses are waited for. Still enough for a renewal on a busy machine.
const QUICK: Timing = Timing {
    renew: Duration::from_millis(600),
    may_act: Duration::from_millis(1400),
    lapse: Duration::from_millis(2000),
};

fn name(n: u8) -> WorkerId {
    format!("w{n}").parse().unwrap()
}

/// Each has another incarnation.
fn info(n: u8) -> WorkerInfo {
    static STARTS: AtomicU32 = AtomicU32::new(1);
    WorkerInfo {
        id: name(n),
        incarnation: Incarnation(STARTS.fetch_add(1, Ordering::Relaxed)),
        url: format!("http://10.77.0.{n}:8080"),
        https: None,
        version: "0.1.0".into(),
        started: Time::from_unix_ms(u64::from(n)),
        lacks: vec![],
        serves: vec![],
        loaders: vec![],
        host: String::new(),
        stands_by: None,
        lacks_images: None,
        refused: vec![],
        records: vec![],
        policy: std::collections::BTreeMap::new(),
        master_keys: vec![],
        dnsmasq: None,
    }
}

async fn worker(server: &NatsServer, n: u8, timing: Timing) -> Presence {
    let store = store(server).await;
    Presence::start_timed(&store, info(n), timing)
        .await
        .unwrap()
}

fn live(presence: &Presence) -> Vec<WorkerId> {
    let infos = presence.live().into_iter();
    infos.map(|info| info.id).collect()
}

#[tokio::test]
async fn workers_see_each_other_come_and_leave() {
    let server = server();
    let first = worker(&server, 1, QUICK).await;
    assert!(first.may_act());
    let second = worker(&server, 2, QUICK).await;
    for one in [&first, &second] {
        eventually("both see both", || live(one) == [name(1), name(2)]).await;
    }
    assert_eq!(first.is_live(&name(2)), Liveness::Live);
    let owned = |worker: &Presence| (0..100).filter(|n| worker.owns(id(*n))).count();
    eventually("every node has one owner", || {
        (0..100).all(|n| first.owns(id(n)) != second.owns(id(n)))
    })
    .await;
    assert!(owned(&first) > 20 && owned(&second) > 20);

    let heard = |worker: &Presence| -> Vec<WorkerId> {
        worker.heard().into_iter().map(|info| info.id).collect()
    };
    assert_eq!(heard(&second), [name(2), name(1)]);
    second.leave().await;
    assert!(!second.may_act());
    // Who still answers can still be fetched from.
    assert_eq!(heard(&second)[0], name(2));
    eventually("the good-bye is heard", || live(&first) == [name(1)]).await;
    assert_eq!(first.is_live(&name(2)), Liveness::Lapsed);
    assert_eq!(first.lapsed(), [name(2)]);
    assert_eq!(owned(&first), 100);
    assert_eq!(owned(&second), 0);
}

#[tokio::test]
async fn people_can_read_a_renewal() {
    let server = server();
    let worker = worker(&server, 1, QUICK).await;
    let found = contents(&worker.bucket, ">").await;
    let [(key, value)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(key, "w1");
    let value: serde_json::Value = serde_json::from_str(value).unwrap();
    assert_eq!(value["url"], "http://10.77.0.1:8080");
    for field in ["id", "host", "started", "version", "renewed"] {
        assert!(value[field].is_string(), "{field} in {value}");
    }
}

/// The runtime of the second worker ends, as if it were killed: it says nothing any more.
#[test]
fn a_crashed_worker_lapses_and_its_nodes_move() {
    let server = server();
    let alive = tokio::runtime::Runtime::new().unwrap();
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let survivor = alive.block_on(worker(&server, 1, QUICK));
    let _crashed = doomed.block_on(worker(&server, 2, QUICK));
    alive.block_on(eventually("it is seen", || {
        survivor.is_live(&name(2)) == Liveness::Live
    }));
    doomed.shutdown_background();
    alive.block_on(eventually("it lapses", || survivor.lapsed() == [name(2)]));
    assert!((0..100).all(|n| survivor.owns(id(n))));
    assert!(survivor.may_act());
}

/// Two hosts with one configuration.
#[tokio::test]
async fn a_second_worker_under_a_name_is_refused_and_the_first_does_not_notice() {
    let server = server();
    let first = worker(&server, 1, QUICK).await;
    let witness = worker(&server, 2, QUICK).await;
    eventually("it is seen", || live(&witness) == [name(1), name(2)]).await;
    let mut changes = witness.changes();
    let store = store(&server).await;
    let second = Presence::start_timed(&store, info(1), QUICK);
    tokio::pin!(second);
    let refused = loop {
        tokio::select! {
            second = &mut second => break second,
            _ = changes.changed() => {
                assert_ne!(witness.is_live(&name(1)), Liveness::Lapsed);
                assert_eq!(witness.lost(&first.own.actor()), None);
            }
        }
    };
    let why = refused.err().unwrap().to_string();
    for named in [
        "the name w1",
        &first.own().host,
        "http://10.77.0.1:8080",
        &first.own().started.to_string(),
    ] {
        assert!(why.contains(named), "{named} in {why}");
    }
    for _ in 0..4 {
        changes.changed().await.unwrap();
        assert_eq!(live(&witness), [name(1), name(2)]);
    }
    assert!(first.may_act());
}

/// Killed and started again before anybody could miss it.
#[test]
fn a_crashed_worker_is_let_in_again_and_its_former_acts_are_lost_at_once() {
    let server = server();
    let alive = tokio::runtime::Runtime::new().unwrap();
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let witness = alive.block_on(worker(&server, 2, QUICK));
    let crashed = doomed.block_on(worker(&server, 1, QUICK));
    alive.block_on(eventually("it is seen", || {
        live(&witness) == [name(1), name(2)]
    }));
    doomed.shutdown_background();
    let again = alive.block_on(worker(&server, 1, QUICK));
    assert!(!crashed.may_act(), "it was not let in before");
    let (old, new) = (crashed.own.actor(), again.own.actor());
    assert_eq!(again.lost(&old), Some(Lost::Replaced));
    alive.block_on(eventually("the others see it", || {
        witness.lost(&old) == Some(Lost::Replaced)
    }));
    assert_eq!((witness.lost(&new), again.lost(&new)), (None, None));
}

/// It was stopped, or cut off; who has its name since is not to suffer from its return or its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_back_to_a_name_that_was_taken_ends() {
    let server = server();
    let first = worker(&server, 1, QUICK).await;
    lock(&first.renewing).take().unwrap().abort();
    let second = worker(&server, 1, QUICK).await;
    assert!(!first.may_act() && second.may_act());
    first.renew().await;
    let why = first.replaced().await.to_string();
    assert!(why.contains("the name w1 belongs to"), "{why}");
    assert!(!first.may_act());
    first.leave().await;
    let mut changes = second.changes();
    for _ in 0..3 {
        changes.changed().await.unwrap();
    }
    assert!(second.may_act() && !second.is_replaced());
    let found = contents(&second.bucket, "w1").await;
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_may_not_act() {
    let mut server = server();
    let worker = worker(&server, 1, QUICK).await;
    assert!(worker.may_act() && worker.owns(id(1)));
    server.freeze().unwrap();
    eventually("the fence closes", || !worker.may_act()).await;
    assert!(!worker.owns(id(1)) && live(&worker).is_empty());
    server.thaw().unwrap();
    eventually("it may act again", || worker.may_act()).await;
    assert!(worker.owns(id(1)));
}

/// With the real times: a restart of the server must not look like the death of every worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_makes_nobody_lapse() {
    let mut server = server();
    let first = worker(&server, 1, Timing::DEFAULT).await;
    let second = worker(&server, 2, Timing::DEFAULT).await;
    eventually("both are seen", || live(&first).len() == 2).await;
    let (watching, listening) = tokio::sync::oneshot::channel();
    let judge = {
        let (first, second) = (first.clone(), second.clone());
        tokio::spawn(async move {
            let mut listening = listening;
            let mut looks = 0u32;
            while listening.try_recv().is_err() {
                for (who, whom) in [(&first, 2), (&second, 1)] {
                    assert_ne!(who.is_live(&name(whom)), Liveness::Lapsed);
                }
                looks += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            looks
        })
    };
    server.kill();
    server.start().unwrap();
    // Heard again after the restart: the broken watch was noticed and replaced, and a renewal came through it.
    let mut changes = first.changes();
    changes.mark_unchanged();
    for _ in 0..4 {
        let heard = tokio::time::timeout(DEADLINE, changes.changed()).await;
        heard.expect("the others are heard again").unwrap();
    }
    eventually("both may act", || first.may_act() && second.may_act()).await;
    assert_eq!(first.is_live(&name(2)), Liveness::Live);
    let _ = watching.send(());
    assert!(judge.await.unwrap() > 100);
}
