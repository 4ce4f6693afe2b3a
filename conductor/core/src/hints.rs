//! Root device hints in Ironic's syntax, and the choice of one disk by them.
//! `plan` decides what happens to the chosen disk.
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::disk::distinct;
use ironbeat_common::inventory::Disk;
use serde::{Deserialize, Serialize};

const GIB: u64 = 1 << 30;
/// A smaller disk carries no operating system (Ironic's rule).
pub const MIN_ROOT_GIB: u64 = 4;

/// `{"size": ">= 100", "rotational": "false", "serial": "S1"}`: all hints must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Hints(pub BTreeMap<String, String>);

/// A hint that makes no sense. It is refused when it is set, not at three in the morning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHint {
    pub key: String,
    pub why: String,
}

impl fmt::Display for BadHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root device hint {:?}: {}", self.key, self.why)
    }
}

impl core::error::Error for BadHint {}

/// Why no disk was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDisk {
    /// The machine has no disk that may be written.
    None {
        left_out: Vec<String>,
    },
    /// Per disk, the first hint that failed.
    NoMatch {
        why: Vec<String>,
    },
    /// Without a hint, per disk, why it is not taken.
    NoHint {
        why: Vec<String>,
    },
    /// Several fit equally: probing order would choose.
    Tie {
        between: Vec<String>,
    },
    AllSkipped,
}

impl fmt::Display for NoDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoDisk::None { left_out } if left_out.is_empty() => {
                f.write_str("the machine has no disk")
            }
            NoDisk::None { left_out } => write!(f, "no usable disk: {}", left_out.join("; ")),
            NoDisk::AllSkipped => {
                f.write_str("all disks of the machine are on the node's skip list")
            }
            NoDisk::NoMatch { why } => write!(
                f,
                "no disk matches the root device hints: {}",
                why.join("; ")
            ),
            NoDisk::NoHint { why } => write!(
                f,
                "no disk can be chosen without a root device hint such as name or serial: {}",
                why.join("; ")
            ),
            NoDisk::Tie { between } => write!(
                f,
                "{} disks fit equally well ({}): add a root device hint such as serial, wwn or hctl",
                between.len(),
                between.join(", ")
            ),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Size,
    Bool,
}

const KEYS: [(&str, Kind); 12] = [
    ("model", Kind::Text),
    ("vendor", Kind::Text),
    ("serial", Kind::Text),
    ("wwn", Kind::Text),
    ("name", Kind::Text),
    ("hctl", Kind::Text),
    ("by_path", Kind::Text),
    ("tran", Kind::Text),
    ("wwn_with_extension", Kind::Text),
    ("wwn_vendor_extension", Kind::Text),
    ("size", Kind::Size),
    ("rotational", Kind::Bool),
];

impl Hints {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// The first hint with a bad key or value.
    pub fn check(&self) -> Result<(), BadHint> {
        for (key, value) in &self.0 {
            let bad = |why: String| BadHint {
                key: key.clone(),
                why,
            };
            let Some((_, kind)) = KEYS.iter().find(|(name, _)| name == key) else {
                let known: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
                return Err(bad(format!("unknown; known are {}", known.join(", "))));
            };
            match kind {
                Kind::Text => {}
                Kind::Bool => {
                    parse_bool(value)
                        .ok_or_else(|| bad(format!("{value:?} is neither true nor false")))?;
                }
                Kind::Size => {
                    size_test(value, 0).ok_or_else(|| {
                        bad(format!("{value:?} is not a size in GiB with an operator"))
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether the disk fits all hints; nothing fits none.
    pub fn fit(&self, disk: &Disk) -> bool {
        !self.is_empty() && self.failing(disk).is_none()
    }

    /// The one disk that all hints fit. Without hints: the smallest of at least [`MIN_ROOT_GIB`].
    ///
    /// # Errors
    /// When none fits, or several do and only their device names tell them apart.
    pub fn choose<'a>(&self, disks: &'a [Disk]) -> Result<&'a Disk, NoDisk> {
        let mut left_out = Vec::new();
        let usable: Vec<&Disk> = disks
            .iter()
            .filter(|disk| match unusable(disk, self.0.contains_key("tran")) {
                None => true,
                Some(why) => {
                    left_out.push(format!("{} is {why}", disk.name));
                    false
                }
            })
            .collect();
        if usable.is_empty() {
            return Err(NoDisk::None { left_out });
        }
        let mut why = Vec::new();
        let mut fitting: Vec<&Disk> = usable
            .into_iter()
            .filter(|disk| match self.failing(disk) {
                None => true,
                Some(reason) => {
                    why.push(reason);
                    false
                }
            })
            .collect();
        if fitting.is_empty() {
            return Err(match self.is_empty() {
                true => NoDisk::NoHint { why },
                false => NoDisk::NoMatch { why },
            });
        }
        fitting = distinct(fitting.into_iter());
        // Ironic takes the smallest; we refuse when probing order would decide which one that is.
        fitting.sort_by_key(|disk| disk.size_bytes);
        let smallest = fitting[0].size_bytes;
        let tied: Vec<&Disk> = fitting
            .iter()
            .copied()
            .filter(|disk| disk.size_bytes == smallest)
            .collect();
        match tied.as_slice() {
            [one] => Ok(one),
            several => Err(NoDisk::Tie {
                between: several.iter().map(|disk| describe(disk)).collect(),
            }),
        }
    }

    /// The first hint that this disk fails, in words.
    fn failing(&self, disk: &Disk) -> Option<String> {
        if self.0.is_empty() {
            return (disk.size_bytes < MIN_ROOT_GIB * GIB)
                .then(|| format!("{} is smaller than {MIN_ROOT_GIB} GiB", disk.name));
        }
        self.0.iter().find_map(|(key, value)| {
            let (holds, have) = match key.as_str() {
                "size" => (
                    size_test(value, disk.size_bytes) == Some(true),
                    format!("{} GiB", disk.size_bytes / GIB),
                ),
                "rotational" => (
                    parse_bool(value) == Some(disk.rotational),
                    disk.rotational.to_string(),
                ),
                _ => {
                    let have = texts_of(disk, key);
                    let words = match have.as_slice() {
                        [] => "unknown".into(),
                        forms => forms.join(" or "),
                    };
                    (text_test(value, &have), words)
                }
            };
            (!holds).then(|| format!("{}: {key} is {have}, wanted {value}", disk.name))
        })
    }
}

fn describe(disk: &Disk) -> String {
    match (&disk.serial, &disk.wwn) {
        (Some(serial), _) => format!("{} serial {serial}", disk.name),
        (None, Some(wwn)) => format!("{} wwn {wwn}", disk.name),
        (None, None) => disk.name.clone(),
    }
}

/// Why a disk is never a root device: an operator would be angry to see it overwritten.
fn unusable(disk: &Disk, transport_hinted: bool) -> Option<&'static str> {
    if disk.read_only {
        return Some("read-only");
    }
    if disk.size_bytes == 0 {
        return Some("empty");
    }
    if disk.is_removable() {
        return Some("removable");
    }
    if disk.transport.as_deref() == Some("usb") && !transport_hinted {
        return Some("on USB");
    }
    None
}

/// What the disk has there, in each form that it is known by.
fn texts_of(disk: &Disk, key: &str) -> Vec<String> {
    let one = match key {
        "wwn" | "wwn_with_extension" | "wwn_vendor_extension" => return wwns_of(disk, key),
        "model" => disk.model.clone(),
        "vendor" => disk.vendor.clone(),
        "serial" => disk.serial.clone(),
        "name" => Some(disk.name.clone()),
        "hctl" => disk.hctl.clone(),
        "by_path" => disk.by_path.clone(),
        "tran" => disk.transport.clone(),
        _ => None,
    };
    one.into_iter().collect()
}

/// udev, and so Ironic, splits a name of 128 bits (NAA 6): its `ID_WWN` is the first half, the vendor's extension the second
/// (scsi_id_serial.c of systemd). The kernel, and so the inventory, has it whole.
fn wwns_of(disk: &Disk, key: &str) -> Vec<String> {
    let Some(whole) = &disk.wwn else {
        return Vec::new();
    };
    let digits = whole
        .strip_prefix("naa.")
        .filter(|digits| digits.len() == 32);
    let halves = digits.and_then(|digits| digits.split_at_checked(16));
    match (key, halves) {
        ("wwn", Some((first, _))) => vec![first.into(), whole.clone()],
        ("wwn_vendor_extension", Some((_, second))) => vec![second.into()],
        ("wwn_vendor_extension", None) => Vec::new(),
        (_, _) => vec![whole.clone()],
    }
}

/// Without udev's folder, the kernel's prefix, and the `0x` that a WWN may be written with.
fn normal(text: &str) -> String {
    let text = text.trim().to_lowercase();
    for prefix in ["/dev/disk/by-path/", "naa.", "eui.", "0x"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return rest.to_string();
        }
    }
    text
}

/// Ironic's string operators; none means equal. Case does not count. What is known by several forms fits by any of them,
/// and is something else only by all.
fn text_test(hint: &str, forms: &[String]) -> bool {
    match hint.trim_start().starts_with("s!=") {
        true => !forms.is_empty() && forms.iter().all(|have| form_test(hint, have)),
        false => forms.iter().any(|have| form_test(hint, have)),
    }
}

fn form_test(hint: &str, have: &str) -> bool {
    let have = normal(have);
    if let Some(rest) = hint.trim_start().strip_prefix("<or>") {
        return rest.split("<or>").any(|choice| normal(choice) == have);
    }
    if let Some(rest) = hint.trim_start().strip_prefix("<all-in>") {
        return rest
            .split_whitespace()
            .all(|part| have.contains(&normal(part)));
    }
    if let Some(rest) = hint.trim_start().strip_prefix("<in>") {
        return have.contains(&normal(rest));
    }
    // The longer operators first: "s<=" begins with "s<".
    for (operator, holds) in [
        (
            "s==",
            (|o| o == core::cmp::Ordering::Equal) as fn(core::cmp::Ordering) -> bool,
        ),
        ("s!=", |o| o != core::cmp::Ordering::Equal),
        ("s<=", |o| o != core::cmp::Ordering::Greater),
        ("s>=", |o| o != core::cmp::Ordering::Less),
        ("s<", |o| o == core::cmp::Ordering::Less),
        ("s>", |o| o == core::cmp::Ordering::Greater),
    ] {
        if let Some(rest) = hint.trim_start().strip_prefix(operator) {
            return holds(have.as_str().cmp(normal(rest).as_str()));
        }
    }
    normal(hint) == have
}

/// Whether a size in bytes fits a hint in GiB; `None` when the hint is no size. `==` takes the floor or nearest GiB,
/// so that `465` finds a "500 GB" disk; the other operators compare whole GiB.
fn size_test(hint: &str, bytes: u64) -> Option<bool> {
    let hint = hint.trim();
    let gib = bytes / GIB;
    let rounded = bytes.saturating_add(GIB / 2) / GIB;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if let Some(rest) = hint.strip_prefix("<or>") {
        return rest.split("<or>").try_fold(false, |any, choice| {
            let wanted = number(choice)?;
            Some(any || wanted == gib || wanted == rounded)
        });
    }
    if let Some(rest) = hint.strip_prefix("<range-in>") {
        return range_test(rest.trim(), gib);
    }
    for operator in ["==", "!=", "<=", ">=", "<", ">", "="] {
        let Some(rest) = hint.strip_prefix(operator) else {
            continue;
        };
        let wanted = number(rest)?;
        return Some(match operator {
            "==" => wanted == gib || wanted == rounded,
            "!=" => wanted != gib && wanted != rounded,
            "<=" => gib <= wanted,
            "<" => gib < wanted,
            ">" => gib > wanted,
            // A single "=" means "at least", in Ironic as here.
            _ => gib >= wanted,
        });
    }
    number(hint).map(|wanted| wanted == gib || wanted == rounded)
}

/// `[ 10 20 ]`, `( 10 20 )` and mixtures.
fn range_test(range: &str, gib: u64) -> Option<bool> {
    let inner = range.get(1..range.len().checked_sub(1)?)?;
    let mut numbers = inner.split_whitespace().map(|n| n.parse::<u64>().ok());
    let (low, high) = (numbers.next()??, numbers.next()??);
    let above = match range.as_bytes().first()? {
        b'[' => gib >= low,
        b'(' => gib > low,
        _ => return None,
    };
    let below = match range.as_bytes().last()? {
        b']' => gib <= high,
        b')' => gib < high,
        _ => return None,
    };
    numbers.next().is_none().then_some(above && below)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, gib: u64) -> Disk {
        Disk {
            name: name.into(),
            size_bytes: gib * GIB,
            ..Disk::default()
        }
    }

    fn hints(pairs: &[(&str, &str)]) -> Hints {
        Hints(
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        )
    }

    fn rack() -> Vec<Disk> {
        vec![
            Disk {
                serial: Some("S1".into()),
                wwn: Some("naa.5000c500a1b2c3d4".into()),
                model: Some("ST8000NM".into()),
                rotational: true,
                transport: Some("sata".into()),
                hctl: Some("0:0:1:0".into()),
                ..disk("/dev/sda", 7452)
            },
            Disk {
                serial: Some("PHLJ1".into()),
                model: Some("INTEL SSDPE2KX".into()),
                transport: Some("nvme".into()),
                ..disk("/dev/nvme0n1", 931)
            },
            Disk {
                transport: Some("usb".into()),
                ..disk("/dev/sdb", 14)
            },
        ]
    }

    #[test]
    fn hints_choose_one_disk() {
        for (pairs, expected) in [
            (vec![], "/dev/nvme0n1"),
            (vec![("size", "== 7452")], "/dev/sda"),
            (vec![("size", "> 931")], "/dev/sda"),
            (vec![("size", "<range-in> [ 900 1000 ]")], "/dev/nvme0n1"),
            (vec![("size", "<or> 10 <or> 931")], "/dev/nvme0n1"),
            (vec![("serial", "s1")], "/dev/sda"),
            (vec![("wwn", "0x5000C500A1B2C3D4")], "/dev/sda"),
            (vec![("model", "<in> ssd")], "/dev/nvme0n1"),
            (vec![("model", "<all-in> intel ssdpe")], "/dev/nvme0n1"),
            (vec![("rotational", "true")], "/dev/sda"),
            (vec![("hctl", "0:0:1:0"), ("size", ">= 1")], "/dev/sda"),
            (vec![("tran", "usb")], "/dev/sdb"),
            (vec![("serial", "<or> x <or> PHLJ1")], "/dev/nvme0n1"),
            (vec![("name", "s!= /dev/sda")], "/dev/nvme0n1"),
        ] {
            let hints = hints(&pairs);
            hints.check().unwrap();
            assert_eq!(
                hints.choose(&rack()).map(|d| d.name.as_str()),
                Ok(expected),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_disk_is_found_by_what_udev_and_ironic_call_it() {
        let volume = "naa.600508b1001c3a2b7f4e5d6c7b8a9f01";
        let path = "pci-0000:5c:00.0-sas-phy0-lun-0";
        let disks = [Disk {
            wwn: Some(volume.into()),
            by_path: Some(path.into()),
            ..disk("/dev/sda", 100)
        }];
        for (key, value, is) in [
            ("wwn", "0x600508b1001c3a2b", true),
            ("wwn", volume, true),
            ("wwn", "s!= 0x600508b1001c3a2b", false),
            ("wwn", "0x7f4e5d6c7b8a9f01", false),
            ("wwn_vendor_extension", "0x7f4e5d6c7b8a9f01", true),
            ("wwn_vendor_extension", "0x600508b1001c3a2b", false),
            (
                "wwn_with_extension",
                "0x600508B1001C3A2B7F4E5D6C7B8A9F01",
                true,
            ),
            ("wwn_with_extension", "0x600508b1001c3a2b", false),
            ("by_path", path, true),
            (
                "by_path",
                "/dev/disk/by-path/pci-0000:5c:00.0-sas-phy0-lun-0",
                true,
            ),
            ("by_path", "<in> 5c:00.0", true),
        ] {
            let found = hints(&[(key, value)]).choose(&disks);
            assert_eq!(found.is_ok(), is, "{key} {value}: {found:?}");
        }
        // One of 64 bits has no extension.
        let short = [Disk {
            wwn: Some("naa.5000c500a1b2c3d4".into()),
            ..disk("/dev/sda", 100)
        }];
        let by_extension = hints(&[("wwn_vendor_extension", "0x5000c500a1b2c3d4")]);
        assert!(by_extension.choose(&short).is_err());
        let whole = hints(&[("wwn_with_extension", "0x5000c500a1b2c3d4")]);
        assert!(whole.choose(&short).is_ok());
    }

    #[test]
    fn a_500_gb_disk_is_465_and_466_gib() {
        let disks = [Disk {
            size_bytes: 500_107_862_016,
            ..disk("/dev/sda", 0)
        }];
        for size in ["465", "== 466", "<or> 1 <or> 465"] {
            assert!(hints(&[("size", size)]).choose(&disks).is_ok(), "{size}");
        }
    }

    #[test]
    fn a_refusal_says_why_for_each_disk() {
        let why = hints(&[("serial", "nope")])
            .choose(&rack())
            .unwrap_err()
            .to_string();
        assert!(why.contains("/dev/sda: serial is S1, wanted nope"), "{why}");
        assert!(
            why.contains("/dev/nvme0n1: serial is PHLJ1, wanted nope"),
            "{why}"
        );
        let small = [disk("/dev/vda", 2)];
        assert_eq!(
            Hints::default().choose(&small).unwrap_err().to_string(),
            "no disk can be chosen without a root device hint such as name or serial: /dev/vda is smaller than 4 GiB"
        );
        assert_eq!(
            Hints::default().choose(&[]).unwrap_err().to_string(),
            "the machine has no disk"
        );
    }

    #[test]
    fn two_equal_disks_are_not_decided_by_probing_order() {
        let mut disks = [disk("/dev/sda", 100), disk("/dev/sdb", 100)];
        disks[0].serial = Some("A".into());
        let tie = Hints::default().choose(&disks).unwrap_err();
        assert_eq!(
            tie,
            NoDisk::Tie {
                between: vec!["/dev/sda serial A".into(), "/dev/sdb".into()]
            }
        );
        assert_eq!(
            hints(&[("serial", "A")]).choose(&disks).unwrap().name,
            "/dev/sda"
        );
    }

    #[test]
    fn two_paths_to_one_disk_are_no_tie() {
        let path = |name: &str, hctl: &str| Disk {
            wwn: Some("naa.5000c500a1b2c3d4".into()),
            hctl: Some(hctl.into()),
            transport: Some("sas".into()),
            ..disk(name, 100)
        };
        let mut disks = [path("/dev/sda", "0:0:0:0"), path("/dev/sdb", "1:0:0:0")];
        let chosen = Hints::default().choose(&disks).unwrap();
        assert_eq!(chosen.name, "/dev/sda");
        let by_path = hints(&[("hctl", "1:0:0:0")]);
        assert_eq!(by_path.choose(&disks).unwrap().name, "/dev/sdb");
        disks[1].wwn = Some("naa.5000c500a1b2c3d5".into());
        assert!(Hints::default().choose(&disks).is_err());
    }

    #[test]
    fn an_array_that_calls_itself_removable_can_be_chosen() {
        let mut array = disk("/dev/sda", 100);
        (array.removable, array.transport) = (true, Some("scsi".into()));
        assert!(Hints::default().choose(&[array]).is_ok());
    }

    #[test]
    fn nonsense_is_refused_when_it_is_set() {
        for (key, value) in [
            ("colour", "red"),
            ("size", "big"),
            ("size", ">= x"),
            ("rotational", "maybe"),
            ("size", "<range-in> 1 2"),
            ("size", "<range-in> ["),
        ] {
            assert!(hints(&[(key, value)]).check().is_err(), "{key}={value}");
        }
    }
}
