//! What a machine's firmware and loaders measured, compared with the kernel and the ramdisk that workers serve.
//! `event_log` reads logs, `authenticode` hashes kernels as firmware does, `files` hashes what is served; the core has the verdict.
//!
//! Who measures what, as seen with a TPM 2.0 under OVMF:
//! - firmware measures each program that it is asked to load into PCR 4: a kernel that iPXE starts, and shim, GRUB and, by shim, the
//!   kernel that GRUB starts with Secure Boot on;
//! - GRUB measures each file that it reads into PCR 9, under its name: the kernel and the ramdisk;
//! - the EFI stub of Linux (6.1 does) measures into PCR 9 a ramdisk that it gets by `LoadFile2` (`efi_measure_initrd`), as from iPXE of
//!   2026; iPXE of 2019 passes it as a file, which nobody measures.
pub(crate) mod authenticode;
pub(crate) mod event_log;
pub mod files;

use crate::netboot::script::KERNEL;
use event_log::{
    Bytes, EV_EFI_BOOT_SERVICES_APPLICATION, EV_EVENT_TAG, EV_IPL, Event, parse, replay,
};
use ironbeat_common::image::Digest;
use ironbeat_common::measured::{EventLog, Measurements};
use ironbeat_core::node::{MeasuredBoot, Part};
use ironbeat_ops::reply::Served;

const OF_PROGRAMS: u8 = 4;
const OF_FILES: u8 = 9;
/// `INITRD_EVENT_TAG_ID` of Linux (`drivers/firmware/efi/libstub/efistub.h`).
const INITRD_TAG: u32 = 0x8f3b_22ec;

/// `served`: what all workers serve, and did a while ago.
pub fn compare(measurements: &Measurements, served: &[Served]) -> MeasuredBoot {
    let Measurements { pcrs, log } = measurements;
    let no_log = |why| MeasuredBoot::NoLog { why };
    let events = match log {
        EventLog::Missing(why) => return no_log(why.chars().take(MAX_WHY).collect()),
        EventLog::Read(log) => match parse(log) {
            Ok(events) => events,
            Err(bad) => return no_log(bad.to_string()),
        },
    };
    for pcr in [OF_PROGRAMS, OF_FILES] {
        let value = pcrs.iter().find(|it| it.index == pcr);
        if value.is_none_or(|it| it.sha256.0 != replay(&events, pcr)) {
            return MeasuredBoot::Contradicted { pcr };
        }
    }
    MeasuredBoot::Compared {
        kernel: kernel(&events, served),
        ramdisk: ramdisk(&events, served),
    }
}

/// Characters of what an agent says.
const MAX_WHY: usize = 200;

fn kernel(events: &[Event<'_>], served: &[Served]) -> Part {
    let known = |sha256: &[u8; 32]| served.iter().any(|it| it.kernel.0 == *sha256);
    let by_grub = events.iter().filter(|it| is_kernel_file(it, served));
    let by_grub = part(by_grub, known);
    if by_grub != Part::NotMeasured {
        return by_grub;
    }
    // Whatever has loaded the kernel comes before it.
    let is_program = |it: &&Event<'_>| {
        it.pcr == u32::from(OF_PROGRAMS) && it.kind == EV_EFI_BOOT_SERVICES_APPLICATION
    };
    let last = events.iter().rfind(is_program);
    part(last.into_iter(), |sha256| {
        let of = |it: &Served| it.program.as_ref().is_some_and(|it| it.0 == *sha256);
        served.iter().any(of)
    })
}

fn ramdisk(events: &[Event<'_>], served: &[Served]) -> Part {
    let known = |sha256: &[u8; 32]| served.iter().any(|it| it.ramdisk.0 == *sha256);
    // Under whatever name: what GRUB reads after the kernel is unpacked as a ramdisk.
    let kernel = |it: &Event<'_>| is_kernel_file(it, served);
    let behind = &events[events.iter().position(kernel).unwrap_or(0)..];
    let by_grub = behind.iter().filter(|it| is_file(it) && !kernel(it));
    let by_stub = events.iter().filter(|it| is_ramdisk_of_stub(it));
    part(by_grub.chain(by_stub), known)
}

/// What these events say of a file: if one is about another, so is the boot.
fn part<'a>(
    mut events: impl Iterator<Item = &'a Event<'a>>,
    known: impl Fn(&[u8; 32]) -> bool,
) -> Part {
    let mut found = Part::NotMeasured;
    let other = events.find_map(|it| {
        found = Part::Served;
        (!known(&it.sha256)).then_some(it.sha256)
    });
    match other {
        Some(sha256) => Part::Other {
            sha256: Digest(sha256),
        },
        None => found,
    }
}

/// A file that GRUB has read.
fn is_file(event: &Event<'_>) -> bool {
    event.pcr == u32::from(OF_FILES) && event.kind == EV_IPL
}

/// By the last part of its name, or by what it is.
fn is_kernel_file(event: &Event<'_>, served: &[Served]) -> bool {
    let path = event.data.strip_suffix(&[0]).unwrap_or(event.data);
    let is_named = path.rsplit(|byte| *byte == b'/').next() == Some(KERNEL.as_bytes());
    is_file(event) && (is_named || served.iter().any(|it| it.kernel.0 == event.sha256))
}

fn is_ramdisk_of_stub(event: &Event<'_>) -> bool {
    let tag = Bytes(event.data).u32();
    event.pcr == u32::from(OF_FILES) && event.kind == EV_EVENT_TAG && tag == Some(INITRD_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::measured::Pcr;
    use ironbeat_mutate::good::event_log as good;

    const OURS: &str = "11111111111111111111111111111111111111111111111111111111111111aa";
    const KERNEL_SHA256: &str = "33333333333333333333333333333333333333333333333333333333333333cc";
    const THEIRS: &str = "22222222222222222222222222222222222222222222222222222222222222bb";

    type Of<'a> = (u32, u32, &'a str, &'a [u8]);
    const PROGRAM: Of<'_> = (4, EV_EFI_BOOT_SERVICES_APPLICATION, good::KERNEL, b"");
    const OTHER_PROGRAM: Of<'_> = (4, EV_EFI_BOOT_SERVICES_APPLICATION, THEIRS, b"");
    /// As GRUB names them.
    const KERNEL_FILE: &[u8] = b"(tftp,10.0.2.2)/grub/vmlinuz\0";
    const RAMDISK_FILE: &[u8] = b"(tftp,10.0.2.2)/grub/initrd\0";
    const BY_STUB: &[u8] = b"\xec\x22\x3b\x8f\x0d\0\0\0Linux initrd\0";

    fn digest(hex: &str) -> Digest<32> {
        Digest(good::digest(hex))
    }

    fn served() -> [Served; 1] {
        [Served {
            kernel: digest(KERNEL_SHA256),
            program: Some(digest(good::KERNEL)),
            ramdisk: digest(OURS),
        }]
    }

    /// Of a TPM with these events.
    fn measured(events: &[Of<'_>]) -> Measurements {
        let log = good::log(events);
        let of = |index: u8| Pcr {
            index,
            sha256: Digest(replay(&parse(&log).unwrap(), index)),
        };
        Measurements {
            pcrs: vec![of(4), of(9)],
            log: EventLog::Read(log),
        }
    }

    fn check(events: &[Of<'_>], kernel: Part, ramdisk: Part) {
        let found = compare(&measured(events), &served());
        assert_eq!(found, MeasuredBoot::Compared { kernel, ramdisk });
    }

    fn other() -> Part {
        Part::Other {
            sha256: digest(THEIRS),
        }
    }

    #[test]
    fn what_was_booted_is_told_from_what_each_loader_measures() {
        use Part::{NotMeasured, Served};
        let by_grub = |name: &'static [u8], sha256| (9, EV_IPL, sha256, name);
        let by_stub = |sha256| (9, EV_EVENT_TAG, sha256, BY_STUB);
        check(&good::BY_IPXE, Served, NotMeasured);
        check(&[PROGRAM, by_stub(OURS)], Served, Served);
        check(&[PROGRAM, by_stub(THEIRS)], Served, other());
        check(&[PROGRAM, OTHER_PROGRAM, by_stub(OURS)], other(), Served);
        check(&[OTHER_PROGRAM, PROGRAM], Served, NotMeasured);
        let cfg = by_grub(b"(tftp,10.0.2.2)/grub/grub.cfg\0", THEIRS);
        let kernel = by_grub(KERNEL_FILE, KERNEL_SHA256);
        let ramdisk = by_grub(RAMDISK_FILE, OURS);
        check(&[OTHER_PROGRAM, cfg, kernel, ramdisk], Served, Served);
        check(
            &[cfg, kernel, by_grub(RAMDISK_FILE, THEIRS)],
            Served,
            other(),
        );
        check(&[by_grub(KERNEL_FILE, THEIRS), ramdisk], other(), Served);
        let beside = [kernel, ramdisk, by_grub(b"/x\0", THEIRS)];
        check(&beside, Served, other());
        let renamed = [
            cfg,
            by_grub(b"/linux\0", KERNEL_SHA256),
            by_grub(b"/x\0", OURS),
        ];
        check(&renamed, Served, Served);
        check(&[kernel], Served, NotMeasured);
        check(&[], NotMeasured, NotMeasured);
        check(&[(8, EV_IPL, OURS, RAMDISK_FILE)], NotMeasured, NotMeasured);
        check(
            &[(9, EV_EVENT_TAG, THEIRS, b"\xed")],
            NotMeasured,
            NotMeasured,
        );
    }

    #[test]
    fn a_log_that_the_pcrs_contradict_is_not_believed() {
        let mut machine = measured(&good::BY_IPXE);
        machine.pcrs[1].sha256 = digest(OURS);
        let contradicted = MeasuredBoot::Contradicted { pcr: 9 };
        assert_eq!(compare(&machine, &served()), contradicted);
        machine.pcrs.remove(0);
        let contradicted = MeasuredBoot::Contradicted { pcr: 4 };
        assert_eq!(compare(&machine, &served()), contradicted);
    }

    #[test]
    fn a_machine_without_a_log_says_why() {
        let of = |log| Measurements { pcrs: vec![], log };
        let why = |log| match compare(&of(log), &served()) {
            MeasuredBoot::NoLog { why } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            why(EventLog::Missing("x".repeat(5000))),
            "x".repeat(MAX_WHY)
        );
        let words = "it does not begin as that of a TPM 2.0";
        assert_eq!(why(EventLog::Read(b"nonsense".to_vec())), words);
    }
}
