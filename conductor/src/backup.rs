//! `ironbeat backup` and `ironbeat restore`: over NATS, without a worker, and so with a worker's login.
//! `records::backup` has the file and the keys.
use crate::clock;
use crate::records::backup::{Since, backup as write, restore as bring_back};
use crate::records::{Names, Store};
use crate::secrets::MasterKeys;
use ironbeat_cli::Connect;
use std::path::Path;

/// # Errors
/// When NATS or the file is in the way.
pub async fn backup(to: &Connect, file: &Path) -> anyhow::Result<()> {
    let (client, names) = connect(to).await?;
    let store = Store::open(client, &names, &MasterKeys::none()).await?;
    let keys = write(&store, file, clock::now()).await?;
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
    let (client, names) = connect(to).await?;
    let since = match nothing_happened {
        true => Since::Nothing,
        false => Since::Unknown,
    };
    let keys = bring_back(&client, &names, file, since, clock::now()).await?;
    eprintln!("{keys} keys are back in bucket {}.", names.nodes);
    if since == Since::Unknown {
        eprintln!(
            "Every node is in maintenance, until you have seen whether its record is still true."
        );
    }
    Ok(())
}

async fn connect(to: &Connect) -> anyhow::Result<(async_nats::Client, Names)> {
    let client = to.open().await?.nats;
    let names = Names {
        prefix: to.prefix().into(),
        ..Names::default()
    };
    Ok((client, names))
}
