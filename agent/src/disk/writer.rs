//! The last stage of a write: writes every byte at once, except those that would make the disk bootable.
//! Writing those is left to `commit`.
use super::buffer::{ALIGN, BUFFER_BYTES, Buffer, Drain};
use super::device::Device;
use super::erase;
use super::filesystem;
use super::layout::{self, HEAD_BYTES, Layout};
use super::stage::Stop;
use anyhow::{anyhow, bail};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes at the end of the disk that are written last, because a backup GPT is there.
pub const TAIL_BYTES: u64 = 1 << 20;

/// The parts held back, and what is known of the image at its end.
pub struct Held {
    pub head: Buffer,
    /// The image's bytes from `tail_at` on, if it reaches that far.
    pub tail: Vec<u8>,
    pub tail_at: u64,
    pub image_bytes: u64,
    pub layout: Layout,
}

/// Writes everything but head and tail.
pub struct Writer<'a> {
    device: &'a Device,
    drive: Option<&'a [u8]>,
    cancelled: &'a AtomicBool,
    written: &'a AtomicU64,
    held: Option<Held>,
    position: u64,
    /// From here to `position` zeros are still to be written.
    zeros_from: u64,
}

impl<'a> Writer<'a> {
    pub fn new(
        device: &'a Device,
        drive: Option<&'a [u8]>,
        cancelled: &'a AtomicBool,
        written: &'a AtomicU64,
    ) -> Self {
        Self {
            device,
            drive,
            cancelled,
            written,
            held: None,
            position: 0,
            zeros_from: 0,
        }
    }

    pub fn run(mut self, drain: &Drain) -> Result<Held, Stop> {
        while let Some(mut buffer) = drain.next()? {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Failed(anyhow!(
                    "cancelled while writing {}",
                    self.device.path()
                )));
            }
            match &mut self.held {
                None => {
                    self.begin(buffer)?;
                    buffer = Buffer::new();
                }
                Some(held) => {
                    held.image_bytes += buffer.filled().len() as u64;
                    self.take(&mut buffer).map_err(Stop::Failed)?;
                }
            }
            self.written.store(self.position, Ordering::Relaxed);
            drain.give_back(buffer);
        }
        self.finish()
    }

    /// Plans everything from the head before the disk is touched for the first time.
    fn begin(&mut self, mut head: Buffer) -> Result<(), Stop> {
        let device = self.device;
        let layout = self.plan(head.filled(), None)?;
        let image_bytes = head.filled().len() as u64;
        self.check_room(image_bytes).map_err(Stop::Failed)?;
        erase::wipe(device, self.cancelled).map_err(Stop::Failed)?;
        let tail_at = device.bytes().saturating_sub(TAIL_BYTES) / ALIGN as u64 * ALIGN as u64;
        head.pad(device.sector() as usize);
        self.position = image_bytes.max(HEAD_BYTES as u64);
        self.zeros_from = self.position;
        self.held = Some(Held {
            head,
            tail: Vec::new(),
            tail_at: tail_at.max(self.position),
            image_bytes,
            layout,
        });
        Ok(())
    }

    fn plan(&self, head: &[u8], labelled: Option<u64>) -> Result<Layout, Stop> {
        let disk = layout::Disk {
            bytes: self.device.bytes(),
            sector: self.device.sector(),
        };
        layout::plan(head, &disk, self.drive, labelled)
    }

    fn take(&mut self, buffer: &mut Buffer) -> anyhow::Result<()> {
        buffer.pad(self.device.sector() as usize);
        let bytes = buffer.filled();
        let end = self.position + bytes.len() as u64;
        self.check_room(end)?;
        let held = self.held.as_mut().expect("take comes after begin");
        let now = held
            .tail_at
            .saturating_sub(self.position)
            .min(bytes.len() as u64) as usize;
        let (now, later) = bytes.split_at(now);
        held.tail.extend_from_slice(later);
        if is_zero(now) {
            self.position = end;
            return Ok(());
        }
        self.make_zeros(self.position)?;
        self.device.write_aligned(now, self.position)?;
        self.position = end;
        self.zeros_from = end;
        Ok(())
    }

    fn check_room(&self, bytes: u64) -> anyhow::Result<()> {
        if bytes > self.device.bytes() {
            bail!(
                "the image is larger than {}, which has {} bytes",
                self.device.path(),
                self.device.bytes()
            );
        }
        Ok(())
    }

    /// Buffers of zeros are not written: the device makes the zeros, in one request for adjacent ones.
    fn make_zeros(&mut self, end: u64) -> anyhow::Result<()> {
        if self.zeros_from < end {
            self.device.zero(self.zeros_from..end, self.cancelled)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Held, Stop> {
        let Some(mut held) = self.held.take() else {
            return Err(Stop::Damaged(anyhow!("the image is empty")));
        };
        let covered = held
            .layout
            .covered_bytes
            .max(self.position)
            .min(held.tail_at);
        self.make_zeros(covered).map_err(Stop::Failed)?;
        if self.drive.is_some()
            && let Some(labelled) = self.labelled_drive(&held).map_err(Stop::Failed)?
        {
            held.layout = self.plan(held.head.filled(), Some(labelled))?;
        }
        self.device.flush().map_err(Stop::Failed)?;
        Ok(held)
    }

    /// Where a partition of the image begins that is a config drive by its label.
    fn labelled_drive(&self, held: &Held) -> anyhow::Result<Option<u64>> {
        for part in &held.layout.partitions {
            let end = part.end.min(self.device.bytes());
            let count = end
                .saturating_sub(part.start)
                .min(filesystem::LOOK_BYTES as u64) as usize;
            let mut start = self.device.read(part.start, count)?;
            // What is held back is not on the disk yet.
            for (at, bytes) in [(0, held.head.filled()), (held.tail_at, &held.tail[..])] {
                overlay(&mut start, part.start, bytes, at);
            }
            if filesystem::is_config_drive(&start) {
                return Ok(Some(part.start));
            }
        }
        Ok(None)
    }
}

/// Lays `bytes`, which belong at `bytes_at`, over what begins at `at`.
fn overlay(place: &mut [u8], at: u64, bytes: &[u8], bytes_at: u64) {
    let from = at.max(bytes_at);
    let end = (at + place.len() as u64).min(bytes_at + bytes.len() as u64);
    if from < end {
        let count = (end - from) as usize;
        let (to, from) = ((from - at) as usize, (from - bytes_at) as usize);
        place[to..to + count].copy_from_slice(&bytes[from..from + count]);
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Comparing slices is fast even when the crate is optimised for size.
    static ZEROS: [u8; 1024] = [0; 1024];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| *piece == ZEROS[..piece.len()])
}

const _: () = assert!(HEAD_BYTES == BUFFER_BYTES, "the first buffer is the head");

#[cfg(test)]
mod tests {
    use super::{is_zero, overlay};

    #[test]
    fn bytes_are_laid_over_what_they_belong_to() {
        for (bytes_at, expected) in [
            (0, [0, 0, 0, 0]),
            (8, [3, 0, 0, 0]),
            (10, [1, 2, 3, 0]),
            (13, [0, 0, 0, 1]),
            (14, [0, 0, 0, 0]),
        ] {
            let mut place = [0; 4];
            overlay(&mut place, 10, &[1, 2, 3], bytes_at);
            assert_eq!(place, expected, "{bytes_at}");
        }
    }

    #[test]
    fn zeros_are_recognised() {
        for len in [0, 1, 1023, 1024, 1025, 4096, 100_000] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in [0, len / 2, len.saturating_sub(1)]
                .into_iter()
                .filter(|at| *at < len)
            {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "byte {at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
