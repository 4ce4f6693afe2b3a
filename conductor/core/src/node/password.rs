//! A change of the BMC's password that is open: which passwords the BMC may have, and what is known of it.
//! The passwords themselves lie beside the record (`access`); `decide/password.rs` says how a change ends.
use super::access::BmcSecrets;
use super::secret::Secret;
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// In the record from the request until one password is known to be right; as long, the secrets beside it have two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PasswordChange {
    pub since: Time,
    /// Until then a command that sets the new password may still reach the BMC, and both are kept.
    pub until: Time,
    /// When the BMC was first seen to refuse both; none: it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Time>,
    /// Tries that have begun to set it and are not known to have ended before the BMC heard of it. With none, the BMC has the old
    /// one. A record of before does not say.
    #[serde(default = "one")]
    pub told: u32,
}

fn one() -> u32 {
    1
}

/// A password that a BMC may have while a change is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    /// The one from before the change.
    Present,
    /// The one that is to be.
    Next,
    /// What a BMC makes of it that keeps 16 bytes and says nothing.
    NextCut,
}

/// The most that IPMI 2.0 can set (§22.30), printable ASCII without spaces: what every BMC and every tool takes.
pub const MAX_PASSWORD: usize = 20;
/// The most that IPMI 1.5 knows, and some BMCs keep.
pub const SHORT_PASSWORD: usize = 16;

/// Whether a BMC can be given this password.
///
/// # Errors
/// Why not.
pub fn check_password(password: &Secret) -> Result<(), &'static str> {
    let bytes = password.reveal().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_PASSWORD {
        return Err("a BMC's password has 1 to 20 characters");
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err("a BMC's password is made of ASCII letters, digits and signs, without spaces");
    }
    Ok(())
}

impl BmcSecrets {
    /// The passwords that the BMC may have, in the order in which they are tried.
    pub fn candidates(&self) -> Vec<(Candidate, Secret)> {
        let all = [Candidate::Present, Candidate::Next, Candidate::NextCut];
        let with = |candidate| Some((candidate, self.candidate(candidate)?));
        all.into_iter().filter_map(with).collect()
    }

    /// None: there is no such password.
    pub fn candidate(&self, candidate: Candidate) -> Option<Secret> {
        match candidate {
            Candidate::Present => Some(self.password.clone()),
            Candidate::Next => self.next.clone(),
            Candidate::NextCut => {
                let next = self.next.as_ref()?.reveal();
                let cut = next.get(..SHORT_PASSWORD)?;
                (cut.len() < next.len()).then(|| Secret::new(String::from(cut)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_password_is_tried_before_the_new_one() {
        let candidates = |next: Option<&str>| {
            let secrets = BmcSecrets {
                password: Secret::new("old"),
                kg: None,
                next: next.map(Secret::new),
            };
            let all = secrets.candidates().into_iter();
            all.map(|(_, secret)| String::from(secret.reveal()))
                .collect::<Vec<_>>()
        };
        assert_eq!(candidates(None), ["old"]);
        assert_eq!(
            candidates(Some("sixteen-bytes-it")),
            ["old", "sixteen-bytes-it"]
        );
        assert_eq!(
            candidates(Some("sixteen-bytes-it-is")),
            ["old", "sixteen-bytes-it-is", "sixteen-bytes-it"]
        );
    }

    #[test]
    fn what_a_bmc_cannot_be_given_is_refused() {
        let good = |password: &str| check_password(&Secret::new(password)).is_ok();
        for password in ["x", "sixteen-bytes-it", "twenty-bytes-of-text"] {
            assert!(good(password), "{password}");
        }
        for password in ["", "twenty-one-bytes-text", "with space", "gehört", "a\n"] {
            assert!(!good(password), "{password:?}");
        }
    }
}
