//! One open disk: direct writes, cheap and reliable zeros, reads, flush.
//! Choosing the disk is left to `target`, what to write where to `writer`, `commit` and `erase`.
use super::buffer::{ALIGN, BUFFER_BYTES, Buffer};
use anyhow::{Context, bail};
use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes zeroed per call: keeps cancellation quick on slow devices.
const ZERO_STEP_BYTES: u64 = 256 << 20;

pub struct Device {
    file: File,
    path: String,
    bytes: u64,
    sector: u32,
    /// Cleared when the device refuses direct writes, or refuses to zero ranges.
    direct: AtomicBool,
    zeroes: AtomicBool,
}

impl Device {
    /// Opens for exclusive use. `sector` is the logical sector as the inventory has it, in bytes; a block device reports its own.
    pub fn open(path: &str, sector: u32) -> io::Result<Self> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits() as i32)
                .open(path)
        };
        // Some file systems refuse O_DIRECT at the open; everything works without it, at half the speed.
        let (file, direct) = match open(OFlags::EXCL | OFlags::DIRECT) {
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                (open(OFlags::EXCL)?, false)
            }
            other => (other?, true),
        };
        Self::of(file, direct, path, sector)
    }

    /// Opens only to look: not exclusively, and writing fails.
    pub fn open_to_read(path: &str, sector: u32) -> io::Result<Self> {
        let open = |flags: OFlags| {
            let flags = flags.bits() as i32;
            OpenOptions::new().read(true).custom_flags(flags).open(path)
        };
        // Past the page cache, which may hold what was there before.
        let (file, direct) = match open(OFlags::DIRECT) {
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                (open(OFlags::empty())?, false)
            }
            other => (other?, true),
        };
        Self::of(file, direct, path, sector)
    }

    fn of(mut file: File, direct: bool, path: &str, sector: u32) -> io::Result<Self> {
        let is_block = file.metadata()?.file_type().is_block_device();
        let sector = if is_block {
            rustix::fs::ioctl_blksszget(&file)?
        } else {
            sector
        };
        if !sector.is_power_of_two() || !(512..=ALIGN as u32).contains(&sector) {
            return Err(io::Error::other(format!(
                "logical sectors of {sector} bytes are not supported"
            )));
        }
        let bytes = file.seek(SeekFrom::End(0))?;
        let (direct, zeroes) = (AtomicBool::new(direct), AtomicBool::new(true));
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
            sector,
            direct,
            zeroes,
        })
    }

    pub fn path(&self) -> &str {
        &self.path
    }
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Logical sector, in bytes: 512 to 4096, a power of two.
    pub fn sector(&self) -> u32 {
        self.sector
    }
    pub fn sectors(&self) -> u64 {
        self.bytes / u64::from(self.sector)
    }

    /// Writes a buffer (or an aligned part of one) at `offset`; both are multiples of the sector.
    pub fn write_aligned(&self, bytes: &[u8], offset: u64) -> anyhow::Result<()> {
        match self.file.write_all_at(bytes, offset) {
            Err(e)
                if e.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                    && self.direct.swap(false, Ordering::Relaxed) =>
            {
                tracing::warn!(
                    disk = self.path,
                    "the disk refuses direct writes: using the page cache"
                );
                fcntl_setfl(
                    &self.file,
                    fcntl_getfl(&self.file)?.difference(OFlags::DIRECT),
                )?;
                self.file.write_all_at(bytes, offset)
            }
            other => other,
        }
        .with_context(|| format!("writing {} bytes at {offset} of {}", bytes.len(), self.path))
    }

    /// Writes any bytes; `offset` and their number are multiples of the sector.
    pub fn write(&self, mut bytes: &[u8], mut offset: u64) -> anyhow::Result<()> {
        let mut buffer = Buffer::new();
        while !bytes.is_empty() {
            let count = buffer.append(bytes);
            self.write_aligned(buffer.filled(), offset)?;
            buffer.clear();
            (bytes, offset) = (&bytes[count..], offset + count as u64);
        }
        Ok(())
    }

    /// Reads `count` bytes; `offset` and `count` are multiples of the sector.
    pub fn read(&self, offset: u64, count: usize) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(count);
        let mut buffer = Buffer::new();
        while out.len() < count {
            let at = offset + out.len() as u64;
            let piece = (count - out.len()).min(BUFFER_BYTES);
            self.file
                .read_exact_at(&mut buffer.room()[..piece], at)
                .with_context(|| format!("reading {piece} bytes at {at} of {}", self.path))?;
            out.extend_from_slice(&buffer.room()[..piece]);
        }
        Ok(out)
    }

    /// Makes a range, in bytes and whole sectors, read as zeros.
    ///
    /// Punching a hole into a block device either makes it read as zeros cheaply or says that it cannot (the kernel's
    /// `BLKDEV_ZERO_NOFALLBACK`). A discard promises no zeros, and `BLKZEROOUT` may write for hours without saying so.
    pub fn zero(&self, range: Range<u64>, cancelled: &AtomicBool) -> anyhow::Result<()> {
        let mut at = range.start;
        while at < range.end {
            if cancelled.load(Ordering::Relaxed) {
                bail!("cancelled while zeroing {}", self.path);
            }
            if self.zeroes.load(Ordering::Relaxed) {
                let count = (range.end - at).min(ZERO_STEP_BYTES);
                match fallocate(
                    &self.file,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    at,
                    count,
                ) {
                    Ok(()) => at += count,
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => {
                        self.zeroes.store(false, Ordering::Relaxed);
                    }
                    Err(e) => {
                        return Err(e).with_context(|| {
                            format!("zeroing {count} bytes at {at} of {}", self.path)
                        });
                    }
                }
            } else {
                let mut zeros = Buffer::new();
                zeros.advance((range.end - at).min(BUFFER_BYTES as u64) as usize);
                self.write_aligned(zeros.filled(), at)?;
                at += zeros.filled().len() as u64;
            }
        }
        Ok(())
    }

    /// Returns when all that was written is on the medium.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.file
            .sync_all()
            .with_context(|| format!("flushing {}", self.path))
    }

    /// Asks the kernel to reread the partition table. Nothing here depends on it, so a refusal is only logged.
    pub fn reread_partitions(&self) {
        if let Err(e) = super::sys::reread_partitions(&self.file) {
            tracing::debug!(disk = self.path, error = %e, "the kernel did not reread the partition table");
        }
    }

    #[cfg(test)]
    pub fn without_tricks(self) -> Self {
        self.zeroes.store(false, Ordering::Relaxed);
        self
    }
}
