//! The login against a BMC that shares this crate's arithmetic: known answers, refusals, damage.
//! The known answers were computed independently, with Python's hmac and hashlib, from the text of §13.
use super::*;
use ironbeat_mutate::Mutator;

const BMC_ID: u32 = 0x0a0b_0c0d;
const CONSOLE_ID: u32 = 0x0102_0304;
const BMC_RANDOM: [u8; 16] = [0xb0; 16];
const GUID: [u8; 16] = [0x6d; 16];

fn begin(suite: Suite, kg: Option<&str>) -> Handshake {
    let login = Login {
        user: "admin".into(),
        password: Secret::new("Rack-pw-1"),
        kg: kg.map(Secret::new),
        privilege: Privilege::Administrator,
        suite,
    };
    let fresh = Fresh {
        console_id: CONSOLE_ID,
        console_random: [0xc0; 16],
    };
    Handshake::begin(login, fresh)
}

/// What an honest BMC says to the message that `console` has ready.
fn honest(console: &Handshake, password: &str, kg: &str) -> Vec<u8> {
    let suite = console.login.suite;
    let sent = packet::parse(console.datagram()).unwrap();
    let mut answer = vec![sent.payload[0], 0, 0, 0];
    answer.extend(CONSOLE_ID.to_le_bytes());
    let name: [&[u8]; 2] = [&[0x14, 5], b"admin"];
    let (console_id, bmc_id) = (CONSOLE_ID.to_le_bytes(), BMC_ID.to_le_bytes());
    let kind = match sent.payload_type {
        OPEN_REQUEST => {
            answer[2] = 4;
            answer.extend(bmc_id);
            answer.extend(&sent.payload[8..32]);
            OPEN_RESPONSE
        }
        RAKP_1 => {
            let parts: [&[u8]; 7] = [
                &console_id,
                &bmc_id,
                &[0xc0; 16],
                &BMC_RANDOM,
                &GUID,
                name[0],
                name[1],
            ];
            answer.extend(BMC_RANDOM);
            answer.extend(GUID);
            answer.extend(suite.hmac(password.as_bytes(), &parts));
            RAKP_2
        }
        RAKP_3 => {
            let sik = suite.hmac(kg.as_bytes(), &[&[0xc0; 16], &BMC_RANDOM, name[0], name[1]]);
            let mut code = suite.hmac(&sik, &[&[0xc0; 16], &bmc_id, &GUID]);
            code.truncate(suite.check_len());
            answer.extend(code);
            RAKP_4
        }
        other => panic!("payload type {other:#x} in a login"),
    };
    packet::plain(kind, &answer)
}

fn refused(console: &Handshake, kind: u8, status: u8) -> Vec<u8> {
    let tag = packet::parse(console.datagram()).unwrap().payload[0];
    let mut answer = vec![tag, status, 0, 0];
    answer.extend(CONSOLE_ID.to_le_bytes());
    packet::plain(kind, &answer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn known_answers_of_both_suites() {
    // (suite, open session request, RAKP 1, RAKP 3, a sealed Get Chassis Status)
    for (suite, open, rakp_1, rakp_3, sealed) in KNOWN {
        let mut console = begin(suite, None);
        assert_eq!(hex(console.datagram()), open, "{suite:?}");
        for expected in [rakp_1, rakp_3] {
            let answer = honest(&console, "Rack-pw-1", "Rack-pw-1");
            assert!(matches!(console.receive(&answer), Ok(Progress::Next)));
            assert_eq!(hex(console.datagram()), expected, "{suite:?}");
        }
        let answer = honest(&console, "Rack-pw-1", "Rack-pw-1");
        let Ok(Progress::Open(mut session)) = console.receive(&answer) else {
            panic!("{suite:?}: not open after RAKP 4");
        };
        let status = crate::message::Request::new(0x00, 0x01, &[]);
        let bytes = session.seal_with(packet::IPMI, &status.encode(1), [0x49; 16]);
        assert_eq!(hex(&bytes), sealed, "{suite:?}");
    }
}

#[test]
fn the_bmcs_own_key_opens_and_another_does_not() {
    for (kg, opens) in [("secret-kg", true), ("Rack-pw-1", false)] {
        let mut console = begin(Suite::Seventeen, Some("secret-kg"));
        for _ in 0..2 {
            let answer = honest(&console, "Rack-pw-1", kg);
            assert!(matches!(console.receive(&answer), Ok(Progress::Next)));
        }
        let answer = honest(&console, "Rack-pw-1", kg);
        match console.receive(&answer) {
            Ok(Progress::Open(_)) => assert!(opens),
            Err(ErrorKind::WrongKey { .. }) => assert!(!opens),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn another_password_is_noticed_and_the_slot_given_back() {
    let mut console = begin(Suite::Three, None);
    assert_eq!(console.abort(), None);
    let answer = honest(&console, "another", "another");
    assert!(matches!(console.receive(&answer), Ok(Progress::Next)));
    // There is nothing to answer yet, and it crashes some servers.
    assert_eq!(console.abort(), None);
    let answer = honest(&console, "another", "another");
    let error = console.receive(&answer).unwrap_err();
    assert_eq!(
        error,
        ErrorKind::WrongPassword {
            user: "admin".into()
        }
    );
    let abort = console.abort().unwrap();
    assert_eq!(
        packet::parse(&abort).unwrap().payload,
        [3, WRONG_CHECK, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a]
    );
}

#[test]
fn an_answer_with_another_suite_refuses_the_proposed_one() {
    let mut console = begin(Suite::Seventeen, None);
    let answer = honest(&begin(Suite::Three, None), "Rack-pw-1", "Rack-pw-1");
    assert_eq!(
        console.receive(&answer).unwrap_err(),
        ErrorKind::CipherRefused("17".into())
    );
    assert_eq!(console.abort(), None);
}

#[test]
fn a_refusal_means_what_its_stage_says() {
    let user = || "admin".to_string();
    let low = ErrorKind::PrivilegeTooLow {
        user: user(),
        privilege: "ADMINISTRATOR",
    };
    let refused_suite = ErrorKind::CipherRefused("17".into());
    for (stage, status, expected) in [
        (0, 0x01, ErrorKind::OutOfSessions),
        (0, 0x04, refused_suite.clone()),
        (0, 0x11, refused_suite.clone()),
        (0, 0x12, refused_suite),
        (0, 0x09, low.clone()),
        (1, 0x0d, ErrorKind::NoSuchUser { user: user() }),
        (1, 0x0a, low),
        (1, 0x0f, ErrorKind::WrongPassword { user: user() }),
        (1, 0x12, ErrorKind::Refused(0x12)),
        (2, 0x0f, ErrorKind::SessionLost),
        (2, 0x08, ErrorKind::SessionLost),
        (2, 0x77, ErrorKind::Refused(0x77)),
    ] {
        let mut console = begin(Suite::Seventeen, None);
        for _ in 0..stage {
            let answer = honest(&console, "Rack-pw-1", "Rack-pw-1");
            assert!(console.receive(&answer).is_ok());
        }
        let answer = refused(&console, OPEN_RESPONSE + 2 * stage, status);
        assert_eq!(
            console.receive(&answer).unwrap_err(),
            expected,
            "stage {stage} {status:#x}"
        );
    }
}

#[test]
fn a_bmc_that_forgets_a_login_for_its_user_is_as_good_as_silent() {
    let mut console = begin(Suite::Three, None);
    let answer = honest(&console, "Rack-pw-1", "Rack-pw-1");
    assert!(console.receive(&answer).is_ok());
    let refusal = |id: u32| {
        let mut answer = vec![2, UNKNOWN_SESSION, 0, 0];
        answer.extend(id.to_le_bytes());
        packet::plain(RAKP_2, &answer)
    };
    assert!(matches!(
        console.receive(&refusal(0)),
        Ok(Progress::Ignored)
    ));
    assert_eq!(
        console.silence(5, Duration::from_secs(1)),
        ErrorKind::SilentLogin {
            user: "admin".into()
        }
    );
    // It knows whose login it was, so we can begin again.
    assert_eq!(
        console.receive(&refusal(CONSOLE_ID)).unwrap_err(),
        ErrorKind::SessionLost
    );
}

#[test]
fn a_late_duplicate_is_ignored() {
    let mut console = begin(Suite::Three, None);
    let open = honest(&console, "Rack-pw-1", "Rack-pw-1");
    assert!(matches!(console.receive(&open), Ok(Progress::Next)));
    assert!(matches!(console.receive(&open), Ok(Progress::Ignored)));
    let answer = honest(&console, "Rack-pw-1", "Rack-pw-1");
    assert!(matches!(console.receive(&answer), Ok(Progress::Next)));
    assert!(matches!(console.receive(&answer), Ok(Progress::Ignored)));
}

#[test]
fn mutants_never_panic_and_never_open_a_session_with_another_key() {
    let mut mutator = Mutator::seeded("handshake");
    for round in 0..3_000 {
        let suite = [Suite::Three, Suite::Seventeen][round % 2];
        let mut console = begin(suite, None);
        // A message is damaged, then the honest one follows, as after a forgery.
        for _ in 0..3 {
            let good = honest(&console, "Rack-pw-1", "Rack-pw-1");
            let bad = mutator.mutate(&good);
            match console.receive(&bad) {
                Ok(Progress::Ignored) => {}
                Ok(Progress::Next) | Err(_) => break,
                Ok(Progress::Open(_)) => {
                    let meaning = |bytes: &[u8]| bytes[20..].to_vec();
                    assert!(meaning(&bad).starts_with(&meaning(&good)[..4 + suite.check_len()]));
                    break;
                }
            }
            let _ = console.receive(&good);
        }
    }
}

#[test]
fn a_login_longer_than_any_bmc_stores_is_refused_before_it_is_sent() {
    let fits = |user: usize, password: usize, kg: usize| {
        let secret = |len| Secret::new(vec![b'x'; len]);
        Login {
            user: "u".repeat(user),
            password: secret(password),
            kg: Some(secret(kg)),
            privilege: Privilege::User,
            suite: Suite::Three,
        }
        .too_long()
        .is_none()
    };
    assert!(fits(16, 20, 20));
    assert!(!fits(17, 20, 20) && !fits(16, 21, 20) && !fits(16, 20, 21));
}

/// A suite, the console's three messages and its first sealed one, with an IV of 49h.
type Known = (
    Suite,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);
const KNOWN: [Known; 2] = [
    (
        Suite::Three,
        "0600ff0706100000000000000000200001040000040302010000000801000000010000080100000002000008\
         01000000",
        "0600ff07061200000000000000002100020000000d0c0b0ac0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c014000005\
         61646d696e",
        "0600ff07061400000000000000001c00030000000d0c0b0ac3b6effaa577afc5a5bee423cc3750643256f069",
        "0600ff0706c00d0c0b0a010000002000494949494949494949494949494949490e29ddfb05082fa17acad4aa\
         b607538affff020734d830dd20b8f2baba7608cb",
    ),
    (
        Suite::Seventeen,
        "0600ff0706100000000000000000200001040000040302010000000803000000010000080400000002000008\
         01000000",
        "0600ff07061200000000000000002100020000000d0c0b0ac0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c014000005\
         61646d696e",
        "0600ff07061400000000000000002800030000000d0c0b0a7de6bfea24a940677d65957fcb5ed69ab1757d48\
         7a8b585a7db00fa7349af8a9",
        "0600ff0706c00d0c0b0a010000002000494949494949494949494949494949496e7cff38f9d424ad9fbc296d\
         d93af821ffff020768ea3e5fcf1194a2095af203c8814a45",
    ),
];
