//! Whoever waits for SIGTERM blocks it; the programs that a rack starts do not, and so can be asked to stop.
//! `ironbeat_bmc_sim::signals` waits, `process` starts programs.
use ironbeat_bmc_sim::signals::block_termination;
use ironbeat_rack::process::Process;
use rustix::process::Signal;
use std::process::Command;
use std::time::Duration;

/// On a thread of its own: the mask and a signal sent to that one thread disturb no other test.
#[test]
fn a_blocked_signal_is_waited_for_and_children_do_not_inherit_the_block() {
    let thread = std::thread::spawn(|| {
        let termination = block_termination().unwrap();
        // SAFETY: pthread_self is this living thread.
        assert_eq!(
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) },
            0
        );
        termination.wait();
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo ready; exec sleep 1000"]);
        let mut child = Process::start("sleep", command, &dir.path().join("log")).unwrap();
        child
            .wait_for_log("ready", Duration::from_secs(20))
            .unwrap();
        child.signal(Signal::TERM).unwrap();
        child.wait_exit(Duration::from_secs(20)).unwrap();
    });
    thread.join().unwrap();
}
