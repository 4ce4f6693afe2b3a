//! What operators keep under a name: how many there are.
//! `conductor/tests/runbook.rs` makes, changes and deletes them.
use super::{server, store};
use ironbeat_common::id::KeptId;
use ironbeat_core::kept::{Kept, SCHEMA};
use ironbeat_core::template::DeployTemplate;
use ironbeat_core::time::Time;

fn template(n: u8) -> Kept<DeployTemplate> {
    let now = Time::from_unix_ms(1);
    Kept {
        schema: SCHEMA,
        id: KeptId::from_bytes([n; 16]),
        text: DeployTemplate {
            name: format!("CUSTOM_T{n}").parse().unwrap(),
            description: None,
            steps: vec![],
        },
        created: now,
        updated: now,
        op: format!("made-{n}").parse().unwrap(),
    }
}

/// A deleted key stays in its stream as a mark.
#[tokio::test]
async fn what_was_deleted_takes_no_place() {
    let server = server();
    let templates = store(&server).await.templates;
    for n in 1..=3 {
        assert!(templates.has_room(2).await.unwrap(), "{n}");
        let made = template(n);
        let vacant = templates.vacancy(made.id).await.unwrap();
        let at = templates.create(&made, vacant).await.unwrap();
        templates.remove(&made, at).await.unwrap();
    }
    for n in 4..=5 {
        let made = template(n);
        let vacant = templates.vacancy(made.id).await.unwrap();
        templates.create(&made, vacant).await.unwrap();
    }
    assert!(!templates.has_room(2).await.unwrap());
    assert!(templates.has_room(3).await.unwrap());
}
