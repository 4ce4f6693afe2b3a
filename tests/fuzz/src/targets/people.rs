//! What operators write, by the command line or by themselves, and who they say that they are.
//! What is done with a request is tried in the conductor.
use super::wire::CBOR_BYTES;
use super::{JSON, Target, behind};
use data_encoding::BASE64;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::jwt::{self, Claims, User};
use ironbeat_auth::refused::Refused;
use ironbeat_auth::roles::Role;
use ironbeat_auth::sealing::{self, Sealer};
use ironbeat_common::codec::encode;
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_common::image::Checksum;
use ironbeat_common::inventory::Disk;
use ironbeat_common::login::{Signature, UserKey};
use ironbeat_core::decide::PowerVerb;
use ironbeat_core::hints::Hints;
use ironbeat_core::id::{Incarnation, NodeName, OpId, WorkerId};
use ironbeat_core::node::{BmcAddress, CipherSuite, ImageSource, KgKey};
use ironbeat_core::time::Time;
use ironbeat_fleet::enrolment;
use ironbeat_ops::console::Attach;
use ironbeat_ops::reply::SealKey;
use ironbeat_ops::request::ENDPOINTS;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use std::fmt::{Debug, Display};
use std::str::FromStr;

const SHA256: &str = "sha256:0707070707070707070707070707070707070707070707070707070707070707";

/// Bodies of requests, by endpoint.
fn bodies() -> Vec<(&'static str, Value)> {
    let checksum: Checksum = SHA256.parse().expect("it is one");
    let image =
        json!({ "source": "https://h.example/os.raw.zst", "checksum": checksum, "format": "zstd" });
    let instance = json!({ "image": image, "hostname": "web1", "user_data": "#cloud-config" });
    let patch = json!({ "name": "web2", "root_device": { "size": ">= 100" }, "clear": ["serial"] });
    let power = PowerVerb::SoftOff {
        timeout_secs: Some(60),
        then_hard: true,
    };
    let access =
        json!({ "protocol": "ipmi", "address": "10.0.0.1", "username": "u", "password": "p" });
    let login = key(KeyPairType::User, 1).public_key();
    vec![
        ("node.enroll", json!(enrolment(7, "10.77.1.7"))),
        (
            "node.list",
            json!({ "limit": 500, "where": ["state=active", "name!=rack?-*"] }),
        ),
        ("node.show", json!({ "node": "web1" })),
        (
            "node.deploy",
            json!({ "node": "web1", "instance": instance }),
        ),
        ("node.set", json!({ "node": "web1", "patch": patch })),
        ("node.power", json!({ "node": "web1", "power": power })),
        (
            "node.boot_device",
            json!({ "node": "web1", "boot_device": "disk", "persistent": true }),
        ),
        ("bmc.check", json!({ "bmc": access })),
        ("bmc.raw", json!({ "node": "web1", "raw": "06 01" })),
        ("event.list", json!({ "last": 100 })),
        ("auth.revoke", json!({ "key": login, "order": token() })),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let place = |name: &str| ENDPOINTS.iter().position(|endpoint| endpoint.name == name);
    let both = |(name, body): (&str, Value)| {
        let place = place(name).expect("there is such an endpoint") as u8;
        let json = serde_json::to_vec(&body).expect("it is JSON");
        [
            behind(&[place, 0], json),
            behind(&[place, 1], encode(&body)),
        ]
    };
    bodies().into_iter().flat_map(both).collect()
}

/// A key that is the same in every process.
fn key(kind: KeyPairType, byte: u8) -> KeyPair {
    KeyPair::new_from_raw(kind, [byte; 32]).expect("any 32 bytes are a key")
}

fn token() -> String {
    let user = key(KeyPairType::User, 1).public_key();
    let account = key(KeyPairType::Account, 2);
    let claims = Claims {
        jti: String::new(),
        iat: 1_796_009_753,
        iss: String::new(),
        exp: Some(1_796_010_000),
        name: "anna".into(),
        sub: user,
        nats: User::of(account.public_key()),
    };
    jwt::sign(claims, &account).expect("the key has a private half")
}

fn creds() -> String {
    let seed = key(KeyPairType::User, 1).seed().expect("it has one");
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n\
         ------END USER NKEY SEED------\n",
        token()
    )
}

/// The operator's word for a signing key.
fn grant() -> String {
    let (signer, granted) = (key(KeyPairType::Operator, 4), key(KeyPairType::Account, 2));
    let (key, login) = (granted.public_key(), Some(token()));
    let grant = Grant::sign(
        Role::Bootstrap,
        &key,
        "ib.v1",
        login,
        1_796_009_753,
        &signer,
    );
    grant.expect("the key has a private half")
}

fn read_token(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let user = jwt::read::<User>(&text).inspect_err(|error| drop(error.to_string()));
    let grant = Grant::read(&text).inspect_err(|error| drop(error.to_string()));
    user.is_ok() || grant.is_ok()
}

fn read_creds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    Creds::parse(&text).is_ok_and(|creds| {
        drop((creds.who(), creds.account(), creds.inbox()));
        true
    })
}

/// `sealing.json` of a worker, and what it answers to a nonce.
fn sealing() -> [String; 2] {
    let seed = key(KeyPairType::User, 3).seed().expect("it has one");
    let role = key(KeyPairType::Account, 2);
    let signer = key(KeyPairType::User, 3).public_key();
    let text = format!("ironbeat: this key proves to which key secrets are sealed\n{signer}");
    let voucher = BASE64.encode(&role.sign(text.as_bytes()).expect("it has a private half"));
    let file = json!({ "seed": seed, "vouchers": { role.public_key(): voucher } }).to_string();
    let sealer = Sealer::parse(&file).expect("it is one");
    let answered = SealKey {
        key: Some(SEALED_TO.into()),
        proof: Some(
            sealer
                .prove(Some(SEALED_TO), NONCE)
                .expect("it has a private half"),
        ),
    };
    let answered = serde_json::to_string(&answered).expect("it is JSON");
    [file, answered]
}

const SEALED_TO: &str = "XBTB3WZKXX2LL7BJ6BRK3S6ONHHVFYQZSPUWBSPWU5RDVJNFKQOTVY2C";
const NONCE: &str = "n1";

fn read_sealing(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(answered) = serde_json::from_slice::<SealKey>(bytes) else {
        return Sealer::parse(&text).is_ok();
    };
    let believed = key(KeyPairType::Account, 2).public_key();
    match sealing::check(&answered, NONCE, &believed) {
        Ok(()) => assert_eq!(answered.key.as_deref(), Some(SEALED_TO)),
        Err(why) => drop(why.to_string()),
    }
    Sealer::parse(&text).is_ok() || answered.proof.is_some()
}

fn refused(bytes: &[u8]) -> bool {
    Refused::parse(&String::from_utf8_lossy(bytes)).is_some()
}

fn hints(bytes: &[u8]) -> bool {
    let Ok(hints) = serde_json::from_slice::<Hints>(bytes) else {
        return false;
    };
    if let Err(bad) = hints.check() {
        drop(bad.to_string());
        return false;
    }
    let disk = |gib: u64| Disk {
        name: "/dev/sda".into(),
        size_bytes: gib << 30,
        serial: Some("S1".into()),
        wwn: Some("naa.5000c500a1b2c3d4".into()),
        hctl: Some("0:0:0:0".into()),
        ..Disk::default()
    };
    let disks = [disk(0), disk(100), disk(1 << 30)];
    for disk in &disks {
        hints.fit(disk);
    }
    let chosen = hints.choose(&disks);
    if let Err(none) = chosen {
        drop(none.to_string());
    }
    true
}

fn attach(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Attach>(bytes).is_ok()
}

/// A word of a request or a record: which kind, and the text.
fn word(bytes: &[u8]) -> bool {
    let Some((kind, text)) = bytes.split_first() else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    match kind % 13 {
        0 => same::<NodeName>(text),
        1 => same::<OpId>(text),
        2 => same::<WorkerId>(text),
        3 => same::<BmcAddress>(text),
        4 => text.parse::<ImageSource>().is_ok(),
        5 => text.parse::<KgKey>().is_ok(),
        6 => text.parse::<CipherSuite>().is_ok(),
        7 => same::<Time>(text),
        8 => text.parse::<Incarnation>().is_ok(),
        9 => same::<Mac>(text),
        10 => same::<NodeId>(text) | same::<SystemUuid>(text),
        11 => text.parse::<Checksum>().is_ok(),
        _ => same::<UserKey>(text) | text.parse::<Signature>().is_ok(),
    }
}

/// What is shown of it is read as the same.
fn same<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) -> bool {
    let Ok(word) = text.parse::<T>() else {
        return false;
    };
    let shown = word.to_string();
    let again = shown.parse::<T>();
    assert!(
        again.as_ref().is_ok_and(|again| *again == word),
        "{again:?} of {shown:?}"
    );
    true
}

fn words() -> Vec<Vec<u8>> {
    let user = key(KeyPairType::User, 1).public_key();
    let texts = [
        "web1",
        "op-1",
        "w1",
        "bmc7.rack-2.example:6230",
        "https://h.example/os.zst?sig=1",
        "00ff",
        "17",
        "2026-11-30T03:35:53.500Z",
        "0000002a",
        "52:54:00:77:01:01",
        "a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5",
        SHA256,
        &user,
    ];
    (0..)
        .zip(texts)
        .map(|(kind, text)| behind(&[kind], text))
        .collect()
}

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("request", "requests of operators, to every endpoint (JSON and CBOR)", "conductor/src/front/body.rs", ironbeat::fuzz::front::request)
            .seeds(requests())
            .words(JSON)
            .max_bytes(CBOR_BYTES),
        Target::new("console-attach", "requests to watch a serial console", "conductor/ops/src/console.rs", attach)
            .seeds([r#"{"watcher":"anna","before":"w1"}"#])
            .words(JSON),
        Target::new("root-device-hints", "root device hints", "conductor/core/src/hints.rs", hints)
            .seeds([
                r#"{"size":">= 100","rotational":"false","serial":"S1"}"#,
                r#"{"size":"<range-in> [ 10 200 ]","wwn":"<or> naa.1 <or> naa.5000c500a1b2c3d4","hctl":"<in> 0:0"}"#,
                r#"{"size":"<or> 50 <or> 100","model":"s!= QEMU","name":"s== /dev/sda","by_path":"<all-in> a b"}"#,
            ])
            .words(&["<or>", "<in>", "<all-in>", "<range-in>", "[", "(", ")", "]", ">=", "s==", "s!=", "=", "\u{130}", "\":\""]),
        Target::new("words", "names, addresses, ids, times, checksums and keys", "conductor/core/src/id.rs", word)
            .seeds(words())
            .words(&["[::1]", ":", ".", "-", "%", "http://", "?", "sha512:", "U", "T", "Z", "+", "\u{ff10}", "::ffff:1.2.3.4"]),
        Target::new("token", "JSON Web Tokens of NATS logins", "conductor/auth/src/jwt.rs", read_token)
            .seeds([token(), grant()])
            .words(&[".", "eyJ", "=", "e30", "bnVsbA"]),
        Target::new("creds", "files with a login", "conductor/auth/src/creds.rs", read_creds)
            .seeds([creds()])
            .words(&["-----BEGIN USER NKEY SEED-----\n", "------END NATS USER JWT------\n", "---", "\n", "SU", "SA"]),
        Target::new("sealing", "proofs of the key that secrets are sealed to", "conductor/auth/src/sealing.rs", read_sealing)
            .seeds(sealing())
            .words(JSON),
        Target::new("nats-refusal", "what a NATS server refuses, in its words", "conductor/auth/src/refused.rs", refused)
            .seeds([r#"nats: Permissions Violation for Subscription to "ib.v1.lookup" using queue "conductor""#, r#"Permissions Violation for Publish to "ib.v1.api.bmc.raw""#])
            .words(&["Permissions Violation for ", " to \"", "\"", "Publish"]),
    ]
}
