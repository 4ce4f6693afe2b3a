//! The way of an image from its URLs to the disk: download and checksum, decoding, writing, each on a thread of its own.
//! What makes the disk bootable is held back here and written by `commit`.
use super::buffer::{self, BUFFER_BYTES, Buffer, Drain, Filler, Gone};
use super::device::Device;
use super::fetch::{Download, Limits};
use super::hash::Hasher;
use super::layout::{self, HEAD_BYTES, Layout};
use super::{commit, config_drive, decode, erase, target};
use crate::steps::StepContext;
use anyhow::{anyhow, bail};
use ironbeat_common::wire::{ImageFormat, Progress, WriteImage, Written};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Buffers of 1 MiB between two stages: one being filled, one being emptied, two to even out their rates.
const PIPE_BUFFERS: usize = 4;
/// Bytes at the end of the disk that are written last, because a backup GPT is there.
const TAIL_BYTES: u64 = 1 << 20;
/// How often the progress is told while the last writes go out.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Why a stage stopped.
#[derive(Debug)]
pub enum Stop {
    /// The stage before or after it stopped; that one knows why.
    Neighbour,
    /// The image makes no sense. If its checksum is wrong too, that is the better explanation.
    Damaged(anyhow::Error),
    Failed(anyhow::Error),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Stop::Neighbour
    }
}

/// What was held back, and what is known of the image after it was read to its end.
pub struct Held {
    pub head: Buffer,
    /// The image's bytes from `tail_at` on, if it reaches that far.
    pub tail: Vec<u8>,
    pub tail_at: u64,
    pub image_bytes: u64,
    pub layout: Layout,
}

pub fn write_image(
    order: &WriteImage,
    ctx: &StepContext<'_>,
    limits: Limits,
) -> anyhow::Result<Written> {
    let started = Instant::now();
    let device = target::open(&order.disk, &(ctx.disks)())?;
    let drive = config_drive::build(&order.config_drive, device.sector())?;
    let mut download = Download::open(&order.urls, limits, ctx.cancelled)?;
    if let Some(total) = download.total()
        && order.format == ImageFormat::Raw
        && total > device.bytes()
    {
        bail!(
            "the image has {total} bytes, {} has {}",
            device.path(),
            device.bytes()
        );
    }
    let held = transfer(order, ctx, &device, drive.as_deref(), &mut download)?;
    let image_bytes = held.image_bytes;
    tell(ctx, "commit", image_bytes, Some(image_bytes));
    commit::commit(&device, held, drive.as_deref())?;
    Ok(Written {
        image_bytes,
        millis: started.elapsed().as_millis() as u64,
        resumed: download.resumed(),
    })
}

fn tell(ctx: &StepContext<'_>, phase: &str, done: u64, total: Option<u64>) {
    (ctx.progress)(Progress {
        phase: phase.to_owned(),
        done,
        total,
    });
}

/// Everything up to the verified and flushed image without its head and tail.
fn transfer(
    order: &WriteImage,
    ctx: &StepContext<'_>,
    device: &Device,
    drive: Option<&[u8]>,
    download: &mut Download<'_>,
) -> anyhow::Result<Held> {
    let written = AtomicU64::new(0);
    let damaged = AtomicBool::new(false);
    let note = |stop: &Stop| {
        if let Stop::Damaged(_) = stop {
            damaged.store(true, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let (filler, drain) = buffer::pipe(PIPE_BUFFERS);
        let (decoder, drain) = match order.format {
            ImageFormat::Raw => (None, drain),
            format => {
                let (output, next) = buffer::pipe(PIPE_BUFFERS);
                let run = move || decode::decode(format, drain, output).inspect_err(note);
                (Some(scope.spawn(run)), next)
            }
        };
        let (written, damaged, note) = (&written, &damaged, &note);
        let writer = scope.spawn(move || {
            let writer = Writer::new(device, drive, ctx.cancelled, written);
            writer.run(drain).inspect_err(note)
        });
        let mut hasher = Hasher::new(&order.checksum);
        let fetched = fetch(ctx, download, &mut hasher, filler, damaged);
        let size = download.position();
        while !writer.is_finished() {
            tell(ctx, "write", written.load(Ordering::Relaxed), None);
            thread::park_timeout(TELL_EVERY);
        }
        let wrote = writer.join().expect("the writing stage does not panic");
        let decoded = decoder.map_or(Ok(()), |thread| {
            thread.join().expect("the decoding stage does not panic")
        });

        // The cause is nearest to the disk: a stage that only lost its neighbour says so.
        let damage = match (wrote, decoded) {
            (Err(Stop::Failed(e)), _) | (_, Err(Stop::Failed(e))) => return Err(e),
            (wrote, decoded) => {
                fetched?;
                match (wrote, decoded) {
                    (_, Err(Stop::Damaged(e))) | (Err(Stop::Damaged(e)), _) => Err(e),
                    (Ok(held), Ok(())) => Ok(held),
                    _ => bail!("a stage of the image's way stopped without a reason"),
                }
            }
        };
        tell(ctx, "verify", size, Some(size));
        match (hasher.check(&order.checksum), damage) {
            (Err(wrong), Ok(_)) => Err(anyhow!(wrong)),
            (Err(wrong), Err(damage)) => Err(damage.context(wrong)),
            (Ok(()), Err(damage)) => {
                Err(damage.context("the image has the right checksum, but cannot be used"))
            }
            (Ok(()), Ok(held)) => Ok(held),
        }
    })
}

/// Downloads and hashes to the end. When a later stage says that the image is damaged, the rest is hashed all the same: a
/// wrong checksum is the truer reason.
fn fetch(
    ctx: &StepContext<'_>,
    download: &mut Download<'_>,
    hasher: &mut Hasher,
    filler: Filler,
    damaged: &AtomicBool,
) -> anyhow::Result<()> {
    let mut filler = Some(filler);
    loop {
        let mut buffer = match filler.as_ref().map(Filler::spare) {
            Some(Ok(buffer)) => buffer,
            Some(Err(Gone)) if !damaged.load(Ordering::SeqCst) => return Ok(()),
            Some(Err(Gone)) | None => {
                filler = None;
                Buffer::new()
            }
        };
        let mut ended = false;
        while !buffer.is_full() && !ended {
            let count = download.read(buffer.room())?;
            ended = count == 0;
            buffer.advance(count);
        }
        hasher.update(buffer.filled());
        tell(ctx, "download", download.position(), download.total());
        if let Some(open) = filler.take() {
            if !buffer.is_empty() && open.send(buffer).is_err() && !damaged.load(Ordering::SeqCst) {
                return Ok(());
            }
            if ended {
                // A stage that is gone by now is found out when it is joined.
                let _ = open.end();
            } else {
                filler = Some(open);
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// The last stage: everything goes to its place at once, except head and tail.
struct Writer<'a> {
    device: &'a Device,
    drive: Option<&'a [u8]>,
    cancelled: &'a AtomicBool,
    written: &'a AtomicU64,
    held: Option<Held>,
    position: u64,
    /// Zeros up to `position` that are still to be made, from here.
    zeros_from: u64,
}

impl<'a> Writer<'a> {
    fn new(
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

    fn run(mut self, drain: Drain) -> Result<Held, Stop> {
        while let Some(mut buffer) = drain.next()? {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Failed(anyhow!(
                    "given up while writing {}",
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

    /// With the head in hand everything is decided; only then is the disk touched for the first time.
    fn begin(&mut self, mut head: Buffer) -> Result<(), Stop> {
        let device = self.device;
        let disk = layout::Disk {
            bytes: device.bytes(),
            sector: device.sector(),
        };
        let layout = layout::plan(head.filled(), &disk, self.drive)?;
        let image_bytes = head.filled().len() as u64;
        self.check_room(image_bytes).map_err(Stop::Failed)?;
        erase::wipe(device, self.cancelled).map_err(Stop::Failed)?;
        let tail_at =
            device.bytes().saturating_sub(TAIL_BYTES) / buffer::ALIGN as u64 * buffer::ALIGN as u64;
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

    /// Whole zero buffers are not written: the device makes the zeros, in one request for all that follow each other.
    fn make_zeros(&mut self, end: u64) -> anyhow::Result<()> {
        if self.zeros_from < end {
            self.device.zero(self.zeros_from..end, self.cancelled)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Held, Stop> {
        let Some(held) = self.held.take() else {
            return Err(Stop::Damaged(anyhow!("the image is empty")));
        };
        let covered = held
            .layout
            .covered_bytes
            .max(self.position)
            .min(held.tail_at);
        self.make_zeros(covered)
            .and_then(|()| self.device.flush())
            .map_err(Stop::Failed)?;
        Ok(held)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Comparing is the fastest loop there is, whatever this crate is optimised for.
    static ZEROS: [u8; 1024] = [0; 1024];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| *piece == ZEROS[..piece.len()])
}

const _: () = assert!(HEAD_BYTES == BUFFER_BYTES, "the first buffer is the head");

#[cfg(test)]
#[path = "tests/write.rs"]
mod tests;
