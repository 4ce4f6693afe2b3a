//! JetStream streams, made if they are absent and compared with what is needed if they are not, and read to their end.
//! `store`, `presence`, `seen`, `events` and `lookups` decide what is kept in them.
use super::{Cause, StoreError};
use async_nats::error::Error;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use async_nats::jetstream::{self, ErrorCode, stream};
use futures_util::StreamExt;
use ironbeat_auth::streams::CARRIERS;
use serde_json::{Value, json};
use std::num::NonZeroU8;
use std::time::Duration;

/// Between two messages while reading what is stored.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What three servers can keep: one of them may be lost.
const SAFE: usize = 3;
/// "Replicas need a cluster", and "too few servers for so many".
const TOO_FEW_SERVERS: [u64; 2] = [10074, 10005];
/// JetStream is not enabled, for the account or at all.
const NOT_ENABLED: [u64; 2] = [10039, 10076];

/// How many servers keep a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// Three where there are three servers, else one.
    AsServersAllow,
    Exactly(usize),
}

impl From<Option<NonZeroU8>> for Replicas {
    fn from(asked_for: Option<NonZeroU8>) -> Self {
        match asked_for {
            None => Replicas::AsServersAllow,
            Some(replicas) => Replicas::Exactly(replicas.get().into()),
        }
    }
}

impl Replicas {
    fn wanted(self) -> usize {
        match self {
            Replicas::AsServersAllow => SAFE,
            Replicas::Exactly(replicas) => replicas,
        }
    }
}

/// Opens the stream `wanted` describes, making it if there is none. Several workers may do so at once.
///
/// Sizes, ages and replicas are the operator's to change; what would change the meaning of a stream is not.
///
/// # Errors
/// [`StoreError::Config`] when a stream of this name is there and differs in a way that matters, [`StoreError::Carries`] when it
/// has what none of ours has.
pub(crate) async fn ensure(
    js: &jetstream::Context,
    mut wanted: stream::Config,
    replicas: Replicas,
) -> Result<stream::Stream, StoreError> {
    let name = wanted.name.clone();
    wanted.num_replicas = replicas.wanted();
    let fail = |source: Cause| StoreError::Stream {
        what: format!("open stream {name}"),
        source,
    };
    let mut made = js.get_or_create_stream(wanted.clone()).await;
    if let (Err(refused), Replicas::AsServersAllow) = (&made, replicas)
        && has_too_few_servers(refused)
    {
        wanted.num_replicas = 1;
        made = js.get_or_create_stream(wanted.clone()).await;
    }
    let made = match made {
        Ok(stream) => Ok(stream),
        // Another worker may have made it a moment ago with another description; what matters is compared below.
        Err(refused) => js.get_stream(&name).await.map_err(|_| refused),
    };
    let stream = made.map_err(|error| fail(error.into()))?;
    let found = &stream.cached_info().config;
    if let Some((field, found, needed)) = difference(found, &wanted) {
        return Err(StoreError::Config {
            stream: name,
            field,
            found,
            needed,
        });
    }
    if let Some(fewer) = fewer_than_wanted(stream.cached_info(), replicas, servers(js)) {
        tracing::warn!(stream = name, "{fewer}");
    }
    if let Some((field, found)) = carrier(&config_as_told(js, &name).await?) {
        return Err(StoreError::Carries {
            stream: name,
            field,
            found,
        });
    }
    Ok(stream)
}

/// Whether the servers refuse for good, rather than have no leader or say nothing.
pub(super) fn is_refusal(cause: &Cause) -> bool {
    let refused = |error: &jetstream::Error| {
        let code = error.error_code().0;
        error.code() < 500 || TOO_FEW_SERVERS.contains(&code) || NOT_ENABLED.contains(&code)
    };
    let made = cause.downcast_ref::<CreateStreamError>();
    let found = cause.downcast_ref::<GetStreamError>();
    let read = cause.downcast_ref::<LastRawMessageError>();
    match (
        made.map(Error::kind),
        found.map(Error::kind),
        read.map(Error::kind),
    ) {
        (Some(CreateStreamErrorKind::JetStream(error)), _, _)
        | (_, Some(GetStreamErrorKind::JetStream(error)), _)
        | (_, _, Some(LastRawMessageErrorKind::JetStream(error))) => refused(&error),
        _ => false,
    }
}

/// Whether the servers say that the stream is not there.
pub(super) fn no_stream(cause: &Cause) -> bool {
    let read = cause.downcast_ref::<LastRawMessageError>();
    let read = read.map(Error::kind);
    matches!(read, Some(LastRawMessageErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn has_too_few_servers(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => TOO_FEW_SERVERS.contains(&error.error_code().0),
        _ => false,
    }
}

/// Servers of the cluster, as the one we are connected to announces them; one that is alone announces none.
fn servers(js: &jetstream::Context) -> usize {
    js.client().server_info().connect_urls.len()
}

/// What to do about a stream that is kept by fewer servers than it should be. It is the operator's to change: it costs
/// each of the servers a copy.
fn fewer_than_wanted(info: &stream::Info, replicas: Replicas, servers: usize) -> Option<String> {
    let (has, wanted) = (info.config.num_replicas.max(1), replicas.wanted());
    if has >= wanted {
        return None;
    }
    let cluster = info.cluster.as_ref();
    let is_alone = cluster.is_none_or(|cluster| cluster.name.is_none());
    let name = &info.config.name;
    match replicas {
        Replicas::AsServersAllow if is_alone || servers < wanted => None,
        // Servers of a cluster may announce none.
        Replicas::Exactly(_) if is_alone || (1..wanted).contains(&servers) => Some(format!(
            "replicas: {has} where nats.replicas is {wanted}: that takes a cluster of {wanted} NATS servers"
        )),
        Replicas::AsServersAllow | Replicas::Exactly(_) => Some(format!(
            "replicas: {has} where {wanted} are possible; what is in it is lost with one disk. \
             To change it: nats stream edit {name} --replicas {wanted}"
        )),
    }
}

/// A stream's configuration in the server's own words: the client has fewer settings than the server.
async fn config_as_told(js: &jetstream::Context, name: &str) -> Result<Value, StoreError> {
    let told = js
        .request(format!("STREAM.INFO.{name}"), &json!({}))
        .await
        .map_err(Cause::from)
        .and_then(|reply: Response<Value>| match reply {
            Response::Ok(mut told) => Ok(told["config"].take()),
            Response::Err { error } => Err(error.into()),
        });
    told.map_err(|source| StoreError::Stream {
        what: format!("read how stream {name} is set up"),
        source,
    })
}

/// What has the servers write or send messages in a stream's name, whoever set it up. None of ours has any.
fn carrier(config: &Value) -> Option<(&'static str, String)> {
    let set = |field: &&str| !matches!(config[*field], Value::Null | Value::Bool(false));
    let field = CARRIERS.into_iter().find(set)?;
    Some((field, config[field].to_string()))
}

/// Hands what is stored now and selected by `config` to `each`, in order.
///
/// # Errors
/// When the stream does not answer, or stops in the middle.
pub(crate) async fn read_stream(
    stream: &stream::Stream,
    config: OrderedConfig,
    mut each: impl FnMut(jetstream::Message),
) -> Result<(), StoreError> {
    let each = |message| {
        each(message);
        true
    };
    read_stream_while(stream, config, each).await
}

/// As [`read_stream`], until `each` has enough.
///
/// # Errors
/// As of [`read_stream`].
pub(crate) async fn read_stream_while(
    stream: &stream::Stream,
    config: OrderedConfig,
    mut each: impl FnMut(jetstream::Message) -> bool,
) -> Result<(), StoreError> {
    let fail = |source: Cause| StoreError::Stream {
        what: format!("read stream {}", stream.cached_info().config.name),
        source,
    };
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| fail(error.into()))?;
    let mut pending = consumer.cached_info().num_pending;
    let messages = consumer.messages().await;
    let mut messages = messages.map_err(|error| fail(error.into()))?;
    while pending > 0 {
        let message = match tokio::time::timeout(READ_PATIENCE, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(fail(error.into())),
            Ok(None) | Err(_) => return Err(fail("it stops in the middle".into())),
        };
        pending = message.info().map_or(0, |info| info.pending);
        if !each(message) {
            break;
        }
    }
    Ok(())
}

fn difference(
    found: &stream::Config,
    wanted: &stream::Config,
) -> Option<(&'static str, String, String)> {
    let age = |config: &stream::Config| match config.max_age {
        Duration::ZERO => "unlimited".to_string(),
        limited if wanted.max_age.is_zero() => format!("{limited:?}"),
        _ => "limited".to_string(),
    };
    // Whether only the last one counts is what a stream means; how many more, a size. The server writes "no limit" as -1, the
    // client as 0.
    let per_subject = |config: &stream::Config| {
        let (has, needs) = (
            config.max_messages_per_subject,
            wanted.max_messages_per_subject,
        );
        match (needs == 1) == (has == 1) {
            true => "as wanted".to_string(),
            false => has.max(0).to_string(),
        }
    };
    let fields = |config: &stream::Config| {
        [
            ("subjects", config.subjects.join(" ")),
            ("storage", format!("{:?}", config.storage)),
            ("retention", format!("{:?}", config.retention)),
            ("max_msgs_per_subject", per_subject(config)),
            ("discard", format!("{:?}", config.discard)),
            ("no_ack", config.no_ack.to_string()),
            ("deny_delete", config.deny_delete.to_string()),
            ("max_age", age(config)),
        ]
    };
    fields(found)
        .into_iter()
        .zip(fields(wanted))
        .find(|((_, found), (_, needed))| found != needed)
        .map(|((name, found), (_, needed))| (name, found, needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_servers_refuse_for_good_is_told_from_what_they_cannot_do_yet() {
        for (code, err_code, for_good) in [
            (503, 10008, false),
            (500, 10001, false),
            (503, 10076, true),
            (503, 10039, true),
            (500, 10074, true),
            (400, 10005, true),
            (404, 10059, true),
        ] {
            let said = json!({ "code": code, "err_code": err_code, "description": "x" });
            let error: jetstream::Error = serde_json::from_value(said).unwrap();
            let made = CreateStreamError::new(CreateStreamErrorKind::JetStream(error));
            assert_eq!(is_refusal(&made.into()), for_good, "{err_code}");
        }
        let silent = CreateStreamError::new(CreateStreamErrorKind::TimedOut);
        assert!(!is_refusal(&silent.into()));
    }

    #[test]
    fn fewer_replicas_than_the_servers_allow_are_said_with_the_way_to_change_it() {
        const EDIT: Option<&str> = Some("nats stream edit KV_ib --replicas ");
        const TAKES: Option<&str> = Some("that takes a cluster of ");
        let info = |replicas: usize, cluster: Option<&str>| -> stream::Info {
            let config = stream::Config {
                name: "KV_ib".into(),
                num_replicas: replicas,
                ..stream::Config::default()
            };
            serde_json::from_value(json!({
                "config": config, "created": "2026-11-29T12:00:00Z", "cluster": { "name": cluster },
                "state": { "messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0, "consumer_count": 0,
                    "first_ts": "2026-11-29T12:00:00Z", "last_ts": "2026-11-29T12:00:00Z" },
            }))
            .unwrap()
        };
        let auto = Replicas::AsServersAllow;
        for (has, cluster, replicas, servers, expected) in [
            (1, Some("c"), auto, 3, EDIT),
            (3, Some("c"), auto, 3, None),
            (5, Some("c"), auto, 5, None),
            (1, Some("c"), auto, 2, None),
            (1, None, auto, 0, None),
            (1, None, Replicas::Exactly(1), 0, None),
            (1, None, Replicas::Exactly(3), 0, TAKES),
            (1, Some("c"), Replicas::Exactly(1), 3, None),
            (1, Some("c"), Replicas::Exactly(5), 3, TAKES),
            (1, Some("c"), Replicas::Exactly(5), 0, EDIT),
        ] {
            let said = fewer_than_wanted(&info(has, cluster), replicas, servers);
            let case = format!("{has} {cluster:?} {replicas:?} {servers}: {said:?}");
            match (said, expected) {
                (Some(said), Some(words)) => assert!(said.contains(words), "{case}"),
                (said, expected) => assert_eq!(said.as_deref(), expected, "{case}"),
            }
        }
    }

    /// Settings of all streams of nats-server 2.15, and of those that a thief has changed.
    #[test]
    fn a_stream_that_sends_or_takes_messages_by_itself_is_told_from_a_plain_one() {
        let plain = json!({ "name": "KV_ib", "allow_msg_schedules": false, "sources": null, "metadata": { "_nats.level": "4" } });
        let check = |field: &str, value: Value, expected: Option<&str>| {
            let mut config = plain.clone();
            config[field] = value;
            assert_eq!(carrier(&config).map(|it| it.0), expected, "{config}");
        };
        check("description", json!("mine"), None);
        let republish = json!({ "src": "$KV.ib.>", "dest": "_INBOX.boot.>" });
        check("republish", republish, Some("republish"));
        check("mirror", json!({ "name": "X" }), Some("mirror"));
        check("sources", json!([{ "name": "X" }]), Some("sources"));
        let transform = json!({ "src": ">", "dest": "x.>" });
        check("subject_transform", transform, Some("subject_transform"));
        check(
            "allow_msg_schedules",
            json!(true),
            Some("allow_msg_schedules"),
        );
    }

    #[test]
    fn what_changes_the_meaning_must_agree_and_sizes_need_not() {
        let wanted = stream::Config {
            subjects: vec!["a.>".into()],
            max_messages_per_subject: 1,
            ..stream::Config::default()
        };
        let check = |change: &dyn Fn(&mut stream::Config), expected: Option<&str>| {
            let mut found = wanted.clone();
            change(&mut found);
            let field = difference(&found, &wanted).map(|(field, _, _)| field);
            assert_eq!(field, expected, "{found:?}");
        };
        check(&|_| {}, None);
        check(&|c| c.num_replicas = 3, None);
        check(&|c| c.max_bytes = 1 << 30, None);
        check(&|c| c.allow_direct = true, None);
        check(&|c| c.subjects = vec!["b.>".into()], Some("subjects"));
        check(
            &|c| c.storage = stream::StorageType::Memory,
            Some("storage"),
        );
        check(
            &|c| c.max_messages_per_subject = 5,
            Some("max_msgs_per_subject"),
        );
        let many = stream::Config {
            max_messages_per_subject: 300,
            ..wanted.clone()
        };
        for (has, expected) in [(-1, None), (7, None), (1, Some("max_msgs_per_subject"))] {
            let mut found = many.clone();
            found.max_messages_per_subject = has;
            let field = difference(&found, &many).map(|(field, _, _)| field);
            assert_eq!(field, expected, "{has}");
        }
        check(&|c| c.no_ack = true, Some("no_ack"));
        check(&|c| c.max_age = Duration::from_secs(9), Some("max_age"));
    }
}
