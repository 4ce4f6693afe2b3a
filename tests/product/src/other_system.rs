//! Owns disks with a system that is not ours, which firmware may boot instead of what was deployed.
//! Leaves attaching them to the rack.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What such a system says on its console.
pub const SAYS: &str = "ANOTHER-SYSTEM-RUNS";

const MIB: usize = 1 << 20;
const ESP_MIB: usize = 40;
/// The partition, and the tables before and behind it.
pub const DISK_BYTES: u64 = (ESP_MIB as u64 + 2) << 20;

/// The image of a disk whose EFI system partition has a loader where firmware looks for one.
///
/// # Errors
/// When a tool (grub-mkimage, mtools, dosfstools, gdisk) is missing or fails.
pub fn with_loader(work: &Path) -> Result<Vec<u8>> {
    let path = |name: &str| work.join(name).to_string_lossy().into_owned();
    let [config, loader, esp, disk] =
        ["other.cfg", "other.efi", "other.esp", "other.raw"].map(path);
    fs::write(&config, format!("echo {SAYS}\nsleep 100000\n")).context("write GRUB's script")?;
    run(&format!(
        "grub-mkimage -O x86_64-efi -p /none -c {config} -o {loader} echo sleep"
    ))?;
    sized(&esp, ESP_MIB)?;
    run(&format!("mkfs.vfat -F 32 -s 1 -n OTHER {esp}"))?;
    run(&format!("mmd -i {esp} ::/EFI ::/EFI/BOOT"))?;
    run(&format!("mcopy -i {esp} {loader} ::/EFI/BOOT/BOOTX64.EFI"))?;
    sized(&disk, ESP_MIB + 2)?;
    run(&format!(
        "sgdisk --clear --new 1:{}:{} --typecode 1:ef00 {disk}",
        MIB / 512,
        (ESP_MIB + 1) * MIB / 512 - 1
    ))?;
    let (mut image, esp) = (fs::read(&disk)?, fs::read(&esp)?);
    image[MIB..][..esp.len()].copy_from_slice(&esp);
    Ok(image)
}

fn sized(path: &str, mib: usize) -> Result<()> {
    let made = File::create(path).and_then(|file| file.set_len((mib * MIB) as u64));
    made.with_context(|| format!("make {path}"))
}

fn run(command: &str) -> Result<()> {
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {said}");
    Ok(())
}
