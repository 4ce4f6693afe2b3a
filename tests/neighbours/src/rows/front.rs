//! A stolen login of the kind that answers: it hears every request, and offers a key of its own to seal secrets to.
//! The worker stands still meanwhile, so that nobody else answers.
use crate::book::{Book, Control, Got};
use crate::lab::{Lab, NODES};
use crate::site::{BMC_PASSWORD, Said, until};
use crate::wire::Wire;
use anyhow::{Context, Result};
use nkeys::XKey;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);
const TYPED: &str = "sesame-front-4716";

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn("a stolen login that answers");
    let file = |name: &str, password: &str| {
        let path = lab.site.programs.dir.join(name);
        std::fs::write(&path, password).with_context(|| format!("write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path.display().to_string())
    };
    let (typed, back) = (file("typed-front", TYPED)?, file("back", BMC_PASSWORD)?);
    lab.secret("a password for a worker", TYPED);
    let set = |path| ["node", "set", NODES[2], "--bmc-password-file", path];
    let sent = lab.site.cli("admin", &set(&typed));
    let (control, _) = book.control("to be sent a password, as a worker", sent)?;
    lab.site.cli("admin", &set(&back))?;
    let real = lab.api("secrets.key", &json!({ "nonce": "another's" }))?;
    lab.site.worker.freeze()?;
    let played = offers(lab, book, &control, &real, &set(&typed));
    lab.site.worker.thaw()?;
    played?;
    until("the worker answers again", || {
        Ok(lab.api("node.show", &json!({ "node": NODES[2] })).ok())
    })?;
    lab.is_whole()
}

fn offers(lab: &Lab, book: &mut Book, control: &Control, real: &Value, set: &[&str]) -> Result<()> {
    let own = XKey::new().public_key();
    let with_proof = json!({ "key": own, "proof": real["proof"] });
    for (what, answer) in [
        ("a key of its own", json!({ "key": own })),
        ("a key of its own with a worker's proof", with_proof),
        ("a worker's key with a proof that it heard", real.clone()),
        ("no key, so that they come in the clear", json!({})),
    ] {
        let (said, sent) = offer(lab, &answer, set)?;
        let seen = said.err.lines().find(|line| line.contains("not sent"));
        let seen = seen.map(|line| format!("the command: {line}"));
        let tries = format!("to be sent secrets by offering {what}");
        book.attempt(control, &tries, Got::of(sent), seen);
    }
    Ok(())
}

/// What the command printed, and the request that it sent after it had been given this answer to its question for the key.
fn offer(lab: &Lab, answer: &Value, set: &[&str]) -> Result<(Said, Option<String>)> {
    let mut thief = lab.site.wire("worker/front.creds")?;
    thief.subscribe("ib.v1.api.>")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| answer_all(&mut thief, answer, &over));
        let said = lab.site.try_cli("admin", set);
        over.store(true, Ordering::Relaxed);
        let heard = answering.join().expect("it does not panic")?;
        let (keys, others): (Vec<String>, Vec<String>) = heard
            .into_iter()
            .partition(|asked| asked.starts_with("ib.v1.api.secrets.key "));
        keys.first().context("the command asked it for no key")?;
        Ok((said?, others.into_iter().next()))
    })
}

fn answer_all(thief: &mut Wire, answer: &Value, over: &AtomicBool) -> Result<Vec<String>> {
    let mut heard = vec![];
    while !over.load(Ordering::Relaxed) {
        let asked = thief.message_where(LOOK, |it| it.subject.starts_with("ib.v1.api."))?;
        let Some(asked) = asked else { continue };
        let to = asked.reply.clone().context("a question has a reply")?;
        thief.publish(&to, None, answer.to_string().as_bytes());
        heard.push(format!("{} {}", asked.subject, asked.text()));
    }
    Ok(heard)
}
