//! How an RMCP+ session is opened: Open Session and RAKP 1 to 4 (IPMI 2.0 §13.17 to §13.24), without a socket or a clock.
//! `attempt` sends `datagram()`, again if nothing comes, and hands in what arrives.
use crate::config::Privilege;
use crate::crypto::{Suite, same};
use crate::error::ErrorKind;
use crate::packet::{self, OPEN_REQUEST, OPEN_RESPONSE, RAKP_1, RAKP_2, RAKP_3, RAKP_4};
use crate::received::Progress;
use crate::secret::Secret;
use crate::session::{Keys, Session};
use std::time::Duration;

/// Bit 4 of the role byte: look up the user by name alone.
const NAME_ONLY: u8 = 0x10;
/// Longest user name (§22.28), password (§22.30) and key K_g (§22.25), in bytes.
const MAX_USER: usize = 16;
const MAX_PASSWORD: usize = 20;
const MAX_KG: usize = 20;
/// RMCP+ status codes (table 13-15): "invalid session ID", "inactive session ID", "invalid integrity check value".
const UNKNOWN_SESSION: u8 = 0x02;
const INACTIVE_SESSION: u8 = 0x08;
const WRONG_CHECK: u8 = 0x0f;

#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub user: String,
    pub password: Secret,
    pub kg: Option<Secret>,
    pub privilege: Privilege,
    pub suite: Suite,
}

impl Login {
    /// Which part, if any, is longer than any BMC can store.
    pub(crate) fn too_long(&self) -> Option<&'static str> {
        let kg = self.kg.as_ref().map_or(0, |kg| kg.reveal().len());
        [
            (self.user.len() > MAX_USER, "a name has at most 16 bytes"),
            (
                self.password.reveal().len() > MAX_PASSWORD,
                "a password has at most 20 bytes",
            ),
            (kg > MAX_KG, "a key K_g has at most 20 bytes"),
        ]
        .iter()
        .find_map(|(too_long, what)| too_long.then_some(*what))
    }
}

/// Values that must never repeat; handed in, so that a test can choose them.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    /// Our session id; not zero.
    pub console_id: u32,
    pub console_random: [u8; 16],
}

#[derive(Debug)]
pub(crate) struct Handshake {
    login: Login,
    fresh: Fresh,
    tag: u8,
    state: State,
    datagram: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Opening,
    Rakp1 {
        bmc_id: u32,
        /// RAKP 2 came with a wrong proof.
        disproved: bool,
    },
    Rakp3 {
        bmc_id: u32,
        sik: Vec<u8>,
        bmc_guid: [u8; 16],
    },
}

impl Handshake {
    pub(crate) fn begin(login: Login, fresh: Fresh) -> Self {
        let mut payload = vec![1, login.privilege.code(), 0, 0];
        payload.extend(fresh.console_id.to_le_bytes());
        for (kind, algorithm) in (0u8..).zip(login.suite.algorithms()) {
            payload.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        let datagram = packet::plain(OPEN_REQUEST, &payload);
        Self {
            login,
            fresh,
            tag: 1,
            state: State::Opening,
            datagram,
        }
    }

    /// The datagram to send now, and again when no answer comes.
    pub(crate) fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    /// The error when answers stop coming.
    pub(crate) fn silence(&self, tries: u32, waited: Duration) -> ErrorKind {
        match self.state {
            State::Opening => ErrorKind::Unreachable { tries, waited },
            State::Rakp1 { .. } => ErrorKind::SilentLogin {
                user: self.login.user.clone(),
            },
            // Perhaps it let us in, its answer was lost, and it ignores the repeated RAKP 3.
            State::Rakp3 { .. } => ErrorKind::SessionLost,
        }
    }

    /// RAKP 3 with an error in place of a proof: the BMC gets its session slot back (§13.22). It answers RAKP 2;
    /// sent any earlier it crashes some servers, so their slot has to time out.
    pub(crate) fn abort(&self) -> Option<Vec<u8>> {
        let bmc_id = match self.state {
            State::Opening
            | State::Rakp1 {
                disproved: false, ..
            } => return None,
            State::Rakp1 { bmc_id, .. } | State::Rakp3 { bmc_id, .. } => bmc_id,
        };
        let mut rakp_3 = vec![self.tag.wrapping_add(1), WRONG_CHECK, 0, 0];
        rakp_3.extend(bmc_id.to_le_bytes());
        Some(packet::plain(RAKP_3, &rakp_3))
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Result<Progress<Session>, ErrorKind> {
        let outer = packet::parse(datagram).map_err(ErrorKind::Malformed)?;
        let expected = match self.state {
            State::Opening => OPEN_RESPONSE,
            State::Rakp1 { .. } => RAKP_2,
            State::Rakp3 { .. } => RAKP_4,
        };
        let payload = outer.payload;
        let ours = outer.payload_type == expected && payload.first() == Some(&self.tag);
        if !ours || outer.authenticated {
            return Ok(Progress::Ignored);
        }
        let status = *payload
            .get(1)
            .ok_or(ErrorKind::Malformed("a login answer without a status"))?;
        let names_us = payload.get(4..8) == Some(&self.fresh.console_id.to_le_bytes()[..]);
        match (status, &self.state) {
            (0, _) if names_us => {}
            (0, _) => return Ok(Progress::Ignored),
            // From a BMC that hides its users: it forgot this login at the first RAKP 1, and answers the repeated one so.
            (UNKNOWN_SESSION | INACTIVE_SESSION, State::Rakp1 { .. }) if !names_us => {
                return Ok(Progress::Ignored);
            }
            _ => return Err(self.refusal(status)),
        }
        match &self.state {
            State::Opening => self.opened(payload),
            State::Rakp1 { bmc_id, .. } => self.rakp_2(*bmc_id, payload),
            State::Rakp3 {
                bmc_id,
                sik,
                bmc_guid,
            } => self.rakp_4(*bmc_id, sik, bmc_guid, payload),
        }
    }

    fn opened(&mut self, payload: &[u8]) -> Result<Progress<Session>, ErrorKind> {
        let answer: &[u8; 36] = payload
            .first_chunk()
            .ok_or(ErrorKind::Malformed("an open-session answer cut short"))?;
        let bmc_id = u32::from_le_bytes([answer[8], answer[9], answer[10], answer[11]]);
        // We proposed one suite. A BMC that silently grants another does not support ours.
        if [answer[16], answer[24], answer[32]] != self.login.suite.algorithms() {
            return Err(self.suite_refused());
        }
        if bmc_id == 0 {
            return Err(ErrorKind::Malformed("it gave the session the id zero"));
        }
        self.next_tag();
        let user = self.login.user.as_bytes();
        let mut rakp_1 = vec![self.tag, 0, 0, 0];
        rakp_1.extend(bmc_id.to_le_bytes());
        rakp_1.extend(self.fresh.console_random);
        rakp_1.extend([self.role(), 0, 0, user.len() as u8]);
        rakp_1.extend(user);
        self.datagram = packet::plain(RAKP_1, &rakp_1);
        self.state = State::Rakp1 {
            bmc_id,
            disproved: false,
        };
        Ok(Progress::Next)
    }

    fn rakp_2(&mut self, bmc_id: u32, payload: &[u8]) -> Result<Progress<Session>, ErrorKind> {
        let suite = self.login.suite;
        let short = ErrorKind::Malformed("RAKP 2 cut short");
        let bmc_random: [u8; 16] = *payload
            .get(8..)
            .and_then(|p| p.first_chunk())
            .ok_or(short.clone())?;
        let bmc_guid: [u8; 16] = *payload
            .get(24..)
            .and_then(|p| p.first_chunk())
            .ok_or(short.clone())?;
        let code = payload.get(40..40 + suite.digest_len()).ok_or(short)?;
        let (console_id, bmc_sid) = (self.fresh.console_id.to_le_bytes(), bmc_id.to_le_bytes());
        let (console_random, role) = (self.fresh.console_random, [self.role()]);
        let user = self.login.user.clone();
        let length = [user.len() as u8];
        let name: [&[u8]; 3] = [&role, &length, user.as_bytes()];
        let password = self.login.password.reveal();
        let expected = suite.hmac(
            password,
            &[
                &console_id,
                &bmc_sid,
                &console_random,
                &bmc_random,
                &bmc_guid,
                name[0],
                name[1],
                name[2],
            ],
        );
        if !same(&expected, code) {
            self.state = State::Rakp1 {
                bmc_id,
                disproved: true,
            };
            return Err(ErrorKind::WrongPassword { user });
        }
        let kg = self.login.kg.as_ref().map_or(password, Secret::reveal);
        let sik = suite.hmac(
            kg,
            &[&console_random, &bmc_random, name[0], name[1], name[2]],
        );
        let proof = suite.hmac(
            password,
            &[&bmc_random, &console_id, name[0], name[1], name[2]],
        );
        self.next_tag();
        let mut rakp_3 = vec![self.tag, 0, 0, 0];
        rakp_3.extend(bmc_sid);
        rakp_3.extend(proof);
        self.datagram = packet::plain(RAKP_3, &rakp_3);
        self.state = State::Rakp3 {
            bmc_id,
            sik,
            bmc_guid,
        };
        Ok(Progress::Next)
    }

    fn rakp_4(
        &self,
        bmc_id: u32,
        sik: &[u8],
        bmc_guid: &[u8; 16],
        payload: &[u8],
    ) -> Result<Progress<Session>, ErrorKind> {
        let suite = self.login.suite;
        let code = payload
            .get(8..8 + suite.check_len())
            .ok_or(ErrorKind::Malformed("RAKP 4 cut short"))?;
        let whole = suite.hmac(
            sik,
            &[&self.fresh.console_random, &bmc_id.to_le_bytes(), bmc_guid],
        );
        if !same(&whole[..suite.check_len()], code) {
            return Err(ErrorKind::WrongKey {
                user: self.login.user.clone(),
            });
        }
        Ok(Progress::Open(Session::new(
            suite,
            self.fresh.console_id,
            bmc_id,
            Keys::derive(suite, sik),
        )))
    }

    fn role(&self) -> u8 {
        self.login.privilege.code() | NAME_ONLY
    }

    fn suite_refused(&self) -> ErrorKind {
        ErrorKind::CipherRefused(self.login.suite.number().to_string())
    }

    fn next_tag(&mut self) {
        self.tag = self.tag.wrapping_add(1);
    }

    /// RMCP+ status codes (table 13-15). What they mean depends on what was asked.
    fn refusal(&self, status: u8) -> ErrorKind {
        let user = self.login.user.clone();
        let opening = matches!(self.state, State::Opening);
        match status {
            0x01 | 0x0b => ErrorKind::OutOfSessions,
            0x03..=0x07 | 0x10 | 0x11 => self.suite_refused(),
            // "Illegal parameter": the first message proposes nothing but algorithms.
            0x12 if opening => self.suite_refused(),
            0x09 | 0x0a => ErrorKind::PrivilegeTooLow {
                user,
                privilege: self.login.privilege.name(),
            },
            0x0c | 0x0d => ErrorKind::NoSuchUser { user },
            WRONG_CHECK => match self.state {
                // By then the BMC has proved that it has the same password. But a repeated RAKP 1 makes it draw a second
                // random number, and the two sides disagree.
                State::Rakp3 { .. } => ErrorKind::SessionLost,
                State::Opening | State::Rakp1 { .. } => ErrorKind::WrongPassword { user },
            },
            UNKNOWN_SESSION | INACTIVE_SESSION => ErrorKind::SessionLost,
            other => ErrorKind::Refused(other),
        }
    }
}

#[cfg(test)]
mod tests;
