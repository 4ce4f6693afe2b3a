//! Owns hosts: network namespaces of their own, each on a cable to the rack's bridge that can be moved to an island.
//! Leaves what runs on them to others, and the bridges to `netns`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::layout::{BRIDGE, BRIDGE_TWO, GATEWAY};
use crate::netns::Netns;
use crate::owner::unique_name;

/// A host on a cable. Hosts on the island reach each other and nobody else; the cables' other ends notice nothing, so
/// open connections hang, as behind a broken switch.
#[derive(Debug)]
pub struct Host {
    netns: Netns,
    hub: Arc<Netns>,
    cable: String,
    address: Ipv4Addr,
}

impl Host {
    /// Plugs a host into `hub`, which has two bridges. `number` is its last byte of the address, unique in the rack; what
    /// is not on its own net it reaches through the hub.
    ///
    /// # Errors
    /// When the process is not root, or an `ip` command fails.
    pub fn plug(hub: &Arc<Netns>, number: u8) -> Result<Self> {
        let name = unique_name();
        let netns = Netns::create_bare(&name)?;
        let cable = format!("host{number}");
        let [a, b, c, _] = GATEWAY.octets();
        let address = Ipv4Addr::new(a, b, c, number);
        hub.ip(&[
            format!("link add {cable} type veth peer name eth0 netns {name}"),
            format!("link set {cable} addrgenmode none"),
            format!("link set {cable} master {BRIDGE}"),
            format!("link set {cable} up"),
        ])?;
        netns.ip(&[
            "link set eth0 addrgenmode none".to_owned(),
            format!("addr add {address}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {GATEWAY}"),
        ])?;
        Ok(Self {
            netns,
            hub: Arc::clone(hub),
            cable,
            address,
        })
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Moves it to the island.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn cut_off(&self) -> Result<()> {
        self.plug_into(BRIDGE_TWO)
    }

    /// Moves it back.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn rejoin(&self) -> Result<()> {
        self.plug_into(BRIDGE)
    }

    fn plug_into(&self, bridge: &str) -> Result<()> {
        let line = format!("link set {} master {bridge}", self.cable);
        self.hub
            .ip(&[line])
            .with_context(|| format!("move {} to {bridge}", self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn an_island_reaches_itself_alone_until_it_is_rejoined() {
        let hub = Arc::new(Netns::create(&unique_name(), true).unwrap());
        let hosts = [21, 22, 23].map(|number| Host::plug(&hub, number).unwrap());
        let listeners = hosts.each_ref().map(|host| {
            let bind = || Ok(TcpListener::bind((host.address(), 4000))?);
            host.netns().inside(bind).unwrap()
        });
        let reaches = |from: usize, to: usize, wait: Duration| {
            let address = SocketAddr::from((hosts[to].address(), 4000));
            let connect =
                || Ok(TcpStream::connect_timeout(&address, wait).map_err(|error| error.kind()));
            match hosts[from].netns().inside(connect).unwrap() {
                Ok(_) => true,
                Err(ErrorKind::TimedOut | ErrorKind::HostUnreachable) => false,
                Err(other) => panic!("{from} to {to}: {other}"),
            }
        };
        let together = |from, to| reaches(from, to, Duration::from_secs(30));
        let apart = |from, to| !reaches(from, to, Duration::from_secs(1));
        assert!(together(0, 1) && together(1, 2) && together(2, 0));
        hosts[0].cut_off().unwrap();
        hosts[1].cut_off().unwrap();
        assert!(together(0, 1), "they are on one island");
        assert!(apart(0, 2) && apart(2, 1));
        hosts[0].rejoin().unwrap();
        hosts[1].rejoin().unwrap();
        assert!(together(0, 2) && together(2, 1));
        drop(listeners);
    }
}
