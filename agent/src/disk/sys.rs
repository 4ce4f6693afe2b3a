//! The block-device ioctl that no safe interface offers.
//! Everything else about a disk is in `device`.
use rustix::fd::AsFd;
use rustix::io;
use rustix::ioctl::{NoArg, ioctl, opcode};

/// `BLKRRPART`: the kernel forgets the partitions it knew of this disk and reads its table.
pub fn reread_partitions(disk: impl AsFd) -> io::Result<()> {
    const BLKRRPART: rustix::ioctl::Opcode = opcode::none(0x12, 95);
    // SAFETY: BLKRRPART (linux/fs.h) takes no argument and touches no memory of this process; on anything that is not a
    // block device it fails with ENOTTY.
    unsafe { ioctl(disk, NoArg::<BLKRRPART>::new()) }
}
