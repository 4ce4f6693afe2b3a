//! Other disks that firmware may boot instead of the one just written, or whose ids the new system may take for its own: finds
//! them, and makes those harmless that it is told to. Tables are read by `gpt` and `mbr`, file systems by `filesystem`.
use super::device::Device;
use super::erase;
use super::esp::{self, Patience};
use super::filesystem::{self, FileSystem, LOOK_BYTES};
use super::gpt::{self, Gpt};
use super::mbr::{self, Mbr};
use super::target;
use crate::context::StepContext;
use crate::random;
use anyhow::{Context, bail};
use ironbeat_common::collision::{Clash, Collision, Fate, MAX_COLLISIONS};
use ironbeat_common::disk::{DiskIdentity, are_paths, distinct};
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::inventory::Disk;
use ironbeat_common::order::WriteImage;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// Bytes at the start of a disk that hold any table we read.
const TABLE_BYTES: u64 = 1 << 20;
/// Partitions considered of one disk; the usual table has 128 entries.
const MAX_PARTITIONS: usize = 128;

/// What can be in the way on one disk.
struct Survey {
    mbr: Option<Mbr>,
    /// From the primary copy; otherwise from the backup, which firmware uses and puts back. None beside an MBR that has
    /// partitions of its own alone: then a copy is what an earlier table left.
    gpt: Option<Gpt>,
    gpt_is_primary: bool,
    places: Vec<Place>,
}

/// A partition, or the disk as a whole.
struct Place {
    /// None: the disk.
    number: Option<u32>,
    bytes: Range<u64>,
    guid: Option<Uuid>,
    loader: Option<String>,
    holds: FileSystem,
}

/// What clashes, by place.
type Found = Vec<(Option<u32>, Vec<Clash>)>;

/// Looks at all disks but the one that was written. Nothing here fails the step: the image is on its disk, and a disk that
/// cannot be read cannot be booted.
pub fn look(order: &WriteImage, ctx: &StepContext<'_>) -> Vec<Collision> {
    let disks = (ctx.disks)();
    let Some(ours) = disks.iter().find(|disk| order.disk.is(disk)) else {
        return Vec::new();
    };
    let own = match Device::open_to_read(&ours.name, ours.logical_sector_bytes)
        .with_context(|| format!("opening {}", ours.name))
        .and_then(|device| survey(&device, ctx.cancelled))
    {
        Ok(own) => own,
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "the disk cannot be compared with others"
            );
            return Vec::new();
        }
    };
    let is_other = |disk: &&Disk| {
        !order.disk.is(disk) && !are_paths(ours, disk) && disk.size_bytes >= TABLE_BYTES
    };
    let others = distinct(disks.iter().filter(is_other));
    let mut collisions = Vec::new();
    for (done, disk) in others.iter().enumerate() {
        if ctx.cancelled.load(Ordering::Relaxed) {
            break;
        }
        (ctx.progress)(Progress {
            phase: "other disks".to_owned(),
            done: done as u64,
            total: Some(others.len() as u64),
        });
        match look_at(&own, disk, &disks, &order.neutralise, ctx.cancelled) {
            Ok(found) => collisions.extend(found),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a disk cannot be looked at");
            }
        }
    }
    collisions.truncate(MAX_COLLISIONS);
    for collision in &collisions {
        tracing::warn!(%collision, "another disk may be taken for this one");
    }
    collisions
}

fn look_at(
    own: &Survey,
    disk: &Disk,
    disks: &[Disk],
    neutralise: &[DiskIdentity],
    cancelled: &AtomicBool,
) -> anyhow::Result<Vec<Collision>> {
    let device = Device::open_to_read(&disk.name, disk.logical_sector_bytes)
        .with_context(|| format!("opening {}", disk.name))?;
    let found = compare(own, &survey(&device, cancelled)?);
    drop(device);
    let identity = DiskIdentity::of(disk);
    let fate = match neutralise.contains(&identity) && !found.is_empty() {
        false => Fate::Left,
        true => match make_harmless(own, &identity, disks, cancelled) {
            Ok(()) => Fate::Neutralised,
            Err(error) => Fate::Failed(format!("{error:#}")),
        },
    };
    let collision = |(partition, what)| Collision {
        disk: identity.clone(),
        partition,
        what,
        fate: fate.clone(),
    };
    Ok(found.into_iter().map(collision).collect())
}

fn survey(device: &Device, cancelled: &AtomicBool) -> anyhow::Result<Survey> {
    let sector = u64::from(device.sector());
    let end = TABLE_BYTES.min(device.bytes()) / sector * sector;
    let head = device.read(0, end as usize)?;
    let mbr = Mbr::parse(&head);
    let mut gpt = Gpt::parse(&head, 0, 1, device.sector()).ok();
    let gpt_is_primary = gpt.is_some();
    if gpt.is_none() {
        let at = device.sectors() - end / sector;
        let tail = device.read(at * sector, end as usize)?;
        gpt = Gpt::parse(&tail, at, device.sectors() - 1, device.sector()).ok();
    }
    let gpt = gpt.filter(|_| mbr.as_ref().is_none_or(Mbr::is_protective));
    let patience = Patience::new(cancelled);
    let mut places = vec![Place::new(device, None, 0..device.bytes(), None, None)?];
    if let Some(gpt) = &gpt {
        for part in gpt.partitions().into_iter().take(MAX_PARTITIONS) {
            let bytes = part.first * sector..(part.last + 1) * sector;
            let (number, guid) = (Some(part.number), Some(part.guid));
            let esp = (part.kind == gpt::ESP).then_some(&patience);
            places.push(Place::new(device, number, bytes, guid, esp)?);
        }
    } else if let Some(mbr) = &mbr {
        for entry in mbr.entries() {
            let bytes = u64::from(entry.first) * sector..entry.end() * sector;
            let esp = (entry.kind == mbr::ESP).then_some(&patience);
            places.push(Place::new(device, Some(entry.number), bytes, None, esp)?);
        }
    }
    Ok(Survey {
        mbr,
        gpt,
        gpt_is_primary,
        places,
    })
}

impl Place {
    /// `esp`: it is an EFI system partition, and so much of it may be read.
    fn new(
        device: &Device,
        number: Option<u32>,
        bytes: Range<u64>,
        guid: Option<Uuid>,
        esp: Option<&Patience<'_>>,
    ) -> anyhow::Result<Self> {
        // A table may name what the disk does not have.
        let bytes = bytes.start.min(device.bytes())..bytes.end.min(device.bytes());
        let start = device.read(bytes.start, head_bytes(&bytes, device))?;
        let loader = match esp {
            Some(patience) => esp::loader(device, bytes.clone(), patience).ok().flatten(),
            None => None,
        };
        Ok(Self {
            number,
            guid,
            loader,
            holds: filesystem::read(&start).unwrap_or_default(),
            bytes,
        })
    }
}

/// How much of its beginning is looked at, in whole sectors.
fn head_bytes(bytes: &Range<u64>, device: &Device) -> usize {
    let sector = device.sector() as usize;
    ((bytes.end - bytes.start).min(LOOK_BYTES as u64)) as usize / sector * sector
}

impl Survey {
    fn disk_id(&self) -> Option<String> {
        match (&self.gpt, &self.mbr) {
            (Some(gpt), _) => Some(gpt.disk().to_string()),
            (None, Some(mbr)) => {
                let id = u32::from_le_bytes(mbr.signature());
                (id != 0).then(|| format!("{id:08x}"))
            }
            (None, None) => None,
        }
    }

    /// A BIOS starts it: there is code, and something that it can boot.
    fn has_boot_code(&self) -> bool {
        let bios_boot = |gpt: &Gpt| {
            let mut parts = gpt.partitions().into_iter();
            parts.any(|part| part.kind == gpt::BIOS_BOOT)
        };
        self.mbr.as_ref().is_some_and(|mbr| {
            mbr.has_boot_code() && (mbr.is_active() || self.gpt.as_ref().is_some_and(bios_boot))
        })
    }
}

fn compare(own: &Survey, other: &Survey) -> Found {
    let same_label = |label: &str| {
        let labels = own
            .places
            .iter()
            .filter_map(|place| place.holds.label.as_ref());
        // FAT has upper case alone, and a config drive is looked for in either.
        labels
            .into_iter()
            .any(|ours| ours.eq_ignore_ascii_case(label))
    };
    let mut found = Found::new();
    for place in &other.places {
        let mut what = Vec::new();
        if place.number.is_none() {
            if other.has_boot_code() {
                what.push(Clash::BootCode);
            }
            let id = other
                .disk_id()
                .filter(|id| own.disk_id().as_ref() == Some(id));
            what.extend(id.map(Clash::DiskId));
        }
        what.extend(place.loader.clone().map(Clash::BootLoader));
        let guid = place
            .guid
            .filter(|guid| own.places.iter().any(|ours| ours.guid == Some(*guid)));
        what.extend(guid.map(|guid| Clash::PartitionId(guid.to_string())));
        let FileSystem { uuid, label } = place.holds.clone();
        let uuid = uuid.filter(|uuid| {
            let mut places = own.places.iter();
            places.any(|ours| ours.holds.uuid.as_ref() == Some(uuid))
        });
        what.extend(uuid.map(Clash::FileSystemUuid));
        what.extend(
            label
                .filter(|label| same_label(label))
                .map(Clash::FileSystemLabel),
        );
        if !what.is_empty() {
            found.push((place.number, what));
        }
    }
    found
}

/// GUIDs and signatures are replaced by random ones; of a partition whose file system clashes or has a boot loader the first
/// [`LOOK_BYTES`] are zeroed, of a whole disk both ends. Boot code stays: a BIOS boots its first disk or none, so without it
/// no system would run.
fn make_harmless(
    own: &Survey,
    identity: &DiskIdentity,
    disks: &[Disk],
    cancelled: &AtomicBool,
) -> anyhow::Result<()> {
    let device = target::open(identity, disks)?;
    let mut survey_now = survey(&device, cancelled)?;
    let (mut new_ids, mut new_first) = (false, false);
    for (number, what) in compare(own, &survey_now) {
        let mut wipe = false;
        for clash in what {
            match clash {
                Clash::BootCode => {}
                Clash::DiskId(_) => match (&mut survey_now.gpt, &mut survey_now.mbr) {
                    (Some(gpt), _) => {
                        gpt.set_disk(random::guid());
                        new_ids = true;
                    }
                    (None, Some(mbr)) => {
                        mbr.set_signature(random::number().to_le_bytes());
                        new_first = true;
                    }
                    (None, None) => {}
                },
                Clash::PartitionId(_) => {
                    if let (Some(gpt), Some(number)) = (&mut survey_now.gpt, number) {
                        gpt.set_guid(number, random::guid());
                        new_ids = true;
                    }
                }
                Clash::BootLoader(_) | Clash::FileSystemUuid(_) | Clash::FileSystemLabel(_) => {
                    wipe = true;
                }
            }
        }
        let place = survey_now
            .places
            .iter()
            .find(|place| place.number == number);
        match (wipe, place) {
            (true, Some(place)) if number.is_some() => {
                let zeros = vec![0; head_bytes(&place.bytes, &device)];
                device.write(&zeros, place.bytes.start)?;
            }
            (true, _) => {
                erase::wipe_ends(&device)?;
                (new_ids, new_first) = (false, false);
                break;
            }
            (false, _) => {}
        }
    }
    if let Some(mbr) = survey_now.mbr.as_ref().filter(|_| new_first) {
        let mut first = device.read(0, device.sector() as usize)?;
        first[..512].copy_from_slice(mbr.bytes());
        device.write(&first, 0)?;
    }
    if let Some(gpt) = survey_now.gpt.as_ref().filter(|_| new_ids) {
        if !survey_now.gpt_is_primary || gpt.disk_sectors() != device.sectors() {
            bail!("its partition table is damaged: one copy is not where it should be");
        }
        let sector = u64::from(device.sector());
        for (at, bytes) in gpt.backup().into_iter().chain(gpt.primary()) {
            device.write(&bytes, at * sector)?;
            device.flush()?;
        }
    }
    device.flush()?;
    device.reread_partitions();
    let mut left = compare(own, &survey(&device, cancelled)?).into_iter();
    if left
        .clone()
        .flat_map(|(_, what)| what)
        .any(|it| it != Clash::BootCode)
    {
        bail!("{} is as it was after it was written to", device.path());
    }
    match left.next() {
        None => Ok(()),
        Some(_) => bail!("a BIOS may start it: put the deployed disk before it in the setup"),
    }
}

#[cfg(test)]
mod tests;
