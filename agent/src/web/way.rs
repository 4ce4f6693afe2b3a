//! By which way a request leaves this machine, and where it may lead: directly or by the proxy of the boot script, and not from
//! the outside to this machine or its link. Sending it is left to `http`.
use super::trust::Trust;
use super::url::Url;
use ironbeat_common::near::is_near;
use std::net::IpAddr;
use std::sync::Arc;

/// How requests leave.
pub struct Web {
    pub trust: Arc<Trust>,
    proxy: Option<Url>,
    /// Hosts that are asked directly: the workers, which are on this network.
    near: Vec<String>,
}

impl Web {
    /// `workers` are asked directly.
    pub fn new(trust: Arc<Trust>, proxy: Option<Url>, workers: &[Url]) -> Self {
        let near = workers.iter().map(|url| url.host().to_string()).collect();
        Self { trust, proxy, near }
    }

    /// None: directly. A private address is on a network that the machine is on itself, or has a route to.
    pub fn proxy_for(&self, url: &Url) -> Option<&Url> {
        let directly = url.address().is_some_and(is_private)
            || self.near.iter().any(|near| near == url.host());
        self.proxy.as_ref().filter(|_| !directly)
    }
}

/// Where a request may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An order's own URL.
    Anywhere,
    /// A redirect's: what a foreign server says must not make this machine ask itself, nor what answers on its link, as a cloud's
    /// metadata service does.
    NotHere,
}

impl Reach {
    pub fn allows(self, address: IpAddr) -> bool {
        self == Self::Anywhere || !is_near(address)
    }

    /// Of the next request, when the first one led to `address`.
    pub fn after(address: Option<IpAddr>) -> Self {
        match address.is_some_and(is_near) {
            true => Self::Anywhere,
            false => Self::NotHere,
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    is_near(address)
        || match address.to_canonical() {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;

    #[test]
    fn a_redirect_does_not_lead_to_this_machine_or_its_link() {
        for (address, may) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("10.0.0.1", true),
            ("fd00::1", true),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::NotHere.allows(ip), may, "{address}");
            assert!(Reach::Anywhere.allows(ip));
            // Whoever begins there may go on there.
            assert_eq!(Reach::after(Some(ip)) == Reach::NotHere, may, "{address}");
        }
        assert_eq!(Reach::after(None), Reach::NotHere);
    }

    #[test]
    fn what_is_near_is_asked_directly_and_all_else_by_the_proxy() {
        let url = |text: &str| Url::parse(text).unwrap();
        let trust = Arc::new(Trust::new(Arc::new(Wall::default())));
        let proxy = Some(url("http://proxy:3128"));
        let web = Web::new(trust.clone(), proxy, &[url("http://w1.lab:8081")]);
        for (text, by_proxy) in [
            ("https://images.example.org/os", true),
            ("http://192.0.2.1/os", true),
            ("http://[2001:db8::1]/os", true),
            ("http://w1.lab:8081/images/os", false),
            ("http://10.0.0.1:8081/images/os", false),
            ("http://[fd00::1]/os", false),
            ("http://127.0.0.1/os", false),
        ] {
            assert_eq!(web.proxy_for(&url(text)).is_some(), by_proxy, "{text}");
        }
        let direct = Web::new(trust, None, &[]);
        assert!(direct.proxy_for(&url("https://h/os")).is_none());
    }
}
