//! Disks beside the one that was written: earlier copies of its image, other systems, and damaged ones.
//! What file systems say of themselves is tested in `filesystem`.
use super::super::testing::image::{self, esp};
use super::super::testing::{Bench, MIB, TestDisk, order};
use super::*;
use ironbeat_common::image::ImageFormat;
use ironbeat_mutate::Mutator;

const BYTES: u64 = 16 * MIB;
const ROOT: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
/// Where the root file system is.
const ROOT_AT: usize = 4 * MIB as usize;
const ESP_AT: usize = MIB as usize;

fn loader() -> String {
    let arch = if cfg!(target_arch = "x86_64") {
        "X64"
    } else {
        "AA64"
    };
    format!("BOOT{arch}.EFI")
}

/// A disk image of a system: an ESP with a loader, and a root file system with UUID and label.
fn system() -> Vec<u8> {
    let mut image = image::gpt(BYTES, 512);
    let esp = esp(&[&format!("BOOT/{}", loader())]);
    image[ESP_AT..][..esp.len()].copy_from_slice(&esp);
    let uuid = ROOT.parse::<Uuid>().unwrap();
    let mut root = vec![0; 512];
    root[..4].copy_from_slice(b"XFSB");
    root[32..48].copy_from_slice(uuid.as_bytes());
    root[108..112].copy_from_slice(b"root");
    image[ROOT_AT..][..512].copy_from_slice(&root);
    image
}

/// Another system's disk with an MBR: other ids, and boot code unless `code` is zero.
fn other_system(active: u8, code: u8) -> Vec<u8> {
    let mut image = image::mbr(BYTES);
    image[..440].fill(code);
    image[440..444].copy_from_slice(&[1, 2, 3, 4]);
    image[446] = active;
    image
}

/// Checksums that are right for the primary GPT, of so many entries, as it is now.
fn seal(image: &mut [u8], entries: usize) {
    let crc = image::crc32(&image[1024..1024 + entries * 128]);
    image[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
    image[512 + 16..512 + 20].fill(0);
    let crc = image::crc32(&image[512..512 + 92]);
    image[512 + 16..512 + 20].copy_from_slice(&crc.to_le_bytes());
}

fn disk_of(image: &[u8]) -> TestDisk {
    let disk = TestDisk::sparse(BYTES, 512);
    disk.put(image, 0);
    disk
}

/// Looks from `own` at `others`, and may touch those of `harmless`.
fn look_from(own: &TestDisk, others: &[&TestDisk], harmless: &[&TestDisk]) -> Vec<Collision> {
    let disks: Vec<&TestDisk> = std::iter::once(own).chain(others.iter().copied()).collect();
    let mut order = order(own, &[], ImageFormat::Raw, b"");
    order.neutralise = harmless.iter().map(|disk| disk.identity()).collect();
    Bench::new(&disks).run(|ctx| look(&order, ctx))
}

fn clashes(collisions: &[Collision]) -> Vec<(Option<u32>, Vec<Clash>)> {
    let found = collisions.iter();
    found.map(|it| (it.partition, it.what.clone())).collect()
}

fn id(byte: u8) -> String {
    Uuid::from_bytes([byte; 16]).to_string()
}

#[test]
fn an_earlier_copy_of_the_image_clashes_in_every_id_and_is_only_looked_at() {
    let (own, copy) = (disk_of(&system()), disk_of(&system()));
    let before = copy.content();
    let found = look_from(&own, &[&copy], &[]);
    assert!(copy.content() == before, "it was written to");
    let file = format!("\\EFI\\BOOT\\{}", loader());
    let fat = filesystem::read(&before[ESP_AT..][..LOOK_BYTES]).unwrap();
    let wanted = vec![
        (None, vec![Clash::DiskId(id(0xdd))]),
        (
            Some(1),
            vec![
                Clash::BootLoader(file),
                Clash::PartitionId(id(0xa1)),
                Clash::FileSystemUuid(fat.uuid.unwrap()),
            ],
        ),
        (
            Some(2),
            vec![
                Clash::PartitionId(id(0xa2)),
                Clash::FileSystemUuid(ROOT.into()),
                Clash::FileSystemLabel("root".into()),
            ],
        ),
    ];
    assert_eq!(clashes(&found), wanted);
    assert!(
        found
            .iter()
            .all(|it| it.fate == Fate::Left && it.disk == copy.identity())
    );
}

#[test]
fn a_copy_that_is_made_harmless_keeps_its_table_with_other_ids_and_the_rest_of_its_bytes() {
    let image = system();
    let [own, copy, skipped] = [(); 3].map(|()| disk_of(&image));
    let before = copy.content();
    let found = look_from(&own, &[&copy, &skipped], &[&copy]);
    for it in &found {
        let is_told = it.disk == copy.identity();
        assert_eq!(it.fate == Fate::Neutralised, is_told, "{it}");
    }
    assert!(
        skipped.content() == before,
        "a disk that was not named was written to"
    );
    assert!(own.content() == before, "the deployed disk was written to");
    copy.assert_sgdisk_agrees();
    let after = copy.content();
    let table = 34 * 512;
    let wiped = [ESP_AT, ROOT_AT].map(|at| at..at + LOOK_BYTES);
    for (at, (old, new)) in before.iter().zip(&after).enumerate() {
        let in_table = at < table || at >= before.len() - 33 * 512;
        match wiped.iter().any(|range| range.contains(&at)) {
            true => assert_eq!(*new, 0, "at {at}"),
            false => assert!(in_table || old == new, "at {at}"),
        }
    }
    let of = |content: &[u8]| Gpt::parse(content, 0, 1, 512).unwrap();
    let (old, new) = (of(&before), of(&after));
    let places = |gpt: &Gpt| {
        let parts = gpt.partitions().into_iter();
        parts
            .map(|part| (part.number, part.kind, part.first, part.last, part.name))
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&old), places(&new));
    assert_eq!(look_from(&own, &[&copy], &[]), []);
}

/// The machine rebooted in the middle of the write, and the disks came up in another order, or by another path first.
#[test]
fn a_disk_is_made_harmless_under_whatever_name_and_path_it_has_now() {
    let (own, copy) = (disk_of(&system()), disk_of(&system()));
    let mut order = order(&own, &[], ImageFormat::Raw, b"");
    let told = |name: &str, serial: Option<String>, wwn: Option<&str>| DiskIdentity {
        name: name.into(),
        serial,
        wwn: wwn.map(Into::into),
        ..copy.identity()
    };
    let mut bench = Bench::new(&[&own, &copy]);
    let all_have = |found: &[Collision], fate: Fate| {
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|it| it.fate == fate), "{found:?}");
    };
    order.neutralise = vec![told("/dev/elsewhere", copy.identity().serial, None)];
    all_have(&bench.run(|ctx| look(&order, ctx)), Fate::Neutralised);

    copy.put(&system(), 0);
    let wwn = Some("naa.5000c500a1b2c3d4");
    let mut other = bench.disks[1].clone();
    (other.name, other.serial) = ("/dev/stands-by".into(), Some("its other port".into()));
    bench.disks.push(other);
    for path in &mut bench.disks[1..] {
        (path.transport, path.wwn) = (Some("sas".into()), wwn.map(Into::into));
    }
    order.neutralise = vec![told("/dev/x", Some("its other port".into()), wwn)];
    all_have(&bench.run(|ctx| look(&order, ctx)), Fate::Neutralised);

    // One with neither serial number nor WWN has nothing but its name.
    copy.put(&system(), 0);
    bench.disks.pop();
    let path = &mut bench.disks[1];
    (path.serial, path.wwn, path.transport) = (None, None, None);
    order.neutralise = vec![told("/dev/elsewhere", None, None)];
    all_have(&bench.run(|ctx| look(&order, ctx)), Fate::Left);
}

#[test]
fn boot_code_counts_where_there_is_something_that_it_boots() {
    let own = disk_of(&system());
    for (active, code, is) in [(0x80, 0x90, true), (0, 0x90, false), (0x80, 0, false)] {
        let other = disk_of(&other_system(active, code));
        let found = clashes(&look_from(&own, &[&other], &[]));
        let wanted = vec![(None, vec![Clash::BootCode])];
        assert_eq!(
            found,
            if is { wanted } else { vec![] },
            "{active:x} {code:x}"
        );
    }
    // GRUB on a GPT disk has its core in a partition of its own, and needs no active one.
    let mut grub = image::gpt(BYTES, 512);
    let kind = gpt::BIOS_BOOT.to_bytes_le();
    grub[1024..1040].copy_from_slice(&kind);
    seal(&mut grub, 128);
    let (other, own) = (disk_of(&grub), disk_of(&other_system(0x80, 0x90)));
    let found = clashes(&look_from(&own, &[&other], &[]));
    assert_eq!(found, [(None, vec![Clash::BootCode])]);
}

/// A BIOS that finds no code there starts no other disk instead.
#[test]
fn boot_code_stays_and_the_reason_says_what_to_do() {
    let own = disk_of(&system());
    let other = disk_of(&other_system(0x80, 0x90));
    let before = other.content();
    let found = look_from(&own, &[&other], &[&other]);
    let Fate::Failed(why) = &found[0].fate else {
        panic!("{}", found[0]);
    };
    assert!(why.contains("put the deployed disk before it"), "{why}");
    assert!(other.content() == before, "it was written to");
}

#[test]
fn two_mbrs_with_one_signature_get_two() {
    let (own, copy) = (disk_of(&other_system(0, 0)), disk_of(&other_system(0, 0)));
    let found = look_from(&own, &[&copy], &[&copy]);
    assert_eq!(
        clashes(&found),
        [(None, vec![Clash::DiskId("04030201".into())])]
    );
    assert_eq!(found[0].fate, Fate::Neutralised, "{}", found[0]);
    assert!(copy.content()[444..] == own.content()[444..]);
    assert_eq!(look_from(&own, &[&copy], &[]), []);
}

/// Firmware uses the backup where the primary is damaged; what it says is reported, and not put right here.
#[test]
fn a_table_of_which_only_the_backup_is_left_is_read_and_not_rewritten() {
    let (own, copy) = (disk_of(&system()), disk_of(&system()));
    copy.put(&[0; 512], 512);
    let found = look_from(&own, &[&copy], &[&copy]);
    assert_eq!(found.len(), 3, "{found:?}");
    let is_refused = |it: &Collision| {
        let Fate::Failed(why) = &it.fate else {
            return false;
        };
        why.contains("its partition table is damaged")
    };
    assert!(found.iter().all(is_refused), "{found:?}");
}

/// Firmware and Linux take the MBR, so its partitions are looked at and its signature is replaced.
#[test]
fn a_gpt_that_an_earlier_table_left_counts_for_nothing_beside_an_mbr() {
    let mbr = other_system(0, 0);
    let mut both = mbr.clone();
    let gpt = image::gpt(BYTES, 512);
    // Both copies; then the backup alone, as a tool leaves it that writes an MBR.
    for kept in [512, 34 * 512] {
        both[kept..34 * 512].copy_from_slice(&gpt[kept..34 * 512]);
        if kept > 512 {
            both[512..kept].fill(0);
        }
        let tail = both.len() - 33 * 512;
        both[tail..].copy_from_slice(&gpt[tail..]);
        let (own, copy) = (disk_of(&mbr), disk_of(&both));
        let found = look_from(&own, &[&copy], &[&copy]);
        let wanted = vec![(None, vec![Clash::DiskId("04030201".into())])];
        assert_eq!(clashes(&found), wanted);
        assert_eq!(found[0].fate, Fate::Neutralised, "{}", found[0]);
        assert!(
            copy.content()[512..] == both[512..],
            "the GPT was written to"
        );
        // And a deployed GPT has nothing in common with what was left.
        assert_eq!(look_from(&disk_of(&gpt), &[&copy], &[]), []);
    }
    // A GPT without any MBR is one, for Linux can be told so and some firmware takes it.
    let mut bare = gpt.clone();
    bare[510..512].fill(0);
    let found = look_from(&disk_of(&gpt), &[&disk_of(&bare)], &[]);
    assert!(clashes(&found).contains(&(None, vec![Clash::DiskId(id(0xdd))])));
}

#[test]
fn a_file_system_on_a_whole_disk_goes_with_both_ends() {
    let own = disk_of(&system());
    let mut bare = vec![0x11; BYTES as usize];
    bare[..512].fill(0);
    bare[..4].copy_from_slice(b"XFSB");
    bare[32..48].copy_from_slice(ROOT.parse::<Uuid>().unwrap().as_bytes());
    let other = disk_of(&bare);
    let found = look_from(&own, &[&other], &[&other]);
    assert_eq!(
        clashes(&found),
        [(None, vec![Clash::FileSystemUuid(ROOT.into())])]
    );
    assert_eq!(found[0].fate, Fate::Neutralised, "{}", found[0]);
    let (after, mib) = (other.content(), MIB as usize);
    assert!(after[..mib].iter().all(|byte| *byte == 0));
    assert!(after[mib..after.len() - mib] == bare[mib..bare.len() - mib]);
}

#[test]
fn another_path_to_the_same_disk_and_a_blank_disk_are_nothing() {
    let (own, blank) = (disk_of(&system()), TestDisk::sparse(BYTES, 512));
    let tiny = TestDisk::sparse(64 << 10, 512);
    let mut bench = Bench::new(&[&own, &own, &blank, &tiny]);
    for path in &mut bench.disks[..2] {
        path.transport = Some("sas".into());
        path.wwn = Some("naa.5000c500a1b2c3d4".into());
    }
    bench.disks[1].serial = Some("as the other path has it".into());
    let mut order = order(&own, &[], ImageFormat::Raw, b"");
    order.disk = DiskIdentity::of(&bench.disks[0]);
    assert_eq!(bench.run(|ctx| look(&order, ctx)), []);
}

#[test]
fn a_disk_in_use_is_reported_with_who_uses_it() {
    let (own, copy) = (disk_of(&system()), disk_of(&system()));
    if !copy.is_block_device() {
        println!("no loop devices here: a file is never in use");
        return;
    }
    let _held = copy.open();
    let found = look_from(&own, &[&copy], &[&copy]);
    let Fate::Failed(why) = &found[0].fate else {
        panic!("{found:?}");
    };
    assert!(why.contains("is in use"), "{why}");
}

fn unread(it: &Collision) -> Option<&str> {
    match it.what.as_slice() {
        [.., Clash::Unread(why)] => Some(why),
        _ => None,
    }
}

/// The second partition of each lies where nothing can be read any more.
#[test]
fn what_cannot_be_read_is_said_and_hides_nothing_else() {
    let [own, copy] = [(); 2].map(|()| disk_of(&system()));
    if !copy.is_block_device() {
        println!("no loop devices here: all of a file can be read");
        return;
    }
    copy.fail_from(ROOT_AT as u64);
    let found = look_from(&own, &[&copy], &[]);
    let numbers: Vec<_> = found.iter().map(|it| it.partition).collect();
    assert_eq!(numbers, [None, Some(1), Some(2)], "{found:?}");
    assert!(
        matches!(found[1].what[0], Clash::BootLoader(_)),
        "{found:?}"
    );
    let why = unread(&found[2]).expect("it cannot be read");
    assert!(why.contains("Input/output error"), "{why}");
    assert_eq!(unread(&found[1]), None);

    // One that can be made harmless as far as it can be read: nobody says that it is.
    let [ours, copy] = [(); 2].map(|()| disk_of(&other_system(0, 0)));
    copy.fail_from(MIB);
    let found = look_from(&ours, &[&copy], &[&copy]);
    assert_eq!(found[0].what[0], Clash::DiskId("04030201".into()));
    let Fate::Failed(why) = &found[0].fate else {
        panic!("{found:?}");
    };
    assert!(why.contains("what cannot be read"), "{why}");
    let again = look_from(&ours, &[&copy], &[]);
    assert!(
        !clashes(&again)[0].1.contains(&found[0].what[0]),
        "{again:?}"
    );

    // Of the disk just written, too: nothing can be compared with what cannot be read.
    own.fail_from(ROOT_AT as u64);
    let blank = TestDisk::sparse(BYTES, 512);
    let found = look_from(&own, &[&blank], &[]);
    assert_eq!((found.len(), found[0].partition), (1, Some(2)), "{found:?}");
    assert!(found[0].disk == own.identity() && unread(&found[0]).is_some());
    // Nothing of a disk can be read, its table least of all.
    blank.fail_from(0);
    let found = look_from(&disk_of(&system()), &[&blank], &[&blank]);
    assert_eq!((found.len(), found[0].partition), (1, None), "{found:?}");
    assert!(unread(&found[0]).is_some() && matches!(found[0].fate, Fate::Failed(_)));
}

#[test]
fn a_disk_that_cannot_be_opened_is_said_and_one_path_that_can_be_is_enough() {
    let [own, copy] = [(); 2].map(|()| disk_of(&system()));
    let gone = "/dev/not-there";
    let mut bench = Bench::new(&[&own, &copy]);
    bench.disks[1].name = gone.into();
    let order = order(&own, &[], ImageFormat::Raw, b"");
    let found = bench.run(|ctx| look(&order, ctx));
    assert_eq!(found.len(), 1, "{found:?}");
    let why = unread(&found[0]).expect("it cannot be opened");
    assert!(why.contains("opening /dev/not-there"), "{why}");
    // Another path to the same disk.
    bench.disks.push(copy.inventory());
    for path in &mut bench.disks[1..] {
        path.transport = Some("sas".into());
        path.wwn = Some("naa.5000c500a1b2c3d4".into());
    }
    let found = bench.run(|ctx| look(&order, ctx));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|it| unread(it).is_none()), "{found:?}");
    // The deployed disk: others are looked at all the same, but not when nobody knows which one it is.
    bench.disks[0].name = gone.into();
    let found = bench.run(|ctx| look(&order, ctx));
    assert!(found[0].disk == order.disk && unread(&found[0]).is_some());
    assert!(
        matches!(found[1].what[0], Clash::BootLoader(_)),
        "{found:?}"
    );
    bench.disks.remove(0);
    let found = bench.run(|ctx| look(&order, ctx));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(unread(&found[0]), Some("it is not there any more"));
}

/// So many partitions of one sector each, 2 MiB from the start.
fn crowded(count: usize) -> Vec<u8> {
    let mut image = image::gpt(BYTES, 512);
    image[512 + 40..512 + 48].copy_from_slice(&2048u64.to_le_bytes());
    image[512 + 80..512 + 84].copy_from_slice(&(count as u32).to_le_bytes());
    let entries = image[1024..].chunks_exact_mut(128).take(count);
    for (n, entry) in entries.enumerate() {
        entry.fill(0);
        entry[..16].copy_from_slice(&image::LINUX_KIND);
        entry[16..32].fill(n as u8 + 1);
        let sector = 4096 + n as u64;
        entry[32..40].copy_from_slice(&sector.to_le_bytes());
        entry[40..48].copy_from_slice(&sector.to_le_bytes());
    }
    seal(&mut image, count);
    image
}

#[test]
fn partitions_that_are_not_looked_at_are_told() {
    let own = disk_of(&other_system(0, 0));
    let disk = disk_of(&crowded(200));
    let found = look_from(&own, &[&disk], &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    let why = unread(&found[0]).expect("there are many");
    assert!(why.contains("of 200 partitions 128"), "{why}");
    // A disk that dies is not asked for each of them.
    let disk = disk_of(&crowded(20));
    if !disk.is_block_device() {
        println!("no loop devices here: all of a file can be read");
        return;
    }
    disk.fail_from(2 * MIB);
    let found = look_from(&own, &[&disk], &[]);
    assert_eq!(found.len(), 1 + MAX_UNREAD, "{found:?}");
    let why = unread(&found[0]).expect("many cannot be read");
    assert!(why.contains("from number 5 on"), "{why}");
}

/// The table of the FAT12 volume says that `EFI`, its first folder, follows itself.
#[test]
fn a_boot_loader_that_nobody_can_look_for_is_told() {
    let (own, mut image) = (disk_of(&other_system(0, 0)), system());
    let table = ESP_AT + 512;
    image[table + 3] = 2;
    image[table + 4] &= 0xf0;
    let found = look_from(&own, &[&disk_of(&image)], &[]);
    assert_eq!((found.len(), found[0].partition), (1, Some(1)), "{found:?}");
    let why = unread(&found[0]).expect("nobody can");
    assert!(why.contains("a folder has no end"), "{why}");
}

/// What another disk has may be anything. No damage makes it panic, and none of it reaches the disk that was written.
#[test]
fn mutated_disks_do_not_panic() {
    let (own, good) = (disk_of(&system()), system());
    let other = disk_of(&good);
    let before = own.content();
    let mut mutator = Mutator::seeded("disks");
    let mut seen = 0;
    for round in 0..150 {
        // Boot sector, header, entries, the heads of the partitions.
        let at = [0, 512, 1024, 1152, ESP_AT, ROOT_AT][mutator.below(6)];
        let mut damaged = mutator.mutate(&good[at..at + 128]);
        damaged.resize(128, 0);
        let mut image = good.clone();
        image[at..at + 128].copy_from_slice(&damaged);
        if (512..2048).contains(&at) {
            // Checksums that are right again let the damage pass.
            seal(&mut image, 128);
        }
        // What may have been made harmless in the round before.
        for range in [
            0..34 * 512,
            good.len() - 33 * 512..good.len(),
            ESP_AT..ESP_AT + LOOK_BYTES,
            ROOT_AT..ROOT_AT + LOOK_BYTES,
        ] {
            other.overwrite(&image[range.clone()], range.start as u64);
        }
        let harmless = if round % 2 == 0 { vec![&other] } else { vec![] };
        seen += look_from(&own, &[&other], &harmless).len();
    }
    assert!(seen > 100, "{seen}");
    assert!(own.content() == before);
}
