//! `ironbeat auth bootstrap`: another login for boot scripts, with another key, and the end of those before it.
//! Workers hand it out; what they are asked is the operator's grant of its key.
use super::about::{Dir, about, key_in, now, operator_key, role_key, role_seed};
use super::ending::{end as end_keys, hand_in};
use super::files::{read, replace as write, write_new};
use crate::client::Client;
use crate::{Connect, out};
use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use ironbeat_auth::creds::seed;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::roles::Role;
use ironbeat_auth::site;
use ironbeat_core::node::Phase;
use ironbeat_ops::request::{RevokeLogin, ShowNode};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What was replaced.
const REPLACED: &str = "operator/bootstrap.json";
/// The next key, until the workers have its login.
const NEXT: &str = "operator/role-bootstrap.next.seed";

#[derive(Subcommand)]
pub enum BootstrapCommand {
    /// Make another login, which all workers put into boot scripts from now on.
    ///
    /// The one before goes on working.
    Replace {
        #[command(flatten)]
        dir: Dir,
    },
    /// End all logins of boot scripts that were replaced.
    ///
    /// Machines that booted with one look up no more. While nodes wait for their ramdisk that may have one, it is refused.
    Revoke {
        #[command(flatten)]
        dir: Dir,
        /// Whoever waits: those nodes boot their ramdisk once more, and no worker is asked.
        #[arg(long)]
        force: bool,
    },
}

/// This host's clock may be behind that of the NATS servers, and workers take a moment to hand out the next login.
const SKEW_SECS: i64 = 60;

/// A key that signed bootstrap logins.
#[derive(Debug, Serialize, Deserialize)]
struct Replaced {
    /// Its public half.
    key: String,
    replaced: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
}

pub async fn run(to: &Connect, command: BootstrapCommand) -> anyhow::Result<()> {
    match command {
        BootstrapCommand::Replace { dir } => replace(to, &dir.dir).await,
        BootstrapCommand::Revoke { dir, force } => end(to, &dir.dir, force).await,
    }
}

fn replaced(dir: &Path) -> anyhow::Result<Vec<Replaced>> {
    let file = dir.join(REPLACED);
    if !file.exists() {
        return Ok(vec![]);
    }
    serde_json::from_str(&read(&file)?).with_context(|| format!("understand {}", file.display()))
}

/// Public keys of those that were replaced.
///
/// # Errors
/// When the file that has them is none.
pub(super) fn keys(dir: &Path) -> anyhow::Result<Vec<String>> {
    Ok(replaced(dir)?.into_iter().map(|it| it.key).collect())
}

fn keep(dir: &Path, replaced: &[Replaced]) -> anyhow::Result<()> {
    write(
        &dir.join(REPLACED),
        &(serde_json::to_string(replaced)? + "\n"),
    )
}

/// What is done in part is gone on with when it is run again.
async fn replace(to: &Connect, dir: &Path) -> anyhow::Result<()> {
    let (about, signer) = (about(dir)?, operator_key(dir, "signer")?);
    let client = Client::open(to).await?;
    let next: PathBuf = dir.join(NEXT);
    if !next.exists() {
        write_new(&next, &(seed(&KeyPair::new_account())? + "\n"))?;
    }
    let (key, made) = (key_in(&next)?, now());
    let login = site::login(
        &key,
        &about.account,
        Role::Bootstrap,
        "bootstrap",
        made,
        None,
    )?;
    let (key, login) = (key.public_key(), Some(login.jwt));
    let grant = Grant::sign(Role::Bootstrap, &key, &about.prefix, login, made, &signer)?;
    let ask = RevokeLogin {
        key: key.clone(),
        order: grant,
    };
    let granted = hand_in(&client, &ask).await?;
    if let Some(why) = &granted.trouble {
        bail!(
            "the next bootstrap login is on record, and the NATS servers could not be told: {}",
            out::visible_line(why)
        );
    }
    let before = role_key(dir, Role::Bootstrap)?.public_key();
    let mut all = replaced(dir)?;
    if all.iter().all(|it| it.key != before) {
        all.push(Replaced {
            key: before,
            replaced: made,
            revoked: false,
        });
        keep(dir, &all)?;
    }
    let seed = dir.join(role_seed(Role::Bootstrap));
    std::fs::rename(&next, &seed)
        .with_context(|| format!("rename {} to {}", next.display(), seed.display()))?;
    if to.json {
        return out::json(&all);
    }
    out::line(
        "Boot scripts have another bootstrap login. Machines that booted before look up with the last one, until `ironbeat auth \
         bootstrap revoke` ends it.",
    )
}

async fn end(to: &Connect, dir: &Path, force: bool) -> anyhow::Result<()> {
    let mut all = replaced(dir)?;
    let last = all.iter().filter(|it| !it.revoked).map(|it| it.replaced);
    let last = last
        .max()
        .context("no bootstrap login was replaced: run `ironbeat auth bootstrap replace` first")?;
    if !force {
        let waiting = waiting_since_before(to, last + SKEW_SECS).await;
        let waiting =
            waiting.context("ask which nodes wait for their ramdisk (--force does not)")?;
        ensure!(
            waiting.is_empty(),
            "these nodes wait for a ramdisk that may have a login which ends: {}. Run this again when they have looked up, or with --force: \
             then they boot once more",
            waiting.join(", ")
        );
    }
    let over = all.iter().filter(|it| !it.revoked);
    let over = over.map(|it| (it.key.clone(), None)).collect();
    end_keys(to, dir, &over, None).await?;
    all.iter_mut().for_each(|it| it.revoked = true);
    keep(dir, &all)?;
    if to.json {
        return out::json(&all);
    }
    out::line("The NATS servers take no bootstrap login but the one in boot scripts.")
}

/// Nodes whose machine may have fetched its boot script before that second since 1970, and has not looked up.
async fn waiting_since_before(to: &Connect, second: i64) -> anyhow::Result<Vec<String>> {
    let client = Client::open(to).await?;
    let mut waiting = Vec::new();
    let busy = client.nodes(&[]).await?.into_iter();
    for node in busy.filter(|node| node.target_provision_state.is_some()) {
        let shown = client.ask(&ShowNode::of(node.id.to_string())).await?;
        let phase = shown.job().map(|job| &job.phase);
        if let Some(Phase::AwaitingAgent { since, .. }) = phase
            && i64::try_from(since.unix_ms() / 1000).is_ok_and(|since| since < second)
        {
            let name = node.name.map(|name| name.to_string());
            waiting.push(name.unwrap_or_else(|| node.id.to_string()));
        }
    }
    Ok(waiting)
}
