//! What can go wrong with a BMC: what was attempted, on which BMC, and why it did not work.
//! The caller decides whether to try again; [`Error::is_permanent`] helps.
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BMC {bmc}: {attempt}: {kind}")]
pub struct Error {
    pub bmc: SocketAddr,
    /// What was attempted, `open a session` or `chassis status`.
    pub attempt: &'static str,
    pub kind: ErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    #[error("no answer to {tries} tries in {} ms", waited.as_millis())]
    Unreachable { tries: u32, waited: Duration },
    /// The command was sent, is not harmless to repeat, and may or may not have been executed.
    #[error(
        "no answer to {tries} tries in {} ms: the command may have been executed, check before sending it again",
        waited.as_millis()
    )]
    Unconfirmed { tries: u32, waited: Duration },
    #[error("it answers, but does not speak IPMI 2.0 (and IPMI 1.5 was not asked for)")]
    NoRmcpPlus,
    #[error(
        "it answered at first, but not to the login of {user:?}: some BMCs stay silent when the name or password is wrong"
    )]
    SilentLogin { user: String },
    #[error("it knows no user {user:?}")]
    NoSuchUser { user: String },
    #[error("wrong password for user {user:?}")]
    WrongPassword { user: String },
    /// Its check value in RAKP 4 is made with another key than ours, though it knows the password.
    #[error("it accepts the password of {user:?}, but has a different key K_g")]
    WrongKey { user: String },
    #[error("user {user:?} may not have the privilege {privilege}")]
    PrivilegeTooLow {
        user: String,
        privilege: &'static str,
    },
    #[error(
        "it accepts none of the cipher suites {0} (suites 0 to 2 protect nothing and are never used)"
    )]
    CipherRefused(String),
    #[error("it has no room for another session")]
    OutOfSessions,
    #[error("it refuses the session with RMCP+ status {0:#04x}")]
    Refused(u8),
    #[error("somebody else has its serial console")]
    Busy,
    #[error(
        "the serial console was ended by the BMC: somebody else took it, or it was switched off"
    )]
    ConsoleTaken,
    #[error("the session was lost")]
    SessionLost,
    #[error("it says {0}")]
    Completion(CompletionCode),
    /// A bridged command did not reach the controller behind the BMC.
    #[error("it could not pass the command on: {}", pass_on(*.0))]
    NotPassedOn(CompletionCode),
    #[error("its answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the user name, the password or the key K_g is longer than IPMI allows: {0}")]
    LoginTooLong(&'static str),
    #[error("it refuses the password: {0}")]
    PasswordRefused(CompletionCode),
    #[error("{0} commands are already waiting for it")]
    Overloaded(usize),
    #[error("it cannot do that: {0}")]
    Unsupported(&'static str),
    #[error("send: {0}")]
    Io(String),
}

impl Error {
    /// The completion code, if the BMC answered with one.
    pub fn completion(&self) -> Option<CompletionCode> {
        let ErrorKind::Completion(code) = self.kind else {
            return None;
        };
        Some(code)
    }

    /// Another try with the same address and credentials cannot help.
    pub fn is_permanent(&self) -> bool {
        match self.kind {
            ErrorKind::NoSuchUser { .. }
            | ErrorKind::WrongPassword { .. }
            | ErrorKind::WrongKey { .. }
            | ErrorKind::PrivilegeTooLow { .. }
            | ErrorKind::CipherRefused(_)
            | ErrorKind::NoRmcpPlus
            | ErrorKind::Unsupported(_)
            | ErrorKind::PasswordRefused(_)
            | ErrorKind::LoginTooLong(_) => true,
            ErrorKind::Unreachable { .. }
            | ErrorKind::Unconfirmed { .. }
            | ErrorKind::Overloaded(_)
            | ErrorKind::SilentLogin { .. }
            | ErrorKind::OutOfSessions
            | ErrorKind::Refused(_)
            | ErrorKind::Busy
            | ErrorKind::ConsoleTaken
            | ErrorKind::SessionLost
            | ErrorKind::Completion(_)
            | ErrorKind::NotPassedOn(_)
            | ErrorKind::Malformed(_)
            | ErrorKind::Io(_) => false,
        }
    }
}

/// Send Message has its own meanings (§22.7).
fn pass_on(code: CompletionCode) -> String {
    match code.0 {
        0x81 => "lost arbitration on the bus (0x81)".into(),
        0x82 => "bus error (0x82)".into(),
        0x83 => "no controller at that address (0x83)".into(),
        0xc3 => "it was sent, but no answer came back (0xc3)".into(),
        _ => code.to_string(),
    }
}

/// IPMI 2.0 §5.2, table 5-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionCode(pub u8);

impl CompletionCode {
    /// It is about the BMC's present state, and not about what was asked.
    pub(crate) fn may_pass(self) -> bool {
        matches!(
            self.0,
            0xc0 | 0xc3 | 0xc4 | 0xce | 0xcf | 0xd1 | 0xd2 | 0xd3 | 0xff
        )
    }
}

impl fmt::Display for CompletionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0x00 => "completed",
            0xc0 => "node busy",
            0xc1 => "invalid command",
            0xc2 => "command invalid for this LUN",
            0xc3 => "timeout while processing",
            0xc4 => "out of space",
            0xc5 => "reservation cancelled",
            0xc6 => "request data truncated",
            0xc7 => "request data length invalid",
            0xc8 => "request data field length limit exceeded",
            0xc9 => "parameter out of range",
            0xca => "cannot return that many bytes",
            0xcb => "no such sensor, data or record",
            0xcc => "invalid data field",
            0xcd => "command illegal for this sensor or record",
            0xce => "no response could be provided",
            0xcf => "duplicated request",
            0xd0 => "SDR repository in update mode",
            0xd1 => "device in firmware update mode",
            0xd2 => "BMC initialisation in progress",
            0xd3 => "destination unavailable",
            0xd4 => "insufficient privilege",
            0xd5 => "not supported in the present state",
            0xd6 => "sub-function disabled",
            0xff => "unspecified error",
            0x80..=0xbe => "command-specific code",
            0x01..=0x7e => "device-specific code",
            _ => "reserved code",
        };
        write!(f, "{name} ({:#04x})", self.0)
    }
}
