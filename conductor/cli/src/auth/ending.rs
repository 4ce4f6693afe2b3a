//! Ends logins, and keys that sign logins: the NATS servers are told here, with the site's own keys, and by nobody else. Workers
//! are handed the order, to keep it. `user`, `worker` and `bootstrap` say whose they are.
use super::about::{SIGNER, about, now, operator_key};
use crate::client::{ASKED, Client, Refusal};
use crate::{Connect, out};
use anyhow::{Context, bail, ensure};
use ironbeat_auth::revoke::{List, Order, lookup_subject, revise, update_subject};
use ironbeat_auth::site;
use ironbeat_ops::reply::Revoked;
use ironbeat_ops::request::RevokeLogin;
use nkeys::KeyPair;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A server answers in milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// A worker may have read the account before, and hand in its own a moment later: looked at again after so long.
const LATER: Duration = Duration::from_secs(2);
/// Looks, until the servers have what was ordered.
const ROUNDS: u32 = 8;
/// How long the login is good by which servers are told; clocks differ.
const LOGIN_SECS: i64 = 3600;

/// Public keys that end, each with the second since 1970 at which its login ends by itself, if it does.
pub(super) type Ending = Vec<(String, Option<i64>)>;

/// Ends logins for good. `but`: of all others that were ended by hand, these alone stay ended.
///
/// # Errors
/// When the servers do not have it so in the end: whoever was to be out may still be in.
pub(super) async fn end(
    to: &Connect,
    dir: &Path,
    ending: &Ending,
    but: Option<&BTreeSet<String>>,
) -> anyhow::Result<()> {
    let signer = signer(dir)?;
    let (account, system) = (about(dir)?.account, operator_key(dir, "system")?);
    let at = now();
    let orders = ending
        .iter()
        .map(|(key, until)| Order::new(key, *until, but.cloned(), at));
    let orders: Vec<Order> = orders.collect();
    let creds = site::revoker(&system, &account, at, Some(at + LOGIN_SECS))?;
    let servers = to.open_as(Some(creds)).await?.nats;
    // What workers keep may be long, and is not needed: the servers have it.
    let list = List::of(&Default::default(), &orders, at);
    tell(&servers, &account, &list, at, &signer).await?;
    tokio::time::sleep(LATER).await;
    tell(&servers, &account, &list, at, &signer).await?;
    keep(to, &orders, &signer).await
}

/// # Errors
/// When that key is not here, or cannot be read.
fn signer(dir: &Path) -> anyhow::Result<KeyPair> {
    let file = dir.join(SIGNER);
    ensure!(
        file.exists(),
        "a login is ended by the operator's order, which {} signs: run this where the directory of `ironbeat auth init` is, or \
         say where with --dir",
        file.display()
    );
    operator_key(dir, "signer")
}

/// Until the account that the servers have is as ordered.
async fn tell(
    servers: &async_nats::Client,
    account: &str,
    list: &List,
    now: i64,
    signer: &KeyPair,
) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let present = ask(servers, lookup_subject(account), "").await?;
        let revised = revise(present.trim(), list, &[], now, signer)?;
        let Some(revised) = revised else {
            return Ok(());
        };
        let (bytes, most) = (revised.len(), servers.server_info().max_payload);
        ensure!(
            bytes <= most,
            "the account has {bytes} bytes with all logins that were ended, and the NATS servers take {most}: nothing has ended. \
             `ironbeat auth user revoke NAME --forget-others` ends one, and forgets those that are none of this site's"
        );
        let said = ask(servers, update_subject(account), &revised).await?;
        let said: Value = serde_json::from_str(&said).context("understand the servers' answer")?;
        ensure!(
            said.get("error").is_none(),
            "the NATS servers refuse it: {}",
            out::visible_line(&said["error"].to_string())
        );
    }
    bail!("others hand the NATS servers another account, again and again: it may not have ended")
}

async fn ask(servers: &async_nats::Client, subject: String, body: &str) -> anyhow::Result<String> {
    let request = async_nats::Request::new()
        .payload(body.to_owned().into())
        .timeout(Some(PATIENCE));
    let reply = servers.send_request(subject.clone(), request).await;
    let reply = reply.with_context(|| format!("ask the NATS servers ({subject})"))?;
    String::from_utf8(reply.payload.to_vec()).context("understand the servers' answer")
}

/// Should the servers lose the account, or get an old one back, workers tell them again. That they could not be asked does not
/// let anybody in.
async fn keep(to: &Connect, orders: &[Order], signer: &KeyPair) -> anyhow::Result<()> {
    let kept = async {
        let client = Client::open(to).await?;
        for order in orders {
            let (key, order) = (order.key.clone(), order.sign(signer)?);
            hand_in(&client, &RevokeLogin { key, order }).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    if let Err(why) = kept.await {
        out::warn(format_args!(
            "no worker has noted it ({}). It has ended; but should the NATS servers get an older account back, it would begin \
             again: repeat this command then, or when workers answer",
            out::visible_line(&format!("{why:#}"))
        ))?;
    }
    Ok(())
}

/// Hands a worker what the operator has signed.
///
/// # Errors
/// When no worker takes it.
pub(super) async fn hand_in(client: &Client, ask: &RevokeLogin) -> anyhow::Result<Revoked> {
    // A worker does not end its own login. The server chooses which is asked, by chance.
    let mut last = client.ask(ask).await;
    for _ in 1..ASKED {
        let conflict = last.as_ref().err();
        let conflict = conflict.and_then(|error| error.downcast_ref::<Refusal>());
        if !conflict.is_some_and(Refusal::is_conflict) {
            break;
        }
        last = client.ask(ask).await;
    }
    last
}
