//! Turns the record's endpoint and secrets into what the IPMI client takes: address, suite, key.
//! Only their use shows whether the BMC accepts them.
use super::{permanent, transient};
use ironbeat_core::decide::BmcFault;
use ironbeat_core::node::{BmcAccess, CipherSuite, Host};
use ironbeat_ipmi::{BmcConfig, Protocol, Secret, Suite, Timing};
use std::net::SocketAddr;

pub(super) async fn config(access: &BmcAccess, timing: Timing) -> Result<BmcConfig, BmcFault> {
    let BmcAccess::Ipmi {
        address,
        username,
        password,
        cipher_suite,
        kg,
        ipmi_1_5,
    } = access;
    let suite = cipher_suite.map(|suite| match suite {
        CipherSuite::Three => Suite::Three,
        CipherSuite::Seventeen => Suite::Seventeen,
    });
    let resolved = match address.host() {
        Host::Ip(ip) => SocketAddr::new(*ip, address.port()),
        Host::Name(name) => look_up(name, address.port()).await?,
    };
    let protocol = match (ipmi_1_5, suite, kg) {
        (false, _, _) => Protocol::RmcpPlus,
        (true, None, None) => Protocol::Ipmi15,
        (true, _, _) => {
            let why = "IPMI 1.5 has no cipher suites and no key K_g";
            return Err(permanent(format!("BMC {address}: {why}")));
        }
    };
    Ok(BmcConfig {
        protocol,
        kg: kg.as_ref().map(|kg| Secret::new(kg.reveal())),
        suite,
        timing,
        ..BmcConfig::new(resolved, username.clone(), Secret::new(password.reveal()))
    })
}

async fn look_up(name: &str, port: u16) -> Result<SocketAddr, BmcFault> {
    let found = tokio::net::lookup_host((name, port)).await;
    let mut found = found.map_err(|error| transient(format!("resolve BMC {name}: {error}")))?;
    found
        .next()
        .ok_or_else(|| transient(format!("resolve BMC {name}: it has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::node::Secret as Word;

    fn access(address: &str, cipher_suite: Option<CipherSuite>, kg: Option<&str>) -> BmcAccess {
        BmcAccess::Ipmi {
            address: address.parse().unwrap(),
            username: "admin".into(),
            password: Word::new("hush"),
            cipher_suite,
            kg: kg.map(|kg| kg.parse().unwrap()),
            ipmi_1_5: false,
        }
    }

    #[tokio::test]
    async fn ipmi_1_5_is_spoken_on_request_and_without_suites_or_keys() {
        let old = |cipher_suite, kg| {
            let mut access = access("10.0.0.1", cipher_suite, kg);
            let BmcAccess::Ipmi { ipmi_1_5, .. } = &mut access;
            *ipmi_1_5 = true;
            access
        };
        let spoken = config(&old(None, None), Timing::default()).await.unwrap();
        assert_eq!(spoken.protocol, Protocol::Ipmi15);
        for wrong in [old(Some(CipherSuite::Three), None), old(None, Some("6b67"))] {
            let fault = config(&wrong, Timing::default()).await.unwrap_err();
            assert!(fault.permanent && fault.what.contains("IPMI 1.5 has no"));
        }
    }

    #[tokio::test]
    async fn the_records_endpoint_becomes_the_clients() {
        let good = access("localhost:6230", Some(CipherSuite::Seventeen), Some("00ff"));
        let config = config(&good, Timing::default()).await.unwrap();
        assert_eq!(
            (config.address.port(), config.suite),
            (6230, Some(Suite::Seventeen))
        );
        assert!(config.address.ip().is_loopback());
        assert_eq!(config.kg, Some(Secret::new([0x00, 0xff])));
        assert!(!format!("{config:?}").contains("hush"));
    }
}
