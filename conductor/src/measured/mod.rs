//! What a machine's firmware and loaders measured, compared with the kernel and the ramdisk that workers serve.
//! `event_log` reads logs, `authenticode` hashes kernels as firmware does, `files` hashes what is served; the core has the verdict.
//!
//! Who measures what, as seen with a TPM 2.0 under OVMF:
//! - firmware measures each program that it is asked to load into PCR 4: a kernel that iPXE starts, and shim, GRUB and, by shim, the
//!   kernel that GRUB starts with Secure Boot on;
//! - GRUB measures each file that it reads into PCR 9, under its name, also one that it only shows; and its commands into PCR 8;
//! - the EFI stub of Linux (6.1 does) measures into PCR 9 a ramdisk that it gets by `LoadFile2` (`efi_measure_initrd`), as from iPXE of
//!   2026; iPXE of 2019 passes it as a file, which nobody measures. The command line, too, where firmware has loaded the kernel.
//!
//! A boot as served by Debian 12's shim and GRUB with Secure Boot on has these events in PCRs 4 and 9, in this order: 4 the words "Calling
//! EFI Application from Boot Option" and a separator; 4 `shimx64.efi`; 4 `grubx64.efi`; 9 `grub.cfg`; 9 `vmlinuz`; 4 the kernel, twice (GRUB has
//! shim check it when it reads it and when it loads it); 9 `initrd`. GRUB's own memory disk is not among them. By iPXE in a card's ROM: 4 the
//! words and a separator; 4 the kernel, twice (iPXE has firmware load it to see what it is, and to start it); 9 the command line.
pub(crate) mod authenticode;
pub(crate) mod event_log;
pub mod files;

use crate::netboot::script::KERNEL;
use event_log::{
    Bytes, EV_ACTION, EV_EFI_ACTION, EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_BOOT_SERVICES_DRIVER,
    EV_EFI_RUNTIME_SERVICES_DRIVER, EV_EVENT_TAG, EV_IPL, EV_OMIT_BOOT_DEVICE_EVENTS, EV_SEPARATOR,
    Event, parse, replay,
};
use ironbeat_common::image::Digest;
use ironbeat_common::measured::{EventLog, Measurements};
use ironbeat_core::node::{MeasuredBoot, Part, Unknown};
use ironbeat_ops::reply::Served;
use sha2::{Digest as _, Sha256};

const OF_PROGRAMS: u8 = 4;
const OF_FILES: u8 = 9;
/// `INITRD_EVENT_TAG_ID` of Linux (`drivers/firmware/efi/libstub/efistub.h`), and `LOAD_OPTIONS_EVENT_TAG_ID`: the command line.
const INITRD_TAG: u32 = 0x8f3b_22ec;
const LOAD_OPTIONS_TAG: u32 = 0x8f3b_22ed;

/// `served`: what all workers serve, and did a while ago; `loaders`: what loads it.
pub fn compare(
    measurements: &Measurements,
    served: &[Served],
    loaders: &[Digest<32>],
) -> MeasuredBoot {
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
    let parts = [kernel(&events, served), ramdisk(&events, served)];
    let unknown = unknown(&events, served, loaders, &parts);
    let [kernel, ramdisk] = parts;
    MeasuredBoot::Compared {
        kernel,
        ramdisk,
        unknown,
    }
}

/// Characters of what an agent says.
const MAX_WHY: usize = 200;
/// Of what a loader calls a file.
const MAX_NAME: usize = 100;

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

/// The first event of a boot that is about nothing known, unless `parts` say it. Whoever serves a kernel of his own can have ours
/// measured as well, before or after it: a loader needs only read it.
fn unknown(
    events: &[Event<'_>],
    served: &[Served],
    loaders: &[Digest<32>],
    parts: &[Part; 2],
) -> Option<Unknown> {
    if parts.iter().all(|part| *part == Part::NotMeasured) {
        return None;
    }
    // What firmware loads before are drivers of its cards.
    let boots = |it: &Event<'_>| {
        it.pcr == u32::from(OF_PROGRAMS) && it.kind == EV_SEPARATOR && is_of_its_data(it)
    };
    let boot = events.iter().position(boots).unwrap_or(0);
    let is_said = |sha256: &[u8; 32]| {
        let is_it = |part: &Part| {
            *part
                == Part::Other {
                    sha256: Digest(*sha256),
                }
        };
        parts.iter().any(is_it)
    };
    let mut unknown = events.iter().enumerate().filter(|(at, event)| {
        !is_known(event, *at > boot, served, loaders) && !is_said(&event.sha256)
    });
    let (_, event) = unknown.next()?;
    let name = String::from_utf8_lossy(event.data);
    let name = name.trim_end_matches('\0').chars().take(MAX_NAME);
    Some(Unknown {
        pcr: event.pcr,
        sha256: Digest(event.sha256),
        name: is_file(event).then(|| name.collect()),
    })
}

/// Whether an event starts nothing, or what workers serve, or what loads that.
fn is_known(event: &Event<'_>, boots: bool, served: &[Served], loaders: &[Digest<32>]) -> bool {
    let sha256 = &event.sha256;
    let is_loader = || loaders.iter().any(|it| it.0 == *sha256);
    let of_served = |it: &Served| {
        let is_program = it.program.as_ref().is_some_and(|it| it.0 == *sha256);
        is_program || it.kernel.0 == *sha256 || it.ramdisk.0 == *sha256
    };
    let is_ours = || is_loader() || served.iter().any(of_served);
    match (event.pcr, event.kind) {
        // A program's digest under such a name would be none of what it says.
        (4, EV_SEPARATOR | EV_ACTION | EV_EFI_ACTION | EV_OMIT_BOOT_DEVICE_EVENTS)
            if is_of_its_data(event) =>
        {
            true
        }
        (4, _) => is_ours(),
        (9, EV_EVENT_TAG) if tag(event) == Some(LOAD_OPTIONS_TAG) => true,
        (9, _) => is_ours(),
        (
            _,
            EV_EFI_BOOT_SERVICES_APPLICATION
            | EV_EFI_BOOT_SERVICES_DRIVER
            | EV_EFI_RUNTIME_SERVICES_DRIVER,
        ) => !boots || is_ours(),
        (_, _) => true,
    }
}

/// As TCG has it of separators and actions (PC Client Platform Firmware Profile, "Event Types").
fn is_of_its_data(event: &Event<'_>) -> bool {
    event.sha256 == <[u8; 32]>::from(Sha256::digest(event.data))
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
    let is_tagged = event.pcr == u32::from(OF_FILES) && event.kind == EV_EVENT_TAG;
    is_tagged && tag(event) == Some(INITRD_TAG)
}

fn tag(event: &Event<'_>) -> Option<u32> {
    Bytes(event.data).u32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::measured::Pcr;
    use ironbeat_mutate::good::event_log as good;

    const OURS: &str = "11111111111111111111111111111111111111111111111111111111111111aa";
    const KERNEL_SHA256: &str = "33333333333333333333333333333333333333333333333333333333333333cc";
    const THEIRS: &str = "22222222222222222222222222222222222222222222222222222222222222bb";

    /// Of four zeros.
    const SEPARATOR_SHA256: &str =
        "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119";
    type Of<'a> = (u32, u32, &'a str, &'a [u8]);
    const LOADER_SHA256: &str = "44444444444444444444444444444444444444444444444444444444444444dd";
    const CONFIG_SHA256: &str = "55555555555555555555555555555555555555555555555555555555555555ee";
    const PROGRAM: Of<'_> = (4, EV_EFI_BOOT_SERVICES_APPLICATION, good::KERNEL, b"");
    const LOADER: Of<'_> = (4, EV_EFI_BOOT_SERVICES_APPLICATION, LOADER_SHA256, b"");
    const OTHER_PROGRAM: Of<'_> = (4, EV_EFI_BOOT_SERVICES_APPLICATION, THEIRS, b"");
    const CONFIG_FILE: &[u8] = b"(tftp,10.0.2.2)/grub/grub.cfg\0";
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

    fn compared(events: &[Of<'_>]) -> MeasuredBoot {
        let loaders = [LOADER_SHA256, CONFIG_SHA256].map(digest);
        compare(&measured(events), &served(), &loaders)
    }

    fn check(events: &[Of<'_>], kernel: Part, ramdisk: Part) {
        let expected = MeasuredBoot::Compared {
            kernel,
            ramdisk,
            unknown: None,
        };
        assert_eq!(compared(events), expected);
    }

    /// With kernel and ramdisk as they were served, and something beside them.
    fn check_unknown(events: &[Of<'_>], pcr: u32, name: Option<&str>) {
        let found = compared(events);
        let expected = MeasuredBoot::Compared {
            kernel: Part::Served,
            ramdisk: Part::Served,
            unknown: Some(Unknown {
                pcr,
                sha256: digest(THEIRS),
                name: name.map(Into::into),
            }),
        };
        assert_eq!(found, expected);
        assert!(!found.is_served() && found.is_suspect());
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
        check(&[LOADER, PROGRAM], Served, NotMeasured);
        let cfg = by_grub(CONFIG_FILE, CONFIG_SHA256);
        let kernel = by_grub(KERNEL_FILE, KERNEL_SHA256);
        let ramdisk = by_grub(RAMDISK_FILE, OURS);
        check(&[LOADER, cfg, kernel, ramdisk], Served, Served);
        check(&[LOADER, cfg, kernel, ramdisk, PROGRAM], Served, Served);
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
        // The first sector of a disk, by a BIOS.
        check(&[(4, EV_IPL, THEIRS, b"")], NotMeasured, NotMeasured);
        check(
            &[(9, EV_EVENT_TAG, THEIRS, b"\xed")],
            NotMeasured,
            NotMeasured,
        );
    }

    /// With true PCRs, a true log and an agent that is ours.
    #[test]
    fn whoever_has_ours_measured_beside_something_else_is_told_from_what_is_served() {
        let by_grub = |name: &'static [u8], sha256| (9, EV_IPL, sha256, name);
        let cfg = by_grub(CONFIG_FILE, CONFIG_SHA256);
        let (kernel, ramdisk) = (
            by_grub(KERNEL_FILE, KERNEL_SHA256),
            by_grub(RAMDISK_FILE, OURS),
        );
        // `linux /linux`, then `cat` of ours.
        let evil = by_grub(b"/linux\0", THEIRS);
        let first = [LOADER, cfg, evil, kernel, ramdisk];
        check_unknown(&first, 9, Some("/linux"));
        let disguised = by_grub(CONFIG_FILE, THEIRS);
        let name = "(tftp,10.0.2.2)/grub/grub.cfg";
        let renamed = [LOADER, disguised, kernel, ramdisk];
        check_unknown(&renamed, 9, Some(name));
        // With shim, which has measured the kernel that GRUB started.
        let by_shim = [LOADER, cfg, kernel, ramdisk, OTHER_PROGRAM];
        check_unknown(&by_shim, 4, None);
        check_unknown(&[OTHER_PROGRAM, cfg, kernel, ramdisk], 4, None);
        let by_stub = (9, EV_EVENT_TAG, OURS, BY_STUB);
        check_unknown(&[OTHER_PROGRAM, PROGRAM, by_stub], 4, None);
        check_unknown(&[(9, 1, THEIRS, b""), PROGRAM, by_stub], 9, None);
        // A kernel that calls itself a driver, behind ours, which iPXE has only looked at; and a network card's driver.
        let driver = (2, EV_EFI_BOOT_SERVICES_DRIVER, THEIRS, &b""[..]);
        let separator = (4, EV_SEPARATOR, SEPARATOR_SHA256, &[0; 4][..]);
        let app = (2, EV_EFI_BOOT_SERVICES_APPLICATION, THEIRS, &b""[..]);
        for late in [driver, app] {
            check_unknown(&[separator, PROGRAM, late, by_stub], 2, None);
        }
        let card = [driver, separator, PROGRAM, by_stub];
        check(&card, Part::Served, Part::Served);
        // A program that the log of a lying agent calls something else: PCRs prove digests, and not what they are of.
        for (kind, data) in [(EV_SEPARATOR, &[0; 4][..]), (EV_ACTION, b"Boot")] {
            let renamed = (4, kind, THEIRS, data);
            check_unknown(&[separator, renamed, PROGRAM, by_stub], 4, None);
        }
        // A name is as long as whoever serves the file likes.
        let long = [b'x'; 500];
        let found = compared(&[cfg, (9, EV_IPL, THEIRS, &long[..]), kernel, ramdisk]);
        assert!(found.to_string().len() < 400, "{found}");
    }

    #[test]
    fn a_log_that_the_pcrs_contradict_is_not_believed() {
        let mut machine = measured(&good::BY_IPXE);
        machine.pcrs[1].sha256 = digest(OURS);
        let contradicted = MeasuredBoot::Contradicted { pcr: 9 };
        assert_eq!(compare(&machine, &served(), &[]), contradicted);
        machine.pcrs.remove(0);
        let contradicted = MeasuredBoot::Contradicted { pcr: 4 };
        assert_eq!(compare(&machine, &served(), &[]), contradicted);
    }

    #[test]
    fn a_machine_without_a_log_says_why() {
        let of = |log| Measurements { pcrs: vec![], log };
        let why = |log| match compare(&of(log), &served(), &[]) {
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
