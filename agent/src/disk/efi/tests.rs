//! Boot entries in a folder that looks like efivarfs, for disks whose ESP other tools made.
//! The bytes of an entry are tested in `load_option`.
use super::super::load_option::{self, HardDrive, Known, Signature};
use super::super::testing::image;
use super::super::testing::{Bench, MIB, TestDisk, run_alone};
use super::{EfiVars, set_boot_entry};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const ESP: Uuid = Uuid::from_bytes([0xa1; 16]);

/// Firmware with a network entry 0000, an unknown device 0003, and this order.
fn firmware(order: &[u16]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, value: &[u8]| {
        let bytes = [&7u32.to_le_bytes(), value].concat();
        fs::write(variable(folder.path(), name), bytes).expect("room");
    };
    let drive = HardDrive {
        number: 1,
        first: 1,
        sectors: 1,
        signature: Signature::Mbr([0; 4]),
    };
    put(
        "Boot0000",
        &load_option::write("UEFI PXEv4 (MAC:525400000001)", &drive, "x"),
    );
    put("Boot0003", b"?");
    put(
        "BootOrder",
        &order
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect::<Vec<u8>>(),
    );
    put("Timeout", &[0, 0]);
    folder
}

fn variable(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}-{GLOBAL}"))
}

/// An image whose ESP has these empty files.
fn disk_with(files: &[&str]) -> TestDisk {
    let mut image = image::gpt(16 * MIB, 512);
    image[MIB as usize..3 * MIB as usize].copy_from_slice(&image::esp(files));
    let disk = TestDisk::dirty(16 * MIB, 512);
    disk.put(&image, 0);
    disk
}

fn set(disk: &TestDisk, label: &str, folder: &Path) -> Result<(), String> {
    let bench = Bench::new(&[disk]);
    bench
        .run(|ctx| set_boot_entry(&disk.identity(), label, ctx, folder))
        .map_err(|e| format!("{e:#}"))
}

/// The numbers of our entries, and the boot order.
fn state(folder: &Path) -> (Vec<u16>, Vec<u16>) {
    let vars = EfiVars::open(folder).expect("it is there");
    let known =
        |option: &[u8]| load_option::read(option).is_some_and(|known| known.partition == Some(ESP));
    let options = vars.options().expect("they can be read").into_iter();
    (
        options
            .filter(|(_, option)| known(option))
            .map(|(number, _)| number)
            .collect(),
        vars.order().expect("it can be read"),
    )
}

/// `BootNext`, with its attributes.
fn next(folder: &Path) -> Option<Vec<u8>> {
    fs::read(variable(folder, "BootNext")).ok()
}

#[test]
fn our_entry_comes_first_and_others_stay() {
    let disk = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    let firmware = firmware(&[3, 0]);
    set(&disk, "Ironbeat n1", firmware.path()).expect("nothing is wrong");
    assert_eq!(state(firmware.path()), (vec![1], vec![1, 3, 0]));
    assert_eq!(next(firmware.path()), Some(vec![7, 0, 0, 0, 1, 0]));
    let bytes = fs::read(variable(firmware.path(), "Boot0001")).expect("it is there");
    assert_eq!(bytes[..4], [7, 0, 0, 0]);
    let drive = HardDrive {
        number: 1,
        first: 2048,
        sectors: 4096,
        signature: Signature::Gpt(ESP),
    };
    let arch = if cfg!(target_arch = "x86_64") {
        "X64"
    } else {
        "AA64"
    };
    assert_eq!(
        bytes[4..],
        load_option::write(
            "Ironbeat n1",
            &drive,
            &format!("\\EFI\\BOOT\\BOOT{arch}.EFI")
        )
    );

    // Twice is once; the firmware has used up what is next meanwhile.
    fs::remove_file(variable(firmware.path(), "BootNext")).expect("it was there");
    set(&disk, "Ironbeat n1", firmware.path()).expect("nothing is wrong");
    assert_eq!(state(firmware.path()), (vec![1], vec![1, 3, 0]));
    assert_eq!(next(firmware.path()), Some(vec![7, 0, 0, 0, 1, 0]));
    // The same disk under another name: the old entry goes.
    set(&disk, "Ironbeat n2", firmware.path()).expect("nothing is wrong");
    assert_eq!(state(firmware.path()), (vec![1], vec![1, 3, 0]));
    let bytes = fs::read(variable(firmware.path(), "Boot0001")).expect("it is there");
    let known = load_option::read(&bytes[4..]);
    assert_eq!(
        known,
        Some(Known {
            label: "Ironbeat n2".to_owned(),
            partition: Some(ESP)
        })
    );
}

#[test]
fn entries_of_earlier_deployments_go() {
    let disk = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    let firmware = firmware(&[7, 0, 9, 3]);
    let drive = |guid: u8| HardDrive {
        number: 1,
        first: 1,
        sectors: 1,
        signature: Signature::Gpt(Uuid::from_bytes([guid; 16])),
    };
    let options = [
        (7, load_option::write("Ironbeat n1", &drive(5), "x")),
        (9, load_option::write("debian", &drive(0xa1), "x")),
    ];
    let vars = EfiVars::open(firmware.path()).expect("it is there");
    for (number, option) in &options {
        vars.set_option(*number, option).expect("room");
    }
    set(&disk, "Ironbeat n1", firmware.path()).expect("nothing is wrong");
    assert_eq!(state(firmware.path()), (vec![1], vec![1, 0, 3]));
    assert!(
        !variable(firmware.path(), "Boot0007").exists()
            && !variable(firmware.path(), "Boot0009").exists()
    );
}

/// The flag that efivarfs sets on variables, on a file system that has it too.
#[test]
fn immutable_variables_are_written_all_the_same() {
    let disk = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    let firmware = firmware(&[0]);
    let order = File::open(variable(firmware.path(), "BootOrder")).expect("it is there");
    // A folder in memory has no such flag, and an ordinary user may not set it: then the write is an ordinary one.
    let flagged = ioctl_getflags(&order)
        .and_then(|flags| ioctl_setflags(&order, flags | IFlags::IMMUTABLE))
        .is_ok();
    println!("the flag could be set: {flagged}");
    set(&disk, "Ironbeat n1", firmware.path()).expect("nothing is wrong");
    assert_eq!(state(firmware.path()), (vec![1], vec![1, 0]));
}

#[test]
fn the_best_known_loader_is_taken() {
    let check = |files: &[&str], wanted: &str| {
        let disk = disk_with(files);
        let firmware = firmware(&[]);
        set(&disk, "x", firmware.path()).expect("nothing is wrong");
        let bytes = fs::read(variable(firmware.path(), "Boot0001")).expect("it is there");
        let name: Vec<u8> = wanted.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(
            bytes.windows(name.len()).any(|window| window == name),
            "{wanted} for {files:?}"
        );
    };
    let arch = if cfg!(target_arch = "x86_64") {
        "x64"
    } else {
        "aa64"
    };
    let [shim, grub, systemd] =
        ["shim", "grub", "systemd-boot"].map(|loader| format!("{loader}{arch}.efi"));
    let fallback = format!("BOOT/BOOT{}.EFI", arch.to_uppercase());
    check(
        &[
            &fallback,
            &format!("debian/{grub}"),
            &format!("debian/{shim}"),
        ],
        &format!("\\EFI\\debian\\{shim}"),
    );
    check(
        &[
            &fallback,
            &format!("fedora/{grub}"),
            &format!("systemd/{systemd}"),
        ],
        &format!("\\EFI\\fedora\\{grub}"),
    );
    check(
        &[&fallback, &format!("systemd/{systemd}")],
        &format!("\\EFI\\systemd\\{systemd}"),
    );
    check(
        &[&fallback, "Dell/tool.efi"],
        &format!("\\EFI\\{}", fallback.replace('/', "\\")),
    );
}

/// Firmware that fails at a variable: here a folder is where the boot order should be.
#[test]
fn firmware_that_refuses_is_no_failure_where_it_finds_the_loader_itself() {
    let firmware = firmware(&[0]);
    let order = variable(firmware.path(), "BootOrder");
    fs::remove_file(&order).expect("it is there");
    fs::create_dir(&order).expect("room");
    let with_fallback = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    set(&with_fallback, "x", firmware.path()).expect("the firmware finds the fallback loader");
    let arch = if cfg!(target_arch = "x86_64") {
        "x64"
    } else {
        "aa64"
    };
    let without = disk_with(&[&format!("debian/grub{arch}.efi")]);
    let error = set(&without, "x", firmware.path()).expect_err("nothing finds this");
    assert!(error.contains("writing the boot entry \"x\""), "{error}");
}

/// The order is what lasts: without `BootNext` the entry is first all the same. With nothing but `BootNext` the system would
/// start once and never again.
#[test]
fn firmware_that_takes_only_one_of_order_and_next_gets_it() {
    let arch = if cfg!(target_arch = "x86_64") {
        "x64"
    } else {
        "aa64"
    };
    let disk = disk_with(&[&format!("debian/grub{arch}.efi")]);
    let without = |name: &str| {
        let firmware = firmware(&[0]);
        let variable = variable(firmware.path(), name);
        let _ = fs::remove_file(&variable);
        fs::create_dir(variable).expect("room");
        firmware
    };
    let no_next = without("BootNext");
    set(&disk, "x", no_next.path()).expect("the order is enough");
    assert_eq!(state(no_next.path()), (vec![1], vec![1, 0]));
    let no_order = without("BootOrder");
    set(&disk, "x", no_order.path()).expect_err("it would start once");
    assert_eq!(next(no_order.path()), Some(vec![7, 0, 0, 0, 1, 0]));
}

#[test]
fn refusals_name_the_reason() {
    let firmware = firmware(&[0]);
    let check = |disk: &TestDisk, folder: &Path, words: &str| {
        let error = set(disk, "x", folder).expect_err("this must be refused");
        assert!(error.contains(words), "{error}");
    };
    check(
        &disk_with(&["other/thing.efi"]),
        firmware.path(),
        "no boot loader is known",
    );
    let disk = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    check(
        &disk,
        Path::new("/not/there"),
        "no boot entry can be set in /not/there",
    );
    check(
        &disk,
        tempfile::tempdir().expect("a temporary folder").path(),
        "there are no UEFI variables",
    );
    disk.put(&image::mbr(16 * MIB), 0);
    check(&disk, firmware.path(), "no EFI system partition in its MBR");
    check(
        &TestDisk::dirty(4 * MIB, 512),
        firmware.path(),
        "has no partition table",
    );
    assert_eq!(state(firmware.path()), (vec![], vec![0]));
}

/// Firmware whose memory for variables is full: a file system of a few pages, in its own mount namespace.
#[test]
fn no_space_is_no_failure_where_the_firmware_finds_the_loader_itself() {
    const ALONE: &str = "IRONBEAT_TEST_NO_SPACE";
    if std::env::var(ALONE).is_err() {
        let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
        let unshare = if rustix::process::geteuid().is_root() {
            &["unshare", "--mount"][..]
        } else {
            &unshare
        };
        let name = "no_space_is_no_failure_where_the_firmware_finds_the_loader_itself";
        return run_alone(module_path!(), name, unshare, ALONE, "1");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k", "none"])
        .arg(folder.path())
        .status();
    assert!(mount.expect("it is installed").success());
    let order = [7u32.to_le_bytes().as_slice(), &[3, 0]].concat();
    fs::write(variable(folder.path(), "BootOrder"), order).expect("the first page");
    fs::write(variable(folder.path(), "Timeout"), [0; 4096]).expect("the second page");

    let disk = disk_with(&["BOOT/BOOTX64.EFI", "BOOT/BOOTAA64.EFI"]);
    set(&disk, "x", folder.path()).expect("the firmware finds the fallback loader");
    assert_eq!(
        EfiVars::open(folder.path())
            .expect("it is there")
            .order()
            .expect("as before"),
        [3]
    );
    let arch = if cfg!(target_arch = "x86_64") {
        "x64"
    } else {
        "aa64"
    };
    let error = set(
        &disk_with(&[&format!("debian/grub{arch}.efi")]),
        "x",
        folder.path(),
    )
    .expect_err("nothing finds this");
    assert!(
        error.contains("writing the boot entry \"x\"") && error.contains("No space"),
        "{error}"
    );
}
