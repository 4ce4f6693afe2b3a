//! `ironbeat auth worker`: logins of workers, made from the site's keys, listed, and ended.
//! `ironbeat-auth` says what they mean; `init` makes the first worker's.
use super::about::{ABOUT, About, CA, Dir, now, operator_key, role_key};
use super::ending::{order, revoke as revoke_key};
use super::files::{make_dir, read, replace, write_new};
use crate::client::Client;
use crate::{Connect, out};
use anyhow::{Context, ensure};
use clap::Subcommand;
use ironbeat_auth::creds::seed;
use ironbeat_auth::roles::Role;
use ironbeat_auth::sealing::Sealer;
use ironbeat_auth::site;
use ironbeat_ops::request::RevokeLogin;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// With what a worker proves to which key secrets are sealed: in its directory.
pub const SEALING: &str = "sealing.json";
/// Where the directories of workers are that have logins of their own.
const WORKERS: &str = "workers";

#[derive(Subcommand)]
pub enum WorkerCommand {
    /// Make a directory like `worker/`, with logins of its own for one more worker.
    Add {
        /// Which worker it is for; a name has one directory.
        name: String,
        /// With the directory `revoke/`: it can then tell the NATS servers whose login has ended, and change what roles may do.
        #[arg(long)]
        may_revoke: bool,
        #[command(flatten)]
        dir: Dir,
    },
    /// Show the workers that have logins of their own.
    List {
        #[command(flatten)]
        dir: Dir,
    },
    /// End a worker's logins now: its connections too.
    Revoke {
        /// Whose they are.
        name: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Make `worker/sealing.json` for a site that was made without it.
    ///
    /// With it commands believe its workers, and send them secrets.
    Sign {
        #[command(flatten)]
        dir: Dir,
    },
}

/// A worker's logins; what they are made of belongs to its host.
#[derive(Serialize, Deserialize)]
struct Made {
    name: String,
    /// Public keys.
    keys: Vec<String>,
    made: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_revoke: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
}

pub async fn run(to: &Connect, command: WorkerCommand) -> anyhow::Result<()> {
    match command {
        WorkerCommand::Add {
            name,
            may_revoke,
            dir,
        } => add(&dir.dir, &name, may_revoke),
        WorkerCommand::List { dir } => list(to, &dir.dir),
        WorkerCommand::Revoke { name, dir } => revoke(to, &dir.dir, &name).await,
        WorkerCommand::Sign { dir } => {
            let worker = dir.dir.join("worker");
            sign(&worker, |role| role_key(&dir.dir, role))?;
            out::line(format_args!(
                "{}: copy it into the directory nats.login of the workers' hosts, and restart the workers.",
                worker.join(SEALING).display()
            ))
        }
    }
}

fn about_file(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = !name.is_empty() && name.len() <= 64 && name.chars().all(good);
    ensure!(
        good && !name.starts_with('.'),
        "{name:?} is no name of a worker: letters, digits and -_., at most 64"
    );
    Ok(dir.join(WORKERS).join(format!("{name}.json")))
}

fn add(dir: &Path, name: &str, may_revoke: bool) -> anyhow::Result<()> {
    let about_file = about_file(dir, name)?;
    ensure!(
        !about_file.exists(),
        "{name} has logins already: {}",
        about_file.display()
    );
    let about: About = serde_json::from_str(&read(&dir.join(ABOUT))?)
        .with_context(|| format!("understand {}", dir.join(ABOUT).display()))?;
    let workers = dir.join(WORKERS);
    if !workers.exists() {
        make_dir(&workers)?;
    }
    let (to, made) = (workers.join(name), now());
    make_dir(&to)?;
    let key = |role| role_key(dir, role);
    let keys = write(&to, Some(name), &about.account, key, made)?;
    if may_revoke {
        let (system, signer) = (operator_key(dir, "system")?, operator_key(dir, "signer")?);
        write_revoke(&to, &system, &signer, &about.account, made)?;
    }
    let ca = dir.join("worker").join(CA);
    if ca.exists() {
        write_new(&to.join(CA), &read(&ca)?)?;
    }
    let made = Made {
        name: name.into(),
        keys,
        made,
        may_revoke,
        revoked: false,
    };
    write_new(&about_file, &(serde_json::to_string(&made)? + "\n"))?;
    out::line(format_args!(
        "{} goes to the host of worker {name}, and nowhere else: nats.login in its configuration is where it is.",
        to.display()
    ))
}

/// What a worker shows, into its directory. Returns the public keys of its logins. `key`: the site's for a role.
pub(super) fn write(
    to: &Path,
    name: Option<&str>,
    account: &str,
    key: impl Fn(Role) -> anyhow::Result<KeyPair>,
    now: i64,
) -> anyhow::Result<Vec<String>> {
    let login = |role: Role| {
        let name = name.unwrap_or(role.name());
        Ok::<_, anyhow::Error>(site::login(&key(role)?, account, role, name, now, None)?)
    };
    let mut keys = vec![];
    // In this order they are ended: who has lost the first answers no more.
    for role in [Role::Front, Role::Worker] {
        let creds = login(role)?;
        write_new(&to.join(format!("{role}.creds")), &creds.text()?)?;
        keys.push(creds.key.public_key());
    }
    let minting = seed(&key(Role::Agent)?)?;
    write_new(&to.join("agents.seed"), &(minting + "\n"))?;
    let bootstrap = login(Role::Bootstrap)?.jwt;
    write_new(&to.join("bootstrap.jwt"), &(bootstrap + "\n"))?;
    sign(to, key)?;
    Ok(keys)
}

/// What ends logins, for workers that may.
pub(super) fn write_revoke(
    worker: &Path,
    system: &KeyPair,
    signer: &KeyPair,
    account: &str,
    now: i64,
) -> anyhow::Result<()> {
    let to = worker.join("revoke");
    make_dir(&to)?;
    let creds = site::revoker(system, account, now)?;
    write_new(&to.join("system.creds"), &creds.text()?)?;
    write_new(&to.join("signer.seed"), &(seed(signer)? + "\n"))
}

fn sign(worker: &Path, key: impl Fn(Role) -> anyhow::Result<KeyPair>) -> anyhow::Result<()> {
    let people = Sealer::roles().map(key);
    let people = people.collect::<anyhow::Result<Vec<KeyPair>>>()?;
    write_new(&worker.join(SEALING), &Sealer::new(&people)?.text()?)
}

fn made(path: &Path) -> anyhow::Result<Made> {
    serde_json::from_str(&read(path)?).with_context(|| format!("understand {}", path.display()))
}

fn all(dir: &Path) -> anyhow::Result<Vec<Made>> {
    let (mut all, workers) = (vec![], dir.join(WORKERS));
    if workers.exists() {
        let entries = std::fs::read_dir(&workers);
        for entry in entries.with_context(|| format!("list {}", workers.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") && path.is_file() {
                all.push(made(&path)?);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Public keys of all logins that workers have of their own.
pub(super) fn keys(dir: &Path) -> anyhow::Result<Vec<String>> {
    Ok(all(dir)?.into_iter().flat_map(|made| made.keys).collect())
}

fn list(to: &Connect, dir: &Path) -> anyhow::Result<()> {
    let all = all(dir)?;
    if to.json {
        return out::json(&all);
    }
    let row = |worker: &Made| {
        let revoked = if worker.revoked { "revoked" } else { "-" };
        let may = if worker.may_revoke { "yes" } else { "-" };
        let keys = worker.keys.join(" ");
        vec![worker.name.clone(), revoked.into(), may.into(), keys]
    };
    let header = ["NAME", "ENDED", "MAY REVOKE", "KEYS"];
    out::table(&header, all.iter().map(row).collect())
}

async fn revoke(to: &Connect, dir: &Path, name: &str) -> anyhow::Result<()> {
    let about_file = about_file(dir, name)?;
    ensure!(
        about_file.exists(),
        "{name}: no worker of that name has logins of its own in {}",
        dir.display()
    );
    let mut made = made(&about_file)?;
    let client = Client::open(to).await?;
    for key in &made.keys {
        let ask = RevokeLogin {
            key: key.clone(),
            until: None,
            order: order(dir, key, None)?,
        };
        revoke_key(&client, &ask, name).await?;
    }
    made.revoked = true;
    replace(&about_file, &(serde_json::to_string(&made)? + "\n"))?;
    if to.json {
        return out::json(&made);
    }
    out::line(format_args!(
        "{name} is out: the NATS servers have dropped it. It knows the master key and the key that makes agents: see \
         docs/security.md if its host was taken"
    ))
}
