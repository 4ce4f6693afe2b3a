//! Tells the NATS servers which logins are ended before their time, and with which keys logins are signed; they drop whoever
//! is connected with another. The lists are in `records`, what servers read is made in `ironbeat-auth`.
use crate::login::{Connector, Part, Revoker};
use crate::records::revoked::{Revocations, now};
use crate::records::signed::Tokens;
use crate::worker::Worker;
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::revoke::{List, Order, lookup_subject, revise, update_subject};
use std::fmt::Display;
use std::time::Duration;

/// One push for all that is revoked within this time.
const TOGETHER: Duration = Duration::from_secs(1);
/// What another worker has pushed too late is noticed after so long; so is a list that came back with a backup.
const LOOK: Duration = Duration::from_secs(60);
/// A server answers in milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the servers' account up to date until the worker stops.
///
/// # Errors
/// When the servers do not take the login.
pub async fn run(
    worker: &Worker,
    connector: &Connector<'_>,
    revoker: &Revoker,
) -> anyhow::Result<()> {
    let system = connector.open(Part::Revoke, Some(&revoker.creds)).await?;
    let revocations = &worker.revocations;
    let mut asked = revocations.asked();
    let subject = Revocations::changed(&worker.prefix);
    let mut others = worker.front.subscribe(subject).await?;
    loop {
        let up_to = *asked.borrow_and_update();
        let told = bring_up_to_date(revocations, &system, revoker).await;
        if let Err(error) = &told {
            tracing::warn!("tell the NATS servers who is revoked: {error:#}");
        }
        revocations.told(up_to, told.map_err(|error| format!("{error:#}")));
        tokio::select! {
            changed = asked.changed() => changed?,
            Some(_) = others.next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

/// Until the servers have what the list says: another worker may push an older list at the same time, and servers take what
/// comes last.
async fn bring_up_to_date(
    list: &Revocations,
    system: &async_nats::Client,
    revoker: &Revoker,
) -> anyhow::Result<()> {
    const ROUNDS: u32 = 8;
    for _ in 0..ROUNDS {
        // In this order: see `revise`.
        let present = ask(system, lookup_subject(&revoker.account), "").await?;
        let (agents, orders) = (list.agents().await?, list.orders().await?);
        let signer = &revoker.signer;
        let orders = believed(&orders, "ends logins", |token| Order::read(token, signer));
        let ended = List::of(&agents, &orders, now());
        let grants = list.grants().await?;
        let grants = believed(&grants, "grants keys", |token| {
            Grant::read_of(token, signer).map(|grant| grant.nats)
        });
        let revised = revise(present.trim(), &ended, &grants, now(), &revoker.signer)?;
        let Some(account) = revised else {
            return Ok(());
        };
        let (bytes, most) = (account.len(), system.server_info().max_payload);
        ensure!(
            bytes <= most,
            "the account has {bytes} bytes with its {} ended logins, and they take {most}: end one with `ironbeat auth user revoke \
             NAME --forget-others`",
            ended.revoked.len()
        );
        let said = ask(system, update_subject(&revoker.account), &account).await?;
        let said: serde_json::Value =
            serde_json::from_str(&said).context("understand the reply")?;
        ensure!(
            said.get("error").is_none(),
            "they refuse: {}",
            said["error"]
        );
        tracing::info!(
            logins = ended.revoked.len(),
            keys = grants.len(),
            "the NATS servers know who is revoked, and which keys sign"
        );
    }
    anyhow::bail!("others push other lists, again and again")
}

/// What whoever can write records has made is none of the operator's.
fn believed<T, E: Display>(
    tokens: &Tokens,
    what: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let (mut good, mut bad) = (vec![], vec![]);
    for token in tokens.values() {
        match read(token) {
            Ok(it) => good.push(it),
            Err(why) => bad.push(why),
        }
    }
    if let Some(why) = bad.first() {
        tracing::warn!(count = bad.len(), "what {what} is not believed: {why}");
    }
    good
}

async fn ask(system: &async_nats::Client, subject: String, body: &str) -> anyhow::Result<String> {
    let request = async_nats::Request::new()
        .payload(body.to_owned().into())
        .timeout(Some(PATIENCE));
    let reply = system.send_request(subject.clone(), request).await;
    let reply = reply.with_context(|| format!("ask {subject}"))?;
    String::from_utf8(reply.payload.to_vec()).context("understand the reply")
}
