//! What BMCs send to a worker, and what workers send to a simulated BMC.
//! Logins are real up to the damaged message: client and BMC are both state machines without a socket.
use super::{Target, behind, mend};
use ironbeat_bmc_sim::{Bmc, Reply, Settings, fuzz as sim};
use ironbeat_ipmi::Suite;
use ironbeat_ipmi::fuzz::{self as ipmi, Did, Login};
use ironbeat_mutate::good::bmc::{SEL, sdr};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Messages of a login and one question in the session.
const STAGES: u8 = 4;
/// Room for the largest inventory answer, sealed.
const MAX_REPLY: usize = 400;

/// A login, and the BMC at its other end.
struct Dialogue {
    login: Login,
    bmc: Bmc,
    now: Duration,
}

impl Dialogue {
    /// With this suite, and so many messages answered.
    fn at(suite: u8, stage: u8) -> Self {
        let suite = if suite == 3 {
            Suite::Three
        } else {
            Suite::Seventeen
        };
        let mut dialogue = Self {
            login: Login::begin(Some(suite), "admin", "Rack-pw-1"),
            bmc: Bmc::new(Settings::default(), 1, 0),
            now: Duration::ZERO,
        };
        for _ in 0..stage {
            let answer = dialogue.answer();
            assert_eq!(dialogue.login.receive(&answer), Did::Advanced);
        }
        dialogue
    }

    /// What the BMC answers to what the login says now.
    fn answer(&mut self) -> Vec<u8> {
        let datagram = self.login.datagram();
        let replies = self.tell(&datagram);
        replies
            .into_iter()
            .next()
            .map(|reply| reply.bytes)
            .unwrap_or_default()
    }

    fn tell(&mut self, datagram: &[u8]) -> Vec<Reply> {
        self.now += Duration::from_millis(1);
        let (from, mut out) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), Vec::new());
        self.bmc.receive(self.now, from, datagram, &mut out);
        out
    }
}

/// Suite, stage, datagram.
fn parts(bytes: &[u8]) -> Option<(Dialogue, u8, &[u8])> {
    let [suite, stage, datagram @ ..] = bytes else {
        return None;
    };
    let stage = stage % STAGES;
    Some((Dialogue::at(*suite, stage), stage, datagram))
}

fn client(bytes: &[u8]) -> bool {
    let Some((mut dialogue, _, datagram)) = parts(bytes) else {
        return false;
    };
    let did = dialogue.login.receive(datagram);
    // Whatever came, the next honest answer is read too.
    let answer = dialogue.answer();
    dialogue.login.receive(&answer);
    did == Did::Advanced
}

fn server(bytes: &[u8]) -> bool {
    let Some((mut dialogue, stage, datagram)) = parts(bytes) else {
        return false;
    };
    let mut replies = dialogue.tell(datagram);
    if stage == STAGES - 1
        && let Some(sealed) = dialogue.login.seal(datagram)
    {
        replies.extend(dialogue.tell(&sealed));
    }
    assert!(replies.len() <= 4, "{} replies", replies.len());
    for reply in &replies {
        assert!(
            reply.bytes.len() <= MAX_REPLY,
            "{} bytes",
            reply.bytes.len()
        );
    }
    !replies.is_empty()
}

/// Commands of the machine's own system: network function, command, data behind its length; again and again.
fn commands(bytes: &[u8]) -> bool {
    let mut bmc = Bmc::new(Settings::default(), 1, 0);
    let (mut rest, mut now, mut good) = (bytes, Duration::ZERO, false);
    while let [netfn, command, length, after @ ..] = rest {
        let (data, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        now += Duration::from_secs(2);
        if let Some(answer) = bmc.in_band(now, *netfn, *command, data) {
            assert!((1..=100).contains(&answer.len()), "{answer:02x?}");
            good |= answer[0] == 0;
        }
    }
    good
}

fn ipmi15(bytes: &[u8]) -> bool {
    let mut login = Login::begin(None, "admin", "Rack-pw-1");
    let (mut rest, mut advanced) = (bytes, false);
    while let [length, after @ ..] = rest {
        let (datagram, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        advanced |= login.receive(datagram) == Did::Advanced;
    }
    advanced
}

/// An answer of a BMC: to whom, network function, number, command, completion code, data, and its checksums.
fn message(number: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![0x81, 0x1c, 0, 0x20, number << 2, command, 0];
    message.extend(data);
    message.push(0);
    mend::ipmi(&mut message);
    message
}

/// The same outside a session, behind the length of its datagram.
fn outside(command: u8, data: &[u8]) -> Vec<u8> {
    let message = message(0, command, data);
    let mut datagram = vec![0x06, 0, 0xff, 0x07];
    datagram.extend([0; 9]);
    datagram.push(message.len() as u8);
    datagram.extend(message);
    datagram
}

/// One Send Message inside another, with the answer inside.
fn nested() -> Vec<u8> {
    message(5, 0x34, &message(5, 0x34, &message(5, 1, &[0x20, 1])))
}

/// Seeds of the login's client: suite, stage, and what the BMC answers.
fn answers() -> Vec<Vec<u8>> {
    let of = |suite: u8, stage: u8| behind(&[suite, stage], Dialogue::at(suite, stage).answer());
    [3, 17]
        .iter()
        .flat_map(|suite| (0..STAGES).map(move |stage| of(*suite, stage)))
        .collect()
}

/// Seeds of the simulated BMC: suite, stage, and what the client sends; and messages for it to seal.
fn questions() -> Vec<Vec<u8>> {
    let of =
        |suite: u8, stage: u8| behind(&[suite, stage], Dialogue::at(suite, stage).login.datagram());
    let mut all: Vec<_> = [3, 17]
        .iter()
        .flat_map(|suite| (0..STAGES).map(move |stage| of(*suite, stage)))
        .collect();
    // Chassis status, SEL entry, SDR, FRU, LAN parameters, activate payload.
    let commands: [&[u8]; 6] = [
        &[0x00, 0x01],
        &[0x28, 0x43, 0, 0, 0, 0, 0, 0xff],
        &[0x28, 0x23, 1, 0, 0, 0, 0, 32],
        &[0x28, 0x11, 0, 0, 0, 32],
        &[0x30, 0x02, 1, 3, 0, 0],
        &[0x18, 0x48, 1, 1, 0, 0, 0, 0],
    ];
    for command in commands {
        let mut message = vec![0x20, command[0], 0, 0x81, 0x14, command[1]];
        message.extend(&command[2..]);
        message.push(0);
        mend::ipmi(&mut message);
        all.push(behind(&[3, STAGES - 1], message));
    }
    all
}

fn in_band() -> Vec<u8> {
    let commands: [&[u8]; 9] = [
        &[0x06, 0x01],
        &[0x00, 0x01],
        &[0x0a, 0x43, 0, 0, 0, 0, 0, 0xff],
        &[0x0a, 0x23, 1, 0, 0, 0, 0, 32],
        &[0x0a, 0x11, 0, 0, 0, 32],
        &[0x0c, 0x02, 1, 3, 0, 0],
        &[0x06, 0x2e, 0x0c],
        &[0x00, 0x08, 5, 0xa0, 4, 0, 0, 0],
        &[0x04, 0x2d, 1],
    ];
    let behind_length = |it: &&[u8]| [&it[..2], &[it.len() as u8 - 2], &it[2..]].concat();
    commands.iter().flat_map(behind_length).collect()
}

/// Compact sensor, FRU locator, controller.
fn records() -> Vec<Vec<u8>> {
    let mut compact = sdr();
    compact[3] = 0x02;
    compact.truncate(31);
    compact.extend([0xc3, b'P', b'S', b'U']);
    let mut locator = vec![0x12, 0, 0x51, 0x11, 13, 0x20, 0x05, 0x80];
    locator.extend([0, 0, 0x10, 0, 0, 0, 0, 0x83, 0x29, 0xdc, 0xa6]);
    let mut all = Settings::default().sdr;
    all.extend([sdr(), compact, locator]);
    all
}

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("rmcp-plus", "what a BMC answers to a login and in a session (RMCP+)", "conductor/ipmi/src/handshake.rs", client)
            .seeds(answers()),
        Target::new("ipmi-15", "what a BMC answers to a login by IPMI 1.5", "conductor/ipmi/src/v15.rs", ipmi15)
            .seeds([[
                outside(0x38, &[1, 0x16, 0, 0, 0, 0, 0, 0]),
                outside(0x39, &[7; 20]),
                outside(0x3a, &[2, 7, 0, 0, 0, 1, 0, 0, 0, 4]),
            ]
            .iter()
            .flat_map(|it| behind(&[it.len() as u8], it))
            .collect::<Vec<u8>>()]),
        Target::new("ipmi-outside", "what BMCs answer outside sessions: pongs, capabilities, cipher suites", "conductor/ipmi/src/presession.rs", ipmi::outside)
            .seeds([
                outside(0x38, &[1, 0x97, 0x24, 3, 0xa2, 2, 0, 0]),
                outside(0x54, &[1, 0xc0, 0x03, 0x01, 0x41, 0x81, 0xc1, 0x80, 0xa2, 0x02, 0x00, 0x02, 0x00]),
                behind(&[0x06, 0, 0xff, 0x06, 0, 0, 0x11, 0xbe, 0x40, 0x12, 0, 0x10], [0, 0, 0x11, 0xbe, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]),
            ]),
        Target::new("ipmi-session", "authentic messages in sessions of every kind", "conductor/ipmi/src/session.rs", ipmi::session)
            .seeds([message(5, 1, &[0x21, 0, 0x10]), message(5, 0x43, &[0xff; 18])])
            .mend(mend::ipmi),
        Target::new("ipmi-bridged", "answers of controllers behind a BMC", "conductor/ipmi/src/bridge.rs", ipmi::bridged)
            .seeds([nested(), message(5, 1, &[0x21])])
            .mend(mend::ipmi),
        Target::new("ipmi-answer", "data of answers to commands", "conductor/ipmi/src/chassis.rs", ipmi::answer)
            .seeds((0..9).map(|command| behind(&[command], [1, 0x85, 0xa0, 0x08, 0, 0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 64, 0, 0, 0]))),
        Target::new("sdr", "sensor data records, readings and thresholds", "conductor/ipmi/src/sdr.rs", ipmi::sdr)
            .seeds(records()),
        Target::new("sel", "entries of event logs", "conductor/ipmi/src/sel.rs", ipmi::sel)
            .seeds([SEL]),
        Target::new("fru", "inventories", "conductor/ipmi/src/fru.rs", ipmi::fru)
            .seeds([Settings::default().fru])
            .mend(mend::fru),
        Target::new("sol", "what comes down a serial console (SOL)", "conductor/ipmi/src/sol.rs", ipmi::sol)
            .seeds([b"\x0a\x01\x01\0\0\0hello \x08\x02\x02\x01\x30\0abcd\x04\x40\0\0\0\x40\x06\xff\x03\x02\x80\x10xy".to_vec()]),
        Target::new("simulated-bmc", "what a simulated BMC is sent, outside and in sessions", "tests/bmc/src/bmc.rs", server)
            .seeds(questions()),
        Target::new("simulated-commands", "commands to a simulated BMC", "tests/bmc/src/commands/mod.rs", commands)
            .seeds([in_band()]),
        Target::new("simulated-console", "what is typed into a simulated console", "tests/bmc/src/sol.rs", sim::console)
            .seeds([b"\x06\x01\0\0\0ls\x04\0\x01\x3c\0\x05\x02\x02\x3c\x10x".to_vec()]),
        Target::new("simulated-in-band", "the bytes of a machine's system interface", "tests/bmc/src/vm.rs", sim::frames)
            .seeds([vec![1, 0x18, 0x01, 0xe6, 0xa0, 0xff, 1, 0xa1, 0x08, 0x3f, 0xa1, 2, 0x18, 0xaa, 0xb0, 0x46, 0xa0]]),
        Target::new("simulated-faults", "plans of faults", "tests/bmc/src/plan.rs", sim::plan)
            .seeds(["# some\n100-199:silent@30s..60s\nall:loss=5%,delay=10ms\n*/3:restart@1m\n20%:jitter=1s\n"])
            .words(&["all:", "%:", "*/", "-", "@", "..", "ms", "=", ",", "restart", "silent", "\n"]),
    ]
}
