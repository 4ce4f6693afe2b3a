//! Waits for Ctrl-C and SIGTERM: an ordinary call on an ordinary thread (sigprocmask(2), sigwait(3)).
//! Whoever waits tears down what it owns.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// SIGINT and SIGTERM, blocked.
#[derive(Clone, Copy)]
pub struct Termination(libc::sigset_t);

/// Blocks SIGINT and SIGTERM in this thread and in all that it starts from now on, so that [`Termination::wait`] gets
/// them. Programs inherit the block: see [`unblock_in_child`].
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

/// A program begins with the signal mask of the thread that starts it, and one that blocks SIGTERM cannot be asked to
/// stop. This one begins with nothing blocked.
pub fn unblock_in_child(command: &mut Command) {
    let before_exec = || {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the whole set, and the old mask is not asked for.
        let refused = unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
        };
        match refused {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    };
    // SAFETY: both calls are async-signal-safe (signal-safety(7)) and touch nothing but the closure's own stack.
    unsafe { command.pre_exec(before_exec) };
}
