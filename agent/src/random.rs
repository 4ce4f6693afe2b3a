//! Randomness that is needed early and need not be secret: ids and jitter.
//! The TLS library makes keys from the kernel's fully seeded source.
use ironbeat_common::id::BootId;
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::Duration;
use uuid::Uuid;

/// Does not wait for the kernel's pool: right after start-up that may take a second.
fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    // At most 256 bytes are never cut short (getrandom(2)); kernels before 5.6 refuse the flag.
    if getrandom(&mut out[..], GetRandomFlags::INSECURE).is_err() {
        getrandom(&mut out[..], GetRandomFlags::empty())
            .expect("getrandom of a few bytes works on every kernel since 3.17");
    }
    out
}

/// A version 4 UUID (RFC 9562 section 5.4).
pub fn guid() -> Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

pub fn boot_id() -> BootId {
    BootId::from_bytes(guid().into_bytes())
}

/// For transaction ids and disk signatures.
pub fn number() -> u32 {
    u32::from_le_bytes(bytes())
}

/// Uniform in 0..1.
fn unit() -> f64 {
    let top = u64::from_le_bytes(bytes::<8>()) >> 11;
    // 53 bits: exactly what a double holds.
    top as f64 / (1u64 << 53) as f64
}

/// `base` × U(low, high).
pub fn jittered(base: Duration, low: f64, high: f64) -> Duration {
    base.mul_f64(low + (high - low) * unit())
}

/// `base` × 2^`failures`, at most `limit`, × U(0.5, 1.5): a thousand agents must not return at once.
pub fn back_off(base: Duration, failures: u32, limit: Duration) -> Duration {
    let grown = base.saturating_mul(1u32 << failures.min(16));
    jittered(grown.min(limit), 0.5, 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_range_and_moves() {
        let values: Vec<Duration> = (0..1000)
            .map(|_| jittered(Duration::from_secs(10), 0.3, 0.6))
            .collect();
        assert!(
            values
                .iter()
                .all(|v| (Duration::from_secs(3)..=Duration::from_secs(6)).contains(v))
        );
        assert!(values.iter().max() > values.iter().min());
    }

    #[test]
    fn back_off_grows_to_its_limit_and_no_further() {
        let limit = Duration::from_secs(30);
        for failures in [0, 1, 5, 40, u32::MAX] {
            let wait = back_off(Duration::from_millis(500), failures, limit);
            assert!(
                wait >= Duration::from_millis(250) && wait <= limit.mul_f64(1.5),
                "{failures}: {wait:?}"
            );
        }
    }

    #[test]
    fn boot_ids_are_version_4_and_differ() {
        let (a, b) = (boot_id(), boot_id());
        assert_ne!(a, b);
        assert_eq!((a.as_bytes()[6] >> 4, a.as_bytes()[8] >> 6), (4, 2));
    }
}
