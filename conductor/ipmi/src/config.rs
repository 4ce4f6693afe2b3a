//! How to reach one BMC, and how to log in to it: what the caller chooses.
//! `login`, `handshake` and `pace` follow these choices.
use crate::crypto::Suite;
use crate::secret::Secret;
use std::net::SocketAddr;
use std::time::Duration;

/// How to reach and enter a BMC.
#[derive(Clone, Debug)]
pub struct BmcConfig {
    pub address: SocketAddr,
    pub username: String,
    pub password: Secret,
    /// Key K_g; none: the password serves.
    pub kg: Option<Secret>,
    pub privilege: Privilege,
    pub protocol: Protocol,
    /// None: 17, and 3 when that is refused.
    pub suite: Option<Suite>,
    pub timing: Timing,
}

/// How to speak to a BMC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// IPMI 2.0: authenticated and encrypted.
    #[default]
    RmcpPlus,
    /// IPMI 1.5 with MD5: everybody on the way can read it. Never chosen by itself.
    Ipmi15,
}

impl BmcConfig {
    pub fn new(address: SocketAddr, username: impl Into<String>, password: Secret) -> Self {
        Self {
            address,
            username: username.into(),
            password,
            kg: None,
            privilege: Privilege::Administrator,
            protocol: Protocol::RmcpPlus,
            suite: None,
            timing: Timing::default(),
        }
    }
}

/// Requested maximum privilege (table 22-19); a role of the user is looked up by name only (§13.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    User,
    Operator,
    Administrator,
}

impl Privilege {
    pub(crate) fn code(self) -> u8 {
        match self {
            Privilege::User => 2,
            Privilege::Operator => 3,
            Privilege::Administrator => 4,
        }
    }
    pub(crate) fn name(self) -> &'static str {
        match self {
            Privilege::User => "USER",
            Privilege::Operator => "OPERATOR",
            Privilege::Administrator => "ADMINISTRATOR",
        }
    }
}

/// How long to wait and how often to ask.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before the first retransmission, until a round trip has been measured.
    pub first_timeout: Duration,
    /// The shortest and the longest wait for an answer.
    pub min_timeout: Duration,
    pub max_timeout: Duration,
    /// Transmissions of one message.
    pub tries: u32,
    /// Between two transmissions; some BMCs drop what comes faster.
    pub spacing: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_timeout: Duration::from_secs(1),
            min_timeout: Duration::from_millis(250),
            max_timeout: Duration::from_secs(5),
            tries: 5,
            spacing: Duration::ZERO,
        }
    }
}
