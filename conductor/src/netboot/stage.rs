//! Follows the nodes and the workers, and keeps dnsmasq's directories as they want them.
//! `dnsmasq` and `script` write the files.
use super::boots::Boots;
use super::dnsmasq::Dnsmasq;
use super::script::entry_script;
use crate::config::DnsmasqConfig;
use std::time::Duration;

/// Workers come and go while no node changes: the entry script is looked at this often too.
const LOOK: Duration = Duration::from_secs(3);

/// Runs until the worker stops.
pub async fn run(boots: Boots, config: DnsmasqConfig) {
    let on_lease = {
        let boots = boots.clone();
        move |mac, ip| boots.leased(mac, ip)
    };
    let mut dnsmasq = Dnsmasq::start(config, on_lease);
    let mut changes = boots.view.changes();
    loop {
        let mut urls = boots.workers();
        urls.sort();
        if let Err(error) = dnsmasq.apply(&boots.all(), &entry_script(&urls)) {
            tracing::warn!("dnsmasq: {error}");
        }
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
}
