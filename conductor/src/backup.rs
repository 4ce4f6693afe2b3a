//! `ironbeat backup` and `ironbeat restore`: over NATS, without a worker, and so with a worker's login.
//! `records::backup` has the file and the keys.
use crate::clock;
use crate::records::backup::{Since, backup as write, restore as bring_back};
use crate::records::{Names, Store};
use crate::secrets::MasterKeys;
use anyhow::bail;
use ironbeat_cli::Connect;
use ironbeat_cli::connect::Connected;
use std::path::Path;

/// # Errors
/// When NATS or the file is in the way.
pub async fn backup(to: &Connect, file: &Path) -> anyhow::Result<()> {
    let (connected, names) = connect(to).await?;
    let client = connected.nats.clone();
    let writing = async {
        let store = Store::open(client, &names, &MasterKeys::none()).await?;
        anyhow::Ok(write(&store, file, clock::now()).await?)
    };
    let keys = unless_refused(connected, writing).await?;
    eprintln!(
        "{keys} keys are in {file}. The secrets in it are encrypted, unless secrets.encryption is none: a worker reads them \
         only with the master key, so keep a copy of that, elsewhere.",
        file = file.display()
    );
    Ok(())
}

/// # Errors
/// When the bucket is not empty, a worker runs, or NATS or the file is in the way.
pub async fn restore(to: &Connect, file: &Path, nothing_happened: bool) -> anyhow::Result<()> {
    let (connected, names) = connect(to).await?;
    let since = match nothing_happened {
        true => Since::Nothing,
        false => Since::Unknown,
    };
    let client = connected.nats.clone();
    let writing =
        async { anyhow::Ok(bring_back(&client, &names, file, since, clock::now()).await?) };
    let keys = unless_refused(connected, writing).await?;
    eprintln!("{keys} keys are back in bucket {}.", names.nodes);
    if since == Since::Unknown {
        eprintln!(
            "Every node is in maintenance, until you have seen whether its record is still true."
        );
    }
    Ok(())
}

/// Servers say at once what a login may not do, and answer nothing: nobody waits for that.
async fn unless_refused<T>(
    mut connected: Connected,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let refused = async {
        match connected.refused.wait_for(|all| !all.is_empty()).await {
            Ok(all) => all.iter().map(ToString::to_string).next(),
            Err(_) => None,
        }
    };
    let who = &connected.who;
    tokio::select! {
        done = work => done,
        Some(refused) = refused => bail!(
            "your login ({who}) may not do this, it lacks the {refused}: give a worker's, --creds worker.creds"
        ),
    }
}

async fn connect(to: &Connect) -> anyhow::Result<(Connected, Names)> {
    let connected = to.open().await?;
    let names = Names {
        prefix: to.prefix().into(),
        ..Names::default()
    };
    Ok((connected, names))
}
