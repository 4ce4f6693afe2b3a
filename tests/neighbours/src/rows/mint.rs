//! A stolen minting key: it makes agents, and nobody else.
//! What an agent may do is in `agent`.
use super::agent::mint;
use crate::book::{Book, Got};
use crate::lab::{self, Lab};
use crate::machine::{ask, beat, boot_id};
use crate::wire::{Act, Pass, SOON, Wire};
use anyhow::{Context, Result, bail};
use ironbeat_auth::agent::Mint;
use ironbeat_auth::jwt::{self, Claims};
use ironbeat_common::heartbeat::HeartbeatReply;
use ironbeat_rack::logins::now;
use nkeys::KeyPair;
use serde_json::{Value, json};

const WHO: &str = "a stolen minting key";
const NUDGES: &str = "ib.v1.nudge.*";

fn is_wildcard(name: &str) -> bool {
    name.split('.').all(|token| matches!(token, "*" | ">"))
}

/// It can be the agent of any node, and so, by one name, of all: whoever is nudged learns no more than that.
fn hears_nudges(lab: &mut Lab, book: &mut Book, pass: &Pass) -> Result<()> {
    let act = Act::Hear(NUDGES.into());
    let control = lab.is_taken_where_all_is_allowed(book, &act)?;
    let mut wire = Wire::login(lab.site.nats.address(), pass)?;
    let got = match wire.tries(&act, SOON)? {
        Ok(_) => {
            Got::Known("that nodes are nudged, without a word: it can be the agent of any".into())
        }
        Err(_) => Got::Refused,
    };
    book.attempt(&control, &act.words(), got, None);
    Ok(())
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    let stolen =
        KeyPair::from_seed(&lab.site.key("worker/agents.seed")?).context("read the minting key")?;
    let account = lab.site.creds("worker/worker.creds")?.account()?;
    let node = lab.nodes[0].clone();
    let key = KeyPair::new_user();
    let plain = mint(lab)?.login(&node, &key.public_key(), now(), now() + 600)?;
    let to = lab.site.nats.address();
    let made = Wire::login(to, &Pass::bound(&plain, &key));
    let (control, mut agent) = book.control("to make an agent", made)?;
    let claims = |name: &str, nats: Value| {
        let claims = Claims {
            jti: String::new(),
            iat: now(),
            iss: String::new(),
            exp: None,
            name: name.into(),
            sub: key.public_key(),
            nats,
        };
        jwt::sign(claims, &stolen)
    };
    let user = |more: Value| {
        let mut nats = json!({ "type": "user", "version": 2, "issuer_account": account });
        if let (Some(fields), Some(more)) = (nats.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        nats
    };
    let all = json!({ "allow": [">"] });
    let system = lab.site.creds("worker/revoke/system.creds")?;
    let system: Claims<Value> = jwt::read(&system.jwt)?;
    for (tries, nats) in [
        (
            "to make a user who may do everything",
            user(json!({ "pub": all, "sub": all })),
        ),
        (
            "to make a user with limits of its own",
            user(json!({ "subs": -1, "data": -1, "payload": -1 })),
        ),
        (
            "to make a user who needs no key",
            user(json!({ "bearer_token": true })),
        ),
        (
            "to make a user of the system account",
            user(json!({ "issuer_account": system.iss })),
        ),
        (
            "to make a user of no account",
            user(json!({ "issuer_account": "" })),
        ),
        (
            "to make an account",
            json!({ "type": "account", "version": 2 }),
        ),
        (
            "to make an operator",
            json!({ "type": "operator", "version": 2 }),
        ),
    ] {
        let pass = Pass::bound(&claims("worker", nats)?, &key);
        lab.try_door(book, &control, tries, &pass)?;
    }
    // Whatever it calls itself, it is an agent.
    let mut names = vec!["worker", "admin"];
    if !lab.short {
        names.extend([">", "*", "a.>", "{{name()}}", "*.* $KV.ib.>"]);
    }
    for name in names {
        let pass = Pass::bound(
            &claims(name, user(json!({ "tags": ["role:worker"] })))?,
            &key,
        );
        if Wire::open(to, &pass)?.is_err() {
            lab.try_door(
                book,
                &control,
                &format!("to make a user called {name:?}"),
                &pass,
            )?;
            continue;
        }
        let mut acts = lab::of_workers(&node);
        acts.push(Act::say("ib.v1.lookup", "x"));
        acts.extend(lab::endpoints());
        acts.extend(lab::keys(lab)?.iter().map(|key| Act::say(key, "forged")));
        acts.extend(lab::of_streams(lab));
        acts.extend(lab::ears("_INBOX.victim.>"));
        acts.extend(lab::thefts());
        if is_wildcard(name) {
            acts.retain(|act| act.subject() != NUDGES);
            hears_nudges(lab, book, &pass)?;
        }
        lab.try_acts(book, &pass, &acts)?;
    }
    // An agent of a node whose ramdisk it is not gets no work.
    let eyes = lab.eyes();
    let reply: HeartbeatReply = ask(
        &mut agent,
        &format!("ib.v1.heartbeat.{node}"),
        &beat(boot_id()),
    )?;
    let got = match reply {
        HeartbeatReply::LookUp => None,
        HeartbeatReply::Idle => bail!("a boot that nobody knows has nothing to do"),
        step @ HeartbeatReply::Step { .. } => Some(format!("{step:?}")),
    };
    let seen = eyes.see(&["heartbeat", "refused"]);
    let got = Got::of(got);
    book.attempt(
        &control,
        "to be given a node's work by an agent of its own",
        got,
        seen,
    );
    after_revocation(lab, book)?;
    lab.is_whole()
}

/// Of a worker with a key of its own: it makes agents until the worker is revoked.
fn after_revocation(lab: &mut Lab, book: &mut Book) -> Result<()> {
    const NAME: &str = "taken";
    lab.site.one_more_worker(NAME, &[])?.stop();
    let stolen = lab.site.key(&format!("workers/{NAME}/agents.seed"))?;
    let stolen = KeyPair::from_seed(&stolen).context("read the worker's minting key")?;
    let account = lab.site.creds("worker/worker.creds")?.account()?;
    let (mint, key) = (Mint::new(stolen, account), KeyPair::new_user());
    let agent = mint.login(&lab.nodes[0], &key.public_key(), now(), now() + 600)?;
    let pass = Pass::bound(&agent, &key);
    let made = Wire::login(lab.site.nats.address(), &pass);
    let (control, mut before) =
        book.control("to make an agent before its worker was revoked", made)?;
    let eyes = lab.eyes();
    lab.site.cli("admin", &["auth", "worker", "revoke", NAME])?;
    let ended = before.closed(SOON);
    let got = ended
        .is_none()
        .then(|| "a connection that goes on".to_string());
    let seen = eyes.see_any(&[&["which keys sign"]]);
    book.attempt(
        &control,
        "to go on as an agent that it made, after its worker was revoked",
        Got::of(got),
        seen,
    );
    let again = mint.login(&lab.nodes[0], &key.public_key(), now(), now() + 600)?;
    for (tries, token) in [
        (
            "to come again as an agent that it made, after its worker was revoked",
            &agent,
        ),
        ("to make an agent after its worker was revoked", &again),
    ] {
        lab.try_door(book, &control, tries, &Pass::bound(token, &key))?;
    }
    Ok(())
}
