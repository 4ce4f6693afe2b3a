//! The disks that could carry an operating system, from sysfs alone: names, sizes, and what identifies each.
//! The conductor chooses the disk; `ironbeat_common::disk` checks the choice.
use super::{Fill, Roots, problem};
use crate::sysfs::{is_pci_address, number, text, tidy};
use anyhow::Context;
use ironbeat_common::inventory::{DISKS, Disk};
use std::fs;
use std::path::{Path, PathBuf};

/// More than any machine has; bounds a broken sysfs.
const MAX_DISKS: usize = 1024;
/// Never a place for an operating system: made by software, read-only, or part of something else.
const NOT_DISKS: [&str; 9] = [
    "loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "mtdblock",
];
pub fn read(roots: &Roots) -> anyhow::Result<Fill> {
    let (disks, unread) = list(&roots.sys)?;
    Ok(Box::new(move |inventory| {
        inventory.disks = disks;
        for what in unread {
            problem(inventory, DISKS, what);
        }
    }))
}

/// All disks by name, and an error for each that could not be read.
///
/// # Errors
/// When the kernel lists no block devices at all.
pub fn list(sys: &Path) -> anyhow::Result<(Vec<Disk>, Vec<String>)> {
    let dir = sys.join("block");
    let entries = fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    let (mut disks, mut unread) = (Vec::new(), Vec::new());
    for name in names
        .iter()
        .filter(|name| !NOT_DISKS.iter().any(|no| is_kind(name, no)))
        .take(MAX_DISKS)
    {
        match disk(&dir.join(name), name) {
            Ok(disk) => disks.extend(disk),
            Err(error) => unread.push(format!("{error:#}")),
        }
    }
    Ok((disks, unread))
}

/// `md127` is of the kind `md`, `mdraid` is not: the kind is followed by digits, or letters for `sda`-like names.
fn is_kind(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind)
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// `None` if it is not a disk: an empty card reader, a hidden path of a multipath disk, a member of an array.
fn disk(dir: &Path, name: &str) -> anyhow::Result<Option<Disk>> {
    let size = dir.join("size");
    let content =
        fs::read_to_string(&size).with_context(|| format!("reading {}", size.display()))?;
    // In units of 512 bytes, whatever the sector size (Documentation/ABI/stable/sysfs-block).
    let sectors: u64 = content
        .trim()
        .parse()
        .with_context(|| format!("{} has {content:?}", size.display()))?;
    if sectors == 0 || number(dir, "hidden") == Some(1) || is_member(dir) {
        return Ok(None);
    }
    let device = fs::canonicalize(dir.join("device")).unwrap_or_else(|_| dir.join("device"));
    let hctl = hctl(&device);
    Ok(Some(Disk {
        name: format!("/dev/{}", name.replace('!', "/")),
        size_bytes: sectors.saturating_mul(512),
        logical_sector_bytes: number(dir, "queue/logical_block_size").unwrap_or(512),
        physical_sector_bytes: number(dir, "queue/physical_block_size").unwrap_or(0),
        model: ata_model(&device).or_else(|| text(&device, "model")),
        // Some drivers give a PCI vendor number here, which is not the maker of the disk.
        vendor: text(&device, "vendor").filter(|vendor| !vendor.starts_with("0x")),
        serial: text(dir, "serial")
            .or_else(|| text(&device, "serial"))
            .or_else(|| vpd_serial(&device))
            .or_else(|| usb_serial(&device)),
        wwn: text(dir, "wwid")
            .or_else(|| text(&device, "wwid"))
            .filter(|wwn| is_wwn(wwn)),
        rotational: number(dir, "queue/rotational") == Some(1),
        removable: number(dir, "removable") == Some(1),
        read_only: number(dir, "ro") == Some(1),
        transport: transport(&device).map(str::to_string),
        by_path: by_path(&device, dir, hctl.as_deref()),
        hctl,
    }))
}

fn is_member(dir: &Path) -> bool {
    let Ok(holders) = fs::read_dir(dir.join("holders")) else {
        return false;
    };
    holders.flatten().any(|holder| {
        holder
            .file_name()
            .to_str()
            .is_some_and(|name| is_kind(name, "md"))
    })
}

/// A name given by the maker. `t10.` names are the vendor, model and serial once more, padded with blanks.
fn is_wwn(wwid: &str) -> bool {
    ["naa.", "eui.", "nvme.", "uuid."]
        .iter()
        .any(|kind| wwid.starts_with(kind))
}

/// SCSI's Unit Serial Number page (SPC-5 section 7.7.17): the only place of a SATA or SAS disk's serial number.
fn vpd_serial(device: &Path) -> Option<String> {
    parse_vpd_serial(&fs::read(device.join("vpd_pg80")).ok()?)
}

pub(crate) fn parse_vpd_serial(page: &[u8]) -> Option<String> {
    let [_, 0x80, high, low, rest @ ..] = page else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    tidy(&String::from_utf8_lossy(&rest[..length]))
}

/// Linux asks no disk on USB for SCSI's pages: many hang when they are asked. udev takes the USB device's serial too.
fn usb_serial(device: &Path) -> Option<String> {
    let usb = device
        .ancestors()
        .find(|dir| dir.join("idVendor").exists())?;
    text(usb, "serial")
}

/// The whole model of a disk that speaks ATA: SCSI's inquiry data has room for its first 16 characters. It is in the identify
/// data of the ATA Information page (SAT-5 section 12.4.2), words 27 to 46, the bytes of each word swapped (ACS-4 section 3.4.9).
fn ata_model(device: &Path) -> Option<String> {
    parse_ata_model(&fs::read(device.join("vpd_pg89")).ok()?)
}

pub(crate) fn parse_ata_model(page: &[u8]) -> Option<String> {
    const IDENTIFY: usize = 60;
    let [_, 0x89, ..] = page else { return None };
    let words = page.get(IDENTIFY + 2 * 27..IDENTIFY + 2 * 47)?;
    let swapped: Vec<u8> = words
        .chunks(2)
        .flat_map(|word| [word[1], word[0]])
        .collect();
    tidy(&String::from_utf8_lossy(&swapped))
}

/// Host, channel, target and lun: the name of a SCSI device's directory.
fn hctl(device: &Path) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    let numbers: Vec<&str> = name.split(':').collect();
    (numbers.len() == 4 && numbers.iter().all(|n| n.parse::<u64>().is_ok()))
        .then(|| name.to_string())
}

fn components(device: &Path) -> impl DoubleEndedIterator<Item = &str> {
    device.components().filter_map(|c| c.as_os_str().to_str())
}

fn numbered(name: &str, kind: &str) -> bool {
    name.len() > kind.len() && is_kind(name, kind)
}

/// How the device is attached, by its path in sysfs.
fn transport(device: &Path) -> Option<&'static str> {
    let any = |kind: &str| components(device).any(|c| numbered(c, kind));
    if components(device).any(|c| c.starts_with("rport-")) {
        Some("fc")
    } else if any("session") {
        Some("iscsi")
    } else if any("nvme")
        || components(device).any(|c| c == "nvme-subsystem" || c.starts_with("nvme-subsys"))
    {
        Some("nvme")
    } else if components(device).any(|c| c == "mmc_host") {
        Some("mmc")
    } else if any("usb") {
        Some("usb")
    } else if any("ata") {
        Some("sata")
    } else if components(device).any(|c| c.starts_with("end_device-")) {
        Some("sas")
    } else if any("host") {
        Some("scsi")
    } else if any("virtio") {
        Some("virtio")
    } else {
        None
    }
}

/// The slot in words, as udev's `path_id` builds `/dev/disk/by-path`: the PCI function, then the way on from there.
fn by_path(device: &Path, dir: &Path, hctl: Option<&str>) -> Option<String> {
    let pci = components(device).rfind(|c| is_pci_address(c))?;
    let mut path = format!("pci-{pci}");
    match transport(device)? {
        "nvme" => path += &format!("-nvme-{}", number::<u32>(dir, "nsid").unwrap_or(1)),
        "usb" => {
            // `1-2:1.0` is interface 1.0 of the device in port 2; the bus number depends on the order of discovery.
            let interface = components(device).find(|c| c.contains(':') && c.contains('-'))?;
            path += &format!("-usb-0:{}", interface.split_once('-')?.1);
            path += &format!("-scsi-{}", host_zero(hctl?)?);
        }
        "sata" => {
            let port = components(device)
                .find_map(|c| c.strip_prefix("ata").filter(|n| n.parse::<u32>().is_ok()))?;
            path += &format!("-ata-{}", ata_port(device, port)?);
        }
        "sas" | "fc" | "iscsi" | "scsi" => path += &format!("-scsi-{}", host_zero(hctl?)?),
        _ => {}
    }
    Some(path)
}

/// Host numbers depend on the order of discovery: a controller's own first is 0, which holds for all but odd controllers.
fn host_zero(hctl: &str) -> Option<String> {
    Some(format!("0:{}", hctl.split_once(':')?.1))
}

/// `ataN` is numbered over all controllers; its port on this one is in the transport class.
fn ata_port(device: &Path, port: &str) -> Option<u32> {
    let mut root = PathBuf::new();
    for component in device.components() {
        root.push(component);
        if component.as_os_str().to_str() == Some(&format!("ata{port}")) {
            return number(&root, &format!("ata_port/ata{port}/port_no"));
        }
    }
    None
}

#[cfg(test)]
mod tests;
