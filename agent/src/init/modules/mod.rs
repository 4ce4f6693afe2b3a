//! Loads the kernel modules that this machine's devices ask for, in parallel, until none asks for more.
//! Which modules exist is up to the image; what their drivers find is read in `collect` and `net`.
pub mod index;
pub mod load;

use index::{Index, Tables};
use load::{Loaded, load};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Storage waits this long for the network's drivers. Loading a module returns only when every disk probe under way
/// has ended (`async_synchronize_full` in `do_init_module`), so disks would hold up the network.
const STORAGE_HOLD: Duration = Duration::from_secs(1);
/// Devices looked at; more than any machine has, and a bound for a broken sysfs.
const MAX_DEVICES: usize = 16_384;
/// Names loaded on every machine, one a line, in this order.
const ALWAYS: &str = "etc/ironbeat/modules";
/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel unpacks it.
const COMPRESSED_FILE: i32 = 4;

/// Loads modules for the running kernel, first for all devices, then for those that are new.
pub struct Loader {
    dir: PathBuf,
    bus: PathBuf,
    tables: Tables,
    always: String,
    seen: BTreeSet<PathBuf>,
}

impl Loader {
    /// # Errors
    /// The tables of modules under `root` cannot be read.
    pub fn open(root: &Path) -> io::Result<Self> {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let dir = root.join("lib/modules").join(release);
        Ok(Self {
            tables: Tables::read(&dir)?,
            bus: root.join("sys/bus"),
            always: std::fs::read_to_string(root.join(ALWAYS)).unwrap_or_default(),
            seen: BTreeSet::new(),
            dir,
        })
    }

    /// Returns when no device asks for more.
    pub fn load_new(&mut self) -> Loaded {
        forget_gone(&mut self.seen);
        let found = new_devices(&self.bus, &mut self.seen);
        let always = std::mem::take(&mut self.always);
        if found.is_empty() && always.is_empty() {
            return Loaded::default();
        }
        let always = always
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let scanned = Mutex::new((Some(found), &mut self.seen));
        let bus = &self.bus;
        let scan = move || {
            let (first, seen) = &mut *scanned.lock().unwrap_or_else(PoisonError::into_inner);
            first.take().unwrap_or_else(|| new_devices(bus, seen))
        };
        let insert = |file: &str| insert(&self.dir.join(file));
        let index = Index::new(&self.tables);
        load(&index, always, &scan, &insert, STORAGE_HOLD)
    }
}

fn insert(file: &Path) -> io::Result<()> {
    const NO_PARAMETERS: &CStr = c"";
    let compressed = file.extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    rustix::system::finit_module(File::open(file)?, NO_PARAMETERS, flags)?;
    Ok(())
}

/// In the place of a device that was unplugged, another may be plugged in.
fn forget_gone(seen: &mut BTreeSet<PathBuf>) {
    seen.retain(|device| device.symlink_metadata().is_ok());
}

/// The modaliases of the devices that `seen` does not have yet.
fn new_devices(bus: &Path, seen: &mut BTreeSet<PathBuf>) -> Vec<String> {
    let list = |dir: PathBuf| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let mut found = Vec::new();
    for device in list(bus.to_path_buf()).flat_map(|bus| list(bus.join("devices"))) {
        if seen.len() >= MAX_DEVICES {
            break;
        }
        if seen.contains(&device) {
            continue;
        }
        if let Ok(text) = std::fs::read_to_string(device.join("modalias")) {
            found.push(text.trim().to_string());
        }
        seen.insert(device);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_looked_at_once() {
        let root = tempfile::tempdir().unwrap();
        let device = |bus: &str, name: &str, modalias: &str| {
            let dir = root.path().join(bus).join("devices").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("modalias"), format!("{modalias}\n")).unwrap();
        };
        device("acpi", "PNP0A03:00", "acpi:PNP0A08:PNP0A03:");
        device(
            "pci",
            "0000:00:03.0",
            "pci:v00008086d00001572sv0sd0bc02sc00i00",
        );
        std::fs::create_dir_all(root.path().join("cpu/devices/cpu0")).unwrap();
        let mut seen = BTreeSet::new();
        let mut first = new_devices(root.path(), &mut seen);
        first.sort();
        assert_eq!(
            first,
            [
                "acpi:PNP0A08:PNP0A03:",
                "pci:v00008086d00001572sv0sd0bc02sc00i00"
            ]
        );
        device("scsi", "0:0:0:0", "scsi:t-0x00");
        assert_eq!(new_devices(root.path(), &mut seen), ["scsi:t-0x00"]);
        assert_eq!(new_devices(root.path(), &mut seen), Vec::<String>::new());
        // Another stick in the same port.
        std::fs::remove_dir_all(root.path().join("scsi/devices/0:0:0:0")).unwrap();
        forget_gone(&mut seen);
        device("scsi", "0:0:0:0", "scsi:t-0x05");
        assert_eq!(new_devices(root.path(), &mut seen), ["scsi:t-0x05"]);
    }
}
