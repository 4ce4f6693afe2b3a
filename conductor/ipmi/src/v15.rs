//! IPMI 1.5 sessions with MD5 (§6.11, §6.12, §22.16, §22.17), for a BMC that supports nothing better, and only when asked.
//! Nothing is encrypted, and MD5 protects little; `handshake` and `session` do RMCP+.
pub(crate) mod fuzz;

use crate::config::Privilege;
use crate::crypto::same;
use crate::error::{CompletionCode, ErrorKind};
use crate::message::{self, APP, Request, Response};
use crate::packet::{MAX_DATAGRAM, RMCP_IPMI};
use crate::presession;
use crate::received::{Incoming, Progress};
use crate::secret::Secret;
use crate::window::Window;
use md5::{Digest, Md5};
use std::time::Duration;

/// Authentication type MD5, and its bit among those a BMC offers.
const MD5: u8 = 0x02;
const MD5_OFFERED: u8 = 0x04;
/// Longest password of IPMI 1.5 (§22.30).
const MAX_PASSWORD: usize = 16;
/// RMCP header, authentication type, sequence, session id; then the code, the length, the message.
const CODE_AT: usize = 13;
const LENGTH_AT: usize = CODE_AT + 16;

/// The password as it is hashed: 16 bytes, padded with zeros.
#[derive(Clone)]
struct Key([u8; MAX_PASSWORD]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("******")
    }
}

impl Key {
    fn code(&self, session: u32, sequence: u32, message: &[u8]) -> [u8; 16] {
        Md5::new()
            .chain_update(self.0)
            .chain_update(session.to_le_bytes())
            .chain_update(message)
            .chain_update(sequence.to_le_bytes())
            .chain_update(self.0)
            .finalize()
            .into()
    }

    fn seal(&self, session: u32, sequence: u32, message: &[u8]) -> Vec<u8> {
        let mut out = RMCP_IPMI.to_vec();
        out.push(MD5);
        out.extend(sequence.to_le_bytes());
        out.extend(session.to_le_bytes());
        out.extend(self.code(session, sequence, message));
        out.push(message.len() as u8);
        out.extend(message);
        out
    }

    /// Session, sequence and message of an authentic datagram.
    fn open<'a>(&self, datagram: &'a [u8]) -> Result<(u32, u32, &'a [u8]), &'static str> {
        let [0x06, _, _, class, kind, s0, s1, s2, s3, i0, i1, i2, i3, ..] = *datagram else {
            return Err("a datagram shorter than its headers");
        };
        if class & 0x1f != RMCP_IPMI[3] || datagram.len() > MAX_DATAGRAM {
            return Err("not an RMCP message of class IPMI");
        }
        if kind != MD5 {
            return Err("a message without MD5 in a session with it");
        }
        let sequence = u32::from_le_bytes([s0, s1, s2, s3]);
        let session = u32::from_le_bytes([i0, i1, i2, i3]);
        let message = datagram
            .get(LENGTH_AT)
            .and_then(|length| datagram.get(LENGTH_AT + 1..LENGTH_AT + 1 + usize::from(*length)))
            .ok_or("a message longer than its datagram")?;
        if !same(
            &self.code(session, sequence, message),
            &datagram[CODE_AT..LENGTH_AT],
        ) {
            return Err("a message with a wrong authentication code");
        }
        Ok((session, sequence, message))
    }
}

/// Who logs in, and values that must never repeat.
pub(crate) struct Login15 {
    pub user: String,
    pub password: Secret,
    pub privilege: Privilege,
    /// The BMC's first sequence number; not zero.
    pub first_sequence: u32,
    pub rq_seq: u8,
}

pub(crate) struct Handshake15 {
    user: String,
    key: Key,
    privilege: Privilege,
    first_sequence: u32,
    rq_seq: u8,
    stage: Stage,
    datagram: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Stage {
    Capabilities(Request),
    Challenge(Request),
    Activate { request: Request, session: u32 },
}

impl Handshake15 {
    pub(crate) fn begin(login: Login15) -> Result<Self, ErrorKind> {
        let mut key = [0; MAX_PASSWORD];
        let password = login.password.reveal();
        key.get_mut(..password.len())
            .ok_or(ErrorKind::LoginTooLong(
                "an IPMI 1.5 password has at most 16 bytes",
            ))?
            .copy_from_slice(password);
        if login.user.len() > 16 {
            return Err(ErrorKind::LoginTooLong("a name has at most 16 bytes"));
        }
        let request = presession::auth_capabilities_request(false, login.privilege.code());
        Ok(Self {
            user: login.user,
            key: Key(key),
            privilege: login.privilege,
            first_sequence: login.first_sequence,
            rq_seq: login.rq_seq,
            datagram: presession::plain_request(&request, login.rq_seq),
            stage: Stage::Capabilities(request),
        })
    }

    pub(crate) fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    pub(crate) fn silence(&self, tries: u32, waited: Duration) -> ErrorKind {
        match self.stage {
            Stage::Capabilities(_) => ErrorKind::Unreachable { tries, waited },
            Stage::Challenge(_) | Stage::Activate { .. } => ErrorKind::SilentLogin {
                user: self.user.clone(),
            },
        }
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Result<Progress<Session15>, ErrorKind> {
        match self.stage.clone() {
            Stage::Capabilities(request) => match self.plain(datagram, &request) {
                Some(response) => self.offered(&response),
                None => Ok(Progress::Ignored),
            },
            Stage::Challenge(request) => match self.plain(datagram, &request) {
                Some(response) => self.challenged(&response),
                None => Ok(Progress::Ignored),
            },
            Stage::Activate { request, session } => {
                let response = match self.key.open(datagram) {
                    Ok((id, _, message)) if id == session => {
                        message::parse_response(message).map_err(ErrorKind::Malformed)?
                    }
                    // A refusal may come without authentication.
                    _ => match self.plain(datagram, &request) {
                        Some(response) if response.completion != 0 => response,
                        _ => return Ok(Progress::Ignored),
                    },
                };
                if !response.answers(&request, self.rq_seq) {
                    return Ok(Progress::Ignored);
                }
                self.activated(&response)
            }
        }
    }

    fn plain(&self, datagram: &[u8], request: &Request) -> Option<Response> {
        presession::plain_response(datagram).filter(|r| r.answers(request, self.rq_seq))
    }

    fn offered(&mut self, response: &Response) -> Result<Progress<Session15>, ErrorKind> {
        if response.completion != 0 {
            return Err(ErrorKind::Completion(CompletionCode(response.completion)));
        }
        let can = presession::parse_auth_capabilities(&response.data).ok_or(
            ErrorKind::Malformed("authentication capabilities cut short"),
        )?;
        if can.auth_types & MD5_OFFERED == 0 {
            return Err(ErrorKind::Unsupported(
                "it offers no MD5 for IPMI 1.5, and we use nothing weaker",
            ));
        }
        let mut data = vec![MD5];
        data.extend(self.user.as_bytes());
        data.resize(17, 0);
        // Get Session Challenge (§22.16).
        let request = Request::new(APP, 0x39, &data);
        self.datagram = presession::plain_request(&request, self.rq_seq);
        self.stage = Stage::Challenge(request);
        Ok(Progress::Next)
    }

    fn challenged(&mut self, response: &Response) -> Result<Progress<Session15>, ErrorKind> {
        let user = self.user.clone();
        match response.completion {
            0 => {}
            0x81 | 0x82 => return Err(ErrorKind::NoSuchUser { user }),
            code => return Err(ErrorKind::Completion(CompletionCode(code))),
        }
        let (id, challenge) = response
            .data
            .split_first_chunk::<4>()
            .and_then(|(id, rest)| Some((*id, rest.first_chunk::<16>()?)))
            .ok_or(ErrorKind::Malformed("a session challenge cut short"))?;
        let session = u32::from_le_bytes(id);
        let mut data = vec![MD5, self.privilege.code()];
        data.extend(challenge);
        data.extend(self.first_sequence.to_le_bytes());
        // Activate Session (§22.17), in the temporary session and without a sequence number yet.
        let request = Request::new(APP, 0x3a, &data);
        self.datagram = self.key.seal(session, 0, &request.encode(self.rq_seq));
        self.stage = Stage::Activate { request, session };
        Ok(Progress::Next)
    }

    fn activated(&mut self, response: &Response) -> Result<Progress<Session15>, ErrorKind> {
        let user = self.user.clone();
        match response.completion {
            0 => {}
            0x81..=0x83 => return Err(ErrorKind::OutOfSessions),
            0x84 | 0x85 => return Err(ErrorKind::SessionLost),
            0x86 => {
                return Err(ErrorKind::PrivilegeTooLow {
                    user,
                    privilege: self.privilege.name(),
                });
            }
            code => return Err(ErrorKind::Completion(CompletionCode(code))),
        }
        let [kind, id @ .., _max_privilege] =
            response
                .data
                .first_chunk::<10>()
                .ok_or(ErrorKind::Malformed(
                    "an answer to session activation cut short",
                ))?;
        if kind & 0x0f != MD5 {
            return Err(ErrorKind::Unsupported(
                "it drops authentication after the login, and we do not use such sessions",
            ));
        }
        let [i0, i1, i2, i3, s0, s1, s2, s3] = *id;
        Ok(Progress::Open(Session15 {
            key: self.key.clone(),
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            next_sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            window: Window::from(self.first_sequence),
        }))
    }
}

#[derive(Debug)]
pub(crate) struct Session15 {
    key: Key,
    id: u32,
    next_sequence: u32,
    window: Window,
}

impl Session15 {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let sequence = self.next_sequence;
        // Zero is for messages outside a session.
        self.next_sequence = self.next_sequence.checked_add(1).unwrap_or(1);
        self.key.seal(self.id, sequence, message)
    }

    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Option<Incoming>, &'static str> {
        let (session, sequence, message) = self.key.open(datagram)?;
        // Sequence zero: the late answer to a repeated activation.
        if session != self.id || sequence == 0 || !self.window.take(sequence) {
            return Ok(None);
        }
        message::parse_response(message).map(|response| Some(Incoming::Ipmi(response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    fn key() -> Key {
        let mut key = [0; 16];
        key[..9].copy_from_slice(b"Rack-pw-1");
        Key(key)
    }

    fn session() -> Session15 {
        Session15 {
            key: key(),
            id: 0x0a0b_0c0d,
            next_sequence: 7,
            window: Window::from(7),
        }
    }

    fn answer() -> Vec<u8> {
        session().seal(&Request::new(1, 1, &[0, 0x21]).encode(5))
    }

    #[test]
    fn a_sealed_message_is_the_known_answer() {
        // Computed with Python's hashlib from the text of §22.17.1.
        let sealed = session().seal(&Request::new(0, 1, &[]).encode(1));
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, KNOWN);
    }

    #[test]
    fn an_answer_is_taken_once_and_only_with_the_key() {
        let mut console = session();
        assert!(matches!(
            console.open(&answer()),
            Ok(Some(Incoming::Ipmi(Response { data, .. }))) if data == [0x21]
        ));
        assert_eq!(console.open(&answer()), Ok(None));
        let mut stranger = session();
        stranger.key = Key([0; 16]);
        assert!(stranger.open(&answer()).is_err());
    }

    #[test]
    fn mutants_never_panic_and_never_pass() {
        let mut mutator = Mutator::seeded("v15");
        let good = answer();
        for _ in 0..50_000 {
            let bad = mutator.mutate(&good);
            let opened = session().open(&bad);
            assert!(
                bad.get(4..good.len()) == good.get(4..) || !matches!(opened, Ok(Some(_))),
                "{bad:02x?}: {opened:?}"
            );
            let login = Login15 {
                user: "admin".into(),
                password: Secret::new("Rack-pw-1"),
                privilege: Privilege::User,
                first_sequence: 1,
                rq_seq: 5,
            };
            let mut handshake = Handshake15::begin(login).unwrap();
            let _ = handshake.receive(&bad);
        }
    }

    const KNOWN: &str =
        "0600ff0702070000000d0c0b0a6d29646206e7bc4cd22d304377c1c072072000e08104017a";
}
