//! Which command needs which privilege, and who carries it out (IPMI 2.0 appendix G).
//! Leaves what each does to the file of its network function.
mod app;
mod chassis;
mod sensor;
mod storage;
mod transport;

use crate::bmc::Bmc;
use crate::rmcp::Request;
use std::time::Duration;

/// Completion codes (table 5-2).
pub(crate) const INVALID_COMMAND: u8 = 0xc1;
pub(crate) const CANCELLED: u8 = 0xc5;
pub(crate) const BAD_LENGTH: u8 = 0xc7;
pub(crate) const OUT_OF_RANGE: u8 = 0xc9;
pub(crate) const TOO_MANY_BYTES: u8 = 0xca;
pub(crate) const NOT_PRESENT: u8 = 0xcb;
pub(crate) const BAD_FIELD: u8 = 0xcc;
const NOT_ALLOWED: u8 = 0xd4;
pub(crate) const NOT_NOW: u8 = 0xd5;

const USER: u8 = 2;
const OPERATOR: u8 = 3;
const ADMINISTRATOR: u8 = 4;

/// Data, or a completion code.
pub(crate) type Answer = Result<Vec<u8>, u8>;

pub(crate) struct Context {
    pub now: Duration,
    pub from: From,
}

/// Where a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The LAN, before a login.
    Outside,
    Session(u32),
    /// The machine's own system interface, which may do everything.
    Inside,
}

impl Context {
    pub(crate) fn session(&self) -> Option<u32> {
        match self.from {
            From::Session(id) => Some(id),
            From::Outside | From::Inside => None,
        }
    }
}

/// Commands that need no login.
fn is_public(request: &Request) -> bool {
    matches!((request.netfn, request.command), (0x06, 0x37 | 0x38 | 0x54))
}

fn needed(request: &Request) -> u8 {
    match (request.netfn, request.command) {
        (0x00, 0x02 | 0x04 | 0x06 | 0x08)
        | (0x0a, 0x47 | 0x49)
        | (0x0c, 0x02)
        | (0x06, 0x44 | 0x46) => OPERATOR,
        (0x06, 0x02 | 0x03) => ADMINISTRATOR,
        _ => USER,
    }
}

pub(crate) fn run(bmc: &mut Bmc, request: &Request, context: &Context) -> Answer {
    let privilege = match context.from {
        From::Session(id) => bmc.sessions.get(id).map_or(0, |session| session.privilege),
        From::Outside if is_public(request) => USER,
        From::Outside => 0,
        From::Inside => ADMINISTRATOR,
    };
    if privilege < needed(request) {
        return Err(NOT_ALLOWED);
    }
    bmc.machine.advance(context.now);
    match request.netfn {
        0x00 => chassis::run(bmc, request, context.now),
        0x04 => sensor::run(bmc, request),
        0x06 => app::run(bmc, request, context),
        0x0a => storage::run(bmc, request, context.now),
        0x0c => transport::run(bmc, request),
        _ => Err(INVALID_COMMAND),
    }
}
