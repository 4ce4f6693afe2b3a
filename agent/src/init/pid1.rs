//! The duties of PID 1: file systems, a console, reaped children, a reboot after a panic.
//! Kernel modules and the network are left to `modules` and `net`.
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// Long enough to read a panic on a console, short enough that a rack heals itself overnight.
const PANIC_PAUSE: Duration = Duration::from_secs(30);

/// Makes the machine usable: devices first, because even randomness may come from one.
pub fn prepare() {
    for (kind, target) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
    ] {
        mount_at(kind, target);
    }
    mount_security();
    open_console();
    on_panic_reboot();
    ignore_children();
    // A crash that skips the hook panics the kernel, which then restarts the machine.
    let _ = std::fs::write("/proc/sys/kernel/panic", PANIC_PAUSE.as_secs().to_string());
}

/// Where the kernel has the event log of a TPM.
fn mount_security() {
    const SECURITY: &str = "/sys/kernel/security";
    if Path::new(SECURITY).is_dir() {
        mount_at("securityfs", SECURITY);
    }
}

/// The firmware's variables; their file system is a module, so this comes after those.
pub fn mount_firmware_variables() {
    const VARIABLES: &str = "/sys/firmware/efi/efivars";
    if Path::new(VARIABLES).is_dir() {
        mount_at("efivarfs", VARIABLES);
    }
}

fn mount_at(kind: &str, target: &str) {
    // It exists in any sane image; otherwise mounting fails and says so.
    let _ = std::fs::create_dir_all(target);
    match mount(
        kind,
        target,
        kind,
        MountFlags::NOSUID | MountFlags::NOEXEC,
        None,
    ) {
        Ok(()) | Err(Errno::BUSY) => {}
        Err(error) => eprintln!("ironbeat-agent: mounting {kind} on {target}: {error}"),
    }
}

/// Without a `/dev` in its archive the kernel started the agent without a console: open it now.
fn open_console() {
    let console = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/console");
    match console {
        Ok(console) => {
            let _ = rustix::stdio::dup2_stdin(&console);
            let _ = rustix::stdio::dup2_stdout(&console);
            let _ = rustix::stdio::dup2_stderr(&console);
        }
        Err(error) => eprintln!("ironbeat-agent: opening /dev/console: {error}"),
    }
}

fn on_panic_reboot() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!(
            "ironbeat-agent: {panic}\nironbeat-agent: rebooting in {} s",
            PANIC_PAUSE.as_secs()
        );
        std::thread::sleep(PANIC_PAUSE);
        rustix::fs::sync();
        let _ = rustix::system::reboot(RebootCommand::Restart);
    }));
}

/// The agent starts no processes, but orphans become its children.
fn ignore_children() {
    // SAFETY: SIG_IGN is a valid disposition, no handler runs, and no other thread exists yet that could change it.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}
