//! A login and a session of either protocol, IPMI 2.0 or 1.5, behind one interface.
//! `handshake` and `session` (2.0) and `v15` have their bytes; `retransmit` says when to send them.
use crate::config::BmcConfig;
use crate::crypto::Suite;
use crate::error::ErrorKind;
use crate::handshake::{Fresh, Handshake, Login};
use crate::message::{APP, Request};
use crate::packet::{IPMI, SOL};
use crate::received::{Incoming, Progress};
use crate::session::Session;
use crate::v15::{Handshake15, Login15, Session15};
use std::time::Duration;

/// A login under way.
pub(crate) enum EitherHandshake {
    V20(Handshake),
    V15(Handshake15),
}

/// An open session.
#[derive(Debug)]
pub(crate) enum EitherSession {
    V20(Session),
    V15(Session15),
}

impl EitherHandshake {
    /// `suite`: none for IPMI 1.5. `fresh`: must never be the same twice.
    pub(crate) fn begin(
        config: &BmcConfig,
        suite: Option<Suite>,
        fresh: Fresh,
    ) -> Result<Self, ErrorKind> {
        let Some(suite) = suite else {
            let login = Login15 {
                user: config.username.clone(),
                password: config.password.clone(),
                privilege: config.privilege,
                // Any unpredictable number would do, except zero.
                first_sequence: fresh.console_id,
                rq_seq: 0,
            };
            return Handshake15::begin(login).map(Self::V15);
        };
        let login = Login {
            user: config.username.clone(),
            password: config.password.clone(),
            kg: config.kg.clone(),
            privilege: config.privilege,
            suite,
        };
        if let Some(what) = login.too_long() {
            return Err(ErrorKind::LoginTooLong(what));
        }
        Ok(Self::V20(Handshake::begin(login, fresh)))
    }

    /// The datagram to send now, and again when no answer comes.
    pub(crate) fn datagram(&self) -> &[u8] {
        match self {
            Self::V20(handshake) => handshake.datagram(),
            Self::V15(handshake) => handshake.datagram(),
        }
    }

    pub(crate) fn receive(
        &mut self,
        datagram: &[u8],
    ) -> Result<Progress<EitherSession>, ErrorKind> {
        match self {
            Self::V20(handshake) => {
                let progress = handshake.receive(datagram)?;
                Ok(progress.map(EitherSession::V20))
            }
            Self::V15(handshake) => {
                let progress = handshake.receive(datagram)?;
                Ok(progress.map(EitherSession::V15))
            }
        }
    }

    /// The error when answers stop coming.
    pub(crate) fn silence(&self, tries: u32, waited: Duration) -> ErrorKind {
        match self {
            Self::V20(handshake) => handshake.silence(tries, waited),
            Self::V15(handshake) => handshake.silence(tries, waited),
        }
    }

    /// The datagram that gives the BMC its session slot back when the login is given up.
    pub(crate) fn abort(&self) -> Option<Vec<u8>> {
        match self {
            Self::V20(handshake) => handshake.abort(),
            // An IPMI 1.5 BMC assigns a slot only at the very end.
            Self::V15(_) => None,
        }
    }
}

impl EitherSession {
    /// The bytes of one transmission of an IPMI message. Every transmission, even a repeated one, has its own session
    /// sequence number.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::V20(session) => session.seal(IPMI, message),
            Self::V15(session) => session.seal(message),
        }
    }

    /// None: IPMI 1.5 has no Serial over LAN.
    pub(crate) fn seal_sol(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::V20(session) => Some(session.seal(SOL, packet)),
            Self::V15(_) => None,
        }
    }

    /// `Ok(None)` for datagrams of other sessions, and for repeated ones.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Option<Incoming>, &'static str> {
        match self {
            Self::V20(session) => session.open(datagram),
            Self::V15(session) => session.open(datagram),
        }
    }

    /// Close Session (§22.19).
    pub(crate) fn close_request(&self) -> Request {
        let id = match self {
            Self::V20(session) => session.bmc_id(),
            Self::V15(session) => session.id(),
        };
        Request::once(APP, 0x3c, &id.to_le_bytes())
    }
}
