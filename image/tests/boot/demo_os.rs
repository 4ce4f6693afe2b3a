//! Boots the demo operating system as a deploy leaves it: image at the start of a larger disk, a config drive behind it.
//! The deploy itself is tried on the rack.

use crate::machine::{Machine, cache, kernel, tool};
use ironbeat_image::demo_os::{DemoOs, build};
use ironbeat_image::flavour::Flavour;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 192 * MIB;
const DRIVE_BYTES: u64 = 4 * MIB;
const UUID: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

fn demo_os(flavour: Flavour) -> DemoOs {
    build(&kernel(flavour), flavour, &cache().join("demo-os")).unwrap()
}

/// The deployed disk, made with other people's tools.
fn deployed(dir: &Path, os: &DemoOs, hostname: &str) -> String {
    let disk = dir.join("disk.raw");
    fs::copy(&os.raw, &disk).unwrap();
    let mut file = File::options().write(true).open(&disk).unwrap();
    file.set_len(DISK_BYTES).unwrap();
    let at = os.raw_bytes;
    let range = format!("0:{}:{}", at / 512, (at + DRIVE_BYTES) / 512 - 1);
    let disk = disk.to_str().unwrap().to_string();
    tool("sgdisk", &["--move-second-header", &disk]);
    tool(
        "sgdisk",
        &["--new", &range, "--change-name", "3:config-2", &disk],
    );

    let drive = dir.join("drive");
    File::create(&drive).unwrap().set_len(DRIVE_BYTES).unwrap();
    let drive = drive.to_str().unwrap();
    tool("mkfs.vfat", &["-n", "config-2", drive]);
    let content = dir.join("openstack/latest");
    fs::create_dir_all(&content).unwrap();
    let metadata = format!(r#"{{"uuid":"{UUID}","hostname":"{hostname}","name":"other"}}"#);
    fs::write(content.join("meta_data.json"), metadata).unwrap();
    fs::write(content.join("user_data"), "#cloud-config\nsecond: line\n").unwrap();
    let openstack = dir.join("openstack");
    tool(
        "mcopy",
        &["-s", "-i", drive, openstack.to_str().unwrap(), "::/"],
    );
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&fs::read(drive).unwrap()).unwrap();
    disk
}

/// Boots it, reads what it says, switches it off by its power button.
fn check(flavour: Flavour, uefi: bool, device: &str, hostname: &str, root: &str) {
    let dir = tempfile::tempdir().unwrap();
    let disk = deployed(dir.path(), &demo_os(flavour), hostname);
    let drive = format!("if=none,id=disk,format=raw,cache=unsafe,file={disk}");
    let arguments = ["-nic", "none", "-drive", &drive, "-device", device];
    let mut machine = Machine::start(dir.path(), uefi, &arguments);
    let firmware = if uefi { "uefi" } else { "bios" };
    assert_eq!(
        machine.line("DEPLOYED-OK"),
        format!("DEPLOYED-OK hostname={hostname} uuid={UUID} root={root} firmware={firmware}")
    );
    assert_eq!(machine.line("USER-DATA"), "USER-DATA #cloud-config");
    machine.press_power_button();
    machine.wait_off();
    assert_eq!(machine.said().matches("\nDEPLOYED-OK").count(), 1);
}

#[test]
fn the_demo_os_boots_from_virtio_under_bios() {
    check(
        Flavour::Small,
        false,
        "virtio-blk-pci,drive=disk",
        "bios-1",
        "vda",
    );
}

#[test]
fn the_demo_os_boots_from_virtio_under_uefi() {
    check(
        Flavour::Small,
        true,
        "virtio-blk-pci,drive=disk",
        "uefi-1.example.org",
        "vda",
    );
}

#[test]
fn the_demo_os_boots_from_sata_with_the_generic_kernel() {
    check(
        Flavour::Generic,
        false,
        "ide-hd,bus=ide.0,drive=disk",
        "sata-1",
        "sda",
    );
}

#[test]
fn the_demo_os_is_as_large_as_a_deploy_benchmark_wants_and_full() {
    let os = demo_os(Flavour::Small);
    let raw = fs::read(&os.raw).unwrap();
    assert_eq!(raw.len() as u64, os.raw_bytes);
    assert!((75 * MIB..100 * MIB).contains(&os.raw_bytes));
    let empty = raw
        .chunks(4096)
        .filter(|block| block.iter().all(|byte| *byte == 0));
    assert!(
        empty.count() * 4096 < raw.len() / 4,
        "at least three quarters are data"
    );
    for (file, sha256) in [
        (&os.raw, &os.raw_sha256),
        (&os.zst, &os.zst_sha256),
        (&os.gz, &os.gz_sha256),
    ] {
        let list = format!("{sha256}  {}\n", file.display());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, list).unwrap();
        tool("sha256sum", &["--check", "--quiet", path.to_str().unwrap()]);
    }
    tool("sgdisk", &["--verify", os.raw.to_str().unwrap()]);
}

#[test]
fn the_same_parts_make_the_same_bytes() {
    let kernel = kernel(Flavour::Small);
    let other = tempfile::tempdir().unwrap();
    let again = build(&kernel, Flavour::Small, other.path()).unwrap();
    let os = demo_os(Flavour::Small);
    assert_eq!(again.raw_sha256, os.raw_sha256);
    assert_eq!(again.zst_sha256, os.zst_sha256);
    assert_eq!(again.gz_sha256, os.gz_sha256);
    assert_ne!(again.raw, os.raw);
}
