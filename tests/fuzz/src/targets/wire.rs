//! What agents and conductors say to each other.
//! Each message that is understood is written again and read as the same.
use super::Target;
use ironbeat_common::codec::{decode, encode};
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Progress};
use ironbeat_common::id::BootId;
use ironbeat_common::login::{LoginRequest, Renewal, RenewalReply, signed_text};
use ironbeat_common::lookup::{Introduction, Lookup, LookupReply};
use ironbeat_common::order::Order;
use ironbeat_core::lookup::Identity;
use ironbeat_fleet::hardware;
use ironbeat_mutate::good::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::Ipv4Addr;

/// serde believes a list's length up to 1 MiB, and lists are in lists.
pub const CBOR_BYTES: usize = 16 << 20;

/// Names of fields and variants that open other ways.
const WORDS: &[&str] = &[
    "gversion",
    "dboot",
    "Idle",
    "Running",
    "Done",
    "Written",
    "Failed",
    "Welcome",
    "Wait",
    "WriteImage",
    "Reboot",
    "Inspect",
    "EraseMetadata",
    "sha512",
    "zstd",
    "gzip",
    "\u{7f}",
    "aaaaaaaaaaaaaaaa",
];

pub fn targets() -> Vec<Target> {
    vec![
        Target::new(
            "lookup",
            "lookups of machines (CBOR)",
            "common/src/lookup.rs",
            lookup,
        )
        .seeds([hex(wire::LOOKUP), large()])
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "lookup-reply",
            "answers to lookups (CBOR)",
            "common/src/lookup.rs",
            again::<LookupReply>,
        )
        .seeds(
            [
                wire::WELCOME,
                wire::WELCOME_LOGIN,
                "a16457616974a16a72657472795f7365637309",
            ]
            .map(hex),
        )
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "heartbeat",
            "heartbeats of agents (CBOR)",
            "common/src/heartbeat.rs",
            again::<Heartbeat>,
        )
        .seeds(wire::BEATS.map(|(_, beat)| hex(beat)))
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "step",
            "answers to heartbeats: steps with their orders (CBOR)",
            "common/src/order.rs",
            step,
        )
        .seeds(
            [
                wire::WRITE,
                wire::RESCUE,
                wire::BOOT_ENTRY,
                "6449646c65",
                "a167496e7370656374a16e6c6c64705f776169745f736563731820",
            ]
            .map(hex),
        )
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "progress",
            "progress of agents (CBOR)",
            "common/src/heartbeat.rs",
            again::<Progress>,
        )
        .seeds([progress()])
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "agent-login",
            "requests for logins, renewals and their answers (CBOR)",
            "common/src/login.rs",
            login,
        )
        .seeds(
            [
                wire::LOGIN_REQUEST,
                wire::RENEWAL,
                "a1654c6f67696ea2636a777465652e792e736a6c697665735f7365637309",
            ]
            .map(hex),
        )
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
        Target::new(
            "decode",
            "any message, as `ironbeat decode` shows it",
            "conductor/cli/src/decode.rs",
            ironbeat_cli::fuzz::message,
        )
        .seeds([
            hex(wire::WRITE),
            hex(wire::LOOKUP),
            b"{\"a\":1}".to_vec(),
            vec![0xc2, 0x42, 1, 0xff],
        ])
        .words(WORDS)
        .max_bytes(CBOR_BYTES),
    ]
}

fn lookup(bytes: &[u8]) -> bool {
    // A worker reads who it is first.
    let head = decode::<Introduction>(bytes);
    let whole = decode::<Lookup>(bytes);
    if let (Ok(head), Ok(whole)) = (&head, &whole) {
        assert_eq!(head.boot, whole.boot);
        let machine = Identity::of_machine(&whole.inventory);
        drop(machine);
    }
    if let Ok(head) = head {
        drop(Identity::of_marks(head.inventory));
    }
    again::<Lookup>(bytes)
}

fn step(bytes: &[u8]) -> bool {
    again::<HeartbeatReply>(bytes) | again::<Order>(bytes)
}

fn login(bytes: &[u8]) -> bool {
    if let Ok(request) = decode::<LoginRequest>(bytes) {
        drop(signed_text(&BootId::from_bytes([1; 16]), &request.key));
    }
    again::<LoginRequest>(bytes) | again::<Renewal>(bytes) | again::<RenewalReply>(bytes)
}

fn again<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let Ok(message) = decode::<T>(bytes) else {
        return false;
    };
    let written = encode(&message);
    let read = decode::<T>(&written).map(|read| encode(&read));
    assert!(read.as_ref() == Ok(&written), "{read:?} of {written:02x?}");
    true
}

/// Of a two-socket server.
fn large() -> Vec<u8> {
    encode(&hardware::lookup(
        7,
        Ipv4Addr::LOCALHOST.into(),
        BootId::from_bytes([1; 16]),
    ))
}

fn progress() -> Vec<u8> {
    encode(&Progress {
        phase: "download".into(),
        done: 9,
        total: Some(10),
        trouble: None,
    })
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
