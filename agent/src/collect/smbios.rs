//! What the firmware says about the machine: SMBIOS types 0, 1, 2, 3 and 17 (DSP0134).
//! Decoding is left to smbios-lib, except for type 40, which is never decoded: its length check can underflow.
use super::{Fill, Roots};
use anyhow::{Context, ensure};
use ironbeat_common::id::SystemUuid;
use ironbeat_common::inventory::{MemoryModule, System};
use smbioslib::{
    MemorySize, MemorySizeExtended, MemorySpeed, SMBiosBaseboardInformation, SMBiosData,
    SMBiosInformation, SMBiosMemoryDevice, SMBiosString, SMBiosSystemChassisInformation,
    SMBiosSystemInformation, SystemUuidData,
};
use std::fs::File;
use std::io::Read;

/// Real tables have 4 to 30 KB; the kernel's own limit for the 32-bit entry point is 64 KiB.
const MAX_TABLE_BYTES: u64 = 1 << 20;
/// More slots than any board has.
const MAX_MODULES: usize = 512;

pub fn read(roots: &Roots) -> anyhow::Result<Fill> {
    let path = roots.sys.join("firmware/dmi/tables/DMI");
    let mut table = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_TABLE_BYTES).read_to_end(&mut table))
        .with_context(|| format!("reading {}", path.display()))?;
    let (system, modules) = parse(table);
    ensure!(
        system != System::default() || !modules.is_empty(),
        "{} has no structure that could be read",
        path.display()
    );
    Ok(Box::new(move |inventory| {
        inventory.system = system;
        inventory.memory.installed_bytes = modules
            .iter()
            .map(|m| m.size_bytes)
            .reduce(u64::saturating_add);
        inventory.memory.modules = modules;
    }))
}

pub(crate) fn parse(table: Vec<u8>) -> (System, Vec<MemoryModule>) {
    let data = SMBiosData::from_vec_and_version(table, None);
    let mut system = System::default();
    if let Some(info) = data.first::<SMBiosSystemInformation<'_>>() {
        system.uuid = uuid(&info);
        system.manufacturer = text(info.manufacturer());
        system.product = text(info.product_name());
        system.serial = text(info.serial_number());
        system.sku = text(info.sku_number());
    }
    if let Some(board) = data.first::<SMBiosBaseboardInformation<'_>>() {
        system.board_serial = text(board.serial_number());
    }
    if let Some(chassis) = data.first::<SMBiosSystemChassisInformation<'_>>() {
        system.chassis_serial = text(chassis.serial_number());
        system.asset_tag = text(chassis.asset_tag_number());
    }
    if let Some(bios) = data.first::<SMBiosInformation<'_>>() {
        system.firmware.vendor = text(bios.vendor());
        system.firmware.version = text(bios.version());
        system.firmware.date = text(bios.release_date());
    }
    let modules = data
        .defined_struct_iter::<SMBiosMemoryDevice<'_>>()
        .filter_map(|m| module(&m))
        .take(MAX_MODULES);
    (system, modules.collect())
}

/// smbios-lib reads it in the mixed-endian order of DSP0134 section 7.2.1.
fn uuid(info: &SMBiosSystemInformation<'_>) -> Option<SystemUuid> {
    match info.uuid()? {
        SystemUuidData::Uuid(uuid) => uuid.to_string().parse().ok(),
        SystemUuidData::IdNotPresent | SystemUuidData::IdNotPresentButSettable => None,
    }
}

/// One filled slot; `None` for an empty one.
fn module(device: &SMBiosMemoryDevice<'_>) -> Option<MemoryModule> {
    let size_bytes = match device.size()? {
        MemorySize::NotInstalled | MemorySize::Unknown => return None,
        MemorySize::Kilobytes(kib) => u64::from(kib) << 10,
        MemorySize::Megabytes(mib) => u64::from(mib) << 20,
        MemorySize::SeeExtendedSize => match device.extended_size()? {
            MemorySizeExtended::Megabytes(mib) => u64::from(mib) << 20,
            MemorySizeExtended::SeeSize => return None,
        },
    };
    let speed_mts = match device.speed() {
        Some(MemorySpeed::MTs(speed)) => Some(u32::from(speed)),
        _ => None,
    };
    Some(MemoryModule {
        locator: text(device.device_locator()).unwrap_or_default(),
        size_bytes,
        serial: text(device.serial_number()),
        part: text(device.part_number()),
        manufacturer: text(device.manufacturer()),
        speed_mts,
    })
}

/// Longest text kept, in characters: DSP0134 section 6.1.3 sets no limit since 2.7; real ones are below 64.
const MAX_TEXT_CHARS: usize = 256;

/// Trimmed, without control characters; `None` for empty text and for placeholders.
fn text(value: SMBiosString) -> Option<String> {
    let value = value.ok()?;
    let value: String = value
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT_CHARS)
        .collect();
    (!is_placeholder(&value)).then_some(value)
}

/// Seen on boards of many makers: two machines with the same placeholder are not the same machine.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 19] = [
        "",
        "0",
        "none",
        "n/a",
        "na",
        "not specified",
        "not available",
        "not applicable",
        "not present",
        "unknown",
        "default",
        "default string",
        "empty",
        "to be filled by o.e.m.",
        "system manufacturer",
        "system product name",
        "system serial number",
        "chassis serial number",
        "no asset tag",
    ];
    let lower = value.to_lowercase();
    let one_character = value.len() > 1
        && value
            .bytes()
            .all(|b| b == value.as_bytes()[0] && !b.is_ascii_alphabetic());
    one_character
        || WORDS.contains(&lower.as_str())
        || matches!(value, "0123456789" | "123456789" | "1234567890")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::smbios::{structure, table};
    use ironbeat_mutate::mutants;

    #[test]
    fn a_whole_table_is_read() {
        let (system, modules) = parse(table());
        assert_eq!(
            system.uuid,
            Some("00112233-4455-6677-8899-aabbccddeeff".parse().unwrap()),
            "mixed-endian"
        );
        let texts = [
            &system.manufacturer,
            &system.product,
            &system.serial,
            &system.sku,
        ];
        assert_eq!(
            texts.map(|t| t.as_deref().unwrap()),
            ["Lab", "Rack Node", "SN-0001", "SKU-1"]
        );
        let texts = [
            &system.board_serial,
            &system.chassis_serial,
            &system.asset_tag,
        ];
        assert_eq!(
            texts.map(|t| t.as_deref().unwrap()),
            ["BS-0001", "CH-0001", "AT-0001"]
        );
        let firmware = &system.firmware;
        let texts = [&firmware.vendor, &firmware.version, &firmware.date];
        assert_eq!(
            texts.map(|t| t.as_deref().unwrap()),
            ["SeaBIOS", "1.16.2", "04/01/2014"]
        );
        let sizes: Vec<u64> = modules.iter().map(|m| m.size_bytes).collect();
        assert_eq!(
            sizes,
            [512 << 20, 64 << 30],
            "an empty slot is not a module"
        );
        let first = &modules[0];
        assert_eq!(
            (first.locator.as_str(), first.speed_mts),
            ("DIMM 0", Some(3200))
        );
        assert_eq!(
            (first.serial.as_deref(), first.part.as_deref()),
            (Some("MS-0001"), Some("M393A"))
        );
    }

    #[test]
    fn placeholders_are_nothing() {
        for nothing in [
            "",
            "To Be Filled By O.E.M.",
            "Default string",
            "Not Specified",
            "0",
            "00000000",
            "........",
            "N/A",
        ] {
            assert!(is_placeholder(nothing), "{nothing}");
        }
        for something in ["S", "SN-0001", "AAAA", "10", "Unknown Maker Ltd"] {
            assert!(!is_placeholder(something), "{something}");
        }
    }

    #[test]
    fn unset_uuids_are_none() {
        for byte in [0x00, 0xff] {
            let mut system = vec![0u8; 4];
            system.extend([byte; 16]);
            system.extend([6, 0, 0]);
            let (system, _) =
                parse([structure(1, &system, &[]), structure(127, &[], &[])].concat());
            assert_eq!(system.uuid, None);
        }
    }

    #[test]
    fn torn_tables_are_survived() {
        let whole = table();
        for cut in 0..whole.len() {
            parse(whole[..cut].to_vec());
        }
        mutants(&whole, 20_000, |bytes| {
            let (_, modules) = parse(bytes.to_vec());
            assert!(modules.len() <= MAX_MODULES);
        });
    }

    #[test]
    fn no_table_is_a_problem_with_a_name() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        assert!(
            format!("{:#}", read(&roots).err().unwrap())
                .contains("firmware/dmi/tables/DMI: No such file")
        );
        std::fs::create_dir_all(roots.sys.join("firmware/dmi/tables")).unwrap();
        std::fs::write(roots.sys.join("firmware/dmi/tables/DMI"), [1u8, 2, 3]).unwrap();
        assert!(
            format!("{:#}", read(&roots).err().unwrap())
                .ends_with("has no structure that could be read")
        );
    }
}
