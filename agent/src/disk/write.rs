//! Carries an image from its URLs to the disk: downloads and hashes here, decodes and writes on threads of their own.
//! The parts that make the disk bootable are held back by `writer` and written by `commit`.
use super::buffer::{self, Buffer, Filler, Gone};
use super::device::Device;
use super::fetch::{Download, Limits, Snag};
use super::hash::Hasher;
use super::stage::Stop;
use super::writer::{Held, Writer};
use super::{commit, config_drive, decode, target};
use crate::context::StepContext;
use crate::web::way::Web;
use anyhow::{anyhow, bail};
use ironbeat_common::heartbeat::{Progress, Written};
use ironbeat_common::image::ImageFormat;
use ironbeat_common::order::WriteImage;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Buffers of 1 MiB between two stages: one being filled, one being emptied, two to even out their rates.
const PIPE_BUFFERS: usize = 4;
/// More than what gzip and zstd add to what they cannot pack: five bytes to 64 KiB, three to 128 KiB.
const PACKED_MORE: u64 = 1000;
/// How often progress is reported during the last writes.
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub fn write_image(
    order: &WriteImage,
    ctx: &StepContext<'_>,
    web: &Web,
    limits: Limits,
) -> anyhow::Result<Written> {
    let started = Instant::now();
    let device = target::open(&order.disk, &(ctx.disks)())?;
    let drive = config_drive::build(&order.config_drive, device.sector())?;
    let on_snag = |snag| match snag {
        // It changes with each wait, so the step does not look hung.
        Snag::InLine { waited } => report(ctx, "wait in line", waited.as_secs(), None),
        Snag::Broken {
            position,
            total,
            why,
        } => (ctx.progress)(Progress {
            trouble: Some(why),
            ..progress("download", position, total)
        }),
    };
    let mut download = Download::open(web, &order.urls, limits, ctx.cancelled, &on_snag)?;
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
    report(ctx, "commit", image_bytes, Some(image_bytes));
    commit::commit(&device, held, drive.as_deref())?;
    Ok(Written {
        image_bytes,
        millis: started.elapsed().as_millis() as u64,
        resumed: download.resumed(),
        collisions: Vec::new(),
    })
}

fn report(ctx: &StepContext<'_>, phase: &str, done: u64, total: Option<u64>) {
    (ctx.progress)(progress(phase, done, total));
}

fn progress(phase: &str, done: u64, total: Option<u64>) -> Progress {
    Progress {
        phase: phase.to_owned(),
        done,
        total,
        trouble: None,
    }
}

/// Downloads, writes, flushes and verifies the image, except for its head and tail.
fn transfer(
    order: &WriteImage,
    ctx: &StepContext<'_>,
    device: &Device,
    drive: Option<&[u8]>,
    download: &mut Download<'_>,
) -> anyhow::Result<Held> {
    let written = AtomicU64::new(0);
    let damaged = AtomicBool::new(false);
    // Set before a stage drops its pipes: a neighbour that finds the pipe broken can rely on it.
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
                let run = move || decode::decode(format, &drain, &output).inspect_err(note);
                (Some(scope.spawn(run)), next)
            }
        };
        let (written, damaged, note) = (&written, &damaged, &note);
        let writer = scope.spawn(move || {
            let writer = Writer::new(device, drive, ctx.cancelled, written);
            writer.run(&drain).inspect_err(note)
        });
        let mut hasher = Hasher::new(&order.checksum);
        let fetched = fetch(order, device, ctx, download, &mut hasher, filler, damaged);
        let size = download.position();
        while !writer.is_finished() {
            report(ctx, "write", written.load(Ordering::Relaxed), None);
            thread::park_timeout(REPORT_EVERY);
        }
        let wrote = writer.join().expect("the writing stage does not panic");
        let decoded = decoder.map_or(Ok(()), |thread| {
            thread.join().expect("the decoding stage does not panic")
        });

        // The stage nearest to the disk has the cause; a stage that only lost its neighbour says so.
        let damage = match (wrote, decoded) {
            (Err(Stop::Failed(e)), _) | (_, Err(Stop::Failed(e))) => return Err(e),
            (wrote, decoded) => {
                fetched?;
                match (wrote, decoded) {
                    (_, Err(Stop::Damaged(e))) | (Err(Stop::Damaged(e)), _) => Err(e),
                    (Ok(held), Ok(())) => Ok(held),
                    _ => bail!("a stage of the image write stopped without a reason"),
                }
            }
        };
        report(ctx, "verify", size, Some(size));
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

/// Refuses a packed image whose head says that the disk is too small, before the disk is touched. gzip does not say it: the
/// size at its end counts modulo 4 GiB, and only the last member of several.
fn check_room(order: &WriteImage, device: &Device, head: &[u8]) -> anyhow::Result<()> {
    let unpacked = match order.format {
        ImageFormat::Zstd => decode::zstd_bytes(head),
        ImageFormat::Raw | ImageFormat::Gzip => None,
    };
    match unpacked {
        Some(bytes) if bytes > device.bytes() => bail!(
            "the image has {bytes} bytes unpacked, {} has {}",
            device.path(),
            device.bytes()
        ),
        Some(_) | None => Ok(()),
    }
}

/// Downloads and hashes to the end. When a later stage says that the image is damaged, the rest is still hashed: a
/// wrong checksum explains it better.
fn fetch(
    order: &WriteImage,
    device: &Device,
    ctx: &StepContext<'_>,
    download: &mut Download<'_>,
    hasher: &mut Hasher,
    filler: Filler,
    damaged: &AtomicBool,
) -> anyhow::Result<()> {
    let mut filler = Some(filler);
    let mut first = true;
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
        if first {
            check_room(order, device, buffer.filled())?;
            first = false;
        }
        hasher.update(buffer.filled());
        // Nothing else ends it: what is damaged is hashed to its end, and a server need not say where that is.
        let most = device.bytes() + device.bytes() / PACKED_MORE + buffer::BUFFER_BYTES as u64;
        if download.position() > most {
            bail!(
                "the image does not end: {} bytes came, and {} has {}",
                download.position(),
                device.path(),
                device.bytes()
            );
        }
        report(ctx, "download", download.position(), download.total());
        if let Some(open) = filler.take() {
            if !buffer.is_empty() && open.send(buffer).is_err() && !damaged.load(Ordering::SeqCst) {
                return Ok(());
            }
            if ended {
                // If the stage is gone, joining it tells why.
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

#[cfg(test)]
mod tests;
