//! A replay: whoever has heard or kept what was good once, and says it again.
//! Who never had anything good is `stranger`.
use super::stranger::is_refused;
use crate::book::{Book, Got};
use crate::lab::{Lab, NODES, word};
use crate::machine::{Machine, Mark, ask, mac};
use crate::wire::{Act, Pass, Wire};
use anyhow::{Context, Result, ensure};
use ironbeat_common::heartbeat::HeartbeatReply;
use ironbeat_common::lookup::LookupReply;
use nkeys::KeyPair;

const WHO: &str = "a replay";

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    lab.inspects(1)?;
    let script = lab.script(&mac(1).to_string())?;
    let ticket = word(&script, "ib.ticket=").context("the script has a ticket")?;
    let machine = Machine::new(1, Mark::All, Some(&ticket))?;
    let said = machine.lookup(machine.request()?);
    let (control, agent) = book.control("to look up", machine.welcome(lab))?;
    let mut wire = agent.wire(lab)?;
    let beat = agent.beat_bytes();
    let (beats, _) = book.control("to beat", agent.beats(&mut wire))?;

    // While its boot lasts, the same lookup is answered again, since an answer may be lost: with a token for its key.
    let eyes = lab.eyes();
    let reply = lab.looks_up(&said)?;
    let jwt = match &reply {
        LookupReply::Welcome {
            login: Some(login), ..
        } => login.jwt.clone(),
        other => anyhow::bail!("a lookup that is repeated in time is answered {other:?}"),
    };
    let thief = Pass::bound(&jwt, &KeyPair::new_user());
    let to = lab.site.nats.address();
    let came = Wire::open(to, &thief)?.is_ok() || Wire::open(to, &Pass::Token(jwt, None))?.is_ok();
    let got = came.then(|| "a connection as the agent".to_string());
    let seen = eyes.see_any(&[
        &["authentication error"],
        &["Authentication"],
        &["Authorization"],
    ]);
    book.attempt(
        &control,
        "a lookup, and to come with the token that it gets",
        Got::of(got),
        seen,
    );
    let other = Machine::new(1, Mark::All, Some(&ticket))?;
    is_refused(
        lab,
        book,
        &control,
        "a ticket that is used, for a machine of its own",
        &other,
    )?;
    let pass = lab.bootstrap_pass()?;
    let subject = format!("ib.v1.heartbeat.{}", agent.node);
    lab.try_acts(book, &pass, &[Act::Say(subject.clone(), beat.clone())])?;
    let otto = Pass::of(&lab.site.creds("people/otto.creds")?);
    lab.try_acts(
        book,
        &otto,
        &[
            Act::Say(subject.clone(), beat.clone()),
            Act::Say("ib.v1.lookup".into(), said.clone()),
        ],
    )?;

    // Its boot is over.
    lab.site
        .cli("admin", &["node", "abort", NODES[0], "--wait"])?;
    lab.rests(1)?;
    old_ones(
        lab,
        book,
        &control,
        &machine,
        &ticket,
        &said,
        "while the node rests",
    )?;
    // The node waits for the next one.
    lab.inspects(1)?;
    old_ones(
        lab,
        book,
        &control,
        &machine,
        &ticket,
        &said,
        "while the node waits for its next boot",
    )?;
    let next = lab.ticket(1)?;
    let next = Machine::new(1, Mark::All, Some(&next))?.welcome(lab)?;
    // The next agent of the same node is the only one whom the server lets say this.
    let mut wire = next.wire(lab)?;
    next.beats(&mut wire)?;
    let eyes = lab.eyes();
    let got = match ask(&mut wire, &subject, &beat)? {
        HeartbeatReply::LookUp => None,
        other => Some(format!("{other:?}")),
    };
    let seen = eyes.see(&["heartbeat", "refused"]);
    book.attempt(&beats, "a heartbeat of the boot before", Got::of(got), seen);
    let step = next.beats(&mut wire)?;
    ensure!(
        matches!(step, HeartbeatReply::Step { .. }),
        "the present agent has lost its step: {step:?}"
    );
    lab.rests(1)?;
    lab.is_whole()
}

fn old_ones(
    lab: &mut Lab,
    book: &mut Book,
    control: &crate::book::Control,
    machine: &Machine,
    ticket: &str,
    said: &[u8],
    when: &str,
) -> Result<()> {
    let eyes = lab.eyes();
    let got = match lab.looks_up(said)? {
        LookupReply::Wait { .. } => None,
        welcome @ LookupReply::Welcome { .. } => Some(format!("{welcome:?}")),
    };
    let seen = eyes.see(&["lookup", &machine.boot.to_string(), "refused"]);
    book.attempt(
        control,
        &format!("an old lookup, {when}"),
        Got::of(got),
        seen,
    );
    let other = Machine::new(1, Mark::All, Some(ticket))?;
    is_refused(
        lab,
        book,
        control,
        &format!("the ticket of an old boot script, {when}"),
        &other,
    )
}
