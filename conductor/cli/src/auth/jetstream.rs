//! Logins for JetStream itself: streams and consumers as such, which no role of workers or people may touch.
//! `ironbeat auth jetstream` hands one out for the `nats` command; `strangers` looks around with one of its own.
use super::about::{Dir, about, now, role_key, role_seed};
use super::files::write_new;
use crate::connect::Connected;
use crate::{Connect, out};
use anyhow::{Context, bail};
use clap::Args;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::roles::Role;
use ironbeat_auth::site;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A leader election takes up to 9 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of a login that a command makes for itself: longer than it runs, and than clocks differ.
const OWN_SECS: i64 = 300;
/// Pages of a list, of 256 entries each.
const MAX_PAGES: u32 = 1000;

#[derive(Args)]
pub struct JetstreamArgs {
    /// A file to make.
    file: PathBuf,
    /// For so long.
    #[arg(long, default_value_t = 60)]
    minutes: u16,
    #[command(flatten)]
    dir: Dir,
}

pub fn run(args: &JetstreamArgs) -> anyhow::Result<()> {
    let creds = login(&args.dir.dir, "jetstream", i64::from(args.minutes) * 60)?;
    write_new(&args.file, &creds.text()?)?;
    let (file, inbox) = (args.file.display(), creds.inbox());
    out::lines(format_args!(
        "{file} may do everything with streams and consumers, for {} minutes: give it to nobody else.\n\
         nats --creds {file} --inbox-prefix {inbox} stream ls   # and --server",
        args.minutes
    ))
}

/// A site that was made before there was a key for this has workers that may do it.
fn login(dir: &Path, name: &str, secs: i64) -> anyhow::Result<Creds> {
    let role = match dir.join(role_seed(Role::Jetstream)).exists() {
        true => Role::Jetstream,
        false => Role::Worker,
    };
    let (about, signer, made) = (about(dir)?, role_key(dir, role)?, now());
    let until = Some(made + secs);
    Ok(site::login(
        &signer,
        &about.account,
        role,
        name,
        made,
        until,
    )?)
}

/// JetStream's API (<https://docs.nats.io/reference/reference-protocols/nats_api_reference>), in the servers' own JSON.
pub(super) struct Api(Connected);

impl Api {
    /// # Errors
    /// When the keys of the site are not in `dir`, or no server takes the login.
    pub async fn open(to: &Connect, dir: &Path) -> anyhow::Result<Self> {
        let creds = login(dir, "strangers", OWN_SECS)?;
        Ok(Self(to.open_as(Some(creds)).await?))
    }

    /// # Errors
    /// When the servers refuse it, in their words, or do not answer.
    pub async fn ask(&self, verb: &str, body: &Value) -> anyhow::Result<Value> {
        let what = || format!("ask JetStream for {verb}");
        let request = async_nats::Request::new()
            .payload(body.to_string().into())
            .timeout(Some(PATIENCE));
        let mut refused = self.0.refused.clone();
        let answer = tokio::select! {
            answer = self.0.nats.send_request(format!("$JS.API.{verb}"), request) => answer.with_context(what)?,
            Ok(heard) = async { refused.wait_for(|all| !all.is_empty()).await.map(|all| all[0].to_string()) } => bail!(
                "{}: the login that this command has made lacks the {heard}: is {} missing?",
                what(),
                role_seed(Role::Jetstream)
            ),
        };
        let answer: Value = serde_json::from_slice(&answer.payload).with_context(what)?;
        match answer["error"]["description"].as_str() {
            Some(why) => bail!("{}: {why}", what()),
            None => Ok(answer),
        }
    }

    /// All entries of a list, which comes in pages; `field` has them.
    ///
    /// # Errors
    /// As of [`Self::ask`], and when the list has no end.
    pub async fn list(&self, verb: &str, field: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = vec![];
        for _ in 0..MAX_PAGES {
            let mut page = self.ask(verb, &json!({ "offset": all.len() })).await?;
            let total = page["total"].as_u64().unwrap_or_default();
            let entries = page[field].as_array_mut().map(std::mem::take);
            let entries = entries.unwrap_or_default();
            if entries.is_empty() && (all.len() as u64) < total {
                bail!("ask JetStream for {verb}: {} of {total} came", all.len());
            }
            all.extend(entries);
            if all.len() as u64 >= total {
                return Ok(all);
            }
        }
        bail!("ask JetStream for {verb}: the list has no end")
    }
}
