//! A rescue: who may log in to its system, and how it is reached.
//! Which archive that system comes from is the policy's to say; `plan` puts it into a step.
use super::secret::Secret;
use crate::text::said;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::heartbeat;
use serde::{Deserialize, Serialize};

/// Who may log in to the rescue system as `rescue`, who is root there. One of the two at least.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RescueLogin {
    /// The hash of a password, as crypt(5) has it: `$6$…`. The command line makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<Secret>,
    /// SSH public keys, as in `authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

/// How people reach the rescue system that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// Of the machine's network interfaces, at most eight.
    pub addresses: Vec<String>,
    /// The public keys of its SSH server, a line each.
    pub host_keys: String,
}

const MAX_ADDRESSES: usize = 8;
/// Two keys of an SSH server, one of them RSA with 4,096 bits.
const MAX_HOST_KEYS: usize = 1024;
const MAX_ADDRESS: usize = 64;
const MAX_KEYS: usize = 16;
const MAX_KEY_BYTES: usize = 2048;
const MAX_HASH_BYTES: usize = 256;

impl RescueLogin {
    /// # Errors
    /// What is wrong with it; it quotes no hash.
    pub fn check(&self) -> Result<(), String> {
        if self.password_hash.is_none() && self.ssh_keys.is_empty() {
            return Err("a rescue needs a password or an SSH key: nobody could log in".into());
        }
        if self.ssh_keys.len() > MAX_KEYS {
            let keys = self.ssh_keys.len();
            return Err(format!("{keys} SSH keys: at most {MAX_KEYS}"));
        }
        for (i, key) in self.ssh_keys.iter().enumerate() {
            let plain = key.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            if key.len() > MAX_KEY_BYTES || !plain || key.split(' ').count() < 2 {
                return Err(format!(
                    "SSH key {} is no line of authorized_keys: a type, a key in base64, a comment; at most {MAX_KEY_BYTES} bytes",
                    i + 1
                ));
            }
        }
        match &self.password_hash {
            // A colon or a line's end would make other fields, or users, of /etc/passwd.
            Some(hash) if !is_crypt(hash.reveal()) => Err(format!(
                "the password's hash is none of crypt(5): $6$<salt>$<hash>, at most {MAX_HASH_BYTES} bytes"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

fn is_crypt(hash: &str) -> bool {
    let plain = hash
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b":;*!\\".contains(&b));
    let fields = hash.strip_prefix('$').map(|rest| rest.split('$').count());
    plain && hash.len() <= MAX_HASH_BYTES && fields.is_some_and(|fields| fields >= 3)
}

impl Rescue {
    pub fn of(told: &heartbeat::Rescued) -> Self {
        let addresses = told.addresses.iter().take(MAX_ADDRESSES);
        let lines = told.said.lines().map(|line| said(line, MAX_HOST_KEYS));
        let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
        Self {
            addresses: addresses.map(|it| said(it, MAX_ADDRESS)).collect(),
            host_keys: lines.join("\n").chars().take(MAX_HOST_KEYS).collect(),
        }
    }
}

impl fmt::Display for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.as_slice() {
            [] => f.write_str("user rescue, at an address that its ramdisk did not say")?,
            addresses => {
                let logins = addresses
                    .iter()
                    .map(|address| format!("ssh rescue@{address}"));
                let logins: Vec<String> = logins.collect();
                f.write_str(&logins.join(" or "))?;
            }
        }
        for key in self.host_keys.lines() {
            write!(f, "; its key is {key}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn login(hash: Option<&str>, keys: &[&str]) -> RescueLogin {
        RescueLogin {
            password_hash: hash.map(Secret::new),
            ssh_keys: keys.iter().map(|key| String::from(*key)).collect(),
        }
    }

    #[test]
    fn a_login_that_would_let_nobody_in_or_write_another_line_is_refused() {
        let key = "ssh-ed25519 AAAAC3Nza you@there";
        for good in [
            login(Some("$6$salt$hash"), &[]),
            login(Some("$6$rounds=5000$salt$ha./sh"), &[key]),
            login(None, &[key]),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        let keys = vec![key; MAX_KEYS + 1];
        for (wrong, why) in [
            (login(None, &[]), "nobody could log in"),
            (login(None, &["ssh-ed25519"]), "SSH key 1 is no line"),
            (
                login(None, &["ssh-rsa A\nssh-rsa B"]),
                "SSH key 1 is no line",
            ),
            (login(None, &keys), "17 SSH keys: at most 16"),
            (login(Some("hush"), &[]), "none of crypt(5)"),
            (
                login(Some("$6$salt$x:0:0::/:/bin/sh"), &[]),
                "none of crypt(5)",
            ),
            (login(Some("$6$salt$x\nroot:"), &[]), "none of crypt(5)"),
            (login(Some("$6$"), &[]), "none of crypt(5)"),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(
                !error.contains("hush") && !error.contains("salt$x"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_rescue_system_says_is_bounded_and_plain() {
        let rescue = Rescue::of(&heartbeat::Rescued {
            addresses: vec!["192.0.2.7".into(), "\u{1b}[2J".into()],
            said: "ssh-ed25519 AAAA\n\nssh-rsa BBBB\n".into(),
        });
        assert_eq!(
            rescue.to_string(),
            "ssh rescue@192.0.2.7 or ssh rescue@\u{fffd}[2J; its key is ssh-ed25519 AAAA; its key is ssh-rsa BBBB"
        );
        let rescue = Rescue::of(&heartbeat::Rescued {
            addresses: vec![String::new(); 99],
            said: "x".repeat(9000),
        });
        assert_eq!(rescue.addresses.len(), MAX_ADDRESSES);
        assert_eq!(rescue.host_keys.len(), MAX_HOST_KEYS);
    }
}
