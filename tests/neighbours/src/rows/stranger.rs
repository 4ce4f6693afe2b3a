//! An unknown machine: it has the token of boot scripts and says that it is a node's.
//! Who repeats what others have said is `replay`.
use crate::book::{Book, Control, Got};
use crate::eyes::Eyes;
use crate::jobs;
use crate::lab::{self, Lab, NODES};
use crate::machine::{Machine, Mark, mac};
use crate::site::until;
use crate::web;
use crate::wire::{Act, Pass, Wire};
use anyhow::{Context, Result, ensure};
use ironbeat_common::lookup::LookupReply;
use nkeys::KeyPair;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WHO: &str = "an unknown machine";
const USER_DATA: &str = "sesame-user-data-4713";

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    subjects(lab, book)?;
    lookups(lab, book)?;
    script(lab, book)?;
    config_drive(lab, book)?;
    flood(lab, book)?;
    lab.is_whole()
}

/// All that the token of boot scripts does not allow.
fn subjects(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let node = lab.nodes[0].clone();
    let keys = lab::keys(lab)?;
    let mut acts = [
        lab::endpoints(),
        lab::of_machines(&node),
        lab::of_workers(&node),
    ]
    .concat();
    acts.extend(keys.iter().map(|key| Act::say(key, "forged")));
    acts.extend(lab::of_streams(lab));
    acts.extend(lab::ends_of_streams(lab));
    let ears = lab::ears("_INBOX.victim.>").into_iter();
    // Machines without a login share this one: docs/security.md.
    acts.extend(ears.filter(|act| act.subject() != "_INBOX.boot.>"));
    acts.extend(lab::thefts());
    let pass = lab.bootstrap_pass()?;
    lab.try_acts(book, &pass, &acts)
}

/// What came of a lookup that should not be let in, and the worker's line about it.
fn looked(lab: &mut Lab, body: &[u8], boot: &str, eyes: &Eyes) -> Result<(Got, Option<String>)> {
    let reply = lab.looks_up(body)?;
    let got = match reply {
        LookupReply::Welcome { node, .. } => Got::Obtained(format!("a welcome as {node}")),
        LookupReply::Wait { .. } => Got::Refused,
    };
    Ok((got, eyes.see(&["lookup", boot, "refused"])))
}

/// By each mark, while the node waits for its ramdisk: without its ticket nobody is let in; with it, its machine is.
fn lookups(lab: &mut Lab, book: &mut Book) -> Result<()> {
    lab.inspects(2)?;
    let of_two = lab.ticket(2)?;
    let made_up = KeyPair::new_user().seed().context("a new key has a seed")?;
    for mark in Mark::EACH {
        lab.inspects(1)?;
        let ticket = lab.ticket(1)?;
        let mut tried = vec![];
        for (how, ticket) in [
            ("without a ticket", None),
            ("with a ticket that nobody gave out", Some(made_up.as_str())),
            ("with another node's ticket", Some(&of_two)),
        ] {
            let machine = Machine::new(1, mark, ticket)?;
            let body = machine.lookup(machine.request()?);
            let eyes = lab.eyes();
            let (got, seen) = looked(lab, &body, &machine.boot.to_string(), &eyes)?;
            tried.push((
                format!("to look up by its {} {how}", mark.words()),
                got,
                seen,
            ));
        }
        // Its ticket, signed for another key than it comes with.
        let machine = Machine::new(1, mark, Some(&ticket))?;
        let mut forged = machine.request()?.context("it has a ticket")?;
        forged.key = crate::machine::public(&KeyPair::new_user());
        let eyes = lab.eyes();
        let body = machine.lookup(Some(forged));
        let (got, seen) = looked(lab, &body, &machine.boot.to_string(), &eyes)?;
        let tries = format!(
            "to look up by its {} with its ticket's signature for another key",
            mark.words()
        );
        tried.push((tries, got, seen));
        let rightful = Machine::new(1, mark, Some(&ticket))?.welcome(lab);
        let what = format!("to look up by its {} with its ticket", mark.words());
        let (control, _) = book.control(&what, rightful)?;
        for (tries, got, seen) in tried {
            book.attempt(&control, &format!("{tries}, as {}", NODES[0]), got, seen);
        }
        lab.rests(1)?;
    }
    lab.rests(2)?;
    // At rest nothing is to be had with any ticket.
    let rests = lab.show(NODES[0])?["provision_state"] == "manageable";
    let (control, ()) =
        book.control("the node rests", rests.then_some(()).context("it does not"))?;
    for mark in Mark::EACH {
        let machine = Machine::new(1, mark, Some(&of_two))?;
        let body = machine.lookup(machine.request()?);
        let eyes = lab.eyes();
        let (got, seen) = looked(lab, &body, &machine.boot.to_string(), &eyes)?;
        let tries = format!(
            "to look up by its {} as {}, which rests",
            mark.words(),
            NODES[0]
        );
        book.attempt(&control, &tries, got, seen);
    }
    Ok(())
}

/// The script of a node that waits is for whoever names its MAC address: docs/security.md says so, and what comes of it.
fn script(lab: &mut Lab, book: &mut Book) -> Result<()> {
    lab.inspects(1)?;
    for _ in 0..3 {
        let kernel = format!("/boot/vmlinuz?mac={}", mac(1));
        web::ask(lab.site.http(), "HEAD", &kernel, "", "")?;
        lab.script(&mac(1).to_string())?;
    }
    let anew = lab.explained(NODES[0], "began anew")?;
    let state = lab.show(NODES[0])?["provision_state"].clone();
    let ended = (state != "inspect wait").then(|| state.to_string());
    let eyes = lab.eyes();
    let stolen = lab.ticket(1)?;
    let seen = eyes.see(&["netboot", &mac(1).to_string()]);
    let ticket = lab.ticket(1)?;
    let thief = Machine::new(1, Mark::All, Some(&stolen))?;
    let body = thief.lookup(thief.request()?);
    let eyes = lab.eyes();
    let (got, _) = looked(lab, &body, &thief.boot.to_string(), &eyes)?;
    let told = lab.explained(NODES[0], "two machines claim this node")?;
    let rightful = Machine::new(1, Mark::All, Some(&ticket))?.welcome(lab);
    let (control, agent) =
        book.control("to look up with the ticket of the last script", rightful)?;
    let tries = "to end a job by fetching the kernel and the script again and again";
    book.attempt(&control, tries, Got::of(ended), anew);
    let first = Got::Known("a script with a ticket, while the node waits for its ramdisk".into());
    book.attempt(
        &control,
        "to fetch the script of a node that waits",
        first,
        seen,
    );
    book.attempt(
        &control,
        "to look up with the ticket of a script that the machine has fetched again",
        got,
        told,
    );
    // While the ramdisk runs: it says at once that it lives, and the ticket is void.
    let mut wire = agent.wire(lab)?;
    wire.subscribe(&format!("ib.v1.nudge.{}", agent.node))?;
    let late = lab.ticket(1)?;
    let nudged = wire.message_where(crate::wire::SOON, |it| {
        it.subject.starts_with("ib.v1.nudge.")
    })?;
    ensure!(
        nudged.is_some(),
        "the ramdisk is not asked whether it lives"
    );
    agent.beats(&mut wire)?;
    let thief = Machine::new(1, Mark::All, Some(&late))?;
    let body = thief.lookup(thief.request()?);
    let eyes = lab.eyes();
    let (got, seen) = looked(lab, &body, &thief.boot.to_string(), &eyes)?;
    let told = lab.explained(NODES[0], "two machines claim this node")?;
    let tries = "to look up with the ticket of a script that was fetched while the ramdisk ran";
    book.attempt(&control, tries, got, told.or(seen));
    // And who is in, stays in.
    let (_, _) = book.control("the ramdisk goes on", agent.beats(&mut wire))?;
    lab.rests(1)
}

/// The user data of a deploy is its agent's alone.
fn config_drive(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let dir = lab.site.programs.dir.clone();
    let user_data = dir.join("user-data");
    std::fs::write(&user_data, format!("#cloud-config {USER_DATA}"))?;
    lab.secret("user data", USER_DATA);
    jobs::is_available(lab, 1)?;
    let sum = format!("sha256:{}", "07".repeat(32));
    let user_data = user_data.display().to_string();
    let deploy = [
        "--image",
        "os.raw",
        "--checksum",
        &sum,
        "--user-data",
        &user_data,
    ];
    jobs::deploys(lab, 1, &deploy)?;
    let ticket = lab.ticket(1)?;
    let mut tried = vec![];
    for mark in Mark::EACH {
        let thief = Machine::new(1, mark, None)?;
        let body = thief.lookup(None);
        let eyes = lab.eyes();
        let (got, seen) = looked(lab, &body, &thief.boot.to_string(), &eyes)?;
        tried.push((
            format!("to look up by its {} while it is deployed", mark.words()),
            got,
            seen,
        ));
    }
    let drive = jobs::writes(lab, 1, &ticket).and_then(|writing| {
        let mut files = writing.order.config_drive.iter();
        ensure!(
            files.any(|file| file.content.contains(USER_DATA)),
            "its config drive has no user data"
        );
        Ok(writing.agent)
    });
    let (control, agent) = book.control("to be handed the config drive", drive)?;
    for (tries, got, seen) in tried {
        book.attempt(&control, &tries, got, seen);
    }
    let node = lab.nodes[0].clone();
    let data: Vec<String> = lab::keys(lab)?
        .into_iter()
        .filter(|key| key.contains("instance_data"))
        .collect();
    ensure!(!data.is_empty(), "user data is in no key");
    let mut acts = vec![Act::Say(
        format!("ib.v1.heartbeat.{node}"),
        agent.beat_bytes(),
    )];
    for key in &data {
        let body = json!({ "last_by_subj": key }).to_string();
        acts.push(Act::say("$JS.API.STREAM.MSG.GET.KV_ib", &body));
    }
    let pass = lab.bootstrap_pass()?;
    lab.try_acts(book, &pass, &acts)?;
    jobs::undeploys(lab, 1)?;
    lab.rests(1)
}

/// What came of it.
#[derive(Debug)]
struct Flood {
    sent: u64,
    looked_at: u64,
    refused: u64,
    begun: Instant,
    /// When the last answer came.
    over: Instant,
}

impl Flood {
    fn secs(&self) -> f64 {
        self.over.duration_since(self.begun).as_secs_f64()
    }
}

/// Ten thousand a second: strangers wait; an agent at work and a machine that comes with its ticket do not.
fn flood(lab: &mut Lab, book: &mut Book) -> Result<()> {
    const A_SECOND: u32 = 10_000;
    /// One after the other. Each would take what is left of the flood to about its half, if it waited for the lookups before it.
    const BEATS: usize = 5;
    let secs = if lab.short { 2 } else { 10 };
    lab.inspects(2)?;
    let ticket = lab.ticket(2)?;
    let agent = lab.agent(3)?;
    let mut beating = agent.wire(lab)?;
    let pass = lab.bootstrap_pass()?;
    let to = lab.site.nats.address();
    // Half of them say that they are a known node.
    let bodies: Vec<Vec<u8>> = [(1, Mark::Mac), (77, Mark::All)]
        .into_iter()
        .map(|(n, mark)| Machine::new(n, mark, None).map(|machine| machine.lookup(None)))
        .collect::<Result<_>>()?;
    let eyes = lab.eyes();
    let poured = Arc::new(AtomicU64::new(0));
    let flooding = {
        let poured = Arc::clone(&poured);
        std::thread::spawn(move || pour(to, &pass, &bodies, A_SECOND, secs, &poured))
    };
    // In the middle of it.
    until("half of a second's lookups are sent", || {
        let half = poured.load(Ordering::Relaxed) >= u64::from(A_SECOND) / 2;
        Ok((half || flooding.is_finished()).then_some(()))
    })?;
    let mut beats = vec![];
    for _ in 0..BEATS {
        let answered = agent.beats(&mut beating).map(|_| Instant::now());
        beats.push(book.control("to beat meanwhile", answered)?.1);
    }
    let begin = Instant::now();
    let rightful = Machine::new(2, Mark::All, Some(&ticket))?.welcome(lab);
    let took = begin.elapsed();
    let (control, _) = book.control("to look up with its ticket meanwhile", rightful)?;
    let flood = flooding.join();
    let flood = flood.map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    let meanwhile = beats.iter().filter(|at| **at < flood.over).count();
    eprintln!(
        "    {flood:?}, over after {} s; {meanwhile} of {BEATS} beats were answered meanwhile; the rightful machine was let in \
         after {took:?}",
        flood.secs()
    );
    ensure!(
        flood.sent >= u64::from(A_SECOND),
        "{flood:?}: that is no flood"
    );
    ensure!(
        meanwhile == BEATS,
        "an agent's heartbeats waited until all lookups were answered"
    );
    // A rack at once, and fifty a second: docs/security.md.
    let bound = 400.0 + 50.0 * (flood.secs() + 1.0);
    let got = flood.looked_at as f64 > bound;
    let got = got.then(|| {
        format!(
            "{} of {} were looked at, in {} s",
            flood.looked_at,
            flood.sent,
            flood.secs()
        )
    });
    let seen = eyes.see(&["too many lookups"]);
    let tries = format!("to look up {} times in {secs} s", flood.sent);
    book.attempt(&control, &tries, Got::of(got), seen);
    lab.rests(3)?;
    lab.rests(2)
}

fn pour(
    to: std::net::SocketAddr,
    pass: &Pass,
    bodies: &[Vec<u8>],
    a_second: u32,
    secs: u32,
    poured: &Arc<AtomicU64>,
) -> Result<Flood> {
    let mut wire = Wire::login(to, pass)?;
    let inbox = format!("{}.flood", wire.inbox());
    wire.subscribe(&inbox)?;
    let mut mouth = wire.mouth()?;
    let one = |body: &Vec<u8>| {
        let head = format!("PUB ib.v1.lookup {inbox} {}\r\n", body.len());
        [head.as_bytes(), body, b"\r\n"].concat()
    };
    let all: Vec<Vec<u8>> = bodies.iter().map(one).collect();
    let (begin, poured) = (Instant::now(), Arc::clone(poured));
    let sending = std::thread::spawn(move || -> Result<u64> {
        const AT_ONCE: u32 = 200;
        for n in 0..a_second * secs / AT_ONCE {
            let due = begin + Duration::from_secs(1) * n * AT_ONCE / a_second;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let piece: Vec<u8> = (0..AT_ONCE as usize)
                .flat_map(|n| all[n % all.len()].clone())
                .collect();
            mouth.write_all(&piece)?;
            poured.fetch_add(AT_ONCE.into(), Ordering::Relaxed);
        }
        Ok(poured.load(Ordering::Relaxed))
    });
    let mut flood = Flood {
        sent: 0,
        looked_at: 0,
        refused: 0,
        begun: begin,
        over: begin,
    };
    let mut sending = Some(sending);
    loop {
        if let Some(thread) = sending.take_if(|thread| thread.is_finished()) {
            let sent = thread.join();
            flood.sent = sent.map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        }
        // All are answered, one way or the other, or the worker drops them.
        let came = wire.message_where(Duration::from_secs(3), |it| it.subject == inbox)?;
        match came {
            Some(answer) if answer.error().is_some() || answer.is_unheard() => flood.refused += 1,
            Some(_) => flood.looked_at += 1,
            None if sending.is_none() => break,
            None => continue,
        }
        flood.over = Instant::now();
        if flood.sent > 0 && flood.looked_at + flood.refused >= flood.sent {
            break;
        }
    }
    Ok(flood)
}

/// For rows that have somebody wait with a lookup that is refused.
pub fn is_refused(
    lab: &mut Lab,
    book: &mut Book,
    control: &Control,
    tries: &str,
    machine: &Machine,
) -> Result<()> {
    let body = machine.lookup(machine.request()?);
    let eyes = lab.eyes();
    let (got, seen) = looked(lab, &body, &machine.boot.to_string(), &eyes)?;
    book.attempt(control, tries, got, seen);
    Ok(())
}
