//! An SMBIOS table, structure by structure (DSP0134).
//! Torn ones are left to the tests of its reader.

/// One structure: header, formatted area, strings.
pub fn structure(kind: u8, fields: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut out = vec![kind, (fields.len() + 4) as u8, kind, 0];
    out.extend(fields);
    for string in strings {
        out.extend(string.as_bytes());
        out.push(0);
    }
    out.extend(if strings.is_empty() {
        &[0u8, 0][..]
    } else {
        &[0u8][..]
    });
    out
}

/// Type 17 up to the speed field (DSP0134 section 7.18, offsets 04h to 16h), then extended size at 1Ch.
fn memory_device(size: u16, extended_mib: u32, strings: &[&str]) -> Vec<u8> {
    let mut fields = vec![0u8; 0x22 - 4];
    fields[0x0c - 4..0x0e - 4].copy_from_slice(&size.to_le_bytes());
    fields[0x10 - 4] = 1;
    fields[0x15 - 4..0x17 - 4].copy_from_slice(&3200u16.to_le_bytes());
    (fields[0x17 - 4], fields[0x18 - 4], fields[0x1a - 4]) = (2, 3, 4);
    fields[0x1c - 4..0x20 - 4].copy_from_slice(&extended_mib.to_le_bytes());
    structure(17, &fields, strings)
}

/// Two modules in three slots.
pub fn table() -> Vec<u8> {
    let mut bios = vec![0u8; 14];
    (bios[0], bios[1], bios[4]) = (1, 2, 3);
    let mut system = vec![1u8, 2, 0, 3];
    system.extend([
        0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
        0xff,
    ]);
    system.extend([6, 4, 5]);
    let board = [1u8, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0];
    let chassis = [1u8, 23, 2, 3, 4, 3, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [
        structure(0, &bios, &["SeaBIOS", "1.16.2", "04/01/2014"]),
        structure(
            1,
            &system,
            &["Lab", "Rack Node", " SN-0001 ", "SKU-1", "Family"],
        ),
        structure(
            2,
            &board,
            &["Lab", "Board", "1", "BS-0001", "Default string"],
        ),
        structure(3, &chassis, &["Lab", "1", "CH-0001", "AT-0001"]),
        // Additional information with a length that its decoder would subtract from: it must not be decoded.
        structure(40, &[1, 0, 0, 0, 0, 0, 0], &[]),
        memory_device(0x0200, 0, &["DIMM 0", "Samsung", "MS-0001", "M393A"]),
        memory_device(0x7fff, 65_536, &["DIMM 1", "Samsung", "MS-0002", "M393A"]),
        memory_device(0, 0, &["DIMM 2", "NO DIMM", "NO DIMM", "NO DIMM"]),
        structure(127, &[], &[]),
    ]
    .concat()
}
