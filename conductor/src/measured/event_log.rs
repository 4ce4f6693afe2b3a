//! A firmware's event log, and whether its events make the values that the PCRs have.
//! Which of the events is about which file is said in `compare`.
//!
//! The log is crypto-agile: TCG PC Client Platform Firmware Profile 1.05 §10.2.2 (`TCG_PCR_EVENT2`), behind a first event in the
//! older form (§10.2.1) which lists the digests' algorithms (§10.4.5.1, `TCG_EfiSpecIDEventStruct`). All numbers are little-endian.
use sha2::{Digest as _, Sha256};
use std::fmt;

pub const EV_NO_ACTION: u32 = 3;
/// Of loaders, with a text of their own.
pub const EV_IPL: u32 = 13;
/// `TCG_PCClientTaggedEvent`.
pub const EV_EVENT_TAG: u32 = 6;
/// Between what was measured before the firmware tried to boot and what was measured since (§3.3.2.2).
pub const EV_SEPARATOR: u32 = 4;
/// What the firmware does, in words.
pub const EV_ACTION: u32 = 5;
pub const EV_EFI_ACTION: u32 = 0x8000_0007;
/// The firmware did not note which boot entries it tried.
pub const EV_OMIT_BOOT_DEVICE_EVENTS: u32 = 0x12;
/// A program that firmware loaded to start it; its digest is Authenticode's.
pub const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
/// The same of programs that call themselves drivers, as those of network cards do.
pub const EV_EFI_BOOT_SERVICES_DRIVER: u32 = 0x8000_0004;
pub const EV_EFI_RUNTIME_SERVICES_DRIVER: u32 = 0x8000_0005;

const TPM_ALG_SHA256: u16 = 0x000b;
const SHA1_BYTES: usize = 20;
const SIGNATURE: &[u8] = b"Spec ID Event03\0";
/// Algorithms of a log: TPMs have five at most (SHA-1, SHA-2 with 256, 384 and 512 bits, SM3).
const MAX_ALGORITHMS: usize = 16;

/// One measurement, as far as SHA-256 goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub pcr: u32,
    pub kind: u32,
    pub sha256: [u8; 32],
    pub data: &'a [u8],
}

/// Why bytes are no such log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLog {
    /// It is of a TPM 1.2, or nothing that we know.
    NotCryptoAgile,
    /// Its digests are of other kinds.
    NoSha256,
    /// It ends in the middle of its event of this number, or that makes no sense.
    Cut { event: usize },
}

impl fmt::Display for BadLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLog::NotCryptoAgile => f.write_str("it does not begin as that of a TPM 2.0"),
            BadLog::NoSha256 => f.write_str("it has no digests of SHA-256"),
            BadLog::Cut { event } => write!(f, "its event {event} is cut short or malformed"),
        }
    }
}

/// All events of a log that the PCRs were extended by.
///
/// # Errors
/// When the bytes are not one whole log with digests of SHA-256.
pub fn parse(log: &[u8]) -> Result<Vec<Event<'_>>, BadLog> {
    let mut rest = Bytes(log);
    let algorithms = rest.head().ok_or(BadLog::NotCryptoAgile)?;
    if !algorithms
        .iter()
        .any(|(id, bytes)| (*id, *bytes) == (TPM_ALG_SHA256, 32))
    {
        return Err(BadLog::NoSha256);
    }
    let mut events = Vec::new();
    let mut number = 1;
    while !rest.0.is_empty() {
        let event = rest.event(&algorithms);
        let event = event.ok_or(BadLog::Cut { event: number })?;
        // It extends nothing (§10.4.1).
        if event.kind != EV_NO_ACTION {
            events.push(event);
        }
        number += 1;
    }
    Ok(events)
}

/// The value that these events give a PCR whose first value is zero, as those of numbers up to 15 have (§3.3.1).
pub fn replay(events: &[Event<'_>], pcr: u8) -> [u8; 32] {
    let extend = |value: [u8; 32], event: &Event<'_>| {
        let hash = Sha256::new().chain_update(value).chain_update(event.sha256);
        hash.finalize().into()
    };
    let of_it = events.iter().filter(|event| event.pcr == u32::from(pcr));
    of_it.fold([0; 32], extend)
}

/// What is still to be read.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_le_bytes(bytes))
    }

    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    /// The first event: which algorithms there are, and how long their digests.
    fn head(&mut self) -> Option<Vec<(u16, usize)>> {
        let (_, kind) = (self.u32()?, self.u32()?);
        self.take(SHA1_BYTES)?;
        let bytes = self.size()?;
        let mut data = Bytes(self.take(bytes)?);
        if kind != EV_NO_ACTION || data.take(SIGNATURE.len())? != SIGNATURE {
            return None;
        }
        // Platform class, version, errata, and the width of numbers.
        data.take(8)?;
        let count = data.size().filter(|count| *count <= MAX_ALGORITHMS)?;
        (0..count)
            .map(|_| Some((data.u16()?, data.u16()?.into())))
            .collect()
    }

    fn event(&mut self, algorithms: &[(u16, usize)]) -> Option<Event<'a>> {
        let (pcr, kind, count) = (self.u32()?, self.u32()?, self.size()?);
        let mut sha256 = None;
        if count > algorithms.len() {
            return None;
        }
        for _ in 0..count {
            let id = self.u16()?;
            let (_, bytes) = algorithms.iter().find(|(known, _)| *known == id)?;
            let digest = self.take(*bytes)?;
            if id == TPM_ALG_SHA256 {
                sha256 = digest.try_into().ok();
            }
        }
        let bytes = self.size()?;
        let data = self.take(bytes)?;
        Some(Event {
            pcr,
            kind,
            sha256: sha256?,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::event_log as good;

    #[test]
    fn the_events_of_a_real_boot_make_the_values_that_its_pcrs_had() {
        let log = good::log(&good::BY_IPXE);
        let events = parse(&log).unwrap();
        assert_eq!(events.len(), good::BY_IPXE.len());
        assert_eq!(replay(&events, 4), good::digest(good::PCR4));
        assert_eq!(replay(&events, 9), good::digest(good::PCR9));
        assert_eq!(replay(&events, 8), [0; 32]);
        // It says where the TPM was started from, and extends nothing.
        let told = (4, EV_NO_ACTION, good::KERNEL, &b"StartupLocality\0\x03"[..]);
        let more = [&good::BY_IPXE[..], &[told]].concat();
        let log = good::log(&more);
        assert_eq!(parse(&log).unwrap().len(), good::BY_IPXE.len());
    }

    #[test]
    fn a_log_that_cannot_be_read_to_its_end_is_none() {
        let log = good::log(&good::BY_IPXE);
        let head = good::log(&[]).len();
        assert_eq!(parse(&[]), Err(BadLog::NotCryptoAgile));
        assert_eq!(parse(&log[..head - 1]), Err(BadLog::NotCryptoAgile));
        assert_eq!(parse(&log[..head]), Ok(vec![]));
        assert_eq!(parse(&log[..log.len() - 1]), Err(BadLog::Cut { event: 5 }));
        assert_eq!(parse(&log[..head + 1]), Err(BadLog::Cut { event: 1 }));
        let mut without = log.clone();
        let sha256 = head - 5;
        assert_eq!(&without[sha256..sha256 + 2], [0x0b, 0]);
        without[sha256] = 0x0c;
        assert_eq!(parse(&without), Err(BadLog::NoSha256));
        let mut of_12 = log;
        of_12[4] = 8;
        assert_eq!(parse(&of_12), Err(BadLog::NotCryptoAgile));
    }
}
