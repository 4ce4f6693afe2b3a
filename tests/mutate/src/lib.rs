//! Damages good bytes at random, for the tests of everything that reads bytes; the same seed gives the same damage.
//! What must hold for damaged bytes is up to each test.
pub mod good;

/// Changes made to one copy, at most: with more of them little gets past the first check of a reader.
const MAX_CHANGES: usize = 4;
/// Longest part that is doubled or appended, in bytes.
const MAX_PART_BYTES: usize = 64;
/// Values at which lengths, signs and flags turn.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// A random generator (xorshift64, Marsaglia 2003) that also damages bytes.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// With a fixed seed.
    pub fn new(seed: u64) -> Self {
        // From zero it would never move.
        Self(seed | 1)
    }

    /// With a new seed for each run, or with `IRONBEAT_SEED`. It prints the seed, which a failing test then shows.
    #[expect(
        clippy::disallowed_methods,
        reason = "a new seed for each run; it is printed"
    )]
    pub fn seeded(what: &str) -> Self {
        let now = || {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64)
        };
        let seed = std::env::var("IRONBEAT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(now);
        println!("{what}: IRONBEAT_SEED={seed}");
        Self::new(seed)
    }

    pub fn random(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    /// A copy with one to four changes: bytes changed, inserted, removed, doubled or appended, or the end cut off.
    pub fn mutate(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(MAX_CHANGES) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let part_bytes = self.below(MAX_PART_BYTES);
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.random() as u8),
            2 => bytes.extend(vec![self.random() as u8; part_bytes]),
            3 => bytes.extend_from_within(at..(at + part_bytes).min(bytes.len())),
            // The others change a byte, which there must be.
            _ if at == bytes.len() => {}
            4 => drop(bytes.remove(at)),
            5 => bytes[at] ^= 1 << self.below(8),
            6 => bytes[at] = EDGES[self.below(EDGES.len())],
            _ => bytes[at] = self.random() as u8,
        }
    }
}

/// Calls `check` with `count` damaged copies of `good`.
pub fn mutants(good: &[u8], count: usize, check: impl Fn(&[u8])) {
    let mut mutator = Mutator::seeded("mutants");
    for _ in 0..count {
        check(&mutator.mutate(good));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [u8; 100] = [0x55; 100];

    #[test]
    fn the_same_seed_damages_the_same_way() {
        let damage = |seed| {
            let mut mutator = Mutator::new(seed);
            [(); 100].map(|()| mutator.mutate(&GOOD))
        };
        assert_eq!(damage(7), damage(7));
        assert_ne!(damage(7), damage(9));
        assert_ne!(Mutator::new(0).random(), 0);
    }

    #[test]
    fn damage_of_every_kind_comes_about() {
        let mut mutator = Mutator::new(1);
        let (mut shorter, mut longer, mut changed, mut foreign) = (0, 0, 0, 0);
        for _ in 0..1000 {
            let bytes = mutator.mutate(&GOOD);
            assert!(bytes.len() <= GOOD.len() + MAX_CHANGES * (GOOD.len() + MAX_PART_BYTES));
            shorter += u32::from(bytes.len() < GOOD.len());
            longer += u32::from(bytes.len() > GOOD.len());
            changed += u32::from(bytes.len() == GOOD.len() && bytes != GOOD);
            foreign += u32::from(bytes.iter().any(|byte| EDGES.contains(byte)));
        }
        for count in [shorter, longer, changed, foreign] {
            assert!(count > 100, "{shorter} {longer} {changed} {foreign}");
        }
    }

    #[test]
    fn nothing_at_all_can_be_damaged_too() {
        let mut mutator = Mutator::new(1);
        assert!((0..100).any(|_| !mutator.mutate(&[]).is_empty()));
    }
}
