//! `cargo xtask states`: compiles the comparison of our provision states with Ironic's, and runs it.
//! What is compared is in `tests/states`.
use crate::artifacts;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// # Errors
/// When it cannot be compiled.
pub fn run() -> Result<()> {
    let mut command = Command::new(artifacts::states()?);
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "the table was not written");
    Ok(())
}
