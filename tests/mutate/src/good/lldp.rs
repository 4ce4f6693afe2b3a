//! An LLDP frame as a switch sends it (IEEE 802.1AB-2016), from after the EtherType on.
//! Odd ones are left to the tests of its reader.
/// One TLV: its type, length and value.
pub fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut out = (u16::from(kind) << 9 | value.len() as u16)
        .to_be_bytes()
        .to_vec();
    out.extend(value);
    out
}

/// The three that come first: chassis, port, time to live.
pub fn start() -> Vec<u8> {
    [
        tlv(1, &[4, 0x52, 0x54, 0, 0xaa, 0, 1]),
        tlv(2, b"\x05Ethernet1/1"),
        tlv(3, &[0, 120]),
    ]
    .concat()
}

/// All that a switch says, and padding.
pub fn whole() -> Vec<u8> {
    [
        start(),
        tlv(4, b"to rack1-node01"),
        tlv(5, b"tor1\0"),
        tlv(6, b"Switch OS 4.2\nbuild 7"),
        tlv(7, &[0, 0x14, 0, 0x14]),
        tlv(8, &[5, 1, 10, 77, 0, 254, 2, 0, 0, 0, 1, 0]),
        tlv(127, &[0x00, 0x80, 0xc2, 1, 0, 100]),
        tlv(
            127,
            &[0x00, 0x80, 0xc2, 3, 0, 100, 4, b'p', b'r', b'o', b'v'],
        ),
        tlv(127, &[0x00, 0x80, 0xc2, 3, 0, 200, 0]),
        tlv(127, &[0x00, 0x12, 0x0f, 4, 0x24, 0x00]),
        tlv(127, &[0x00, 0x12, 0xbb, 1, 0]),
        tlv(0, &[]),
        // Padding that would be a broken TLV.
        vec![0xff; 7],
    ]
    .concat()
}
