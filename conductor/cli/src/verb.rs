//! The part that all verbs share: which node, a request id, and waiting until the node rests.
//! `node` and `power` say what each verb asks.
use super::client::{Client, Unanswered};
use super::out;
use super::progress::Report;
use anyhow::{Context, bail};
use clap::Args;
use futures_util::StreamExt;
use ironbeat_core::id::RequestId;
use ironbeat_core::node::{LastError, Rest};
use ironbeat_ops::Question;
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::ShowNode;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Args, Clone)]
pub struct Which {
    /// Id or name.
    pub(super) node: String,
    /// Wait until the node has come to rest, printing each step and how far it is; fail if the verb did.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds.
    #[arg(long, default_value_t = 3600)]
    timeout: u64,
}

/// The help of a command that is one question: its first sentence, without a full stop, as clap has it.
pub(super) fn about<Q: Question>() -> &'static str {
    let first = Q::ABOUT
        .split_once(". ")
        .map_or(Q::ABOUT, |(first, _)| first);
    first.trim_end_matches('.')
}

/// A request id that nobody has used: the same message sent twice counts once.
pub(super) fn fresh_request() -> Option<RequestId> {
    uuid::Uuid::new_v4().to_string().parse().ok()
}

/// When a verb has done what was asked, as far as the node at rest shows. Not where the node was or is headed otherwise:
/// a node whose deploy failed can be switched on.
#[derive(Clone, Copy)]
pub(super) enum Success {
    /// The node rests there.
    At(Rest),
    /// The node is back where it was, and nothing went wrong meanwhile.
    Back,
    /// The job is over.
    Over,
}

pub(super) async fn verb<Q: Question<Reply = Shown>>(
    client: &Client,
    which: &Which,
    success: Success,
    question: &Q,
) -> anyhow::Result<()> {
    let shown = client.ask(question).await?;
    for warning in &shown.warnings {
        out::warn(warning)?;
    }
    if which.wait {
        return wait(client, which, success, shown).await;
    }
    if client.json {
        return out::json(&shown);
    }
    out::line(format_args!("{}: {}", which.node, shown.provision_state))
}

/// Waits until the node rests. Its events say so; asking now and then makes up for a missed one.
async fn wait(
    client: &Client,
    which: &Which,
    success: Success,
    mut shown: Shown,
) -> anyhow::Result<()> {
    let mut ours = shown.job().map(|job| job.began);
    // Ours follows the act under way.
    let mut is_next = shown.job().is_some_and(|job| job.instead().is_some());
    let deadline = Instant::now() + Duration::from_secs(which.timeout);
    let mut events = client.watch_events(Some(&shown.id.to_string())).await?;
    let mut agent = client.watch_agent(&shown.id).await?;
    let mut report = Report::default();
    let say = |line: Option<String>| match line {
        Some(line) => out::line(format_args!("{}: {line}", which.node)),
        None => Ok(()),
    };
    let mut unanswered = false;
    loop {
        shown = match client.ask(&ShowNode::of(&which.node)).await {
            Ok(shown) => shown,
            // Servers and workers that restart are back in a moment, and the job goes on by itself.
            Err(error) if error.is::<Unanswered>() && Instant::now() < deadline => {
                if !std::mem::replace(&mut unanswered, true) {
                    let (node, why) = (&which.node, out::causes(&error));
                    out::warn(format_args!(
                        "{node}: {why}; still waiting, the job goes on by itself"
                    ))?;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        unanswered = false;
        say(report.node(&shown))?;
        let Some(job) = shown.job() else { break };
        if ours != Some(job.began) && matches!(success, Success::Back) {
            if !is_next {
                bail!("{}: another request took the place of this one", which.node);
            }
            (ours, is_next) = (Some(job.began), false);
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
    let error = shown.last_error.as_ref();
    let is_ours = |error: &&LastError| ours.is_some_and(|began| error.at >= began);
    match success {
        Success::Over => Ok(()),
        Success::At(goal) if shown.provision_state == goal.name() => Ok(()),
        Success::At(goal) => match error {
            Some(error) => bail!(
                "{} is {}: {} ({})",
                which.node,
                shown.provision_state,
                error.what,
                error.during
            ),
            None => bail!(
                "{} is {}, not {}",
                which.node,
                shown.provision_state,
                goal.name()
            ),
        },
        Success::Back => match shown.bmc_error.as_ref().filter(is_ours) {
            Some(error) => bail!("{}: {} ({})", which.node, error.what, error.during),
            None => Ok(()),
        },
    }
}
