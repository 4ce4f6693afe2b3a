//! What the agent does to disks: images written, boot entries set, old metadata erased.
//! Which disk, and when, is decided by the conductor.
mod buffer;
mod commit;
mod config_drive;
mod decode;
mod device;
mod efi;
mod efivars;
mod erase;
mod esp;
mod fat;
mod fat_read;
mod fetch;
mod gpt;
mod hash;
mod http;
mod layout;
mod load_option;
mod mbr;
mod stage;
mod sys;
mod target;
mod url;
mod write;
mod writer;

#[cfg(test)]
mod testing;

use crate::context::StepContext;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::Written;
use ironbeat_common::order::WriteImage;
use std::path::Path;

/// Streams an image onto a disk: decoded, checked, and bootable only when all of it is there. Blocks until that is so.
///
/// # Errors
/// The disk is not the one meant, the image cannot be had, is damaged, or does not fit; in words, with what was expected.
/// As long as nothing was written the disk is as it was; from the first write to the last it does not boot.
pub fn write_image(order: &WriteImage, ctx: &StepContext<'_>) -> anyhow::Result<Written> {
    write::write_image(order, ctx, fetch::Limits::default())
}

/// Makes tables, RAID and volume labels and file-system signatures of these disks unreadable. Blocks until they are.
///
/// # Errors
/// A disk is not there, not the only one that fits, or in use: then none was touched. Or a write failed.
pub fn erase_metadata(disks: &[DiskIdentity], ctx: &StepContext<'_>) -> anyhow::Result<()> {
    erase::erase_metadata(disks, ctx)
}

/// Makes UEFI firmware boot this disk first, by an entry with this label. Blocks until the variables are written.
///
/// # Errors
/// The disk is not the one meant, has no EFI system partition or no boot loader in it, the machine did not boot by UEFI, or
/// the firmware refuses. No space for variables is no error when firmware finds the disk's fallback loader by itself.
pub fn set_boot_entry(
    disk: &DiskIdentity,
    label: &str,
    ctx: &StepContext<'_>,
) -> anyhow::Result<()> {
    efi::set_boot_entry(disk, label, ctx, Path::new("/sys/firmware/efi/efivars"))
}
