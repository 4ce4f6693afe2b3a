//! Ports for the tests of this directory.
//! What listens on them is the tests' affair.
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering};

/// A UDP port below the range that outgoing connections use, free a moment ago.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 8_000 + (std::process::id() % 6000) as u16 * 2;
    (0..200)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| UdpSocket::bind(("0.0.0.0", *port)).is_ok())
        .expect("one of 200 ports is free")
}
