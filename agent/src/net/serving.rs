//! Which interface serves the machine: the one that has an address. Another may take its place when it is deaf.
//! Whose turn it is to ask for an address is decided in `setup`, what to ask in `dhcp`.
use super::dhcp::Lease;
use super::sys;
use anyhow::Context;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The interface with an address.
#[derive(Clone)]
pub struct Serving {
    pub name: String,
    /// The kernel's number: an interface that returns has another.
    pub index: i32,
    pub lease: Lease,
    pub since: Instant,
    /// Nothing was reached by it: whoever gets a lease takes its place.
    pub is_deaf: bool,
}

pub struct Server {
    resolver: PathBuf,
    /// Set by the link when it has reached a server since this interface serves.
    reached: Arc<AtomicBool>,
    socket: OwnedFd,
    serving: Mutex<Option<Serving>>,
}

impl Server {
    /// `resolver` is the file that name servers are written to.
    pub fn new(resolver: PathBuf, reached: Arc<AtomicBool>) -> anyhow::Result<Self> {
        Ok(Self {
            resolver,
            reached,
            socket: sys::control_socket().context("opening a socket for network set-up")?,
            serving: Mutex::default(),
        })
    }

    pub fn serving(&self) -> Option<Serving> {
        self.lock().clone()
    }

    pub fn has_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Whether this interface serves, and is deaf.
    pub fn is_deaf(&self, name: &str) -> bool {
        let serving = self.lock();
        serving
            .as_ref()
            .is_some_and(|serving| serving.name == name && serving.is_deaf)
    }

    /// While it is deaf, another interface may take its place.
    pub fn set_deaf(&self, name: &str, is_deaf: bool) {
        let mut serving = self.lock();
        let Some(serving) = serving.as_mut().filter(|serving| serving.name == name) else {
            return;
        };
        if is_deaf && !serving.is_deaf {
            tracing::warn!(
                nic = name,
                "no server is reached by this NIC: trying others"
            );
        }
        serving.is_deaf = is_deaf;
    }

    /// The interface is gone, and its address with it.
    pub fn forget(&self, name: &str) {
        let mut serving = self.lock();
        if serving.as_ref().is_some_and(|serving| serving.name == name) {
            tracing::warn!(nic = name, "the NIC with the address is gone");
            *serving = None;
        }
    }

    /// Gives the interface its address, unless another serves well. Whether it serves now.
    ///
    /// # Errors
    /// The kernel refuses; then no interface serves.
    pub fn take(&self, name: &str, lease: &Lease) -> anyhow::Result<bool> {
        let mut serving = self.lock();
        if let Some(other) = &*serving {
            if !other.is_deaf {
                return Ok(false);
            }
            if other.name != name
                && let Err(error) = sys::clear_address(&self.socket, &other.name)
            {
                tracing::warn!(%error, nic = other.name, "cannot take the address away");
            }
        }
        let old = serving.take();
        let index = sys::index(&self.socket, name)
            .with_context(|| format!("asking for the index of {name}"))?;
        self.reached.store(false, Ordering::Relaxed);
        self.apply(name, lease, old.and_then(|old| old.lease.gateway))?;
        *serving = Some(Serving {
            name: name.to_string(),
            index,
            lease: lease.clone(),
            since: Instant::now(),
            is_deaf: false,
        });
        Ok(true)
    }

    /// Applies what a renewal brings; what it does not mention stays. Whether the interface still serves.
    pub fn renewed(&self, name: &str, renewed: &Lease) -> anyhow::Result<bool> {
        let mut serving = self.lock();
        let Some(serving) = serving.as_mut().filter(|serving| serving.name == name) else {
            return Ok(false);
        };
        let old = serving.lease.clone();
        let mut lease = renewed.clone();
        lease.gateway = lease.gateway.or(old.gateway);
        if lease.name_servers.is_empty() {
            lease.name_servers.clone_from(&old.name_servers);
        }
        let has_changed = (lease.prefix_len, lease.gateway, &lease.name_servers)
            != (old.prefix_len, old.gateway, &old.name_servers);
        if has_changed {
            self.apply(name, &lease, old.gateway)?;
        }
        serving.lease = lease;
        Ok(true)
    }

    fn apply(&self, name: &str, lease: &Lease, old: Option<Ipv4Addr>) -> anyhow::Result<()> {
        let (ip, length) = (lease.ip, lease.prefix_len);
        sys::set_address(&self.socket, name, ip, length)
            .with_context(|| format!("giving {name} the address {ip}/{length}"))?;
        if let Some(old) = old.filter(|old| Some(*old) != lease.gateway) {
            sys::remove_gateway(&self.socket, old)
                .with_context(|| format!("removing the default gateway {old}"))?;
        }
        if let Some(gateway) = lease.gateway {
            sys::set_gateway(&self.socket, gateway)
                .with_context(|| format!("making {gateway} the default gateway"))?;
        }
        if !lease.name_servers.is_empty() {
            let servers = lease.name_servers.iter();
            let lines: String = servers.map(|ip| format!("nameserver {ip}\n")).collect();
            if let Err(error) = std::fs::write(&self.resolver, lines) {
                let file = self.resolver.display();
                tracing::warn!(%error, "cannot write {file}");
            }
        }
        let address = format!("{ip}/{length}");
        let gateway = lease.gateway.map(tracing::field::display);
        tracing::info!(nic = name, address, gateway, "network is up");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
