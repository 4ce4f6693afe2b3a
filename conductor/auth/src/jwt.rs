//! JSON Web Tokens as nats-server reads them: signed with Ed25519 keys in the nkeys encoding
//! (<https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt>; version 2 of the claims, as in nats-io/jwt/v2).
//! What the claims say is the business of the files beside this one.
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// The claims of a token; `nats` differs for operators, accounts and users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims<N> {
    /// The hash of the claims without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Seconds since 1970 by the servers' clock. A revocation ends all tokens of a key that are as old as it, or older.
    pub iat: i64,
    /// Whose signature this is: a public key.
    pub iss: String,
    /// Not accepted any more from this second on, and its connection is closed; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    pub name: String,
    /// Whom it is about: a public key.
    pub sub: String,
    pub nats: N,
}

/// The `nats` claims of a user. What it may do is in its account, with the signing key that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The account; `iss` is one of its signing keys.
    #[serde(default)]
    pub issuer_account: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(rename = "type")]
    pub kind: UserKind,
    pub version: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKind {
    User,
}

impl User {
    pub fn of(account: impl Into<String>) -> Self {
        Self {
            issuer_account: account.into(),
            tags: vec![],
            kind: UserKind::User,
            version: 2,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("cannot sign a token with {key}: it is only the public half of a key")]
    NoSeed { key: String },
}

/// Signs `claims`; `iss` and `jti` are filled in.
///
/// # Errors
/// When `key` has no private half.
pub fn sign<N: Serialize>(mut claims: Claims<N>, key: &KeyPair) -> Result<String, SignError> {
    claims.iss = key.public_key();
    claims.jti = String::new();
    let json = |claims: &Claims<N>| serde_json::to_vec(claims).expect("claims are plain data");
    claims.jti = BASE32_NOPAD.encode(&Sha256::digest(json(&claims)));
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(HEADER.as_bytes()),
        BASE64URL_NOPAD.encode(&json(&claims))
    );
    let signature = key
        .sign(signed.as_bytes())
        .map_err(|_| SignError::NoSeed { key: claims.iss })?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("not a token: {0}")]
    Shape(&'static str),
    #[error("a token of another kind: {0}")]
    Claims(String),
    #[error("its issuer {0} did not sign it")]
    Signature(String),
}

/// Reads a token and checks that its issuer signed it. Whether the issuer may is for the caller to say.
///
/// # Errors
/// [`ReadError`], which quotes nothing of the token but its issuer.
pub fn read<N: DeserializeOwned>(token: &str) -> Result<Claims<N>, ReadError> {
    /// Our own have less than 2 KB; an account with thousands of revocations some 200 KB.
    const LIMIT: usize = 1 << 20;
    if token.len() > LIMIT {
        return Err(ReadError::Shape("it is longer than 1 MiB"));
    }
    let (signed, signature) = token
        .rsplit_once('.')
        .ok_or(ReadError::Shape("it has no signature"))?;
    let (header, claims) = signed
        .split_once('.')
        .ok_or(ReadError::Shape("it has no claims"))?;
    let bytes = |part: &str| {
        BASE64URL_NOPAD
            .decode(part.as_bytes())
            .map_err(|_| ReadError::Shape("a part is not base64url"))
    };
    let header: Header = serde_json::from_slice(&bytes(header)?)
        .map_err(|_| ReadError::Shape("its header is not JSON"))?;
    if header.alg != "ed25519-nkey" {
        return Err(ReadError::Shape("it is not signed in the way of nkeys"));
    }
    let claims: Claims<N> = serde_json::from_slice(&bytes(claims)?)
        .map_err(|error| ReadError::Claims(format!("line {}", error.line())))?;
    KeyPair::from_public_key(&claims.iss)
        .and_then(|key| key.verify(signed.as_bytes(), &bytes(signature).unwrap_or_default()))
        .map_err(|_| ReadError::Signature(claims.iss.clone()))?;
    Ok(claims)
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims<User> {
        Claims {
            jti: String::new(),
            iat: 1_000,
            iss: String::new(),
            exp: Some(2_000),
            name: "n1".into(),
            sub: KeyPair::new_user().public_key(),
            nats: User::of(KeyPair::new_account().public_key()),
        }
    }

    #[test]
    fn what_was_signed_is_read_and_names_its_issuer() {
        let key = KeyPair::new_account();
        let token = sign(claims(), &key).unwrap();
        let read: Claims<User> = read(&token).unwrap();
        assert_eq!(read.iss, key.public_key());
        assert_eq!((read.iat, read.exp), (1_000, Some(2_000)));
        assert_eq!(read.jti.len(), 52);
    }

    #[test]
    fn one_changed_character_is_noticed() {
        let token = sign(claims(), &KeyPair::new_account()).unwrap();
        // The last character of a part has bits that nobody reads.
        for at in (0..token.len() - 1).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert!(read::<User>(&forged).is_err(), "{at}: {forged}");
        }
    }

    #[test]
    fn a_public_half_signs_nothing() {
        let key = KeyPair::from_public_key(&KeyPair::new_account().public_key()).unwrap();
        assert!(matches!(
            sign(claims(), &key),
            Err(SignError::NoSeed { .. })
        ));
    }
}
