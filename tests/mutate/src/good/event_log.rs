//! An event log of a TPM 2.0, crypto-agile (TCG PC Client Platform Firmware Profile 1.05 §10), and a small UEFI program.
//! What a reader makes of them is for its tests to say.

/// The digests of these events are what OVMF and Linux 6.1 measured when iPXE of 2019 started it: PCR, kind, SHA-256 in hex, data.
pub const BY_IPXE: [(u32, u32, &str, &[u8]); 5] = [
    (
        4,
        0x8000_0007,
        "3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba",
        b"Calling EFI Application from Boot Option",
    ),
    (
        4,
        4,
        "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119",
        &[0; 4],
    ),
    (4, 0x8000_0003, KERNEL, &[0; 36]),
    (4, 0x8000_0003, KERNEL, &[0; 111]),
    (
        9,
        6,
        "1574ab7b69ea13fac9c9a3b62a2c9ba0ef0bf219a933cf0e8273b43d5c5f7ca5",
        b"\xed\x22\x3b\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions\0",
    ),
];
/// Authenticode's SHA-256 of that kernel.
pub const KERNEL: &str = "61e79ca0acd7e9f18984bea7b44650801ed54fd95a8786c16c583b86acf9d538";
/// What the PCRs were then.
pub const PCR4: &str = "2bb586297e5f8112cc96563adcdd5537ba0f43ba3d31c7fa349e95adaa31d399";
pub const PCR9: &str = "8a6691c59e01f4a8bda3ae29eb6aae30fcb26bf08dde4945fe3beddc52b24ea6";

/// A log with these events and digests of SHA-1 (zeros) and SHA-256.
///
/// # Panics
/// When a digest is not 64 digits of hex.
pub fn log(events: &[(u32, u32, &str, &[u8])]) -> Vec<u8> {
    let mut head = b"Spec ID Event03\0".to_vec();
    // Platform class, version 2.0, errata, numbers of eight bytes.
    head.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    head.extend(2u32.to_le_bytes());
    head.extend([4, 0, 20, 0, 0x0b, 0, 32, 0, 0]);
    let mut log = [0u32, 3].map(u32::to_le_bytes).concat();
    log.extend([0; 20]);
    log.extend((head.len() as u32).to_le_bytes());
    log.extend(head);
    for (pcr, kind, sha256, data) in events {
        log.extend([*pcr, *kind, 2].map(u32::to_le_bytes).concat());
        log.extend([4, 0]);
        log.extend([0; 20]);
        log.extend([0x0b, 0]);
        log.extend(digest(sha256));
        log.extend((data.len() as u32).to_le_bytes());
        log.extend(*data);
    }
    log
}

/// # Panics
/// When it is not 64 digits of hex.
pub fn digest(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("it is hex");
    assert_eq!(hex.len(), 64, "{hex}");
    std::array::from_fn(byte)
}

/// The head of a PE32+ file, `body` behind it, and a signature that is none.
pub fn program(body: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x40 + 24 + 112 + 16 * 8];
    let mut put = |at: usize, field: &[u8]| file[at..at + field.len()].copy_from_slice(field);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    let optional = 0x40 + 24;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 64, b"sum!");
    put(optional + 108, &16u32.to_le_bytes());
    if !signature.is_empty() {
        let at = (optional + 112 + 16 * 8 + body.len()) as u32;
        let bytes = signature.len() as u32;
        put(
            optional + 112 + 32,
            &[at, bytes].map(u32::to_le_bytes).concat(),
        );
    }
    file.extend(body);
    file.extend(signature);
    file
}
