//! The sensors and the inventory that a simulated machine has unless told otherwise.
//! Leaves reading them to `commands::storage` and `commands::sensor`.

/// A full record (table 43-1) of a linear threshold sensor.
fn full(id: u16, number: u8, kind: u8, unit: u8, m: u8, r_exp: u8, name: &str) -> Vec<u8> {
    let mut record = id.to_le_bytes().to_vec();
    record.extend([0x51, 0x01, 0x00, 0x20, 0x00, number, 0x07, 0x01]);
    record.extend([0x7f, 0x68, kind, 0x01, 0x00, 0x70, 0x00, 0x70, 0x38, 0x38]);
    record.extend([
        0x00,
        unit,
        0x00,
        0x00,
        m,
        0x00,
        0x00,
        0x00,
        0x00,
        r_exp << 4,
    ]);
    record.extend([0; 17]);
    record.push(0xc0 | name.len() as u8);
    record.extend(name.as_bytes());
    record[4] = (record.len() - 5) as u8;
    record
}

pub(crate) fn sdr() -> Vec<Vec<u8>> {
    vec![
        full(1, 1, 0x01, 1, 1, 0, "CPU Temp"),
        full(2, 2, 0x04, 18, 100, 0, "Fan 1"),
        // Volts in steps of 0.06: M = 6, 10^-2.
        full(3, 3, 0x02, 4, 6, 0x0e, "12V"),
    ]
}

/// Fills up to a multiple of eight, sets the length and the checksum.
fn area(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0xc1);
    while bytes.len() % 8 != 7 {
        bytes.push(0);
    }
    bytes[1] = (bytes.len() / 8 + 1) as u8;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes.push(sum);
    bytes
}

/// A board and a product area.
pub(crate) fn fru() -> Vec<u8> {
    // A word of one letter would look like the end of an area.
    let words = |words: &[&str]| -> Vec<u8> {
        words
            .iter()
            .flat_map(|word| [&[0xc0 | word.len() as u8], word.as_bytes()].concat())
            .collect()
    };
    let board = area(
        [
            vec![1, 0, 0, 0x80, 0x4e, 0xd2],
            words(&["Ironbeat", "Simulated board", "BS-1", "BP-1", ""]),
        ]
        .concat(),
    );
    let product = area(
        [
            vec![1, 0, 0],
            words(&[
                "Ironbeat",
                "Simulated machine",
                "P-1",
                "v1",
                "S-1",
                "A-1",
                "",
            ]),
        ]
        .concat(),
    );
    let mut fru = vec![1, 0, 0, 1, 1 + (board.len() / 8) as u8, 0, 0];
    fru.push(fru.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte)));
    [fru, board, product].concat()
}
