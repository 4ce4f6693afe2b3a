//! The targets, by whose bytes they read; each has its seeds, what its damage knows of the format, and its bound on memory.
//! What is asserted of whatever was read is beside each reader.
mod bmc;
mod disk;
mod machine;
mod mend;
mod network;
mod people;
mod store;
mod wire;

/// Memory that a reader may hold for one input, in bytes, where nothing else is said.
const MAX_BYTES: usize = 4 << 20;

/// One reader of foreign bytes.
pub struct Target {
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// The file in which it is read, from the top of the repository.
    pub file: &'static str,
    /// Whether the bytes were understood. It panics when something does not hold.
    pub read: fn(&[u8]) -> bool,
    /// Good bytes.
    pub seeds: Vec<Vec<u8>>,
    /// Words of the format.
    pub words: &'static [&'static str],
    /// Puts checksums right again, so that damage comes further.
    pub mend: Option<fn(&mut [u8])>,
    /// What it may hold of memory, in bytes.
    pub max_bytes: usize,
}

impl Target {
    pub fn new(
        name: &'static str,
        what: &'static str,
        file: &'static str,
        read: fn(&[u8]) -> bool,
    ) -> Self {
        Self {
            name,
            what,
            file,
            read,
            seeds: Vec::new(),
            words: &[],
            mend: None,
            max_bytes: MAX_BYTES,
        }
    }

    fn seeds(self, seeds: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self {
            seeds: seeds.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    fn mend(self, mend: fn(&mut [u8])) -> Self {
        Self {
            mend: Some(mend),
            ..self
        }
    }

    fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

/// All targets, in the order in which operators read them.
pub fn all() -> Vec<Target> {
    [
        wire::targets(),
        network::targets(),
        machine::targets(),
        disk::targets(),
        bmc::targets(),
        store::targets(),
        people::targets(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    all().into_iter().find(|target| target.name == name)
}

/// `head` before `bytes`.
fn behind(head: &[u8], bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [head, bytes.as_ref()].concat()
}

/// Words of JSON, for all targets that read it.
const JSON: &[&str] = &[
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "{\"",
    "\":",
    "\",\"",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "0.1",
    "\u{feff}",
];
