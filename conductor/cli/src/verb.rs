//! The part that all verbs share: which node, a request id, and waiting until the node rests.
//! `node` and `power` say what each verb asks.
use super::client::Client;
use super::out;
use super::progress::Report;
use anyhow::{Context, bail};
use clap::Args;
use futures_util::StreamExt;
use ironbeat_core::id::RequestId;
use ironbeat_ops::Question;
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::ShowNode;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Args, Clone)]
pub struct Which {
    /// Id or name.
    pub(super) node: String,
    /// Wait until the node has come to rest, printing each step and how far it is; fail if it is not where it was sent.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds.
    #[arg(long, default_value_t = 3600)]
    timeout: u64,
}

/// The help of a command that is one question: without a full stop, as clap has it.
pub(super) fn about<Q: Question>() -> &'static str {
    Q::ABOUT.trim_end_matches('.')
}

/// A request id that nobody has used: the same message sent twice counts once.
pub(super) fn fresh_request() -> Option<RequestId> {
    uuid::Uuid::new_v4().to_string().parse().ok()
}

pub(super) async fn verb<Q: Question<Reply = Shown>>(
    client: &Client,
    which: &Which,
    question: &Q,
) -> anyhow::Result<()> {
    let shown = client.ask(question).await?;
    for warning in &shown.warnings {
        out::warn(warning)?;
    }
    if which.wait {
        return wait(client, which, shown).await;
    }
    if client.json {
        return out::json(&shown);
    }
    out::line(format_args!("{}: {}", which.node, shown.provision_state))
}

/// Waits until the node rests. Its events say so; asking now and then makes up for a missed one.
async fn wait(client: &Client, which: &Which, mut shown: Shown) -> anyhow::Result<()> {
    let goal = shown.target_provision_state.clone();
    let began = shown.job().map(|job| job.began);
    let deadline = Instant::now() + Duration::from_secs(which.timeout);
    let mut events = client.watch_events(Some(&shown.id.to_string())).await?;
    let mut agent = client.watch_agent(&shown.id).await?;
    let mut report = Report::default();
    let say = |line: Option<String>| match line {
        Some(line) => out::line(format_args!("{}: {line}", which.node)),
        None => Ok(()),
    };
    loop {
        shown = client.ask(&ShowNode::of(&which.node)).await?;
        say(report.node(&shown))?;
        if shown.job().is_none() {
            break;
        }
        if Instant::now() > deadline {
            bail!(
                "{} is still {} after {} s",
                which.node,
                shown.provision_state,
                which.timeout
            );
        }
        tokio::select! {
            event = events.next() => {
                let event = event.context("the connection to NATS was closed")?;
                say(report.event(&event))?;
            }
            Some(status) = agent.next() => {
                say(status.and_then(|status| report.agent(&status, Instant::now())))?;
            }
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
    match (&goal, &shown.last_error) {
        (Some(goal), error) if *goal != shown.provision_state => match error {
            Some(error) => bail!(
                "{} is {}: {} ({})",
                which.node,
                shown.provision_state,
                error.what,
                error.during
            ),
            None => bail!("{} is {}, not {goal}", which.node, shown.provision_state),
        },
        // A change of power leads back to where the node was, whether or not it worked.
        (_, Some(error)) if began.is_some_and(|began| error.at >= began) => {
            bail!("{}: {} ({})", which.node, error.what, error.during)
        }
        (_, _) => Ok(()),
    }
}
