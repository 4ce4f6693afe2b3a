//! `ironbeat top`: the fleet on a terminal, live. It reads all pages once, then follows events; nothing is asked of nodes.
//! `fleet` has what is known, `draw` shows it; this file has the terminal, the keys and the questions.
mod draw;
mod fleet;

use super::client::{Client, EventWatch};
use super::clock;
use super::out;
use crate::connect::Link;
use anyhow::{Context, ensure};
use draw::Screen;
use fleet::Fleet;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::Event;
use ironbeat_ops::reply::{Summary, WorkerInfo};
use ironbeat_ops::request::{ListEvents, ListWorkers};
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Between two orderings of the list, and two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// How long a key may wait for the thread that reads it to look whether it shall end.
const KEY_PATIENCE: Duration = Duration::from_millis(200);
/// Workers say within 3 s when something changed; one answers for all.
const WORKERS_EVERY: Duration = Duration::from_secs(10);
/// Events are heard or missed; all pages again make up for a missed one.
const NODES_EVERY: Duration = Duration::from_secs(600);
/// After an answer that did not come.
const AGAIN: Duration = Duration::from_secs(10);
/// From which it is learnt what is usual: as many as one reply has.
const PAST_EVENTS: usize = 1000;
const MAX_FILTER_CHARS: usize = 64;
const PAGE: u16 = 10;

enum Answer {
    Nodes(anyhow::Result<Vec<Summary>>, Time),
    Workers(anyhow::Result<Vec<WorkerInfo>>),
}

/// Restores the terminal, however this ends. A panic does so by ratatui's hook.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Ends the thread that reads keys.
struct Keys {
    heard: mpsc::Receiver<event::Event>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Keys {
    fn start() -> Self {
        let (say, heard) = mpsc::channel(64);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let heard = match event::poll(KEY_PATIENCE) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                // The terminal is gone, or nobody listens; the channel ends with this thread.
                let Ok(event) = heard else { return };
                if say.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Self { heard, is_over }
    }
}

pub(super) async fn run(client: &Client) -> anyhow::Result<()> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    ensure!(
        is_terminal,
        "top needs a terminal; `ironbeat node list --sort state,-age` and `ironbeat events --follow` are for programs"
    );
    // Before the terminal is taken: what goes wrong until here is printed as of any command.
    let events = client.watch_events(None).await?;
    let mut fleet = Fleet::default();
    let began = clock::now();
    fleet.read(client.nodes(&[]).await?, began);
    let ask = ListEvents {
        node: None,
        last: Some(PAST_EVENTS),
    };
    fleet.past(&client.ask(&ask).await?);
    fleet.workers = client.ask(&ListWorkers {}).await?;
    let mut terminal = ratatui::try_init().context("take over the terminal")?;
    let restored = Restored;
    let ended = live(client, events, fleet, &mut terminal).await;
    drop(restored);
    ended
}

async fn live(
    client: &Client,
    mut events: EventWatch,
    mut fleet: Fleet,
    terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let mut keys = Keys::start();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut link = client.link();
    let mut screen = Screen::default();
    screen.table.select(Some(0));
    let mut tick = tokio::time::interval(TICK);
    let (mut nodes_at, mut workers_at) =
        (Instant::now() + NODES_EVERY, Instant::now() + WORKERS_EVERY);
    // One question at a time: this shall not be what keeps workers busy.
    let mut question: Option<LocalBoxFuture<'_, Answer>> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                look(client, &mut fleet, &mut screen, *link.borrow());
            }
            key = keys.heard.recv() => {
                match key {
                    Some(event::Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        if pressed(key, &mut screen) == After::End {
                            return Ok(());
                        }
                        screen.order = fleet.ordered(&screen.filter, clock::now());
                    }
                    Some(_) => {}
                    None => anyhow::bail!("the terminal cannot be read any more"),
                }
            }
            event = events.next() => {
                let event: Event = event.context("the connection to NATS was closed")?;
                fleet.happened(&event, clock::now());
                // It is drawn with the next tick: in a flood there are thousands.
                continue;
            }
            Some(answer) = async { Some(question.as_mut()?.await) }, if question.is_some() => {
                question = None;
                let next = |is_good: bool, every| Instant::now() + if is_good { every } else { AGAIN };
                let trouble = match answer {
                    Answer::Nodes(nodes, began) => {
                        nodes_at = next(nodes.is_ok(), NODES_EVERY);
                        nodes.map(|nodes| fleet.read(nodes, began))
                    }
                    Answer::Workers(workers) => {
                        workers_at = next(workers.is_ok(), WORKERS_EVERY);
                        workers.map(|workers| fleet.workers = workers)
                    }
                };
                screen.trouble = trouble.err().map(|error| out::causes(&error));
            }
            () = tokio::time::sleep_until(nodes_at.min(workers_at)), if question.is_none() => {
                question = Some(match nodes_at <= workers_at {
                    true => nodes(client).boxed_local(),
                    false => async { Answer::Workers(client.ask(&ListWorkers {}).await) }.boxed_local(),
                });
                continue;
            }
            Ok(()) = link.changed() => {
                if *link.borrow_and_update() == Link::Up {
                    // What happened in between was missed.
                    (nodes_at, workers_at) = (Instant::now(), Instant::now());
                }
                look(client, &mut fleet, &mut screen, *link.borrow());
            }
            why = client.ended() => return Err(why),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
        let now = clock::now();
        let drawn = terminal.draw(|frame| draw::draw(frame, &fleet, &mut screen, now));
        drawn.context("draw on the terminal")?;
    }
}

async fn nodes(client: &Client) -> Answer {
    let began = clock::now();
    Answer::Nodes(client.nodes(&[]).await, began)
}

/// Once a second: what takes a look at every node that is known here.
fn look(client: &Client, fleet: &mut Fleet, screen: &mut Screen, link: Link) {
    let now = clock::now();
    screen.order = fleet.ordered(&screen.filter, now);
    screen.stuck = fleet.stuck(now);
    screen.rates = fleet.rates(now);
    screen.nats = nats(client, link);
}

/// The server that this is connected to, and the others that it has told of.
fn nats(client: &Client, link: Link) -> String {
    let server = client.nats.server_info();
    let how = match link {
        Link::Up => "is up",
        Link::Lost => "is lost; connecting again",
        Link::Ended => "does not take the login any more",
    };
    let at = format!("{}:{}", server.host, server.port);
    let mut others = server.connect_urls.clone();
    others.retain(|other| *other != at);
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; beside it {}", others.join(", ")),
    };
    // A server without a name has its id for one.
    let name = match server.server_name == server.server_id {
        true => String::new(),
        false => format!("{} ", server.server_name),
    };
    format!("NATS: {name}{at} {how}{others}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoOn,
    End,
}

fn typed(c: char, filter: &mut String) {
    if filter.chars().count() < MAX_FILTER_CHARS {
        filter.push(c);
    }
}

fn pressed(key: KeyEvent, screen: &mut Screen) -> After {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return After::End,
        KeyCode::Esc => {
            screen.filter.clear();
            screen.is_typing = false;
        }
        KeyCode::Enter => screen.is_typing = false,
        KeyCode::Up => screen.table.scroll_up_by(1),
        KeyCode::Down => screen.table.scroll_down_by(1),
        KeyCode::PageUp => screen.table.scroll_up_by(PAGE),
        KeyCode::PageDown => screen.table.scroll_down_by(PAGE),
        KeyCode::Home => screen.table.select(Some(0)),
        KeyCode::End => screen.table.select(Some(usize::MAX)),
        KeyCode::Backspace if screen.is_typing => drop(screen.filter.pop()),
        KeyCode::Char(c) if screen.is_typing => typed(c, &mut screen.filter),
        KeyCode::Char('q') => return After::End,
        KeyCode::Char('/') => screen.is_typing = true,
        _ => {}
    }
    After::GoOn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(screen: &mut Screen, keys: &str) -> After {
        let mut after = After::GoOn;
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                'v' => KeyCode::Down,
                '^' => KeyCode::Up,
                c => KeyCode::Char(c),
            };
            after = pressed(KeyEvent::new(code, KeyModifiers::NONE), screen);
        }
        after
    }

    #[test]
    fn keys_move_filter_and_quit_and_q_is_a_letter_while_one_types() {
        let mut screen = Screen::default();
        screen.table.select(Some(0));
        assert_eq!(press(&mut screen, "vv^"), After::GoOn);
        assert_eq!(screen.table.selected(), Some(1));
        assert_eq!(press(&mut screen, "/qab\u{8}\n"), After::GoOn);
        assert_eq!((&*screen.filter, screen.is_typing), ("qa", false));
        assert_eq!(press(&mut screen, "\u{1b}"), After::GoOn);
        assert_eq!(screen.filter, "");
        assert_eq!(press(&mut screen, "q"), After::End);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(pressed(interrupt, &mut screen), After::End);
        press(&mut screen, "/");
        assert_eq!(press(&mut screen, &"q".repeat(100)), After::GoOn);
        assert_eq!(screen.filter.len(), MAX_FILTER_CHARS);
    }
}
