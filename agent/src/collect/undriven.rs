//! Storage controllers and NICs that no driver took: what hangs on them is out of sight, and an inventory has to say so.
//! Loading drivers is left to `init`; an AHCI controller says by itself, in `ahci`, whether anything hangs on it.
use super::ahci;
use crate::sysfs::text;
use ironbeat_common::inventory::{DRIVERS, Problem};
use std::fs;
use std::path::{Path, PathBuf};

/// The collector that lists NICs; what it lacks hides no disk.
const NICS: &str = "nics";

/// One problem for each controller or NIC.
pub fn list(sys: &Path) -> Vec<Problem> {
    let pci = bare(&sys.join("bus/pci/devices"));
    let mut problems: Vec<Problem> = pci.iter().filter_map(|dir| of_pci(dir)).collect();
    // Their PCI functions belong to the driver of the bus.
    let virtio = bare(&sys.join("bus/virtio/devices"));
    problems.extend(virtio.iter().filter_map(|dir| of_virtio(dir)));
    problems
}

/// The NICs alone, in words.
pub fn nics(sys: &Path) -> Vec<String> {
    let all = list(sys).into_iter();
    all.filter(|problem| problem.collector == NICS)
        .map(|problem| problem.what)
        .collect()
}

/// Devices without a driver, by name.
fn bare(devices: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|dir| !dir.join("driver").exists())
        .collect();
    found.sort();
    found
}

/// PCI classes 01 and 02 (PCI Code and ID Assignment Specification 1.11, sections 1.2 and 1.3).
fn of_pci(dir: &Path) -> Option<Problem> {
    let class = hex(dir, "class")?;
    let kind = match class >> 8 {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0104 => "RAID controller",
        0x0106 if class == 0x01_0601 && ahci::is_empty(dir) => return None,
        0x0106 => "SATA controller",
        0x0107 => "SAS controller",
        0x0108 => "NVMe controller",
        other if other >> 8 == 1 => "storage controller",
        other if other >> 8 == 2 => "NIC",
        _ => return None,
    };
    let [vendor, device] = [hex(dir, "vendor")?, hex(dir, "device")?];
    let slot = dir.file_name()?.to_str()?;
    let what = format!("no driver took the {kind} {vendor:04x}:{device:04x} at {slot}");
    Some(problem(class >> 16 == 2, what, slot))
}

/// Devices 1 (NIC), 2 (disk) and 8 (SCSI host) of virtio 1.2 section 5.
fn of_virtio(dir: &Path) -> Option<Problem> {
    let kind = match hex(dir, "device")? {
        1 => "NIC",
        2 => "disk",
        8 => "SCSI controller",
        _ => return None,
    };
    let function = fs::canonicalize(dir).ok()?;
    let slot = function.parent()?.file_name()?.to_str()?;
    let what = format!("no driver took the virtio {kind} at {slot}");
    Some(problem(kind == "NIC", what, slot))
}

fn problem(is_nic: bool, what: String, slot: &str) -> Problem {
    Problem {
        collector: if is_nic { NICS } else { DRIVERS }.to_string(),
        what,
        by_path: Some(format!("pci-{slot}")),
    }
}

fn hex(dir: &Path, file: &str) -> Option<u32> {
    u32::from_str_radix(text(dir, file)?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A device with these files, and a driver or none.
    fn device(sys: &Path, at: &str, bus: &str, files: &[(&str, &str)], driver: Option<&str>) {
        let dir = sys.join("devices").join(at);
        fs::create_dir_all(&dir).unwrap();
        for (file, content) in files {
            fs::write(dir.join(file), format!("{content}\n")).unwrap();
        }
        if let Some(driver) = driver {
            fs::create_dir_all(sys.join(driver)).unwrap();
            symlink(sys.join(driver), dir.join("driver")).unwrap();
        }
        let name = at.rsplit('/').next().unwrap();
        let list = sys.join("bus").join(bus).join("devices");
        fs::create_dir_all(&list).unwrap();
        symlink(&dir, list.join(name)).unwrap();
    }

    fn pci(sys: &Path, slot: &str, class: &str, device_id: &str, driver: Option<&str>) {
        let files = [
            ("class", class),
            ("vendor", "0x1000"),
            ("device", device_id),
        ];
        device(sys, &format!("pci0000:00/{slot}"), "pci", &files, driver);
    }

    #[test]
    fn a_controller_or_a_nic_without_a_driver_is_named() {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path();
        assert!(list(sys).is_empty());
        pci(sys, "0000:00:01.0", "0x010700", "0x0097", None);
        pci(sys, "0000:00:02.0", "0x020000", "0x100e", None);
        pci(sys, "0000:00:03.0", "0x010802", "0x0010", Some("nvme"));
        pci(sys, "0000:00:04.0", "0x030000", "0x1111", None);
        // An AHCI controller that cannot be asked may have disks.
        pci(sys, "0000:00:1f.2", "0x010601", "0x2922", None);
        pci(
            sys,
            "0000:00:05.0",
            "0x010000",
            "0x1004",
            Some("virtio-pci"),
        );
        let virtio = "pci0000:00/0000:00:05.0/virtio0";
        device(sys, virtio, "virtio", &[("device", "0x0008")], None);
        device(
            sys,
            "pci0000:00/0000:00:06.0/virtio1",
            "virtio",
            &[("device", "0x0004")],
            None,
        );
        let all: Vec<(String, String)> = list(sys)
            .into_iter()
            .map(|problem| (problem.collector, problem.what))
            .collect();
        let named = |collector: &str, what: &str| (collector.to_string(), what.to_string());
        assert_eq!(
            all,
            [
                named(
                    DRIVERS,
                    "no driver took the SAS controller 1000:0097 at 0000:00:01.0"
                ),
                named(NICS, "no driver took the NIC 1000:100e at 0000:00:02.0"),
                named(
                    DRIVERS,
                    "no driver took the SATA controller 1000:2922 at 0000:00:1f.2"
                ),
                named(
                    DRIVERS,
                    "no driver took the virtio SCSI controller at 0000:00:05.0"
                ),
            ]
        );
        assert_eq!(list(sys)[0].by_path.as_deref(), Some("pci-0000:00:01.0"));
        assert_eq!(nics(sys).len(), 1);
    }
}
