//! `ironbeat auth strangers`: what is in JetStream and was not made by Ironbeat. It outlives the login that made it, and the
//! servers carry it out with nobody's permissions.
//! `jetstream` asks the servers; what is Ironbeat's own says `ironbeat_auth::streams`.
use super::about::{Dir, about, now};
use super::jetstream::Api;
use super::worker;
use crate::{Connect, out};
use anyhow::{Context, bail};
use clap::Args;
use ironbeat_auth::streams::{self, CARRIERS};
use ironbeat_core::time::Time;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Workers read events and recorded consoles with consumers that live as long as the reading.
const LONGEST_READ_SECS: u64 = 600;

#[derive(Args)]
pub struct StrangersArgs {
    /// Delete the streams and consumers, and set Ironbeat's own streams right.
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    dir: Dir,
}

/// A stream or consumer that nobody of Ironbeat has made so.
#[derive(Debug, Serialize)]
struct Stranger {
    stream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    /// As the servers say it.
    created: String,
    what: String,
    /// As the servers have it.
    config: Value,
    /// How it is made to go: what JetStream is asked.
    #[serde(skip)]
    cure: (String, Value),
}

pub async fn run(to: &Connect, args: &StrangersArgs) -> anyhow::Result<()> {
    let dir = &args.dir.dir;
    let api = Api::open(to, dir).await?;
    let found = look(&api, dir).await?;
    show(to, &found)?;
    if !args.delete || found.is_empty() {
        return left(&found, "--delete deletes them");
    }
    let mut refused = vec![];
    for stranger in &found {
        let (verb, body) = &stranger.cure;
        if let Err(why) = api.ask(verb, body).await {
            refused.push(out::causes(&why));
        }
    }
    let still = look(&api, dir).await?;
    left(&still, &refused.join("; "))?;
    if !to.json {
        out::line("They are gone.")?;
    }
    Ok(())
}

fn show(to: &Connect, found: &[Stranger]) -> anyhow::Result<()> {
    if to.json {
        return out::json(&found);
    }
    if found.is_empty() {
        return out::line("Streams and consumers are Ironbeat's own.");
    }
    let row = |it: &Stranger| {
        let consumer = it.consumer.clone().unwrap_or("-".into());
        let (stream, created) = (it.stream.clone(), it.created.clone());
        vec![stream, consumer, created, it.what.clone()]
    };
    let header = ["STREAM", "CONSUMER", "CREATED", "WHAT"];
    out::table(&header, found.iter().map(row).collect())
}

fn left(strangers: &[Stranger], why: &str) -> anyhow::Result<()> {
    match strangers {
        [] => Ok(()),
        [one] => bail!("{} of stream {} is left: {why}", one.what, one.stream),
        all => bail!(
            "{} streams and consumers are left that are not Ironbeat's: {why}",
            all.len()
        ),
    }
}

async fn look(api: &Api, dir: &Path) -> anyhow::Result<Vec<Stranger>> {
    let ours = streams::all(&about(dir)?.prefix);
    let there = api.list("STREAM.LIST", "streams").await?;
    let mut found: Vec<Stranger> = there
        .iter()
        .filter_map(|info| strange_stream(info, &ours))
        .collect();
    let workers = worker::keys(dir)?;
    let secs = u64::try_from(now()).context("read this host's clock")?;
    let now = Time::from_unix_ms(secs * 1000);
    for (stream, _) in &ours {
        if there.iter().all(|info| info["config"]["name"] != **stream) {
            continue;
        }
        let verb = format!("CONSUMER.LIST.{stream}");
        let consumers = api.list(&verb, "consumers").await?;
        let strange = consumers
            .iter()
            .filter_map(|info| strange_consumer(stream, info, &workers, now));
        found.extend(strange);
    }
    Ok(found)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// `info`: an answer to STREAM.INFO.
fn strange_stream(info: &Value, ours: &[(String, String)]) -> Option<Stranger> {
    let config = &info["config"];
    let stream = text(&config["name"]);
    let mut has: Vec<String> = CARRIERS
        .into_iter()
        .filter(|field| is_set(&config[*field]))
        .map(|field| format!("{field} {}", config[field]))
        .collect();
    let own = ours.iter().find(|(name, _)| *name == stream);
    let (what, cure) = match own {
        Some((_, subject)) => {
            let subjects = json!([subject]);
            if config["subjects"] != subjects {
                has.insert(0, format!("subjects {}", config["subjects"]));
            }
            if has.is_empty() {
                return None;
            }
            let mut right = config.clone();
            if let Some(fields) = right.as_object_mut() {
                fields.retain(|field, _| !CARRIERS.contains(&field.as_str()));
            }
            right["subjects"] = subjects;
            let cure = (format!("STREAM.UPDATE.{stream}"), right);
            (format!("has {}", has.join(", ")), cure)
        }
        None => {
            if is_set(&config["subjects"]) {
                has.insert(0, format!("subjects {}", config["subjects"]));
            }
            let cure = (format!("STREAM.DELETE.{stream}"), json!({}));
            (format!("foreign stream: {}", has.join(", ")), cure)
        }
    };
    Some(Stranger {
        stream,
        consumer: None,
        created: text(&info["created"]),
        what,
        config: config.clone(),
        cure,
    })
}

/// `info`: an answer to CONSUMER.INFO. `workers`: public keys of workers, whose inboxes nobody else hears.
fn strange_consumer(stream: &str, info: &Value, workers: &[String], now: Time) -> Option<Stranger> {
    let config = &info["config"];
    let durable = is_set(&config["durable_name"]);
    let bound = info["push_bound"] == true;
    let to = config["deliver_subject"].as_str();
    let created = text(&info["created"]);
    let ours = match to {
        Some(to) => {
            let mut tokens = to.split('.');
            let inbox = tokens.next() == Some("_INBOX");
            let key = tokens.next().unwrap_or_default();
            inbox && workers.iter().any(|worker| worker == key)
        }
        // It sends to whoever asks, and to none that asks no more; but what was asked before is sent for as long as it is there.
        None => is_recent(&created, now),
    };
    if ours && !durable {
        return None;
    }
    let lives = if durable { "durable" } else { "ephemeral" };
    let how = match (to, bound) {
        (Some(to), true) => format!("{lives}, sends to {to}, where somebody listens"),
        (Some(to), false) => format!("{lives}, sends to {to}, where nobody listens"),
        (None, _) => format!(
            "{lives}, {} wait for messages of it",
            info["num_waiting"].as_u64().unwrap_or_default()
        ),
    };
    let of = match (&config["filter_subject"], &config["filter_subjects"]) {
        (Value::String(one), _) => one.clone(),
        (_, Value::Null) => "everything".into(),
        (_, many) => many.to_string(),
    };
    let name = text(&info["name"]);
    Some(Stranger {
        stream: stream.into(),
        created,
        what: format!("consumer of {of}: {how}"),
        config: config.clone(),
        cure: (format!("CONSUMER.DELETE.{stream}.{name}"), json!({})),
        consumer: Some(name),
    })
}

/// Servers say UTC, with as many digits of a second as there are.
fn is_recent(created: &str, now: Time) -> bool {
    let second = created.get(..19).filter(|_| created.ends_with('Z'));
    let at: Option<Time> = second.and_then(|second| format!("{second}.000Z").parse().ok());
    at.is_some_and(|at| now.since(at).as_secs() < LONGEST_READ_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_stream_is_ours_by_its_name_its_subject_and_nothing_else_that_carries_messages() {
        let ours = streams::all("ib.v1");
        let check = |config: Value, expected: Option<(&str, &str)>| {
            let info = json!({ "config": config, "created": "2026-11-30T19:21:03.5Z" });
            let found = strange_stream(&info, &ours);
            let found = found.as_ref().map(|it| (&*it.what, &*it.cure.0));
            assert_eq!(found, expected, "{config}");
        };
        check(
            json!({ "name": "KV_ib", "subjects": ["$KV.ib.>"], "sources": null, "allow_msg_schedules": false }),
            None,
        );
        check(
            json!({ "name": "KV_ib", "subjects": ["$KV.ib.>"], "republish": { "dest": "x" } }),
            Some((r#"has republish {"dest":"x"}"#, "STREAM.UPDATE.KV_ib")),
        );
        check(
            json!({ "name": "IB_CONSOLES", "subjects": ["ib.v1.api.>"] }),
            Some((
                r#"has subjects ["ib.v1.api.>"]"#,
                "STREAM.UPDATE.IB_CONSOLES",
            )),
        );
        check(
            json!({ "name": "EARS", "subjects": ["_INBOX.>"] }),
            Some((
                r#"foreign stream: subjects ["_INBOX.>"]"#,
                "STREAM.DELETE.EARS",
            )),
        );
        check(
            json!({ "name": "COPY", "mirror": { "name": "KV_ib" } }),
            Some((
                r#"foreign stream: mirror {"name":"KV_ib"}"#,
                "STREAM.DELETE.COPY",
            )),
        );
    }

    #[test]
    fn our_own_stream_is_set_right_and_keeps_what_an_operator_has_set() {
        let config = json!({ "name": "KV_ib", "subjects": ["$KV.ib.>", "x"], "max_bytes": 7, "republish": { "dest": "x" } });
        let info = json!({ "config": config });
        let found = strange_stream(&info, &streams::all("ib.v1")).unwrap();
        let right = json!({ "name": "KV_ib", "subjects": ["$KV.ib.>"], "max_bytes": 7 });
        assert_eq!(found.cure.1, right);
    }

    #[test]
    fn a_consumer_is_ours_when_it_sends_to_a_workers_inbox_or_somebody_reads_just_now() {
        let now: Time = "2026-11-30T19:30:00.000Z".parse().unwrap();
        let inbox = format!("_INBOX.{WORKER}.abc");
        let check = |config: Value, bound: bool, created: &str, ours: bool| {
            let info =
                json!({ "name": "c", "config": config, "push_bound": bound, "created": created });
            let found = strange_consumer("KV_ib", &info, &[WORKER.into()], now);
            assert_eq!(found.is_none(), ours, "{info}: {found:?}");
        };
        let (new, old) = ("2026-11-30T19:25:00.123456789Z", "2026-11-30T19:15:00Z");
        check(json!({ "deliver_subject": inbox }), true, old, true);
        check(json!({ "deliver_subject": inbox }), false, old, true);
        check(
            json!({ "deliver_subject": inbox, "durable_name": "c" }),
            true,
            new,
            false,
        );
        check(
            json!({ "deliver_subject": "_INBOX.boot.ear" }),
            true,
            new,
            false,
        );
        check(
            json!({ "deliver_subject": "$KV.ib.revoked" }),
            true,
            new,
            false,
        );
        check(json!({}), false, new, true);
        check(json!({}), false, old, false);
        check(json!({}), false, "yesterday", false);
        check(json!({ "durable_name": "c" }), false, new, false);
    }
}
