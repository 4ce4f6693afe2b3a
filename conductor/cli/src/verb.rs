//! The part that all verbs share: a question for each node that was chosen, a request id, and the wait for its end.
//! `node` and `power` say what each verb asks; `choose` says of whom, `wait` waits until it is done.
use super::bars::Bars;
use super::bulk;
use super::choose::{Chosen, Many, Target, Targets};
use super::client::{Client, Refusal};
use super::out;
use super::wait::{Ended, Says, Success, Wait};
use clap::Args;
use ironbeat_core::id::RequestId;
use ironbeat_ops::Question;
use ironbeat_ops::reply::Shown;

#[derive(Args, Clone)]
pub struct Which {
    #[command(flatten)]
    pub(super) chosen: Chosen,
    #[command(flatten)]
    pub(super) until: Until,
}

/// How long the command stays.
#[derive(Args, Clone)]
pub struct Until {
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

/// `node undeploy`.
fn words<Q: Question>() -> String {
    Q::ENDPOINT.replace(['.', '_'], " ")
}

impl Which {
    /// Asks it of each node that was chosen, and waits if that was asked for.
    pub(super) async fn ask<Q: Question<Reply = Shown>>(
        &self,
        client: &Client,
        success: Success,
        question: impl Fn(String) -> Q,
    ) -> anyhow::Result<()> {
        let Chosen { nodes, many } = &self.chosen;
        let targets = many.targets(client, &words::<Q>(), nodes).await?;
        self.until
            .ask(client, targets, many, success, question)
            .await
    }
}

impl Until {
    /// As [`Which::ask`], for nodes that are known.
    pub(super) async fn ask<Q: Question<Reply = Shown>>(
        &self,
        client: &Client,
        targets: Targets,
        many: &Many,
        success: Success,
        question: impl Fn(String) -> Q,
    ) -> anyhow::Result<()> {
        let targets = match targets {
            Targets::One(node) => {
                return self
                    .one(client, &node, success, &question(node.clone()))
                    .await;
            }
            Targets::Several(targets) => targets,
        };
        let bars = Bars::new(client.json).filter(|_| self.wait);
        let print = |line: String| match &bars {
            Some(bars) => bars.line(line),
            None => out::line(line),
        };
        bulk::run(
            &targets,
            many.parallel,
            client.json,
            print,
            async |target: &Target| {
                let asked = client.ask(&question(target.ask.clone())).await;
                let shown = match asked {
                    Ok(shown) => shown,
                    Err(error) => return error.into(),
                };
                for warning in &shown.warnings {
                    if let Err(error) = out::warn(format_args!("{}: {warning}", target.name)) {
                        return error.into();
                    }
                }
                match self.wait {
                    true => {
                        self.waits(client, &target.name, Says::of_many(bars.as_ref()))
                            .end(success, shown)
                            .await
                    }
                    false => Ended {
                        how: Ok(shown.provision_state.clone()),
                        shown: Some(shown),
                    },
                }
            },
        )
        .await
    }

    fn waits<'a>(&self, client: &'a Client, name: &'a str, says: Says<'a>) -> Wait<'a> {
        Wait {
            client,
            name,
            timeout_secs: self.timeout,
            says,
        }
    }

    async fn one<Q: Question<Reply = Shown>>(
        &self,
        client: &Client,
        node: &str,
        success: Success,
        question: &Q,
    ) -> anyhow::Result<()> {
        let shown = ask_of(client, node, question).await?;
        for warning in &shown.warnings {
            out::warn(warning)?;
        }
        if self.wait {
            let bars = Bars::new(client.json);
            return self
                .waits(client, node, Says::of(client, bars.as_ref()))
                .run(success, shown)
                .await;
        }
        if client.json {
            return out::json(&shown);
        }
        out::line(format_args!("{node}: {}", shown.provision_state))
    }
}

impl Chosen {
    /// Asks of each node what is done when it is answered; `said` puts the answer into words, behind the node's name.
    pub(super) async fn ask<Q: Question<Reply = Shown>>(
        &self,
        client: &Client,
        question: impl Fn(String) -> Q,
        said: impl Fn(&Shown) -> String,
    ) -> anyhow::Result<()> {
        let targets = match self.targets(client, &words::<Q>()).await? {
            Targets::One(node) => {
                let shown = ask_of(client, &node, &question(node.clone())).await?;
                return match client.json {
                    true => out::json(&shown),
                    false => out::line(format_args!("{node} {}", said(&shown))),
                };
            }
            Targets::Several(targets) => targets,
        };
        bulk::run(
            &targets,
            self.many.parallel,
            client.json,
            out::line,
            async |target: &Target| match client.ask(&question(target.ask.clone())).await {
                Ok(shown) => Ended {
                    how: Ok(said(&shown)),
                    shown: Some(shown),
                },
                Err(error) => error.into(),
            },
        )
        .await
    }
}
