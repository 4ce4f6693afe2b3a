//! The final writes of an image: config drive, backup table, then the head that makes the disk bootable, all read back.
//! They were planned in `layout`; `writer` has written and flushed the rest.
use super::device::Device;
use super::erase;
use super::writer::Held;
use anyhow::{Context, bail};
use std::sync::atomic::AtomicBool;

/// Bytes at the very start, MBR and GPT header, written last and in one write, which devices carry out whole.
const FIRST_BYTES: usize = 4096;

/// Cannot be cancelled: it takes only a few writes.
///
/// # Errors
/// A write failed or read back differently. Then the disk was made unbootable again, or the error says that this failed
/// too.
pub fn commit(device: &Device, held: Held, drive: Option<&[u8]>) -> anyhow::Result<()> {
    let done = write_rest(device, held, drive).context("making the disk bootable");
    if done.is_err() {
        erase::wipe_ends(device).context("a disk with half a table could not be wiped either")?;
    }
    device.reread_partitions();
    done
}

fn write_rest(device: &Device, mut held: Held, drive: Option<&[u8]>) -> anyhow::Result<()> {
    let never = AtomicBool::new(false);
    for (at, bytes) in &held.layout.head {
        let at = *at as usize;
        let place = held.head.filled_mut().get_mut(at..at + bytes.len());
        place
            .context("the image ends within its own partition table")?
            .copy_from_slice(bytes);
    }
    device.write(&held.tail, held.tail_at)?;
    let image_end = held.image_bytes.next_multiple_of(device.sector().into());
    let stale = held.layout.stale.start.max(held.head.filled().len() as u64)
        ..held.layout.stale.end.min(image_end);
    if !stale.is_empty() {
        device.zero(stale, &never)?;
    }
    let mut written: Vec<(u64, &[u8])> = Vec::new();
    if let (Some(at), Some(drive)) = (held.layout.drive_at, drive) {
        written.push((at, drive));
    }
    let (first, rest) = held
        .head
        .filled()
        .split_at(FIRST_BYTES.min(held.head.filled().len()));
    written.push((FIRST_BYTES as u64, rest));
    written.extend(
        held.layout
            .backup
            .iter()
            .map(|(at, bytes)| (*at, bytes.as_slice())),
    );
    for (at, bytes) in &written {
        device.write(bytes, *at)?;
    }
    device.flush()?;
    device.write(first, 0)?;
    device.flush()?;
    written.push((0, first));
    for (at, bytes) in &written {
        if device.read(*at, bytes.len())? != *bytes {
            bail!(
                "{} returns other bytes than were written at {at}",
                device.path()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
