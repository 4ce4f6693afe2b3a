//! What the agent does to disks: writes images, sets boot entries, erases old metadata.
//! Which disk, and when, is the conductor's decision.
mod buffer;
mod collisions;
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
pub(crate) mod fetch;
mod filesystem;
pub mod fuzz;
mod gpt;
pub(crate) mod hash;
mod layout;
mod load_option;
mod mbr;
mod stage;
mod sys;
mod target;
mod write;
mod writer;

#[cfg(test)]
mod testing;

use crate::context::StepContext;
use crate::web::way::Web;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::Written;
use ironbeat_common::order::WriteImage;
use std::path::Path;
use std::time::Duration;

/// Streams an image onto a disk: decoded, checked, and bootable only when all of it is there. Then it looks whether another
/// disk may be taken for this one. Blocks until then.
///
/// # Errors
/// The disk is not the one meant, the image cannot be had, is damaged, or does not fit; in words, with what was expected.
/// Until the first write the disk is untouched; from then to the last write it does not boot.
pub fn write_image(
    order: &WriteImage,
    ctx: &StepContext<'_>,
    web: &Web,
) -> anyhow::Result<Written> {
    let hung = Duration::from_secs(order.stall_secs.into());
    let mut written = write::write_image(order, ctx, web, fetch::Limits::within(hung))?;
    written.collisions = collisions::look(order, ctx);
    Ok(written)
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
/// the firmware refuses. That is not an error if the disk has a fallback loader.
pub fn set_boot_entry(
    disk: &DiskIdentity,
    label: &str,
    ctx: &StepContext<'_>,
) -> anyhow::Result<()> {
    efi::set_boot_entry(disk, label, ctx, Path::new("/sys/firmware/efi/efivars"))
}
