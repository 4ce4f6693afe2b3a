//! The order in which modules load: dependencies first, network before storage, four at a time, until no device asks for
//! more. Loading one file and finding devices is in `modules`.
use super::index::{self, Index};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Drivers that wait for hardware (a SATA port: 0.3 s, a RAID controller: 10 s) must not hold up the others.
const LOADERS: usize = 4;
/// A loader that waits for others checks this often; usually they wake it earlier.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    pub modules: usize,
    /// With the reason; a machine often works without it.
    pub failed: Vec<String>,
    /// Those of them without which disks may be missing.
    pub hides_disks: Vec<String>,
}

struct Queue {
    /// The network's first, then buses and the rest as they were asked for.
    light: VecDeque<String>,
    /// Storage.
    heavy: VecDeque<String>,
    /// Ever queued: each is tried once.
    known: BTreeSet<String>,
    /// Behind these are disks.
    storage: BTreeSet<String>,
    light_busy: usize,
    heavy_busy: usize,
    loaded: Loaded,
}

impl Queue {
    fn add(&mut self, index: &Index<'_>, devices: &[String]) {
        let of = |kind: fn(&str) -> bool| {
            devices
                .iter()
                .filter(|d| kind(d))
                .cloned()
                .collect::<Vec<_>>()
        };
        for name in index.wanted(&of(is_network)).into_iter().rev() {
            if self.known.insert(name.clone()) {
                self.light.push_front(name);
            }
        }
        for name in index.wanted(&of(|device| !is_storage(device))) {
            self.add_light(name);
        }
        let storage = |device: &str| is_storage(device) || is_virtio_storage(device);
        self.storage.extend(index.wanted(&of(storage)));
        for name in index.wanted(&of(is_storage)) {
            if self.known.insert(name.clone()) {
                self.heavy.push_back(name);
            }
        }
    }

    fn add_light(&mut self, name: String) {
        if self.known.insert(name.clone()) {
            self.light.push_back(name);
        }
    }

    /// The next name, and whether it is storage; `None` means wait.
    fn next(&mut self, hold_is_over: bool) -> Option<(String, bool)> {
        if let Some(name) = self.light.pop_front() {
            self.light_busy += 1;
            return Some((name, false));
        }
        if self.light_busy > 0 && !hold_is_over {
            return None;
        }
        let name = self.heavy.pop_front()?;
        self.heavy_busy += 1;
        Some((name, true))
    }

    fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty() && self.light_busy + self.heavy_busy == 0
    }
}

/// `scan` names the new devices, `insert` loads one file; storage waits for everything else, at most `storage_hold`.
pub fn load<'a>(
    index: &Index<'_>,
    always: impl Iterator<Item = &'a str>,
    scan: &(dyn Fn() -> Vec<String> + Sync),
    insert: &(dyn Fn(&str) -> io::Result<()> + Sync),
    storage_hold: Duration,
) -> Loaded {
    let mut queue = Queue {
        light: VecDeque::new(),
        heavy: VecDeque::new(),
        known: BTreeSet::new(),
        storage: BTreeSet::new(),
        light_busy: 0,
        heavy_busy: 0,
        loaded: Loaded::default(),
    };
    queue.add(index, &scan());
    always
        .map(index::normal)
        .for_each(|name| queue.add_light(name));
    let hold_until = Instant::now() + storage_hold;
    let (queue, changed) = (Mutex::new(queue), Condvar::new());
    let there = Mutex::new(BTreeSet::new());
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let (name, is_heavy) = {
                let mut queue = lock();
                loop {
                    let left = hold_until.saturating_duration_since(Instant::now());
                    if let Some(next) = queue.next(left.is_zero()) {
                        break next;
                    }
                    if queue.is_empty() {
                        return;
                    }
                    let limit = if left.is_zero() { LOOK_AGAIN } else { left };
                    queue = changed
                        .wait_timeout(queue, limit)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            };
            let loaded = load_with_needs(index, &name, &there, insert);
            let devices = scan();
            let mut queue = lock();
            queue.add(index, &devices);
            queue.loaded.modules += loaded.modules;
            if queue.storage.contains(&name) {
                queue.loaded.hides_disks.extend(loaded.failed.clone());
            }
            queue.loaded.failed.extend(loaded.failed);
            if is_heavy {
                queue.heavy_busy -= 1
            } else {
                queue.light_busy -= 1
            }
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

/// Loads dependencies first and skips what is `there` already.
fn load_with_needs(
    index: &Index<'_>,
    name: &str,
    there: &Mutex<BTreeSet<String>>,
    insert: &(dyn Fn(&str) -> io::Result<()> + Sync),
) -> Loaded {
    let lock = || there.lock().unwrap_or_else(PoisonError::into_inner);
    let mut loaded = Loaded::default();
    for (name, file) in index.in_order(name) {
        if lock().contains(&name) {
            continue;
        }
        let started = Instant::now();
        let result = insert(file);
        tracing::debug!(
            module = name,
            ms = started.elapsed().as_millis(),
            "inserted"
        );
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => loaded.modules += 1,
            // EEXIST: another loader was faster. ENODEV: the driver found no hardware.
            Err((Some(libc::EEXIST | libc::ENODEV), _)) => {}
            Err((_, error)) => loaded.failed.push(format!("{name}: {error}")),
        }
        lock().insert(name);
    }
    loaded
}

/// PCI class 02, or virtio device 1: their links need time to come up, so they come first.
fn is_network(modalias: &str) -> bool {
    modalias.starts_with("virtio:d00000001")
        || modalias.starts_with("pci:") && modalias.contains("bc02")
}

/// PCI class 01, but not virtio's bus driver, behind which everything else may be.
fn is_storage(modalias: &str) -> bool {
    modalias.starts_with("pci:")
        && modalias.contains("bc01")
        && !modalias.starts_with("pci:v00001AF4")
}

/// Virtio devices 2 (disk) and 8 (SCSI host).
fn is_virtio_storage(modalias: &str) -> bool {
    modalias.starts_with("virtio:d00000002") || modalias.starts_with("virtio:d00000008")
}

#[cfg(test)]
mod tests {
    use super::super::index::Tables;
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
            Duration::from_secs(3600),
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
    fn a_module_that_does_not_load_does_not_hold_up_others() {
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
    fn a_storage_driver_that_does_not_load_hides_disks_and_another_does_not() {
        let tables = tables(
            "alias pci:v00001000d00000097* mpt3sas\nalias acpi*:IPI0001:* broken\n",
            "mpt3sas.ko: broken.ko\nbroken.ko:\n",
            "",
        );
        let (loaded, _) = run(&tables, &[], &["acpi:IPI0001:"], &[]);
        assert_eq!((loaded.failed.len(), loaded.hides_disks.len()), (1, 0));
        let controller = "pci:v00001000d00000097sv0sd0bc01sc07i00";
        let (loaded, _) = run(&tables, &[], &[controller], &[]);
        let why = &loaded.hides_disks;
        assert!(why.len() == 1 && why[0].starts_with("broken: "), "{why:?}");
    }

    #[test]
    fn storage_comes_last_and_the_network_first() {
        let tables = tables(
            "alias pci:v00008086d00002922* ahci\nalias pci:v00008086d000010D3* e1000e\nalias acpi*:IPI0001:* ipmi_si\n\
             alias pci:v00001AF4d* virtio_pci\nalias virtio:d00000001v* virtio_net\n",
            "ahci.ko: libata.ko\nlibata.ko:\ne1000e.ko:\nipmi_si.ko:\nefivarfs.ko:\nvirtio_pci.ko:\nvirtio_net.ko:\n",
            "",
        );
        let first = [
            "pci:v00008086d00002922sv0sd0bc01sc06i01",
            "acpi:IPI0001:",
            "pci:v00001AF4d00001001sv0sd0bc01sc00i00",
            "pci:v00008086d000010D3sv0sd0bc02sc00i00",
        ];
        let (_, order) = run(
            &tables,
            &["efivarfs"],
            &first,
            &[("virtio_pci", "virtio:d00000001v00001AF4")],
        );
        let at = |name: &str| {
            order
                .iter()
                .position(|n| n == name)
                .unwrap_or_else(|| panic!("{name} in {order:?}"))
        };
        for light in ["e1000e", "ipmi_si", "efivarfs", "virtio_pci", "virtio_net"] {
            assert!(at(light) < at("libata"), "{order:?}");
        }
        assert!(at("libata") < at("ahci"));
    }
}
