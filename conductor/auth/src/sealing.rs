//! The proof that the key to which commands seal secrets is the workers'. Pure: who asks and answers is for the callers.
//! A worker has a key of its own that signs it, and the keys that make people's logins vouch for that one, offline.
//!
//! Whoever seals believes the key that signed its own login, so nothing has to be handed to people. The worker's login
//! would be the simpler signer, but a NATS server may have a login sign anything: that is how it proves who it is. Each proof
//! is made for the asker's nonce, so that one for a key of before a rotation is of no use.
use crate::creds::seed;
use crate::jwt::SignError;
use crate::roles::Role;
use data_encoding::BASE64;
use ironbeat_ops::reply::{KeyProof, SealKey};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A worker's signer with what is to be believed of it.
pub struct Sealer {
    key: KeyPair,
    /// Signatures in base64, by the public keys that made them.
    vouchers: BTreeMap<String, String>,
}

/// `sealing.json` in a worker's directory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seed: String,
    vouchers: BTreeMap<String, String>,
}

/// Quotes nothing of the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSealer {
    #[error("it is not what `ironbeat auth worker sign` writes")]
    Shape,
    #[error("its seed is none of a user")]
    Seed,
}

/// Why an answer to `secrets.key` is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the worker has no proof that it is the workers' key")]
    NoProof,
    #[error(
        "nobody whom this login believes vouches for the worker's proof: it is of another site, or forged"
    )]
    Stranger,
    #[error("its signature is wrong: somebody may be answering in the workers' place")]
    Forged,
}

impl Sealer {
    /// A new signer, for which the keys of all people's roles vouch.
    ///
    /// # Errors
    /// When one of them has no private half.
    pub fn new<'a>(roles: impl IntoIterator<Item = &'a KeyPair>) -> Result<Self, SignError> {
        let key = KeyPair::new_user();
        let text = voucher(&key.public_key());
        let vouchers = roles.into_iter().map(|role| {
            let by = role.public_key();
            let signed = role.sign(text.as_bytes());
            let signed = signed.map_err(|_| SignError::NoSeed { key: by.clone() })?;
            Ok((by, BASE64.encode(&signed)))
        });
        let vouchers = vouchers.collect::<Result<_, _>>()?;
        Ok(Self { key, vouchers })
    }

    /// Whose keys vouch.
    pub fn roles() -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(|role| role.person().is_some())
    }

    /// # Errors
    /// What is wrong with the file, without a word of it.
    pub fn parse(text: &str) -> Result<Self, BadSealer> {
        let file: File = serde_json::from_str(text).map_err(|_| BadSealer::Shape)?;
        let key = KeyPair::from_seed(&file.seed).map_err(|_| BadSealer::Seed)?;
        Ok(Self {
            key,
            vouchers: file.vouchers,
        })
    }

    /// The text of the file.
    ///
    /// # Errors
    /// When its key has no private half.
    pub fn text(&self) -> Result<String, SignError> {
        let file = File {
            seed: seed(&self.key)?,
            vouchers: self.vouchers.clone(),
        };
        Ok(serde_json::to_string(&file).expect("it is JSON") + "\n")
    }

    /// That secrets are sealed to `key`, none: to no key, for whoever has made this nonce.
    ///
    /// # Errors
    /// When its key has no private half.
    pub fn prove(&self, key: Option<&str>, nonce: &str) -> Result<KeyProof, SignError> {
        let signer = self.key.public_key();
        let signed = self.key.sign(answer(key, nonce).as_bytes());
        let signed = signed.map_err(|_| SignError::NoSeed {
            key: signer.clone(),
        })?;
        Ok(KeyProof {
            signer,
            signature: BASE64.encode(&signed),
            vouchers: self.vouchers.clone(),
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.key.public_key())
    }
}

/// Looks whether the workers have given this answer to this nonce. `believed`: the public key that signed one's own login.
///
/// # Errors
/// Why it is not to be believed.
pub fn check(answered: &SealKey, nonce: &str, believed: &str) -> Result<(), Unproven> {
    let Some(proof) = &answered.proof else {
        return Err(Unproven::NoProof);
    };
    let vouched = proof.vouchers.get(believed).ok_or(Unproven::Stranger)?;
    if !is_signed(believed, &voucher(&proof.signer), vouched) {
        return Err(Unproven::Stranger);
    }
    let text = answer(answered.key.as_deref(), nonce);
    match is_signed(&proof.signer, &text, &proof.signature) {
        true => Ok(()),
        false => Err(Unproven::Forged),
    }
}

/// No token begins like this, and no other text that these keys sign.
fn voucher(signer: &str) -> String {
    format!("ironbeat: this key proves to which key secrets are sealed\n{signer}")
}

fn answer(key: Option<&str>, nonce: &str) -> String {
    let key = key.unwrap_or("none");
    format!("ironbeat: secrets are sealed to this key\n{key}\n{nonce}")
}

fn is_signed(by: &str, text: &str, signature: &str) -> bool {
    let Ok(signature) = BASE64.decode(signature.as_bytes()) else {
        return false;
    };
    let key = KeyPair::from_public_key(by);
    key.is_ok_and(|key| key.verify(text.as_bytes(), &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::creds::Creds;
    use crate::site::Site;

    const KEY: &str = "XKEY";

    fn sealer(site: &Site) -> Sealer {
        Sealer::new(Sealer::roles().map(|role| site.key(role))).unwrap()
    }

    fn answered(sealer: &Sealer, key: Option<&str>, nonce: &str) -> SealKey {
        SealKey {
            key: key.map(Into::into),
            proof: Some(sealer.prove(key, nonce).unwrap()),
        }
    }

    fn issuer(site: &Site, role: Role) -> String {
        let creds: Creds = site.login(role, "olga", 1, None).unwrap();
        creds.issuer().unwrap()
    }

    #[test]
    fn people_of_each_role_believe_the_workers_of_their_site() {
        let site = Site::new("ib.v1");
        let read = Sealer::parse(&sealer(&site).text().unwrap()).unwrap();
        for role in [Role::Admin, Role::Operator, Role::Observer] {
            for key in [Some(KEY), None] {
                let good = answered(&read, key, "n1");
                assert_eq!(check(&good, "n1", &issuer(&site, role)), Ok(()));
            }
        }
    }

    #[test]
    fn what_others_made_or_changed_is_not_believed() {
        let (site, other) = (Site::new("ib.v1"), Site::new("ib.v1"));
        let (ours, theirs) = (sealer(&site), sealer(&other));
        let believed = issuer(&site, Role::Operator);
        let good = answered(&ours, Some(KEY), "n1");
        let with = |change: &dyn Fn(&mut SealKey)| {
            let mut changed = good.clone();
            change(&mut changed);
            check(&changed, "n1", &believed).unwrap_err()
        };
        let proof = |key: &mut SealKey| key.proof.take().unwrap();
        assert_eq!(with(&|it| it.proof = None), Unproven::NoProof);
        assert_eq!(with(&|it| it.key = Some("XOTHER".into())), Unproven::Forged);
        assert_eq!(
            with(&|it| it.key = None),
            Unproven::Forged,
            "that there is no key would send secrets in the clear"
        );
        let later = check(&good, "n2", &believed);
        assert_eq!(later, Err(Unproven::Forged), "it was for another's nonce");
        // Somebody with the site's vouchers, who has not the key that they are for.
        let liar = with(&|it| {
            let vouchers = proof(it).vouchers;
            *it = answered(&theirs, Some("XMINE"), "n1");
            it.proof.as_mut().unwrap().vouchers = vouchers;
        });
        assert_eq!(liar, Unproven::Stranger);
        let borrowed = with(&|it| {
            let signer = proof(it).signer;
            let mut forged = theirs.prove(Some(KEY), "n1").unwrap();
            forged.vouchers = ours.vouchers.clone();
            forged.signer = signer;
            it.proof = Some(forged);
        });
        assert_eq!(borrowed, Unproven::Forged);
        let foreign = check(&answered(&theirs, Some(KEY), "n1"), "n1", &believed);
        assert_eq!(foreign, Err(Unproven::Stranger));
        for broken in ["", "!", "AAAA"] {
            let why = with(&|it| it.proof.as_mut().unwrap().signature = broken.into());
            assert_eq!(why, Unproven::Forged);
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_a_word_of_it() {
        let good = sealer(&Site::new("ib.v1")).text().unwrap();
        let file: File = serde_json::from_str(&good).unwrap();
        for (text, expected) in [
            (String::new(), BadSealer::Shape),
            (good.replace("seed", "hush"), BadSealer::Shape),
            (good.replace(&file.seed, &file.seed[..40]), BadSealer::Seed),
        ] {
            let error = Sealer::parse(&text).unwrap_err();
            assert_eq!(error, expected);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hush") && !shown.contains(&file.seed[..40]));
        }
        let read = Sealer::parse(&good).unwrap();
        assert!(!format!("{read:?}").contains(&file.seed));
    }
}
