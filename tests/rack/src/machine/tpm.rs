//! Owns the emulated TPM of one POST: swtpm, which QEMU drives over a socket.
//! Leaves attaching it to `qemu`, and its end to `board`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::qemu::Paths;
use crate::process::{Process, find_program};

/// It listens within milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts it with what it kept from the last POST, and waits until it listens. Its PCRs begin anew.
///
/// # Errors
/// When it does not come up.
pub(super) fn start(paths: &Paths) -> Result<Process> {
    let (state, socket) = (paths.tpm(), paths.tpm_socket());
    fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
    // Of the POST before: it must not be taken for the new one.
    let _ = fs::remove_file(&socket);
    let mut command = Command::new(find_program("swtpm", None)?);
    command.args(["socket", "--tpm2", "--terminate", "--tpmstate"]);
    command.arg(format!("dir={}", state.display()));
    command.arg("--ctrl");
    command.arg(format!("type=unixio,path={}", socket.display()));
    let mut process = Process::start("swtpm", command, &paths.tpm_log())?;
    let begin = Instant::now();
    while !socket.exists() {
        if !process.is_running() || begin.elapsed() > START_TIMEOUT {
            bail!("swtpm does not listen; it said:\n{}", process.log().tail());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(process)
}
