//! `ironbeat auth roles`: has the servers of an older site let each role do what it does in this version.
//! `ironbeat_auth::upgrade` makes the account.
use super::about::{Dir, about, key_in, now, role_key, role_seed};
use super::account::Account;
use super::files::write_new;
use crate::{Connect, out};
use clap::Args;
use ironbeat_auth::creds::seed;
use ironbeat_auth::roles::Role;
use ironbeat_auth::upgrade::upgrade;
use nkeys::KeyPair;
use std::path::Path;

#[derive(Args)]
pub struct RolesArgs {
    #[command(flatten)]
    dir: Dir,
}

pub async fn run(to: &Connect, args: &RolesArgs) -> anyhow::Result<()> {
    let dir = &args.dir.dir;
    let prefix = about(dir)?.prefix;
    let account = Account::open(to, dir).await?;
    let keys = Role::ALL.map(|role| Ok((role, key(dir, role)?.public_key())));
    let keys = keys.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let at = now();
    let so = account.make(|present, signer| upgrade(present, &keys, &prefix, at, signer));
    match so.await? {
        true => out::line(
            "The NATS servers let each role do what it does in this version; whoever could do something else has connected anew.",
        ),
        false => out::line("Each role does already what it does in this version."),
    }
}

/// A role that is newer than the site gets its key here.
fn key(dir: &Path, role: Role) -> anyhow::Result<KeyPair> {
    let file = dir.join(role_seed(role));
    if role == Role::Jetstream && !file.exists() {
        write_new(&file, &(seed(&KeyPair::new_account())? + "\n"))?;
        return key_in(&file);
    }
    role_key(dir, role)
}
