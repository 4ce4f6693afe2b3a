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
    // Another worker may have the directory revoke/, and a worker does not end its own login. The server chooses which is
    // asked, by chance.
    let mut last = client.ask(ask).await;
    for _ in 1..ASKED {
        let again = match &last {
            Ok(revoked) => !revoked.pushed && revoked.trouble.is_none(),
            Err(error) => error
                .downcast_ref::<Refusal>()
                .is_some_and(Refusal::is_conflict),
        };
        if !again {
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
    ensure!(
        revoked.pushed,
        "{whose} is on the list, and no worker that was asked could tell the NATS servers: {whose} is out when one that has the \
         directory revoke/ does. Look at the workers' logs, and run this again"
    );
    Ok(revoked)
}

/// What a worker believes beyond the bounds of an admin's login: the key that signs accounts says it. None: it is not here.
///
/// # Errors
/// When that key cannot be read; when others are to be forgotten, and it is not here.
pub(super) fn order(
    dir: &Path,
    key: &str,
    forget_all_but: Option<BTreeSet<String>>,
) -> anyhow::Result<Option<String>> {
    let file = dir.join(SIGNER);
    if !file.exists() {
        ensure!(
            forget_all_but.is_none(),
            "--forget-others needs {}, which `ironbeat auth init` made",
            file.display()
        );
        return Ok(None);
    }
    let signer = operator_key(dir, "signer")?;
    Ok(Some(Order::sign(key, forget_all_but, now(), &signer)?))
}
