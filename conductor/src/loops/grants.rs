//! The keys that the operator has granted since the site was made: this worker's own, with which it makes agents, and that of
//! the bootstrap login in boot scripts. `records/revoked` has them, `revoke` tells the NATS servers.
use crate::login::{Connector, Login};
use crate::records::StoreError;
use crate::records::revoked::{Revocations, now};
use crate::tickets::Tickets;
use crate::worker::Worker;
use anyhow::Context;
use futures_util::StreamExt;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::grant::{Grants, bootstraps};
use nkeys::KeyPair;
use std::time::Duration;

/// A list that came back with a backup is noticed after so long.
const LOOK: Duration = Duration::from_secs(60);
/// Between two tries of what the servers are about to be told.
const TRY: Duration = Duration::from_secs(1);
/// The node of nobody, for an agent that only comes and goes.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
const TRY_SECS: i64 = 60;

/// Sees to both until the worker stops.
///
/// # Errors
/// When it cannot listen for changes.
pub async fn run(
    worker: &Worker,
    connector: &Connector<'_>,
    login: &Login,
    tickets: &Tickets,
) -> anyhow::Result<()> {
    let subject = Revocations::changed(&worker.prefix);
    let mut changes = worker.front.subscribe(subject).await?;
    let (mut good, mut pause) = (None, TRY);
    loop {
        let settled = look(worker, connector, login, tickets, &mut good).await;
        pause = if settled { LOOK } else { LOOK.min(pause * 2) };
        tokio::select! {
            Some(_) = changes.next() => pause = TRY,
            () = tokio::time::sleep(pause) => {}
        }
        // The servers are told in that time; and one look is enough for all that changes in it.
        tokio::time::sleep(TRY).await;
    }
}

/// Whether all is as it is to be. `good`: the newest bootstrap login when servers last took it.
pub async fn look(
    worker: &Worker,
    connector: &Connector<'_>,
    login: &Login,
    tickets: &Tickets,
    good: &mut Option<String>,
) -> bool {
    let looked = async {
        let grants = worker.revocations.grants().await?;
        keep_own(worker, login, &grants).await?;
        hand_out(connector, login, tickets, &grants, good).await
    };
    looked.await.unwrap_or_else(|error| {
        tracing::warn!("look after granted keys: {error:#}");
        false
    })
}

async fn keep_own(worker: &Worker, login: &Login, grants: &Grants) -> Result<(), StoreError> {
    let key = login.mint.key();
    match &login.grant {
        Some(grant) if !grants.contains_key(&key) => worker.revocations.grant(&key, grant).await,
        Some(_) | None => Ok(()),
    }
}

/// Boot scripts have the newest bootstrap login that servers take. Whether that is the newest that there is.
async fn hand_out(
    connector: &Connector<'_>,
    login: &Login,
    tickets: &Tickets,
    grants: &Grants,
    good: &mut Option<String>,
) -> anyhow::Result<bool> {
    let present = tickets.bootstrap();
    let mut logins = bootstraps(grants, login.signer().as_deref());
    // The present one may have been lost with the list.
    logins.extend([present.clone(), login.bootstrap.clone()]);
    let newest = logins[0].clone();
    if good.as_ref() == Some(&newest) {
        return Ok(true);
    }
    for token in logins {
        if !connector.lets_in(&bearer(&token)).await? {
            continue;
        }
        if token != present {
            tickets.hand_out(token.clone());
            tracing::info!("boot scripts have another bootstrap login from now on");
        }
        let is_newest = token == newest;
        *good = is_newest.then_some(token);
        return Ok(is_newest);
    }
    tracing::error!(
        "the NATS servers take no bootstrap login that this worker knows of, and no machine can look up: run `ironbeat auth \
         bootstrap replace` where the site's keys are"
    );
    Ok(false)
}

/// It needs no signature: the key is anybody's.
fn bearer(token: &str) -> Creds {
    Creds {
        jwt: token.into(),
        key: KeyPair::new_user(),
    }
}

/// Returns when the servers let in whom this worker makes: sooner it must welcome no machine.
///
/// # Errors
/// When its key cannot sign.
pub async fn may_make_agents(connector: &Connector<'_>, login: &Login) -> anyhow::Result<()> {
    let key = KeyPair::new_user();
    let mut waits = Duration::ZERO;
    loop {
        let now = now();
        let token = login
            .mint
            .login(NOBODY, &key.public_key(), now, now + TRY_SECS);
        let agent = Creds {
            jwt: token.context("make an agent")?,
            key: key.clone(),
        };
        match connector.lets_in(&agent).await {
            Ok(true) => return Ok(()),
            Ok(false) if waits.as_secs().is_multiple_of(LOOK.as_secs()) => tracing::warn!(
                "the NATS servers do not know this worker's key for agents, or it was revoked, and it answers nobody: a worker \
                 with the directory revoke/ tells them"
            ),
            Ok(false) => {}
            Err(error) => tracing::warn!("try this worker's key for agents: {error:#}"),
        }
        tokio::time::sleep(TRY).await;
        waits += TRY;
    }
}
