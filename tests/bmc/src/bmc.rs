//! One simulated BMC: what it makes of a datagram, with its faults. It has no socket and no clock.
//! Leaves sessions to `session`, commands to `commands`, the machine behind it to `power`.
use crate::chassis::{BootFlags, Chassis};
use crate::commands::{self, Context, From};
use crate::dice::Dice;
use crate::power::Machine;
use crate::rmcp::{self, Datagram, IPMI, OPEN_REQUEST, Plus, RAKP_1, RAKP_3, Request, SOL};
use crate::sel::Sel;
use crate::session::{Cached, Outcome, Sessions};
use crate::settings::{Counters, Faults, Settings};
use crate::sol::Port;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a repeated command is recognised.
const REPEATED: Duration = Duration::from_secs(10);
/// Answers overtaken by the next one are held back for this.
const HELD_BACK: Duration = Duration::from_millis(20);

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Send it no earlier than this, on the caller's clock.
    pub at: Duration,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// A simulated BMC and the machine behind it.
pub struct Bmc {
    pub settings: Settings,
    /// What is wrong with it now; a schedule replaces it.
    pub faults: Faults,
    schedule: Vec<(Duration, Faults)>,
    pub(crate) counters: Counters,
    pub(crate) machine: Machine,
    pub(crate) sessions: Sessions,
    pub(crate) sel: Sel,
    pub(crate) console: Option<Port>,
    pub(crate) restore_policy: u8,
    pub(crate) dice: Dice,
    /// Bridged answers, to follow the present one.
    pub(crate) later: Vec<Vec<u8>>,
    pub(crate) inside: Inside,
    silent_until: Duration,
}

/// What the machine's own system software has set and not yet read (IPMI 2.0 §22.2, §22.8).
#[derive(Default)]
pub(crate) struct Inside {
    /// BMC global enables; bit 2: events go to the buffer.
    pub enables: u8,
    pub event: Option<[u8; 16]>,
}

impl Bmc {
    /// `seed` makes its chance repeatable; `epoch_secs` is what its clock says at time zero, since 1970.
    pub fn new(settings: Settings, seed: u64, epoch_secs: u32) -> Self {
        Self {
            machine: Machine::new(settings.powered_on),
            settings,
            faults: Faults::default(),
            schedule: Vec::new(),
            counters: Counters::default(),
            sessions: Sessions::default(),
            sel: Sel::new(epoch_secs),
            console: None,
            restore_policy: 0,
            dice: Dice::new(seed),
            later: Vec::new(),
            inside: Inside::default(),
            silent_until: Duration::ZERO,
        }
    }

    /// Which faults begin when, in ascending order.
    pub fn schedule(&mut self, schedule: Vec<(Duration, Faults)>) {
        self.schedule = schedule;
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the machine is really on.
    pub fn is_on(&mut self, now: Duration) -> bool {
        self.machine.advance(now);
        self.machine.is_on()
    }

    /// Somebody presses the button, or the made-up machine dies: the BMC was not asked.
    pub fn force_power(&mut self, on: bool) {
        self.machine = Machine::new(on);
    }

    /// Puts a machine behind it that somebody else owns.
    pub fn attach(&mut self, chassis: Box<dyn Chassis>) {
        self.machine = Machine::real(chassis);
    }

    /// The boot flags of each start of the machine, as they were then.
    pub fn starts(&mut self, now: Duration) -> Vec<BootFlags> {
        self.machine.advance(now);
        self.machine.starts().to_vec()
    }

    pub fn active_sessions(&self) -> usize {
        self.sessions.active()
    }

    /// Adds an event to its log: type, number, direction and event type, data.
    pub fn log_event(&mut self, event: [u8; 6], now: Duration) {
        let record = self.sel.add(event, now);
        if self.inside.enables & 0x04 != 0 && self.inside.event.is_none() {
            self.inside.event = record;
        }
    }

    /// Whether something waits for the machine's system software (SMS_ATN, §9.5).
    pub fn attention(&self) -> bool {
        self.inside.event.is_some()
    }

    /// Restarts: sessions are gone, and for a while nothing answers. The machine runs on.
    pub fn restart(&mut self, now: Duration) {
        self.counters.restarts += 1;
        self.sessions.clear();
        self.console = None;
        self.silent_until = now + self.settings.restart;
    }

    /// A datagram came.
    pub fn receive(&mut self, now: Duration, peer: SocketAddr, bytes: &[u8], out: &mut Vec<Reply>) {
        self.counters.datagrams += 1;
        if self.is_deaf(now) || self.lost() {
            return;
        }
        if self.faults.garbage {
            let noise: [u8; 64] = self.dice.bytes();
            let length = self.dice.throw() as usize % noise.len();
            return self.reply(now, peer, noise[..length].to_vec(), out);
        }
        match rmcp::parse(bytes) {
            Some(Datagram::Ping { tag }) => self.reply(now, peer, rmcp::pong(tag), out),
            Some(Datagram::Plain { message }) => {
                if let Some(answer) = self.outside(message, now) {
                    self.reply(now, peer, rmcp::plain(&answer), out);
                }
            }
            Some(Datagram::Plus(plus)) if plus.session == 0 => {
                if let Some(answer) = self.login(&plus, peer, now) {
                    self.reply(now, peer, answer, out);
                }
            }
            Some(Datagram::Plus(plus)) => self.inside(&plus, peer, now, out),
            None => {}
        }
    }

    /// A command of the machine's own system software came over the system interface: completion code and data, or none
    /// from a BMC that is silent or restarting.
    pub fn in_band(
        &mut self,
        now: Duration,
        netfn: u8,
        command: u8,
        data: &[u8],
    ) -> Option<Vec<u8>> {
        if self.is_deaf(now) {
            return None;
        }
        self.counters.in_band += 1;
        let request = Request {
            netfn,
            command,
            data: data.to_vec(),
            ..Request::default()
        };
        let context = Context {
            now,
            from: From::Inside,
        };
        let answer = commands::run(self, &request, &context);
        self.later.clear();
        Some(match answer {
            Ok(data) => [&[0], &data[..]].concat(),
            Err(code) => vec![code],
        })
    }

    /// When [`Self::wake`] has something to do.
    pub fn next_wake(&self) -> Option<Duration> {
        let console = self.console.as_ref().and_then(Port::next_wake);
        [console, self.machine.next_wake()]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn wake(&mut self, now: Duration, out: &mut Vec<Reply>) {
        self.machine.advance(now);
        self.pump_console(now, out);
    }

    /// Applies its schedule; then says whether it answers at all.
    fn is_deaf(&mut self, now: Duration) -> bool {
        while self.schedule.first().is_some_and(|(from, _)| *from <= now) {
            let (from, faults) = self.schedule.remove(0);
            if faults.restarts && !self.faults.restarts {
                self.restart(from);
            }
            self.faults = faults;
        }
        self.faults.silent || now < self.silent_until
    }

    fn lost(&mut self) -> bool {
        let lost = self.dice.chance(self.faults.loss_permille);
        self.counters.lost += u64::from(lost);
        lost
    }

    fn reply(&mut self, from: Duration, to: SocketAddr, bytes: Vec<u8>, out: &mut Vec<Reply>) {
        if self.lost() {
            return;
        }
        let mut at = from + self.faults.delay;
        if !self.faults.jitter.is_zero() {
            at += self.dice.upto(self.faults.jitter);
        }
        if self.dice.chance(self.faults.reorder_permille) {
            at += HELD_BACK;
        }
        if self.dice.chance(self.faults.duplicate_permille) {
            let bytes = bytes.clone();
            out.push(Reply { at, to, bytes });
        }
        out.push(Reply { at, to, bytes });
    }

    /// A command without a session: only a few have an answer.
    fn outside(&mut self, message: &[u8], now: Duration) -> Option<Vec<u8>> {
        let request = Request::parse(message)?;
        if self.faults.ignores_cipher_suites && (request.netfn, request.command) == (0x06, 0x54) {
            return None;
        }
        let context = Context {
            now,
            from: From::Outside,
        };
        Some(match commands::run(self, &request, &context) {
            Ok(data) => request.answer(0, &data),
            Err(code) => request.answer(code, &[]),
        })
    }

    fn login(&mut self, plus: &Plus<'_>, peer: SocketAddr, now: Duration) -> Option<Vec<u8>> {
        let (settings, faults) = (&self.settings, &self.faults);
        let outcome = match plus.kind {
            OPEN_REQUEST => {
                self.sessions
                    .open(plus.payload, peer, now, settings, faults, &mut self.dice)
            }
            RAKP_1 => self
                .sessions
                .rakp_1(plus.payload, now, settings, faults, &mut self.dice),
            RAKP_3 => self.sessions.rakp_3(plus.payload, now, settings, faults),
            IPMI => {
                let answer = self.outside(plus.payload, now)?;
                return Some(rmcp::plus(IPMI, 0, 0, &answer));
            }
            _ => return None,
        };
        match outcome {
            Outcome::Answer(bytes) => Some(bytes),
            Outcome::LoggedIn(bytes) => {
                self.counters.logins += 1;
                Some(bytes)
            }
            Outcome::Refused(bytes) => {
                self.counters.refused_logins += 1;
                Some(bytes)
            }
            Outcome::Silence => None,
        }
    }

    fn inside(&mut self, plus: &Plus<'_>, peer: SocketAddr, now: Duration, out: &mut Vec<Reply>) {
        self.sessions.expire(now, self.settings.session_idle);
        let Some(session) = self.sessions.get(plus.session) else {
            return;
        };
        let Some(payload) = session.open(plus, now) else {
            return;
        };
        session.peer = peer;
        if plus.kind == SOL {
            if let Some(console) = &mut self.console
                && console.session == plus.session
            {
                console.receive(&payload, now);
            }
            return self.pump_console(now, out);
        }
        let limit = self.faults.forgets_after;
        session.commands += 1;
        if limit.is_some_and(|limit| session.commands > limit) {
            self.sessions.remove(plus.session);
            return;
        }
        let keeps = !self.faults.no_retry_cache;
        let repeated = session
            .cache
            .as_ref()
            .filter(|c| keeps && c.request == payload && now.saturating_sub(c.at) < REPEATED)
            .map(|cached| cached.answer.clone());
        let answer = match repeated {
            Some(answer) => {
                self.counters.repeated += 1;
                answer
            }
            None => match self.carry_out(&payload, plus.session, now) {
                Some(answer) => answer,
                None => return,
            },
        };
        let is_control = payload.get(1) == Some(&0) && payload.get(5) == Some(&0x02);
        let from = match is_control {
            true => now + self.faults.slow_acknowledge,
            false => now,
        };
        let bridged = std::mem::take(&mut self.later);
        for message in std::iter::once(answer).chain(bridged) {
            self.send_sealed(plus.session, false, &message, from, out);
        }
        // Close Session is answered before the session goes.
        if payload.get(5) == Some(&0x3c) && payload.get(1) == Some(&0x18) {
            self.sessions.remove(plus.session);
            self.console = self.console.take().filter(|c| c.session != plus.session);
        }
        // A client that has just attached sees what the machine says.
        self.pump_console(now, out);
    }

    /// None: it restarts, and stops answering.
    fn carry_out(&mut self, payload: &[u8], session: u32, now: Duration) -> Option<Vec<u8>> {
        let request = Request::parse(payload)?;
        self.counters.commands += 1;
        let answer = if self.dice.chance(self.faults.busy_permille) {
            request.answer(0xc0, &[])
        } else {
            let context = Context {
                now,
                from: From::Session(session),
            };
            match commands::run(self, &request, &context) {
                Ok(data) => request.answer(0, &data),
                Err(code) => request.answer(code, &[]),
            }
        };
        if self.faults.restarts_on_control && (request.netfn, request.command) == (0x00, 0x02) {
            self.restart(now);
        }
        let session = self.sessions.get(session)?;
        session.cache = Some(Cached {
            request: payload.to_vec(),
            answer: answer.clone(),
            at: now,
        });
        Some(answer)
    }

    fn send_sealed(
        &mut self,
        session: u32,
        is_sol: bool,
        message: &[u8],
        from: Duration,
        out: &mut Vec<Reply>,
    ) {
        let step = match (self.faults.stuck_sequence, self.faults.wild_sequence) {
            (true, _) => 0,
            (false, true) => self.dice.throw() as u32,
            (false, false) => 1,
        };
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let peer = session.peer;
        if let Some(bytes) = session.seal(is_sol, message, step, &mut self.dice) {
            self.reply(from, peer, bytes, out);
        }
    }

    fn pump_console(&mut self, now: Duration, out: &mut Vec<Reply>) {
        while let Some(console) = &mut self.console
            && let Some(packet) = console.poll(now)
        {
            let session = console.session;
            self.send_sealed(session, true, &packet, now, out);
        }
    }
}
