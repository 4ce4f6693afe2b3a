//! What a plan may rely on of the disks in an inventory: whether all are there, and which of them cleaning leaves alone.
//! Choosing a root device is left to `hints`, the steps to `plan`.
use crate::hints::Hints;
use crate::node::{LeftDisk, MAX_SKIPS, WhyLeft};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::disk::{DiskIdentity, are_paths, distinct};
use ironbeat_common::inventory::{Disk, Inventory, Problem};

/// Disks named in one refusal; the rest is counted.
const MAX_NAMED: usize = 8;

/// Why the disks of this lookup are not all that the machine has; none: nothing speaks against them.
/// A disk that cleaning leaves alone may be gone: sticks and virtual media come and go.
pub fn doubt(fresh: &Inventory, known: Option<&Inventory>, skips: &[Hints]) -> Option<String> {
    let problems = fresh.disk_problems();
    let mut doubts: Vec<String> = problems
        .filter(|problem| !skips_slot(skips, problem))
        .map(|problem| format!("{}: {}", problem.collector, problem.what))
        .collect();
    let gone = known.map_or_else(Vec::new, |known| missing(&known.disks, &fresh.disks, skips));
    doubts.extend(
        gone.iter()
            .map(|disk| format!("{} is missing", DiskIdentity::of(disk))),
    );
    if doubts.is_empty() {
        return None;
    }
    let more = doubts.len().saturating_sub(MAX_NAMED);
    doubts.truncate(MAX_NAMED);
    if more > 0 {
        doubts.push(format!("{more} more"));
    }
    Some(doubts.join("; "))
}

/// Disks of the machine that are not among the present ones.
fn missing<'a>(known: &'a [Disk], present: &[Disk], skips: &[Hints]) -> Vec<&'a Disk> {
    let has_no_id = |disk: &Disk| disk.serial.is_none() && disk.wwn.is_none();
    let mut nameless: Vec<u64> = present
        .iter()
        .filter(|disk| has_no_id(disk))
        .map(|disk| disk.size_bytes)
        .collect();
    let mut gone = Vec::new();
    let is_erased = |disk: &&Disk| left_alone(disk, known, skips).is_none();
    for disk in known.iter().filter(is_erased) {
        let is_there = if has_no_id(disk) {
            // Device names change with probing order: only how many there are of each size says anything.
            let same = nameless.iter().position(|size| *size == disk.size_bytes);
            same.map(|index| nameless.swap_remove(index)).is_some()
        } else {
            present.iter().any(|other| is_still(disk, other))
        };
        if !is_there {
            gone.push(disk);
        }
    }
    gone
}

/// A volume may have grown, and a driver may tell more than the last one did.
fn is_still(before: &Disk, now: &Disk) -> bool {
    match (&before.wwn, &now.wwn) {
        (Some(before), Some(now)) => before == now,
        (_, _) => before.serial.is_some() && before.serial == now.serial,
    }
}

/// Why a skip list is not one.
///
/// # Errors
/// It is too long, or an entry is empty or has a hint that makes no sense.
pub fn check_skips(skips: &[Hints]) -> Result<(), String> {
    if skips.len() > MAX_SKIPS {
        let count = skips.len();
        return Err(format!(
            "a skip list of {count} entries, at most {MAX_SKIPS}"
        ));
    }
    for hints in skips {
        hints.check().map_err(|bad| bad.to_string())?;
        if hints.is_empty() {
            return Err("an entry of the skip list has no hint".into());
        }
    }
    Ok(())
}

/// The disks that a deploy may choose from.
pub fn not_skipped(inventory: &Inventory, skips: &[Hints]) -> Vec<Disk> {
    let all = &inventory.disks;
    let usable = all.iter().filter(|disk| !is_skipped(disk, all, skips));
    usable.cloned().collect()
}

/// Whether an entry of the skip list fits one of the disk's paths.
fn is_skipped(disk: &Disk, all: &[Disk], skips: &[Hints]) -> bool {
    let fits = |disk: &Disk| skips.iter().any(|hints| hints.fit(disk));
    fits(disk)
        || all
            .iter()
            .any(|other| are_paths(disk, other) && fits(other))
}

/// Whether an entry that names slots fits the slot of a controller without a driver: nothing else is known of what hangs on it.
fn skips_slot(skips: &[Hints], problem: &Problem) -> bool {
    let unseen = Disk {
        by_path: problem.by_path.clone(),
        ..Disk::default()
    };
    let names_slots = |hints: &&Hints| hints.0.contains_key("by_path");
    unseen.by_path.is_some()
        && skips
            .iter()
            .filter(names_slots)
            .any(|hints| hints.fit(&unseen))
}

/// Why cleaning does not erase this disk, one of all; none: it does.
fn left_alone(disk: &Disk, all: &[Disk], skips: &[Hints]) -> Option<WhyLeft> {
    if is_skipped(disk, all, skips) {
        Some(WhyLeft::Skipped)
    } else if disk.read_only {
        Some(WhyLeft::ReadOnly)
    } else if disk.size_bytes == 0 {
        Some(WhyLeft::Empty)
    } else if disk.transport.as_deref() == Some("usb") {
        Some(WhyLeft::Usb)
    } else if disk.is_removable() {
        Some(WhyLeft::Removable)
    } else if matches!(disk.transport.as_deref(), Some("fc" | "iscsi")) {
        Some(WhyLeft::Shared)
    } else {
        None
    }
}

/// What cleaning erases, and what it leaves alone.
pub fn for_cleaning(inventory: &Inventory, skips: &[Hints]) -> (Vec<DiskIdentity>, Vec<LeftDisk>) {
    let (mut erased, mut left) = (Vec::new(), Vec::new());
    let unseen = inventory.disk_problems().filter(|p| skips_slot(skips, p));
    left.extend(unseen.map(|problem| LeftDisk {
        disk: problem.what.clone(),
        why: WhyLeft::Skipped,
    }));
    for disk in distinct(inventory.disks.iter()) {
        let identity = DiskIdentity::of(disk);
        match left_alone(disk, &inventory.disks, skips) {
            None => erased.push(identity),
            Some(why) => left.push(LeftDisk {
                disk: identity.to_string(),
                why,
            }),
        }
    }
    (erased, left)
}

/// The other disks that a deploy to this one may write to: those that cleaning erases.
pub fn beside(disk: &Disk, inventory: &Inventory, skips: &[Hints]) -> Vec<DiskIdentity> {
    let ours = DiskIdentity::of(disk);
    let is_path = |other: &DiskIdentity| {
        let mut paths = inventory.disks.iter().filter(|path| other.is(path));
        *other == ours || paths.any(|path| are_paths(path, disk))
    };
    let (mut others, _) = for_cleaning(inventory, skips);
    others.retain(|other| !is_path(other));
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::inventory;
    use ironbeat_common::inventory::{DISKS, DRIVERS, Problem};

    fn problem(collector: &str) -> Problem {
        Problem {
            collector: collector.into(),
            what: "not read within 3000 ms".into(),
            by_path: None,
        }
    }

    fn check(fresh: &Inventory, known: Option<&Inventory>, expected: Option<&str>) {
        assert_eq!(doubt(fresh, known, &[]).as_deref(), expected);
    }

    #[test]
    fn only_what_hides_disks_is_a_reason_to_doubt_them() {
        let mut fresh = inventory(&[]);
        check(&fresh, None, None);
        fresh.problems = vec![problem("bmc"), problem("nics")];
        check(&fresh, None, None);
        fresh.problems = vec![problem(DISKS), problem(DRIVERS)];
        let words = "disks: not read within 3000 ms; drivers: not read within 3000 ms";
        check(&fresh, None, Some(words));
    }

    #[test]
    fn a_disk_that_the_machine_had_is_missed() {
        let known = inventory(&["S1", "S2"]);
        check(&inventory(&["S1", "S2", "S3"]), Some(&known), None);
        let words = "/dev/sd1 serial S2, 11811160064 bytes is missing";
        check(&inventory(&["S1"]), Some(&known), Some(words));
        // Device names say nothing.
        let mut swapped = inventory(&["S2", "S1"]);
        check(&swapped, Some(&known), None);
        // A volume that has grown is still there.
        swapped.disks[0].size_bytes *= 2;
        check(&swapped, Some(&known), None);
    }

    #[test]
    fn a_disk_without_serial_and_wwn_is_counted_by_its_size() {
        let nameless = |sizes: &[u64]| {
            let mut all = inventory(&vec!["x"; sizes.len()]);
            for (disk, size) in all.disks.iter_mut().zip(sizes) {
                (disk.serial, disk.size_bytes) = (None, *size);
            }
            all
        };
        let known = nameless(&[10, 20, 10]);
        check(&nameless(&[10, 10, 20]), Some(&known), None);
        let words = "/dev/sd2, 10 bytes is missing";
        check(&nameless(&[10, 20]), Some(&known), Some(words));
    }

    #[test]
    fn an_array_that_calls_itself_removable_is_erased_and_a_disk_with_two_paths_once() {
        let mut found = inventory(&["S1", "S1", "CARD"]);
        for disk in &mut found.disks {
            (disk.removable, disk.size_bytes) = (true, 1 << 40);
            disk.transport = Some("scsi".into());
            disk.wwn = Some("naa.5000c500a1b2c3d4".into());
        }
        found.disks[2].transport = Some("mmc".into());
        let (erased, left) = for_cleaning(&found, &[]);
        let names: Vec<&str> = erased.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["/dev/sd0"]);
        assert_eq!((left.len(), left[0].why), (1, WhyLeft::Removable));
    }

    fn skip(key: &str, value: &str) -> Hints {
        Hints([(key.to_string(), value.to_string())].into())
    }

    #[test]
    fn what_the_skip_list_names_is_neither_erased_nor_missed_nor_chosen() {
        let mut found = inventory(&["S1", "S2", "S3"]);
        for (disk, hctl) in found
            .disks
            .iter_mut()
            .zip(["0:0:0:0", "0:0:1:0", "1:0:1:0"])
        {
            (disk.hctl, disk.transport) = (Some(hctl.into()), Some("sas".into()));
        }
        // One disk by two paths, of which an entry names the other.
        for path in &mut found.disks[1..] {
            (path.wwn, path.size_bytes) = (Some("naa.5000c500a1b2c3d4".into()), 1 << 40);
        }
        let skips = [skip("hctl", "1:0:1:0")];
        let (erased, left) = for_cleaning(&found, &skips);
        let names: Vec<&str> = erased.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!((names, left.len()), (vec!["/dev/sd0"], 1));
        assert_eq!(left[0].why, WhyLeft::Skipped);
        assert_eq!(not_skipped(&found, &skips).len(), 1);
        let now = inventory(&["S1"]);
        assert_eq!(doubt(&now, Some(&found), &skips), None);
        assert!(doubt(&now, Some(&found), &[]).is_some());
    }

    #[test]
    fn a_controller_without_a_driver_is_a_doubt_unless_the_skip_list_names_its_slot() {
        let mut found = inventory(&["S1"]);
        let what = "no driver took the SAS controller 1000:0097 at 0000:01:00.0";
        found.problems = vec![Problem {
            what: what.into(),
            by_path: Some("pci-0000:01:00.0".into()),
            ..problem(DRIVERS)
        }];
        for (skips, is_doubted) in [
            (vec![], true),
            (vec![skip("by_path", "pci-0000:02:00.0")], true),
            // These say nothing of a controller.
            (
                vec![skip("rotational", "false"), skip("size", "< 10")],
                true,
            ),
            (
                vec![skip("by_path", "/dev/disk/by-path/pci-0000:01:00.0")],
                false,
            ),
        ] {
            let doubted = doubt(&found, None, &skips);
            assert_eq!(doubted.is_some(), is_doubted, "{skips:?}");
            let (_, left) = for_cleaning(&found, &skips);
            let is_named = left.iter().any(|left| left.disk == what);
            assert_eq!(is_named, !is_doubted, "{skips:?}");
        }
    }

    #[test]
    fn a_skip_list_that_makes_no_sense_is_refused() {
        assert_eq!(check_skips(&[skip("serial", "S1")]), Ok(()));
        for wrong in [
            vec![Hints::default()],
            vec![skip("colour", "red")],
            vec![skip("serial", "S1"); MAX_SKIPS + 1],
        ] {
            assert!(check_skips(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sticks_come_and_go() {
        let mut known = inventory(&["S1", "STICK"]);
        known.disks[1].transport = Some("usb".into());
        check(&inventory(&["S1"]), Some(&known), None);
    }

    #[test]
    fn a_long_list_of_missing_disks_is_cut() {
        let serials: Vec<String> = (0..60).map(|n| format!("S{n}")).collect();
        let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
        let why = doubt(&inventory(&[]), Some(&inventory(&serials)), &[]).unwrap();
        assert!(why.ends_with(" is missing; 52 more"), "{why}");
    }
}
