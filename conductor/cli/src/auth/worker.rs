//! `ironbeat auth worker`: logins of workers and their keys for agents, made from the site's keys, listed, and ended.
//! `ironbeat-auth` says what they mean; `init` makes those that all workers share.
use super::about::{CA, Dir, SHARED, about, now, operator_key, role_key};
use super::ending::end;
use super::files::{make_dir, read, replace, write_new};
use crate::client::Client;
use crate::connect::read_creds;
use crate::{Connect, out};
use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use ironbeat_auth::creds::seed;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::roles::Role;
use ironbeat_auth::sealing::Sealer;
use ironbeat_auth::site;
use ironbeat_ops::request::ListWorkers;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::fs::{remove_dir_all, rename};
use std::path::{Path, PathBuf};

/// With what a worker proves to which key secrets are sealed: in its directory.
pub const SEALING: &str = "sealing.json";
/// The operator's word for the key for agents beside it. Without it that key is the one that workers share.
pub const GRANT: &str = "agents.grant";
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
    /// End a worker's logins and its key for agents now, and with it the agents' logins.
    ///
    /// Agents at work go on: they look up again, and another worker gives them a login.
    Revoke {
        /// Whose they are.
        #[arg(required_unless_present = "shared")]
        name: Option<String>,
        /// Those of the directory `worker`, which all workers share that have none of their own.
        #[arg(long, conflicts_with = "name")]
        shared: bool,
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
    /// That of its key for agents; none: it has the one that workers share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agents: Option<String>,
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
        WorkerCommand::Revoke { name, dir, .. } => match name {
            Some(name) => revoke(to, &dir.dir, &name).await,
            None => revoke_shared(to, &dir.dir).await,
        },
        WorkerCommand::Sign { dir } => {
            let worker = dir.dir.join(SHARED);
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
        good && !name.starts_with('.') && !name.ends_with(".json"),
        "{name:?} is no name of a worker: letters, digits and -_., at most 64, and no .json at its end"
    );
    Ok(dir.join(WORKERS).join(format!("{name}.json")))
}

fn add(dir: &Path, name: &str, may_revoke: bool) -> anyhow::Result<()> {
    let about_file = about_file(dir, name)?;
    if about_file.exists() {
        ensure!(
            !made(&about_file)?.revoked,
            "{name} was revoked, and stays so ({}): take another name",
            about_file.display()
        );
        bail!("{name} has logins already: {}", about_file.display());
    }
    let workers = dir.join(WORKERS);
    let to = workers.join(name);
    ensure!(
        !to.exists(),
        "{} is there, and {} is not, which lists its logins: remove it if no worker has them",
        to.display(),
        about_file.display()
    );
    if !workers.exists() {
        make_dir(&workers)?;
    }
    // All or nothing: logins that are not listed could not be ended. No name begins with a dot.
    let new = workers.join(format!(".{name}.new"));
    if new.exists() {
        remove_dir_all(&new).with_context(|| format!("remove {}", new.display()))?;
    }
    make_dir(&new)?;
    let kept = fill(dir, &new, name, may_revoke)
        .and_then(|made| replace(&about_file, &(serde_json::to_string(&made)? + "\n")));
    if let Err(error) = kept {
        // Should it fail, the next try removes it.
        let _ = remove_dir_all(&new);
        return Err(error);
    }
    rename(&new, &to).with_context(|| format!("rename {} to {}", new.display(), to.display()))?;
    out::line(format_args!(
        "{} goes to the host of worker {name}, and nowhere else: nats.login in its configuration is where it is.",
        to.display()
    ))
}

/// All that goes to a worker's host.
fn fill(dir: &Path, to: &Path, name: &str, may_revoke: bool) -> anyhow::Result<Made> {
    let (about, made) = (about(dir)?, now());
    let signer = operator_key(dir, "signer")?;
    let key = |role| role_key(dir, role);
    let agents = KeyPair::new_account();
    let keys = write(to, Some(name), &about.account, key, &agents, made)?;
    let agents = agents.public_key();
    let grant = Grant::sign(Role::Agent, &agents, &about.prefix, None, made, &signer)?;
    write_new(&to.join(GRANT), &(grant + "\n"))?;
    if may_revoke {
        let system = operator_key(dir, "system")?;
        write_revoke(to, &system, &signer, &about.account, made)?;
    }
    let ca = dir.join(SHARED).join(CA);
    if ca.exists() {
        write_new(&to.join(CA), &read(&ca)?)?;
    }
    Ok(Made {
        name: name.into(),
        keys,
        agents: Some(agents),
        made,
        may_revoke,
        revoked: false,
    })
}

/// What a worker shows, into its directory. Returns the public keys of its logins. `key`: the site's for a role; `agents`: makes
/// agents.
pub(super) fn write(
    to: &Path,
    name: Option<&str>,
    account: &str,
    key: impl Fn(Role) -> anyhow::Result<KeyPair>,
    agents: &KeyPair,
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
    write_new(&to.join("agents.seed"), &(seed(agents)? + "\n"))?;
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
    let creds = site::revoker(system, account, now, None)?;
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

/// Public keys of all logins and minting keys that workers have, or had.
pub(super) fn keys(dir: &Path) -> anyhow::Result<Vec<String>> {
    let own = all(dir)?;
    let own = own
        .into_iter()
        .flat_map(|made| made.keys.into_iter().chain(made.agents));
    Ok(own.chain(shared(dir)?).collect())
}

/// Of those that workers share, which a site of before knows as long as it has their directory; none: it has it no more.
pub(super) fn shared(dir: &Path) -> anyhow::Result<Vec<String>> {
    let (worker, mut keys) = (dir.join(SHARED), about(dir)?.shared);
    if keys.is_empty() && worker.exists() {
        for role in [Role::Front, Role::Worker] {
            let creds = read_creds(&worker.join(format!("{role}.creds")))?;
            keys.push(creds.key.public_key());
        }
    }
    if !keys.is_empty() {
        keys.push(role_key(dir, Role::Agent)?.public_key());
    }
    Ok(keys)
}

fn list(to: &Connect, dir: &Path) -> anyhow::Result<()> {
    let all = all(dir)?;
    if to.json {
        return out::json(&all);
    }
    let row = |worker: &Made| {
        let revoked = if worker.revoked { "revoked" } else { "-" };
        let may = if worker.may_revoke { "yes" } else { "-" };
        let agents = if worker.agents.is_some() {
            "own"
        } else {
            "shared"
        };
        let keys = worker.keys.join(" ");
        vec![
            worker.name.clone(),
            revoked.into(),
            may.into(),
            agents.into(),
            keys,
        ]
    };
    let header = ["NAME", "ENDED", "MAY REVOKE", "AGENTS BY", "KEYS"];
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
    let keys = made.keys.iter().chain(&made.agents);
    let keys = keys.map(|key| (key.clone(), None)).collect();
    end(to, dir, &keys, None).await?;
    made.revoked = true;
    replace(&about_file, &(serde_json::to_string(&made)? + "\n"))?;
    if to.json {
        return out::json(&made);
    }
    out::line(format_args!(
        "{name} is out: the NATS servers have dropped it{}. It knows the master key: if its host was taken, run `ironbeat auth strangers`, and see docs/security.md",
        match made.agents {
            Some(_) =>
                ", and the agents that it has made: those at work get a login of another worker",
            None =>
                ". IT STILL HAS THE KEY THAT MAKES AGENTS, which it shares with other workers: it was made before each had its \
                 own. Give all others a directory of their own (`ironbeat auth worker add`), then run `ironbeat auth worker \
                 revoke --shared`",
        }
    ))
}

/// No worker may need them any more: nobody could give them back.
async fn revoke_shared(to: &Connect, dir: &Path) -> anyhow::Result<()> {
    let keys = shared(dir)?;
    ensure!(
        !keys.is_empty(),
        "{} is not here: it says which logins workers share",
        dir.join(SHARED).display()
    );
    let client = Client::open(to).await?;
    let agents = role_key(dir, Role::Agent)?.public_key();
    let workers = client.ask(&ListWorkers {}).await?;
    // One of a version that does not say it may share it, too.
    let shares = |own: &Option<String>| own.as_ref().is_none_or(|own| *own == agents);
    let sharing = workers.iter().filter(|it| shares(&it.mints_with));
    let sharing: Vec<&str> = sharing.map(|worker| worker.id.as_str()).collect();
    ensure!(
        sharing.is_empty(),
        "workers use what they share with others: {}. Give each a directory of its own first (`ironbeat auth worker add`), as \
         nats.login in its configuration",
        sharing.join(", ")
    );
    let ending = keys.iter().map(|key| (key.clone(), None)).collect();
    end(to, dir, &ending, None).await?;
    if to.json {
        return out::json(&keys);
    }
    out::line(format_args!(
        "{} is of no use any more: the NATS servers take neither its logins nor its key for agents. Agents at work get a login of \
         another worker.",
        dir.join(SHARED).display()
    ))
}
