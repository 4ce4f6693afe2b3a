//! What a plan may rely on of the disks in an inventory: whether all are there, and which of them cleaning leaves alone.
//! Choosing a root device is left to `hints`, the steps to `plan`.
use crate::node::{LeftDisk, WhyLeft};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::disk::{DiskIdentity, distinct};
use ironbeat_common::inventory::{Disk, Inventory};

/// Disks named in one refusal; the rest is counted.
const MAX_NAMED: usize = 8;

/// Why the disks of this lookup are not all that the machine has; none: nothing speaks against them.
/// A disk that cleaning leaves alone may be gone: sticks and virtual media come and go.
pub fn doubt(fresh: &Inventory, known: Option<&Inventory>) -> Option<String> {
    let problems = fresh.disk_problems();
    let mut doubts: Vec<String> = problems
        .map(|problem| format!("{}: {}", problem.collector, problem.what))
        .collect();
    let gone = known.map_or_else(Vec::new, |known| missing(&known.disks, &fresh.disks));
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
fn missing<'a>(known: &'a [Disk], present: &[Disk]) -> Vec<&'a Disk> {
    let has_no_id = |disk: &Disk| disk.serial.is_none() && disk.wwn.is_none();
    let mut nameless: Vec<u64> = present
        .iter()
        .filter(|disk| has_no_id(disk))
        .map(|disk| disk.size_bytes)
        .collect();
    let mut gone = Vec::new();
    for disk in known.iter().filter(|disk| left_alone(disk).is_none()) {
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

/// Why cleaning does not erase this disk; none: it does.
pub fn left_alone(disk: &Disk) -> Option<WhyLeft> {
    if disk.read_only {
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
pub fn for_cleaning(disks: &[Disk]) -> (Vec<DiskIdentity>, Vec<LeftDisk>) {
    let (mut erased, mut left) = (Vec::new(), Vec::new());
    for disk in distinct(disks.iter()) {
        let identity = DiskIdentity::of(disk);
        match left_alone(disk) {
            None => erased.push(identity),
            Some(why) => left.push(LeftDisk {
                disk: identity.to_string(),
                why,
            }),
        }
    }
    (erased, left)
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
        }
    }

    fn check(fresh: &Inventory, known: Option<&Inventory>, expected: Option<&str>) {
        assert_eq!(doubt(fresh, known).as_deref(), expected);
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
        let (erased, left) = for_cleaning(&found.disks);
        let names: Vec<&str> = erased.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["/dev/sd0"]);
        assert_eq!((left.len(), left[0].why), (1, WhyLeft::Removable));
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
        let why = doubt(&inventory(&[]), Some(&inventory(&serials))).unwrap();
        assert!(why.ends_with(" is missing; 52 more"), "{why}");
    }
}
