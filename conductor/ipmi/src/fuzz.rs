//! Entrances to this client's readers of what BMCs send, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
use crate::bridge::{self, Bridge, Verdict};
use crate::config::BmcConfig;
use crate::crypto::Suite;
use crate::either::{EitherHandshake, EitherSession};
use crate::handshake::Fresh;
use crate::message::{APP, Request, parse_response};
use crate::packet::{self, IPMI};
use crate::presession;
use crate::received::{Incoming, Progress};
use crate::sdr::{self, Sdr};
use crate::secret::Secret;
use crate::session::{Keys, Session};
use crate::sol::Sol;
use crate::{boot, chassis, device, fru, lan, sel, sensor, users, v15};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A login to a BMC, with the same random numbers each time.
pub struct Login {
    handshake: EitherHandshake,
    session: Option<EitherSession>,
}

/// What a datagram did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    Nothing,
    /// [`Login::datagram`] is another one now.
    Advanced,
    Failed,
}

impl Login {
    /// By RMCP+ with this suite; none: by IPMI 1.5.
    ///
    /// # Panics
    /// When name or password are longer than a BMC takes.
    pub fn begin(suite: Option<Suite>, user: &str, password: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 623));
        let config = BmcConfig::new(address, user, Secret::new(password));
        let fresh = Fresh {
            console_id: 0x0102_0304,
            console_random: [0xc0; 16],
        };
        let handshake = EitherHandshake::begin(&config, suite, fresh).ok();
        Self {
            handshake: handshake.expect("they are short"),
            session: None,
        }
    }

    /// What is to be sent now: a message of the login, or a question in the session.
    pub fn datagram(&mut self) -> Vec<u8> {
        match &mut self.session {
            None => self.handshake.datagram().to_vec(),
            Some(session) => session.seal(&Request::new(APP, 1, &[]).encode(5)),
        }
    }

    /// A message of the open session, with its signature.
    pub fn seal(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        self.session.as_mut().map(|session| session.seal(message))
    }

    pub fn receive(&mut self, datagram: &[u8]) -> Did {
        if let Some(session) = &mut self.session {
            return match session.open(datagram) {
                Ok(Some(_)) => Did::Advanced,
                Ok(None) => Did::Nothing,
                Err(_) => Did::Failed,
            };
        }
        match self.handshake.receive(datagram) {
            Ok(Progress::Ignored) => Did::Nothing,
            Ok(Progress::Next) => Did::Advanced,
            Ok(Progress::Open(session)) => {
                self.session = Some(session);
                Did::Advanced
            }
            Err(error) => {
                drop(error.to_string());
                drop(self.handshake.abort());
                Did::Failed
            }
        }
    }
}

/// Datagrams outside a session: presence, capabilities, anything.
pub fn outside(bytes: &[u8]) -> bool {
    let noise = presession::is_noise(bytes);
    let plain = presession::plain_response(bytes);
    let plus = packet::parse(bytes);
    if let Ok(outer) = &plus {
        assert!(outer.payload.len() <= bytes.len());
        for code in [12, 16] {
            let _ = packet::split_signature(outer, code);
        }
    }
    let data = plain.as_ref().map_or(bytes, |plain| &plain.data);
    let _ = presession::parse_auth_capabilities(data);
    assert!(presession::parse_cipher_suites(data).len() <= data.len());
    assert!(!noise || (plain.is_none() && plus.is_err()));
    !noise
}

/// A message in an open session, authentic because it is sealed here, and the same bytes as a datagram of their own.
pub fn session(bytes: &[u8]) -> bool {
    let mut understood = false;
    for suite in [Suite::Three, Suite::Seventeen] {
        let open = || Session::new(suite, 7, 7, Keys::derive(suite, &[3; 32]));
        let mut session = open();
        drop(session.open(bytes));
        let sealed = open().seal(IPMI, bytes);
        let opened = session.open(&sealed);
        understood |= matches!(opened, Ok(Some(Incoming::Ipmi(_))));
    }
    let mut session = v15::fuzz::session();
    drop(session.open(bytes));
    // A message of IPMI 1.5 has its length in one byte.
    let short = &bytes[..bytes.len().min(255)];
    let sealed = v15::fuzz::session().seal(short);
    understood | session.open(&sealed).is_ok_and(|it| it.is_some())
}

/// An answer from a controller behind the BMC.
pub fn bridged(bytes: &[u8]) -> bool {
    let request = Request::new(APP, 1, &[]);
    let Ok(response) = parse_response(bytes) else {
        return false;
    };
    let single = Bridge::Single {
        channel: 0,
        address: 0x2c,
    };
    let dual = Bridge::Dual {
        transit_channel: 0,
        transit_address: 0x24,
        channel: 6,
        address: 0x2c,
    };
    let ways = [None, Some(single), Some(dual)];
    let judge = |via| bridge::judge(via, &request, 5, response.clone());
    ways.map(judge)
        .iter()
        .any(|verdict| !matches!(verdict, Verdict::NotOurs))
}

/// Data of the answers to commands; the first byte chooses the command.
pub fn answer(bytes: &[u8]) -> bool {
    let Some((command, data)) = bytes.split_first() else {
        return false;
    };
    match command % 9 {
        0 => chassis::parse_status(data).is_some(),
        1 => boot::decode(data).is_some(),
        2 => device::parse_device_id(data).is_some(),
        3 => [true, false].map(|fixed| lan::ipv6(data, fixed)) != [None, None],
        4 => lan::vlan(data).is_some() | lan::source(data).is_some() | lan::ipv4(data).is_some(),
        5 => users::parse_access(data).is_some(),
        6 => !users::name(data).is_empty(),
        7 => sel::parse_info(data).is_some(),
        _ => presession::parse_auth_capabilities(data).is_some(),
    }
}

/// A sensor data record, and a reading and thresholds by its factors.
pub fn sdr(bytes: &[u8]) -> bool {
    let Some(record) = sdr::parse(bytes) else {
        return false;
    };
    if let Sdr::Sensor(sensor) = &record {
        drop(sensor.unit.to_string());
        let reading = sensor::parse_reading(bytes, sensor, sensor.factors);
        let value = reading.and_then(|reading| reading.value);
        assert!(value.is_none_or(f64::is_finite), "{value:?}");
        if let Some(factors) = sensor.factors {
            let _ = sensor::parse_thresholds(bytes, factors);
        }
    }
    true
}

/// An entry of the event log, in words.
pub fn sel(bytes: &[u8]) -> bool {
    let record = bytes.first_chunk();
    record.is_some_and(|record| {
        drop(format!("{:?}", sel::parse(record)));
        true
    })
}

/// An inventory.
pub fn fru(bytes: &[u8]) -> bool {
    let fru = fru::parse(bytes);
    fru.chassis.is_some() || fru.board.is_some() || fru.product.is_some()
}

/// What comes down a serial console: packets, each behind its length and the time until it comes, in units of 10 ms.
pub fn sol(bytes: &[u8]) -> bool {
    let mut sol = Sol::new(100);
    sol.type_in(&[b'x'; 300]);
    let (mut rest, mut now, mut heard) = (bytes, Duration::ZERO, 0);
    while let [length, pause, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        now += Duration::from_millis(10 * u64::from(*pause));
        sol.receive(packet, now);
        let received = sol.received().len();
        assert!(received <= packet.len(), "it says more than it was told");
        heard += received;
        sol.delivered(received);
        if let Some(sent) = sol.poll(now) {
            assert!(sent.len() <= 100, "{} bytes", sent.len());
        }
        let _ = sol.next_timeout();
    }
    heard > 0
}
