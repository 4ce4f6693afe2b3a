//! A small operating system to deploy: one disk image that boots under BIOS and UEFI and says who it is on its console.
//! It reads its name from the config drive, as a cloud image would; the agent adds that drive when it writes the image.
use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::modules::closure;
use crate::run::run;
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Where the partitions are, in MiB: BIOS boot from 1 to 2, EFI system partition to the end.
const CORE_AT: u64 = MIB;
const ESP_AT: u64 = 2 * MIB;
const ESP_BYTES: u64 = 88 * MIB;
/// The backup partition table.
const TAIL_BYTES: u64 = MIB;
/// Kernel modules are put beside the kernel until the image has about this much real data.
const FILL_BYTES: u64 = 76 * MIB;
const KERNEL_ARGS: &str = "console=ttyS0 quiet";
const GRUB: &str = "/usr/lib/grub";

/// Drivers of the disks it may be written to, and of its config drive.
const MODULES: [&str; 15] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "ahci",
    "nvme",
    "virtio_net",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "isofs",
    "button",
    "evdev",
    "efivarfs",
    "e1000e",
];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /mnt /tmp /bin /etc/acpi/PWRF
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/modules/$module" 2>/dev/null; done < /etc/modules
firmware=bios
[ -d /sys/firmware/efi ] && firmware=uefi
# 30 s for slow disks; a machine without a config drive says so.
tries=0
while [ $tries -lt 300 ]; do
    drive=$(findfs LABEL=config-2 2>/dev/null) && break
    sleep 0.1
    tries=$((tries + 1))
done
name=none
uuid=none
if [ -n "$drive" ] && mount -t vfat -o ro "$drive" /mnt; then
    meta=/mnt/openstack/latest/meta_data.json
    name=$(sed -n 's/.*"hostname": *"\([^"]*\)".*/\1/p' $meta)
    uuid=$(sed -n 's/.*"uuid": *"\([^"]*\)".*/\1/p' $meta)
    hostname "$name"
fi
echo "DEPLOYED-OK hostname=$(hostname) uuid=$uuid root=${drive:-none} firmware=$firmware" > /dev/console
[ -f /mnt/openstack/latest/user_data ] && echo "USER-DATA $(head -n 1 /mnt/openstack/latest/user_data)" > /dev/console
printf '#!/bin/sh\numount /mnt\nsync\npoweroff -f\n' > /etc/acpi/PWRF/00000080
chmod 755 /etc/acpi/PWRF/00000080
acpid -f -d -c /etc/acpi > /dev/null 2>&1 &
while :; do sleep 3600; done
"#;

#[derive(Clone, Debug)]
pub struct DemoOs {
    pub raw: PathBuf,
    pub zst: PathBuf,
    pub gz: PathBuf,
    pub raw_bytes: u64,
    pub raw_sha256: String,
    pub zst_sha256: String,
    pub gz_sha256: String,
}

/// Builds the image, or returns the one that was built of the same parts before.
///
/// # Errors
/// When a program is missing (grub-pc-bin, grub-efi-amd64-bin, busybox-static, mtools, dosfstools, gdisk) or fails.
pub fn build(kernel: &Kernel, cache_dir: &Path) -> Result<DemoOs> {
    let busybox = fs::read("/bin/busybox")
        .or_else(|_| fs::read("/usr/bin/busybox"))
        .context("read busybox")?;
    let mut key = Sha256::new();
    for part in [
        kernel.version.as_bytes(),
        &busybox,
        INIT.as_bytes(),
        include_bytes!("demo_os.rs"),
    ] {
        key.update(part);
    }
    let name = format!("demo-{}", &hex(&key.finalize())[..12]);
    fs::create_dir_all(cache_dir).with_context(|| format!("make {}", cache_dir.display()))?;
    let path = |extension: &str| cache_dir.join(format!("{name}.{extension}"));
    let (raw, zst, gz) = (path("raw"), path("raw.zst"), path("raw.gz"));
    if !raw.exists() {
        eprintln!("demo image: build {}", raw.display());
        let work = cache_dir.join(format!("{name}.{}", std::process::id()));
        fs::create_dir_all(&work)?;
        let image = disk(kernel, busybox, &work)?;
        fs::write(&zst, zstd::bulk::compress(&image, 9)?)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&image)?;
        fs::write(&gz, gzip.finish()?)?;
        // Last, and by a rename: what is there is whole.
        fs::write(work.join("raw"), &image)?;
        fs::rename(work.join("raw"), &raw)?;
        fs::remove_dir_all(&work)?;
    }
    let digest = |path: &Path| -> Result<String> {
        Ok(hex(&Sha256::digest(
            fs::read(path).with_context(|| format!("read {}", path.display()))?,
        )))
    };
    Ok(DemoOs {
        raw_bytes: fs::metadata(&raw)?.len(),
        raw_sha256: digest(&raw)?,
        zst_sha256: digest(&zst)?,
        gz_sha256: digest(&gz)?,
        raw,
        zst,
        gz,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole disk, as bytes.
fn disk(kernel: &Kernel, busybox: Vec<u8>, work: &Path) -> Result<Vec<u8>> {
    let esp = system_partition(kernel, busybox, work)?;
    let core = bios_core(work)?;
    let table = work.join("table");
    let total = ESP_AT + ESP_BYTES + TAIL_BYTES;
    fs::File::create(&table)?.set_len(total)?;
    let sectors = |at: u64, bytes: u64| format!("{}:{}", at / SECTOR, (at + bytes) / SECTOR - 1);
    run(Command::new("sgdisk")
        .args([
            "--clear",
            "--disk-guid",
            "1b000000-0000-4000-8000-000000000000",
        ])
        .args([
            "--new",
            &format!("1:{}", sectors(CORE_AT, ESP_AT - CORE_AT)),
            "--typecode",
            "1:ef02",
        ])
        .args([
            "--new",
            &format!("2:{}", sectors(ESP_AT, ESP_BYTES)),
            "--typecode",
            "2:ef00",
        ])
        .args([
            "--change-name",
            "2:esp",
            "--partition-guid",
            "1:1b000000-0000-4000-8000-000000000001",
        ])
        .args(["--partition-guid", "2:1b000000-0000-4000-8000-000000000002"])
        .arg(&table))?;
    let mut image = fs::read(&table)?;
    ensure!(
        core.len() as u64 <= ESP_AT - CORE_AT,
        "GRUB's core has {} bytes",
        core.len()
    );
    place(&mut image, CORE_AT, &core);
    place(&mut image, ESP_AT, &esp);
    let boot =
        fs::read(Path::new(GRUB).join("i386-pc/boot.img")).context("read GRUB's boot sector")?;
    ensure!(
        boot.len() == SECTOR as usize,
        "GRUB's boot sector has {} bytes",
        boot.len()
    );
    // Code only: from 1b8h on are the disk signature and the protective partition table.
    image[..0x1b8].copy_from_slice(&boot[..0x1b8]);
    image[0x5c..0x64].copy_from_slice(&(CORE_AT / SECTOR).to_le_bytes());
    Ok(image)
}

fn place(image: &mut [u8], at: u64, bytes: &[u8]) {
    let at = at as usize;
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// GRUB for BIOS; its first sector is told where the rest is.
fn bios_core(work: &Path) -> Result<Vec<u8>> {
    let config = work.join("bios.cfg");
    fs::write(
        &config,
        "set root=(hd0,gpt2)\nset prefix=(hd0,gpt2)/boot/grub\n".to_string() + &grub_config(),
    )?;
    let out = work.join("core.img");
    run(Command::new("grub-mkimage")
        .args(["-O", "i386-pc", "-p", "(hd0,gpt2)/boot/grub", "-c"])
        .arg(&config)
        .arg("-o")
        .arg(&out)
        .args(["biosdisk", "part_gpt", "fat", "linux", "boot"]))?;
    let mut core = fs::read(&out)?;
    ensure!(core.len() > SECTOR as usize, "GRUB's core is too short");
    core[0x1f4..0x1fc].copy_from_slice(&(CORE_AT / SECTOR + 1).to_le_bytes());
    Ok(core)
}

fn efi_loader(work: &Path) -> Result<PathBuf> {
    let config = work.join("efi.cfg");
    fs::write(
        &config,
        "search --file --set=root /ironbeat-demo\n".to_string() + &grub_config(),
    )?;
    let out = work.join("BOOTX64.EFI");
    run(Command::new("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/boot/grub", "-c"])
        .arg(&config)
        .arg("-o")
        .arg(&out)
        .args([
            "part_gpt",
            "fat",
            "linux",
            "boot",
            "search",
            "search_fs_file",
        ]))?;
    Ok(out)
}

fn grub_config() -> String {
    format!("linux /vmlinuz {KERNEL_ARGS}\ninitrd /initrd\nboot\n")
}

/// A FAT file system with kernel, initrd, UEFI loader, and modules as ballast.
fn system_partition(kernel: &Kernel, busybox: Vec<u8>, work: &Path) -> Result<Vec<u8>> {
    let image = work.join("esp");
    fs::File::create(&image)?.set_len(ESP_BYTES)?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "32", "-n", "ESP", "-i", "1B0DE110"])
        .arg(&image))?;
    let initrd = work.join("initrd");
    fs::write(&initrd, initrd_bytes(kernel, busybox)?)?;
    let marker = work.join("ironbeat-demo");
    fs::write(&marker, "The operating system of Ironbeat's demo.\n")?;
    mtools(
        "mmd",
        &image,
        &[
            "::/EFI".as_ref(),
            "::/EFI/BOOT".as_ref(),
            "::/ballast".as_ref(),
        ],
    )?;
    for (from, to) in [
        (&kernel.vmlinuz, "::/vmlinuz"),
        (&initrd, "::/initrd"),
        (&marker, "::/ironbeat-demo"),
        (&efi_loader(work)?, "::/EFI/BOOT/BOOTX64.EFI"),
    ] {
        mtools("mcopy", &image, &[from, to.as_ref()])?;
    }
    let used = fs::metadata(&kernel.vmlinuz)?.len() + fs::metadata(&initrd)?.len();
    let ballast = ballast(kernel, FILL_BYTES.saturating_sub(used))?;
    for some in ballast.chunks(200) {
        let mut arguments: Vec<&Path> = some.iter().map(PathBuf::as_path).collect();
        arguments.push("::/ballast/".as_ref());
        mtools("mcopy", &image, &arguments)?;
    }
    fs::read(&image).context("read the system partition")
}

fn mtools(program: &str, image: &Path, arguments: &[&Path]) -> Result<()> {
    // -D s: skip a name that is there already.
    let clash: &[&str] = if program == "mcopy" {
        &["-D", "s"]
    } else {
        &[]
    };
    run(Command::new(program)
        .arg("-i")
        .arg(image)
        .args(clash)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1"))
    .map(drop)
}

/// Module files of about so many bytes, the same ones every time.
fn ballast(kernel: &Kernel, bytes: u64) -> Result<Vec<PathBuf>> {
    let mut dirs = vec![kernel.modules.join("kernel")];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                dirs.push(path);
            } else {
                files.push((path, entry.metadata()?.len()));
            }
        }
    }
    files.sort();
    let mut sum = 0;
    Ok(files
        .into_iter()
        .take_while(|(_, len)| {
            sum += len;
            sum <= bytes
        })
        .map(|(path, _)| path)
        .collect())
}

fn initrd_bytes(kernel: &Kernel, busybox: Vec<u8>) -> Result<Vec<u8>> {
    let closure = closure(kernel, &MODULES)?;
    let mut archive = Archive::new();
    for dir in ["proc", "sys", "mnt", "tmp"] {
        archive.dir(dir);
    }
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    archive.file("bin/busybox", 0o755, busybox);
    archive.file("init", 0o755, INIT.as_bytes().to_vec());
    let mut list = String::new();
    for name in &closure.order {
        let from = kernel.modules.join(&closure.files[name]);
        archive.file(&format!("lib/modules/{name}.ko"), 0o644, fs::read(&from)?);
        list += &format!("{name}.ko\n");
    }
    archive.file("etc/modules", 0o644, list.into_bytes());
    zstd::bulk::compress(&archive.finish(), 9).context("compress the initrd")
}
