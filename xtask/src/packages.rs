//! Which Debian packages each command needs, and why.
//! Leaves installing them to `ironbeat_image::ensure_packages`.
use anyhow::Result;

type Packages = &'static [(&'static str, &'static str)];

/// To compile: cmake-free C for zstd and ring.
pub const BUILD: Packages = &[
    ("gcc", "compile the C parts of ring and zstd"),
    ("libc6-dev", "link"),
];

/// To make the ramdisk and the demo operating system.
pub const IMAGE: Packages = &[
    ("kmod", "depmod: which module needs which"),
    ("xz-utils", "unpack compressed kernel modules"),
    ("zstd", "check the ramdisk with the reference tool"),
    ("cpio", "check the ramdisk with the reference tool"),
];

/// To build the bootable demo operating system.
pub const DEMO_OS: Packages = &[
    ("busybox-static", "userland of the demo operating system"),
    ("grub-pc-bin", "its BIOS boot loader"),
    ("grub-efi-amd64-bin", "its UEFI boot loader"),
    ("shim-signed", "the same for Secure Boot"),
    ("grub-efi-amd64-signed", "what shim starts"),
    ("grub-common", "grub-mkimage"),
    ("mtools", "fill its EFI system partition without mounting"),
    ("dosfstools", "make its EFI system partition"),
    ("gdisk", "its partition table"),
];

/// To run a rack.
pub const RACK: Packages = &[
    ("iproute2", "network namespace, bridge and taps"),
    ("nats-server", "the message bus"),
    ("dnsmasq-base", "DHCP and first-stage TFTP"),
    ("dbus-daemon", "the bus through which dnsmasq is driven"),
    ("openipmi", "ipmi_sim, the BMCs"),
    ("ipmitool", "a second opinion on the BMCs"),
    ("qemu-system-x86", "the machines"),
    ("qemu-utils", "their disks"),
    ("swtpm", "TPMs"),
    ("ipxe-qemu", "network boot in their NICs"),
    ("ipxe", "network boot for firmware without it"),
    ("shim-signed", "network boot with Secure Boot"),
    ("grub-efi-amd64-signed", "what shim starts"),
    ("ovmf", "UEFI firmware"),
    ("seabios", "BIOS firmware"),
    ("openssh-client", "people who log in to rescue systems"),
];

/// To build iPXE.
pub const IPXE: Packages = &[
    ("gcc", "compile it"),
    ("libc6-dev", "compile its own tools"),
    ("make", "its makefile"),
    ("perl", "the same"),
    ("binutils", "link it"),
    ("liblzma-dev", "pack it for BIOS"),
    ("openssl", "read the CA"),
];

/// To run a cluster of nats-servers on hosts of their own.
pub const CLUSTER: Packages = &[
    ("iproute2", "network namespaces and their cables"),
    (
        "nats-server",
        "the message bus, where no newer one can be had",
    ),
];

/// To run bad neighbours.
pub const NEIGHBOURS: Packages = &[
    (
        "nats-server",
        "the message bus, where no newer one can be had",
    ),
    (
        "mount",
        "losetup: a disk that a hostile image is written to",
    ),
    ("gzip", "a bomb"),
    ("iproute2", "a link-local address"),
];

/// What the BMC bench compares with.
pub const BMC_BENCH: Packages = &[
    ("openipmi", "ipmi_sim, BMCs that somebody else wrote"),
    ("ipmitool", "the client that Ironic calls"),
    ("python3", "pyghmi, the best client in process"),
];

/// Only the tests need these.
pub const TESTS: Packages = &[
    ("mount", "losetup: disks to write to"),
    ("python3", "a raw frame sent by somebody else's code"),
    ("freeipmi-tools", "a third opinion on the simulated BMCs"),
    ("python3-pyghmi", "somebody else's BMC for our IPMI client"),
    ("procps", "ps, to see what a program has started"),
];

/// # Errors
/// When a package is missing and cannot be installed.
pub fn ensure(sets: &[Packages]) -> Result<()> {
    let all: Vec<(&str, &str)> = sets.iter().flat_map(|set| set.iter().copied()).collect();
    ironbeat_image::ensure_packages(&all)
}
