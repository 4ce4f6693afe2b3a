//! Disk images, their tables written byte by byte, independently of any code that reads them.
//! Volumes that a system's own tools make are left to the tests that have these tools.
const MIB: u64 = 1 << 20;

pub const ESP_KIND: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
pub const LINUX_KIND: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;

/// Bytes that do not compress, different for each seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = crate::Mutator::new(seed);
    let mut out = vec![0; bytes];
    for place in out.chunks_mut(8) {
        place.copy_from_slice(&random.random().to_le_bytes()[..place.len()]);
    }
    out
}

/// A GPT disk image: boot code before and behind the tables, an ESP from 1 to 3 MiB and a Linux partition from 4 MiB to the
/// end, both with content at their ends and zeros in between.
pub fn gpt(bytes: u64, sector: usize) -> Vec<u8> {
    let mut image = content(bytes);
    let sectors = bytes as usize / sector;
    let table = ENTRIES * ENTRY_BYTES / sector;
    let last_usable = sectors - table - 2;
    let lba = |mib: u64| (mib * MIB) as usize / sector;

    let mut entries = vec![0; ENTRIES * ENTRY_BYTES];
    entry(
        &mut entries[..ENTRY_BYTES],
        ESP_KIND,
        0xa1,
        lba(1),
        lba(3) - 1,
        "EFI",
    );
    entry(
        &mut entries[ENTRY_BYTES..2 * ENTRY_BYTES],
        LINUX_KIND,
        0xa2,
        lba(4),
        last_usable,
        "root",
    );
    image[446..510].fill(0);
    image[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    image[458..462].copy_from_slice(&(sectors as u32 - 1).to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (own, other, entries_at) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - table)] {
        image[entries_at * sector..entries_at * sector + entries.len()].copy_from_slice(&entries);
        let header = header(
            own as u64,
            other as u64,
            2 + table as u64,
            last_usable as u64,
            entries_at as u64,
            &entries,
        );
        image[own * sector..(own + 1) * sector].fill(0);
        image[own * sector..own * sector + header.len()].copy_from_slice(&header);
    }
    image
}

/// An image with an MBR: boot code, one Linux partition from 1 MiB to the end.
pub fn mbr(bytes: u64) -> Vec<u8> {
    let mut image = content(bytes);
    image[446..510].fill(0);
    image[446..462].copy_from_slice(&[
        0x80, 0, 2, 0, 0x83, 0xff, 0xff, 0xff, 0, 8, 0, 0, 0, 0, 0, 0,
    ]);
    image[458..462].copy_from_slice(&((bytes / 512) as u32 - 2048).to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// Noise at the ends of what the partitions will be, single bytes beside them, zeros elsewhere.
fn content(bytes: u64) -> Vec<u8> {
    let mut image = vec![0; bytes as usize];
    let end = image.len();
    for (at, count, seed) in [(0, MIB, 1), (MIB, MIB, 2), (4 * MIB, 2 * MIB + 512, 3)] {
        image[at as usize..(at + count) as usize].copy_from_slice(&noise(count as usize, seed));
    }
    image[end - 3 * MIB as usize..].copy_from_slice(&noise(3 * MIB as usize, 4));
    image[end / 2] = 1;
    image
}

fn entry(place: &mut [u8], kind: [u8; 16], guid: u8, first: usize, last: usize, name: &str) {
    place[..16].copy_from_slice(&kind);
    place[16..32].fill(guid);
    place[32..40].copy_from_slice(&(first as u64).to_le_bytes());
    place[40..48].copy_from_slice(&(last as u64).to_le_bytes());
    for (at, unit) in name.encode_utf16().enumerate() {
        place[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
    }
}

fn header(
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    entries_at: u64,
    entries: &[u8],
) -> Vec<u8> {
    let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for field in [own, other, first_usable, last_usable] {
        header.extend(field.to_le_bytes());
    }
    header.extend([0xdd; 16]);
    header.extend(entries_at.to_le_bytes());
    header.extend((ENTRIES as u32).to_le_bytes());
    header.extend((ENTRY_BYTES as u32).to_le_bytes());
    header.extend(crc32(entries).to_le_bytes());
    let crc = crc32(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// CRC-32 of IEEE 802.3, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}
