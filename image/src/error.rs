//! What can go wrong in this crate: each error names what was attempted on what; the cause is its source.
//! Leaves printing them, once and with their causes, to the commands, which get them as `anyhow` errors.
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{attempt} {}", path.display())]
    File {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Most often the program is missing.
    #[error("start {command}")]
    Start { command: String, source: io::Error },
    #[error("{command} ended with {status}: {said}")]
    Command {
        command: String,
        status: ExitStatus,
        said: String,
    },
    /// Packages that are missing and that only root could install.
    #[error(
        "Debian packages are missing; as root: apt-get update && apt-get install --no-install-recommends {0}"
    )]
    Packages(String),
    #[error("compress {what}")]
    Compress {
        what: &'static str,
        source: io::Error,
    },
    #[error("{0:?} is no flavour: small or generic")]
    Flavour(String),
    /// Something is there, but is not what it should be.
    #[error("{0}")]
    Unfit(String),
}

/// Names what was attempted on which file, for `map_err`.
pub fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File {
        attempt,
        path,
        source,
    }
}
