//! An agent of one node that tries to be another's, to hear more than its own, and to go on after its end.
//! Logins that a stolen minting key makes are in `mint`.
use crate::book::{Book, Got};
use crate::lab::{self, Lab, NODES, word};
use crate::machine::{Agent, Machine, Mark, beat, boot_id, public};
use crate::site::until;
use crate::wire::{Act, Pass, SOON, Wire};
use anyhow::{Context, Result, bail, ensure};
use ironbeat_auth::agent::Mint;
use ironbeat_common::heartbeat::HeartbeatReply;
use ironbeat_common::login::RenewalReply;
use ironbeat_rack::logins::now;
use ironbeat_rack::process::Process;
use nkeys::KeyPair;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const WHO: &str = "an agent of node A";

/// Makes agents, as a worker does.
pub fn mint(lab: &Lab) -> Result<Mint> {
    let key =
        KeyPair::from_seed(&lab.site.key("worker/agents.seed")?).context("read the minting key")?;
    let account = lab.site.creds("worker/worker.creds")?.account()?;
    Ok(Mint::new(key, account))
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    real_agent(lab, book)?;
    let (one, two) = (lab.agent(1)?, lab.agent(2)?);
    others(lab, book, &one, &two)?;
    answers(lab, book, &one, &two)?;
    renewals(lab, book, &one)?;
    doors(lab, book, &one)?;
    retired(lab, book, &one)?;
    lab.rests(2)?;
    lab.is_whole()
}

/// The shipped agent is let in with the words of its boot script, and inspects this machine.
fn real_agent(lab: &mut Lab, book: &mut Book) -> Result<()> {
    const NAME: &str = "real";
    let address = lab.site.bmcs.address(NODES.len()).to_string();
    let mut macs = vec![];
    for nic in std::fs::read_dir("/sys/class/net").context("list the NICs")? {
        let mac = std::fs::read_to_string(nic?.path().join("address")).unwrap_or_default();
        let mac = mac.trim().to_string();
        if !mac.is_empty() && mac != "00:00:00:00:00:00" && !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let first = macs.first().context("this machine has no NIC")?.clone();
    let mut enroll: Vec<&str> = vec!["node", "enroll", "--name", NAME, "--bmc", &address];
    macs.iter().for_each(|mac| enroll.extend(["--mac", mac]));
    lab.site.cli("admin", &enroll)?;
    lab.site.cli("admin", &["node", "manage", NAME, "--wait"])?;
    lab.site.cli("admin", &["node", "inspect", NAME])?;
    lab.is(NAME, "inspect wait")?;
    let script = lab.script(&first)?;
    let mut command = Command::new(&lab.site.programs.agent);
    for key in ["ib.nats=", "ib.ticket=", "ib.login="] {
        let value = word(&script, key).with_context(|| format!("the script has {key}"))?;
        command.arg(format!("{key}{value}"));
    }
    let log = lab.site.programs.dir.join("agent.log");
    let mut agent = Process::start("agent", command, &log)?;
    let inspected = agent.wait_for_log("welcome", SOON).map(drop);
    let inspected = inspected.and_then(|()| lab.is(NAME, "manageable"));
    let (control, ()) = book.control("to be let in, and to inspect its machine", inspected)?;
    // The same words once more: its ticket is used, and its boot is over.
    agent.kill();
    let ticket = word(&script, "ib.ticket=").context("it had one")?;
    lab.secret("the real agent's ticket", ticket.clone());
    let mut again = Command::new(&lab.site.programs.agent);
    for key in ["ib.nats=", "ib.ticket=", "ib.login="] {
        let value = word(&script, key).unwrap_or_default();
        again.arg(format!("{key}{value}"));
    }
    let eyes = lab.eyes();
    let mut agent = Process::start("agent again", again, &log)?;
    let seen = eyes.see(&["lookup", "refused"]);
    let welcome = agent
        .log()
        .wait_for("welcome", Duration::from_secs(2))
        .is_ok();
    agent.kill();
    let got = welcome.then(|| "a welcome".to_string());
    book.attempt(
        &control,
        "to boot once more with the words of an old script",
        Got::of(got),
        seen,
    );
    Ok(())
}

/// Whatever is another's.
fn others(lab: &mut Lab, book: &mut Book, one: &Agent, two: &Agent) -> Result<()> {
    let theirs = two.node.to_string();
    let mut wire = two.wire(lab)?;
    let (_, _) = book.control("to beat for its own node", two.beats(&mut wire))?;
    let own = Act::Hear(format!("ib.v1.nudge.{theirs}"));
    let (_, ()) = book.control("to hear its own nudges", wire.may(&own))?;
    for kind in ["log", "progress"] {
        let own = Act::say(format!("ib.v1.agent.{theirs}.{kind}"), "x");
        let (_, ()) = book.control("to log for its own node", wire.may(&own))?;
    }
    let inbox = format!("_INBOX.{}.>", two.machine.key.public_key());
    let mut acts = vec![Act::Say(
        format!("ib.v1.heartbeat.{theirs}"),
        beat(two.machine.boot),
    )];
    acts.extend(lab::of_machines(&theirs));
    acts.extend(lab::of_workers(&theirs));
    acts.extend(lab::of_workers(&one.node.to_string()));
    acts.push(Act::say(
        format!("_INBOX.{}.1", two.machine.key.public_key()),
        "x",
    ));
    acts.push(Act::Hear(format!("ib.v1.nudge.{theirs}")));
    acts.push(Act::say("ib.v1.lookup", "x"));
    acts.extend(lab::endpoints());
    acts.extend(lab::keys(lab)?.iter().map(|key| Act::say(key, "forged")));
    acts.extend(lab::of_streams(lab));
    acts.extend(lab::ends_of_streams(lab));
    acts.extend(lab::ears(&inbox));
    acts.extend(lab::thefts());
    lab.try_acts(book, &one.pass(), &acts)
}

/// Whoever asks says where the answer goes. It is written to no record, and makes nobody do anything.
fn answers(lab: &mut Lab, book: &mut Book, one: &Agent, two: &Agent) -> Result<()> {
    let mut wire = one.wire(lab)?;
    let (control, _) = book.control("to have an answer in its own inbox", one.beats(&mut wire))?;
    let beats = format!("ib.v1.heartbeat.{}", one.node);
    let record = lab::keys(lab)?
        .into_iter()
        .find(|key| key.starts_with("$KV.ib.node."));
    let record = record.context("a node has a record")?;
    let id = record.rsplit('.').next().unwrap_or_default().to_string();
    let mut worker = lab.site.wire("worker/worker.creds")?;
    let get = json!({ "last_by_subj": record }).to_string();
    let mut is_a_record = |id: &str| -> Result<bool> {
        let got = worker.ask("$JS.API.STREAM.MSG.GET.KV_ib", get.as_bytes())?;
        let got: serde_json::Value = serde_json::from_slice(&got.body)?;
        let data = got["message"]["data"].as_str().unwrap_or_default();
        let data = data_encoding::BASE64
            .decode(data.as_bytes())
            .unwrap_or_default();
        let record: Option<serde_json::Value> = serde_json::from_slice(&data).ok();
        Ok(record.is_some_and(|record| record.to_string().contains(id)))
    };
    let (_, ()) = book.control(
        "a record is read as one",
        is_a_record(&id)?.then_some(()).context("it is not"),
    )?;
    // Admins hear the prefix: what is written into it, they hear.
    let mut admin = lab.site.wire("people/admin.creds")?;
    admin.subscribe("ib.v1.>")?;
    for to in [
        record.as_str(),
        "$JS.API.STREAM.PURGE.KV_ib",
        "ib.v1.api.node.delete",
        "ib.v1.event.x.state",
        &format!("ib.v1.nudge.{}", two.node),
        &format!("ib.v1.heartbeat.{}", two.node),
    ] {
        let eyes = lab.eyes();
        wire.publish(&beats, Some(to), &one.beat_bytes());
        let seen = eyes.see(&["names no inbox for an answer", to]);
        let heard = admin.message_where(Duration::from_millis(300), |message| {
            message.subject == to && message.reply.is_none()
        })?;
        let got = match (is_a_record(&id)?, heard) {
            (false, _) => Some("an answer in place of a record".to_string()),
            (true, Some(heard)) => Some(format!("an answer there: {}", heard.text())),
            (true, None) => None,
        };
        book.attempt(
            &control,
            &format!("to have the worker answer to {to}"),
            Got::of(got),
            seen,
        );
    }
    Ok(())
}

fn renewals(lab: &mut Lab, book: &mut Book, one: &Agent) -> Result<()> {
    let mut wire = one.wire(lab)?;
    let own = public(&one.machine.key);
    let renewed = one
        .renews(&mut wire, one.machine.boot, own)
        .and_then(|reply| match reply {
            RenewalReply::Login(login) => Ok(login),
            RenewalReply::Over => bail!("it is over"),
        });
    let (control, login) = book.control("to renew its login", renewed)?;
    lab.secret("a renewed token", login.jwt);
    for (tries, boot, key) in [
        (
            "to have a login for another key",
            one.machine.boot,
            public(&KeyPair::new_user()),
        ),
        ("to have a login for another boot", boot_id(), own),
    ] {
        let eyes = lab.eyes();
        let got = match one.renews(&mut wire, boot, key)? {
            RenewalReply::Login(_) => Some("a token".into()),
            RenewalReply::Over => None,
        };
        let seen = eyes.see(&["login", "refused"]);
        book.attempt(&control, tries, Got::of(got), seen);
    }
    // Of another boot of its own node.
    let eyes = lab.eyes();
    let mut stale = one.clone();
    stale.machine.boot = boot_id();
    let got = match stale.beats(&mut wire)? {
        HeartbeatReply::LookUp => None,
        other => Some(format!("{other:?}")),
    };
    let seen = eyes.see(&["heartbeat", "refused"]);
    book.attempt(
        &control,
        "to beat for a boot that is not the node's",
        Got::of(got),
        seen,
    );
    Ok(())
}

/// Its token with another key, without one, and after its time.
fn doors(lab: &mut Lab, book: &mut Book, one: &Agent) -> Result<()> {
    let (control, _) = book.control("to come with its token and its key", one.wire(lab))?;
    let other = Pass::bound(&one.jwt, &KeyPair::new_user());
    lab.try_door(
        book,
        &control,
        "to come with its token and another key",
        &other,
    )?;
    let none = Pass::Token(one.jwt.clone(), None);
    lab.try_door(book, &control, "to come with its token and no key", &none)?;
    // One that the minting key has made, of a second or two.
    let key = KeyPair::new_user();
    let until_when = now() + 3;
    let jwt = mint(lab)?.login(&one.node.to_string(), &key.public_key(), now(), until_when)?;
    let pass = Pass::bound(&jwt, &key);
    let short = Wire::login(lab.site.nats.address(), &pass);
    let (control, mut short) = book.control("to come with a token in its time", short)?;
    let eyes = lab.eyes();
    let ended = short.closed(SOON);
    let got = ended
        .is_none()
        .then(|| "a connection that goes on".to_string());
    let seen = eyes.see_any(&[&["Expired"], &["expired"]]);
    book.attempt(
        &control,
        "to go on after its token has expired",
        Got::of(got),
        seen,
    );
    lab.try_door(
        book,
        &control,
        "to come again after its token has expired",
        &pass,
    )
}

/// Its boot is over: an operator has aborted the job.
fn retired(lab: &mut Lab, book: &mut Book, one: &Agent) -> Result<()> {
    let mut wire = one.wire(lab)?;
    let (control, _) =
        book.control("to beat while its boot is the node's", one.beats(&mut wire))?;
    let eyes = lab.eyes();
    lab.site
        .cli("admin", &["node", "abort", NODES[0], "--wait"])?;
    let ended = wire.closed(SOON);
    let got = ended
        .is_none()
        .then(|| "a connection that goes on".to_string());
    let seen = eyes.see_any(&[&["Revoked"], &["revoked"], &["login", "ended"]]);
    book.attempt(
        &control,
        "to go on after its boot is over",
        Got::of(got),
        seen,
    );
    lab.try_door(
        book,
        &control,
        "to come again after its boot is over",
        &one.pass(),
    )?;
    let again = Machine {
        mark: Mark::All,
        ..one.machine.clone()
    };
    super::stranger::is_refused(
        lab,
        book,
        &control,
        "to look up again after its boot is over",
        &again,
    )?;
    let gone = until("its login is ended", || {
        let shown = lab.show(NODES[0])?;
        let ended = shown["tickets"]["ended"].as_array();
        Ok(ended.is_none_or(Vec::is_empty).then_some(()))
    });
    gone?;
    ensure!(
        lab.show(NODES[0])?["provision_state"] != "inspect wait",
        "it still waits"
    );
    lab.rests(1)
}
