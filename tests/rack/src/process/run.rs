//! Owns running a short command to its end, and finding programs.
//! Leaves programs that stay to the parent module.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::exited_within;
use crate::exec::die_with_owner;

/// Runs a short command to its end and returns what it printed.
///
/// # Errors
/// When it can't be started or runs longer than `timeout` (it is killed then). A non-zero exit is not an error here.
pub fn run(mut command: Command, timeout: Duration) -> Result<Output> {
    let what = describe(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    die_with_owner(&mut command);
    let mut child = command.spawn().with_context(|| format!("run {what}"))?;
    // Pipes are drained by threads, or a talkative program would wait for us while we wait for it.
    let stdout = drain(
        child
            .stdout
            .take()
            .expect("stdout was asked to be a pipe above"),
    );
    let stderr = drain(
        child
            .stderr
            .take()
            .expect("stderr was asked to be a pipe above"),
    );
    let in_time = exited_within(&child, timeout)?;
    if !in_time {
        child.kill().with_context(|| format!("kill {what}"))?;
    }
    let status = child.wait().with_context(|| format!("reap {what}"))?;
    if !in_time {
        bail!("{what} took longer than {timeout:?}");
    }
    let collect = |bytes: thread::JoinHandle<Vec<u8>>| {
        bytes
            .join()
            .expect("the draining thread has no panic in it")
    };
    Ok(Output {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

/// As [`run`], and a non-zero exit is an error that shows what the program said. Returns its standard output.
///
/// # Errors
/// As [`run`]; and when the program exits with anything but 0.
pub fn run_ok(command: Command, timeout: Duration) -> Result<String> {
    let what = describe(&command);
    let output = run(command, timeout)?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!(
            "{what}: {}: {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a program: `variable` from the environment when set, else the first hit in PATH and the system
/// directories that a non-root user's PATH lacks.
///
/// # Errors
/// When it is nowhere.
pub fn find_program(name: &str, variable: Option<&str>) -> Result<PathBuf> {
    if let Some(path) = variable.and_then(std::env::var_os) {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into));
    let found = dirs
        .map(|dir| dir.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()));
    found.with_context(|| format!("find the program {name} in PATH, /usr/sbin or /sbin"))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn drain(mut pipe: impl io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error is the end of what there is to read.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn short_commands_report_failure_and_are_bounded() {
        assert_eq!(run_ok(shell("echo hello"), SOON).unwrap(), "hello\n");
        let error = run_ok(shell("echo bad disk >&2; exit 4"), SOON)
            .unwrap_err()
            .to_string();
        assert!(error.contains("bad disk") && error.contains('4'), "{error}");
        assert!(run(shell("exec sleep 1000"), Duration::from_millis(1)).is_err());
        assert!(run(Command::new("/nonexistent/program"), SOON).is_err());
    }
}
