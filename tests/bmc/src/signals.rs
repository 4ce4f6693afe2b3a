//! Waiting for Ctrl-C and SIGTERM (sigprocmask(2), sigwait(3)).
//! Leaves ending to the program.
use std::io;
use std::mem::MaybeUninit;

/// SIGINT and SIGTERM, blocked in this thread and in all that it starts from now on.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// # Errors
    /// When the kernel refuses.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the whole set; the other calls get it initialised so, and the old mask is not
        // asked for.
        let (set, refused) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            let set = set.assume_init();
            let refused =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            (set, refused)
        };
        match refused {
            0 => Ok(Self(set)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Returns when one of them has come.
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: both pointers are to live values, and the set was initialised by `block`.
        while unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } != 0 {}
    }
}
