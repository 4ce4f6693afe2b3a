//! Master keys: what a line of a key file means, and which key wraps.
//! `source` reads the file; `envelope` has what they wrap.
use super::key::Key;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// What a line begins with: people and scanners for leaked secrets see what it is.
const PREFIX: &str = "ironbeat-master-key:";
/// More are a mistake: two are enough to change one for the other.
const MAX_KEYS: usize = 8;

/// A key that never lies in NATS. It wraps the data keys that do.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    key: Key,
}

/// It says which it is, and no more.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "master key {}", self.id)
    }
}

/// Quotes nothing of what it is about.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error(
        "line {0} is no master key: a line is {PREFIX} and 44 characters of base64, as `ironbeat auth new-key` writes it"
    )]
    Line(usize),
    #[error("there is no master key in it: `ironbeat auth new-key FILE` makes one")]
    None,
    #[error("there are more than {MAX_KEYS} master keys in it")]
    TooMany,
    #[error("line {0} repeats the key of a line before it")]
    Twice(usize),
}

impl MasterKey {
    pub fn generate() -> Self {
        Self::of(Key::generate())
    }

    fn of(key: Key) -> Self {
        // A key has 256 random bits, so that its hash tells nothing of it.
        let mut hash = Sha256::new();
        hash.update(b"ironbeat master key id\0");
        hash.update(key.reveal());
        let id = HEXLOWER.encode(&hash.finalize()[..8]);
        Self { id, key }
    }

    /// Tells keys apart, and may be seen by everybody.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The line of a key file, with its end.
    pub fn line(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(BASE64.encode(self.key.reveal()));
        let mut line = Zeroizing::new(String::with_capacity(PREFIX.len() + text.len() + 1));
        line.push_str(PREFIX);
        line.push_str(&text);
        line.push('\n');
        line
    }
}

/// All that a worker has: the first wraps, each unwraps. None at all: secrets lie in the bucket as they are.
#[derive(Clone, Debug, Default)]
pub struct MasterKeys(Vec<MasterKey>);

impl From<MasterKey> for MasterKeys {
    fn from(key: MasterKey) -> Self {
        Self(vec![key])
    }
}

impl MasterKeys {
    /// For `secrets.encryption = "none"`, and for those who copy what is sealed and never open it.
    pub fn none() -> Self {
        Self::default()
    }

    /// A key file's text: a key a line, and comments after `#`.
    ///
    /// # Errors
    /// Which line is no key.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = line.strip_prefix(PREFIX).map(str::trim);
            let bytes = bytes.and_then(|text| BASE64.decode(text.as_bytes()).ok());
            let bytes = Zeroizing::new(bytes.ok_or(BadKeys::Line(number))?);
            let key = MasterKey::of(Key::of(&bytes).ok_or(BadKeys::Line(number))?);
            if keys.iter().any(|other| other.id == key.id) {
                return Err(BadKeys::Twice(number));
            }
            if keys.len() == MAX_KEYS {
                return Err(BadKeys::TooMany);
            }
            keys.push(key);
        }
        match keys.is_empty() {
            true => Err(BadKeys::None),
            false => Ok(Self(keys)),
        }
    }

    /// The one that wraps.
    pub fn first(&self) -> Option<&MasterKey> {
        self.0.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: &str) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id)
    }

    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_has_a_key_a_line_and_the_first_wraps() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let text = format!("# the new one\n{}\n  {}", *new.line(), *old.line());
        let keys = MasterKeys::parse(&text).unwrap();
        assert_eq!(keys.first().unwrap().id(), new.id());
        assert_eq!(keys.ids(), [new.id(), old.id()]);
        assert_eq!(format!("{old:?}"), format!("master key {}", old.id()));
    }

    #[test]
    fn a_line_that_is_no_key_is_named_by_its_number_and_never_quoted() {
        let good = MasterKey::generate().line();
        let short = good.replace("key:", "key:AAAA");
        let cut = &good[..good.len() - 5];
        for (text, expected) in [
            (String::new(), BadKeys::None),
            ("# nothing\n\n".into(), BadKeys::None),
            (format!("{}hush\n", *good), BadKeys::Line(2)),
            (short, BadKeys::Line(1)),
            (format!("\n{cut}"), BadKeys::Line(2)),
            (good.replace(PREFIX, ""), BadKeys::Line(1)),
            (format!("{0}{0}", *good), BadKeys::Twice(2)),
            (
                (0..9)
                    .map(|_| MasterKey::generate().line().to_string())
                    .collect(),
                BadKeys::TooMany,
            ),
        ] {
            let error = MasterKeys::parse(&text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
