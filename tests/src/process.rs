//! Owns child programs that live as long as something in the rack does: their start, log, signals, bounded stop.
//! Leaves what they are and where they run to the callers.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::exec::die_with_owner;
use crate::logfile::{Found, LogCursor};

/// How long a program gets between SIGTERM and SIGKILL: nats-server and dnsmasq need milliseconds, QEMU is not asked.
pub const STOP_GRACE: Duration = Duration::from_secs(3);

/// A running child program whose output goes to a file. Killed on drop, and by the kernel when this process dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: LogCursor,
}

impl Process {
    /// Starts `command` with standard output and error appended to `log`, in a process group of its own (so that a
    /// Ctrl-C at the terminal reaches us alone, and we stop it in order).
    ///
    /// # Errors
    /// When the log can't be made or the program can't be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let open_log = || File::options().create(true).append(true).open(log);
        let log_file = open_log().with_context(|| format!("open log {}", log.display()))?;
        let log_file_too = log_file.try_clone().context("duplicate a descriptor")?;
        let cursor = LogCursor::at_end(log);
        command
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(log_file_too)
            .process_group(0);
        die_with_owner(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            spawn_for_life(command).with_context(|| format!("start {name}: run {program}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            status: None,
            log: cursor,
        })
    }

    /// What it was called at start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A cursor into its log, at the place where this start began.
    pub fn log(&self) -> LogCursor {
        self.log.clone()
    }

    /// True until it has exited.
    pub fn is_running(&mut self) -> bool {
        matches!(self.try_status(), Ok(None))
    }

    /// Waits for `pattern` in what it writes from this start on.
    ///
    /// # Errors
    /// When the program exits first or the time is over; the error shows the log's end.
    pub fn wait_for_log(&mut self, pattern: &str, timeout: Duration) -> Result<Found> {
        let mut log = self.log();
        let what = format!("wait for {} to say {pattern:?}", self.name);
        log.wait_while(&[pattern], timeout, || self.is_running())
            .context(what)
    }

    /// Waits for it to exit.
    ///
    /// # Errors
    /// When it is still running after `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.try_status()? {
            return Ok(status);
        }
        if !exited_within(&self.child, timeout)? {
            bail!(
                "{} (pid {}) still runs after {timeout:?}",
                self.name,
                self.pid()
            );
        }
        let status = self
            .child
            .wait()
            .with_context(|| format!("reap {}", self.name))?;
        self.status = Some(status);
        Ok(status)
    }

    /// Sends a signal to the program (not to its group). Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        // Not reaped yet (is_running), so the id still is the child's.
        kill_process(pid_of(&self.child), signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// SIGTERM, then SIGKILL after [`STOP_GRACE`], and reaps it.
    pub fn stop(&mut self) {
        let asked = self.signal(Signal::TERM).is_ok();
        if !asked || self.wait_exit(STOP_GRACE).is_err() {
            self.kill();
        }
    }

    /// SIGKILL to it and its group, and reaps it.
    pub fn kill(&mut self) {
        if self.is_running() {
            // Either fails only when there is nothing left to kill.
            let _ = kill_process_group(pid_of(&self.child), Signal::KILL);
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    fn try_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .with_context(|| format!("ask whether {} runs", self.name))?;
        }
        Ok(self.status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

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
pub fn find_program(name: &str, variable: Option<&str>) -> Result<std::path::PathBuf> {
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

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits for the child to become reapable, without reaping it.
fn exited_within(child: &Child, timeout: Duration) -> Result<bool> {
    let pidfd = pidfd_open(pid_of(child), PidfdFlags::empty()).context("open a pidfd")?;
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("a time-out beyond the kernel's range")?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.context("poll a pidfd")? > 0),
        }
    }
}

type SpawnRequest = (Command, Sender<io::Result<Child>>);

/// Spawns from a thread that lives as long as the program: the parent-death signal is tied to the spawning *thread*
/// (prctl(2), PR_SET_PDEATHSIG), and a test's thread ends before a server that several tests share.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<SpawnRequest>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<SpawnRequest>();
        let serve = move || {
            for (mut command, answer) in inbox {
                // The asker waits for the answer; it is gone only when the program is ending.
                let _ = answer.send(command.spawn());
            }
        };
        thread::Builder::new()
            .name("spawner".into())
            .spawn(serve)
            .expect("the first thread of a program starts");
        Mutex::new(requests)
    });
    let (answer, result) = mpsc::channel();
    let requests = spawner
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    requests
        .send((command, answer))
        .expect("the spawner thread never ends");
    result
        .recv()
        .expect("the spawner thread answers every request")
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
    fn output_and_exit_status_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::start("teller", shell("echo ready; exit 3"), &log).unwrap();
        process.wait_for_log("ready", SOON).unwrap();
        assert_eq!(process.wait_exit(SOON).unwrap().code(), Some(3));
        let error = process.wait_for_log("more", SOON).unwrap_err();
        assert!(format!("{error:#}").contains("teller"), "{error:#}");
    }

    #[test]
    fn a_program_that_ignores_term_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::start(
            "stubborn",
            shell("trap '' TERM; echo ready; sleep 1000"),
            &log,
        )
        .unwrap();
        process.wait_for_log("ready", SOON).unwrap();
        process.stop();
        assert!(!process.is_running());
    }

    #[test]
    fn a_program_outlives_the_thread_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let start = thread::spawn(move || {
            Process::start("cat", shell("echo ready; exec sleep 1000"), &log).unwrap()
        });
        let mut process = start.join().unwrap();
        process.wait_for_log("ready", SOON).unwrap();
        assert!(process.wait_exit(Duration::ZERO).is_err());
        assert!(process.is_running());
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
