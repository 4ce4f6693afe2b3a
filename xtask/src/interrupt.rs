//! Ctrl-C and SIGTERM as a flag, so that a rack is torn down instead of left behind.
//! Leaves tearing things down to their owners.
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Blocks both signals in every thread made from now on and has one thread wait for them.
///
/// # Errors
/// When the signal mask cannot be set.
pub fn catch() -> Result<()> {
    let set = ironbeat_bmc_sim::signals::block_termination().context("block SIGINT and SIGTERM")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            set.wait();
            eprintln!("\ninterrupted: tearing down");
            INTERRUPTED.store(true, Ordering::SeqCst);
            // A second one means it: the kernel kills what was started, the next run sweeps the rest.
            set.wait();
            std::process::exit(130);
        })
        .context("start the signal thread")?;
    Ok(())
}

/// # Errors
/// Once a signal has come.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}
