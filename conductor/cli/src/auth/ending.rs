//! Ends logins, and keys that sign logins: the NATS servers are told here, with the site's own keys, and no worker is believed. Workers
//! are handed the order, to keep it. `user`, `worker` and `bootstrap` say whose they are.
use super::about::now;
use super::account::Account;
use crate::client::{ASKED, Client, Refusal};
use crate::{Connect, out};
use anyhow::Context;
use ironbeat_auth::revoke::{List, Order, revise};
use ironbeat_ops::reply::Revoked;
use ironbeat_ops::request::RevokeLogin;
use nkeys::KeyPair;
use std::collections::BTreeSet;
use std::path::Path;

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
    let at = now();
    let orders = ending
        .iter()
        .map(|(key, until)| Order::new(key, *until, but.cloned(), at));
    let orders: Vec<Order> = orders.collect();
    // What workers keep may be long, and is not needed: the servers have it.
    let list = List::of(&Default::default(), &orders, at);
    let account = Account::open(to, dir).await?;
    let so = account.make(|present, signer| revise(present, &list, &[], at, signer));
    so.await.context(
        "if the account is too large, `ironbeat auth user revoke NAME --forget-others` ends a login, and forgets those that are \
         none of this site's",
    )?;
    let signer = account.signer;
    keep(to, &orders, &signer).await
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
