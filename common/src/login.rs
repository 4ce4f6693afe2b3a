//! An agent's login: how it shows the ticket of its boot script without giving it away, and the token that it gets for its key.
//! Signing and checking need Ed25519, which agent and conductor have; who may have a login is the core's decision.
use crate::id::{BadId, BootId};
use crate::text_form;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

/// The public half of a user's nkey, written `U…` in 56 characters
/// (<https://github.com/nats-io/nkeys>: prefix, key, CRC-16, in base 32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey([u8; 32]);

/// Where a worker's HTTP server has the CA of the site's NATS servers, in PEM: the boot script names its SHA-256, and a ramdisk
/// fetches it before it has a login.
pub const CA_PATH: &str = "/v1/ca.pem";

/// Where a worker serves the arguments (`ib.*`) that a boot script puts on the kernel's command line, to a ramdisk whose loader
/// could not ask for that script: below it is the machine's MAC address. They are words with blanks between them, and each
/// request is one for a boot script: it voids the ticket that was given before.
pub const ARGUMENTS_PATH: &str = "/v1/arguments";

/// What makes the first letter a `U`.
const PREFIX: u8 = 20 << 3;

impl UserKey {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

impl FromStr for UserKey {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let bad = || BadId::new("public key of a NATS user", s);
        let bytes = BASE32_NOPAD.decode(s.as_bytes()).map_err(|_| bad())?;
        let bytes: [u8; 35] = bytes.try_into().map_err(|_| bad())?;
        let (key, crc) = bytes.split_at(33);
        match key {
            [PREFIX, raw @ ..] if crc16(key).to_le_bytes() == crc => {
                raw.try_into().map(Self).map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [PREFIX; 35];
        bytes[1..33].copy_from_slice(&self.0);
        let crc = crc16(&bytes[..33]);
        bytes[33..].copy_from_slice(&crc.to_le_bytes());
        f.write_str(&BASE32_NOPAD.encode(&bytes))
    }
}

text_form!(UserKey);

/// An Ed25519 signature; hex in every encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl FromStr for Signature {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let bytes = HEXLOWER.decode(s.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| BadId::new("signature", s))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

text_form!(Signature);

/// "I booted from the script with this ticket: give me a login for my key." Whoever overhears it learns nothing, and whoever
/// repeats it gets a token for a key that is not his.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginRequest {
    /// The agent made it, and keeps its private half.
    pub key: UserKey,
    /// The public half of the ticket.
    pub ticket: UserKey,
    /// Of [`signed_text`], by the ticket.
    pub signature: Signature,
    /// Of the same, by the key: it is ended with the boot, so nobody may name another's. None: an earlier version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_key: Option<Signature>,
}

/// What a ticket and the agent's key sign: that this boot's agent has this key. The first line keeps the signature from meaning anything else.
pub fn signed_text(boot: &BootId, key: &UserKey) -> String {
    format!("ironbeat agent login 1\n{boot}\n{key}\n")
}

/// The token for an agent's own key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Login {
    pub jwt: String,
    /// It ends after so long; the agent asks for the next one at 0.5 to 0.8 of it.
    pub lives_secs: u32,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login(******, {} s)", self.lives_secs)
    }
}

/// "My login ends soon." Request on `agent.<id>.login`, by that login itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    pub version: u32,
    pub boot: BootId,
    pub key: UserKey,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RenewalReply {
    Login(Login),
    /// This boot is not the node's any more, or the key not this boot's.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// The example in the documentation of NATS.
    const KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_key_is_read_as_nkeys_write_it_and_nothing_else_is() {
        let key: UserKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        let other = UserKey::from_bytes([7; 32]).to_string();
        assert!(other.starts_with('U') && other.len() == 56);
        assert_eq!(other.parse(), Ok(UserKey::from_bytes([7; 32])));
        for at in 0..KEY.len() {
            let mut bytes = KEY.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'B' { b'C' } else { b'B' };
            let wrong = String::from_utf8(bytes).unwrap();
            assert!(wrong.parse::<UserKey>().is_err(), "{wrong}");
        }
        for wrong in ["", &KEY[1..], &KEY.to_lowercase()] {
            assert!(wrong.parse::<UserKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let login = Login {
            jwt: "hush".into(),
            lives_secs: 9,
        };
        assert_eq!(format!("{login:?}"), "Login(******, 9 s)");
    }
}
