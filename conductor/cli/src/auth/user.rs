//! `ironbeat auth user`: logins of people, made from the operator's keys, listed, and ended.
//! `ending` ends one.
use super::about::{ABOUT, Dir, SHARED, about, now, role_key};
use super::ending::end as end_keys;
use super::files::{read, replace, write_new};
use super::{bootstrap, worker};
use crate::{Connect, out};
use anyhow::{Context, bail, ensure};
use clap::{Subcommand, ValueEnum};
use ironbeat_auth::creds::Creds;
use ironbeat_auth::roles::Role;
use ironbeat_auth::site;
use ironbeat_core::time::Time;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const DAY_SECS: i64 = 86_400;

#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a login: a file for whoever it is.
    Add {
        /// Whose it is; a name has one login, and may have another when that was revoked.
        name: String,
        /// What it may do.
        #[arg(long)]
        role: PersonRole,
        /// For so many days; default: until it is revoked.
        #[arg(long)]
        days: Option<u16>,
        #[command(flatten)]
        dir: Dir,
    },
    /// Show the logins that were made.
    List {
        #[command(flatten)]
        dir: Dir,
    },
    /// End a login now: its connections too.
    Revoke {
        /// A name, or the public key of a login of any kind.
        name: String,
        /// Forget all others that were ended by hand, but for people of this directory: for a list that somebody has filled.
        #[arg(long)]
        forget_others: bool,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum PersonRole {
    Admin,
    Operator,
    Observer,
}

/// A login that was made; the login itself belongs to whoever it is.
#[derive(Debug, Serialize, Deserialize)]
struct Person {
    name: String,
    role: Role,
    key: String,
    made: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
}

/// A login that was just made.
pub(super) struct Made {
    pub creds: PathBuf,
    inbox: String,
}

impl Made {
    /// How the `nats` command takes it: servers let nobody listen in another's inbox.
    pub fn for_nats(&self) -> String {
        let (creds, inbox) = (self.creds.display(), &self.inbox);
        format!(
            "nats context save ironbeat --creds {creds} --inbox-prefix {inbox}   # and --server, for the nats command"
        )
    }
}

pub async fn run(to: &Connect, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add {
            name,
            role,
            days,
            dir,
        } => {
            let role = match role {
                PersonRole::Admin => Role::Admin,
                PersonRole::Operator => Role::Operator,
                PersonRole::Observer => Role::Observer,
            };
            let made = add(&dir.dir, &name, role, days)?;
            out::lines(format_args!(
                "{} is the login of {name}, {role}: give it to nobody else.\n{}",
                made.creds.display(),
                made.for_nats()
            ))
        }
        UserCommand::List { dir } => list(to, &dir.dir),
        UserCommand::Revoke {
            name,
            forget_others,
            dir,
        } => end(to, &dir.dir, &name, forget_others).await,
    }
}

fn file(dir: &Path, name: &str, kind: &str) -> anyhow::Result<PathBuf> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let good = !name.is_empty() && name.len() <= 64 && name.chars().all(good);
    ensure!(
        good && !name.starts_with('.'),
        "{name:?} is no name: letters, digits and -_.@, at most 64"
    );
    Ok(dir.join("people").join(format!("{name}.{kind}")))
}

pub(super) fn add(dir: &Path, name: &str, role: Role, days: Option<u16>) -> anyhow::Result<Made> {
    let (creds_file, about_file) = (file(dir, name, "creds")?, file(dir, name, "json")?);
    if about_file.exists() {
        let before = read_person(&about_file)?;
        ensure!(
            before.revoked,
            "{name} has a login already: {}; `ironbeat auth user revoke {name}` ends it",
            about_file.display()
        );
    }
    let about = about(dir)?;
    let signer = role_key(dir, role)?;
    let made = now();
    let until = days.map(|days| made + i64::from(days) * DAY_SECS);
    let creds: Creds = site::login(&signer, &about.account, role, name, made, until)?;
    let person = Person {
        name: name.into(),
        role,
        key: creds.key.public_key(),
        made,
        until,
        revoked: false,
    };
    set_aside_revoked(&about_file, &creds_file)?;
    write_new(&about_file, &(serde_json::to_string(&person)? + "\n"))?;
    write_new(&creds_file, &creds.text()?)?;
    Ok(Made {
        creds: creds_file,
        inbox: creds.inbox(),
    })
}

fn read_person(file: &Path) -> anyhow::Result<Person> {
    serde_json::from_str(&read(file)?).with_context(|| format!("understand {}", file.display()))
}

/// Makes room for another login of the name. The list keeps the key of the one that was ended: it must stay so.
fn set_aside_revoked(about_file: &Path, creds_file: &Path) -> anyhow::Result<()> {
    if !about_file.exists() {
        return Ok(());
    }
    let key = read_person(about_file)?.key;
    match std::fs::remove_file(creds_file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", creds_file.display()));
        }
        _ => {}
    }
    let aside = about_file.with_extension(format!("{key}.json"));
    std::fs::rename(about_file, &aside)
        .with_context(|| format!("move {} to {}", about_file.display(), aside.display()))
}

fn people(dir: &Path) -> anyhow::Result<Vec<Person>> {
    let mut people = vec![];
    let entries = std::fs::read_dir(dir.join("people"));
    let place = || {
        let dir = dir.display();
        format!(
            "list {dir}/people: say with --dir where the site is that `ironbeat auth init` made"
        )
    };
    for entry in entries.with_context(place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "json") {
            people.push(read_person(&path)?);
        }
    }
    people.sort_by(|a, b| (&a.name, a.made).cmp(&(&b.name, b.made)));
    Ok(people)
}

fn list(to: &Connect, dir: &Path) -> anyhow::Result<()> {
    let people = people(dir)?;
    if to.json {
        return out::json(&people);
    }
    let ends = |person: &Person| match (person.revoked, person.until) {
        (true, _) => "revoked".into(),
        (false, Some(until)) if until <= now() => "over".into(),
        (false, Some(until)) => until_words(until),
        (false, None) => "-".into(),
    };
    let rows = people
        .iter()
        .map(|person| {
            let role = person.role.to_string();
            vec![person.name.clone(), role, ends(person), person.key.clone()]
        })
        .collect();
    out::table(&["NAME", "ROLE", "ENDS", "KEY"], rows)
}

/// A date does not change from one look to the next.
fn until_words(until: i64) -> String {
    let secs = u64::try_from(until).unwrap_or_default();
    Time::from_unix_ms(secs.saturating_mul(1000)).to_string()
}

async fn end(to: &Connect, dir: &Path, name: &str, forget_others: bool) -> anyhow::Result<()> {
    let about_file = file(dir, name, "json")?;
    let known = about_file.exists();
    let (key, until) = match known {
        true => {
            let person = read_person(&about_file)?;
            (person.key, person.until)
        }
        false if KeyPair::from_public_key(name).is_ok() => (name.into(), None),
        false => bail!(
            "{name}: no login of that name was made in {}: say with --dir where the site is that `ironbeat auth init` made",
            dir.display()
        ),
    };
    let present = role_key(dir, Role::Bootstrap)?.public_key();
    ensure!(
        key != present,
        "boot scripts have the bootstrap login of this key: replace it first, with `ironbeat auth bootstrap replace`"
    );
    ensure!(
        !worker::shared(dir)?.contains(&key),
        "workers share this with others: `ironbeat auth worker revoke --shared` ends it, once none of them needs it"
    );
    let but = match forget_others {
        true => {
            ensure!(
                !worker::shared(dir)?.is_empty(),
                "{} is not here, and {ABOUT} does not say which logins it has: whoever has a copy of them could come back. Put it \
                 there",
                dir.join(SHARED).display()
            );
            let people = people(dir)?.into_iter().map(|person| person.key);
            let keys = people
                .chain(worker::keys(dir)?)
                .chain(bootstrap::keys(dir)?);
            Some(keys.collect())
        }
        false => None,
    };
    end_keys(to, dir, &vec![(key.clone(), until)], but.as_ref()).await?;
    if known {
        let mut person = read_person(&about_file)?;
        person.revoked = true;
        replace(&about_file, &(serde_json::to_string(&person)? + "\n"))?;
    }
    match to.json {
        true => out::json(&json!({ "name": name, "key": key, "ended": true })),
        false => out::line(format_args!(
            "{name} is out: the NATS servers have dropped it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_login_is_a_date() {
        assert_eq!(until_words(DAY_SECS), "1970-01-02T00:00:00.000Z");
    }
}
