//! What a ramdisk reads of its machine: firmware, kernel, and the files that came with it.
//! The sysfs trees of whole machines are tested in the agent.
use super::{Target, behind};
use ironbeat_agent::fuzz as agent;
use ironbeat_mutate::good::{cpuinfo, smbios};

/// Serial number and identify data of a SATA disk (SPC-5 §7.7.17, SAT-5 §12.4.2).
fn vpd() -> [Vec<u8>; 2] {
    let mut ata = vec![0, 0x89, 2, 0x38];
    ata.resize(60 + 2 * 47, b'A');
    [b"\0\x80\0\x14SA-0001             ".to_vec(), ata]
}

/// What a BMC with one LAN channel answers, each behind its length.
fn bmc() -> Vec<u8> {
    let mut ipv6 = vec![0, 0x11, 0, 0x80, 0xfd, 0x77];
    ipv6.resize(20, 1);
    ipv6.extend([64, 0]);
    let answers: [&[u8]; 5] = [
        &[0, 1, 4, 1, 0x80, 0, 0, 0, 0, 0],
        &[0, 0x11, 10, 77, 1, 1],
        &[0, 0x11, 2, 0, 0, 0, 0, 9],
        &[0, 0x11, 2],
        &ipv6,
    ];
    answers
        .iter()
        .flat_map(|answer| behind(&[answer.len() as u8], answer))
        .collect()
}

/// A directory, a file in it, a link to it.
fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, mode, content) in [
        ("bin", 0o040_755, ""),
        ("bin/tool", 0o100_755, "#!/bin/sh\n"),
        ("sh", 0o120_777, "bin/tool"),
        ("TRAILER!!!", 0, ""),
    ] {
        let mut fields = [0; 13];
        (fields[1], fields[6], fields[11]) = (mode, content.len(), name.len() + 1);
        bytes.extend(b"070701");
        for field in fields {
            bytes.extend(format!("{field:08x}").bytes());
        }
        for part in [&[name, "\0"].concat(), content] {
            bytes.extend(part.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// depmod's three tables, and names that ask for modules.
const MODULES: &str = "pci:v00008086d00001572sv* ext4 k/ext4.ko: k/mbcache.ko k/jbd2.ko\nk/jbd2.ko: k/crc.ko\nk/crc.ko: k/jbd2.ko\n\
    k/mbcache.ko:\nalias pci:v*d*[a-c!x]?* ext4\nalias acpi*:IPI0001:* ipmi-si\nsoftdep ext4 pre: crc absent post: other\n";

pub fn targets() -> Vec<Target> {
    vec![
        Target::new(
            "smbios",
            "SMBIOS tables",
            "agent/src/collect/smbios.rs",
            agent::smbios,
        )
        .seeds([smbios::table()]),
        Target::new(
            "cpuinfo",
            "`/proc/cpuinfo`",
            "agent/src/collect/cpu.rs",
            agent::cpuinfo,
        )
        .seeds([cpuinfo::X86, cpuinfo::ARM])
        .words(&[
            "processor\t: ",
            "cpu MHz\t: ",
            "flags\t: ",
            "physical id\t: ",
            ":",
            "\n",
        ]),
        Target::new(
            "rescue",
            "the archive of a rescue system (cpio)",
            "agent/src/rescue/archive.rs",
            agent::archive,
        )
        .seeds([archive()])
        .words(&["070701", "TRAILER!!!", "../", "/", "00000000", "ffffffff"]),
        Target::new(
            "vpd",
            "vital product data of SCSI and SATA disks",
            "agent/src/collect/disks.rs",
            agent::vpd,
        )
        .seeds(vpd()),
        Target::new(
            "sysfs",
            "texts of sysfs and procfs",
            "agent/src/sysfs.rs",
            agent::sysfs,
        )
        .seeds([
            "0000:00:03.0",
            "MemTotal:         100352 kB\nMemFree: 1 kB\n",
            "  QEMU HARDDISK   \n",
        ])
        .words(&["MemTotal:", " kB", ":", ".", "\n", "\u{0}", "\u{7f}"]),
        Target::new(
            "in-band-bmc",
            "what a BMC answers to the machine that it is in",
            "agent/src/collect/bmc/mod.rs",
            agent::bmc,
        )
        .seeds([bmc()]),
        Target::new(
            "modules",
            "depmod's tables, and the names of devices",
            "agent/src/init/modules/index.rs",
            agent::modules,
        )
        .seeds([MODULES])
        .words(&[
            "alias ", "softdep ", " pre: ", " post: ", ".ko:", "*", "?", "[", "]", "[!", "-", "\n",
            "k/",
        ])
        .max_bytes(16 << 20),
    ]
}
