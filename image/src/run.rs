//! Runs one of Debian's programs to its end; says what it was and what it said when it fails.
//! Leaves the choice of programs to the callers.
use crate::error::{Error, Result};
use std::process::{Command, Stdio};

/// Runs it and returns its standard output.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    // We read what they print, and we read English.
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().map_err(|source| Error::Start {
        command: format!("{command:?}"),
        source,
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Command {
        command: format!("{command:?}"),
        status: output.status,
        said: String::from_utf8_lossy(&output.stderr).trim().to_string(),
    })
}

/// The same for text.
pub fn text(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}
