//! People: an observer, an operator, an admin. Each verb that is not theirs, what belongs to workers and machines, and secrets
//! in whatever they may hear and read.
//! Their ears are open while all other rows play.
use crate::book::{Book, Control, Got};
use crate::lab::{self, Lab, NODES};
use crate::machine::mac;
use crate::wire::{Act, Pass, SOON, Wire};
use anyhow::{Context, Result, ensure};
use ironbeat_auth::revoke::Order;
use ironbeat_ops::{ENDPOINTS, Role};
use ironbeat_rack::leaks::find;
use ironbeat_rack::logins::now;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::time::Duration;

/// Who they are, by file and role.
const PEOPLE: [(&str, &str, Role); 3] = [
    ("an observer", "otto", Role::Observer),
    ("an operator", "olga", Role::Operator),
    ("an admin", "admin", Role::Admin),
];
const ANSWER: Duration = Duration::from_millis(300);
/// What somebody types plainly into a raw request.
const PLAIN: &str = "sesame-plain-4714";

fn file(login: &str) -> String {
    format!("people/{login}.creds")
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    secrets_typed(lab)?;
    for (n, (who, login, role)) in PEOPLE.into_iter().enumerate() {
        book.turn(who);
        verbs(lab, book, login, role)?;
        theirs(lab, book, login, role)?;
        read(lab, book, login)?;
        heard(lab, book, n, role)?;
        if role == Role::Observer || !lab.short {
            copies(lab, book, login)?;
        }
    }
    book.turn("an observer");
    revoked(lab, book)?;
    book.turn("an admin");
    resealed(lab, book)?;
    ends(lab, book)?;
    book.turn("whoever has a copy of the records");
    records(lab, book)?;
    lab.is_whole()
}

/// What others ask while they listen: secrets on the command line, and one in a raw request.
fn secrets_typed(lab: &mut Lab) -> Result<()> {
    let dir = lab.site.programs.dir.clone();
    let password = dir.join("typed");
    std::fs::write(&password, "sesame-typed-4715")?;
    lab.secret("a typed password", "sesame-typed-4715");
    let path = password.display().to_string();
    let set = ["node", "set", NODES[2], "--bmc-password-file", &path];
    lab.site.cli("admin", &set)?;
    let back = dir.join("back");
    std::fs::write(&back, crate::site::BMC_PASSWORD)?;
    let path = back.display().to_string();
    lab.site.cli(
        "admin",
        &["node", "set", NODES[2], "--bmc-password-file", &path],
    )?;
    lab.site.cli("olga", &["bmc", "check", NODES[2]]).map(drop)
}

/// Each verb of the API that asks for more than this role.
fn verbs(lab: &mut Lab, book: &mut Book, login: &str, role: Role) -> Result<()> {
    let mut wire = lab.site.wire(&file(login))?;
    for endpoint in ENDPOINTS.iter().filter(|it| it.role > role) {
        let act = Act::say(format!("ib.v1.api.{}", endpoint.name), "{}");
        // Somebody of the role that it asks for is answered by a worker.
        let (_, holder, _) = PEOPLE
            .into_iter()
            .find(|it| it.2 == endpoint.role)
            .context("there is one")?;
        let mut holder = lab.site.wire(&file(holder))?;
        let (control, _) = book.control(endpoint.name, holder.ask(act.subject(), b"{}"))?;
        let eyes = lab.eyes();
        let got = match wire.tries(&act, ANSWER)? {
            Ok(came) => Got::Obtained(came),
            Err(_) => Got::Refused,
        };
        let seen = eyes.see(&["Violation", act.subject()]);
        book.attempt(&control, endpoint.name, got, seen);
    }
    Ok(())
}

/// What is workers' and machines', and nobody's.
fn theirs(lab: &mut Lab, book: &mut Book, login: &str, role: Role) -> Result<()> {
    let node = lab.nodes[0].clone();
    let mut acts = [lab::of_machines(&node), lab::of_workers(&node)].concat();
    acts.push(Act::say("ib.v1.lookup", "x"));
    if role < Role::Operator {
        acts.push(Act::say(format!("ib.v1.console.{node}.in"), "x"));
        acts.push(Act::say(format!("ib.v1.console.{node}.break"), "x"));
        let own = lab.site.creds(&file(login))?.key.public_key();
        acts.push(Act::say(format!("ib.v1.console.{node}.take.{own}"), "x"));
    }
    // Somebody else's place at a console.
    let admin = lab.site.creds(&file("admin"))?.key.public_key();
    if login != "admin" {
        for part in ["attach", "take", "detach"] {
            acts.push(Act::say(
                format!("ib.v1.console.{node}.{part}.{admin}"),
                "x",
            ));
        }
    }
    acts.extend(lab::keys(lab)?.iter().map(|key| Act::say(key, "forged")));
    acts.extend(lab::of_streams(lab));
    acts.extend(lab::ends_of_streams(lab));
    let may = |act: &Act| {
        let subject = act.subject();
        // Who may hear the prefix may hear all that is in it but questions and keystrokes; what workers ask each other, nobody.
        let asked = subject.starts_with("ib.v1.api") && role < Role::Admin;
        let of_workers = subject.starts_with("ib.v1.worker");
        subject.starts_with("ib.v1.") && !asked && !of_workers
    };
    acts.extend(
        lab::ears("_INBOX.victim.>")
            .into_iter()
            .filter(|act| !may(act)),
    );
    if role < Role::Admin {
        acts.push(Act::Hear(format!("ib.v1.console.{node}.in")));
    }
    acts.extend(lab::thefts());
    let pass = Pass::of(&lab.site.creds(&file(login))?);
    lab.try_acts(book, &pass, &acts)
}

/// Bodies with which an endpoint that reads may be content.
fn bodies(lookup: &str) -> [Value; 5] {
    [
        json!({ "node": NODES[0] }),
        json!({ "node": NODES[2] }),
        json!({ "last": 1000 }),
        json!({ "key": lookup }),
        json!({}),
    ]
}

/// Secrets in replies: everything that an observer may read.
fn read(lab: &mut Lab, book: &mut Book, login: &str) -> Result<()> {
    let mut wire = lab.site.wire(&file(login))?;
    let lookups = wire.api("lookup.list", &json!({}))?;
    let lookup = lookups[0]["key"].as_str().unwrap_or_default().to_string();
    for endpoint in ENDPOINTS.iter().filter(|it| it.role == Role::Observer) {
        let mut all = String::new();
        for body in bodies(&lookup) {
            let answer = wire.ask(
                &format!("ib.v1.api.{}", endpoint.name),
                body.to_string().as_bytes(),
            )?;
            all += &format!("{} {}\n", answer.head, answer.text());
        }
        // It is answered, and what it says is found where it is looked for.
        let known = all
            .split(['"', ' ', ':', ','])
            .find(|word| word.len() > 7)
            .unwrap_or_default()
            .to_string();
        let found = find(&all, &[("a word of it".into(), known)]);
        let (control, _) = book.control(endpoint.name, found.context("it is not answered"))?;
        let got = find(&all, &lab.secrets);
        let tries = format!("to read a secret in what {} answers", endpoint.name);
        book.reading(&control, &tries, Got::of(got));
    }
    Ok(())
}

/// Secrets in all that was said while the other rows played.
fn heard(lab: &mut Lab, book: &mut Book, n: usize, role: Role) -> Result<()> {
    let ears = lab.ears.get(n).context("an ear was opened")?;
    // Somebody has typed a password into a raw request: only admins hear what others ask, and find it.
    let bmc = json!({ "protocol": "ipmi", "address": "127.0.9.9", "username": "admin", "password": PLAIN });
    // It is refused, since there is such a node; heard it is all the same.
    let raw = json!({ "name": NODES[0], "bmc": bmc, "macs": [mac(1)] });
    let mut olga = lab.site.wire(&file("olga"))?;
    let answer = olga.ask("ib.v1.api.node.enroll", raw.to_string().as_bytes())?;
    ensure!(
        answer.error().is_some(),
        "a second node {} was enrolled",
        NODES[0]
    );
    let plain = [("a plain password".to_string(), PLAIN.to_string())];
    std::thread::sleep(ANSWER);
    let text = ears.text();
    let node = [("a node".to_string(), lab.nodes[0].clone())];
    let hears = find(&text, &node).context("it hears nothing of a node");
    let (control, _) = book.control("to hear what happens", hears)?;
    let got = find(&text, &lab.secrets);
    book.reading(
        &control,
        "to hear a secret in ib.v1.> while all others played",
        Got::of(got),
    );
    let eyes_of_worker = std::fs::read_to_string(lab.site.worker_log())?;
    let seen = eyes_of_worker
        .lines()
        .rfind(|line| line.contains("came in the clear"));
    let seen = seen.map(|line| format!("worker: {line}"));
    let found = find(&text, &plain);
    let asked = answer
        .error()
        .map_or("it was answered".to_string(), str::to_string);
    match role {
        Role::Admin => {
            let (_, _) =
                book.control("to hear a password of a raw request", found.context(asked))?;
        }
        Role::Observer | Role::Operator => {
            book.attempt(
                &control,
                "to hear a password that somebody typed into a raw request",
                Got::of(found),
                seen,
            );
        }
    }
    Ok(())
}

/// What `ironbeat backup` copies needs a worker's login.
fn copies(lab: &mut Lab, book: &mut Book, login: &str) -> Result<()> {
    let dir = lab.site.programs.dir.clone();
    let to = |name: &str| dir.join(format!("{name}.backup")).display().to_string();
    let creds = lab
        .site
        .auth()
        .join("worker/worker.creds")
        .display()
        .to_string();
    let rightful = to(&format!("worker-{login}"));
    let made = lab
        .site
        .cli("admin", &["--creds", &creds, "backup", &rightful]);
    let (control, _) = book.control("ironbeat backup", made)?;
    let eyes = lab.eyes();
    let file = to(login);
    let said = lab.site.try_cli(login, &["backup", &file])?;
    let seen = eyes.see(&["Violation", "$JS."]);
    let got = said
        .ok
        .then(|| format!("a copy of the records: {}", said.out));
    book.attempt(&control, "ironbeat backup", Got::of(got), seen);
    Ok(())
}

/// Her login was ended.
fn revoked(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let creds = lab.site.creds("people/eve.creds")?;
    let pass = Pass::of(&creds);
    let good = Wire::login(lab.site.nats.address(), &pass);
    let (control, mut wire) = book.control("to come before it is revoked", good)?;
    let eyes = lab.eyes();
    lab.site.cli("admin", &["auth", "user", "revoke", "eve"])?;
    let ended = wire.closed(SOON);
    let got = ended
        .is_none()
        .then(|| "a connection that goes on".to_string());
    let seen = eyes.see_any(&[&["Revoked"], &["revoked"], &["eve"]]);
    book.attempt(
        &control,
        "to go on after its login was revoked",
        Got::of(got),
        seen,
    );
    lab.try_door(
        book,
        &control,
        "to come again after its login was revoked",
        &pass,
    )
}

/// A stolen login: it knows whose the keys are, from the inboxes in workers' questions to each other.
fn ends(lab: &mut Lab, book: &mut Book) -> Result<()> {
    const OTHER: &str = "other";
    // A worker does not end its own login, whoever says so: one with another might.
    let mut other = lab.site.one_more_worker(OTHER, &["--may-revoke"])?;
    let nobody = KeyPair::new_user().public_key();
    let ended = lab.site.cli("admin", &["auth", "user", "revoke", &nobody]);
    let (control, _) = book.control("to end a login by the operator's order", ended)?;
    let mut admin = lab.site.wire("people/admin.creds")?;
    let own = format!("workers/{OTHER}");
    for (whose, file) in [
        ("the workers'", "worker/worker.creds".to_string()),
        ("the workers' other", "worker/front.creds".to_string()),
        ("another worker's", format!("{own}/worker.creds")),
        ("another worker's other", format!("{own}/front.creds")),
        ("an operator's", "people/olga.creds".to_string()),
    ] {
        let creds = lab.site.creds(&file)?;
        let key = creds.key.public_key();
        let order = Order::new(&key, None, None, now()).sign(&KeyPair::new_operator())?;
        let plain = json!({ "key": key });
        let signed = json!({ "key": key, "order": order });
        let (mut got, mut said) = (None, None);
        // The server chooses by chance which worker is asked.
        for body in [plain, signed].iter().cycle().take(16) {
            let answer = admin.ask("ib.v1.api.auth.revoke", body.to_string().as_bytes())?;
            match answer.error() {
                Some(why) => said = Some(format!("answer: {why}")),
                None => got = Some(answer.text()),
            }
        }
        if Wire::login(lab.site.nats.address(), &Pass::of(&creds)).is_err() {
            got = Some("its end".into());
        }
        let tries = format!("to end {whose} login, without the operator's key");
        book.attempt(&control, &tries, Got::of(got), said);
    }
    let log = other.log().text();
    ensure!(other.is_running() && !log.contains("panicked"), "{log}");
    lab.site
        .cli("admin", &["auth", "worker", "revoke", OTHER])
        .map(drop)
}

/// A sealed secret of another's request, which admins hear, is sent to a BMC of one's own.
fn resealed(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let text = lab.ears.get(2).context("an ear was opened")?.text();
    let enrolled = text
        .lines()
        .rfind(|line| line.starts_with("ib.v1.api.node.enroll ") && line.contains("\"sealed\""));
    // Heard as it was sent: subject, head, body.
    let body = enrolled.and_then(|line| line.find('{').map(|at| line[at..].to_string()));
    let heard = body.context("it heard no enrolment");
    let (control, body) = book.control(
        "to hear a sealed request, which its sender was answered",
        heard,
    )?;
    let mut body: Value = serde_json::from_str(&body).context("read a request")?;
    ensure!(
        body["bmc"]["password"].is_object(),
        "its password is sealed: {body}"
    );
    let mut admin = lab.site.wire("people/admin.creds")?;
    let own = json!("127.0.9.9");
    let check = json!({ "bmc": { "protocol": "ipmi", "address": own, "username": "admin", "password": body["bmc"]["password"] } });
    body["bmc"]["address"] = own.clone();
    body["name"] = "mine".into();
    body["macs"] = json!([mac(99)]);
    for (endpoint, body) in [("node.enroll", body), ("bmc.check", check)] {
        let eyes = lab.eyes();
        let answer = admin.ask(
            &format!("ib.v1.api.{endpoint}"),
            body.to_string().as_bytes(),
        )?;
        let got = match answer.error() {
            Some(_) => None,
            None => Some(answer.text()),
        };
        let seen = eyes.see(&["sealed"]);
        let seen = seen.or(answer.error().map(|why| format!("answer: {why}")));
        let tries =
            format!("to have another's sealed password sent to a BMC of its own, by {endpoint}");
        book.attempt(&control, &tries, Got::of(got), seen);
    }
    Ok(())
}

/// A copy of the records, without the master key.
fn records(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let mut worker = lab.site.wire("worker/worker.creds")?;
    let mut all = String::new();
    for key in lab::keys(lab)? {
        let stream = key.split('.').nth(1).context("a key is in a bucket")?;
        let body = json!({ "last_by_subj": key }).to_string();
        let got = worker.ask(
            &format!("$JS.API.STREAM.MSG.GET.KV_{stream}"),
            body.as_bytes(),
        )?;
        let got: Value = serde_json::from_slice(&got.body)?;
        for part in ["data", "hdrs"] {
            let bytes = data_encoding::BASE64
                .decode(got["message"][part].as_str().unwrap_or_default().as_bytes());
            all += &String::from_utf8_lossy(&bytes.unwrap_or_default());
            all.push('\n');
        }
    }
    let node = [("a node".to_string(), NODES[0].to_string())];
    let sealed = all.contains("\"sealed\"") && find(&all, &node).is_some();
    let sealed = sealed.then_some(()).context("no sealed document");
    let (control, ()): (Control, ()) =
        book.control("a worker opens them: its BMCs obey", sealed)?;
    let got = find(&all, &lab.secrets);
    book.reading(&control, "to read a secret in any key", Got::of(got));
    Ok(())
}
