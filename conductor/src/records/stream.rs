//! JetStream streams, made if they are absent and compared with what is needed if they are not, and read to their end.
//! `store`, `presence`, `seen`, `events` and `lookups` decide what is kept in them.
use super::{Cause, StoreError};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Between two messages while reading what is stored.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Opens the stream `wanted` describes, making it if there is none. Several workers may do so at once.
///
/// Sizes, ages and replicas are the operator's to change; what would change the meaning of a stream is not.
///
/// # Errors
/// [`StoreError::Config`] when a stream of this name is there and differs in a way that matters.
pub(crate) async fn ensure(
    js: &jetstream::Context,
    wanted: stream::Config,
) -> Result<stream::Stream, StoreError> {
    let name = wanted.name.clone();
    let fail = |source: Cause| StoreError::Stream {
        what: format!("open stream {name}"),
        source,
    };
    let made = match js.get_or_create_stream(wanted.clone()).await {
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
    if let (None, Some(about)) = (&found.description, &wanted.description)
        && let Err(why) = describe(js, &name, about).await
    {
        // A stream works without one: a worker may lack the right to change it.
        tracing::debug!(stream = name, "not described: {why}");
    }
    Ok(stream)
}

/// Gives a description to a stream that was made without one. All else stays as the server has it, in its own words: the
/// client has fewer settings than the server, and would take away what an operator has set.
async fn describe(js: &jetstream::Context, name: &str, about: &str) -> Result<(), String> {
    let ask = async |verb: &str, body: &Value| {
        let subject = format!("STREAM.{verb}.{name}");
        match js.request(subject, body).await {
            Ok(Response::Ok(reply)) => Ok::<Value, String>(reply),
            Ok(Response::Err { error }) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    let mut config = ask("INFO", &json!({})).await?["config"].take();
    config["description"] = about.into();
    ask("UPDATE", &config).await.map(drop)
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
        each(message);
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
    let fields = |config: &stream::Config| {
        [
            ("subjects", config.subjects.join(" ")),
            ("storage", format!("{:?}", config.storage)),
            ("retention", format!("{:?}", config.retention)),
            (
                "max_msgs_per_subject",
                // The server writes "no limit" as -1, the client as 0.
                config.max_messages_per_subject.max(0).to_string(),
            ),
            ("discard", format!("{:?}", config.discard)),
            ("no_ack", config.no_ack.to_string()),
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
        check(&|c| c.no_ack = true, Some("no_ack"));
        check(&|c| c.max_age = Duration::from_secs(9), Some("max_age"));
    }
}
