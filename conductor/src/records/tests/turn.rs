//! No two nodes get the same place among the jobs that run at once, however many workers hand places out.
//! The core tests whose turn it is.
use super::{connect, create, masters, next, node, server};
use crate::records::{Names, Store, StoreError};
use futures_util::future::join_all;
use ironbeat_core::id::Incarnation;
use ironbeat_core::node::{Goal, Job, JobKind, Node, Phase, Rest, State};
use ironbeat_core::plan;
use ironbeat_core::time::Time;

/// A node that is cleaned, in that place.
fn cleaned_in(before: &Node, place: Option<u16>, op: &str) -> Node {
    let at = Time::from_unix_ms(0);
    let phase = match place {
        Some(_) => Phase::Acting {
            op: super::op(op),
            worker: "w".parse().unwrap(),
            incarnation: Incarnation::default(),
            since: at,
            until: at,
            instead: None,
        },
        None => Phase::InLine {
            since: at,
            until: at,
        },
    };
    let state = State::Busy(Box::new(Job {
        bounds: vec![],
        went_on: false,
        kind: JobKind::Clean,
        goal: Goal::Rest(Rest::Available),
        began: at,
        steps: plan::with_ramdisk(),
        at: 0,
        tries: 1,
        boots: 0,
        again: None,
        place,
        hold: false,
        phase,
    }));
    Node {
        state,
        wake_at: Some(at),
        ..next(before, op)
    }
}

#[tokio::test]
async fn many_workers_never_give_one_place_to_two_nodes() {
    let server = server();
    let names = Names::default();
    let mut begins = Vec::new();
    for n in 0..8 {
        let store = Store::open(connect(&server.url()).await, &names, masters());
        let store = store.await.unwrap();
        let created = create(&store, &node(n)).await.unwrap();
        let waits = cleaned_in(&node(n), None, "waits");
        let at = store.nodes.save(&node(n), &waits, created).await.unwrap();
        begins.push(async move {
            let begun = cleaned_in(&waits, Some(0), "begins");
            let saved = store.nodes.save(&waits, &begun, at).await;
            (store, begun, saved)
        });
    }
    let results = join_all(begins).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|it| it.2.is_ok());
    assert_eq!(won.len(), 1);
    for (store, begun, refused) in &lost {
        let refused = refused.as_ref().unwrap_err();
        assert!(matches!(refused, StoreError::Claimed { .. }), "{refused}");
        assert!(
            refused.to_string().contains("place 1 among those"),
            "{refused}"
        );
        let (there, _) = store.nodes.load(begun.id).await.unwrap().unwrap();
        let place = there.job().and_then(|job| job.place);
        assert_eq!(place, None, "it is still in line");
    }
    // When that one is done, the place is free.
    let (store, begun, saved) = &won[0];
    let done = Node {
        state: State::Resting(Rest::Available),
        wake_at: None,
        ..next(begun, "done")
    };
    let saved = *saved.as_ref().unwrap();
    store.nodes.save(begun, &done, saved).await.unwrap();
    let other = lost[0].1.id;
    let (waits, at) = store.nodes.load(other).await.unwrap().unwrap();
    let begun = cleaned_in(&waits, Some(0), "begins-later");
    store.nodes.save(&waits, &begun, at).await.unwrap();
}
