//! The hash by which UEFI firmware measures and checks a program: Authenticode's, of a PE file without what a signature changes.
//! Whose signature it has is no matter here.
//!
//! Windows Authenticode Portable Executable Signature Format, "Calculating the PE Image Hash"; fields by the PE/COFF
//! specification.
use super::event_log::Bytes;
use sha2::{Digest as _, Sha256};

const PE_AT: usize = 0x3c;
const PE32_PLUS: u16 = 0x20b;
const PE32: u16 = 0x10b;
/// Of the optional header.
const CHECKSUM_AT: usize = 64;
/// The table of certificates is the fifth directory.
const CERTIFICATES: usize = 4;
const DIRECTORY_BYTES: usize = 8;

/// None: it is no PE file. Sections are taken as they lie in the file, one behind the other, as linkers lay them.
pub fn sha256(file: &[u8]) -> Option<[u8; 32]> {
    let pe = Bytes(file.get(PE_AT..)?).u32()? as usize;
    let mut header = Bytes(file.get(pe..)?);
    if header.take(4)? != b"PE\0\0" {
        return None;
    }
    // COFF's header has 20 bytes.
    let optional = pe.checked_add(24)?;
    let directories = match Bytes(file.get(optional..)?).u16()? {
        PE32_PLUS => 112,
        PE32 => 96,
        _ => return None,
    };
    let checksum = optional.checked_add(CHECKSUM_AT)?;
    let count = Bytes(file.get(optional + directories - 4..)?).u32()?;
    let mut hash = Sha256::new();
    hash.update(file.get(..checksum)?);
    let rest = checksum + 4;
    if (count as usize) <= CERTIFICATES {
        hash.update(file.get(rest..)?);
        return Some(hash.finalize().into());
    }
    let entry = optional + directories + CERTIFICATES * DIRECTORY_BYTES;
    let mut certificates = Bytes(file.get(entry..)?);
    // The only directory whose address is one in the file.
    let (at, bytes) = (certificates.u32()? as usize, certificates.u32()? as usize);
    let (end, after) = match bytes {
        0 => (file.len(), file.len()),
        _ => (at, at.checked_add(bytes)?),
    };
    hash.update(file.get(rest..entry)?);
    hash.update(file.get(entry + DIRECTORY_BYTES..end)?);
    hash.update(file.get(after..)?);
    Some(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::event_log::program;

    #[test]
    fn neither_checksum_nor_signature_changes_the_hash_and_all_else_does() {
        let signed = program(b"code", b"sealed");
        let hash = sha256(&signed).unwrap();
        let at = 0x40 + 24;
        let entry = at + 112 + 32;
        let by_hand = [
            &signed[..at + 64],
            &signed[at + 68..entry],
            &signed[entry + 8..signed.len() - 6],
        ];
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(by_hand.concat())));
        let change = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = signed.clone();
            change(&mut file);
            sha256(&file)
        };
        assert_eq!(change(&|file| file[at + 64] ^= 1), Some(hash));
        assert_eq!(change(&|file| *file.last_mut().unwrap() ^= 1), Some(hash));
        assert_eq!(sha256(&program(b"code", b"")), Some(hash));
        assert_ne!(change(&|file| file[at + 70] ^= 1), Some(hash));
        assert_ne!(
            change(&|file| file.push(0)),
            Some(hash),
            "behind the signature"
        );
        assert_ne!(sha256(&program(b"Code", b"sealed")), Some(hash));
    }

    #[test]
    fn what_is_no_program_has_no_hash() {
        let program = program(b"code", b"sealed");
        assert_eq!(sha256(b""), None);
        assert_eq!(sha256(&program[..0x80]), None);
        let mut other = program.clone();
        other[0x40] = b'N';
        assert_eq!(sha256(&other), None);
        // A signature that lies before the head, or behind the end.
        for at in [0u32, 1 << 30, u32::MAX] {
            let mut other = program.clone();
            let entry = 0x40 + 24 + 112 + 32;
            other[entry..entry + 4].copy_from_slice(&at.to_le_bytes());
            assert_eq!(sha256(&other), None);
        }
    }
}
