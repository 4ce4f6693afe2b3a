//! Opens the disk that an order names: exactly one fits, it is not in use, and it is as planned.
//! What to do with the open disk is left to `write`, `erase` and `efi`.
use super::device::Device;
use crate::context::MayPass;
use anyhow::{Context, bail};
use ironbeat_common::disk::{DiskIdentity, are_paths};
use ironbeat_common::inventory::Disk;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Two seconds in total: enough for anything that inspects a new disk.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Finds the disk among the present ones and opens it for exclusive use: of several paths the first that can be opened.
///
/// # Errors
/// None or several fit, the disk is read-only, in use (the holder is named), or of another size or sector than the
/// inventory said.
pub fn open(wanted: &DiskIdentity, disks: &[Disk]) -> anyhow::Result<Device> {
    let (first, others) = find(wanted, disks)?;
    let mut opened = open_path(wanted, first);
    for path in others {
        if opened.is_ok() {
            break;
        }
        opened = open_path(wanted, path);
    }
    opened
}

/// The same for every path to the disk. Where it has a WWN, one that can be opened is enough.
///
/// # Errors
/// As [`open`].
pub fn open_paths(wanted: &DiskIdentity, disks: &[Disk]) -> anyhow::Result<Vec<Device>> {
    let (first, others) = find(wanted, disks)?;
    let opened = std::iter::once(first)
        .chain(others)
        .map(|path| open_path(wanted, path));
    let (opened, failed): (Vec<_>, Vec<_>) = opened.partition(Result::is_ok);
    let devices: Vec<Device> = opened.into_iter().flatten().collect();
    let enough = wanted.wwn.is_some() && !devices.is_empty();
    match failed.into_iter().find_map(Result::err) {
        Some(error) if !enough => Err(error),
        Some(_) | None => Ok(devices),
    }
}

fn open_path(wanted: &DiskIdentity, disk: &Disk) -> anyhow::Result<Device> {
    let device = match retry_while_busy(|| Device::open(&disk.name, disk.logical_sector_bytes)) {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            let users = users(
                &disk.name,
                Path::new("/sys/class/block"),
                Path::new("/proc"),
            );
            let users = if users.is_empty() {
                "who uses it cannot be seen".to_owned()
            } else {
                users.join(", ")
            };
            let in_use = format!("{} is in use: {users}", disk.name);
            return Err(anyhow::Error::msg(MayPass(in_use)));
        }
        other => other.with_context(|| format!("opening {}", disk.name))?,
    };
    let (bytes, sector) = (device.bytes(), device.sector());
    if bytes != wanted.size_bytes || sector != disk.logical_sector_bytes {
        bail!(
            "{} changed: the plan has {} bytes in sectors of {}, the disk {bytes} in sectors of {sector}",
            disk.name,
            wanted.size_bytes,
            disk.logical_sector_bytes,
        );
    }
    Ok(device)
}

/// The kernel, or a program that inspects new disks, may hold a disk for a moment.
fn retry_while_busy(open: impl Fn() -> io::Result<Device>) -> io::Result<Device> {
    for _ in 0..BUSY_TRIES {
        match open() {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    open()
}

/// The paths to the disk that can be written: at least one.
fn find<'a>(wanted: &DiskIdentity, disks: &'a [Disk]) -> anyhow::Result<(&'a Disk, Vec<&'a Disk>)> {
    let fitting: Vec<&Disk> = disks.iter().filter(|disk| wanted.is(disk)).collect();
    let [first, others @ ..] = fitting.as_slice() else {
        bail!("no disk is {wanted}; there are: {}", list(disks.iter()));
    };
    if !others.iter().all(|other| are_paths(first, other)) {
        bail!(
            "{} disks are {wanted}: {}; refusing to choose",
            fitting.len(),
            list(fitting.into_iter())
        );
    }
    let mut writable = fitting.iter().copied().filter(|path| !path.read_only);
    match writable.next() {
        Some(path) => Ok((path, writable.collect())),
        None => bail!("{} is read-only", first.name),
    }
}

fn list<'a>(disks: impl Iterator<Item = &'a Disk>) -> String {
    let all: Vec<String> = disks
        .map(|disk| DiskIdentity::of(disk).to_string())
        .collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join("; ")
    }
}

/// Who uses a disk or its partitions: mounts, swap, and devices stacked on it.
fn users(path: &str, sysfs: &Path, proc: &Path) -> Vec<String> {
    let Some(disk) = Path::new(path).file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let names_in = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    };
    let mut parts = vec![disk.to_owned()];
    let is_partition = |name: &String| sysfs.join(disk).join(name).join("partition").exists();
    parts.extend(names_in(&sysfs.join(disk)).into_iter().filter(is_partition));

    let read = |file: &str| std::fs::read_to_string(proc.join(file)).unwrap_or_default();
    let (mounts, swaps) = (read("self/mounts"), read("swaps"));
    let mut users = Vec::new();
    for part in &parts {
        let device = format!("/dev/{part}");
        let mounted = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(source, _)| *source == device);
        users.extend(mounted.map(|(_, rest)| {
            format!(
                "{part} is mounted on {}",
                rest.split(' ').next().unwrap_or("?")
            )
        }));
        if swaps
            .lines()
            .any(|line| line.split_whitespace().next() == Some(&device))
        {
            users.push(format!("{part} is swap space"));
        }
        let inside = if part == disk {
            sysfs.join(disk)
        } else {
            sysfs.join(disk).join(part)
        };
        users.extend(
            names_in(&inside.join("holders"))
                .iter()
                .map(|holder| format!("{part} is part of {holder}")),
        );
    }
    users
}

#[cfg(test)]
mod tests;
