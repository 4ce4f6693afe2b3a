//! A disk's identity, which outlives device names, whether a disk has it, and whether two block devices are paths to one.
//! Choosing the disk is the core's job (`hints`).
use crate::inventory::Disk;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A disk as the plan chose it. The agent looks for it again before the first write and refuses unless exactly one fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskIdentity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    pub size_bytes: u64,
    /// Counts only if the disk has neither serial nor WWN.
    pub name: String,
}

impl DiskIdentity {
    pub fn of(disk: &Disk) -> Self {
        Self {
            serial: disk.serial.clone(),
            wwn: disk.wwn.clone(),
            size_bytes: disk.size_bytes,
            name: disk.name.clone(),
        }
    }

    /// Serial and WWN must both agree where the plan had them; a disk with neither is identified by name alone.
    pub fn is(&self, disk: &Disk) -> bool {
        let named_only = self.serial.is_none() && self.wwn.is_none();
        self.size_bytes == disk.size_bytes
            && self.serial == disk.serial
            && self.wwn == disk.wwn
            && (!named_only || self.name == disk.name)
    }
}

/// Whether two block devices are two paths to one disk, both there at once: their bus can have paths, and WWN and size
/// agree; where a disk has no WWN, its serial number, size and LUN, on two addresses.
pub fn are_paths(one: &Disk, other: &Disk) -> bool {
    let can_have_paths = |disk: &Disk| {
        let transport = disk.transport.as_deref();
        matches!(transport, Some("sas" | "scsi" | "fc" | "iscsi" | "nvme"))
    };
    if !can_have_paths(one) || !can_have_paths(other) || one.size_bytes != other.size_bytes {
        return false;
    }
    match (&one.wwn, &other.wwn) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let lun = |disk: &Disk| {
                let hctl = disk.hctl.as_deref()?;
                Some(String::from(hctl.rsplit_once(':')?.1))
            };
            one.serial.is_some()
                && one.serial == other.serial
                && lun(one).is_some()
                && lun(one) == lun(other)
                && one.hctl != other.hctl
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// One path to each disk: the first.
pub fn distinct<'a>(disks: impl Iterator<Item = &'a Disk>) -> Vec<&'a Disk> {
    let mut found: Vec<&Disk> = Vec::new();
    for disk in disks {
        if !found.iter().any(|other| are_paths(disk, other)) {
            found.push(disk);
        }
    }
    found
}

impl fmt::Display for DiskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(serial) = &self.serial {
            write!(f, " serial {serial}")?;
        }
        if let Some(wwn) = &self.wwn {
            write!(f, " wwn {wwn}")?;
        }
        write!(f, ", {} bytes", self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str, hctl: &str, wwn: Option<&str>, serial: Option<&str>) -> Disk {
        Disk {
            name: name.into(),
            size_bytes: 5,
            hctl: Some(hctl.into()),
            wwn: wwn.map(Into::into),
            serial: serial.map(Into::into),
            transport: Some("sas".into()),
            ..Disk::default()
        }
    }

    #[test]
    fn two_paths_to_one_disk_are_told_from_two_disks() {
        let (wwn, other) = (Some("naa.5000c500a1b2c3d4"), Some("naa.5000c500a1b2c3d5"));
        let sda = path("/dev/sda", "0:0:0:0", wwn, Some("S1"));
        assert!(are_paths(
            &sda,
            &path("/dev/sdb", "1:0:0:0", wwn, Some("S1"))
        ));
        assert!(!are_paths(
            &sda,
            &path("/dev/sdb", "1:0:0:0", other, Some("S1"))
        ));
        assert!(!are_paths(
            &sda,
            &path("/dev/sdb", "1:0:0:0", None, Some("S1"))
        ));
        // Without WWN: another LUN of one array is another disk, and so is anything without a serial number.
        let bare = path("/dev/sda", "0:0:0:1", None, Some("S1"));
        assert!(are_paths(
            &bare,
            &path("/dev/sdb", "1:0:0:1", None, Some("S1"))
        ));
        assert!(!are_paths(
            &bare,
            &path("/dev/sdb", "1:0:0:2", None, Some("S1"))
        ));
        let nameless = path("/dev/sda", "0:0:0:1", None, None);
        assert!(!are_paths(
            &nameless,
            &path("/dev/sdb", "1:0:0:1", None, None)
        ));
        // A bus without paths has two disks with one serial number: bridges from one batch.
        let on_usb = |name| Disk {
            transport: Some("usb".into()),
            ..path(name, "6:0:0:0", wwn, Some("S1"))
        };
        assert!(!are_paths(&on_usb("/dev/sda"), &on_usb("/dev/sdb")));
        let larger = Disk {
            size_bytes: 6,
            ..sda.clone()
        };
        assert!(!are_paths(&sda, &larger));
    }

    #[test]
    fn only_usb_and_mmc_are_believed_to_be_removable() {
        for (transport, is) in [
            (Some("scsi"), false),
            (Some("sata"), false),
            (None, false),
            (Some("usb"), true),
            (Some("mmc"), true),
        ] {
            let disk = Disk {
                removable: true,
                transport: transport.map(Into::into),
                ..Disk::default()
            };
            assert_eq!(disk.is_removable(), is, "{transport:?}");
        }
    }
}
