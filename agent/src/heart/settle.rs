//! When a machine that has just booted shows all of its disks: no driver is wanted, devices are quiet, controllers are ready.
//! Loading drivers is left to `init`, reading disks to `collect`; what a missing disk means is the conductor's decision.
use crate::sysfs::text;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// From the end of the first loading. Ironic's agent looks ten times for a disk, with pauses of 3 s.
const LIMIT: Duration = Duration::from_secs(30);
/// Devices are quiet when no event has come for this long. A driver announces what it finds at once; this covers a bus
/// behind a bus, and is over before DHCP is.
const QUIET: Duration = Duration::from_millis(500);
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Their drivers have scanned for disks when loading them ends, so an empty one stays empty. Others (SAS, Fibre Channel,
/// RAID) go on by themselves.
const SCANS_WHILE_LOADING: [&str; 5] =
    ["ahci", "ata_piix", "uas", "usb-storage", "Virtio SCSI HBA"];

/// What can be seen of the hardware at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Loaded since the last look.
    pub modules: usize,
    /// The kernel's count of device events.
    pub events: Option<u64>,
    pub disks: usize,
    /// Disks that could not be read.
    pub unread: usize,
    /// A controller that finds its disks in its own time.
    pub may_have_disks: bool,
    /// Controllers that are not ready, in words.
    pub starting: Vec<String>,
}

/// Judges one look after another.
#[derive(Default)]
pub struct Settling {
    events: Option<u64>,
    disks: usize,
    changed: Duration,
}

impl Settling {
    /// `now`: since the drivers were loaded first. When the wait is over: what was still missing.
    pub fn look(&mut self, now: Duration, look: &Look) -> Option<Vec<String>> {
        let (events, disks) = (look.events, look.disks);
        if look.modules > 0 || events != self.events || disks != self.disks {
            (self.events, self.disks, self.changed) = (events, disks, now);
        }
        let is_quiet = now.saturating_sub(self.changed) >= QUIET;
        let is_ready = look.starting.is_empty() && look.unread == 0;
        // Without a disk and without a controller that may yet find one, there is nothing to wait for.
        let has_disks = disks > 0 || !look.may_have_disks;
        if is_quiet && is_ready && has_disks {
            return Some(Vec::new());
        }
        if now < LIMIT {
            return None;
        }
        let mut missing = look.starting.clone();
        if !is_quiet {
            missing.push(format!(
                "devices still came and went after {} s",
                LIMIT.as_secs()
            ));
        }
        Some(missing)
    }
}

/// What the kernel says of its devices; modules and disks are filled in by the caller.
pub fn look_at_controllers(sys: &Path) -> Look {
    let names = |class: &str| -> Vec<String> {
        let entries = fs::read_dir(sys.join("class").join(class));
        let entries = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    };
    let nvme = names("nvme");
    let state = |name: &String| text(&sys.join("class/nvme").join(name), "state");
    // `dead` and `deleting` come to nothing (nvme_sysfs_show_state of drivers/nvme/host/sysfs.c).
    let is_starting = |state: &str| ["new", "resetting", "connecting"].contains(&state);
    let starting = nvme.iter().filter_map(|name| {
        let state = state(name).filter(|state| is_starting(state))?;
        Some(format!("{name} is {state}"))
    });
    let starting = starting.collect();
    let finds_late = |host: &String| {
        let driver = text(&sys.join("class/scsi_host").join(host), "proc_name");
        driver.is_none_or(|driver| !SCANS_WHILE_LOADING.contains(&driver.as_str()))
    };
    Look {
        events: fs::read_to_string(sys.join("kernel/uevent_seqnum"))
            .ok()
            .and_then(|count| count.trim().parse().ok()),
        may_have_disks: !nvme.is_empty() || names("scsi_host").iter().any(finds_late),
        starting,
        ..Look::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Look {
        Look {
            events: Some(7),
            disks: 1,
            ..Look::default()
        }
    }

    /// Looks every 100 ms; when it was over, and what was missing then.
    fn settle(look: impl Fn(u128) -> Look) -> (u128, Vec<String>) {
        let mut settling = Settling::default();
        let mut now = Duration::ZERO;
        loop {
            if let Some(missing) = settling.look(now, &look(now.as_millis())) {
                return (now.as_millis(), missing);
            }
            now += LOOK_EVERY;
            assert!(now < LIMIT * 2, "it waits for ever");
        }
    }

    fn check(look: impl Fn(u128) -> Look, over_ms: u128, missing: &[&str]) {
        let (over, words) = settle(look);
        assert_eq!(
            (over, words),
            (over_ms, missing.iter().map(ToString::to_string).collect())
        );
    }

    #[test]
    fn a_machine_whose_disks_are_there_waits_half_a_second() {
        check(|_| quiet(), 500, &[]);
    }

    #[test]
    fn a_driver_that_comes_late_brings_its_disks_in_time() {
        let late = |ms| Look {
            events: Some(if ms < 400 { 7 } else { 9 }),
            modules: usize::from(ms == 400),
            disks: if ms < 400 { 1 } else { 2 },
            ..quiet()
        };
        check(late, 900, &[]);
    }

    #[test]
    fn a_controller_without_a_disk_gets_half_a_minute_and_its_machine_is_diskless_then() {
        let empty = |_| Look {
            disks: 0,
            may_have_disks: true,
            ..quiet()
        };
        check(empty, 30_000, &[]);
        let late = |ms| Look {
            disks: usize::from(ms >= 20_000),
            may_have_disks: true,
            ..quiet()
        };
        check(late, 20_500, &[]);
        let none = |_| Look {
            disks: 0,
            ..quiet()
        };
        check(none, 500, &[]);
    }

    #[test]
    fn what_is_not_ready_in_the_end_is_named() {
        let starting = |_| Look {
            starting: vec!["nvme0 is connecting".into()],
            ..quiet()
        };
        check(starting, 30_000, &["nvme0 is connecting"]);
        let restless = |ms: u128| Look {
            events: u64::try_from(ms / 300).ok(),
            ..quiet()
        };
        check(
            restless,
            30_000,
            &["devices still came and went after 30 s"],
        );
        // Its own collector says which.
        let unread = |_| Look {
            unread: 1,
            ..quiet()
        };
        check(unread, 30_000, &[]);
    }

    #[test]
    fn controllers_are_read_from_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        assert!(!look_at_controllers(root.path()).may_have_disks);
        write("kernel/uevent_seqnum", "2315\n");
        write("class/scsi_host/host0/proc_name", "ahci\n");
        let look = look_at_controllers(root.path());
        assert_eq!((look.events, look.may_have_disks), (Some(2315), false));
        write("class/scsi_host/host1/proc_name", "mpt3sas\n");
        assert!(look_at_controllers(root.path()).may_have_disks);
        write("class/nvme/nvme0/state", "live\n");
        write("class/nvme/nvme1/state", "connecting\n");
        let look = look_at_controllers(root.path());
        assert_eq!(look.starting, ["nvme1 is connecting"]);
    }
}
