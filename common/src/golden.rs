//! Tests that pin the wire: golden bytes of every message, and the refusal of hostile ones.
//! What the messages mean is tested with the agent and the conductor.
use crate::codec::{DecodeError, MAX_MESSAGE_BYTES, VERSION, decode, encode};
use crate::collision::{Clash, Collision, Fate};
use crate::disk::DiskIdentity;
use crate::heartbeat::{
    Heartbeat, HeartbeatReply, Outcome, Progress, Rescued, Retry, Status, StepError, Written,
};
use crate::id::{BootId, Mac, NodeId, StepId};
use crate::image::{Checksum, Digest, ImageFormat};
use crate::inventory::{BootFacts, BootMode, Disk, Inventory, Nic, System};
use crate::login::{Login, LoginRequest, Renewal, RenewalReply, Signature, UserKey};
use crate::lookup::{BootTimings, Lookup, LookupReply};
use crate::measured::{EventLog, Measurements, Pcr};
use crate::order::{ConfigFile, Order, Rescue, WriteImage};
use core::fmt;
use data_encoding::HEXLOWER;
use ironbeat_mutate::Mutator;
use ironbeat_mutate::good::wire::{
    BEATS as GOLDEN_BEATS, BOOT_ENTRY as GOLDEN_BOOT_ENTRY, LOGIN_REQUEST as GOLDEN_LOGIN_REQUEST,
    LOOKUP as GOLDEN_LOOKUP, MEASUREMENTS as GOLDEN_MEASUREMENTS, RENEWAL as GOLDEN_RENEWAL,
    RESCUE as GOLDEN_RESCUE, WELCOME as GOLDEN_WELCOME, WELCOME_LOGIN as GOLDEN_WELCOME_LOGIN,
    WRITE as GOLDEN_WRITE,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const BOOT: BootId = BootId::from_bytes([0xb0; 16]);
const NODE: NodeId = NodeId::from_bytes([0x01; 16]);

fn disk() -> DiskIdentity {
    DiskIdentity {
        serial: Some("S1".into()),
        wwn: None,
        size_bytes: 5,
        name: "/dev/vda".into(),
    }
}

fn lookup() -> Lookup {
    Lookup {
        version: VERSION,
        boot: BOOT,
        agent: "0.1.0".into(),
        inventory: Inventory {
            system: System {
                serial: Some("X".into()),
                ..System::default()
            },
            disks: vec![Disk {
                name: "/dev/vda".into(),
                size_bytes: 5,
                serial: Some("S1".into()),
                ..Disk::default()
            }],
            nics: vec![Nic {
                name: "eth0".into(),
                mac: Mac::from_bytes([2, 0, 0, 0, 0, 1]),
                carrier: true,
                speed_mbps: None,
                driver: None,
                pci_address: None,
                pci_id: None,
                mtu: 1500,
                addresses: vec![],
                lldp: None,
            }],
            boot: BootFacts {
                mode: BootMode::Uefi,
                secure_boot: None,
                interface: None,
                kernel: "6.1".into(),
            },
            ..Inventory::default()
        },
        timings: BootTimings {
            agent_ms: 1,
            modules_ms: 2,
            network_ms: 3,
            inventory_ms: 4,
            lookup_ms: 5,
        },
        login: None,
        measured: None,
    }
}

fn login_request() -> LoginRequest {
    LoginRequest {
        key: UserKey::from_bytes([1; 32]),
        ticket: UserKey::from_bytes([2; 32]),
        signature: Signature([3; 64]),
        by_key: Some(Signature([4; 64])),
    }
}

fn measurements() -> Measurements {
    Measurements {
        pcrs: vec![Pcr {
            index: 4,
            sha256: Digest([7; 32]),
        }],
        log: EventLog::Read(vec![1, 2]),
    }
}

fn login() -> Login {
    Login {
        jwt: "e.y.s".into(),
        lives_secs: 9,
    }
}

fn rescue() -> Order {
    Order::Rescue(Rescue {
        urls: vec!["u".into()],
        checksum: Checksum::Sha256(Digest([7; 32])),
        stall_secs: 600,
        password_hash: Some("$6$s$h".into()),
        ssh_keys: vec!["k".into()],
    })
}

fn write_image() -> Order {
    Order::WriteImage(WriteImage {
        disk: disk(),
        urls: vec!["http://h/os.zst".into()],
        format: ImageFormat::Zstd,
        checksum: Checksum::Sha256(Digest([7; 32])),
        config_drive: vec![ConfigFile {
            path: "p".into(),
            content: "c".into(),
        }],
        stall_secs: 600,
        neutralise: vec![disk()],
    })
}

/// The golden bytes are hex; a protocol change shows here first.
fn check<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(message: T, golden: &str) {
    let bytes = encode(&message);
    let hex = HEXLOWER.encode(&bytes);
    assert_eq!(hex, golden, "{message:?}");
    assert_eq!(decode::<T>(&bytes).expect("our own bytes"), message);
}

fn beat(status: Status) -> Heartbeat {
    Heartbeat {
        version: VERSION,
        boot: BOOT,
        seq: 3,
        status,
        nudge: None,
    }
}

#[test]
fn every_message_has_its_golden_bytes() {
    for (message, golden) in GOLDEN_BEATS.iter().map(|(n, g)| (*n, *g)) {
        let status = match message {
            "idle" => Status::Idle,
            "running" => Status::Running {
                step: StepId(7),
                progress: Progress {
                    phase: "download".into(),
                    done: 9,
                    total: Some(10),
                    trouble: None,
                },
            },
            "troubled" => Status::Running {
                step: StepId(7),
                progress: Progress {
                    phase: "download".into(),
                    done: 9,
                    total: Some(10),
                    trouble: Some("t".into()),
                },
            },
            "done" => Status::Done {
                step: StepId(7),
                outcome: Outcome::Nothing,
            },
            "written" => Status::Done {
                step: StepId(7),
                outcome: Outcome::Written(Written {
                    image_bytes: 5,
                    millis: 6,
                    resumed: 1,
                    collisions: vec![],
                }),
            },
            "collided" => Status::Done {
                step: StepId(7),
                outcome: Outcome::Written(Written {
                    image_bytes: 5,
                    millis: 6,
                    resumed: 1,
                    collisions: vec![Collision {
                        disk: disk(),
                        partition: Some(2),
                        what: vec![
                            Clash::BootCode,
                            Clash::FileSystemLabel("l".into()),
                            Clash::Unread("w".into()),
                        ],
                        fate: Fate::Failed("no".into()),
                    }],
                }),
            },
            "rescued" => Status::Done {
                step: StepId(7),
                outcome: Outcome::Rescued(Rescued {
                    addresses: vec!["a".into()],
                    said: "k".into(),
                }),
            },
            "failed" => Status::Failed {
                step: StepId(7),
                error: StepError {
                    what: "no".into(),
                    retry: Retry::Useful,
                },
            },
            other => panic!("no message {other}"),
        };
        check(beat(status), golden);
    }
    check(lookup(), GOLDEN_LOOKUP);
    check(
        LookupReply::Wait { retry_secs: 9 },
        "a16457616974a16a72657472795f7365637309",
    );
    check(
        LookupReply::Welcome {
            node: NODE,
            heartbeat_timeout_secs: 300,
            login: None,
        },
        GOLDEN_WELCOME,
    );
    check(
        LookupReply::Welcome {
            node: NODE,
            heartbeat_timeout_secs: 300,
            login: Some(login()),
        },
        GOLDEN_WELCOME_LOGIN,
    );
    check(measurements(), GOLDEN_MEASUREMENTS);
    check(login_request(), GOLDEN_LOGIN_REQUEST);
    let renewal = Renewal {
        version: VERSION,
        boot: BOOT,
        key: UserKey::from_bytes([1; 32]),
    };
    check(renewal, GOLDEN_RENEWAL);
    check(
        RenewalReply::Login(login()),
        "a1654c6f67696ea2636a777465652e792e736a6c697665735f7365637309",
    );
    check(RenewalReply::Over, "644f766572");
    check(
        HeartbeatReply::Step {
            id: StepId(7),
            order: rescue(),
        },
        GOLDEN_RESCUE,
    );
    check(HeartbeatReply::Idle, "6449646c65");
    check(HeartbeatReply::LookUp, "664c6f6f6b5570");
    check(
        HeartbeatReply::Step {
            id: StepId(7),
            order: Order::Reboot,
        },
        "a16453746570a262696407656f72646572665265626f6f74",
    );
    check(
        HeartbeatReply::Step {
            id: StepId(7),
            order: write_image(),
        },
        GOLDEN_WRITE,
    );
    check(
        Order::Inspect { lldp_wait_secs: 32 },
        "a167496e7370656374a16e6c6c64705f776169745f736563731820",
    );
    check(
        Order::SetBootEntry {
            disk: disk(),
            label: "l".into(),
        },
        GOLDEN_BOOT_ENTRY,
    );
    check(
        Order::EraseMetadata { disks: vec![] },
        "a16d45726173654d65746164617461a1656469736b7380",
    );
    check(Order::PowerOff, "68506f7765724f6666");
}

#[test]
fn unknown_fields_are_ignored_and_missing_ones_are_not() {
    #[derive(Serialize)]
    struct Newer {
        version: u32,
        boot: BootId,
        seq: u64,
        status: Status,
        mood: &'static str,
    }
    let newer = encode(&Newer {
        version: 2,
        boot: BOOT,
        seq: 1,
        status: Status::Idle,
        mood: "fine",
    });
    assert_eq!(decode::<Heartbeat>(&newer).map(|beat| beat.seq), Ok(1));
    #[derive(Serialize)]
    struct Bare {
        version: u32,
    }
    let error = decode::<Heartbeat>(&encode(&Bare { version: 1 }))
        .unwrap_err()
        .to_string();
    assert!(error.contains("missing field"), "{error}");
}

#[test]
fn trailing_and_oversized_messages_are_refused() {
    let mut bytes = encode(&beat(Status::Idle));
    bytes.push(0);
    assert_eq!(
        decode::<Heartbeat>(&bytes),
        Err(DecodeError::TrailingBytes { bytes: 1 })
    );
    let huge = vec![0u8; MAX_MESSAGE_BYTES + 1];
    assert_eq!(
        decode::<Heartbeat>(&huge),
        Err(DecodeError::TooLong { bytes: huge.len() })
    );
}

#[test]
fn claimed_lengths_are_not_believed() {
    for hostile in [
        &[0x9b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], // an array of 2^62
        &[0x5b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],     // bytes
        &[0x7b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],     // text
        &[0xbb, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],     // a map
        &[0x81; 100_000],                                            // nesting
        &[],
    ] {
        assert!(decode::<Lookup>(hostile).is_err());
        assert!(decode::<HeartbeatReply>(hostile).is_err());
    }
}

#[test]
fn mutated_messages_never_panic() {
    let seeds = [
        encode(&lookup()),
        encode(&beat(Status::Idle)),
        encode(&write_image()),
    ];
    let mut mutator = Mutator::seeded("messages");
    let mut decoded = 0u32;
    for round in 0..60_000usize {
        let bytes = mutator.mutate(&seeds[round % seeds.len()]);
        decoded += u32::from(decode::<Lookup>(&bytes).is_ok());
        decoded += u32::from(decode::<Heartbeat>(&bytes).is_ok());
        decoded += u32::from(decode::<Order>(&bytes).is_ok());
    }
    assert!(
        decoded > 100,
        "mutants that still decode reach deeper: {decoded}"
    );
}

#[test]
fn formats_and_checksums_are_read_from_names() {
    for (name, format) in [
        ("os.raw", ImageFormat::Raw),
        ("os.img.gz", ImageFormat::Gzip),
        ("http://h/os.zst?token=a.gz", ImageFormat::Zstd),
        ("os", ImageFormat::Raw),
    ] {
        assert_eq!(ImageFormat::of_name(name), format, "{name}");
    }
    let hex = "07".repeat(32);
    for text in [hex.clone(), format!("sha256:{hex}")] {
        assert_eq!(text.parse(), Ok(Checksum::Sha256(Digest([7; 32]))));
    }
    assert!(
        format!("sha512:{}", "07".repeat(64))
            .parse::<Checksum>()
            .is_ok()
    );
    for wrong in [
        "",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:07",
        &"0g".repeat(32),
        &"é".repeat(32),
    ] {
        assert!(wrong.parse::<Checksum>().is_err(), "{wrong}");
    }
}
