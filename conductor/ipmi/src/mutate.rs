//! Damages bytes at random, to test decoders: bits, bytes, lengths, splices.
//! What must hold for damaged bytes is up to each test. The seed is printed; `IRONBEAT_SEED` sets it, for the same damage.

pub(crate) struct Mutator(u64);

impl Mutator {
    #[expect(
        clippy::disallowed_methods,
        reason = "a new seed for each run; it is printed"
    )]
    pub(crate) fn seeded(what: &str) -> Self {
        let now = || {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64)
        };
        let seed = std::env::var("IRONBEAT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(now)
            | 1;
        println!("{what}: IRONBEAT_SEED={seed}");
        Self(seed)
    }

    /// Xorshift, Marsaglia 2003.
    pub(crate) fn random(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    pub(crate) fn mutate(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.random() as u8),
                2 => bytes.extend(self.random().to_le_bytes()),
                3 if at < bytes.len() => {
                    bytes.remove(at);
                }
                4 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => {
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, self.random() as u8][self.below(6)];
                }
                _ => {}
            }
        }
        bytes
    }
}
