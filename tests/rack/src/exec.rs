//! Owns the one unsafe thing in starting programs: what the child does between fork and exec.
//! Leaves when to start, stop and log to `process`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ironbeat_bmc_sim::signals::unblock_in_child;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes the child die (SIGKILL) with the *thread* that spawns it, so that a killed test leaves nothing running.
/// `process` spawns everything long-lived from one thread that lives as long as the program.
///
/// It begins with no signal blocked, so that it can be asked to stop.
pub(crate) fn die_with_owner(command: &mut Command) {
    unblock_in_child(command);
    let owner = rustix::process::getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The owner may have died before the call above took effect; then nothing would ever send the signal.
        if getppid() != Some(owner) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls without allocating, locking or touching memory shared with other
    // threads, so it is sound between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

/// Makes the child run in the network namespace that `netns` is an open handle of.
pub(crate) fn enter_netns(command: &mut Command, netns: File) {
    let before_exec = move || {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(io::Error::from)
    };
    // SAFETY: the closure makes one system call on a descriptor that it owns, without allocating or locking, so it is
    // sound between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

/// Leaves `descriptor` open in the child, under the same number.
pub(crate) fn inherit(command: &mut Command, descriptor: OwnedFd) {
    let before_exec = move || fcntl_setfd(&descriptor, FdFlags::empty()).map_err(io::Error::from);
    // SAFETY: the closure makes one system call on a descriptor that it owns, without allocating or locking, so it is
    // sound between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}
