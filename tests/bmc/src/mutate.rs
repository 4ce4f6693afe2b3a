//! Whatever comes, over the LAN, in band or down the console, a simulated BMC neither panics nor grows; and the same seed
//! makes the same of the same datagrams. The single rules are tested where they are.
use crate::bmc::{Bmc, Reply};
use crate::dice::Dice;
use crate::rmcp;
use crate::settings::{Faults, Settings};
use crate::sol::Port;
use ironbeat_mutate::Mutator;
use std::net::SocketAddr;
use std::time::Duration;

const SEED: u64 = 20_261_121;
/// Room for the largest inventory answer, sealed.
const MAX_REPLY: usize = 400;

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 40_000))
}

/// Get Channel Authentication Capabilities, as ipmitool sends it.
const CAPABILITIES: [u8; 23] = [
    0x06, 0x00, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x20, 0x18, 0xc8, 0x81, 0x00, 0x38,
    0x8e, 0x04, 0xb5,
];

fn open_session() -> Vec<u8> {
    let mut body = vec![1, 4, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0];
    for (kind, algorithm) in [(0, 3), (1, 4), (2, 1)] {
        body.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    rmcp::plus(rmcp::OPEN_REQUEST, 0, 0, &body)
}

fn rakp_1(session: &[u8]) -> Vec<u8> {
    let mut body = vec![2, 0, 0, 0];
    body.extend(session);
    body.extend([7; 16]);
    body.extend([0x14, 0, 0, 5]);
    body.extend(b"admin");
    rmcp::plus(rmcp::RAKP_1, 0, 0, &body)
}

fn rakp_3(session: &[u8]) -> Vec<u8> {
    let body = [&[3, 0, 0, 0], session, &[9; 32]].concat();
    rmcp::plus(rmcp::RAKP_3, 0, 0, &body)
}

fn ask(bmc: &mut Bmc, now: Duration, bytes: &[u8]) -> Vec<Reply> {
    let mut out = Vec::new();
    bmc.receive(now, peer(), bytes, &mut out);
    out
}

#[test]
fn datagrams_of_any_kind_are_bounded_and_the_same_twice() {
    let (mut dice, mut mutator) = (Dice::new(SEED), Mutator::new(SEED));
    let faults = Faults {
        loss_permille: 50,
        duplicate_permille: 50,
        reorder_permille: 50,
        jitter: Duration::from_millis(10),
        ..Faults::default()
    };
    let mut twins = [(); 2].map(|()| {
        let mut bmc = Bmc::new(Settings::default(), SEED, 0);
        bmc.faults = faults.clone();
        bmc
    });
    let mut session = [1, 2, 3, 4];
    let mut keyed = 0;
    for round in 0..40_000u64 {
        let now = Duration::from_millis(round);
        let good = match dice.throw() % 4 {
            0 => CAPABILITIES.to_vec(),
            1 => open_session(),
            2 => rakp_1(&session),
            _ => rakp_3(&session),
        };
        // Some stay whole, or no session would come far.
        let bytes = match dice.throw() % 4 {
            0 => good,
            _ => mutator.mutate(&good),
        };
        let [answers, same] = twins.each_mut().map(|bmc| ask(bmc, now, &bytes));
        assert_eq!(answers, same, "seed {SEED}, round {round}");
        assert!(answers.len() <= 2, "seed {SEED}, round {round}");
        for reply in answers {
            assert!(
                reply.bytes.len() <= MAX_REPLY,
                "seed {SEED}, round {round}: {bytes:02x?}"
            );
            // The number of a session that was opened: RMCP, session header, then tag, status, level, our number.
            if let [_, _, _, _, 0x06, rmcp::OPEN_RESPONSE, ..] = reply.bytes[..]
                && reply.bytes.len() == 16 + 36
            {
                session = *reply.bytes[24..].first_chunk().expect("28 bytes are left");
            }
            keyed += u32::from(reply.bytes.get(5) == Some(&rmcp::RAKP_2));
        }
        assert!(
            twins[0].sessions.taken() <= twins[0].settings.sessions,
            "seed {SEED}, round {round}"
        );
    }
    assert!(keyed > 1000, "the mutants got far enough: {keyed}");
    assert_eq!(twins[0].active_sessions(), 0);
}

#[test]
fn commands_with_any_data_are_answered() {
    let mut dice = Dice::new(SEED);
    let mut bmc = Bmc::new(Settings::default(), SEED, 0);
    for round in 0..60_000u64 {
        let netfn = [0x00, 0x04, 0x06, 0x0a, 0x0c, dice.throw() as u8 & 0x3e];
        let netfn = netfn[dice.throw() as usize % netfn.len()];
        let command = dice.throw() as u8 & if dice.chance(500) { 0x0f } else { 0x7f };
        let data: [u8; 24] = dice.bytes();
        let data = &data[..dice.throw() as usize % data.len()];
        // Small numbers are the ones that mean something.
        let data: Vec<u8> = match dice.throw() % 3 {
            0 => data.to_vec(),
            _ => data.iter().map(|byte| byte & 0x07).collect(),
        };
        if round % 7 == 0 {
            bmc.log_event(dice.bytes(), Duration::from_millis(round));
        }
        // It is away for a second after each of its restarts, which come about often here.
        let now = Duration::from_secs(2 * round);
        let answer = bmc.in_band(now, netfn, command, &data);
        assert!(
            answer.is_some_and(|answer| (1..=100).contains(&answer.len())),
            "seed {SEED}, round {round}: {netfn:02x} {command:02x} {data:02x?}"
        );
        assert!(bmc.later.is_empty());
    }
}

#[test]
fn consoles_take_any_packet() {
    let mut dice = Dice::new(SEED);
    let mut port = Port::new(1);
    for round in 0..40_000u64 {
        let now = Duration::from_millis(10 * round);
        let header = [
            dice.throw() as u8 & 0x0f,
            dice.throw() as u8 & 0x0f,
            dice.throw() as u8,
            dice.throw() as u8,
        ];
        let typed = vec![b'x'; dice.throw() as usize % 300];
        let packet = [&header[..], &typed].concat();
        port.receive(&packet[..packet.len() - dice.throw() as usize % 4], now);
        let mut packets = 0;
        while let Some(packet) = port.poll(now) {
            assert!(packet.len() <= 64, "seed {SEED}, round {round}");
            packets += 1;
            assert!(packets <= 2, "seed {SEED}, round {round}");
        }
    }
}
