//! The machines of a rack: both firmwares, and each kind of disk in turn.
//! Leaves emulating them to `ironbeat-rack`.
use ironbeat_rack::machine::spec::{DiskKind, DiskSpec, NodeSpec};

/// A disk that a default deploy accepts: Ironic's 4 GiB, and room.
const DISK_BYTES: u64 = 5 << 30;

/// BIOS with a virtio disk, UEFI with NVMe, and so on in turn.
pub fn machines(count: usize) -> Vec<NodeSpec> {
    (1..=count)
        .map(|n| {
            let (base, kind) = match n % 4 {
                1 => (NodeSpec::bios(), DiskKind::VirtioBlk),
                2 => (NodeSpec::uefi(), DiskKind::Nvme),
                3 => (NodeSpec::bios(), DiskKind::Scsi),
                _ => (NodeSpec::uefi(), DiskKind::VirtioBlk),
            };
            let mut spec = base;
            spec.disks = vec![DiskSpec::blank(
                kind,
                DISK_BYTES,
                &format!("IB-DISK-{n:03}"),
            )];
            spec.identity.serial = format!("IB-{n:03}");
            spec
        })
        .collect()
}
