//! Owns the QEMU command line of one POST, as a pure function of the machine's description and its boot flags.
//! Leaves files, taps and processes to `board`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::spec::{BootDevice, DiskKind, Firmware, NicModel, NicRom, NodeSpec};
use crate::layout::NodeNumber;

/// Debian's `ovmf`: the code is shared, the variables are a template.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The empty variable store.
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The same with Secure Boot, which system management mode protects.
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// With Microsoft's keys, and Secure Boot on.
const SECURE_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// The template of a machine's UEFI variables; none: it has none.
pub fn variables(firmware: Firmware) -> Option<&'static str> {
    match firmware {
        Firmware::Bios => None,
        Firmware::Uefi | Firmware::Auto => Some(OVMF_VARS),
        Firmware::SecureUefi => Some(SECURE_VARS),
    }
}

/// Firmware of one POST: `Auto` has been decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostFirmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
    /// OVMF with Secure Boot.
    SecureUefi,
}

/// Where a machine keeps its files.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The directory of all below.
    pub dir: PathBuf,
}

impl Paths {
    /// The raw image of a disk.
    pub fn disk(&self, index: usize) -> PathBuf {
        self.dir.join(format!("disk{index}.img"))
    }
    /// The UEFI variable store.
    pub fn vars(&self) -> PathBuf {
        self.dir.join("vars.fd")
    }
    /// What the serial port has said, over all POSTs.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }
    /// The serial port itself, both ways, for `socat` and the like.
    pub fn console_socket(&self) -> PathBuf {
        self.dir.join("console.sock")
    }
    /// What the TPM keeps while it is off.
    pub fn tpm(&self) -> PathBuf {
        self.dir.join("tpm")
    }
    /// Where the emulated TPM is driven.
    pub fn tpm_socket(&self) -> PathBuf {
        self.dir.join("tpm.sock")
    }
    /// What it complained about.
    pub fn tpm_log(&self) -> PathBuf {
        self.dir.join("tpm.log")
    }
    /// What QEMU itself complained about.
    pub fn qemu_log(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }
}

/// The arguments of one POST. `qmp_fd` is an inherited descriptor that QEMU speaks QMP on.
pub fn arguments(
    node: NodeNumber,
    spec: &NodeSpec,
    paths: &Paths,
    firmware: PostFirmware,
    boot: BootDevice,
    qmp_fd: i32,
) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    args.flag("-nodefaults")
        .flag("-no-user-config")
        .flag("-no-reboot");
    args.option("-name", format!("ironbeat-node{node}"));
    // `graphics=off` sends SeaBIOS and option ROMs to the serial port; OVMF writes there by itself.
    let smm = match firmware {
        PostFirmware::SecureUefi => ",smm=on",
        PostFirmware::Bios | PostFirmware::Uefi => "",
    };
    args.option("-machine", format!("q35,accel=tcg,graphics=off{smm}"))
        .option("-cpu", "qemu64");
    args.option("-smp", spec.cpus.to_string())
        .option("-m", spec.memory_mib.to_string());
    args.option("-display", "none").option("-vga", "none");
    if let Some(day) = spec.dead_clock {
        args.option("-rtc", format!("base={day}"));
    }
    args.option("-chardev", format!("socket,id=qmp,fd={qmp_fd}"))
        .option("-mon", "chardev=qmp,mode=control");
    let (socket, log) = (value(&paths.console_socket()), value(&paths.console_log()));
    args.option(
        "-chardev",
        format!("socket,id=con,path={socket},server=on,wait=off,logfile={log},logappend=on"),
    );
    args.option("-serial", "chardev:con");
    args.option("-device", "virtio-rng-pci");
    let code = match firmware {
        PostFirmware::Bios => None,
        PostFirmware::Uefi => Some(OVMF_CODE),
        PostFirmware::SecureUefi => {
            // Only the firmware changes variables, in system management mode.
            args.option("-global", "driver=cfi.pflash01,property=secure,value=on");
            Some(SECURE_CODE)
        }
    };
    if let Some(code) = code {
        args.option(
            "-drive",
            format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        );
        args.option(
            "-drive",
            format!("if=pflash,format=raw,unit=1,file={}", value(&paths.vars())),
        );
    }
    smbios(&mut args, node, spec);
    let (first_disk, first_nic) = match boot {
        BootDevice::Disk => (0, spec.disks.len()),
        BootDevice::Pxe => (spec.nics.len(), 0),
    };
    disks(&mut args, spec, paths, first_disk);
    nics(&mut args, node, spec, first_nic);
    if spec.usb {
        args.option("-device", "qemu-xhci,id=usb");
    }
    if spec.tpm {
        let socket = value(&paths.tpm_socket());
        args.option("-chardev", format!("socket,id=tpm,path={socket}"));
        args.option("-tpmdev", "emulator,id=tpm0,chardev=tpm")
            .option("-device", "tpm-crb,tpmdev=tpm0");
    }
    if spec.in_band_ipmi {
        let port = node.kcs_port();
        args.option(
            "-chardev",
            format!("socket,id=ipmi0,host=127.0.0.1,port={port},reconnect=1"),
        );
        args.option("-device", "ipmi-bmc-extern,id=bmc0,chardev=ipmi0")
            .option("-device", "isa-ipmi-kcs,bmc=bmc0");
    }
    args.0
}

fn smbios(args: &mut Args, node: NodeNumber, spec: &NodeSpec) {
    let id = &spec.identity;
    let uuid = if id.uuid.is_empty() {
        node.uuid()
    } else {
        id.uuid.clone()
    };
    let serial = if id.serial.is_empty() {
        node.serial()
    } else {
        id.serial.clone()
    };
    args.option("-uuid", uuid);
    let table = |number: u8, fields: &[(&str, &str)]| {
        let given = fields.iter().filter(|(_, text)| !text.is_empty());
        given.fold(format!("type={number}"), |line, (key, text)| {
            format!("{line},{key}={}", escape(text))
        })
    };
    let (manufacturer, product) = (
        ("manufacturer", id.manufacturer.as_str()),
        ("product", id.product.as_str()),
    );
    let (serial, asset) = (
        ("serial", serial.as_str()),
        ("asset", id.asset_tag.as_str()),
    );
    let (sku, family) = (("sku", id.sku.as_str()), ("family", id.family.as_str()));
    args.option(
        "-smbios",
        table(1, &[manufacturer, product, serial, sku, family]),
    );
    args.option("-smbios", table(2, &[manufacturer, product, serial]));
    args.option("-smbios", table(3, &[manufacturer, serial, asset]));
}

fn disks(args: &mut Args, spec: &NodeSpec, paths: &Paths, first_boot_index: usize) {
    if spec.disks.iter().any(|disk| disk.kind == DiskKind::Scsi) {
        args.option("-device", "virtio-scsi-pci,id=scsi0");
    }
    let mut sata_ports = 0..;
    for (i, disk) in spec.disks.iter().enumerate() {
        // `unsafe`: the host's page cache is good enough for a machine that does not outlive its host.
        let file = value(&paths.disk(i));
        args.option(
            "-drive",
            format!("if=none,id=disk{i},format=raw,cache=unsafe,discard=unmap,file={file}"),
        );
        let model = match disk.kind {
            DiskKind::VirtioBlk => "virtio-blk-pci".to_owned(),
            DiskKind::Nvme => "nvme".to_owned(),
            DiskKind::Sata => format!(
                "ide-hd,bus=ide.{}",
                sata_ports.next().expect("an open range has no end")
            ),
            DiskKind::Scsi => "scsi-hd,bus=scsi0.0".to_owned(),
        };
        let (serial, boot) = (escape(&disk.serial), first_boot_index + i);
        let mut device = format!("{model},drive=disk{i},serial={serial},bootindex={boot}");
        if matches!(disk.kind, DiskKind::Sata | DiskKind::Scsi) {
            // 1 means "does not turn" (SCSI block device characteristics; ATA word 217).
            device += if disk.rotational {
                ",rotation_rate=7200"
            } else {
                ",rotation_rate=1"
            };
            device += &disk
                .wwn
                .map_or_else(String::new, |wwn| format!(",wwn={wwn:#x}"));
        }
        args.option("-device", device);
    }
}

fn nics(args: &mut Args, node: NodeNumber, spec: &NodeSpec, first_boot_index: usize) {
    for (k, nic) in (0_u8..).zip(&spec.nics) {
        let model = match nic.model {
            NicModel::VirtioNet => "virtio-net-pci",
            NicModel::E1000 => "e1000",
            NicModel::E1000e => "e1000e",
        };
        let rom = match nic.rom {
            NicRom::Ipxe => "",
            NicRom::None => ",romfile=",
        };
        let (mac, tap, boot) = (node.mac(k), node.tap(k), first_boot_index + usize::from(k));
        args.option(
            "-netdev",
            format!("tap,id=net{k},ifname={tap},script=no,downscript=no"),
        );
        args.option(
            "-device",
            format!("{model},id=nic{k},netdev=net{k},mac={mac},bootindex={boot}{rom}"),
        );
    }
}

struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }
    fn option(&mut self, name: &str, text: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(text.into());
        self
    }
}

/// A value inside one of QEMU's comma-separated options: commas are doubled.
fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

fn value(path: &Path) -> String {
    escape(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::spec::{DiskSpec, NicSpec};
    use super::*;

    fn line(spec: &NodeSpec, firmware: PostFirmware, boot: BootDevice) -> String {
        let node = NodeNumber::new(3).unwrap();
        let args = arguments(
            node,
            spec,
            &Paths {
                dir: "/run/a,b".into(),
            },
            firmware,
            boot,
            7,
        );
        args.iter()
            .map(|arg| arg.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn boot_order_follows_the_boot_device() {
        let nics = vec![
            NicSpec::VIRTIO,
            NicSpec {
                model: NicModel::E1000e,
                rom: NicRom::None,
            },
        ];
        let spec = NodeSpec {
            nics,
            ..NodeSpec::bios()
        };
        let disk = line(&spec, PostFirmware::Bios, BootDevice::Disk);
        assert!(
            disk.contains("serial=VIRT0001,bootindex=0")
                && disk.contains("mac=52:54:00:77:00:03,bootindex=1")
        );
        let pxe = line(&spec, PostFirmware::Bios, BootDevice::Pxe);
        assert!(
            pxe.contains("serial=VIRT0001,bootindex=2")
                && pxe.contains("mac=52:54:00:77:00:03,bootindex=0")
        );
        assert!(
            pxe.contains("e1000e,id=nic1,netdev=net1,mac=52:54:00:77:01:03,bootindex=1,romfile=")
        );
        assert!(!pxe.contains("pflash"));
    }

    #[test]
    fn secure_boot_has_firmware_of_its_own_and_system_management_mode() {
        let spec = NodeSpec::uefi();
        let secure = line(&spec, PostFirmware::SecureUefi, BootDevice::Disk);
        let needed = [
            "smm=on",
            "OVMF_CODE_4M.secboot.fd",
            "property=secure,value=on",
        ];
        assert!(needed.iter().all(|word| secure.contains(word)), "{secure}");
        let usual = line(&spec, PostFirmware::Uefi, BootDevice::Disk);
        assert!(!needed.iter().any(|word| usual.contains(word)), "{usual}");
        assert_eq!(variables(Firmware::Bios), None);
        assert_eq!(variables(Firmware::SecureUefi), Some(SECURE_VARS));
    }

    #[test]
    fn a_tpm_is_where_its_emulator_listens() {
        let with = |tpm| {
            let spec = NodeSpec {
                tpm,
                ..NodeSpec::uefi()
            };
            line(&spec, PostFirmware::Uefi, BootDevice::Disk)
        };
        let needed = ["path=/run/a,,b/tpm.sock", "tpm-crb,tpmdev=tpm0"];
        assert!(needed.iter().all(|word| with(true).contains(word)));
        assert!(!with(false).contains("tpm"));
    }

    #[test]
    fn disks_keep_their_kind_serial_and_wwn() {
        let disk = |kind, serial| DiskSpec {
            wwn: Some(0x5000_c500_0000_0001),
            ..DiskSpec::blank(kind, 1, serial)
        };
        let mut disks = vec![
            disk(DiskKind::Sata, "A,B"),
            disk(DiskKind::Scsi, "S"),
            disk(DiskKind::Sata, "C"),
        ];
        disks[2].rotational = true;
        let spec = NodeSpec {
            disks,
            ..NodeSpec::uefi()
        };
        let line = line(&spec, PostFirmware::Uefi, BootDevice::Disk);
        let sata = "ide-hd,bus=ide.0,drive=disk0,serial=A,,B,bootindex=0,rotation_rate=1,wwn=0x5000c50000000001";
        assert!(line.contains(sata), "{line}");
        assert!(
            line.contains("scsi-hd,bus=scsi0.0,drive=disk1,serial=S,bootindex=1,rotation_rate=1"),
            "{line}"
        );
        assert!(
            line.contains("ide-hd,bus=ide.1,drive=disk2,serial=C,bootindex=2,rotation_rate=7200"),
            "{line}"
        );
        assert!(
            line.contains("file=/run/a,,b/vars.fd") && line.matches("virtio-scsi-pci").count() == 1,
            "{line}"
        );
    }
}
