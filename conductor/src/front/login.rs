//! By the operator's order: the end of a login or of a key that signs logins, or one more such key.
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
///
/// Nothing is ended without an order of the operator's: whoever has stolen an admin's login would end those of all workers, and a
/// worker cannot tell from a key whose it is.
pub(super) async fn revoke(worker: &Worker, ask: RevokeLogin) -> Result<Revoked, ApiError> {
    let RevokeLogin { key, order } = ask;
    let signs = match nkeys::from_public_key(&key) {
        Ok((USER_KEY, _)) => false,
        Ok((SIGNING_KEY, _)) => true,
        Ok(_) | Err(_) => return Err(fail(400, format!("{key} is no public key of a login"))),
    };
    let Some(login) = &worker.login else {
        return Err(fail(409, "nobody has a login here: nats.auth is none"));
    };
    let Some(revoker) = &login.revoker else {
        let why = "this worker has no directory revoke/, and cannot tell whose order it is";
        return Err(fail(ASK_ANOTHER, why));
    };
    let revocations = &worker.revocations;
    let what = if Grant::read(&order).is_ok() {
        is_granted(&order, &key, revoker)?;
        if revocations.orders().await?.contains_key(&key) {
            return Err(fail(403, format!("{key} was revoked, for good")));
        }
        revocations.grant(&key, &order).await?;
        "a signing key was granted"
    } else {
        let read = Order::read(&order, &revoker.signer);
        let is_new = read.and_then(|order| order.is_new(&key, now()));
        is_new.map_err(|bad| fail(403, bad))?;
        is_of_others(worker, login, &key)?;
        let at = |token: &str| Order::read(token, &revoker.signer).ok().map(|it| it.at);
        revocations.order(&key, &order, at).await?;
        match signs {
            true => "a signing key is ended, with all logins that it has signed",
            false => "a login is ended",
        }
    };
    tracing::info!(key, "{what}");
    let pushed = revocations.pushed().await;
    Ok(Revoked {
        pushed: pushed.is_ok(),
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
