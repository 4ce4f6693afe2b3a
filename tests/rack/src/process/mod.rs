//! Owns child programs that live as long as something in the rack does: their start, log, signals, bounded stop.
//! Leaves short commands to `run`, and what the programs are and where they run to the callers.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    waitid,
};

mod run;

pub use run::{find_program, run, run_ok};

use crate::exec::die_with_owner;
use crate::logfile::{Found, LogCursor};

/// How long a program gets between SIGTERM and SIGKILL: nats-server and dnsmasq need milliseconds, QEMU is not asked.
pub const STOP_GRACE: Duration = Duration::from_secs(3);
/// Threads that wait for a core have not seen SIGSTOP yet.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running child program whose output goes to a file. Killed on drop, and by the kernel when this process dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    end: Option<(ExitStatus, Duration)>,
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
            end: None,
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
        matches!(self.exited_within(Duration::ZERO), Ok(None))
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
        match self.exited_within(timeout)? {
            Some(status) => Ok(status),
            None => bail!(
                "{} (pid {}) still runs after {timeout:?}",
                self.name,
                self.pid()
            ),
        }
    }

    /// The CPU time it has used so far, in user and kernel mode, or had used when it ended.
    pub fn cpu_time(&self) -> Duration {
        self.end
            .map_or_else(|| cpu_time_of(self.pid()), |(_, cpu_time)| cpu_time)
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

    /// SIGSTOP, and waits until none of its threads runs any more: on a loaded machine they go on for a while.
    ///
    /// # Errors
    /// When the kernel refuses, or some thread does not stop.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        if !self.is_running() {
            return Ok(());
        }
        let begin = Instant::now();
        let pid = pid_of(&self.child);
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(pid), stopped)
            .with_context(|| format!("wait until {} is frozen", self.name))?
            .is_none()
        {
            ensure!(
                begin.elapsed() < FREEZE_TIMEOUT,
                "{} is not frozen after {FREEZE_TIMEOUT:?}",
                self.name
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// It goes on after [`Self::freeze`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
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
            // A killed program ends, however long the kernel takes to clean up after it.
            let _ = self.exited_within(Duration::MAX);
        }
    }

    /// Its exit status if it ends within `timeout`, reaping it then.
    fn exited_within(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        if self.end.is_none() && exited_within(&self.child, timeout)? {
            // Asked before the reaping, while the kernel still knows.
            let cpu_time = cpu_time_of(self.pid());
            let status = self
                .child
                .wait()
                .with_context(|| format!("reap {}", self.name))?;
            self.end = Some((status, cpu_time));
        }
        Ok(self.end.map(|(status, _)| status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// User and kernel CPU time of a process, dead or alive, that was not reaped yet; zero when there is none.
fn cpu_time_of(pid: u32) -> Duration {
    /// The kernel's USER_HZ, which is 100 on all of our architectures: 10 ms a tick.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): utime and stime are fields 14 and 15; the name before them may hold anything up to the last `)`.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u32>().ok());
    ticks.map(|ticks| TICK * ticks).sum()
}

/// Waits for the child to become reapable, without reaping it.
fn exited_within(child: &Child, timeout: Duration) -> Result<bool> {
    let pidfd = pidfd_open(pid_of(child), PidfdFlags::empty()).context("open a pidfd")?;
    let started = Instant::now();
    loop {
        // At most an hour at a time, to stay within the kernel's range.
        let left = timeout
            .saturating_sub(started.elapsed())
            .min(Duration::from_secs(3_600));
        let left = Timespec::try_from(left).context("a time-out beyond the kernel's range")?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll a pidfd"),
            Ok(0) if started.elapsed() < timeout => {}
            Ok(ready) => return Ok(ready > 0),
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
    fn a_started_program_shows_its_output_and_exit_status() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::start("teller", shell("echo ready; exit 3"), &log).unwrap();
        process.wait_for_log("ready", SOON).unwrap();
        assert_eq!(process.wait_exit(SOON).unwrap().code(), Some(3));
        assert!(!process.is_running());
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
    fn cpu_time_is_known_during_and_after_a_life() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(
            "busy",
            shell("while :; do :; done"),
            &dir.path().join("log"),
        )
        .unwrap();
        let deadline = Instant::now() + SOON;
        while process.cpu_time() < Duration::from_millis(30) {
            assert!(Instant::now() < deadline, "a busy loop uses no CPU");
            thread::yield_now();
        }
        process.kill();
        assert!(process.cpu_time() >= Duration::from_millis(30));
    }
}
