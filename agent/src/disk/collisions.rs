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
use anyhow::{Context, anyhow, bail};
use ironbeat_common::collision::{Clash, Collision, Fate, MAX_COLLISIONS};
use ironbeat_common::disk::{DiskIdentity, are_paths, distinct};
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::inventory::Disk;
use ironbeat_common::order::WriteImage;
use std::ops::Range;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// Bytes at the start of a disk that hold any table we read.
const TABLE_BYTES: u64 = 1 << 20;
/// Partitions considered of one disk; the usual table has 128 entries.
const MAX_PARTITIONS: usize = 128;
/// Places of one disk that cannot be read, until the rest is left: each may take a dying disk half a minute.
const MAX_UNREAD: usize = 4;

/// What can be in the way on one disk.
#[derive(Default)]
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
    /// Why nobody can say what else it has.
    unread: Option<String>,
}

/// What clashes, by place.
type Found = Vec<(Option<u32>, Vec<Clash>)>;

/// Looks at all disks but the one that was written. Nothing here fails the step: the image is on its disk. What could not be
/// looked at is one more thing that may be in the way.
pub fn look(order: &WriteImage, ctx: &StepContext<'_>) -> Vec<Collision> {
    let disks = (ctx.disks)();
    let (own, mut collisions) = look_at_own(order, &disks, ctx);
    if !disks.iter().any(|disk| order.disk.is(disk)) {
        return collisions;
    }
    let is_own = |disk: &Disk| is_path_to(disk, &order.disk, &disks);
    let is_other = |disk: &&Disk| !is_own(disk) && disk.size_bytes >= TABLE_BYTES;
    let others = distinct(disks.iter().filter(is_other));
    for (done, disk) in others.iter().enumerate() {
        if ctx.cancelled.load(Ordering::Relaxed) {
            break;
        }
        report(ctx, done as u64, Some(others.len() as u64));
        collisions.extend(look_at(&own, disk, &disks, &order.neutralise, ctx));
    }
    collisions.truncate(MAX_COLLISIONS);
    for collision in &collisions {
        tracing::warn!(%collision, "another disk may be taken for this one");
    }
    collisions
}

fn report(ctx: &StepContext<'_>, done: u64, total: Option<u64>) {
    (ctx.progress)(Progress {
        phase: "other disks".to_owned(),
        done,
        total,
        trouble: None,
    });
}

/// What the others are compared with, and what of it could not be read.
fn look_at_own(
    order: &WriteImage,
    disks: &[Disk],
    ctx: &StepContext<'_>,
) -> (Survey, Vec<Collision>) {
    let paths = disks
        .iter()
        .filter(|disk| is_path_to(disk, &order.disk, disks));
    let own = survey_by(paths, ctx);
    let unread = match &own {
        Ok(own) => unread(own),
        Err(error) => vec![(None, vec![Clash::Unread(format!("{error:#}"))])],
    };
    let collision = |(partition, what)| Collision {
        disk: order.disk.clone(),
        partition,
        what,
        fate: Fate::Left,
    };
    let unread = unread.into_iter().map(collision).collect();
    (own.unwrap_or_default(), unread)
}

/// Whether the disk that is meant is this one, by this path or by another.
fn is_path_to(disk: &Disk, meant: &DiskIdentity, disks: &[Disk]) -> bool {
    let mut meant = disks.iter().filter(|path| meant.is(path));
    meant.any(|path| path.name == disk.name || are_paths(path, disk))
}

fn look_at(
    own: &Survey,
    disk: &Disk,
    disks: &[Disk],
    neutralise: &[DiskIdentity],
    ctx: &StepContext<'_>,
) -> Vec<Collision> {
    let identity = DiskIdentity::of(disk);
    let is_path = |path: &&Disk| path.name == disk.name || are_paths(path, disk);
    let found = match survey_by(disks.iter().filter(is_path), ctx) {
        Ok(survey) => compare(own, &survey),
        Err(error) => vec![(None, vec![Clash::Unread(format!("{error:#}"))])],
    };
    // By any path: the list may have been made of another.
    let is_told = neutralise.iter().any(|it| is_path_to(disk, it, disks));
    let fate = match is_told && !found.is_empty() {
        false => Fate::Left,
        true => match make_harmless(own, &identity, disks, ctx) {
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
    found.into_iter().map(collision).collect()
}

/// By the first path that can be read: of an array's paths some stand by, and fail each read.
fn survey_by<'a>(
    paths: impl Iterator<Item = &'a Disk>,
    ctx: &StepContext<'_>,
) -> anyhow::Result<Survey> {
    let mut failed = None;
    for path in paths {
        let looked = Device::open_to_read(&path.name, path.logical_sector_bytes)
            .with_context(|| format!("opening {}", path.name))
            .and_then(|device| survey(&device, ctx));
        match looked {
            Ok(survey) => return Ok(survey),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow!("it is not there any more")))
}

/// # Errors
/// Not even its beginning can be read.
fn survey(device: &Device, ctx: &StepContext<'_>) -> anyhow::Result<Survey> {
    let sector = u64::from(device.sector());
    let end = TABLE_BYTES.min(device.bytes()) / sector * sector;
    let head = device.read(0, end as usize)?;
    let mut whole = Place::look(device, None, 0..device.bytes(), None, None);
    let mbr = Mbr::parse(&head);
    let mut gpt = Gpt::parse(&head, 0, 1, device.sector()).ok();
    let gpt_is_primary = gpt.is_some();
    if gpt.is_none() {
        let at = device.sectors() - end / sector;
        match device.read(at * sector, end as usize) {
            Ok(tail) => gpt = Gpt::parse(&tail, at, device.sectors() - 1, device.sector()).ok(),
            Err(error) => whole.leave(format!("{error:#}")),
        }
    }
    let gpt = gpt.filter(|_| mbr.as_ref().is_none_or(Mbr::is_protective));
    let partitions: Vec<_> = match (&gpt, &mbr) {
        (Some(gpt), _) => {
            let parts = gpt.partitions().into_iter();
            let sectors = parts.map(|part| {
                let is_esp = part.kind == gpt::ESP;
                (
                    part.number,
                    part.first..part.last + 1,
                    Some(part.guid),
                    is_esp,
                )
            });
            sectors.collect()
        }
        (None, Some(mbr)) => {
            let entries = mbr.entries().into_iter();
            let sectors = entries.map(|entry| {
                let is_esp = entry.kind == mbr::ESP;
                (entry.number, entry.first.into()..entry.end(), None, is_esp)
            });
            sectors.collect()
        }
        (None, None) => Vec::new(),
    };
    if partitions.len() > MAX_PARTITIONS {
        let count = partitions.len();
        whole.leave(format!(
            "of {count} partitions {MAX_PARTITIONS} are looked at"
        ));
    }
    let patience = Patience::new(ctx.cancelled);
    let mut places = Vec::new();
    let mut failed = 0;
    for (number, sectors, guid, is_esp) in partitions.into_iter().take(MAX_PARTITIONS) {
        if failed >= MAX_UNREAD {
            whole.leave(format!(
                "no partition from number {number} on was looked at: too many cannot be read"
            ));
            break;
        }
        // A disk that answers slowly is not a step that hangs.
        report(ctx, number.into(), None);
        let bytes = sectors.start * sector..sectors.end * sector;
        let esp = is_esp.then_some(&patience);
        let place = Place::look(device, Some(number), bytes, guid, esp);
        failed += usize::from(place.unread.is_some());
        places.push(place);
    }
    places.insert(0, whole);
    Ok(Survey {
        mbr,
        gpt,
        gpt_is_primary,
        places,
    })
}

impl Place {
    /// `esp`: it is an EFI system partition, and so much of it may be read. What cannot be read is as if it were empty, and said.
    fn look(
        device: &Device,
        number: Option<u32>,
        bytes: Range<u64>,
        guid: Option<Uuid>,
        esp: Option<&Patience<'_>>,
    ) -> Self {
        // A table may name what the disk does not have.
        let bytes = bytes.start.min(device.bytes())..bytes.end.min(device.bytes());
        let mut place = Self {
            number,
            bytes: bytes.clone(),
            guid,
            loader: None,
            holds: FileSystem::default(),
            unread: None,
        };
        match device.read(bytes.start, head_bytes(&bytes, device)) {
            Ok(start) => place.holds = filesystem::read(&start).unwrap_or_default(),
            Err(error) => place.leave(format!("{error:#}")),
        }
        if let Some(patience) = esp.filter(|_| !bytes.is_empty()) {
            match esp::loader(device, bytes, patience) {
                Ok(loader) => place.loader = loader,
                Err(error) => place.leave(format!("looking for a boot loader: {error:#}")),
            }
        }
        place
    }

    /// Not all of it was looked at; the first reason is enough.
    fn leave(&mut self, why: String) {
        self.unread.get_or_insert(why);
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

fn unread(survey: &Survey) -> Found {
    let places = survey.places.iter();
    let why = |place: &Place| Some((place.number, vec![Clash::Unread(place.unread.clone()?)]));
    places.filter_map(why).collect()
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
        what.extend(place.unread.clone().map(Clash::Unread));
        if !what.is_empty() {
            found.push((place.number, what));
        }
    }
    found
}

/// GUIDs and signatures are replaced by random ones; of a partition whose file system clashes or has a boot loader the first
/// [`LOOK_BYTES`] are zeroed, of a whole disk both ends. Boot code stays, unless it goes with the end of a whole disk: a BIOS
/// boots its first disk or none, so without it no system would run.
fn make_harmless(
    own: &Survey,
    identity: &DiskIdentity,
    disks: &[Disk],
    ctx: &StepContext<'_>,
) -> anyhow::Result<()> {
    let device = target::open(identity, disks)?;
    let mut survey_now = survey(&device, ctx)?;
    let (mut new_ids, mut new_first) = (false, false);
    for (number, what) in compare(own, &survey_now) {
        let mut wipe = false;
        for clash in what {
            match clash {
                Clash::BootCode | Clash::Unread(_) => {}
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
    let left = compare(own, &survey(&device, ctx)?);
    let left: Vec<Clash> = left.into_iter().flat_map(|(_, what)| what).collect();
    let is_unread = |it: &Clash| matches!(it, Clash::Unread(_));
    if left
        .iter()
        .any(|it| *it != Clash::BootCode && !is_unread(it))
    {
        bail!("{} is as it was after it was written to", device.path());
    }
    if left.iter().any(is_unread) {
        bail!("what cannot be read cannot be made harmless");
    }
    if !left.is_empty() {
        bail!("a BIOS may start it: put the deployed disk before it in the setup");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
