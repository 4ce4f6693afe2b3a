//! One try of one target, and what is kept of one that failed: its bytes in a file, and the command that repeats it.
//! Hangs, and what ends the process, are noticed by `watch`.
use crate::memory;
use crate::targets::Target;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Where failing bytes go.
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/fuzz");

/// Bytes that a target did not survive.
#[derive(Clone, Debug)]
pub struct Failure {
    pub target: &'static str,
    pub why: String,
    pub kept: Kept,
}

/// Where they are, or why they are nowhere.
pub type Kept = Result<PathBuf, String>;

impl Failure {
    pub fn of(target: &Target, bytes: &[u8], why: String) -> Self {
        let kept = keep(target.name, bytes).map_err(|error| format!("not kept in {DIR}: {error}"));
        Self {
            target: target.name,
            why,
            kept,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, why, kept } = self;
        writeln!(f, "{target}: {why}")?;
        match kept {
            Ok(path) => {
                let path = path.display();
                write!(
                    f,
                    "repeat it: cargo xtask fuzz --target {target} --file {path}"
                )
            }
            Err(error) => f.write_str(error),
        }
    }
}

fn keep(target: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let dir = Path::new(DIR);
    std::fs::create_dir_all(dir)?;
    let path = dir
        .canonicalize()?
        .join(format!("{target}-{:016x}", hash(bytes)));
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    pub understood: bool,
    /// What it held of memory at most, in bytes.
    pub peak: usize,
}

/// Tries these bytes.
///
/// # Errors
/// How the target panicked, or that it held more memory than it may.
pub fn one(target: &Target, bytes: &[u8]) -> Result<Tried, String> {
    quiet();
    TRYING.set(true);
    let (result, peak) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| (target.read)(bytes))));
    TRYING.set(false);
    let understood = result.map_err(|panic| {
        let place = LAST.take().unwrap_or_default();
        format!("it panicked{place}: {}", words(&*panic))
    })?;
    match peak <= target.max_bytes {
        true => Ok(Tried { understood, peak }),
        false => Err(format!(
            "it held {peak} bytes, at most {} for {} bytes of input",
            target.max_bytes,
            bytes.len()
        )),
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static TRYING: Cell<bool> = const { Cell::new(false) };
}

/// A panic of a try is told by whoever tries; others are printed as always.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match TRYING.get() {
            true => LAST.set(info.location().map(|place| format!(" at {place}"))),
            false => others(info),
        }));
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").into()
}
