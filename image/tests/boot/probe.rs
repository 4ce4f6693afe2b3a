//! First process of a test's ramdisk: loads all its modules, each after what it needs, says what it found, switches off.
//! Compiled by the test with rustc alone, statically.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(how: c_int) -> c_int;
}

const FINIT_MODULE: c_long = 313;
const POWER_OFF: c_int = 0x4321_fedc;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;

fn main() {
    for (kind, target) in [
        (c"proc", c"/proc"),
        (c"sysfs", c"/sys"),
        (c"devtmpfs", c"/dev"),
    ] {
        mount_at(kind, target);
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let dir = format!("/lib/modules/{}", release.trim());
    let said = match load_all(&dir) {
        Ok((loaded, refused)) => format!("modules={loaded} refused={}", list(refused)),
        Err(error) => format!("modules=0 refused={dir}:{error:?}"),
    };
    let nics = names("/sys/class/net").filter(|name| name != "lo");
    let disks = names("/sys/block");
    let line = format!(
        "PROBE {} nics={} disks={}\n",
        said,
        list(nics.collect()),
        list(disks.collect())
    );
    // One write, straight to the console: the kernel opened none before /dev was there.
    let console = File::options().write(true).open("/dev/console");
    if let Ok(mut console) = console {
        let _ = console.write_all(line.as_bytes());
    }
    // SAFETY: takes no memory of ours.
    unsafe { reboot(POWER_OFF) };
}

fn mount_at(kind: &CStr, target: &CStr) {
    // SAFETY: all three strings end with a null byte and outlive the call; there is no data.
    unsafe {
        mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
}

/// How many were loaded, and which were refused because something in them was wrong or missing. A driver without its
/// hardware is not.
fn load_all(dir: &str) -> std::io::Result<(usize, BTreeSet<String>)> {
    let dep = fs::read_to_string(format!("{dir}/modules.dep"))?;
    let needs: BTreeMap<&str, &str> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let (mut tried, mut refused) = (BTreeSet::new(), BTreeSet::new());
    // What is always loaded must be among them.
    for name in fs::read_to_string("/etc/ironbeat/modules")?.lines() {
        let file = format!("/{}.ko", name);
        let known = |path: &&&str| path.replace('-', "_").ends_with(&file);
        if needs.keys().find(known).is_none() {
            refused.insert(name.to_string());
        }
    }
    for (path, before) in &needs {
        for path in before.split_whitespace().rev().chain([*path]) {
            if !tried.insert(path.to_string()) {
                continue;
            }
            let file = File::open(format!("{dir}/{path}"))?;
            // SAFETY: the descriptor is open, and the parameters are an empty string with its null byte.
            let result = unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
            let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            if result != 0 && [ENOENT, ENOEXEC].contains(&error) {
                refused.insert(format!("{path}:{error}"));
            }
        }
    }
    Ok((tried.len(), refused))
}

fn names(dir: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn list(names: BTreeSet<String>) -> String {
    if names.is_empty() {
        return "-".into();
    }
    names.into_iter().collect::<Vec<_>>().join(",")
}
