//! The store and the view, tried against a real nats-server: races, lost acknowledgements, killed servers, bad documents.
//! Also what the tests of the neighbouring modules share: a server, a connection, a node.
mod backup;
mod beside;
mod claims;
mod described;
mod dhcp;
mod kept;
mod keys;
mod origin;
mod proxy;
mod races;
mod sweep;
mod trouble;
mod turn;
mod view;

use super::{Kv, Names, Revision, Store, StoreError};
use crate::secrets::{MasterKey, MasterKeys};
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_core::decide::{Ctx, Enrolment, Event, Policy, decide};
use ironbeat_core::id::{Incarnation, OpId};
use ironbeat_core::node::{BmcAccess, Node, Secret};
use ironbeat_core::time::Time;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use std::sync::LazyLock;
use std::time::Duration;

/// No wait in these tests is longer, however loaded the machine: a condition that never comes true must fail.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a store waits for an answer where a test needs it to give up. Enough for a server that shares its cores with
/// a compiler: the same store opens its buckets first.
pub const PATIENCE: Duration = Duration::from_secs(2);

pub fn server() -> NatsServer {
    NatsServer::start_loopback(NatsBinary::Floor).expect("nats-server starts")
}

/// One for all tests of this process.
pub fn masters() -> &'static MasterKeys {
    static MASTERS: LazyLock<MasterKeys> = LazyLock::new(|| MasterKey::generate().into());
    &MASTERS
}

pub async fn connect(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.expect("nats-server answers")
}

pub async fn store(server: &NatsServer) -> Store {
    store_at(&server.url()).await
}

pub async fn store_at(url: &str) -> Store {
    let client = connect(url).await;
    Store::open(client, &Names::default(), masters())
        .await
        .expect("the store opens")
}

/// Stores a new record, as if nothing lay beside it.
pub async fn create(store: &Store, node: &Node) -> Result<Revision, StoreError> {
    let vacant = store.nodes.vacancy(node.id).await?;
    store.nodes.create(node, vacant).await
}

pub fn id(n: u16) -> NodeId {
    let mut bytes = [0xa5; 16];
    bytes[14..].copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(bytes)
}

pub fn mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    Mac::from_bytes([2, 0, 0, 0, high, low])
}

pub fn op(text: impl ToString) -> OpId {
    text.to_string().parse().expect("a token")
}

/// Node `n`, with a BMC, a name and one MAC of its own.
pub fn enrolment(n: u16) -> Enrolment {
    Enrolment {
        id: id(n),
        name: Some(format!("n{n}").parse().expect("a name")),
        bmc: BmcAccess::Ipmi {
            address: format!("10.77.{}.{}", n >> 8, n & 255).parse().unwrap(),
            username: "admin".into(),
            password: Secret::new("secret"),
            cipher_suite: None,
            kg: None,
            ipmi_1_5: false,
        },
        macs: vec![mac(n)],
        system_uuid: None,
        serial: None,
        boot_mode: None,
        secure_boot: None,
        root_device: Default::default(),
        skip_block_devices: Vec::new(),
        further: Default::default(),
        inventory: None,
    }
}

/// The record of node `n`, as it is when it was enrolled.
pub fn node(n: u16) -> Node {
    let (op, worker) = (op(format!("made-{n}")), "w".parse().expect("a token"));
    let ctx = Ctx {
        now: Time::from_unix_ms(0),
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &Policy::default(),
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    let decision = decide(None, &Event::Enrolled(enrolment(n)), ctx);
    decision
        .ok()
        .and_then(|decision| decision.node)
        .expect("it is sound")
}

/// `node` one write later.
pub fn next(node: &Node, op_id: impl ToString) -> Node {
    Node {
        counter: node.counter + 1,
        op: op(op_id),
        ..node.clone()
    }
}

/// Waits for a condition that nothing announces.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looked = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looked.await.is_ok(), "never: {what}");
}

/// Keys that are there now, with their values.
pub async fn contents(bucket: &Kv, keys: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let scanned = bucket.scan(keys, |change| {
        if let Some(value) = change.value {
            let text = String::from_utf8_lossy(&value).into_owned();
            found.push((change.key, text));
        }
    });
    scanned.await.expect("the bucket is read");
    found.sort();
    found
}
