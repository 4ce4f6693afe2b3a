//! A machine between its boot script and the end of its login, spoken by hand: whoever holds its keys can misuse them.
//! The real agent keeps its key to itself; the row of agents runs it as well.
use crate::wire::{Pass, Wire};
use anyhow::{Context, Result, bail};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::id::{BootId, Mac, NodeId, SystemUuid};
use ironbeat_common::inventory::{BmcAddress, Disk, Inventory, Nic};
use ironbeat_common::login::{
    LoginRequest, Renewal, RenewalReply, Signature, UserKey, signed_text,
};
use ironbeat_common::lookup::{BootTimings, Lookup};
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

/// By what a machine says which node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Mac,
    Uuid,
    Serial,
    Bmc,
    /// The first three.
    All,
}

impl Mark {
    pub const EACH: [Self; 4] = [Self::Mac, Self::Uuid, Self::Serial, Self::Bmc];

    pub fn words(self) -> &'static str {
        match self {
            Self::Mac => "MAC address",
            Self::Uuid => "UUID",
            Self::Serial => "serial number",
            Self::Bmc => "BMC address",
            Self::All => "all marks",
        }
    }
}

pub fn mac(n: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0x77, n])
}

pub fn uuid(n: u8) -> SystemUuid {
    SystemUuid::from_bytes([n; 16])
}

pub fn serial(n: u8) -> String {
    format!("SN-{n}")
}

/// What the machine of node `n` says of itself; `mark`: how much of it.
pub fn inventory(n: u8, mark: Mark) -> Inventory {
    let mut machine = Inventory::default();
    let has = |it| mark == it || mark == Mark::All && it != Mark::Bmc;
    machine.system.uuid = has(Mark::Uuid).then(|| uuid(n));
    machine.system.serial = has(Mark::Serial).then(|| serial(n));
    if has(Mark::Bmc) {
        machine.bmc = Some(BmcAddress {
            ipv4: Some(format!("127.64.0.{}", n - 1)),
            ..BmcAddress::default()
        });
    }
    machine.disks = vec![Disk {
        name: "/dev/vda".into(),
        size_bytes: 64 << 30,
        logical_sector_bytes: 512,
        serial: Some(format!("DISK-{n}")),
        ..Disk::default()
    }];
    if has(Mark::Mac) {
        let nic = json!({ "name": "eth0", "mac": mac(n) });
        let nic: Nic = serde_json::from_value(nic).expect("a name and an address are a NIC");
        machine.nics = vec![nic];
    }
    machine
}

/// Another one each time.
pub fn boot_id() -> BootId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    BootId::from_bytes(bytes)
}

pub fn public(key: &KeyPair) -> UserKey {
    let key = key.public_key().parse();
    key.expect("nkeys writes keys as we read them")
}

/// One boot of the machine of node `n`.
#[derive(Clone)]
pub struct Machine {
    pub n: u8,
    pub mark: Mark,
    pub boot: BootId,
    pub ticket: Option<KeyPair>,
    pub key: KeyPair,
}

impl Machine {
    pub fn new(n: u8, mark: Mark, ticket: Option<&str>) -> Result<Self> {
        let ticket = ticket.map(KeyPair::from_seed).transpose();
        Ok(Self {
            n,
            mark,
            boot: boot_id(),
            ticket: ticket.context("read a ticket")?,
            key: KeyPair::new_user(),
        })
    }

    /// What it shows with its ticket: signed for this boot and key.
    pub fn request(&self) -> Result<Option<LoginRequest>> {
        let Some(ticket) = &self.ticket else {
            return Ok(None);
        };
        let text = signed_text(&self.boot, &public(&self.key));
        let by = |key: &KeyPair| {
            let signature = key.sign(text.as_bytes()).context("sign with a key")?;
            let signature = signature.try_into().ok();
            signature.map(Signature).context("a signature has 64 bytes")
        };
        Ok(Some(LoginRequest {
            key: public(&self.key),
            ticket: public(ticket),
            signature: by(ticket)?,
            by_key: Some(by(&self.key)?),
        }))
    }

    /// The bytes of its lookup.
    pub fn lookup(&self, login: Option<LoginRequest>) -> Vec<u8> {
        codec::encode(&Lookup {
            version: codec::VERSION,
            boot: self.boot,
            agent: "neighbour".into(),
            inventory: inventory(self.n, self.mark),
            timings: BootTimings::default(),
            login,
            measured: None,
        })
    }
}

/// A machine with a login.
#[derive(Clone)]
pub struct Agent {
    pub node: NodeId,
    pub jwt: String,
    pub machine: Machine,
}

impl Agent {
    pub fn pass(&self) -> Pass {
        Pass::bound(&self.jwt, &self.machine.key)
    }

    pub fn beat_bytes(&self) -> Vec<u8> {
        beat(self.machine.boot)
    }

    /// # Errors
    /// When nobody answers.
    pub fn beats(&self, wire: &mut Wire) -> Result<HeartbeatReply> {
        ask(
            wire,
            &format!("ib.v1.heartbeat.{}", self.node),
            &self.beat_bytes(),
        )
    }

    /// # Errors
    /// When nobody answers.
    pub fn renews(&self, wire: &mut Wire, boot: BootId, key: UserKey) -> Result<RenewalReply> {
        let renewal = codec::encode(&Renewal {
            version: codec::VERSION,
            boot,
            key,
        });
        ask(wire, &format!("ib.v1.agent.{}.login", self.node), &renewal)
    }
}

pub fn beat(boot: BootId) -> Vec<u8> {
    codec::encode(&Heartbeat {
        version: codec::VERSION,
        boot,
        seq: 1,
        status: Status::Idle,
        nudge: None,
    })
}

/// A question in CBOR.
///
/// # Errors
/// When it is refused, or the answer is none.
pub fn ask<T: DeserializeOwned>(wire: &mut Wire, subject: &str, body: &[u8]) -> Result<T> {
    let answer = wire.ask(subject, body)?;
    if let Some(error) = answer.error() {
        bail!("{subject}: {error}");
    }
    codec::decode(&answer.body)
        .ok()
        .with_context(|| format!("{subject}: read the answer"))
}
