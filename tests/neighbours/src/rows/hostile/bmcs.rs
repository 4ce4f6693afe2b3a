//! A BMC that lies, or a middle-man before one: it damages, weakens and forges what it sends to the worker's IPMI client.
//! The honest BMC behind it is the simulator.
use crate::book::{Book, Got};
use crate::lab::Lab;
use crate::site::{BMC_PASSWORD, Said};
use anyhow::{Context, Result, ensure};
use ironbeat_mutate::Mutator;
use ironbeat_rack::ports::PortLease;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// RMCP+ payloads (IPMI 2.0 §13.27.3).
const OPEN_RESPONSE: u8 = 0x11;
const RAKP_2: u8 = 0x13;
const RAKP_3: u8 = 0x14;
const RAKP_4: u8 = 0x15;
/// Where they are in a datagram: kind, then session, sequence and length, then the payload.
const KIND_AT: usize = 5;
const PAYLOAD_AT: usize = 16;
/// Datagrams of the client that are kept.
const KEPT: usize = 10_000;

/// What it sends in place of an honest datagram.
type Lie = dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send;

/// Stands between a worker and a BMC.
struct MiddleMan {
    address: SocketAddr,
    /// What the worker has sent.
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl MiddleMan {
    fn start(bmc: SocketAddr, mut lie: Box<Lie>) -> Result<Self> {
        let port = PortLease::take()?.keep();
        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).context("listen as a BMC")?;
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        far.connect(bmc)?;
        const LOOK: Duration = Duration::from_millis(2);
        near.set_read_timeout(Some(LOOK))?;
        far.set_read_timeout(Some(LOOK))?;
        let address = near.local_addr()?;
        let sent: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (keeps, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            let mut peer = None;
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((count, from)) = near.recv_from(&mut bytes) {
                    peer = Some(from);
                    let mut kept = keeps.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < KEPT {
                        kept.push(bytes[..count].to_vec());
                    }
                    // It may be gone for a moment.
                    let _ = far.send(&bytes[..count]);
                }
                while let (Ok(count), Some(peer)) = (far.recv(&mut bytes), peer) {
                    for datagram in lie(&bytes[..count]) {
                        let _ = near.send_to(&datagram, peer);
                    }
                }
            }
        });
        Ok(Self {
            address,
            sent,
            stop,
        })
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for MiddleMan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn is(datagram: &[u8], kind: u8) -> bool {
    datagram.get(4) == Some(&0x06) && datagram.get(KIND_AT).is_some_and(|it| it & 0x3f == kind)
}

/// Turns the last byte of these payloads.
fn flips(kind: u8) -> Box<Lie> {
    Box::new(move |datagram| {
        let mut datagram = datagram.to_vec();
        if is(&datagram, kind)
            && let Some(last) = datagram.last_mut()
        {
            *last ^= 1;
        }
        vec![datagram]
    })
}

/// Says that it can do IPMI 1.5 with a plain password, and nothing better (§22.13).
fn weakens(datagram: &[u8]) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    // Headers of 14 bytes; then addresses, function and checksum; then the command and the completion code.
    const COMMAND_AT: usize = 19;
    if datagram.get(4) == Some(&0)
        && datagram.get(COMMAND_AT) == Some(&0x38)
        && datagram.len() > COMMAND_AT + 9
    {
        datagram[COMMAND_AT + 3] = 0x11;
        datagram[COMMAND_AT + 5] = 0x01;
        let end = datagram.len() - 1;
        let sum = datagram[COMMAND_AT - 2..end]
            .iter()
            .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        datagram[end] = sum.wrapping_neg();
    }
    datagram
}

/// Agrees to a session without any authentication (§13.18).
fn agrees_to_none(datagram: &[u8]) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    if is(&datagram, OPEN_RESPONSE) && datagram.len() >= PAYLOAD_AT + 36 {
        for part in 0..3 {
            datagram[PAYLOAD_AT + 12 + 8 * part + 4] = 0;
        }
    }
    datagram
}

/// RMCP's own four bytes are authenticated by nobody, nor is what follows the end (IPMI 2.0 §13.1.3, §13.6): an answer that is
/// whole but for them is the BMC's.
fn damaged(by: &mut Mutator, datagram: &[u8]) -> Vec<u8> {
    const RMCP: usize = 4;
    let whole = datagram.get(RMCP..).unwrap_or_default();
    loop {
        let mutant = by.mutate(datagram);
        let rest = mutant.get(RMCP..);
        if whole.is_empty() || !rest.is_some_and(|rest| rest.starts_with(whole)) {
            return mutant;
        }
    }
}

fn check(lab: &Lab, man: &MiddleMan) -> Result<Said> {
    let address = man.address.to_string();
    lab.site
        .try_cli("olga", &["bmc", "check", "--bmc", &address])
}

/// What a worker must never send to anybody: the password, in the clear or in an old session, or a proof of it to one who has
/// not proved that he knows it.
fn given_away(sent: &[Vec<u8>], proof_is_due: bool) -> Option<String> {
    let has = |datagram: &Vec<u8>| {
        let words = BMC_PASSWORD.as_bytes();
        datagram.windows(words.len()).any(|it| it == words)
    };
    if sent.iter().any(has) {
        return Some("the password in the clear".into());
    }
    let old = |datagram: &Vec<u8>| datagram.get(4).is_some_and(|kind| ![0, 6].contains(kind));
    if sent.iter().any(old) {
        return Some("a session of IPMI 1.5".into());
    }
    let proves =
        |datagram: &Vec<u8>| is(datagram, RAKP_3) && datagram.get(PAYLOAD_AT + 1) == Some(&0);
    (!proof_is_due && sent.iter().any(proves)).then(|| "a proof of the password".into())
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let bmc = lab.site.bmcs.address(1);
    let honest = MiddleMan::start(bmc, Box::new(|datagram| vec![datagram.to_vec()]))?;
    let said = check(lab, &honest)?;
    let good = said.ok.then_some(()).context(said.out + &said.err);
    let good = good.and_then(|()| {
        let sent = honest.sent();
        let proves = sent.iter().any(|datagram| is(datagram, RAKP_3));
        ensure!(proves, "nobody logged in");
        Ok(())
    });
    let (control, ()) = book.control("an honest middle-man is let pass", good)?;
    drop(honest);
    let mut damage = Mutator::seeded("neighbours: BMC");
    let mut noise = Mutator::seeded("neighbours: noise");
    let mut kept: Option<Vec<u8>> = None;
    let lies: Vec<(&str, bool, Box<Lie>)> = vec![
        (
            "to say that it has IPMI 1.5 with plain passwords alone",
            true,
            Box::new(|it| vec![weakens(it)]),
        ),
        (
            "to agree to a session without authentication",
            false,
            Box::new(|it| vec![agrees_to_none(it)]),
        ),
        (
            "to log in without knowing the password (RAKP 2)",
            false,
            flips(RAKP_2),
        ),
        (
            "to log in without knowing the password (RAKP 4)",
            true,
            flips(RAKP_4),
        ),
        (
            "to answer in a session that it does not have the keys of",
            true,
            flips(0),
        ),
        (
            "to damage each of its answers",
            true,
            Box::new(move |it| vec![damaged(&mut damage, it)]),
        ),
        (
            "to send a hundred damaged answers for each",
            true,
            Box::new(move |it| (0..100).map(|_| damaged(&mut noise, it)).collect()),
        ),
        (
            "to send 60 KB for each answer",
            true,
            Box::new(|it| vec![it.repeat(60_000 / it.len().max(1))]),
        ),
        (
            "to send its first answer again and again",
            true,
            Box::new(move |it| vec![kept.get_or_insert_with(|| it.to_vec()).clone()]),
        ),
    ];
    for (tries, proof_is_due, lie) in lies {
        // A client that asks for no capabilities cannot be lied to about them: then the honest rest is no success of a lie.
        let harmless = tries.contains("IPMI 1.5");
        let man = MiddleMan::start(bmc, lie)?;
        let said = check(lab, &man)?;
        let gave = given_away(&man.sent(), proof_is_due);
        let believed = (said.ok && !harmless).then(|| "it was believed".to_string());
        let words = said.out + &said.err;
        let told = words.lines().find(|line| {
            let line = line.to_lowercase();
            [
                "no ",
                "not ",
                "wrong",
                "bad",
                "malformed",
                "silent",
                "error",
                "answer",
            ]
            .iter()
            .any(|it| line.contains(it))
        });
        let told = told.map(|line| format!("bmc check: {}", line.trim()));
        book.attempt(&control, tries, Got::of(gave.or(believed)), told);
    }
    // And the worker speaks with honest ones as before.
    let (_, _) = book.control(
        "the honest BMC afterwards",
        lab.site.cli("olga", &["bmc", "check", "two"]),
    )?;
    Ok(())
}
