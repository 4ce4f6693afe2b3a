//! Owns waiting for Ctrl-C and SIGTERM as an ordinary call on an ordinary thread (sigprocmask(2), sigwait(3)).
//! Leaves what is torn down then to whoever waits.

use std::io;
use std::mem::MaybeUninit;

/// SIGINT and SIGTERM, blocked.
#[derive(Clone, Copy)]
pub struct Termination(libc::sigset_t);

/// Blocks SIGINT and SIGTERM in this thread and in all that it starts from now on, so that [`Termination::wait`] gets
/// them. Programs started by `std::process` begin with nothing blocked.
///
/// # Errors
/// When the kernel refuses.
pub fn block_termination() -> io::Result<Termination> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set it is given; the other two calls get a set initialised so, and
    // pthread_sigmask may be told not to report the old mask by a null pointer.
    let (set, refused) = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        let set = set.assume_init();
        (
            set,
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()),
        )
    };
    if refused == 0 {
        Ok(Termination(set))
    } else {
        Err(io::Error::from_raw_os_error(refused))
    }
}

impl Termination {
    /// Returns when one of them has come.
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: both pointers are to live values, and the set was initialised by `block_termination`.
        while unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } != 0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let mut child =
                crate::process::Process::start("sleep", command, &dir.path().join("log")).unwrap();
            child
                .wait_for_log("ready", Duration::from_secs(20))
                .unwrap();
            child.signal(Signal::TERM).unwrap();
            child.wait_exit(Duration::from_secs(20)).unwrap();
        });
        thread.join().unwrap();
    }
}
