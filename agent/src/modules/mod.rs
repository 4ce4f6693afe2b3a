//! Loads the kernel modules that this machine's devices ask for, in parallel, until none asks for more.
//! Which files there are is the image's affair; what a driver then finds is `collect`'s and `net`'s.
pub mod index;

use index::{Index, Tables};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Drivers that wait for their hardware (a SATA port: 0.3 s, a RAID controller: 10 s) do not keep the others waiting.
const LOADERS: usize = 4;
/// Devices looked at; more than any machine has, and a bound for a broken sysfs.
const MAX_DEVICES: usize = 16_384;
/// Names loaded on every machine, one a line, in this order.
const ALWAYS: &str = "etc/ironbeat/modules";
/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel unpacks it.
const COMPRESSED_FILE: i32 = 4;

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    pub modules: usize,
    /// With the reason; a machine often works without it.
    pub failed: Vec<String>,
}

/// Loads everything for the running kernel from `root`; returns when no device asks for more.
pub fn load_all(root: &Path) -> io::Result<Loaded> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let dir = root.join("lib/modules").join(release);
    let tables = Tables::read(&dir)?;
    let index = Index::new(&tables);
    let always = std::fs::read_to_string(root.join(ALWAYS)).unwrap_or_default();
    let always = always
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let bus = root.join("sys/bus");
    let scanned = Mutex::new(BTreeSet::new());
    let scan = move || {
        new_devices(
            &bus,
            &mut scanned.lock().unwrap_or_else(PoisonError::into_inner),
        )
    };
    Ok(load(&index, always, &scan, &|file| insert(&dir.join(file))))
}

struct Queue {
    waiting: VecDeque<String>,
    /// Ever queued: each is tried once.
    known: BTreeSet<String>,
    busy: usize,
    loaded: Loaded,
}

/// `scan` names the devices that were not there before, `insert` loads one file.
fn load<'a>(
    index: &Index<'_>,
    always: impl Iterator<Item = &'a str>,
    scan: &(dyn Fn() -> Vec<String> + Sync),
    insert: &(dyn Fn(&str) -> io::Result<()> + Sync),
) -> Loaded {
    let mut queue = Queue {
        waiting: VecDeque::new(),
        known: BTreeSet::new(),
        busy: 0,
        loaded: Loaded::default(),
    };
    for name in always.map(index::normal).chain(index.wanted(&scan())) {
        queue.add(name);
    }
    let (queue, changed) = (Mutex::new(queue), Condvar::new());
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let name = {
                let mut queue = lock();
                loop {
                    if let Some(name) = queue.waiting.pop_front() {
                        queue.busy += 1;
                        break name;
                    }
                    if queue.busy == 0 {
                        return;
                    }
                    queue = changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let results = load_with_needs(index, &name, insert);
            let wanted = index.wanted(&scan());
            let mut queue = lock();
            for (name, result) in results {
                queue.known.insert(name.clone());
                match result {
                    Ok(true) => queue.loaded.modules += 1,
                    Ok(false) => {}
                    Err(error) => queue.loaded.failed.push(format!("{name}: {error}")),
                }
            }
            wanted.into_iter().for_each(|name| queue.add(name));
            queue.busy -= 1;
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..LOADERS {
            // Fewer threads are slower, not wrong.
            let _ = std::thread::Builder::new()
                .name("modules".to_string())
                .spawn_scoped(scope, work);
        }
        work();
    });
    queue
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .loaded
}

impl Queue {
    fn add(&mut self, name: String) {
        if self.known.insert(name.clone()) {
            self.waiting.push_back(name);
        }
    }
}

/// A module's needs first. `Ok(true)` means loaded now, `Ok(false)` there already.
fn load_with_needs(
    index: &Index<'_>,
    name: &str,
    insert: &(dyn Fn(&str) -> io::Result<()> + Sync),
) -> Vec<(String, io::Result<bool>)> {
    let mut results = Vec::new();
    for (name, file) in index.in_order(name) {
        let result = match insert(file) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            // "No such device": it looked and found nothing to drive.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        };
        results.push((name, result));
    }
    results
}

fn insert(file: &Path) -> io::Result<()> {
    const NO_PARAMETERS: &CStr = c"";
    let compressed = file.extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    rustix::system::finit_module(File::open(file)?, NO_PARAMETERS, flags)?;
    Ok(())
}

/// The modaliases of the devices that `seen` does not have yet, those of network cards first: their links need time to come up.
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
    found.sort_by_key(|modalias| !is_network(modalias));
    found
}

/// PCI class 02, or virtio device 1.
fn is_network(modalias: &str) -> bool {
    modalias.starts_with("virtio:d00000001")
        || modalias.starts_with("pci:") && modalias.contains("bc02")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(alias: &str, dep: &str, softdep: &str) -> Tables {
        Tables {
            alias: alias.into(),
            dep: dep.into(),
            softdep: softdep.into(),
        }
    }

    /// Loads with a machine that shows more devices after certain modules.
    fn run(
        tables: &Tables,
        always: &[&str],
        first: &[&str],
        later: &[(&str, &str)],
    ) -> (Loaded, Vec<String>) {
        let order = Mutex::new(Vec::new());
        let devices = Mutex::new(first.iter().map(ToString::to_string).collect::<Vec<_>>());
        let loaded = load(
            &Index::new(tables),
            always.iter().copied(),
            &|| std::mem::take(&mut devices.lock().unwrap()),
            &|file| {
                let name = index::name_of(file);
                order.lock().unwrap().push(name.clone());
                let new = later
                    .iter()
                    .filter(|(module, _)| *module == name)
                    .map(|(_, device)| device.to_string());
                devices.lock().unwrap().extend(new);
                if name == "broken" {
                    Err(io::Error::from_raw_os_error(libc::EINVAL))
                } else {
                    Ok(())
                }
            },
        );
        (loaded, order.into_inner().unwrap())
    }

    #[test]
    fn a_bus_driver_brings_devices_that_bring_drivers() {
        let tables = tables(
            "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000001v* virtio_net\nalias virtio:d00000002v* virtio_blk\n",
            "a/virtio_pci.ko: a/virtio_ring.ko a/virtio.ko\na/virtio.ko:\na/virtio_ring.ko: a/virtio.ko\n\
             a/virtio_net.ko: a/failover.ko\na/failover.ko:\na/virtio_blk.ko:\n",
            "",
        );
        let pci = "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00";
        let later = [
            ("virtio_pci", "virtio:d00000001v00001AF4"),
            ("virtio_pci", "virtio:d00000002v00001AF4"),
        ];
        let (loaded, order) = run(&tables, &[], &[pci], &later);
        assert_eq!(loaded.failed, Vec::<String>::new());
        let at = |name: &str| {
            order
                .iter()
                .position(|n| n == name)
                .unwrap_or_else(|| panic!("{name} in {order:?}"))
        };
        assert!(at("virtio") < at("virtio_ring") && at("virtio_ring") < at("virtio_pci"));
        assert!(at("virtio_pci") < at("virtio_net") && at("failover") < at("virtio_net"));
        assert!(at("virtio_pci") < at("virtio_blk"));
    }

    #[test]
    fn a_module_that_does_not_load_keeps_nobody_back() {
        let tables = tables(
            "alias pci:x broken\nalias pci:y good\n",
            "broken.ko:\ngood.ko.xz:\n",
            "",
        );
        let (loaded, order) = run(&tables, &["absent"], &["pci:x", "pci:y"], &[]);
        assert_eq!((loaded.modules, order.len()), (1, 2));
        assert_eq!(loaded.failed.len(), 1);
        assert!(
            loaded.failed[0].starts_with("broken: "),
            "{:?}",
            loaded.failed
        );
    }

    #[test]
    fn each_device_is_looked_at_once_and_network_cards_first() {
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
        let first = new_devices(root.path(), &mut seen);
        assert_eq!(
            first,
            [
                "pci:v00008086d00001572sv0sd0bc02sc00i00",
                "acpi:PNP0A08:PNP0A03:"
            ]
        );
        device("scsi", "0:0:0:0", "scsi:t-0x00");
        assert_eq!(new_devices(root.path(), &mut seen), ["scsi:t-0x00"]);
        assert_eq!(new_devices(root.path(), &mut seen), Vec::<String>::new());
    }
}
