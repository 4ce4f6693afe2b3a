//! A session of either protocol: seals what goes to the BMC, opens what comes from it.
//! RMCP+ is in `session`, IPMI 1.5 in `v15`; when to send again is `link`'s affair.
use crate::crypto::Suite;
use crate::error::ErrorKind;
use crate::handshake::Handshake;
use crate::message::{APP, Request, Response};
use crate::session::Session;
use crate::v15::{Handshake15, Session15};
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Wire {
    Plus(Session),
    Old(Session15),
}

/// An authentic, new message from the BMC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Ipmi(Response),
    /// A Serial-over-LAN packet (§15.9).
    Sol(Vec<u8>),
}

impl Wire {
    /// The bytes of one transmission of an IPMI message. Each has its own session sequence number, a retransmission too.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        match self {
            Wire::Plus(session) => session.seal(crate::packet::IPMI, message),
            Wire::Old(session) => session.seal(message),
        }
    }

    /// None: IPMI 1.5 has no such thing.
    pub(crate) fn seal_sol(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match self {
            Wire::Plus(session) => Some(session.seal(crate::packet::SOL, packet)),
            Wire::Old(_) => None,
        }
    }

    /// `Ok(None)` for what is none of our business.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Option<Incoming>, &'static str> {
        match self {
            Wire::Plus(session) => session.open(datagram),
            Wire::Old(session) => session.open(datagram),
        }
    }

    /// Close Session (§22.19).
    pub(crate) fn close_request(&self) -> Request {
        let id = match self {
            Wire::Plus(session) => session.bmc_id(),
            Wire::Old(session) => session.id(),
        };
        Request::once(APP, 0x3c, &id.to_le_bytes())
    }

    pub(crate) fn suite(&self) -> Option<Suite> {
        match self {
            Wire::Plus(session) => Some(session.suite()),
            Wire::Old(_) => None,
        }
    }
}

/// A login under way, of either protocol.
pub(crate) enum Entry {
    Plus(Handshake),
    Old(Handshake15),
}

#[derive(Debug)]
pub(crate) enum Progress {
    /// The bytes were not for this stage: a duplicate, or somebody else's.
    Ignored,
    /// Send `datagram()`.
    Next,
    Open(Wire),
}

impl Entry {
    /// What to send now, and again when no answer comes.
    pub(crate) fn datagram(&self) -> &[u8] {
        match self {
            Entry::Plus(handshake) => handshake.datagram(),
            Entry::Old(handshake) => handshake.datagram(),
        }
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Result<Progress, ErrorKind> {
        match self {
            Entry::Plus(handshake) => handshake.receive(datagram),
            Entry::Old(handshake) => handshake.receive(datagram),
        }
    }

    /// What it means that nothing answers any more.
    pub(crate) fn silence(&self, tries: u32, waited: Duration) -> ErrorKind {
        match self {
            Entry::Plus(handshake) => handshake.silence(tries, waited),
            Entry::Old(handshake) => handshake.silence(tries, waited),
        }
    }

    /// What gives the BMC its slot back when the login is given up.
    pub(crate) fn farewell(&self) -> Option<Vec<u8>> {
        match self {
            Entry::Plus(handshake) => handshake.farewell(),
            // It gives out a slot at the very end only.
            Entry::Old(_) => None,
        }
    }
}
