//! Where a BMC listens: an IP address or a host name, and a port.
//! The conductor looks host names up.
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use ironbeat_common::text_form;

/// RMCP (IPMI 2.0 §13.1.2): an address without a port means this one.
const IPMI_PORT: u16 = 623;

/// Where a BMC listens: `10.77.1.1`, `10.77.1.1:6230`, `fd00::1`, `[fd00::1]:6230`, `bmc-7.rack.example`. There is
/// one spelling for each: the usual port is left out, IPv6 is shortened, names are in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BmcAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl BmcAddress {
    pub fn host(&self) -> &Host {
        &self.host
    }
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for BmcAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            host if self.port == IPMI_PORT => host.fmt(f),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the address of a BMC: give an IP address, or a host name with its domain",
            self.0
        )
    }
}

impl core::error::Error for BadAddress {}

impl FromStr for BmcAddress {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let parsed = parse_literal(text).or_else(|| parse_name(text));
        let sound = parsed.filter(|address| address.port != 0);
        sound.ok_or_else(|| BadAddress(text.into()))
    }
}

fn parse_literal(text: &str) -> Option<BmcAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = inner.unwrap_or(text).parse().ok()?;
    Some(SocketAddr::new(ip, IPMI_PORT).into())
}

fn parse_name(text: &str) -> Option<BmcAddress> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, IPMI_PORT),
    };
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // `10.0.0.256` is a mistyped address, not a name.
    let last = name.rsplit('.').next()?;
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    // A bare word means another host wherever the resolver searches another domain, and is mostly a mistake.
    let qualified = name.contains('.') || name.eq_ignore_ascii_case("localhost");
    let sound = qualified && name.len() <= 253 && name.split('.').all(label) && !numeric;
    sound.then(|| BmcAddress {
        host: Host::Name(name.to_ascii_lowercase()),
        port,
    })
}

text_form!(BmcAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (text, shown, port) in [
            ("10.77.1.1", "10.77.1.1", 623),
            ("10.77.1.1:623", "10.77.1.1", 623),
            ("10.77.1.1:6230", "10.77.1.1:6230", 6230),
            ("FD00:0:0::1", "fd00::1", 623),
            ("[fd00::1]", "fd00::1", 623),
            ("[fd00::1]:6230", "[fd00::1]:6230", 6230),
            ("bmc7.Rack-2.example", "bmc7.rack-2.example", 623),
            ("bmc-7.lan:6230", "bmc-7.lan:6230", 6230),
            ("localhost:6230", "localhost:6230", 6230),
        ] {
            let address: BmcAddress = text.parse().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.port()),
                (shown, port)
            );
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn anything_but_an_address_is_refused() {
        for wrong in [
            "",
            "[bmc]",
            "host:port",
            "10.0.0.256",
            "notanip",
            "bmc-7:6230",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "a..b",
            "ünknown *>",
            "a b",
            ":623",
        ] {
            assert!(wrong.parse::<BmcAddress>().is_err(), "{wrong:?}");
        }
    }
}
