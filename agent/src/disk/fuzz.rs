//! Entrances to the readers of what lies on disks and comes in images, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
use super::buffer::pipe;
use super::decode;
use super::fat_read::Fat;
use super::filesystem;
use super::gpt::{self, Gpt};
use super::layout::{self, Disk};
use super::load_option;
use super::mbr::{self, Mbr};
use super::stage::Stop;
use ironbeat_common::image::ImageFormat;
use std::cell::Cell;
use std::io;
use uuid::Uuid;

const MIB: u64 = 1 << 20;
/// What an image may unpack to here: it says how much it is, and a bomb is not waited for.
const MAX_UNPACKED_MIB: usize = 8;
/// Reads of one volume. A walk of the agent has more, of larger blocks.
const MAX_READS: u32 = 4096;

/// A GUID partition table, from the first sector of a disk on; fitted to another disk, with one partition more.
pub fn gpt(bytes: &[u8]) -> bool {
    let Ok(mut gpt) = Gpt::parse(bytes, 0, 1, 512) else {
        return false;
    };
    for part in gpt.partitions() {
        assert!(part.first <= part.last, "{part:?}");
    }
    let stale = gpt.stale_backup();
    assert!(stale.start <= stale.end, "{stale:?}");
    if gpt.fit(1 << 16).is_ok() {
        let added = gpt.add_last(gpt::BASIC_DATA, Uuid::nil(), "config-2", 2048, 2048);
        assert!(added.is_err() || !gpt.partitions().is_empty());
        for (_, bytes) in gpt.primary().iter().chain(&gpt.backup()) {
            assert_eq!(bytes.len() % 512, 0);
        }
    }
    true
}

/// A boot sector with a partition table.
pub fn mbr(bytes: &[u8]) -> bool {
    let Some(mut mbr) = Mbr::parse(bytes) else {
        return false;
    };
    let end = mbr.end_of_partitions();
    if let Ok(place) = mbr.add_last(mbr::FAT_LBA, 2048, 1 << 24, 512, 2048) {
        assert!(place.start >= end, "{place:?} before {end}");
    }
    mbr.protect(1 << 24);
    true
}

/// The first bytes of an image that is to be written, for disks with sectors of 512 and of 4096 bytes.
pub fn layout(bytes: &[u8]) -> bool {
    let drive = vec![0; MIB as usize];
    let mut understood = false;
    for sector in [512, 4096] {
        let disk = Disk {
            bytes: 64 * MIB,
            sector,
        };
        let plan = layout::plan(bytes, &disk, Some(&drive), Some(MIB));
        // What cannot go onto this disk was understood all the same.
        understood |= matches!(plan, Ok(_) | Err(Stop::Failed(_)));
        if let Ok(layout) = plan {
            assert!(layout.covered_bytes <= disk.bytes, "{layout:?}");
            for (at, part) in layout.head.iter().chain(&layout.backup) {
                assert!(at + part.len() as u64 <= disk.bytes, "{at}");
            }
            let end = layout.drive_at.map_or(0, |at| at + MIB);
            assert!(end <= disk.bytes, "the config drive ends at {end}");
        }
    }
    understood
}

/// A FAT volume, walked three folders deep.
pub fn fat(bytes: &[u8]) -> bool {
    let reads = Cell::new(0);
    let read = |at: u64, count: usize| {
        reads.set(reads.get() + 1);
        if reads.get() > MAX_READS {
            return Err(io::Error::other("more than any loader needs"));
        }
        let from = usize::try_from(at).ok();
        let there = from.and_then(|from| bytes.get(from..from.checked_add(count)?));
        let there = there.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(there.to_vec())
    };
    let Ok(fat) = Fat::open(&read) else {
        return false;
    };
    let root = fat.root().unwrap_or_default();
    let below = root.iter().filter_map(|entry| fat.folder(entry).ok());
    for entry in below.flatten() {
        drop(fat.folder(&entry));
    }
    !root.is_empty()
}

/// The first bytes of a file system.
pub fn filesystem(bytes: &[u8]) -> bool {
    let Some(found) = filesystem::read(bytes) else {
        return false;
    };
    for text in [found.uuid, found.label].into_iter().flatten() {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    filesystem::is_config_drive(bytes);
    true
}

/// The bytes of a `Boot####` variable.
pub fn load_option(bytes: &[u8]) -> bool {
    let known = load_option::read(bytes);
    known.is_some_and(|known| {
        assert!(load_option::cut_label(&known.label).len() <= known.label.len());
        true
    })
}

/// A gzip image.
pub fn gzip(bytes: &[u8]) -> bool {
    unpack(ImageFormat::Gzip, bytes)
}

/// A zstd image, and what its first frame says of its size.
pub fn zstd(bytes: &[u8]) -> bool {
    decode::zstd_bytes(bytes);
    unpack(ImageFormat::Zstd, bytes)
}

fn unpack(format: ImageFormat, bytes: &[u8]) -> bool {
    let ((filler, input), (output, drain)) = (pipe(2), pipe(2));
    // The end has room beside one buffer.
    let Ok(mut buffer) = filler.spare() else {
        return false;
    };
    buffer.append(bytes);
    if filler.send(buffer).is_err() || filler.end().is_err() {
        return false;
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..MAX_UNPACKED_MIB {
                match drain.next() {
                    Ok(Some(buffer)) => drain.give_back(buffer),
                    Ok(None) | Err(_) => break,
                }
            }
        });
        let unpacked = decode::decode(format, &input, &output);
        // The other end waits for more as long as this one is there.
        drop(output);
        unpacked.is_ok()
    })
}
