//! Nobody: no login, or one that is none. Every subject, every stream, every key, every HTTP path.
//! Who has the token of boot scripts is `stranger`.
use crate::book::{Book, Got};
use crate::lab::{self, Lab, NODES};
use crate::machine::mac;
use crate::site::BESIDE;
use crate::web;
use crate::wire::{Act, Pass, Wire};
use anyhow::{Context, Result, ensure};
use ironbeat_auth::roles::Role;
use ironbeat_auth::site::Site;
use nkeys::KeyPair;
use serde_json::json;

const WHO: &str = "nobody";
/// More than a worker logs of what anybody can cause.
const FLOOD: usize = 600;

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn(WHO);
    let node = lab.nodes[0].clone();
    let keys = lab::keys(lab)?;
    let keys = keys.iter().map(|key| Act::say(key, "forged"));
    let mut acts = [
        lab::endpoints(),
        lab::of_machines(&node),
        lab::of_workers(&node),
    ]
    .concat();
    acts.push(Act::say("ib.v1.lookup", "x"));
    acts.extend(keys);
    acts.extend(lab::of_streams(lab));
    acts.extend(lab::ends_of_streams(lab));
    acts.extend(lab::ears("_INBOX.victim.>"));
    acts.extend(lab::thefts());
    lab.blurt_acts(book, &Pass::nobody(), &acts)?;
    doors(lab, book)?;
    paths(lab, book)?;
    lab.is_whole()
}

/// Logins that are none.
fn doors(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let admin = lab.site.creds("people/admin.creds")?;
    let good = Wire::login(lab.site.nats.address(), &Pass::of(&admin)).map(drop);
    let (control, ()) = book.control("to come with the admin's login", good)?;
    let stranger = KeyPair::new_user();
    let elsewhere = Site::new("ib.v1").login(Role::Worker, "worker", 1, None)?;
    let mut flipped = admin.jwt.clone().into_bytes();
    let last = flipped.len() - 20;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).context("a token is text")?;
    let token = |jwt: &str, key: &KeyPair| Pass::bound(jwt, key);
    for (tries, pass) in [
        ("to come without a login", Pass::nobody()),
        (
            "to come with a name and a password",
            Pass::Words(json!({ "user": "admin", "pass": "admin" })),
        ),
        (
            "to come with a password alone",
            Pass::Words(json!({ "auth_token": "admin" })),
        ),
        (
            "to come with a key alone",
            Pass::Words(json!({ "nkey": stranger.public_key(), "sig": "AAAA" })),
        ),
        (
            "to come with the admin's token and another key",
            token(&admin.jwt, &stranger),
        ),
        (
            "to come with the admin's token and no key",
            Pass::Token(admin.jwt.clone(), None),
        ),
        (
            "to come with the admin's token, changed",
            token(&flipped, &admin.key),
        ),
        (
            "to come with a worker's login of another site",
            Pass::of(&elsewhere),
        ),
        (
            "to come with an empty token",
            Pass::Token(String::new(), None),
        ),
    ] {
        lab.try_door(book, &control, tries, &pass)?;
    }
    Ok(())
}

/// What the HTTP front serves, and what it does not.
fn paths(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let to = lab.site.http();
    let served = ["/boot/vmlinuz", "/images/os.raw", "/healthz"].map(|path| {
        let answer = web::get(to, path)?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        Ok(())
    });
    let served = served.into_iter().collect::<Result<Vec<()>>>().map(drop);
    let (control, ()) = book.control("to fetch a kernel and an image", served)?;
    // The files that paths lead to if nobody looks at them.
    let dir = &lab.site.programs.dir;
    let there = [BESIDE, "master.key", "auth/worker/worker.creds"].map(|name| {
        let path = dir.join(name);
        ensure!(path.exists(), "{} is not there", path.display());
        Ok(())
    });
    let there = there.into_iter().collect::<Result<Vec<()>>>().map(drop);
    let (beside, ()) = book.control("to read the files beside the images", there)?;
    let up = ["..", "%2e%2e", "..%2f..", "%2e%2e%2f", ".%2e", "..%5c"];
    let folders = ["/images", "/boot", "/v1/boot"];
    let mut bad: Vec<(String, String)> = vec![];
    for folder in folders {
        for up in up {
            for file in [
                BESIDE,
                "master.key",
                "auth/worker/worker.creds",
                "images/../master.key",
            ] {
                bad.push(("GET".into(), format!("{folder}/{up}/{file}")));
            }
        }
    }
    let absolute = dir.join("master.key").display().to_string();
    bad.push(("GET".into(), format!("/images/{absolute}")));
    bad.push(("GET".into(), format!("/images//{absolute}")));
    for (method, path) in &bad {
        let eyes = lab.eyes();
        let answer = web::ask(to, method, path, "", "")?;
        let got = (answer.status < 400).then(|| format!("{}: {}", answer.status, answer.body));
        let seen = eyes.see(&["http", "refused"]);
        book.attempt(&beside, &format!("{method} {path}"), Got::of(got), seen);
    }
    let proxied = format!("http://{}/", lab.site.nats.address());
    let node = lab.nodes[0].clone();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/images/"),
        ("GET", "/images"),
        ("GET", "/boot/"),
        ("GET", "/v1/"),
        ("GET", "/v1/boot/"),
        ("GET", "/v1/arguments/"),
        // A node that waits for nothing.
        ("GET", &format!("/v1/arguments/{}", mac(1))),
        ("GET", "/v1/nodes"),
        ("GET", "/metrics"),
        ("GET", "/debug/pprof/"),
        ("GET", "/.git/config"),
        ("GET", proxied.as_str()),
        ("CONNECT", "127.0.0.1:22"),
        ("PUT", "/images/os.raw"),
        ("POST", "/images/os.raw"),
        ("DELETE", "/images/os.raw"),
        ("PATCH", "/boot/vmlinuz"),
        ("PROPFIND", "/images/"),
        ("TRACE", "/images/os.raw"),
        (
            "POST",
            &format!("/v1/confirm/{node}/0123456789abcdef0123456789abcdef"),
        ),
        ("POST", &format!("/v1/confirm/{node}/")),
    ] {
        let eyes = lab.eyes();
        let answer = web::ask(to, method, path, "", "")?;
        let got = (answer.status < 400).then(|| format!("{}: {}", answer.status, answer.body));
        let seen = eyes.see(&["http", "refused"]);
        book.attempt(&control, &format!("{method} {path}"), Got::of(got), seen);
    }
    // Whoever asks for much is told of in part.
    let eyes = lab.eyes();
    for n in 0..FLOOD {
        let path = format!("/v1/boot/0e:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
        web::get(to, &path)?;
    }
    let lines = eyes.count("0e:00:00:00");
    let filled = (lines > FLOOD / 2).then(|| format!("{lines} lines"));
    let tries = format!("to fill the log with {FLOOD} requests for boot scripts");
    let seen = eyes.see(&["netboot", "0e:00:00:00"]);
    book.attempt(&control, &tries, Got::of(filled), seen);
    // A node that waits for nothing: its script says so, and no more.
    let eyes = lab.eyes();
    let script = lab.script(&mac(1).to_string())?;
    let told = script.contains("ib.").then(|| script.clone());
    let seen = eyes.see(&["netboot", &mac(1).to_string()]);
    let tries = format!(
        "GET the boot script of {}, which waits for nothing",
        NODES[0]
    );
    book.attempt(&control, &tries, Got::of(told), seen);
    Ok(())
}
