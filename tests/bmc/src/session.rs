//! A BMC's sessions: Open Session, RAKP, sealing and opening, slots that run out (IPMI 2.0 §13.17 to §13.32).
//! Leaves the commands inside a session to `commands`.
use crate::crypto::{Key, Suite, decrypt, encrypt, equal};
use crate::dice::Dice;
use crate::rmcp::{self, IPMI, OPEN_RESPONSE, Plus, RAKP_2, RAKP_4, SOL};
use crate::settings::{Faults, Settings, User};
use std::net::SocketAddr;
use std::time::Duration;

/// An unfinished login gives its slot back after this.
const HALF_OPEN: Duration = Duration::from_secs(5);
/// How far a message may lag behind (§6.12.13).
const WINDOW: u32 = 16;

/// RMCP+ status codes (table 13-15).
const NO_RESOURCES: u8 = 0x01;
const INVALID_SESSION: u8 = 0x02;
const NO_SUITE: u8 = 0x11;
const UNAUTHORIZED_ROLE: u8 = 0x0a;
const BAD_NAME_LENGTH: u8 = 0x0c;
const UNAUTHORIZED_NAME: u8 = 0x0d;
const WRONG_CHECK: u8 = 0x0f;
const ILLEGAL_PARAMETER: u8 = 0x12;

#[derive(Clone)]
pub(crate) struct Session {
    pub id: u32,
    pub peer: SocketAddr,
    pub suite: Suite,
    /// Highest and present privilege.
    pub limit: u8,
    pub privilege: u8,
    pub user: u8,
    pub commands: u32,
    pub cache: Option<Cached>,
    console_id: u32,
    last_used: Duration,
    stage: Stage,
    next_sequence: u32,
    newest: u32,
    seen: u32,
}

/// The last command and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
    pub at: Duration,
}

#[derive(Clone)]
enum Stage {
    Opened,
    Keyed(Box<Exchange>),
    Active {
        integrity: Key,
        confidentiality: [u8; 16],
        /// For a repeated RAKP 3.
        rakp_4: Vec<u8>,
    },
}

/// What RAKP 1 and 2 have settled.
#[derive(Clone)]
struct Exchange {
    rakp_1: Vec<u8>,
    rakp_2: Vec<u8>,
    console_random: [u8; 16],
    bmc_random: [u8; 16],
    name: Vec<u8>,
    password: Vec<u8>,
}

/// What a login message led to.
pub(crate) enum Outcome {
    Answer(Vec<u8>),
    Refused(Vec<u8>),
    LoggedIn(Vec<u8>),
    Silence,
}

#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

impl Sessions {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn active(&self) -> usize {
        self.0.iter().filter(|s| s.is_active()).count()
    }

    /// Slots in use, those of unfinished logins included.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Session> {
        self.0.iter_mut().find(|session| session.id == id)
    }

    pub(crate) fn remove(&mut self, id: u32) -> bool {
        let before = self.0.len();
        self.0.retain(|session| session.id != id);
        self.0.len() < before
    }

    /// Frees the slots of clients that left without a word.
    pub(crate) fn expire(&mut self, now: Duration, idle: Duration) {
        self.0.retain(|session| {
            let patience = if session.is_active() { idle } else { HALF_OPEN };
            now.saturating_sub(session.last_used) < patience
        });
    }

    /// Open Session (§13.17).
    pub(crate) fn open(
        &mut self,
        payload: &[u8],
        peer: SocketAddr,
        now: Duration,
        settings: &Settings,
        faults: &Faults,
        dice: &mut Dice,
    ) -> Outcome {
        let [tag, privilege, _, _, c0, c1, c2, c3, rest @ ..] = payload else {
            return Outcome::Silence;
        };
        let console = [*c0, *c1, *c2, *c3];
        let refuse = |status| {
            let body = [&[*tag, status, 0, 0][..], &console].concat();
            Outcome::Refused(rmcp::plus(OPEN_RESPONSE, 0, 0, &body))
        };
        let Some(proposals) = rest.first_chunk::<24>() else {
            return refuse(ILLEGAL_PARAMETER);
        };
        let wanted = [proposals[4], proposals[12], proposals[20]];
        let kinds = [proposals[0], proposals[8], proposals[16]];
        if kinds != [0, 1, 2] {
            return refuse(ILLEGAL_PARAMETER);
        }
        if faults.ignores_seventeen && wanted == Suite::Seventeen.algorithms() {
            return Outcome::Silence;
        }
        let suite = settings
            .suites
            .iter()
            .find(|suite| suite.algorithms() == wanted);
        let Some(suite) = suite else {
            return refuse(NO_SUITE);
        };
        self.expire(now, settings.session_idle);
        // A repeated request gets the first one's answer: the client may go on with either.
        let console_id = u32::from_le_bytes(console);
        let repeated = self
            .0
            .iter()
            .find(|s| !s.is_active() && s.peer == peer && s.console_id == console_id);
        if let Some(session) = repeated.filter(|s| s.suite == *suite) {
            return Outcome::Answer(session.opened(*tag, proposals));
        }
        let slots = settings.sessions.min(faults.sessions.unwrap_or(usize::MAX));
        if faults.table_full || self.0.len() >= slots {
            return refuse(NO_RESOURCES);
        }
        let id = loop {
            let id = u32::from_le_bytes(dice.bytes());
            if id != 0 && self.0.iter().all(|session| session.id != id) {
                break id;
            }
        };
        let limit = if privilege & 0x0f == 0 {
            4
        } else {
            privilege & 0x0f
        };
        let session = Session {
            id,
            peer,
            suite: *suite,
            limit,
            privilege: 2,
            user: 0,
            commands: 0,
            cache: None,
            console_id,
            last_used: now,
            stage: Stage::Opened,
            next_sequence: 1,
            newest: 0,
            seen: 1,
        };
        let answer = session.opened(*tag, proposals);
        self.0.push(session);
        Outcome::Answer(answer)
    }

    /// RAKP 1 (§13.20).
    pub(crate) fn rakp_1(
        &mut self,
        payload: &[u8],
        now: Duration,
        settings: &Settings,
        faults: &Faults,
        dice: &mut Dice,
    ) -> Outcome {
        let Some((head, name)) = payload.split_first_chunk::<28>() else {
            return Outcome::Silence;
        };
        let tag = head[0];
        let id = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some(session) = self.get(id) else {
            return refuse(RAKP_2, tag, INVALID_SESSION, 0);
        };
        let console_id = session.console_id;
        session.last_used = now;
        match &session.stage {
            Stage::Keyed(exchange) if exchange.rakp_1 == payload && !faults.redraws => {
                return Outcome::Answer(exchange.rakp_2.clone());
            }
            Stage::Opened | Stage::Keyed(_) => {}
            Stage::Active { .. } => return Outcome::Silence,
        }
        let console_random: [u8; 16] = *head[8..24].first_chunk().expect("24 - 8 bytes");
        let role = head[24];
        let length = head[27];
        if usize::from(length) != name.len() || length > 16 {
            self.remove(id);
            return refuse(RAKP_2, tag, BAD_NAME_LENGTH, console_id);
        }
        let wanted = role & 0x0f;
        let by_name_only = role & 0x10 != 0;
        let fits = |user: &&User| {
            user.enabled
                && user.name.as_bytes() == name
                && (by_name_only || user.privilege == wanted)
        };
        let Some(user) = settings.users.iter().find(fits) else {
            self.remove(id);
            return match faults.hides_users {
                true => Outcome::Silence,
                false => refuse(RAKP_2, tag, UNAUTHORIZED_NAME, console_id),
            };
        };
        if wanted > user.privilege {
            self.remove(id);
            return refuse(RAKP_2, tag, UNAUTHORIZED_ROLE, console_id);
        }
        let bmc_random: [u8; 16] = dice.bytes();
        let named = [&[role, length], name].concat();
        let code = session.suite.key(&user.password).hmac(&[
            &console_id.to_le_bytes(),
            &id.to_le_bytes(),
            &console_random,
            &bmc_random,
            &settings.guid,
            &named,
        ]);
        let mut body = vec![tag, 0, 0, 0];
        body.extend(console_id.to_le_bytes());
        body.extend(bmc_random);
        body.extend(settings.guid);
        body.extend(code);
        let rakp_2 = rmcp::plus(RAKP_2, 0, 0, &body);
        session.limit = session.limit.min(user.privilege);
        session.user = user.id;
        session.stage = Stage::Keyed(Box::new(Exchange {
            rakp_1: payload.to_vec(),
            rakp_2: rakp_2.clone(),
            console_random,
            bmc_random,
            name: named,
            password: user.password.clone(),
        }));
        Outcome::Answer(rakp_2)
    }

    /// RAKP 3 (§13.22).
    pub(crate) fn rakp_3(
        &mut self,
        payload: &[u8],
        now: Duration,
        settings: &Settings,
        faults: &Faults,
    ) -> Outcome {
        let Some((head, code)) = payload.split_first_chunk::<8>() else {
            return Outcome::Silence;
        };
        let (tag, status) = (head[0], head[1]);
        let id = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some(session) = self.get(id) else {
            return refuse(RAKP_4, tag, INVALID_SESSION, 0);
        };
        if status != 0 {
            // The console gives up, and gets no answer (§13.22).
            if !session.is_active() {
                self.remove(id);
            }
            return Outcome::Silence;
        }
        session.last_used = now;
        let (suite, console_id) = (session.suite, session.console_id);
        let exchange = match &session.stage {
            Stage::Keyed(exchange) => exchange.clone(),
            Stage::Active { rakp_4, .. } => return Outcome::Answer(rakp_4.clone()),
            Stage::Opened => return refuse(RAKP_4, tag, INVALID_SESSION, console_id),
        };
        let expected = suite.key(&exchange.password).hmac(&[
            &exchange.bmc_random,
            &console_id.to_le_bytes(),
            &exchange.name,
        ]);
        if !equal(&expected, code) {
            self.remove(id);
            return match faults.hides_users {
                true => Outcome::Silence,
                false => refuse(RAKP_4, tag, WRONG_CHECK, console_id),
            };
        }
        let kg = settings.kg.as_deref().unwrap_or(&exchange.password);
        let sik = suite.key(kg).hmac(&[
            &exchange.console_random,
            &exchange.bmc_random,
            &exchange.name,
        ]);
        let kept = suite.kept();
        let sik = suite.key(&sik);
        // 20 bytes with SHA-256 too, as ipmitool, FreeIPMI and pyghmi do (§13.32).
        let constant = |byte: u8| [byte; 20];
        let k1 = sik.hmac(&[&constant(1)]);
        let k2 = sik.hmac(&[&constant(2)]);
        let check = sik.hmac(&[&exchange.console_random, &id.to_le_bytes(), &settings.guid]);
        let mut body = vec![tag, 0, 0, 0];
        body.extend(console_id.to_le_bytes());
        body.extend(&check[..kept]);
        let rakp_4 = rmcp::plus(RAKP_4, 0, 0, &body);
        session.stage = Stage::Active {
            integrity: suite.key(&k1),
            confidentiality: *k2.first_chunk().expect("a digest has 20 bytes or more"),
            rakp_4: rakp_4.clone(),
        };
        Outcome::LoggedIn(rakp_4)
    }
}

fn refuse(kind: u8, tag: u8, status: u8, console_id: u32) -> Outcome {
    let body = [&[tag, status, 0, 0][..], &console_id.to_le_bytes()].concat();
    Outcome::Refused(rmcp::plus(kind, 0, 0, &body))
}

impl Session {
    /// The answer to Open Session.
    fn opened(&self, tag: u8, proposals: &[u8; 24]) -> Vec<u8> {
        let mut body = vec![tag, 0, self.limit, 0];
        body.extend(self.console_id.to_le_bytes());
        body.extend(self.id.to_le_bytes());
        body.extend(proposals);
        rmcp::plus(OPEN_RESPONSE, 0, 0, &body)
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active { .. })
    }

    /// The content of an authentic, new message.
    pub(crate) fn open(&mut self, plus: &Plus<'_>, now: Duration) -> Option<Vec<u8>> {
        let Stage::Active {
            integrity,
            confidentiality,
            ..
        } = &self.stage
        else {
            return None;
        };
        if !plus.authenticated || !plus.encrypted {
            return None;
        }
        let kept = self.suite.kept();
        let (signed, code) = plus
            .whole
            .split_at_checked(plus.whole.len() - kept.min(plus.whole.len()))?;
        if signed.len() % 4 != 0 || !equal(&integrity.hmac(&[signed])[..kept], code) {
            return None;
        }
        let [.., pad, 0x07] = signed else {
            return None;
        };
        // Header, payload, pad bytes, pad length, next header: nothing else.
        if 12 + plus.payload.len() + usize::from(*pad) + 2 != signed.len() {
            return None;
        }
        let payload = decrypt(confidentiality, plus.payload)?;
        self.is_new(plus.sequence).then(|| {
            self.last_used = now;
            payload
        })
    }

    fn is_new(&mut self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.newest);
        if ahead != 0 && ahead <= WINDOW {
            self.seen = self.seen << ahead | 1;
            self.newest = sequence;
            return true;
        }
        let behind = self.newest.wrapping_sub(sequence);
        let is_new = behind < WINDOW && self.seen & 1 << behind == 0;
        if is_new {
            self.seen |= 1 << behind;
        }
        is_new
    }

    pub(crate) fn seal(
        &mut self,
        is_sol: bool,
        payload: &[u8],
        step: u32,
        dice: &mut Dice,
    ) -> Option<Vec<u8>> {
        let Stage::Active {
            integrity,
            confidentiality,
            ..
        } = &self.stage
        else {
            return None;
        };
        let sealed = encrypt(confidentiality, dice.bytes(), payload);
        let kind = 0xc0 | if is_sol { SOL } else { IPMI };
        let mut out = rmcp::plus(kind, self.console_id, self.next_sequence, &sealed);
        // Zero is for messages outside a session.
        self.next_sequence = self.next_sequence.wrapping_add(step).max(1);
        let mut pad = 0u8;
        while !(out.len() - 4 + 2).is_multiple_of(4) {
            out.push(0xff);
            pad += 1;
        }
        out.extend([pad, 0x07]);
        let code = integrity.hmac(&[&out[4..]]);
        out.extend(&code[..self.suite.kept()]);
        Some(out)
    }
}
