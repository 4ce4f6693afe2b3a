//! Broken copies of good input, for the tests of every parser that reads what others wrote.
//! Only in tests.

/// A small generator (Marsaglia's xorshift64): the same seed gives the same run.
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Calls `check` with `count` variations of `good`: bytes changed, cut, doubled, dropped. The seed is printed, and can be
/// given back as `MUTATION_SEED`.
pub fn mutants(good: &[u8], count: usize, check: impl Fn(&[u8])) {
    let given = std::env::var("MUTATION_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "a new seed for each run; it is printed"
        )]
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        now.as_nanos() as u64 | 1
    });
    println!("MUTATION_SEED={seed}");
    let mut random = Xorshift(seed);
    for _ in 0..count {
        let mut bytes = good.to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            match random.below(6) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, random.next() as u8),
                3 if !bytes.is_empty() => {
                    let part = bytes[at..(at + random.below(32)).min(bytes.len())].to_vec();
                    bytes.extend(part);
                }
                _ if !bytes.is_empty() => {
                    const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
                    bytes[at] = if random.below(2) == 0 {
                        EDGES[random.below(6)]
                    } else {
                        random.next() as u8
                    };
                }
                _ => {}
            }
        }
        check(&bytes);
    }
}
