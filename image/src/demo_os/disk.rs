//! The demo image as a disk: partition table, GRUB for BIOS in a partition of its own, the system partition.
//! What is in the system partition, the UEFI loader included, is in `system`.
use super::grub::{GRUB, grub_config};
use super::system;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::run::run;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Where the partitions are: BIOS boot from 1 MiB to 2, system from there to the end.
const CORE_AT: u64 = MIB;
const SYSTEM_AT: u64 = 2 * MIB;
const SYSTEM_BYTES: u64 = 88 * MIB;
/// Kernel modules are put beside the kernel until the system partition has about this much real data.
const FILLED_BYTES: u64 = 76 * MIB;
/// For the backup partition table, in whole MiB.
const TAIL_BYTES: u64 = MIB;

/// The whole disk, as bytes.
pub fn image(kernel: &Kernel, flavour: Flavour, work: &Path) -> Result<Vec<u8>> {
    let system = system::partition(kernel, flavour, SYSTEM_BYTES, FILLED_BYTES, work)?;
    let core = bios_core(work)?;
    let mut image = partition_table(&work.join("table"))?;
    place(&mut image, CORE_AT, &core);
    place(&mut image, SYSTEM_AT, &system);
    let path = Path::new(GRUB).join("i386-pc/boot.img");
    let boot = fs::read(&path).map_err(file("read", &path))?;
    if boot.len() as u64 != SECTOR {
        return Err(Error::Unfit(format!(
            "{} has {} bytes, not one sector",
            path.display(),
            boot.len()
        )));
    }
    // Code only: from 1b8h on are the disk signature and the protective partition table. At 5ch is where the core begins
    // (GRUB_BOOT_MACHINE_KERNEL_SECTOR).
    image[..0x1b8].copy_from_slice(&boot[..0x1b8]);
    image[0x5c..0x64].copy_from_slice(&(CORE_AT / SECTOR).to_le_bytes());
    Ok(image)
}

fn place(image: &mut [u8], at: u64, bytes: &[u8]) {
    let at = at as usize;
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An empty disk with the table at both ends.
fn partition_table(path: &Path) -> Result<Vec<u8>> {
    let total = SYSTEM_AT + SYSTEM_BYTES + TAIL_BYTES;
    let made = File::create(path).and_then(|disk| disk.set_len(total));
    made.map_err(file("make", path))?;
    let range = |number: u32, at: u64, bytes: u64| {
        format!("{number}:{}:{}", at / SECTOR, (at + bytes) / SECTOR - 1)
    };
    let guid = |last: u32| format!("1b000000-0000-4000-8000-{last:012}");
    run(Command::new("sgdisk")
        .args(["--clear", "--disk-guid", &guid(0)])
        .args(["--new", &range(1, CORE_AT, SYSTEM_AT - CORE_AT)])
        .args(["--typecode", "1:ef02", "--change-name", "1:bios-boot"])
        .args(["--partition-guid", &format!("1:{}", guid(1))])
        .args(["--new", &range(2, SYSTEM_AT, SYSTEM_BYTES)])
        .args(["--typecode", "2:ef00", "--change-name", "2:ironbeat-demo"])
        .args(["--partition-guid", &format!("2:{}", guid(2))])
        .arg(path))?;
    fs::read(path).map_err(file("read", path))
}

/// GRUB for BIOS; its first sector is told where the rest is.
fn bios_core(work: &Path) -> Result<Vec<u8>> {
    let (config, out) = (work.join("bios.cfg"), work.join("core.img"));
    // By the 16-bit protocol, the kernel moves itself. By the other one GRUB moves all that the kernel will unpack to, byte
    // by byte: 54 MB, 2.4 s of CPU time in an emulated machine.
    fs::write(&config, grub_config("16")).map_err(file("write", &config))?;
    // A prefix that names only a partition is taken to be on the disk that the BIOS started.
    run(Command::new("grub-mkimage")
        .args(["-O", "i386-pc", "-p", "(,gpt2)/boot/grub", "-c"])
        .arg(&config)
        .arg("-o")
        .arg(&out)
        .arg("-d")
        .arg(Path::new(GRUB).join("i386-pc"))
        .args(["biosdisk", "part_gpt", "fat", "linux16", "boot"]))?;
    let mut core = fs::read(&out).map_err(file("read", &out))?;
    if core.len() as u64 <= SECTOR || core.len() as u64 > SYSTEM_AT - CORE_AT {
        return Err(Error::Unfit(format!(
            "GRUB's core has {} bytes",
            core.len()
        )));
    }
    // The last block list in the first sector (struct grub_pc_bios_boot_blocklist): the first entry's start.
    core[0x1f4..0x1fc].copy_from_slice(&(CORE_AT / SECTOR + 1).to_le_bytes());
    Ok(core)
}
