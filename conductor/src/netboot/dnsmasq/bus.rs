//! dnsmasq's D-Bus side: whether it is there, which leases it gives, what it has counted.
//! The caller decides what a lease means for a node. Nothing is ever set from here: see `Dnsmasq::apply`.
use super::{CALL_TIMEOUT, DnsmasqError};
use crate::config::DnsmasqConfig;
use futures_util::StreamExt;
use ironbeat_common::id::Mac;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;
use zbus::{Connection, Proxy};

const OBJECT: &str = "/uk/org/thekelleys/dnsmasq";
/// Between two tries to reach dnsmasq: first, doubled each time, at most.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(30);

/// One call without arguments, over a connection of its own: one that also receives signals blocks its calls for ever
/// once nobody drains those (<https://github.com/z-galaxy/zbus/issues/213>).
pub(super) async fn call<T>(config: &DnsmasqConfig, method: &'static str) -> Result<T, DnsmasqError>
where
    T: DeserializeOwned + zbus::zvariant::Type,
{
    let connection = connect(config).await?;
    let name = config.bus_name.as_str();
    let call = async {
        let reply = connection
            .call_method(Some(name), OBJECT, Some(name), method, &())
            .await?;
        reply.body().deserialize()
    };
    let attempt = format!("call {method} of {name} on the bus {}", address(config));
    in_time(attempt, call).await
}

async fn connect(config: &DnsmasqConfig) -> Result<Connection, DnsmasqError> {
    let connect = async {
        match &config.bus {
            Some(address) => {
                zbus::connection::Builder::address(address.as_str())
                    .build()
                    .await
            }
            None => Connection::system().await,
        }
    };
    in_time(format!("reach the bus {}", address(config)), connect).await
}

fn address(config: &DnsmasqConfig) -> &str {
    config.bus.as_deref().unwrap_or("of the system")
}

async fn in_time<T>(
    attempt: String,
    work: impl Future<Output = zbus::Result<T>>,
) -> Result<T, DnsmasqError> {
    match tokio::time::timeout(CALL_TIMEOUT, work).await {
        Ok(result) => result.map_err(|source| DnsmasqError::Bus {
            attempt,
            source: Box::new(source),
        }),
        Err(_) => Err(DnsmasqError::TimedOut { attempt }),
    }
}

/// Runs for ever, through restarts of dnsmasq and of the bus.
pub(super) async fn watch_leases(
    config: DnsmasqConfig,
    on_lease: impl Fn(Mac, IpAddr),
    health: watch::Sender<Option<String>>,
) {
    let mut trouble = Trouble {
        last: String::new(),
        tries: 0,
        health,
    };
    loop {
        let why = match watch_leases_once(&config, &on_lease, &mut trouble).await {
            Ok(()) => format!("the bus {} has closed the connection", address(&config)),
            Err(error) => error.to_string(),
        };
        tokio::time::sleep(trouble.log_new(why)).await;
    }
}

/// Trouble since dnsmasq last answered: logged once, not at every try.
struct Trouble {
    last: String,
    tries: u32,
    health: watch::Sender<Option<String>>,
}

impl Trouble {
    fn is_over(&mut self) {
        (self.last, self.tries) = (String::new(), 0);
        self.health.send_replace(None);
    }

    /// Logs new trouble, and returns how long to wait before the next try.
    fn log_new(&mut self, why: String) -> Duration {
        if why != self.last {
            tracing::warn!("leases are not watched: {why}; trying again");
            self.health.send_replace(Some(why.clone()));
            self.last = why;
        }
        let pause = PAUSE_FIRST * 2_u32.pow(self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        pause.min(PAUSE_LAST)
    }
}

async fn watch_leases_once(
    config: &DnsmasqConfig,
    on_lease: &impl Fn(Mac, IpAddr),
    trouble: &mut Trouble,
) -> Result<(), DnsmasqError> {
    let connection = connect(config).await?;
    let subscribe = async {
        let name = config.bus_name.as_str();
        let proxy = Proxy::new(&connection, name, OBJECT, name).await?;
        let signals = proxy.receive_all_signals().await?;
        let owners = proxy.receive_owner_changed().await?;
        zbus::Result::Ok((signals, owners))
    };
    let attempt = format!("subscribe to signals on the bus {}", address(config));
    let (mut signals, mut owners) = in_time(attempt, subscribe).await?;
    // Asked over another connection: this one is busy with signals.
    let version: String = call(config, "GetVersion").await?;
    tracing::info!(version, "dnsmasq answers; its leases are watched");
    trouble.is_over();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Some(signal) => {
                    if let Some((mac, ip)) = lease(&signal) {
                        on_lease(mac, ip);
                    }
                }
                None => return Ok(()),
            },
            owner = owners.next() => match owner {
                Some(Some(_)) => {
                    tracing::info!("dnsmasq is back on the bus");
                    trouble.is_over();
                }
                Some(None) => {
                    let why = "dnsmasq has left the bus: no machine gets an address until it is back";
                    tracing::warn!("{why}");
                    trouble.health.send_replace(Some(why.into()));
                }
                None => return Ok(()),
            },
        }
    }
}

/// A new or renewed lease of an Ethernet machine. DHCPv6 leases come with a DUID instead of a MAC, and are not for
/// us.
pub(super) fn lease(signal: &zbus::Message) -> Option<(Mac, IpAddr)> {
    let header = signal.header();
    match header.member()?.as_str() {
        "DhcpLeaseAdded" | "DhcpLeaseUpdated" => {}
        _ => return None,
    }
    let body = signal.body();
    let (ip, mac, _host_name): (&str, &str, &str) = body.deserialize().ok()?;
    Some((mac.parse().ok()?, ip.parse().ok()?))
}
