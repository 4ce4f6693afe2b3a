//! Boots each flavour's ramdisk with a probe in the agent's place: everything the agent may rely on is there and works.
//! The agent itself is tried on the rack.

use crate::machine::{Machine, kernel, tool};
use ironbeat_image::flavour::Flavour;
use ironbeat_image::initramfs::{Built, Spec, build};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The agent has at most 3.5 MB, the small ramdisk 2.2.
const AGENT_BYTES: usize = 3_500_000;
const SMALL_BYTES: u64 = 2_200_000;
const BUILT: u64 = 1_796_000_000;

fn ramdisk(flavour: Flavour, agent: &Path, level: i32, out_dir: &Path) -> Built {
    let kernel = kernel(flavour);
    build(&Spec {
        agent,
        kernel: &kernel,
        flavour,
        ca: None,
        built: BUILT,
        level,
        out_dir,
    })
    .unwrap()
}

/// A static program that is the first process, loads every module and says what the machine has.
fn probe(dir: &Path) -> PathBuf {
    let out = dir.join("probe");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/probe.rs");
    tool(
        "rustc",
        &[
            "--edition=2024",
            "-Dwarnings",
            "-Copt-level=1",
            "-Ctarget-feature=+crt-static",
            "-o",
            out.to_str().unwrap(),
            source,
        ],
    );
    out
}

/// Boots it with these devices; what the probe said, by word.
fn boot(flavour: Flavour, devices: &[&str]) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let built = ramdisk(flavour, &probe(dir.path()), 3, dir.path());
    println!("{flavour}: {built:?}");
    assert_eq!(
        built.unknown,
        Vec::<String>::new(),
        "modules that the kernel has not"
    );
    // An emulated timer may miss the kernel's look at it when the host is busy.
    let command_line = "console=ttyS0 quiet panic=-1 no_timer_check";
    let mut arguments = vec![
        "-kernel",
        built.vmlinuz.to_str().unwrap(),
        "-initrd",
        built.initrd.to_str().unwrap(),
        "-append",
        command_line,
    ];
    arguments.extend(devices);
    let mut machine = Machine::start(dir.path(), false, &arguments);
    let said = machine.line("PROBE ");
    machine.wait_off();
    let words = said
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let said: BTreeMap<String, String> = words
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    assert_eq!(said["refused"], "-", "modules that cannot be loaded");
    assert_eq!(said["modules"], built.modules.to_string());
    said
}

#[test]
fn the_small_flavour_finds_nic_and_disks_in_512_mib() {
    let said = boot(
        Flavour::Small,
        &[
            "-nic",
            "user,model=virtio-net-pci,restrict=on",
            "-blockdev",
            "null-co,node-name=a,size=67108864,read-zeroes=on",
            "-blockdev",
            "null-co,node-name=b,size=67108864,read-zeroes=on",
            "-device",
            "virtio-blk-pci,drive=a",
            "-device",
            "virtio-scsi-pci",
            "-device",
            "scsi-hd,drive=b",
        ],
    );
    assert_eq!(said["nics"], "eth0");
    assert_eq!(said["disks"], "sda,vda");
}

#[test]
fn the_generic_flavour_finds_nics_and_disks_in_512_mib() {
    let said = boot(
        Flavour::Generic,
        &[
            "-nic",
            "user,model=e1000e,restrict=on",
            "-nic",
            "user,model=e1000,restrict=on",
            "-blockdev",
            "null-co,node-name=a,size=67108864,read-zeroes=on",
            "-blockdev",
            "null-co,node-name=b,size=67108864,read-zeroes=on",
            "-device",
            "ide-hd,bus=ide.0,drive=a",
            "-device",
            "nvme,serial=1,drive=b",
        ],
    );
    assert_eq!(said["nics"], "eth0,eth1");
    assert_eq!(said["disks"], "nvme0n1,sda");
}

#[test]
fn the_small_flavour_is_small_with_any_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    // Incompressible: what no program is.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    // Of a program, zstd keeps less than half.
    fs::write(&agent, noise.take(AGENT_BYTES / 2).collect::<Vec<u8>>()).unwrap();
    let built = ramdisk(Flavour::Small, &agent, 19, dir.path());
    println!("{built:?}");
    assert!(built.initrd_bytes <= SMALL_BYTES);
    let again = tempfile::tempdir().unwrap();
    let other = ramdisk(Flavour::Small, &agent, 19, again.path());
    assert_eq!(
        fs::read(built.initrd).unwrap(),
        fs::read(other.initrd).unwrap(),
        "same in, same out"
    );
}

#[test]
fn a_ramdisk_has_the_ca_and_its_date_and_never_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(Flavour::Small);
    let (agent, ca) = (dir.path().join("agent"), dir.path().join("ca.pem"));
    fs::write(&agent, "agent").unwrap();
    let make = |pem: &str| {
        fs::write(&ca, pem).unwrap();
        build(&Spec {
            agent: &agent,
            kernel: &kernel,
            flavour: Flavour::Small,
            ca: Some(&ca),
            built: BUILT,
            level: 1,
            out_dir: dir.path(),
        })
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
    let packed = fs::read(make(certificate).unwrap().initrd).unwrap();
    let unpacked = zstd::stream::decode_all(&packed[..]).unwrap();
    let has = |text: &str| {
        let mut windows = unpacked.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    };
    assert!(has("etc/ironbeat/ca.pem") && has(certificate));
    assert!(has("etc/ironbeat/built") && has("1796000000\n"));
    for wrong in [
        "",
        "-----BEGIN PRIVATE KEY-----\n",
        &format!("{certificate}-----BEGIN PRIVATE KEY-----\n"),
    ] {
        let error = make(wrong).unwrap_err().to_string();
        assert!(error.contains("is no CA for a ramdisk"), "{error}");
    }
}
