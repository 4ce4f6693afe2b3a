//! FRU inventory: serial and part numbers as the manufacturers wrote them (IPMI 2.0 §34, FRU Information Storage 1.3).
//! `sdr` says which parts have one; part 0 is the machine itself.
use crate::bmc::Bmc;
use crate::error::Error;
use crate::message::{Request, STORAGE};
use crate::text;

/// Bytes per read, at first; halved while the BMC finds it too much.
const CHUNK: usize = 32;
const MIN_CHUNK: usize = 2;
/// Offsets in the common header count multiples of eight.
const UNIT: usize = 8;
/// No more fields (FRU 1.3 §8).
const END: u8 = 0xc1;
/// Seconds from 1970 to 1996-01-01 UTC, from where board dates count minutes.
const BOARD_EPOCH_SECS: u64 = 820_454_400;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fru {
    pub chassis: Option<FruChassis>,
    pub board: Option<FruBoard>,
    pub product: Option<FruProduct>,
    /// What could not be read, or looks wrong; the rest is good.
    pub problems: Vec<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FruChassis {
    /// SMBIOS chassis type.
    pub kind: u8,
    pub part: String,
    pub serial: String,
    pub custom: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FruBoard {
    /// Seconds since 1970; none: not given.
    pub made_at_secs: Option<u64>,
    pub manufacturer: String,
    pub product: String,
    pub serial: String,
    pub part: String,
    pub custom: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FruProduct {
    pub manufacturer: String,
    pub product: String,
    pub part: String,
    pub version: String,
    pub serial: String,
    pub asset_tag: String,
    pub custom: Vec<String>,
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// A sequence of type/length fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next(&mut self) -> Option<String> {
        let (kind, rest) = self.0.split_first()?;
        if *kind == END {
            self.0 = &[];
            return None;
        }
        let length = usize::from(kind & 0x3f).min(rest.len());
        let (field, rest) = rest.split_at(length);
        self.0 = rest;
        Some(text::decode(kind >> 6, field))
    }

    fn take(&mut self) -> String {
        self.next().unwrap_or_default()
    }

    fn rest(mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(field) = self.next() {
            if !field.is_empty() {
                fields.push(field);
            }
        }
        fields
    }
}

/// An area without its version, length and checksum bytes.
fn area<'a>(
    bytes: &'a [u8],
    offset: u8,
    name: &'static str,
    problems: &mut Vec<&'static str>,
) -> Option<&'a [u8]> {
    if offset == 0 {
        return None;
    }
    let from = bytes.get(usize::from(offset) * UNIT..).unwrap_or_default();
    let length = from.get(1).map_or(0, |units| usize::from(*units) * UNIT);
    // Three bytes at the head of the shortest, one for the checksum.
    let Some(area) = from.get(..length).filter(|area| area.len() >= UNIT) else {
        problems.push(name);
        return None;
    };
    if !sums_to_zero(area) {
        problems.push(name);
    }
    Some(&area[2..length - 1])
}

pub(crate) fn parse(bytes: &[u8]) -> Fru {
    let mut fru = Fru::default();
    let Some(header) = bytes.first_chunk::<UNIT>() else {
        fru.problems.push("the header is cut short");
        return fru;
    };
    if header[0] & 0x0f != 1 || !sums_to_zero(header) {
        fru.problems.push("the header is damaged, or there is none");
        return fru;
    }
    let problems = &mut fru.problems;
    fru.chassis = area(bytes, header[2], "the chassis area is damaged", problems).map(|area| {
        let mut fields = Fields(&area[1..]);
        FruChassis {
            kind: area[0],
            part: fields.take(),
            serial: fields.take(),
            custom: fields.rest(),
        }
    });
    fru.board = area(bytes, header[3], "the board area is damaged", problems).map(|area| {
        let minutes = u32::from_le_bytes([area[1], area[2], area[3], 0]);
        let mut fields = Fields(&area[4..]);
        let mut board = FruBoard {
            made_at_secs: (minutes != 0).then(|| BOARD_EPOCH_SECS + u64::from(minutes) * 60),
            manufacturer: fields.take(),
            product: fields.take(),
            serial: fields.take(),
            part: fields.take(),
            custom: Vec::new(),
        };
        let _file_id = fields.take();
        board.custom = fields.rest();
        board
    });
    fru.product = area(bytes, header[4], "the product area is damaged", problems).map(|area| {
        let mut fields = Fields(&area[1..]);
        let mut product = FruProduct {
            manufacturer: fields.take(),
            product: fields.take(),
            part: fields.take(),
            version: fields.take(),
            serial: fields.take(),
            asset_tag: fields.take(),
            custom: Vec::new(),
        };
        let _file_id = fields.take();
        product.custom = fields.rest();
        product
    });
    fru
}

impl Bmc {
    /// The inventory of one part; 0 is the machine.
    ///
    /// # Errors
    /// Whatever prevents an answer. A damaged inventory is no error: what can be read is returned.
    pub async fn fru(&self, device: u8) -> Result<Fru, Error> {
        self.fru_bytes(device).await.map(|bytes| parse(&bytes))
    }

    /// The same as raw bytes.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn fru_bytes(&self, device: u8) -> Result<Vec<u8>, Error> {
        let attempt = "read a FRU inventory";
        let info = self
            .command(attempt, Request::new(STORAGE, 0x10, &[device]))
            .await?;
        let [low, high, access, ..] = *info.as_slice() else {
            return Err(self.malformed(attempt, "a FRU size cut short"));
        };
        let size = usize::from(u16::from_le_bytes([low, high]));
        // Offsets and counts are in words if the device is accessed by words.
        let scale = if access & 1 != 0 { 2 } else { 1 };
        let mut bytes = Vec::with_capacity(size);
        let mut chunk = CHUNK;
        while bytes.len() < size {
            let count = chunk.min(size - bytes.len()).div_ceil(scale);
            let [o0, o1] = ((bytes.len() / scale) as u16).to_le_bytes();
            let request = Request::new(STORAGE, 0x11, &[device, o0, o1, count as u8]);
            match self.command(attempt, request).await {
                Ok(data) => {
                    let Some((_, [_, ..])) = data.split_first() else {
                        return Err(self.malformed(attempt, "a FRU answer without data"));
                    };
                    let new = &data[1..];
                    bytes.extend(&new[..new.len().min(count * scale)]);
                }
                Err(error)
                    if chunk > MIN_CHUNK
                        && error
                            .completion()
                            .is_some_and(|c| matches!(c.0, 0xca | 0xc7 | 0xc8 | 0xff)) =>
                {
                    chunk /= 2;
                }
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(size);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    fn sealed(mut area: Vec<u8>) -> Vec<u8> {
        while area.len() % UNIT != UNIT - 1 {
            area.push(0);
        }
        area[1] = (area.len() / UNIT + 1) as u8;
        let sum = area.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        area.push(sum.wrapping_neg());
        area
    }

    fn field(text: &str) -> Vec<u8> {
        [&[0xc0 | text.len() as u8], text.as_bytes()].concat()
    }

    fn sample() -> Vec<u8> {
        let chassis = sealed([vec![1, 0, 0x17], field("CH-1"), field("CS-7"), vec![END]].concat());
        let words = |words: &[&str]| words.iter().flat_map(|w| field(w)).collect::<Vec<u8>>();
        let board = sealed(
            [
                vec![1, 0, 0, 0x01, 0x00, 0x00],
                words(&["Ironworks", "Board 3", "BS-8", "BP-9", "", "spare"]),
                vec![END],
            ]
            .concat(),
        );
        let product = sealed(
            [
                vec![1, 0, 0],
                words(&["Ironworks", "Server", "P-1", "v2", "S-42", "asset"]),
                vec![END],
            ]
            .concat(),
        );
        let mut header = vec![1, 0, 1, 0, 0, 0, 0];
        header[3] = 1 + (chassis.len() / UNIT) as u8;
        header[4] = header[3] + (board.len() / UNIT) as u8;
        let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        header.push(sum.wrapping_neg());
        [header, chassis, board, product].concat()
    }

    #[test]
    fn all_areas_are_read() {
        let fru = parse(&sample());
        assert_eq!(fru.problems, [""; 0]);
        let chassis = fru.chassis.unwrap();
        assert_eq!((chassis.kind, chassis.serial.as_str()), (0x17, "CS-7"));
        let board = fru.board.unwrap();
        assert_eq!(board.made_at_secs, Some(820_454_460));
        assert_eq!(
            (board.part.as_str(), board.custom),
            ("BP-9", vec!["spare".to_string()])
        );
        let product = fru.product.unwrap();
        assert_eq!(
            (product.serial.as_str(), product.asset_tag.as_str()),
            ("S-42", "asset")
        );
    }

    #[test]
    fn damage_is_reported_and_the_rest_is_read() {
        let mut bytes = sample();
        let product_at = usize::from(bytes[4]) * UNIT;
        bytes[product_at + 5] ^= 1;
        let fru = parse(&bytes);
        assert_eq!(fru.problems, ["the product area is damaged"]);
        assert_eq!(fru.chassis.unwrap().serial, "CS-7");
        assert_eq!(parse(&[0xff; 64]).problems.len(), 1);
        assert_eq!(parse(&[]).problems.len(), 1);
    }

    #[test]
    fn mutants_never_panic() {
        let mut mutator = Mutator::seeded("fru");
        for _ in 0..50_000 {
            let mut bytes = mutator.mutate(&sample());
            // Otherwise the header's checksum would protect the areas.
            if let Some(header) = bytes.first_chunk_mut::<UNIT>() {
                header[0] = 1;
                let sum = header[..7]
                    .iter()
                    .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                header[7] = sum.wrapping_neg();
            }
            let _ = parse(&bytes);
        }
    }
}
