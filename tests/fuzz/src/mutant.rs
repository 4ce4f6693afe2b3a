//! Mutants of a target's seeds: each follows from the run's seed and its number alone, so that any of them can be had again.
//! Damage to single bytes is `ironbeat-mutate`'s; here are splices, words of the format, and numbers of several bytes.
use crate::targets::Target;
use ironbeat_mutate::Mutator;

/// Bytes of a mutant, beyond its seed; a reader's bounds are reached by length fields, not by length.
const MAX_GROWTH: usize = 4096;
/// What lengths, counts and offsets turn at.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];
/// A text's numbers, at which the same turns.
const TEXTS: [&str; 10] = [
    "0",
    "-1",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
];

/// The bytes of mutant `number` of a run with this seed.
pub fn mutant(target: &Target, seed: u64, number: u64) -> Vec<u8> {
    let mut random = Mutator::new(mixed(seed, number));
    // Neighbouring states of the generator are alike at first.
    random.random();
    random.random();
    let seeds = &target.seeds;
    let good = &seeds[random.below(seeds.len())];
    let mut bytes = match random.below(8) {
        0 => spliced(&mut random, good, seeds),
        _ => good.clone(),
    };
    match random.below(4) {
        0 => bytes = random.mutate(&bytes),
        1 => {
            wide(&mut random, &mut bytes, target.words);
        }
        _ => {
            for _ in 0..=random.below(3) {
                wide(&mut random, &mut bytes, target.words);
            }
            bytes = random.mutate(&bytes);
        }
    }
    bytes.truncate(good.len() + MAX_GROWTH);
    if let Some(mend) = target.mend
        && random.below(4) != 0
    {
        mend(&mut bytes);
    }
    bytes
}

/// SplitMix64 (Steele, Lea, Flood 2014), so that seeds and numbers that count up are far apart.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The beginning of one seed, and the end of another.
fn spliced(random: &mut Mutator, good: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
    let other = &seeds[random.below(seeds.len())];
    let head = &good[..random.below(good.len() + 1)];
    [head, &other[random.below(other.len() + 1)..]].concat()
}

/// One change of several bytes.
fn wide(random: &mut Mutator, bytes: &mut Vec<u8>, words: &[&str]) {
    let at = random.below(bytes.len() + 1);
    match random.below(6) {
        // A number in place of what is there, in either order of bytes.
        0 | 1 => {
            let width = [1, 2, 3, 4, 8][random.below(5)];
            let number = NUMBERS[random.below(NUMBERS.len())];
            let number = number.wrapping_add([0, 0, 1, u64::MAX][random.below(4)]);
            let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
            let number = match random.below(2) {
                0 => &little[..width],
                _ => &big[8 - width..],
            };
            let room = bytes.len() - at;
            let count = width.min(room);
            bytes[at..at + count].copy_from_slice(&number[..count]);
        }
        2 => {
            let text = TEXTS[random.below(TEXTS.len())];
            put(random, bytes, at, text.as_bytes());
        }
        3 | 4 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            put(random, bytes, at, word.as_bytes());
        }
        // A part of it twice, somewhere.
        _ => {
            let from = random.below(bytes.len() + 1);
            let to = from + random.below(bytes.len() - from + 1);
            let part = bytes[from..to].to_vec();
            put(random, bytes, at, &part);
        }
    }
}

/// Instead of what is there, or between it.
fn put(random: &mut Mutator, bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let end = match random.below(2) {
        0 => at,
        _ => (at + part.len()).min(bytes.len()),
    };
    bytes.splice(at..end, part.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn target() -> Target {
        Target {
            seeds: vec![b"hello, world".to_vec(), vec![0; 40]],
            words: &["magic"],
            ..Target::new("x", "y", "z", |_| true)
        }
    }

    #[test]
    fn a_mutant_follows_from_seed_and_number() {
        let of = |seed, number| mutant(&target(), seed, number);
        assert_eq!(of(7, 1_000_000), of(7, 1_000_000));
        let all: BTreeSet<_> = (0..1000).map(|number| of(7, number)).collect();
        assert!(all.len() > 900, "{} differ", all.len());
        assert!((0..100).any(|number| of(7, number) != of(8, number)));
    }

    #[test]
    fn words_numbers_and_splices_come_about() {
        let all: Vec<_> = (0..2000)
            .map(|number| mutant(&target(), 1, number))
            .collect();
        let some = |is: &dyn Fn(&[u8]) -> bool| all.iter().filter(|it| is(it)).count();
        let has = |part: &'static [u8]| move |it: &[u8]| it.windows(part.len()).any(|w| w == part);
        assert!(some(&has(b"magic")) > 50);
        assert!(some(&has(b"65536")) > 5);
        assert!(some(&has(&[0xff; 4])) > 5);
        assert!(some(&|it| it.starts_with(b"hell") && it.ends_with(&[0; 9])) > 5);
        assert!(some(&|it| it.len() > 60) > 5);
    }
}
