//! Owns the floor of the deploy benchmark: a busybox ramdisk that downloads an image, writes it and reboots, no more,
//! driven by ipmitool on the same rack. Leaves what it is compared with to the benchmark.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use ironbeat_rack::layout::GATEWAY;
use ironbeat_rack::logfile::LogCursor;
use ironbeat_rack::machine::KERNEL_ARGS;
use ironbeat_rack::machine::spec::DiskKind;
use ironbeat_rack::process::{find_program, run_ok};
use ironbeat_rack::rack::Rack;

/// What the deployed system must say on its console.
pub const DEPLOYED: &str = "DEPLOYED-OK";

/// Making the ramdisk takes under a second.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// A whole cycle takes 12–16 s on an idle machine and 50 s on a loaded one.
const CYCLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Drivers of all the disks and NICs that a rack's machines may have, as far as the kernel has them.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "sd_mod",
    "e1000",
    "e1000e",
    "virtio_rng",
];

/// What the floor is made of, besides busybox.
#[derive(Clone, Debug)]
pub struct FloorParts {
    /// A kernel.
    pub kernel: PathBuf,
    /// The directory whose `lib/modules/VERSION` holds its modules (`/` for installed kernels).
    pub modules_root: PathBuf,
    /// Its version, as `uname -r` says it.
    pub kernel_version: String,
    /// The raw disk image; the system on it says [`DEPLOYED`] on the first serial port.
    pub image: PathBuf,
}

/// A rack that is ready for floor cycles: its network boot leads into the floor's ramdisk.
#[derive(Debug)]
pub struct Floor<'a> {
    rack: &'a Rack,
}

/// When things had happened in one cycle, counted from just before the first BMC command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorTimes {
    /// The ramdisk's first program ran.
    pub ramdisk: Duration,
    /// The image was on the disk.
    pub written: Duration,
    /// The deployed system spoke.
    pub deployed: Duration,
    /// CPU time that the machine's QEMUs used.
    pub cpu: Duration,
}

impl<'a> Floor<'a> {
    /// Puts the floor's files where the rack's servers find them. The boot script is for machines that no conductor
    /// has given another one, and replaces a conductor's.
    ///
    /// # Errors
    /// When a file is missing or a tool (busybox, kmod) fails.
    pub fn prepare(rack: &'a Rack, parts: &FloorParts) -> Result<Self> {
        let http = rack.http_dir();
        let copy = |from: &Path, name: &str| {
            fs::copy(from, http.join(name))
                .with_context(|| format!("copy {}", from.display()))
                .map(drop)
        };
        copy(&parts.kernel, "floor-vmlinuz")?;
        copy(&parts.image, "floor-image")?;
        let modules = load_order(&parts.modules_root, &parts.kernel_version)?;
        make_ramdisk(&modules, &http.join("floor-initrd"))?;
        let boot_script = rack.dnsmasq().tftp_dir().join("boot.ipxe");
        fs::write(&boot_script, script(rack))
            .with_context(|| format!("write {}", boot_script.display()))?;
        Ok(Self { rack })
    }

    /// Runs one cycle on a node, which counts from 1, and switches it off.
    ///
    /// # Errors
    /// When the machine doesn't get to the end; the error shows its console.
    pub fn run(&self, node: usize) -> Result<FloorTimes> {
        let machine = self.rack.machine(node);
        ensure!(!machine.is_on(), "node {node} is on already");
        let mut console = LogCursor::at_end(machine.paths().console_log());
        let cpu_before = machine.cpu_time();
        let start = Instant::now();
        self.rack.ipmitool(node, &["chassis", "bootdev", "pxe"])?;
        self.rack.ipmitool(node, &["power", "on"])?;
        let mut reached = |pattern: &str| -> Result<Duration> {
            let left = CYCLE_TIMEOUT.saturating_sub(start.elapsed());
            let found = console
                .wait_for(pattern, left)
                .with_context(|| format!("floor cycle of node {node}"))?;
            Ok(found.at - start)
        };
        let (ramdisk, written, deployed) = (
            reached("FLOOR-UP")?,
            reached("FLOOR-WRITTEN")?,
            reached(DEPLOYED)?,
        );
        let cpu = machine.cpu_time() - cpu_before;
        self.rack.ipmitool(node, &["power", "off"])?;
        Ok(FloorTimes {
            ramdisk,
            written,
            deployed,
            cpu,
        })
    }
}

/// The first disk's name in the ramdisk, by each machine's MAC, and the way into the ramdisk.
fn script(rack: &Rack) -> String {
    let base = format!("http://{}", rack.images().address());
    let mut lines = vec!["#!ipxe".to_owned()];
    for machine in rack.machines() {
        let disk = match machine.spec().disks.first().map(|disk| disk.kind) {
            Some(DiskKind::VirtioBlk) => "vda",
            Some(DiskKind::Nvme) => "nvme0n1",
            Some(DiskKind::Sata | DiskKind::Scsi) => "sda",
            None => continue,
        };
        let mac = machine.node().mac(0);
        lines.push(format!("iseq ${{net0/mac}} {mac} && set disk {disk} ||"));
    }
    lines.extend([
        format!(
            "kernel {base}/floor-vmlinuz initrd=floor-initrd quiet cryptomgr.notests panic=1 {KERNEL_ARGS} \
             floor.ip=${{net0/ip}} floor.disk=${{disk}} floor.url={base}/floor-image"
        ),
        format!("initrd --name floor-initrd {base}/floor-initrd"),
        "boot".to_owned(),
    ]);
    lines.join("\n") + "\n"
}

/// The module files to load, in that order.
fn load_order(root: &Path, version: &str) -> Result<Vec<PathBuf>> {
    if !root
        .join("lib/modules")
        .join(version)
        .join("modules.dep")
        .exists()
    {
        let mut depmod = Command::new(find_program("depmod", None)?);
        depmod.arg("-b").arg(root).arg(version);
        run_ok(depmod, TOOL_TIMEOUT)?;
    }
    let mut files = Vec::new();
    for module in MODULES {
        let mut modprobe = Command::new(find_program("modprobe", None)?);
        modprobe
            .arg("-d")
            .arg(root)
            .args(["-S", version, "--show-depends", module]);
        // A small kernel has no drivers for hardware that a virtual machine never has; nothing to load then.
        let listing = run_ok(modprobe, TOOL_TIMEOUT).unwrap_or_default();
        for line in listing.lines() {
            let Some(file) = line
                .strip_prefix("insmod ")
                .map(|file| PathBuf::from(file.trim()))
            else {
                continue;
            };
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// What the ramdisk does.
fn init() -> String {
    format!(
        "#!/bin/busybox sh\n\
         B=/bin/busybox\n\
         set -o pipefail\n\
         $B mount -t proc proc /proc\n\
         $B mount -t devtmpfs dev /dev\n\
         echo FLOOR-UP\n\
         for module in /modules/*; do $B insmod $module; done\n\
         for word in $($B cat /proc/cmdline); do case $word in floor.*=*) eval ${{word#floor.}};; esac; done\n\
         until $B ifconfig eth0 $ip netmask 255.255.255.0 up 2>/dev/null; do $B usleep 20000; done\n\
         until [ -b /dev/$disk ]; do $B usleep 20000; done\n\
         until $B ping -c 1 -W 1 {GATEWAY} >/dev/null; do $B usleep 20000; done\n\
         $B wget -q -O - $url | $B dd of=/dev/$disk bs=1M 2>/dev/null && $B sync && echo FLOOR-WRITTEN\n\
         $B reboot -f\n"
    )
}

/// Packs busybox, the modules and the script into a gzipped cpio archive, with busybox's own tools.
fn make_ramdisk(modules: &[PathBuf], out: &Path) -> Result<()> {
    let busybox = find_program("busybox", None)?;
    let tree = tempfile::tempdir().context("make a directory")?;
    let root = tree.path();
    let fill = || -> std::io::Result<()> {
        for dir in ["bin", "modules", "proc", "dev"] {
            fs::create_dir(root.join(dir))?;
        }
        fs::copy(&busybox, root.join("bin/busybox"))?;
        symlink("busybox", root.join("bin/sh"))?;
        for (i, module) in modules.iter().enumerate() {
            fs::copy(module, root.join(format!("modules/{i:02}.ko")))?;
        }
        fs::write(root.join("init"), init())?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
    };
    fill().context("fill the floor's ramdisk")?;
    let mut pack = Command::new("/bin/sh");
    // find's order is the directories' own; nothing here depends on it.
    pack.args([
        "-e",
        "-c",
        "cd \"$1\"; \"$2\" find . | \"$2\" cpio -o -H newc 2>/dev/null | \"$2\" gzip >\"$3\"",
        "pack",
    ]);
    pack.arg(root).arg(&busybox).arg(out);
    run_ok(pack, TOOL_TIMEOUT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramdisk_holds_busybox_the_modules_in_order_and_the_script() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, out) = (
            dir.path().join("b.ko"),
            dir.path().join("a.ko"),
            dir.path().join("initrd"),
        );
        fs::write(&first, "first").unwrap();
        fs::write(&second, "second").unwrap();
        make_ramdisk(&[first, second], &out).unwrap();
        let unpack = |command: &str| {
            let mut shell = Command::new("/bin/sh");
            shell.args([
                "-c",
                &format!(
                    "cd {}; busybox zcat initrd | busybox cpio {command}",
                    dir.path().display()
                ),
            ]);
            run_ok(shell, TOOL_TIMEOUT).unwrap()
        };
        let names = unpack("-t");
        for name in [
            "bin/busybox",
            "bin/sh",
            "init",
            "modules/00.ko",
            "modules/01.ko",
            "proc",
            "dev",
        ] {
            assert!(
                names
                    .lines()
                    .any(|line| line.trim_start_matches("./") == name),
                "{name} in {names}"
            );
        }
        unpack("-id");
        assert_eq!(
            fs::read_to_string(dir.path().join("modules/00.ko")).unwrap(),
            "first"
        );
        assert_ne!(
            fs::metadata(dir.path().join("init"))
                .unwrap()
                .permissions()
                .mode()
                & 0o111,
            0
        );
    }
}
