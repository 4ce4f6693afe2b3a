//! What a datagram from the BMC turned out to be: a step of a login, or a message in an open session.
//! `handshake`, `session` and `v15` find out which; `attempt` and `exchange` draw conclusions.
use crate::message::Response;

/// What a datagram did to a login that ends in a session `S`.
#[derive(Debug)]
pub(crate) enum Progress<S> {
    /// It was not for this stage: a duplicate, or somebody else's.
    Ignored,
    /// Send `datagram()` next.
    Next,
    Open(S),
}

impl<S> Progress<S> {
    pub(crate) fn map<T>(self, wrap: impl FnOnce(S) -> T) -> Progress<T> {
        match self {
            Progress::Ignored => Progress::Ignored,
            Progress::Next => Progress::Next,
            Progress::Open(session) => Progress::Open(wrap(session)),
        }
    }
}

/// An authentic, new message in an open session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Ipmi(Response),
    /// A Serial-over-LAN packet (§15.9).
    Sol(Vec<u8>),
}
