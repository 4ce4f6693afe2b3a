//! Who has which address, as dnsmasq beside this worker said: a TLS handshake that fails tells an address and nothing else.
//! `boots` makes events of it.
use ironbeat_common::id::Mac;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// As many as a large pool has addresses. Beyond that nothing is kept, and failed handshakes are in the log alone.
const MAX: usize = 65_536;

#[derive(Default)]
pub struct Leases(Mutex<BTreeMap<IpAddr, Mac>>);

impl Leases {
    pub fn keep(&self, ip: IpAddr, mac: Mac) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX || all.contains_key(&ip) {
            all.insert(ip, mac);
        }
    }

    /// Who has it, or had it last.
    pub fn holder(&self, ip: IpAddr) -> Option<Mac> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&ip).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_whose_it_was_given_last_and_there_is_a_bound() {
        let leases = Leases::default();
        let ip = |n: u32| IpAddr::from((0x0a00_0000 | n).to_be_bytes());
        let mac = |n: u8| Mac::from_bytes([2, 0, 0, 0, 0, n]);
        for n in 0..MAX as u32 + 5 {
            leases.keep(ip(n), mac(1));
        }
        leases.keep(ip(7), mac(2));
        assert_eq!(leases.holder(ip(7)), Some(mac(2)));
        assert_eq!(leases.holder(ip(8)), Some(mac(1)));
        assert_eq!(leases.holder(ip(MAX as u32)), None);
    }
}
