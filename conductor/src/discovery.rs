//! What a worker is told about unknown machines that are to be enrolled: by which login, and on which networks their BMCs may be.
//! `front/discover` enrolls them; rules say what is said of each.
use crate::bucket::Rate;
use anyhow::{Context, ensure};
use ironbeat_cli::private;
use ironbeat_core::node::{BmcAccess, BmcAddress, Secret};
use ironbeat_core::rules::Network;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// IPMI's.
const PORT: u16 = 623;
/// Each attempt reads all rules and may write a record. A machine that is put off looks up again after 20 s.
const RATE: Rate = Rate {
    burst: 50,
    every: Duration::from_millis(200),
};

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AutoDiscovery {
    /// An unknown machine that looks up is enrolled as a node, as the inspection rules say. It needs `discovery = true`, and all
    /// of the following. The same on every worker.
    pub enabled: bool,
    /// Only machines whose BMC, as they say themselves, has an address in one of these: `["10.0.1.0/24"]`. To those addresses, and
    /// no others, the password below will be sent.
    pub bmc_networks: Vec<String>,
    /// The user that all such BMCs have.
    pub bmc_username: Option<String>,
    /// File with that user's password, which the worker's user alone may read. It is sealed into each node's secrets.
    pub bmc_password_file: Option<PathBuf>,
    /// While so many nodes are in the state `enroll`, no further machine is enrolled.
    pub max_waiting: u32,
}

impl Default for AutoDiscovery {
    fn default() -> Self {
        Self {
            enabled: false,
            bmc_networks: vec![],
            bmc_username: None,
            bmc_password_file: None,
            max_waiting: 100,
        }
    }
}

impl AutoDiscovery {
    /// # Errors
    /// What is missing or nonsense. `remembers`: unknown machines boot the ramdisk at all.
    pub fn check(&self, remembers: bool) -> anyhow::Result<()> {
        self.networks()?;
        if !self.enabled {
            return Ok(());
        }
        ensure!(
            remembers,
            "auto_discovery.enabled is true, and discovery is false: unknown machines boot their disk then, and are never seen"
        );
        ensure!(
            !self.bmc_networks.is_empty(),
            "auto_discovery.bmc_networks is missing: say on which networks BMCs may be, as any machine can claim any address"
        );
        ensure!(
            self.bmc_username.is_some() && self.bmc_password_file.is_some(),
            "auto_discovery.bmc_username or auto_discovery.bmc_password_file is missing: no node can be driven without"
        );
        Ok(())
    }

    fn networks(&self) -> anyhow::Result<Vec<Network>> {
        let parsed = self.bmc_networks.iter().map(|text| text.parse());
        let parsed: Result<_, String> = parsed.collect();
        parsed
            .map_err(anyhow::Error::msg)
            .context("auto_discovery.bmc_networks")
    }
}

/// The same as it is used.
pub struct Enroller {
    networks: Vec<Network>,
    username: String,
    password: Secret,
    pub max_waiting: usize,
    full_at: Mutex<Instant>,
}

impl Enroller {
    /// None: it is off.
    ///
    /// # Errors
    /// When the password cannot be read, or others can read it.
    pub fn of(config: &AutoDiscovery) -> anyhow::Result<Option<Self>> {
        let (true, Some(username), Some(file)) = (
            config.enabled,
            &config.bmc_username,
            &config.bmc_password_file,
        ) else {
            return Ok(None);
        };
        let text = private::read(file).context("read auto_discovery.bmc_password_file")?;
        let password = text.trim_end_matches(['\r', '\n']);
        ensure!(
            !password.is_empty(),
            "auto_discovery.bmc_password_file: {} is empty",
            file.display()
        );
        Ok(Some(Self {
            networks: config.networks()?,
            username: username.clone(),
            password: Secret::new(password),
            max_waiting: config.max_waiting.try_into().unwrap_or(usize::MAX),
            full_at: Mutex::new(Instant::now()),
        }))
    }

    /// Whether one more may be enrolled now.
    pub fn admit(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        RATE.take(&mut full_at, now)
    }

    /// How a BMC is reached whose machine says that it has one of these addresses.
    ///
    /// # Errors
    /// Why none of them is one that the operator allows.
    pub fn access(&self, claimed: &[&str]) -> Result<BmcAccess, String> {
        let read = claimed
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok());
        let addresses: Vec<IpAddr> = read.filter(|address| !address.is_unspecified()).collect();
        let allowed = addresses
            .iter()
            .find(|address| self.networks.iter().any(|net| net.contains(**address)));
        match (allowed, addresses.first()) {
            (Some(address), _) => Ok(BmcAccess::Ipmi {
                address: BmcAddress::from(SocketAddr::new(*address, PORT)),
                username: self.username.clone(),
                password: self.password.clone(),
                cipher_suite: None,
                kg: None,
                ipmi_1_5: false,
            }),
            (None, Some(other)) => Err(format!(
                "its BMC at {other} is on no network of auto_discovery.bmc_networks"
            )),
            (None, None) => Err("it does not know the address of its BMC".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> AutoDiscovery {
        AutoDiscovery {
            enabled: true,
            bmc_networks: vec!["10.0.1.0/24".into(), "fd00::/8".into()],
            bmc_username: Some("admin".into()),
            bmc_password_file: Some("/p".into()),
            ..AutoDiscovery::default()
        }
    }

    #[test]
    fn it_is_off_unless_all_is_said() {
        assert!(!AutoDiscovery::default().enabled);
        AutoDiscovery::default().check(false).unwrap();
        on().check(true).unwrap();
        let why = |change: fn(&mut AutoDiscovery)| {
            let mut config = on();
            change(&mut config);
            format!("{:#}", config.check(true).unwrap_err())
        };
        for (said, expected) in [
            (why(|it| it.bmc_networks.clear()), "bmc_networks is missing"),
            (
                why(|it| it.bmc_networks.push("10.0.0.0/40".into())),
                "\"10.0.0.0/40\" is no network",
            ),
            (why(|it| it.bmc_username = None), "bmc_username or "),
            (why(|it| it.bmc_password_file = None), "is missing"),
            (
                format!("{}", on().check(false).unwrap_err()),
                "discovery is false",
            ),
        ] {
            assert!(said.contains(expected), "{said}");
        }
    }

    #[tokio::test]
    async fn a_password_is_for_bmcs_on_networks_that_the_operator_names() {
        let config = on();
        let enroller = Enroller {
            networks: config.networks().unwrap(),
            username: "admin".into(),
            password: Secret::new("hush"),
            max_waiting: 1,
            full_at: Mutex::new(Instant::now()),
        };
        for (claimed, reached) in [
            (&["10.0.1.7"][..], Ok("10.0.1.7")),
            (&["10.0.2.7", "fd00::7"], Ok("fd00::7")),
            (&["10.0.2.7"], Err("10.0.2.7 is on no network")),
            (&["0.0.0.0"], Err("does not know")),
            (&["10.0.1.7:99"], Err("does not know")),
            (&["localhost", ""], Err("does not know")),
            (&[], Err("does not know")),
        ] {
            match (enroller.access(claimed), reached) {
                (Ok(BmcAccess::Ipmi { address, .. }), Ok(expected)) => {
                    assert_eq!(address.to_string(), expected);
                }
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (found, expected) => panic!("{:?}, expected {expected:?}", found.is_ok()),
            }
        }
    }
}
