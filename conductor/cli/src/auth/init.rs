//! `ironbeat auth init`: one directory with a part each for the operator, the NATS servers, the workers and the people.
//! `ironbeat-auth` makes what is in it.
use super::about::{ABOUT, About, CA, now, role_seed};
use super::certificates::{self, Certificates};
use super::files::{make_dir, write_new};
use super::user;
use super::worker::{write, write_revoke};
use crate::{Connect, out};
use anyhow::{Context, ensure};
use clap::Args;
use ironbeat_auth::creds::seed;
use ironbeat_auth::roles::Role;
use ironbeat_auth::site::{Server, Site};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct InitArgs {
    /// A directory to make.
    dir: PathBuf,
    /// A name or address of a NATS server, for its certificate; more than once for more.
    #[arg(long = "host", default_values_t = ["127.0.0.1".to_string(), "localhost".to_string()])]
    hosts: Vec<String>,
    /// Where the NATS server listens.
    #[arg(long, default_value = "0.0.0.0:4222")]
    listen: SocketAddr,
    /// Make a CA and a certificate for the servers, and let them take TLS only.
    #[arg(long)]
    tls: bool,
    /// Where the files of `server/` will be on the NATS server's host; default: where they are made.
    #[arg(long)]
    server_dir: Option<PathBuf>,
}

pub const CA_KEY: &str = "operator/ca.key";

pub fn run(to: &Connect, args: &InitArgs) -> anyhow::Result<()> {
    let dir = &args.dir;
    let ready = std::fs::read_dir(dir).map(|mut entries| entries.next().is_none());
    ensure!(
        ready.unwrap_or(true),
        "{} is there already, and keys are never overwritten: choose another directory",
        dir.display()
    );
    let prefix = to.prefix();
    ensure!(
        prefix.split('.').all(is_token),
        "the prefix is {prefix:?}: its parts between dots have letters, digits, - and _"
    );
    let now = now();
    let certificates = args.tls.then(|| certificates::make(&args.hosts, now));
    let certificates = certificates.transpose()?;
    let site = Site::new(prefix);
    if !dir.exists() {
        make_dir(dir)?;
    }
    let dir = dir
        .canonicalize()
        .with_context(|| format!("find {}", dir.display()))?;
    for part in ["operator", "server", "worker", "people"] {
        make_dir(&dir.join(part))?;
    }
    let shared = worker(&dir, &site, now)?;
    operator(&dir, &site, certificates.as_ref(), shared)?;
    server(&dir, &site, args, certificates.as_ref(), now)?;
    if let Some(certificates) = &certificates {
        for part in ["server", "worker", "people"] {
            write_new(&dir.join(part).join(CA), &certificates.ca)?;
        }
    }
    let admin = user::add(&dir, "admin", Role::Admin, None)?;
    let path = dir.display();
    out::lines(format_args!(
        "{path}/operator/identity.seed is needed again only if another key is lost: take it offline.\n\
         {path}/operator makes logins: keep it from everybody but the admins.\n\
         {path}/server goes to the hosts of NATS: nats-server -c {}/nats-server.conf\n\
         {path}/worker goes to the hosts of workers: nats.login in their configuration is where it is.\n\
         {path}/people/admin.creds is your own login: ironbeat --creds FILE, or IRONBEAT_CREDS, or ~/.config/ironbeat/creds.\n\
         {}",
        server_dir(&dir, args).display(),
        admin.for_nats(),
    ))
}

fn is_token(token: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !token.is_empty() && token.chars().all(good)
}

fn operator(
    dir: &Path,
    site: &Site,
    tls: Option<&Certificates>,
    shared: Vec<String>,
) -> anyhow::Result<()> {
    let about = About {
        account: site.account.clone(),
        prefix: site.prefix.clone(),
        shared,
    };
    write_new(&dir.join(ABOUT), &(serde_json::to_string(&about)? + "\n"))?;
    let operator = dir.join("operator");
    for (name, key) in [
        ("identity.seed", &site.operator),
        ("signer.seed", &site.signer),
        ("system.seed", &site.system),
    ] {
        write_new(&operator.join(name), &(seed(key)? + "\n"))?;
    }
    for (role, key) in &site.roles {
        write_new(&dir.join(role_seed(*role)), &(seed(key)? + "\n"))?;
    }
    match tls {
        Some(tls) => write_new(&dir.join(CA_KEY), &tls.ca_key),
        None => Ok(()),
    }
}

fn server_dir(dir: &Path, args: &InitArgs) -> PathBuf {
    args.server_dir
        .clone()
        .unwrap_or_else(|| dir.join("server"))
}

fn server(
    dir: &Path,
    site: &Site,
    args: &InitArgs,
    tls: Option<&Certificates>,
    now: i64,
) -> anyhow::Result<()> {
    let (made, there) = (dir.join("server"), server_dir(dir, args));
    let (cert, key) = (there.join("server.pem"), there.join("server.key"));
    if let Some(tls) = tls {
        write_new(&made.join("server.pem"), &tls.server.certificate)?;
        write_new(&made.join("server.key"), &tls.server.key)?;
    }
    let accounts = there.join("accounts");
    let server = Server {
        listen: args.listen,
        store: &there.join("jetstream"),
        auth: "auth.conf",
    };
    let lines = site.server_lines(&accounts, tls.map(|_| (&*cert, &*key)), now)?;
    write_new(&made.join("auth.conf"), &lines)?;
    write_new(&made.join("nats-server.conf"), &server.config())
}

/// Returns the public keys of its logins.
fn worker(dir: &Path, site: &Site, now: i64) -> anyhow::Result<Vec<String>> {
    let (worker, account) = (dir.join("worker"), &site.account);
    let key = |role| Ok(site.key(role).clone());
    let keys = write(&worker, None, account, key, site.key(Role::Agent), now)?;
    write_revoke(&worker, &site.system, &site.signer, account, now)?;
    Ok(keys)
}
