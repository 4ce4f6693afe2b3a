//! From the record's words to what the IPMI client takes: address, suite, key.
//! Whether the BMC accepts any of it is found out by using it.
use super::transient;
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
    let wrong = |why: String| BmcFault {
        what: format!("BMC {address}: {why}"),
        permanent: true,
        accepted: None,
    };
    let suite = cipher_suite.map(|suite| match suite {
        CipherSuite::Three => Suite::Three,
        CipherSuite::Seventeen => Suite::Seventeen,
    });
    let kg = kg.as_ref().map(|kg| unhex(kg.reveal()));
    if let Some(None) = kg {
        return Err(wrong("the key K_g is not hex".into()));
    }
    let resolved = match address.host() {
        Host::Ip(ip) => SocketAddr::new(*ip, address.port()),
        Host::Name(name) => look_up(name, address.port()).await?,
    };
    let protocol = match (ipmi_1_5, suite, &kg) {
        (false, _, _) => Protocol::RmcpPlus,
        (true, None, None) => Protocol::Ipmi15,
        (true, _, _) => {
            return Err(wrong("IPMI 1.5 has no cipher suites and no key K_g".into()));
        }
    };
    Ok(BmcConfig {
        protocol,
        kg: kg.flatten().map(Secret::new),
        suite,
        timing,
        ..BmcConfig::new(resolved, username.clone(), Secret::new(password.reveal()))
    })
}

async fn look_up(name: &str, port: u16) -> Result<SocketAddr, BmcFault> {
    let found = tokio::net::lookup_host((name, port)).await;
    let mut found = found.map_err(|error| transient(format!("look up BMC {name}: {error}")))?;
    found
        .next()
        .ok_or_else(|| transient(format!("look up BMC {name}: it has no address")))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
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
            kg: kg.map(Word::new),
            ipmi_1_5: false,
        }
    }

    #[tokio::test]
    async fn an_old_protocol_is_spoken_on_request_and_with_nothing_that_it_lacks() {
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
    async fn what_can_never_work_is_said_to_be_permanent() {
        for (access, why) in [
            (access("10.0.0.1", None, Some("xyz")), "K_g is not hex"),
            (access("10.0.0.1", None, Some("+1")), "K_g is not hex"),
            (access("10.0.0.1", None, Some("éa")), "K_g is not hex"),
        ] {
            let fault = config(&access, Timing::default()).await.unwrap_err();
            assert!(fault.permanent && fault.what.contains(why), "{fault:?}");
            assert!(!fault.what.contains("xyz"), "{fault:?}");
        }
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
