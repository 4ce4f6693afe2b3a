//! What both boot loaders of the demo image have in common: where Debian keeps GRUB, and what GRUB is told.
//! The BIOS loader is made in `disk`, the UEFI ones are in `uefi`.

pub const GRUB: &str = "/usr/lib/grub";

/// A serial console; no self-tests of ciphers that it does not use (0.35 s of CPU time in an emulated machine); no look at
/// whether the timer ticks, which an emulated one fails when its host is busy.
const KERNEL_ARGS: &str = "console=ttyS0 quiet cryptomgr.notests no_timer_check";

/// `$root` is the partition that GRUB itself was started from. `protocol` is empty for the kernel's 32-bit entry (or its
/// UEFI one), or `16`.
pub fn grub_config(protocol: &str) -> String {
    format!("linux{protocol} /vmlinuz {KERNEL_ARGS}\ninitrd{protocol} /initrd\nboot\n")
}
