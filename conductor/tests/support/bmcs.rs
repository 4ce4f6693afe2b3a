//! Simulated BMCs on loopback, for nodes of a [`Site`].
//! The tests say what they are asked.
use super::Site;
use ironbeat_bmc_sim::{Fleet, FleetConfig, Settings};
use ironbeat_rack::ports::PortLease;
use serde_json::{Value, json};

/// Of the simulator's own users.
pub const PASSWORD: &str = "Rack-pw-1";

pub struct Bmcs {
    pub fleet: Fleet,
    _port: PortLease,
}

impl Bmcs {
    pub fn start(count: usize) -> Self {
        let port = PortLease::take().unwrap();
        let config = FleetConfig::loopback(count, port.port());
        let fleet = Fleet::start(&config, |_| Settings::default()).unwrap();
        Self { fleet, _port: port }
    }

    pub fn access(&self, n: usize) -> Value {
        json!({
            "protocol": "ipmi", "address": self.fleet.address(n).to_string(),
            "username": "admin", "password": PASSWORD,
        })
    }

    pub fn is_on(&self, n: usize) -> bool {
        self.fleet.with(n, |bmc, now| bmc.is_on(now))
    }

    /// Commands that BMC n has carried out or answered.
    pub fn commands(&self, n: usize) -> u64 {
        self.fleet.with(n, |bmc, _| bmc.counters().commands)
    }

    pub async fn managed(&self, site: &Site, n: usize, name: &str) {
        let wish = json!({ "name": name, "bmc": self.access(n) });
        site.enroll(wish).await;
        site.cli(&["node", "manage", name, "--wait"]).await.good();
    }
}
