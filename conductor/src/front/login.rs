//! The end of a login, for an admin; and by the operator's order the end of a signing key, or another one.
//! `records/revoked` keeps both lists, and `loops/revoke` tells the NATS servers.
use super::refusal::{ApiError, fail};
use crate::login::{Login, Revoker};
use crate::records::revoked::now;
use crate::worker::Worker;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::jwt::{self, User};
use ironbeat_auth::revoke::Order;
use ironbeat_ops::ASK_ANOTHER;
use ironbeat_ops::reply::Revoked;
use ironbeat_ops::request::RevokeLogin;

/// The first byte of a public key of nkeys that is a user's: its text begins with `U`.
const USER_KEY: u8 = 20 << 3;
/// Of one that signs logins: `A`.
const SIGNING_KEY: u8 = 0;

/// The servers are told in the background; who waits here is told whether they know.
pub(super) async fn revoke(worker: &Worker, ask: RevokeLogin) -> Result<Revoked, ApiError> {
    let signs = match nkeys::from_public_key(&ask.key) {
        Ok((USER_KEY, _)) => false,
        Ok((SIGNING_KEY, _)) => true,
        Ok(_) | Err(_) => {
            let why = format!("{} is no public key of a login", ask.key);
            return Err(fail(400, why));
        }
    };
    let Some(login) = &worker.login else {
        return Err(fail(409, "nobody has a login here: nats.auth is none"));
    };
    let grants = ask
        .order
        .as_deref()
        .is_some_and(|it| Grant::read(it).is_ok());
    if !grants {
        is_of_others(worker, login, &ask.key)?;
    }
    let (revocations, key) = (&worker.revocations, ask.key.clone());
    let by_order = ask.order.is_some();
    let logins = match (ask.order, &login.revoker) {
        (None, _) if signs => {
            let why = "a signing key is ended by the operator's order alone: ask where the directory of `ironbeat auth init` is";
            return Err(fail(403, why));
        }
        (None, _) => {
            let ended = revocations.revoke_by_hand(ask.key, ask.until, None);
            ended.await?
        }
        (Some(_), None) => {
            let why = "this worker has no directory revoke/, and cannot tell whose order it is";
            return Err(fail(ASK_ANOTHER, why));
        }
        (Some(grant), Some(revoker)) if grants => {
            is_granted(&grant, &ask.key, revoker)?;
            let revoked = revocations.all().await?;
            if revoked.contains_key(&ask.key) {
                return Err(fail(403, format!("{} was revoked, for good", ask.key)));
            }
            revocations.grant(&ask.key, &grant).await?;
            revoked.len()
        }
        (Some(order), Some(revoker)) => {
            let order = Order::read(&order, &ask.key, now(), &revoker.signer);
            let order = order.map_err(|bad| fail(403, bad))?;
            let ended = revocations.revoke_by_hand(ask.key, ask.until, Some(order));
            ended.await?
        }
    };
    let what = match (grants, signs) {
        (true, _) => "a signing key was granted",
        (false, true) => "a signing key was ended, with all logins that it has signed",
        (false, false) => "a login was ended",
    };
    tracing::info!(key, by_order, "{what}");
    let pushed = match login.revoker {
        Some(_) => revocations.pushed().await.map(|()| true),
        None => Ok(false),
    };
    Ok(Revoked {
        logins,
        pushed: pushed == Ok(true),
        trouble: pushed.err(),
    })
}

fn is_granted(grant: &str, key: &str, revoker: &Revoker) -> Result<(), ApiError> {
    let grant = Grant::read_of(grant, &revoker.signer).map_err(|bad| fail(403, bad))?;
    match grant.sub == key {
        true => Ok(()),
        false => Err(fail(
            403,
            format!("the grant is of {}, not of {key}", grant.sub),
        )),
    }
}

/// A worker does not end what it needs itself.
fn is_of_others(worker: &Worker, login: &Login, key: &str) -> Result<(), ApiError> {
    if login.keys().iter().any(|own| own == key) {
        return Err(fail(
            409,
            "the worker that was asked has this login itself: another one ends it, and where all share it nobody does, since nobody \
             could give it back",
        ));
    }
    let bootstrap = worker.tickets.as_ref().map(|it| it.bootstrap());
    let bootstrap = bootstrap.and_then(|token| jwt::read::<User>(&token).ok());
    match bootstrap.is_some_and(|login| login.iss == key || login.sub == key) {
        true => Err(fail(
            409,
            "boot scripts have the bootstrap login of this key: replace it first, with `ironbeat auth bootstrap replace`",
        )),
        false => Ok(()),
    }
}
