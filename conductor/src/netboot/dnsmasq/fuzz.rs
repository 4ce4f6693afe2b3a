//! What dnsmasq tells, for `ironbeat-fuzz`. Nothing that ships calls it.
//! The message around it is the bus's.
use super::{bus, mac_of};
use std::path::Path;

/// A lease: signal, IP address, MAC address, host name, a line each; and the name of a host file.
pub fn lease(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (signal, ip, mac, name) = (line(), line(), line(), line());
    mac_of(Path::new(name));
    let dnsmasq = ("/uk/org/thekelleys/dnsmasq", "uk.org.thekelleys.dnsmasq");
    let message = zbus::Message::signal(dnsmasq.0, dnsmasq.1, signal).build(&(ip, mac, name));
    message.is_ok_and(|message| bus::lease(&message).is_some())
}
