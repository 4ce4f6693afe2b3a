//! What a first process owes its machine: file systems, a console, children reaped, and an end when nothing helps.
//! Modules, network and everything after are the other modules'.
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// Long enough to read a panic on a console, short enough that a rack heals itself overnight.
const PANIC_PAUSE: Duration = Duration::from_secs(30);

/// Makes the machine usable: the devices first, since even randomness may come from there.
pub fn prepare() {
    for (kind, target) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
    ] {
        mount_at(kind, target);
    }
    open_console();
    on_panic_reboot();
    ignore_children();
    // A fault that no hook sees ends the kernel, which then restarts by itself.
    let _ = std::fs::write("/proc/sys/kernel/panic", PANIC_PAUSE.as_secs().to_string());
}

/// The firmware's variables; their file system is a module, so this comes after those.
pub fn mount_firmware_variables() {
    const VARIABLES: &str = "/sys/firmware/efi/efivars";
    if Path::new(VARIABLES).is_dir() {
        mount_at("efivarfs", VARIABLES);
    }
}

fn mount_at(kind: &str, target: &str) {
    // It is there in any sane image; if it cannot be made, mounting says so.
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

/// The kernel opens the console before there is a `/dev`, unless its archive has one: so it is opened again.
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

/// The agent starts nothing, but orphans of others become its children.
fn ignore_children() {
    // SAFETY: SIG_IGN is a valid disposition, no handler runs, and no other thread exists yet that could change it.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}
