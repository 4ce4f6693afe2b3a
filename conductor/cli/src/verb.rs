//! The part that all verbs share: which node, and a request id.
//! `node` and `power` say what each verb asks; `wait` waits until it is done.
use super::client::{Client, Refusal};
use super::out;
use super::wait::{Success, Wait};
use clap::Args;
use ironbeat_core::id::RequestId;
use ironbeat_ops::Question;
use ironbeat_ops::reply::Shown;

#[derive(Args, Clone)]
pub struct Which {
    /// Id or name.
    pub(super) node: String,
    /// Wait until the node has come to rest, printing each step and how far it is; fail if the verb
    /// did: with 3 if it failed, 4 if the time is over, 5 if another request took its place.
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

/// Asks something of a node, which a refusal names.
pub(super) async fn ask_of<Q: Question>(
    client: &Client,
    node: &str,
    question: &Q,
) -> anyhow::Result<Q::Reply> {
    client.ask(question).await.map_err(|error| {
        let refusal = error.downcast_ref::<Refusal>();
        match refusal.is_some_and(Refusal::is_conflict) {
            true => error.context(node.to_string()),
            false => error,
        }
    })
}

pub(super) async fn verb<Q: Question<Reply = Shown>>(
    client: &Client,
    which: &Which,
    success: Success,
    question: &Q,
) -> anyhow::Result<()> {
    let shown = ask_of(client, &which.node, question).await?;
    for warning in &shown.warnings {
        out::warn(warning)?;
    }
    if which.wait {
        let (name, timeout_secs) = (&*which.node, which.timeout);
        let wait = Wait {
            client,
            name,
            timeout_secs,
        };
        return wait.run(success, shown).await;
    }
    if client.json {
        return out::json(&shown);
    }
    out::line(format_args!("{}: {}", which.node, shown.provision_state))
}
