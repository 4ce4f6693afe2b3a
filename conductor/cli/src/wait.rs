//! Waits until a node rests, prints its way there, and says how it ended: to people in words, to scripts by the exit code.
//! `verb` asks before; `progress` has the lines.
use super::bars::{Bar, Bars};
use super::client::{Client, Refusal, Unanswered};
use super::out;
use super::progress::Report;
use anyhow::Context;
use futures_util::StreamExt;
use ironbeat_common::heartbeat::Status;
use ironbeat_core::node::{JobKind, LastError, Rest};
use ironbeat_core::time::Time;
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::ShowNode;
use std::time::Duration;
use tokio::time::Instant;

/// When a verb has done what was asked, as far as the node at rest shows. Not where the node was or is headed otherwise:
/// a node whose deploy failed can be switched on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Success {
    /// The node rests there.
    At(Rest),
    /// The node is back where it was, and nothing went wrong meanwhile.
    Back,
    /// The job is over, and did not fail.
    Done,
    /// The job is over.
    Over,
}

/// What was waited for did not come. Scripts tell these apart by the exit code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    TimeOver(String),
    /// Another request took the place of this one.
    #[error("{0}")]
    Superseded(String),
}

impl NotDone {
    /// Of the program. 1 is any other error, 2 are arguments that cannot be understood.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 3,
            Self::TimeOver(_) => 4,
            Self::Superseded(_) => 5,
        }
    }
}

/// What is shown on the way.
#[derive(Clone, Copy)]
pub(super) enum Says<'a> {
    Lines,
    Nothing,
    /// A bar, and each step above it.
    Bar(&'a Bars),
    /// A bar among those of other nodes.
    OneBarOfMany(&'a Bars),
}

impl<'a> Says<'a> {
    /// For one node. Not among JSON.
    pub(super) fn of(client: &Client, bars: Option<&'a Bars>) -> Self {
        match bars {
            Some(bars) => Self::Bar(bars),
            None if client.json => Self::Nothing,
            None => Self::Lines,
        }
    }

    /// For one of several nodes.
    pub(super) fn of_many(bars: Option<&'a Bars>) -> Self {
        bars.map_or(Self::Nothing, Self::OneBarOfMany)
    }

    fn bars(self) -> Option<&'a Bars> {
        match self {
            Self::Lines | Self::Nothing => None,
            Self::Bar(bars) | Self::OneBarOfMany(bars) => Some(bars),
        }
    }
}

/// Which wait: whom people call what, and for how long at most.
pub(super) struct Wait<'a> {
    pub client: &'a Client,
    pub name: &'a str,
    pub timeout_secs: u64,
    pub says: Says<'a>,
}

/// How it ended for one node.
pub(super) struct Ended {
    /// The last that is known of it.
    pub shown: Option<Shown>,
    /// What became of it, in a word or two.
    pub how: anyhow::Result<String>,
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self {
            shown: None,
            how: Err(error),
        }
    }
}

/// Why the waiting is over.
#[derive(Clone, Copy, Debug)]
enum End {
    Rests,
    TimeOver,
    Superseded,
    Deleted,
}

impl Wait<'_> {
    /// For the job that `shown` has.
    ///
    /// # Errors
    /// [`NotDone`]; or what went wrong with the waiting itself.
    pub async fn run(&self, success: Success, shown: Shown) -> anyhow::Result<()> {
        let Ended { shown, how } = self.end(success, shown).await;
        if let Some(shown) = shown.filter(|_| self.client.json) {
            out::json(&shown)?;
        }
        how.map(drop)
    }

    /// The same without printing how the node is then.
    pub async fn end(&self, success: Success, mut shown: Shown) -> Ended {
        let mut began = shown.job().map(|job| job.began);
        let end = match self.follow(success, &mut shown, &mut began).await {
            Ok(end) => end,
            Err(error) => return error.into(),
        };
        let how = self.judge(success, &shown, began, end);
        Ended {
            how: how
                .map_err(Into::into)
                .map(|()| shown.provision_state.clone()),
            shown: Some(shown),
        }
    }

    /// Whatever its job is; if it has none, that is all.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub async fn attach(&self) -> anyhow::Result<()> {
        let shown = self.client.ask(&ShowNode::of(self.name)).await?;
        let success = match shown.job().map(|job| job.kind) {
            Some(JobKind::Bmc) => Success::Back,
            _ => Success::Done,
        };
        self.run(success, shown).await
    }

    /// Its events say when the node rests; asking now and then makes up for a missed one.
    async fn follow(
        &self,
        success: Success,
        shown: &mut Shown,
        began: &mut Option<Time>,
    ) -> anyhow::Result<End> {
        // Ours follows the act under way.
        let mut is_next = shown.job().is_some_and(|job| job.instead().is_some());
        let mut present = shown.job().map(|job| (job.began, job.kind));
        let deadline = Instant::now() + Duration::from_secs(self.timeout_secs);
        // The name may become another node's meanwhile.
        let id = shown.id.to_string();
        let mut events = self.client.watch_events(Some(&id)).await?;
        let mut agent = self.client.watch_agent(&shown.id).await?;
        let mut report = Report::default();
        let bar = self.says.bars().map(|bars| bars.node(self.name));
        let bar = bar.as_ref();
        let mut unanswered = false;
        loop {
            *shown = match self.client.ask(&ShowNode::of(&id)).await {
                Ok(shown) => shown,
                Err(error) if error.is::<Unanswered>() => {
                    if Instant::now() > deadline {
                        return Ok(End::TimeOver);
                    }
                    // Servers and workers that restart are back in a moment, and the job goes on by itself.
                    if !std::mem::replace(&mut unanswered, true) {
                        let why = out::causes(&error);
                        self.warn(format_args!(
                            "{}: {why}; still waiting, the job goes on by itself",
                            self.name
                        ))?;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Err(error)
                    if error
                        .downcast_ref::<Refusal>()
                        .is_some_and(Refusal::is_unknown) =>
                {
                    return Ok(End::Deleted);
                }
                Err(error) => return Err(error),
            };
            unanswered = false;
            self.say(report.node(shown), bar, true)?;
            let Some(job) = shown.job() else {
                return Ok(End::Rests);
            };
            if present.is_none_or(|(began, _)| began != job.began) {
                let torn_down = present.is_some_and(|(_, kind)| kind == JobKind::Delete);
                match is_next {
                    true => (*began, is_next) = (Some(job.began), false),
                    false if torn_down && job.kind == JobKind::Clean => {}
                    false if matches!(success, Success::Over) => {}
                    false => return Ok(End::Superseded),
                }
                present = Some((job.began, job.kind));
            }
            if Instant::now() > deadline {
                return Ok(End::TimeOver);
            }
            tokio::select! {
                event = events.next() => {
                    let event = event.context("the connection to NATS was closed")?;
                    self.say(report.event(&event), bar, false)?;
                }
                Some(status) = agent.next() => {
                    if let Some(status) = status {
                        self.say_agent(&status, &mut report, bar)?;
                    }
                }
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
    }

    /// `is_step`: it stays true for a while.
    fn say(&self, line: Option<String>, bar: Option<&Bar>, is_step: bool) -> anyhow::Result<()> {
        let Some(line) = line else {
            return Ok(());
        };
        if let Some(bar) = bar.filter(|_| is_step) {
            bar.step(&line);
        }
        match self.says {
            Says::Lines => out::line(format_args!("{}: {line}", self.name)),
            Says::Bar(bars) => bars.line(format_args!("{}: {line}", self.name)),
            Says::Nothing | Says::OneBarOfMany(_) => Ok(()),
        }
    }

    fn say_agent(
        &self,
        status: &Status,
        report: &mut Report,
        bar: Option<&Bar>,
    ) -> anyhow::Result<()> {
        match (bar, status) {
            (Some(bar), Status::Running { progress, .. }) => {
                bar.progress(progress);
                Ok(())
            }
            (Some(_), Status::Idle | Status::Done { .. } | Status::Failed { .. }) => Ok(()),
            (None, status) => self.say(report.agent(status, Instant::now()), None, false),
        }
    }

    fn warn(&self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        match self.says.bars() {
            Some(bars) => bars.aside(|| out::warn(text)),
            None => out::warn(text),
        }
    }

    fn judge(
        &self,
        success: Success,
        shown: &Shown,
        began: Option<Time>,
        end: End,
    ) -> Result<(), NotDone> {
        let after = self.timeout_secs;
        judge(self.name, after, success, shown, began, end)
    }
}

/// `began`: when the job did that was waited for.
fn judge(
    name: &str,
    timeout_secs: u64,
    success: Success,
    shown: &Shown,
    began: Option<Time>,
    end: End,
) -> Result<(), NotDone> {
    let state = &shown.provision_state;
    match end {
        End::Rests => {}
        End::TimeOver => {
            return Err(NotDone::TimeOver(format!(
                "{name} is still {state} after {timeout_secs} s; its job goes on, and `ironbeat node wait {name}` follows it"
            )));
        }
        End::Superseded => {
            let why = format!("{name}: another request took the place of this one");
            return Err(NotDone::Superseded(why));
        }
        End::Deleted => {
            let why = format!(
                "{name} was deleted meanwhile: there is no node {}",
                shown.id
            );
            return Err(NotDone::Superseded(why));
        }
    }
    let is_ours = |error: &&LastError| began.is_some_and(|began| error.at >= began);
    let failed = |error: &LastError, how: &str| {
        let LastError { what, during, .. } = error;
        Err(NotDone::Failed(format!("{name}{how}: {what} ({during})")))
    };
    let error = shown.last_error.as_ref().filter(is_ours);
    let is_state = format!(" is {state}");
    match (success, error) {
        (Success::Over, _) => Ok(()),
        (Success::At(goal), _) if *state == goal.name() => Ok(()),
        // One that is retired rests there instead.
        (Success::At(Rest::Available), None)
            if *state == Rest::Manageable.name() && shown.rest.contains_key("retired") =>
        {
            Ok(())
        }
        (Success::At(_) | Success::Done, Some(error)) => failed(error, &is_state),
        (Success::Done, None) => Ok(()),
        (Success::At(goal), None) => Err(NotDone::Superseded(format!(
            "{name} is {state}, not {}: another request took the place of this one",
            goal.name()
        ))),
        (Success::Back, _) => match shown.bmc_error.as_ref().filter(is_ours) {
            Some(error) => failed(error, ""),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const BEGAN: &str = "2026-11-21T04:51:16.123Z";
    const BEFORE: &str = "2026-11-21T04:50:00.000Z";
    const AFTER: &str = "2026-11-21T04:52:00.000Z";

    fn node(state: &str, error: Option<(&str, &str)>) -> Shown {
        let mut node = json!({
            "id": "07070707-0707-0707-0707-070707070707",
            "provision_state": state.replace('_', " "),
            "state": { "resting": state },
        });
        if let Some((which, at)) = error {
            node[which] = json!({ "at": at, "during": "power_sync", "what": "no answer" });
        }
        serde_json::from_value(node).unwrap()
    }

    fn ended(success: Success, node: &Shown, end: End) -> Result<(), NotDone> {
        let began = serde_json::from_value(Value::from(BEGAN)).unwrap();
        judge("box", 9, success, node, Some(began), end)
    }

    #[test]
    fn a_failure_is_told_from_the_end_of_the_time_and_from_another_request() {
        let code = |success: Success, node: &Shown, end: End| {
            ended(success, node, end).map_or_else(|not| not.exit_code(), |()| 0)
        };
        let deploy = Success::At(Rest::Active);
        let check = |success, state: &str, error, expected: u8| {
            let found = code(success, &node(state, error), End::Rests);
            assert_eq!(found, expected, "{success:?} {state} {error:?}");
        };
        let (last, bmc) = ("last_error", "bmc_error");
        check(deploy, "active", None, 0);
        check(deploy, "deploy_failed", Some((last, AFTER)), 3);
        // Somebody has undeployed it; an error from before is not ours.
        check(deploy, "available", None, 5);
        check(deploy, "available", Some((last, BEFORE)), 5);
        check(Success::Done, "active", Some((last, BEFORE)), 0);
        check(Success::Done, "deploy_failed", Some((last, AFTER)), 3);
        check(Success::Over, "deploy_failed", Some((last, AFTER)), 0);
        check(Success::Back, "deploy_failed", Some((last, BEFORE)), 0);
        check(Success::Back, "active", Some((bmc, BEFORE)), 0);
        check(Success::Back, "active", Some((bmc, AFTER)), 3);
        let resting = node("manageable", None);
        assert_eq!(code(deploy, &resting, End::TimeOver), 4);
        assert_eq!(code(deploy, &resting, End::Superseded), 5);
        assert_eq!(code(deploy, &resting, End::Deleted), 5);
    }

    #[test]
    fn whoever_has_waited_long_enough_learns_that_the_job_goes_on() {
        let not = ended(Success::Back, &node("manageable", None), End::TimeOver).unwrap_err();
        let words = "box is still manageable after 9 s; its job goes on, and `ironbeat node wait box` follows it";
        assert_eq!(not.to_string(), words);
    }
}
