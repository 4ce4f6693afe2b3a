//! A login as a file holds it: a token, and the private half of the key that it is bound to.
//! Nothing here prints or quotes a seed.
use crate::jwt::{self, Claims, ReadError, SignError, User};
use crate::roles::Role;
use nkeys::KeyPair;
use std::fmt;

/// The tag of a token that says its role, for people: what a server allows follows from the signature.
const ROLE: &str = "role:";

pub struct Creds {
    pub jwt: String,
    pub key: KeyPair,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCreds {
    #[error("it has no part {0}, or more than one line in it")]
    Part(&'static str),
    #[error("its seed is none of a user")]
    Seed,
    #[error("its token: {0}")]
    Token(#[from] ReadError),
    #[error("its token is bound to another key than its seed")]
    Other,
}

impl Creds {
    /// Reads a `.creds` file.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn parse(text: &str) -> Result<Self, BadCreds> {
        let part = |name: &'static str| {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| line.starts_with("---") && line.contains(&format!("BEGIN {name}")));
            let value = lines.next().filter(|value| !value.is_empty());
            let end = lines.next().is_some_and(|end| end.starts_with("---"));
            value.filter(|_| end).ok_or(BadCreds::Part(name))
        };
        let key = KeyPair::from_seed(part("USER NKEY SEED")?).map_err(|_| BadCreds::Seed)?;
        let creds = Self {
            jwt: part("NATS USER JWT")?.into(),
            key,
        };
        match creds.claims()?.sub == creds.key.public_key() {
            true => Ok(creds),
            false => Err(BadCreds::Other),
        }
    }

    fn claims(&self) -> Result<Claims<User>, ReadError> {
        jwt::read(&self.jwt)
    }

    /// The text of a `.creds` file, as all NATS clients read it.
    ///
    /// # Errors
    /// When its key has no private half.
    pub fn text(&self) -> Result<String, SignError> {
        let seed = seed(&self.key)?;
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             Whoever has this file is who it says.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            self.jwt
        ))
    }

    /// Whose login it is, and its role as its maker wrote it: `anna, observer`.
    pub fn who(&self) -> String {
        let Ok(claims) = self.claims() else {
            return "unknown".into();
        };
        let role = claims
            .nats
            .tags
            .iter()
            .find_map(|tag| tag.strip_prefix(ROLE));
        match role {
            Some(role) => format!("{}, {role}", claims.name),
            None => claims.name,
        }
    }

    /// The account's public key.
    ///
    /// # Errors
    /// When the token is none of a user.
    pub fn account(&self) -> Result<String, ReadError> {
        Ok(self.claims()?.nats.issuer_account)
    }

    /// The public key that signed it: the account's for the role.
    ///
    /// # Errors
    /// When the token is none of a user.
    pub fn issuer(&self) -> Result<String, ReadError> {
        Ok(self.claims()?.iss)
    }

    /// Where it is answered, and nobody else may listen.
    pub fn inbox(&self) -> String {
        inbox(&self.key.public_key())
    }
}

/// The inbox of whoever has this public key.
pub fn inbox(key: &str) -> String {
    format!("_INBOX.{key}")
}

pub(crate) fn tag(role: Role) -> String {
    format!("{ROLE}{role}")
}

impl fmt::Debug for Creds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Creds({})", self.key.public_key())
    }
}

/// # Errors
/// When the key has no private half.
pub fn seed(key: &KeyPair) -> Result<String, SignError> {
    key.seed().map_err(|_| SignError::NoSeed {
        key: key.public_key(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    #[test]
    fn a_file_that_was_written_is_read_again() {
        let site = Site::new("ib.v1");
        let creds = site.login(Role::Observer, "anna", 1, None).unwrap();
        let read = Creds::parse(&creds.text().unwrap()).unwrap();
        assert_eq!(read.jwt, creds.jwt);
        assert_eq!(read.inbox(), creds.inbox());
        assert_eq!(read.who(), "anna, observer");
        assert_eq!(read.account().unwrap(), site.account);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_a_word_of_it() {
        let site = Site::new("ib.v1");
        let [creds, other] = ["a", "b"].map(|name| site.login(Role::Admin, name, 1, None).unwrap());
        let (text, seed) = (creds.text().unwrap(), creds.key.seed().unwrap());
        let check = |text: &str, expected: BadCreds| {
            let error = Creds::parse(text).unwrap_err();
            assert_eq!(error, expected);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(&seed[2..]) && !shown.contains(&creds.jwt));
        };
        check("", BadCreds::Part("USER NKEY SEED"));
        check(
            &text.replace("NATS USER JWT", "x"),
            BadCreds::Part("NATS USER JWT"),
        );
        check(&text.replace(&seed, ""), BadCreds::Part("USER NKEY SEED"));
        check(&text.replace(&seed, &seed[..50]), BadCreds::Seed);
        check(
            &text.replace(&seed, &other.key.seed().unwrap()),
            BadCreds::Other,
        );
        let broken = text.replace(&creds.jwt, &creds.jwt.replace('.', "!"));
        assert!(matches!(Creds::parse(&broken), Err(BadCreds::Token(_))));
        assert!(!format!("{creds:?}").contains(&seed));
    }
}
