//! Tests that pin the wire: golden bytes of every message, and the refusal of hostile ones.
//! What the messages mean is tested with the agent and the conductor.
use crate::codec::{DecodeError, MAX_MESSAGE_BYTES, VERSION, decode, encode};
use crate::collision::{Clash, Collision, Fate};
use crate::disk::DiskIdentity;
use crate::heartbeat::{
    Heartbeat, HeartbeatReply, Outcome, Progress, Retry, Status, StepError, Written,
};
use crate::id::{BootId, Mac, NodeId, StepId};
use crate::image::{Checksum, Digest, ImageFormat};
use crate::inventory::{BootFacts, BootMode, Disk, Inventory, Nic, System};
use crate::login::{Login, LoginRequest, Renewal, RenewalReply, Signature, UserKey};
use crate::lookup::{BootTimings, Lookup, LookupReply};
use crate::order::{ConfigFile, Order, WriteImage};
use core::fmt;
use data_encoding::HEXLOWER;
use ironbeat_mutate::Mutator;
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
    }
}

fn login_request() -> LoginRequest {
    LoginRequest {
        key: UserKey::from_bytes([1; 32]),
        ticket: UserKey::from_bytes([2; 32]),
        signature: Signature([3; 64]),
    }
}

fn login() -> Login {
    Login {
        jwt: "e.y.s".into(),
        lives_secs: 9,
    }
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

const GOLDEN_BEATS: [(&str, &str); 6] = [
    (
        "idle",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "3062306373657103667374617475736449646c65",
        ),
    ),
    (
        "running",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "306230637365710366737461747573a16752756e6e696e67a26473746570076870726f6772657373a365706861736568646f",
            "776e6c6f616464646f6e650965746f74616c0a",
        ),
    ),
    (
        "done",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "306230637365710366737461747573a164446f6e65a2647374657007676f7574636f6d65674e6f7468696e67",
        ),
    ),
    (
        "written",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "306230637365710366737461747573a164446f6e65a2647374657007676f7574636f6d65a1675772697474656ea36b696d61",
            "67655f627974657305666d696c6c69730667726573756d656401",
        ),
    ),
    (
        "collided",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "306230637365710366737461747573a164446f6e65a2647374657007676f7574636f6d65a1675772697474656ea46b696d61",
            "67655f627974657305666d696c6c69730667726573756d6564016a636f6c6c6973696f6e7381a4646469736ba36673657269",
            "616c6253316a73697a655f627974657305646e616d65682f6465762f76646169706172746974696f6e026477686174836962",
            "6f6f745f636f6465a17166696c655f73797374656d5f6c6162656c616ca166756e7265616461776466617465a1666661696c6564626e6f",
        ),
    ),
    (
        "failed",
        concat!(
            "a46776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
            "306230637365710366737461747573a1664661696c6564a2647374657007656572726f72a26477686174626e6f6572657472",
            "796655736566756c",
        ),
    ),
];
const GOLDEN_LOOKUP: &str = concat!(
    "a56776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
    "306230656167656e7465302e312e3069696e76656e746f7279a76673797374656da26673657269616c6158686669726d7761",
    "7265a063637075a56c61726368697465637475726560656d6f64656c6065636f756e740067736f636b6574730065666c6167",
    "7380666d656d6f7279a26b746f74616c5f627974657300676d6f64756c657380656469736b7381a8646e616d65682f646576",
    "2f7664616a73697a655f627974657305746c6f676963616c5f736563746f725f62797465730075706879736963616c5f7365",
    "63746f725f6279746573006673657269616c6253316a726f746174696f6e616cf46972656d6f7661626c65f469726561645f",
    "6f6e6c79f4646e69637381a5646e616d656465746830636d61637130323a30303a30303a30303a30303a3031676361727269",
    "6572f5636d74751905dc696164647265737365738064626f6f74a2646d6f64656475656669666b65726e656c63362e316870",
    "726f626c656d73806774696d696e6773a5686167656e745f6d73016a6d6f64756c65735f6d73026a6e6574776f726b5f6d73",
    "036c696e76656e746f72795f6d7304696c6f6f6b75705f6d7305",
);
const GOLDEN_WELCOME_LOGIN: &str = concat!(
    "a16757656c636f6d65a3646e6f6465782430313031303130312d303130312d303130312d303130312d303130313031303130",
    "313031766865617274626561745f74696d656f75745f7365637319012c656c6f67696ea2636a777465652e792e736a6c6976",
    "65735f7365637309",
);
const GOLDEN_LOGIN_REQUEST: &str = concat!(
    "a3636b6579783855414151434149424145415143414942414541514341494241454151434149424145415143414942414541",
    "514341494241454151434c4c35667469636b6574783855414241454151434149424145415143414942414541514341494241",
    "45415143414942414541514341494241454151434149424146334432697369676e6174757265788030333033303330333033",
    "3033303330333033303330333033303330333033303330333033303330333033303330333033303330333033303330333033",
    "3033303330333033303330333033303330333033303330333033303330333033303330333033303330333033303330333033",
    "303330333033303330333033303330333033",
);
const GOLDEN_RENEWAL: &str = concat!(
    "a36776657273696f6e0164626f6f74782462306230623062302d623062302d623062302d623062302d623062306230623062",
    "306230636b657978385541415143414942414541514341494241454151434149424145415143414942414541514341494241",
    "4541514341494241454151434c4c35",
);
const GOLDEN_WELCOME: &str = concat!(
    "a16757656c636f6d65a2646e6f6465782430313031303130312d303130312d303130312d303130312d303130313031303130",
    "313031766865617274626561745f74696d656f75745f7365637319012c",
);
const GOLDEN_WRITE: &str = concat!(
    "a16453746570a262696407656f72646572a16a5772697465496d616765a7646469736ba36673657269616c6253316a73697a",
    "655f627974657305646e616d65682f6465762f7664616475726c73816f687474703a2f2f682f6f732e7a737466666f726d61",
    "74647a73746468636865636b73756da166536861323536784030373037303730373037303730373037303730373037303730",
    "3730373037303730373037303730373037303730373037303730373037303730373037303730376c636f6e6669675f647269",
    "766581a26470617468617067636f6e74656e7461636a7374616c6c5f736563731902586a6e65757472616c69736581a36673",
    "657269616c6253316a73697a655f627974657305646e616d65682f6465762f766461",
);
const GOLDEN_BOOT_ENTRY: &str = concat!(
    "a16c536574426f6f74456e747279a2646469736ba36673657269616c6253316a73697a655f627974657305646e616d65682f",
    "6465762f766461656c6162656c616c",
);

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
