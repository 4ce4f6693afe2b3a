//! Signing keys that the account gets after it was made: each worker's own key for agents, the next key of bootstrap logins.
//! The key that signs accounts vouches for each. Who keeps them, and who hands the account to the servers, is in the conductor.
use crate::jwt::{self, Claims, ReadError, SignError, User};
use crate::roles::Role;
use crate::site::Scope;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The account has some 450 bytes for each.
pub const MAX_GRANTS: usize = 256;

/// Tokens of [`Grant::sign`], by the public key that they are about.
pub type Grants = BTreeMap<String, String>;

/// The account is to have a signing key for a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    #[serde(rename = "type")]
    kind: GrantKind,
    pub(crate) scope: Scope,
    /// With a key for bootstrap logins: the one that boot scripts are to hand out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrantKind {
    SigningKey,
}

#[derive(Debug, thiserror::Error)]
pub enum BadGrant {
    #[error("the grant of a signing key: {0}")]
    Token(#[from] ReadError),
    #[error("the grant of signing key {key} is by {by}, which does not sign this site's account")]
    Foreign { key: String, by: String },
    #[error("the grant is for {0}, and what is in it is of another key")]
    Other(String),
}

impl Grant {
    /// A token that says that `key`, a public key, is to sign logins of `role`. It does not end: the key does, when it is
    /// revoked.
    ///
    /// # Errors
    /// When `signer` has no private half.
    pub fn sign(
        role: Role,
        key: &str,
        prefix: &str,
        bootstrap: Option<String>,
        now: i64,
        signer: &KeyPair,
    ) -> Result<String, SignError> {
        let grant = Claims {
            jti: String::new(),
            iat: now,
            iss: String::new(),
            exp: None,
            name: role.name().into(),
            sub: key.into(),
            nats: Self {
                kind: GrantKind::SigningKey,
                scope: Scope::of(role, key, prefix),
                bootstrap,
            },
        };
        jwt::sign(grant, signer)
    }

    /// Reads a token that whoever it names has signed.
    ///
    /// # Errors
    /// When it is no grant, or not of one key.
    pub fn read(token: &str) -> Result<Claims<Self>, BadGrant> {
        let grant: Claims<Self> = jwt::read(token)?;
        let bootstrap = grant.nats.bootstrap.as_deref().map(jwt::read::<User>);
        let signed_by = bootstrap.transpose()?.map(|login| login.iss);
        let is_of_one_key = signed_by.is_none_or(|key| key == grant.sub);
        match grant.sub == grant.nats.scope.key && is_of_one_key {
            true => Ok(grant),
            false => Err(BadGrant::Other(grant.sub)),
        }
    }

    /// As [`Grant::read`], of a token that `signer` has signed.
    ///
    /// # Errors
    /// When it is no grant, or another's.
    pub fn read_of(token: &str, signer: &KeyPair) -> Result<Claims<Self>, BadGrant> {
        let grant = Self::read(token)?;
        match grant.iss == signer.public_key() {
            true => Ok(grant),
            false => Err(BadGrant::Foreign {
                key: grant.sub,
                by: grant.iss,
            }),
        }
    }
}

/// The bootstrap logins of grants, the newest first. `by`: the public key whose grants are believed; none: this worker knows none.
pub fn bootstraps(grants: &Grants, by: Option<&str>) -> Vec<String> {
    let read = grants.values().filter_map(|token| Grant::read(token).ok());
    let read = read.filter(|grant| by.is_none_or(|by| grant.iss == by));
    let mut made: Vec<_> = read
        .filter_map(|grant| Some((grant.iat, grant.nats.bootstrap?)))
        .collect();
    made.sort_by(|a, b| b.cmp(a));
    made.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Site, login};

    #[test]
    fn a_grant_is_its_signers_and_of_one_key() {
        let (site, other) = (Site::new("ib.v1"), Site::new("ib.v1"));
        let key = KeyPair::new_account().public_key();
        let token = Grant::sign(Role::Agent, &key, "ib.v1", None, 1_000, &site.signer).unwrap();
        let grant = Grant::read_of(&token, &site.signer).unwrap();
        assert_eq!((&grant.sub, grant.exp), (&key, None));
        assert_eq!(grant.nats.scope, Scope::of(Role::Agent, &key, "ib.v1"));
        let said = Grant::read_of(&token, &other.signer).unwrap_err();
        assert!(
            said.to_string().contains("does not sign this site"),
            "{said}"
        );
        let mut forged = grant.clone();
        forged.sub = KeyPair::new_account().public_key();
        let forged = jwt::sign(forged, &site.signer).unwrap();
        assert!(matches!(Grant::read(&forged), Err(BadGrant::Other(_))));
        let account = site.account_jwt(1_000).unwrap();
        assert!(matches!(Grant::read(&account), Err(BadGrant::Token(_))));
    }

    #[test]
    fn the_newest_bootstrap_login_is_the_first() {
        let site = Site::new("ib.v1");
        let mut grants = Grants::new();
        let mut add = |key: &KeyPair, by: &KeyPair, now| {
            let login = login(by, &site.account, Role::Bootstrap, "b", now, None);
            let (key, jwt) = (key.public_key(), login.unwrap().jwt);
            let bootstrap = Some(jwt.clone());
            let token = Grant::sign(Role::Bootstrap, &key, "ib.v1", bootstrap, now, &site.signer);
            grants.insert(key, token.unwrap());
            jwt
        };
        let [one, two, three, four] = [const { KeyPair::new_account }; 4].map(|new| new());
        let old = add(&one, &one, 1_000);
        let new = add(&two, &two, 3_000);
        let middle = add(&three, &three, 2_000);
        add(&four, &one, 4_000);
        grants.insert("A".into(), "no token".into());
        let agents = KeyPair::new_account().public_key();
        let token = Grant::sign(Role::Agent, &agents, "ib.v1", None, 5_000, &site.signer);
        grants.insert(agents, token.unwrap());
        assert_eq!(bootstraps(&grants, None), [&*new, &middle, &old]);
        let by = site.signer.public_key();
        assert_eq!(bootstraps(&grants, Some(&by)), [new, middle, old]);
        let another = KeyPair::new_operator().public_key();
        assert_eq!(bootstraps(&grants, Some(&another)), [""; 0], "a thief's");
    }
}
