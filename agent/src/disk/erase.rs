//! Wipes old metadata: partition tables, RAID and volume-manager labels, file-system signatures and their copies.
//! It does not erase the data itself.
use super::device::Device;
use super::gpt::{Gpt, Partition};
use super::mbr::Mbr;
use super::target;
use crate::context::StepContext;
use anyhow::{anyhow, bail};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::Progress;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Bytes at both ends of a disk and of each of its partitions. At the start: MBR, GPT, md 1.1 and 1.2, LVM, LUKS, ZFS, the
/// file systems. At the end: GPT backup, md 0.90 and 1.0, DDF and the vendors' RAID, ZFS labels 2 and 3.
const END_BYTES: u64 = 1 << 20;
/// Positions and lengths in bytes, from the start of a disk or partition, of copies beyond its first MiB: VMFS and the second
/// LUKS2 header (1, 2, 4 MiB), btrfs superblocks (64 MiB, 256 GiB), Ceph's labels (`bdev_label_positions` of
/// src/os/bluestore/BlueStore.cc), from which an old OSD comes back (ceph/ceph#55374).
const COPIES: [(u64, u64); 9] = [
    (1 << 20, COPY_BYTES),
    (2 << 20, COPY_BYTES),
    (4 << 20, COPY_BYTES),
    (64 << 20, COPY_BYTES),
    (256 << 30, COPY_BYTES),
    (1 << 30, CEPH_BYTES),
    (10 << 30, CEPH_BYTES),
    (100 << 30, CEPH_BYTES),
    (1000 << 30, CEPH_BYTES),
];
const COPY_BYTES: u64 = 64 << 10;
/// ceph-volume puts an OSD behind the first MiB of a disk, which LVM keeps for itself.
const CEPH_BYTES: u64 = (1 << 20) + COPY_BYTES;
/// Old partitions considered; the usual table has 128 entries.
const MAX_PARTITIONS: usize = 128;

/// Checks all identities before touching a disk; a disk that fails does not stop the others.
pub fn erase_metadata(disks: &[DiskIdentity], ctx: &StepContext<'_>) -> anyhow::Result<()> {
    let there = (ctx.disks)();
    let devices = disks
        .iter()
        .map(|disk| Ok((disk, target::open_paths(disk, &there)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut problems = Vec::new();
    for (done, (disk, paths)) in devices.iter().enumerate() {
        let total = Some(devices.len() as u64);
        (ctx.progress)(Progress {
            phase: "erase".to_owned(),
            done: done as u64,
            total,
            trouble: None,
        });
        if let Err(e) = wipe_by(paths, disk.wwn.is_some(), ctx.cancelled) {
            problems.push(format!("{e:#}"));
        }
        for device in paths {
            device.reread_partitions();
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("erasing metadata: {}", problems.join("; "))
    }
}

/// Wipes one disk by all paths to it: a serial number alone does not prove that they are one, so each has to be good then.
fn wipe_by(paths: &[Device], has_wwn: bool, cancelled: &AtomicBool) -> anyhow::Result<()> {
    let mut failed = None;
    for device in paths {
        match wipe(device, cancelled) {
            Ok(()) if has_wwn => return Ok(()),
            Ok(()) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Wipes one disk and flushes it. From the first of these writes on it does not boot.
pub fn wipe(device: &Device, cancelled: &AtomicBool) -> anyhow::Result<()> {
    let old = partitions(device)?;
    wipe_ends(device)?;
    for range in positions(device.bytes(), device.sector().into(), &old) {
        device.zero(range, cancelled)?;
    }
    device.flush()?;
    device.reread_partitions();
    Ok(())
}

/// The two ends of a disk: nothing finds a table or a boot sector there afterwards.
pub fn wipe_ends(device: &Device) -> anyhow::Result<()> {
    let count = END_BYTES.min(device.bytes());
    let zeros = vec![0; count as usize];
    device.write(&zeros, 0)?;
    device.write(&zeros, device.bytes() - count)?;
    device.flush()
}

/// Where signatures can be, in whole sectors, each range within the disk.
fn positions(disk_bytes: u64, sector: u64, partitions: &[Range<u64>]) -> Vec<Range<u64>> {
    let whole = 0..disk_bytes;
    let mut ranges = Vec::new();
    for place in std::iter::once(&whole).chain(partitions) {
        let copies = COPIES.iter().map(|(at, bytes)| {
            place.start.saturating_add(*at)..place.start.saturating_add(at + bytes)
        });
        let start = place.start..place.start.saturating_add(END_BYTES);
        let end = place.end.saturating_sub(END_BYTES)..place.end;
        for range in copies.chain([start, end]) {
            let start = range
                .start
                .max(place.start)
                .min(disk_bytes)
                .next_multiple_of(sector);
            let end = range.end.min(place.end).min(disk_bytes) / sector * sector;
            if start < end {
                ranges.push(start..end);
            }
        }
    }
    ranges
}

/// The old partitions, in bytes, as far as a table can be read: a damaged table must not prevent a wipe.
fn partitions(device: &Device) -> anyhow::Result<Vec<Range<u64>>> {
    let sector = u64::from(device.sector());
    let end_bytes = END_BYTES.min(device.bytes()) as usize;
    let head = device.read(0, end_bytes)?;
    let tail_at = device.sectors() - end_bytes as u64 / sector;
    let tail = device.read(tail_at * sector, end_bytes)?;
    let last = device
        .sectors()
        .checked_sub(1)
        .ok_or_else(|| anyhow!("{} has no sectors", device.path()))?;
    let primary = Gpt::parse(&head, 0, 1, device.sector());
    let gpt = primary.or_else(|_| Gpt::parse(&tail, tail_at, last, device.sector()));
    let of_gpt = |part: &Partition| part.first * sector..(part.last + 1) * sector;
    let mut found: Vec<Range<u64>> = gpt
        .map(|gpt| gpt.partitions().iter().map(of_gpt).collect())
        .unwrap_or_default();
    if let Some(mbr) = Mbr::parse(&head) {
        found.extend(
            mbr.entries()
                .iter()
                .map(|entry| u64::from(entry.first) * sector..entry.end() * sector),
        );
    }
    found.truncate(MAX_PARTITIONS);
    Ok(found)
}

#[cfg(test)]
mod tests;
