//! Runs one of Debian's programs to its end; says what it was and what it said when it fails.
//! Which programs are run for what is the callers' affair.
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// Runs it and returns its standard output.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null());
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        said.trim()
    );
    Ok(output.stdout)
}

/// The same for text.
pub fn text(command: &mut Command) -> Result<String> {
    String::from_utf8(run(command)?).with_context(|| format!("read the output of {command:?}"))
}
