//! What lies in the bucket: documents sealed with a data key, and data keys wrapped by a master key.
//! `records` has the places where they lie.
use super::key::{KEY_BYTES, Key, Sealed, pad, random};
use super::mark::Mark;
use super::{MasterKey, MasterKeys};
use data_encoding::{BASE64, HEXLOWER};
use ironbeat_ops::sealed::{Letter, SealedText};
use nkeys::XKey;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Seals documents. It lies in the bucket, wrapped.
#[derive(Clone)]
pub struct DataKey {
    pub id: String,
    key: Key,
}

/// A sealed document, as it lies under its key in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The data key's id.
    pub key: String,
    nonce: String,
    sealed: String,
}

/// A key as a master key has sealed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// The master key's id.
    pub master: String,
    nonce: String,
    sealed: String,
}

/// Why something does not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("it was changed, or moved here from another key of the bucket")]
    Document,
    #[error("data key {0} was changed")]
    Key(String),
    #[error("data key {0} is not in the bucket")]
    NoKey(String),
    #[error(
        "data key {key} is wrapped by master key {needed}, and this worker has {has}: give it the master key that the other \
         workers have, or had when this bucket was backed up"
    )]
    OtherMaster {
        key: String,
        needed: String,
        has: String,
    },
    #[error("it is neither a sealed document nor a plain one")]
    Shape,
}

impl DataKey {
    pub fn generate() -> Self {
        Self {
            id: HEXLOWER.encode(&random::<8>()),
            key: Key::generate(),
        }
    }

    /// A key of another kind, kept in the same way: its private half opens what is sealed to its id, a public xkey.
    pub fn sealing() -> Self {
        let key = Key::generate();
        Self {
            id: xkey(&key).public_key(),
            key,
        }
    }

    /// What was sealed to this key. None: to another, or it was changed.
    pub fn open_letter(&self, sealed: &SealedText) -> Option<Letter> {
        let from = XKey::from_public_key(&sealed.from).ok()?;
        let bytes = BASE64.decode(sealed.base64.as_bytes()).ok()?;
        let opened = Zeroizing::new(xkey(&self.key).open(&bytes, &from).ok()?);
        serde_json::from_slice(&opened).ok()
    }

    /// Where a wrapped key belongs: another's place does not open it.
    fn at(id: &str) -> String {
        format!("keys/{id}")
    }

    pub fn wrap(&self, master: &MasterKey) -> Wrapped {
        let sealed = master.key().seal(&Self::at(&self.id), self.key.reveal());
        Wrapped {
            master: master.id().into(),
            nonce: BASE64.encode(&sealed.nonce),
            sealed: BASE64.encode(&sealed.bytes),
        }
    }

    /// # Errors
    /// When none of the master keys opens it.
    pub fn unwrap(id: &str, wrapped: &Wrapped, masters: &MasterKeys) -> Result<Self, Broken> {
        let Some(master) = masters.get(&wrapped.master) else {
            let has = match masters.ids() {
                none if none.is_empty() => "none".into(),
                ids => ids.join(", "),
            };
            return Err(Broken::OtherMaster {
                key: id.into(),
                needed: wrapped.master.clone(),
                has,
            });
        };
        let opened = open(master.key(), &Self::at(id), &wrapped.nonce, &wrapped.sealed);
        let key = opened.and_then(|bytes| Key::of(&bytes));
        Ok(Self {
            id: id.into(),
            key: key.ok_or_else(|| Broken::Key(id.into()))?,
        })
    }

    pub fn mark(&self, password: &str) -> Mark {
        Mark::of(&self.id, &self.key, password)
    }

    /// `json` lies at `at` from now on.
    pub fn seal(&self, at: &str, mut json: Zeroizing<Vec<u8>>) -> Envelope {
        pad(&mut json);
        let Sealed { nonce, bytes } = self.key.seal(at, &json);
        Envelope {
            key: self.id.clone(),
            nonce: BASE64.encode(&nonce),
            sealed: BASE64.encode(&bytes),
        }
    }

    /// # Errors
    /// When it was sealed for another place, or changed.
    pub fn open(&self, at: &str, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, Broken> {
        open(&self.key, at, &envelope.nonce, &envelope.sealed).ok_or(Broken::Document)
    }
}

fn xkey(key: &Key) -> XKey {
    let mut private = Zeroizing::new([0; KEY_BYTES]);
    private.copy_from_slice(key.reveal());
    XKey::new_from_raw(*private)
}

fn open(key: &Key, at: &str, nonce: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
    let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
    key.open(at, &decode(nonce)?, decode(sealed)?)
}

impl Envelope {
    /// None: it is a document of before secrets were sealed.
    ///
    /// # Errors
    /// When it was an envelope once.
    pub fn read(stored: &[u8]) -> Result<Option<Self>, Broken> {
        #[derive(Deserialize)]
        struct Any {
            key: Option<IgnoredAny>,
            nonce: Option<IgnoredAny>,
            sealed: Option<IgnoredAny>,
        }
        let any: Any = serde_json::from_slice(stored).map_err(|_| Broken::Shape)?;
        if any.key.is_none() && any.nonce.is_none() && any.sealed.is_none() {
            return Ok(None);
        }
        let envelope = serde_json::from_slice(stored);
        envelope.map(Some).map_err(|_| Broken::Shape)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::mutants;

    const AT: &str = "bmc_secrets.17.x.w-1";
    const PLAIN: &str = r#"{"password":"hush-4711"}"#;

    fn sealed(key: &DataKey) -> Envelope {
        key.seal(AT, Zeroizing::new(PLAIN.into()))
    }

    #[test]
    fn a_document_opens_where_it_belongs_and_nowhere_else() {
        let key = DataKey::generate();
        let envelope = sealed(&key);
        let read = Envelope::read(&envelope.to_json()).unwrap().unwrap();
        assert_eq!(read, envelope);
        let opened = key.open(AT, &envelope).unwrap();
        let text = std::str::from_utf8(&opened).unwrap();
        assert_eq!(text.trim_end(), PLAIN);
        for other in [
            "bmc_secrets.17.y.w-1",
            "bmc_secrets.17.x.w-2",
            "instance_data.17.x.w-1",
        ] {
            assert_eq!(key.open(other, &envelope).unwrap_err(), Broken::Document);
        }
        let other = DataKey::generate();
        assert_eq!(other.open(AT, &envelope).unwrap_err(), Broken::Document);
    }

    #[test]
    fn a_damaged_envelope_is_never_taken_for_a_plain_document_and_never_opens_as_another() {
        let key = DataKey::generate();
        let good = sealed(&key).to_json();
        mutants(&good, 20_000, |bad| match Envelope::read(bad) {
            Ok(Some(envelope)) => {
                if let Ok(opened) = key.open(AT, &envelope) {
                    assert_eq!(opened[..PLAIN.len()], *PLAIN.as_bytes());
                }
            }
            // Nothing in it has the name of a part of an envelope any more.
            Ok(None) => assert!(
                ["key", "nonce", "sealed"].iter().all(|name| {
                    let name = format!("\"{name}\":");
                    !bad.windows(name.len()).any(|part| part == name.as_bytes())
                }),
                "{}",
                String::from_utf8_lossy(bad)
            ),
            Err(error) => assert_eq!(error, Broken::Shape),
        });
        for plain in ["{}", PLAIN, r#"{"user_data":"x"}"#] {
            assert_eq!(Envelope::read(plain.as_bytes()), Ok(None), "{plain}");
        }
    }

    #[test]
    fn a_data_key_is_unwrapped_by_its_master_key_alone_and_under_its_own_name() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let key = DataKey::generate();
        let wrapped = key.wrap(&old);
        let lines = format!("{}{}", *new.line(), *old.line());
        let both = MasterKeys::parse(&lines).unwrap();
        let unwrapped = DataKey::unwrap(&key.id, &wrapped, &both).unwrap();
        assert!(unwrapped.open(AT, &sealed(&key)).is_ok());
        let refused = |id: &str, wrapped: &Wrapped, masters: MasterKeys| {
            DataKey::unwrap(id, wrapped, &masters).err().unwrap()
        };
        let why = refused(&key.id, &wrapped, new.clone().into()).to_string();
        assert!(why.contains(old.id()) && why.contains(new.id()), "{why}");
        let why = refused(&key.id, &wrapped, MasterKeys::none()).to_string();
        assert!(why.contains("this worker has none"), "{why}");
        let other = "0011223344556677";
        assert_eq!(
            refused(other, &wrapped, both.clone()),
            Broken::Key(other.into())
        );
        let liar = Wrapped {
            master: new.id().into(),
            ..wrapped.clone()
        };
        assert_eq!(
            refused(&key.id, &liar, both.clone()),
            Broken::Key(key.id.clone())
        );
        let cut = Wrapped {
            sealed: wrapped.sealed[..40].into(),
            ..wrapped
        };
        assert_eq!(refused(&key.id, &cut, both), Broken::Key(key.id.clone()));
    }
}
