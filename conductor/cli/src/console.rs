//! `ironbeat node console`: makes this terminal the machine's.
//! The workers serve the console and share it.
use super::client::Client;
use super::out;
use crate::connect::Link;
use anyhow::{Context, bail};
use async_nats::{HeaderMap, Message};
use clap::Args;
use futures_util::StreamExt;
use ironbeat_auth::refused::Refused;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::WorkerId;
use ironbeat_ops::console::{
    Attach, MAX_INPUT_BYTES, Part, RENEW_SECS, header, subject, subject_by,
};
use ironbeat_ops::request::{ConsoleHistory, ShowNode};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::Read;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Args)]
pub struct ConsoleArgs {
    /// Id or name.
    node: String,
    /// Only look; nothing typed here reaches the machine.
    #[arg(long)]
    watch: bool,
    /// Take the console from whoever else has it; for operators.
    #[arg(long)]
    take_over: bool,
    /// Print the recording, and end (`console.record` in the workers' configuration).
    #[arg(long, conflicts_with_all = ["watch", "take_over", "seconds"])]
    history: bool,
    /// End after so many seconds, for scripts.
    #[arg(long)]
    seconds: Option<u64>,
}

/// For one answer of a worker. Longer than a worker waits for a BMC.
const PATIENCE: Duration = Duration::from_secs(12);
/// A worker that owns the node answers a renewal at once.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(2);
/// For the farewell to the worker, which may have no connection any more. The lease ends by itself.
const FAREWELL: Duration = Duration::from_secs(1);
const HELP: &str = "\r\n~.  end\r\n~B  send a break\r\n~~  send ~\r\n~?  this help\r\n";

pub async fn run(client: &Client, args: ConsoleArgs) -> anyhow::Result<()> {
    let node = client.ask(&ShowNode::of(&args.node)).await?.id;
    if args.history {
        let text = client.ask_raw(&ConsoleHistory::of(&args.node)).await?;
        return out::bytes(&text);
    }
    Terminal::attach(client, node, &args)
        .await?
        .run(&args)
        .await
}

struct Terminal<'a> {
    client: &'a Client,
    node: NodeId,
    watcher: String,
    output: async_nats::Subscriber,
    /// How much of which session was shown.
    session: String,
    shown: u64,
    worker: Option<WorkerId>,
    trouble: Option<String>,
}

impl<'a> Terminal<'a> {
    async fn attach(client: &'a Client, node: NodeId, args: &ConsoleArgs) -> anyhow::Result<Self> {
        // Before asking for the screen so far, so that nothing falls between.
        let output = client
            .nats
            .subscribe(subject(&client.prefix, &node, Part::Out))
            .await?;
        let mut terminal = Self {
            client,
            node,
            watcher: uuid::Uuid::new_v4().simple().to_string(),
            output,
            session: String::new(),
            shown: 0,
            worker: None,
            trouble: None,
        };
        let part = match args.take_over {
            true => Part::Take,
            false => Part::Attach,
        };
        let answer = terminal.ask(part, None, PATIENCE).await?;
        if let Some(why) = header_of(&answer, header::TROUBLE) {
            terminal.detach().await;
            bail!("{}: {why}", args.node);
        }
        let watchers = header_of(&answer, header::WATCHERS).unwrap_or_default();
        let worker = header_of(&answer, header::WORKER).unwrap_or_default();
        eprint!(
            "[serial console of {} through worker {}, watchers: {}; ~. ends]\r\n",
            args.node,
            out::visible_line(worker),
            out::visible_line(watchers)
        );
        terminal.take(&answer)?;
        Ok(terminal)
    }

    /// Renews the lease, or takes it out.
    async fn ask(
        &self,
        part: Part,
        before: Option<WorkerId>,
        patience: Duration,
    ) -> anyhow::Result<Message> {
        let attach = Attach {
            watcher: self.watcher.clone(),
            before,
        };
        let subject = self.subject_by_me(part);
        let request = async_nats::Request::new()
            .payload(serde_json::to_vec(&attach)?.into())
            .timeout(Some(patience));
        let refused = Refused::Publish(subject.clone());
        let answer = tokio::select! {
            answer = self.client.nats.send_request(subject.clone(), request) => answer,
            why = self.client.refusal(&refused) => return Err(why),
            why = self.client.ended() => return Err(why),
        };
        let answer =
            answer.with_context(|| format!("ask {subject}: no worker serves this console"))?;
        match header_of(&answer, "Nats-Service-Error") {
            Some(why) => bail!("{why}"),
            None => Ok(answer),
        }
    }

    fn subject_by_me(&self, part: Part) -> String {
        subject_by(&self.client.prefix, &self.node, part, &self.client.asker)
    }

    async fn detach(&self) {
        let subject = self.subject_by_me(Part::Detach);
        let farewell = async {
            let watcher = self.watcher.clone().into_bytes();
            let _ = self.client.nats.publish(subject, watcher.into()).await;
            let _ = self.client.nats.flush().await;
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// Shows what is new in a message: output as it comes, or the screen of an answer.
    fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        let (Some(session), Some(offset)) = (
            header_of(message, header::SESSION),
            header_of(message, header::OFFSET).and_then(|offset| offset.parse::<u64>().ok()),
        ) else {
            return Ok(());
        };
        if session != self.session {
            (self.session, self.shown) = (session.into(), 0);
        }
        if let Some(worker) = header_of(message, header::WORKER) {
            self.worker = worker.parse().ok();
        }
        let end = offset + message.payload.len() as u64;
        let known = usize::try_from(self.shown.saturating_sub(offset)).unwrap_or(usize::MAX);
        let fresh = message.payload.get(known..).unwrap_or_default();
        self.shown = self.shown.max(end);
        out::bytes(fresh)
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let before = self.worker.clone();
        let trouble = match self.ask(Part::Attach, None, RENEWAL_PATIENCE).await {
            Ok(answer) => {
                self.take(&answer)?;
                if self.worker != before && header_of(&answer, header::TROUBLE).is_some() {
                    // A worker that died has left the console attached. To take it is for operators; for others the BMC
                    // gives it up by itself.
                    let _ = self.ask(Part::Take, before, RENEWAL_PATIENCE).await;
                }
                // The console itself shows what is wrong with the BMC.
                None
            }
            Err(_) if *self.client.link().borrow() == Link::Lost => {
                Some("the connection to NATS is lost".into())
            }
            Err(error) => Some(out::causes(&error)),
        };
        if trouble != self.trouble {
            match &trouble {
                Some(why) => eprint!("\r\n[{}; asking again]\r\n", out::visible_line(why)),
                None => eprint!("\r\n[a worker serves this console again]\r\n"),
            }
            self.trouble = trouble;
        }
        Ok(())
    }

    async fn run(mut self, args: &ConsoleArgs) -> anyhow::Result<()> {
        let client = self.client;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let raw = Raw::enter()?;
        // Whatever it waits for: a connection that is lost may never come back.
        let result = tokio::select! {
            result = self.serve(args) => result,
            why = client.ended() => Err(why),
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        drop(raw);
        self.detach().await;
        eprintln!("\n[detached]");
        result
    }

    /// Shows and types, until the operator or the end of the time ends it.
    async fn serve(&mut self, args: &ConsoleArgs) -> anyhow::Result<()> {
        let mut typed = (!args.watch).then(read_stdin);
        let mut keys = Keys::default();
        let mut renewals = tokio::time::interval(Duration::from_secs(RENEW_SECS));
        renewals.reset();
        let end = args
            .seconds
            .map(|secs| Instant::now() + Duration::from_secs(secs));
        let may_type = subject(&self.client.prefix, &self.node, Part::In);
        let may_type = Refused::Publish(may_type);
        loop {
            let until_end = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            let next_typed = async {
                match &mut typed {
                    Some(typed) => typed.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.output.next() => match message {
                    Some(message) => self.take(&message)?,
                    None => bail!("the connection to NATS was closed"),
                },
                bytes = next_typed => match bytes {
                    Some(bytes) => if self.type_in(&keys.translate(&bytes)).await? {
                        return Ok(());
                    },
                    // The pipe has ended; the machine's answer to it is still to come.
                    None => typed = None,
                },
                _ = renewals.tick() => self.renew().await?,
                why = self.client.refusal(&may_type) => return Err(why),
                () = until_end => return Ok(()),
            }
        }
    }

    /// Whether the operator wants to end.
    async fn type_in(&self, keys: &[Key]) -> anyhow::Result<bool> {
        let subject = |part| subject(&self.client.prefix, &self.node, part);
        for key in keys {
            match key {
                Key::Bytes(bytes) => {
                    for chunk in bytes.chunks(MAX_INPUT_BYTES) {
                        let chunk = bytes::Bytes::copy_from_slice(chunk);
                        self.client.nats.publish(subject(Part::In), chunk).await?;
                    }
                }
                Key::Break => {
                    self.client
                        .nats
                        .publish(subject(Part::Break), bytes::Bytes::new())
                        .await?
                }
                Key::Help => eprint!("{HELP}"),
                Key::End => return Ok(true),
            }
        }
        Ok(false)
    }
}

fn header_of<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let headers: &HeaderMap = message.headers.as_ref()?;
    headers.get(name).map(|value| value.as_str())
}

/// Standard input, read by a thread that ends with the process: reading a terminal cannot be cancelled.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// While this lives, the terminal passes every key on.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return Ok(Self(None));
        }
        let before = tcgetattr(&stdin).context("ask for the terminal's modes")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).context("make the terminal raw")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Bytes(Vec<u8>),
    Break,
    Help,
    End,
}

/// Finds `~.` and the like, each at the beginning of a line, as `ssh` and `ipmitool` do.
#[derive(Default)]
struct Keys {
    within_line: bool,
    tilde: bool,
}

impl Keys {
    fn translate(&mut self, typed: &[u8]) -> Vec<Key> {
        let (mut keys, mut bytes) = (Vec::new(), Vec::new());
        for byte in typed {
            if std::mem::take(&mut self.tilde) {
                let key = match byte {
                    b'.' => Some(Key::End),
                    b'B' => Some(Key::Break),
                    b'?' => Some(Key::Help),
                    b'~' => None,
                    _ => {
                        bytes.push(b'~');
                        None
                    }
                };
                if let Some(key) = key {
                    if !bytes.is_empty() {
                        keys.push(Key::Bytes(std::mem::take(&mut bytes)));
                    }
                    keys.push(key);
                    continue;
                }
            } else if *byte == b'~' && !self.within_line {
                self.tilde = true;
                continue;
            }
            self.within_line = !matches!(byte, b'\r' | b'\n');
            bytes.push(*byte);
        }
        if !bytes.is_empty() {
            keys.push(Key::Bytes(bytes));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Key {
        Key::Bytes(text.into())
    }

    #[test]
    fn escapes_count_only_at_the_beginning_of_a_line() {
        for (typed, expected) in [
            (&["ls ~.\r"][..], vec![bytes("ls ~.\r")]),
            (&["~."], vec![Key::End]),
            (&["a\r", "~", "."], vec![bytes("a\r"), Key::End]),
            (&["a\r~?b"], vec![bytes("a\r"), Key::Help, bytes("b")]),
            (&["~~.\r"], vec![bytes("~.\r")]),
            (&["~x"], vec![bytes("~x")]),
            (&["~B~."], vec![Key::Break, Key::End]),
        ] {
            let mut keys = Keys::default();
            let found: Vec<Key> = typed
                .iter()
                .flat_map(|typed| keys.translate(typed.as_bytes()))
                .collect();
            assert_eq!(found, expected, "{typed:?}");
        }
    }
}
