//! A backup and its way back, between two real servers.
//! What a worker does with the records is tested elsewhere.
use super::proxy::hold_back;
use super::{connect, contents, create, id, mac, masters, next, node, op, server, store};
use crate::records::backup::{Since, backup, restore};
use crate::records::view::View;
use crate::records::{Names, Store, origin};
use crate::secrets::MasterKey;
use ironbeat_core::node::{Beside, BmcSecrets, Secret};
use ironbeat_core::time::Time;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use tokio::sync::{mpsc, watch};

const NOW: Time = Time::from_unix_ms(5_000);

/// Two nodes, one with secrets beside it, and one that is gone.
async fn filled(store: &Store) {
    let secrets = BmcSecrets {
        password: Secret::new("hush-hush"),
        kg: None,
        next: None,
    };
    let mut first = node(1);
    first.beside.bmc_secrets = Some(op("made-1"));
    let beside = [Beside::BmcSecrets(secrets)];
    store.write(None, Some(&first), &beside).await.unwrap();
    for n in [2, 3] {
        store.write(None, Some(&node(n)), &[]).await.unwrap();
    }
    let (gone, at) = store.nodes.load(id(3)).await.unwrap().unwrap();
    store.write(Some((&gone, at)), None, &[]).await.unwrap();
}

#[tokio::test]
async fn a_backup_brings_back_records_what_lies_beside_them_and_claims() {
    let (old, new) = (server(), server());
    let (client, names) = (connect(&old.url()).await, Names::default());
    let (from, origin) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    filled(&from).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ib.backup");
    // Somebody else's, where the backup is written first.
    let theirs = dir.path().join("theirs");
    std::fs::write(&theirs, "as it was").unwrap();
    std::fs::set_permissions(&theirs, Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::symlink(&theirs, dir.path().join("ib.backup.unfinished")).unwrap();
    let keys = backup(&from, &file, NOW).await.unwrap();
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "as it was");
    let mut there = contents(&from.nodes.kv, ">").await;
    // It says when it was made, and that is no part of it.
    assert_eq!(there.remove(0).0, "backup.last");
    assert_eq!(keys, there.len() as u64);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("sealed") && !text.contains("hush-hush"));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = backup(&from, &file, NOW).await.unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");

    let client = connect(&new.url()).await;
    let back = restore(&client, &names, &file, Since::Nothing, NOW);
    assert_eq!(back.await.unwrap(), keys);
    let (to, found) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    assert_eq!(found, origin, "it is the same bucket");
    assert_eq!(contents(&to.nodes.kv, ">").await, there);
    let view = View::start(&to);
    view.ready().await;
    assert_eq!(view.of_mac(&mac(1)).unwrap().id, id(1));
    let (first, _) = to.nodes.load(id(1)).await.unwrap().unwrap();
    let secrets = to.beside.bmc_secrets(&first).await.unwrap().unwrap();
    assert_eq!(secrets.password, Secret::new("hush-hush"));
    let other = MasterKey::generate().into();
    let stranger = Store::open(client, &names, &other).await.unwrap();
    assert!(
        stranger.keys.ready().await.is_err(),
        "it needs the master key"
    );
    let name = node(2).name.unwrap();
    assert_eq!(to.named(&name).await.unwrap(), Some(id(2)));
}

/// A record that is written anew before the backup comes to its old place is no more at that place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_misses_no_record_that_is_written_while_it_is_made() {
    let server = server();
    let direct = store(&server).await;
    filled(&direct).await;
    let (begins, mut begun) = mpsc::unbounded_channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let hears = move |words: &str| {
        if words.contains("CONSUMER.CREATE") || words.contains("CONSUMER.DURABLE") {
            begins.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
        None
    };
    let url = hold_back(server.address(), watch::Sender::new(false), hears).await;
    let from = super::store_at(&url).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ib.backup");
    let making = {
        let file = file.clone();
        tokio::spawn(async move { backup(&from, &file, NOW).await })
    };
    begun.recv().await.expect("it begins to read");
    let (before, at) = direct.nodes.load(id(1)).await.unwrap().unwrap();
    let after = next(&before, "meanwhile");
    direct.nodes.save(&before, &after, at).await.unwrap();
    go_on.send(()).unwrap();
    let keys = making.await.unwrap().unwrap();
    let mut there = contents(&direct.nodes.kv, ">").await;
    assert_eq!(there.remove(0).0, "backup.last");
    assert_eq!(keys, there.len() as u64);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("meanwhile"), "{text}");
}

#[tokio::test]
async fn restored_nodes_wait_in_maintenance_until_somebody_has_looked() {
    let (old, new) = (server(), server());
    let from = store(&old).await;
    filled(&from).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ib.backup");
    backup(&from, &file, NOW).await.unwrap();
    let client = connect(&new.url()).await;
    let later = Time::from_unix_ms(9_000);
    restore(&client, &Names::default(), &file, Since::Unknown, later)
        .await
        .unwrap();
    let to = store(&new).await;
    let view = View::start(&to);
    view.ready().await;
    for n in [1, 2] {
        let (node, _) = to.nodes.load(id(n)).await.unwrap().unwrap();
        let maintenance = node.maintenance.expect("it is held");
        assert_eq!(maintenance.since, later);
        assert!(maintenance.reason.contains("backup of 1970-01-01T00:00:05"));
        assert_eq!(view.get(&id(n)).unwrap().maintenance, Some(maintenance));
    }
}

#[tokio::test]
async fn a_backup_goes_only_into_an_empty_bucket_that_no_worker_uses() {
    let (old, new) = (server(), server());
    let from = store(&old).await;
    filled(&from).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ib.backup");
    backup(&from, &file, NOW).await.unwrap();
    let (client, names) = (connect(&new.url()).await, Names::default());
    let attempt = async |words: &str| {
        let error = restore(&client, &names, &file, Since::Nothing, NOW).await;
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(words), "{error}");
    };
    let (to, made) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    let worker = "w1".parse().unwrap();
    let answering = origin::answer(client.clone(), &names.prefix, worker, made);
    let answering = answering.await.unwrap();
    attempt("worker w1 runs").await;
    answering.abort();
    let _ = answering.await;
    create(&to, &node(9)).await.unwrap();
    attempt("not empty").await;
    assert!(to.nodes.load(id(1)).await.unwrap().is_none());

    // A file that is not whole changes nothing.
    let whole = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for (text, words) in [
        (String::new(), "it is empty"),
        (lines[1].into(), "it is no backup"),
        (lines[..lines.len() - 1].join("\n"), "it was cut after"),
        (
            whole.replace("\"node.", "\"no\ndes."),
            "no part of a backup",
        ),
        (
            format!("{}\n{}", lines[0], lines[lines.len() - 1]),
            "0 keys of",
        ),
        (format!("{whole}{}", lines[1]), "goes on after its end"),
        (whole.replace("backup\":1", "backup\":2"), "has form 2"),
    ] {
        std::fs::write(&file, text).unwrap();
        attempt(words).await;
    }
}
