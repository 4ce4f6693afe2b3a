//! Asks an AHCI controller that no driver took whether anything hangs on its ports: every virtual machine of QEMU's q35 has
//! one, mostly empty, and the small ramdisk has no driver for it. All the `unsafe` for its registers is here.
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The registers are in the sixth region (AHCI 1.3.1 section 2.1.11) ...
const REGISTERS: &str = "resource5";
/// ... of which the generic ones and at most 32 ports are read, in bytes.
const MAX_BYTES: u64 = 0x1100;
/// Capabilities, and ports implemented (section 3.1).
const CAP: usize = 0x00;
const PI: usize = 0x0c;
/// Ports are asleep until software wakes them: silence says nothing then.
const STAGGERED_SPIN_UP: u32 = 1 << 27;
/// The first port, the length of each, and its status, whose lowest bits say what is there (section 3.3.10).
const PORTS: usize = 0x100;
const PORT_BYTES: usize = 0x80;
const SSTS: usize = 0x28;
const DETECTED: u32 = 0xf;
/// The command register in a function's configuration space, and its bit for memory.
const COMMAND: usize = 4;
const MEMORY: u8 = 2;

/// Whether all of its ports say that nothing is there. One that cannot be asked may have anything.
pub fn is_empty(function: &Path) -> bool {
    Registers::map(function).is_ok_and(|registers| says_empty(registers.words()))
}

fn says_empty(read: impl Fn(usize) -> Option<u32>) -> bool {
    let (Some(capabilities), Some(ports)) = (read(CAP), read(PI)) else {
        return false;
    };
    // All ones: nobody answers on the bus.
    if capabilities == u32::MAX || ports == 0 || capabilities & STAGGERED_SPIN_UP != 0 {
        return false;
    }
    (0..32)
        .filter(|port| ports & (1 << port) != 0)
        .all(|port| read(PORTS + port * PORT_BYTES + SSTS).is_some_and(|s| s & DETECTED == 0))
}

/// The controller's registers in this process's memory.
struct Registers {
    start: *const u32,
    bytes: usize,
}

impl Registers {
    fn map(function: &Path) -> io::Result<Self> {
        if fs::read(function.join("config"))?
            .get(COMMAND)
            .is_none_or(|byte| byte & MEMORY == 0)
        {
            fs::write(function.join("enable"), "1")?;
        }
        let file: File = OpenOptions::new()
            .read(true)
            .open(function.join(REGISTERS))?;
        let bytes = file.metadata()?.len().min(MAX_BYTES) as usize;
        // SAFETY: a new mapping at an address of the kernel's choice; length and descriptor are those of an open file.
        let start = unsafe {
            let (any, flags) = (std::ptr::null_mut(), libc::MAP_SHARED);
            libc::mmap(any, bytes, libc::PROT_READ, flags, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            bytes,
        })
    }

    fn words(&self) -> impl Fn(usize) -> Option<u32> {
        |at| {
            let is_inside = at.is_multiple_of(4) && at + 4 <= self.bytes;
            // SAFETY: aligned, since the mapping begins at a page, and within it; a register may be read at any time.
            is_inside.then(|| u32::from_le(unsafe { self.start.byte_add(at).read_volatile() }))
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registers of a controller with these capabilities, ports, and what each detects, as a file.
    fn controller(capabilities: u32, ports: u32, detected: &[(usize, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut words = vec![0u32; 1024];
        (words[CAP / 4], words[PI / 4]) = (capabilities, ports);
        for (port, status) in detected {
            words[(PORTS + port * PORT_BYTES + SSTS) / 4] = *status;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(dir.path().join(REGISTERS), bytes).unwrap();
        fs::write(dir.path().join("config"), [0, 0, 0, 0, 6, 0]).unwrap();
        dir
    }

    fn check(capabilities: u32, ports: u32, detected: &[(usize, u32)], expected: bool) {
        let dir = controller(capabilities, ports, detected);
        assert_eq!(is_empty(dir.path()), expected, "{ports:#x} {detected:?}");
    }

    #[test]
    fn a_controller_is_empty_when_it_says_so_of_each_port() {
        check(0xc014_1f05, 0x3f, &[], true);
        check(0xc014_1f05, 0x3f, &[(5, 0x113)], false);
        // Detected, but its link is not up yet.
        check(0xc014_1f05, 0x3f, &[(0, 1)], false);
        // Not a port of this controller.
        check(0xc014_1f05, 0x3f, &[(6, 0x113)], true);
        // Asleep, without a port, without an answer, and beyond what is mapped.
        check(STAGGERED_SPIN_UP, 0x3f, &[], false);
        check(0xc014_1f05, 0, &[], false);
        check(u32::MAX, u32::MAX, &[], false);
        check(0xc014_1f05, 1 << 31, &[], false);
    }

    #[test]
    fn one_that_cannot_be_asked_may_have_anything() {
        let dir = controller(0xc014_1f05, 0x3f, &[]);
        assert!(is_empty(dir.path()));
        fs::remove_file(dir.path().join(REGISTERS)).unwrap();
        assert!(!is_empty(dir.path()));
    }
}
