//! `cargo xtask replay FILE`: compiles what decides a flight record again, and runs it.
//! How it does is in `tests/replay`.
use crate::artifacts;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Its exit code: 1 when something is decided otherwise, 2 when the file is none.
pub fn run(file: &Path) -> ExitCode {
    match code(file) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn code(file: &Path) -> Result<u8> {
    let mut command = Command::new(artifacts::replay()?);
    command.arg(file);
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(2))
}
