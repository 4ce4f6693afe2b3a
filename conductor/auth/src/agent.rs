//! The login of an agent: a token for a key that it made itself, for one node.
//! Which node it is, and whether it may have one, is decided by the core.
use crate::jwt::{self, Claims, SignError, User};
use nkeys::KeyPair;

/// Makes agents and nothing else: the account lets this key sign only users with the permissions of an agent, whatever a
/// token claims.
pub struct Mint {
    key: KeyPair,
    account: String,
}

impl Mint {
    /// `key`: the account's scoped signing key for agents; `account`: its public key.
    pub fn new(key: KeyPair, account: impl Into<String>) -> Self {
        Self {
            key,
            account: account.into(),
        }
    }

    /// The public half of its key.
    pub fn key(&self) -> String {
        self.key.public_key()
    }

    /// A token for the public key `agent` to speak for `node`, between the seconds `now` and `until` of the servers' clock.
    /// The name of the user is the node: the permissions of its role are made from it.
    ///
    /// # Errors
    /// When the minting key has no private half.
    pub fn login(
        &self,
        node: &str,
        agent: &str,
        now: i64,
        until: i64,
    ) -> Result<String, SignError> {
        let claims = Claims {
            jti: String::new(),
            iat: now,
            iss: String::new(),
            exp: Some(until),
            name: node.into(),
            sub: agent.into(),
            nats: User::of(self.account.clone()),
        };
        jwt::sign(claims, &self.key)
    }
}
