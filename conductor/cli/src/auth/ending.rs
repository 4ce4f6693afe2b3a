//! Ends a login: a worker is asked to tell the NATS servers.
//! `user` and `worker` say whose it is.
use super::about::{SIGNER, now, operator_key};
use crate::client::{ASKED, Client, Refusal};
use crate::out;
use anyhow::{bail, ensure};
use ironbeat_auth::revoke::Order;
use ironbeat_ops::reply::Revoked;
use ironbeat_ops::request::RevokeLogin;
use std::collections::BTreeSet;
use std::path::Path;

/// Ends one login, `whose`.
///
/// # Errors
/// When the NATS servers do not know of it.
pub(super) async fn revoke(
    client: &Client,
    ask: &RevokeLogin,
    whose: &str,
) -> anyhow::Result<Revoked> {
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
    let revoked = last?;
    if let Some(why) = &revoked.trouble {
        bail!(
            "{whose} is on the list, and the NATS servers could not be told: {}",
            out::visible_line(why)
        );
    }
    Ok(revoked)
}

/// What a worker believes: the key that signs accounts says it, and an admin's login alone ends nothing.
///
/// # Errors
/// When that key is not here, or cannot be read.
pub(super) fn order(
    dir: &Path,
    key: &str,
    forget_all_but: Option<BTreeSet<String>>,
) -> anyhow::Result<String> {
    let file = dir.join(SIGNER);
    ensure!(
        file.exists(),
        "a login is ended by the operator's order, which {} signs: run this where the directory of `ironbeat auth init` is, or \
         say where with --dir",
        file.display()
    );
    let signer = operator_key(dir, "signer")?;
    Ok(Order::sign(key, forget_all_but, now(), &signer)?)
}
