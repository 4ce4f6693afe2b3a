//! Application commands: who it is, ways to log in, sessions, users, payloads, bridging (IPMI 2.0 §20, §22, §24).
//! Leaves the login to `session`.
use super::{Answer, BAD_FIELD, BAD_LENGTH, Context, From, INVALID_COMMAND, OUT_OF_RANGE};
use crate::bmc::Bmc;
use crate::rmcp::Request;
use crate::sol::Port;

/// Bytes of suite records in one answer (§22.15).
const SUITE_CHUNK: usize = 16;
const CHANNEL: u8 = 1;
/// The channel that a command came over, and the machine's own.
const PRESENT: u8 = 0x0e;
const SYSTEM: u8 = 0x0f;
/// Message flags: the event buffer is full (§22.4).
const EVENT: u8 = 0x02;
/// Serial over LAN, first instance.
const SOL: [u8; 2] = [0x01, 0x01];
/// A controller on the BMC's bus, and one on a bus of that.
const SATELLITE: u8 = 0x30;
const FAR_SATELLITE: u8 = 0x32;
/// Send Message: nobody took it (§22.7).
const NAK: u8 = 0x83;

pub(super) fn run(bmc: &mut Bmc, request: &Request, context: &Context) -> Answer {
    match (request.command, request.data.as_slice()) {
        (0x01, _) => Ok(device_id(bmc, 0x20)),
        (0x02 | 0x03, _) => {
            match bmc.faults.restarts_late {
                true => bmc.counters.restarts += 1,
                false => bmc.restart(context.now),
            }
            Ok(Vec::new())
        }
        (0x04, _) => Ok(vec![0x55, 0x00]),
        // ACPI power state: working or soft off, as far as the BMC knows (§20.7).
        (0x07, _) => Ok(vec![if bmc.machine.is_on() { 0 } else { 5 }, 0x00]),
        (0x08 | 0x37, _) => Ok(bmc.settings.guid.to_vec()),
        (0x2e, [enables]) => {
            bmc.inside.enables = *enables;
            Ok(Vec::new())
        }
        (0x2f, _) => Ok(vec![bmc.inside.enables]),
        (0x30, [flags]) => {
            bmc.inside.event = bmc.inside.event.filter(|_| flags & EVENT == 0);
            Ok(Vec::new())
        }
        (0x31, _) => Ok(vec![bmc.inside.event.map_or(0, |_| EVENT)]),
        // Get Message, Read Event Message Buffer: "data not available" (§22.6, §22.8).
        (0x33, _) => Err(0x80),
        (0x35, _) => Ok(bmc.inside.event.take().ok_or(0x80)?.to_vec()),
        (0x34, [channel, message @ ..]) => send_message(bmc, channel & 0x0f, message),
        (0x38, [channel, _privilege]) => Ok(capabilities(bmc, channel & 0x80 != 0)),
        (0x3b, [wanted]) => set_privilege(bmc, *wanted, context),
        (0x3c, [i0, i1, i2, i3, ..]) => {
            // Carried out once the answer is on its way; a client may only close its own session.
            let id = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
            match Some(id) == context.session() || bmc.sessions.remove(id) {
                true => Ok(Vec::new()),
                // "Invalid session ID" (§22.19).
                false => Err(0x87),
            }
        }
        (0x3d, _) => session_info(bmc, context),
        (0x41, _) => Ok(vec![0x02, 0x04]),
        (0x42, [channel]) => channel_info(*channel & 0x0f, context),
        (0x44, [_channel, id]) => user_access(bmc, *id),
        (0x46, [id]) => user_name(bmc, *id),
        (0x47, [id, operation, password @ ..]) => {
            user_password(bmc, id & 0x3f, id & 0x80 != 0, *operation, password)
        }
        (0x48, [kind, instance, ..]) => activate(bmc, [*kind, *instance], context),
        (0x49, [kind, instance, ..]) => deactivate(bmc, [*kind, *instance]),
        (0x4a, [kind, ..]) if kind & 0x3f == SOL[0] => {
            Ok(vec![0x01, u8::from(bmc.console.is_some()), 0x00])
        }
        (0x4b, [kind, instance]) if [*kind, *instance] == SOL => {
            let session = bmc.console.as_ref().map_or(0, |port| port.session);
            Ok([&session.to_le_bytes()[..], &[0; 8]].concat())
        }
        (0x4e, _) => Ok(vec![0x03, 0x00, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x00]),
        (0x54, [_channel, _payload, index]) => Ok(cipher_suites(bmc, index & 0x3f)),
        (
            0x2e | 0x30 | 0x34 | 0x38 | 0x3b | 0x3c | 0x42 | 0x44 | 0x46 | 0x47 | 0x48 | 0x49
            | 0x4b | 0x54,
            _,
        ) => Err(BAD_LENGTH),
        _ => Err(INVALID_COMMAND),
    }
}

fn device_id(bmc: &Bmc, address: u8) -> Vec<u8> {
    let settings = &bmc.settings;
    let (major, minor) = settings.firmware;
    let mut id = vec![address, 0x03, major & 0x7f, minor, 0x02, 0x9f];
    id.extend(&settings.manufacturer.to_le_bytes()[..3]);
    id.extend(settings.product.to_le_bytes());
    id.extend([0; 4]);
    id
}

fn capabilities(bmc: &Bmc, extended: bool) -> Vec<u8> {
    let kg = if bmc.settings.kg.is_some() { 0x20 } else { 0 };
    let types = if extended { 0x80 } else { 0 };
    // Users with names; RMCP+ and nothing older.
    vec![
        CHANNEL,
        types,
        kg | 0x04,
        if extended { 0x02 } else { 0 },
        0,
        0,
        0,
        0,
    ]
}

fn cipher_suites(bmc: &Bmc, index: u8) -> Vec<u8> {
    let mut records = Vec::new();
    for suite in bmc.settings.suites.iter().rev() {
        let [authentication, integrity, confidentiality] = suite.algorithms();
        records.extend([0xc0, suite.id(), authentication]);
        records.extend([0x40 | integrity, 0x80 | confidentiality]);
    }
    let chunk = records.chunks(SUITE_CHUNK).nth(usize::from(index));
    [&[CHANNEL], chunk.unwrap_or_default()].concat()
}

fn set_privilege(bmc: &mut Bmc, wanted: u8, context: &Context) -> Answer {
    let session = context
        .session()
        .and_then(|id| bmc.sessions.get(id))
        .ok_or(INVALID_COMMAND)?;
    match wanted & 0x0f {
        0 => {}
        level @ 2..=4 if level <= session.limit => session.privilege = level,
        // "Exceeds channel or user privilege limit" (§22.18).
        2..=5 => return Err(0x81),
        _ => return Err(BAD_FIELD),
    }
    Ok(vec![session.privilege])
}

fn session_info(bmc: &mut Bmc, context: &Context) -> Answer {
    let slots = bmc.settings.sessions as u8;
    let active = bmc.sessions.active() as u8;
    let session = context
        .session()
        .and_then(|id| bmc.sessions.get(id))
        .ok_or(INVALID_COMMAND)?;
    Ok(vec![
        1,
        slots,
        active,
        session.user,
        session.privilege,
        0x10 | CHANNEL,
    ])
}

/// The LAN, the bus behind the BMC, and the system interface (§22.24).
fn channel_info(channel: u8, context: &Context) -> Answer {
    let here = match context.from {
        From::Inside => SYSTEM,
        From::Outside | From::Session(_) => CHANNEL,
    };
    // Medium, protocol, sessions.
    let (channel, kind) = match if channel == PRESENT { here } else { channel } {
        0 => (0, [0x01, 0x01, 0x00]),
        CHANNEL => (CHANNEL, [0x04, 0x01, 0x80]),
        SYSTEM => (SYSTEM, [0x0c, 0x05, 0x00]),
        _ => return Err(BAD_FIELD),
    };
    Ok([&[channel], &kind[..], &[0xf2, 0x1b, 0x00, 0x00, 0x00]].concat())
}

fn user_access(bmc: &Bmc, id: u8) -> Answer {
    if id == 0 || id > 10 {
        return Err(OUT_OF_RANGE);
    }
    let enabled = bmc
        .settings
        .users
        .iter()
        .filter(|user| user.enabled)
        .count() as u8;
    let user = bmc.settings.users.iter().find(|user| user.id == id);
    let (status, access) = match user {
        Some(user) if user.enabled => (0x40, 0x10 | user.privilege),
        Some(user) => (0x80, 0x10 | user.privilege),
        None => (0x80, 0x0f),
    };
    Ok(vec![10, status | enabled, 0x00, access])
}

fn user_name(bmc: &Bmc, id: u8) -> Answer {
    if id == 0 || id > 10 {
        return Err(OUT_OF_RANGE);
    }
    let user = bmc.settings.users.iter().find(|user| user.id == id);
    let mut name = user.map_or(Vec::new(), |user| user.name.as_bytes().to_vec());
    name.resize(16, 0);
    Ok(name)
}

/// Set User Password (§22.30): disable, enable, set, test. `long`: the form with 20 bytes.
fn user_password(bmc: &mut Bmc, id: u8, long: bool, operation: u8, password: &[u8]) -> Answer {
    if id == 0 || id > 10 {
        return Err(OUT_OF_RANGE);
    }
    let faults = &bmc.faults;
    let user = bmc.settings.users.iter_mut().find(|user| user.id == id);
    let user = user.ok_or(BAD_FIELD)?;
    let room = if long { 20 } else { 16 };
    let end = password.iter().rposition(|byte| *byte != 0);
    let given = &password[..end.map_or(0, |last| last + 1)];
    match operation {
        0 | 1 => user.enabled = operation == 1,
        2 | 3 if password.len() != room => return Err(BAD_LENGTH),
        2 if faults.refuses_password => return Err(BAD_FIELD),
        2 => {
            let kept = faults.keeps_of_password.unwrap_or(room).min(given.len());
            user.password = given[..kept].to_vec();
            bmc.counters.passwords += 1;
        }
        // "Password test failed": other bytes, or another size.
        3 if user.password == given => {}
        3 if user.password.len() > room => return Err(0x81),
        3 => return Err(0x80),
        _ => return Err(BAD_FIELD),
    }
    Ok(Vec::new())
}

fn activate(bmc: &mut Bmc, payload: [u8; 2], context: &Context) -> Answer {
    let session = context.session().ok_or(INVALID_COMMAND)?;
    if payload != SOL {
        return Err(BAD_FIELD);
    }
    let taken = bmc
        .console
        .as_ref()
        .is_some_and(|port| bmc.sessions.get(port.session).is_some());
    if taken {
        // "Payload already active" (§24.1).
        return Err(0x80);
    }
    bmc.console = Some(Port::new(session));
    let port = bmc.settings.lan.port.to_le_bytes();
    Ok(vec![
        0, 0, 0, 0, 0xff, 0x00, 0xff, 0x00, port[0], port[1], 0xff, 0xff,
    ])
}

fn deactivate(bmc: &mut Bmc, payload: [u8; 2]) -> Answer {
    if payload != SOL {
        return Err(BAD_FIELD);
    }
    match bmc.console.take() {
        Some(_) => Ok(Vec::new()),
        None => Err(0x80),
    }
}

/// Passes a message on to a satellite, which knows Get Device ID, and the near one Send Message too (§6.13).
fn send_message(bmc: &mut Bmc, channel: u8, message: &[u8]) -> Answer {
    let inner = Request::parse(message).ok_or(BAD_LENGTH)?;
    if channel != 0 || inner.responder != SATELLITE {
        return Err(NAK);
    }
    // The answer goes to the remote console in the end, which the BMC has kept in mind.
    let answer = match (inner.netfn, inner.command, inner.data.as_slice()) {
        (0x06, 0x01, _) => inner.answer(0, &device_id(bmc, SATELLITE)),
        (0x06, 0x34, [_channel, far @ ..]) => {
            let far = Request::parse(far).ok_or(BAD_LENGTH)?;
            // The near one waits for the far one, and tells what it said.
            let told = match (far.responder, far.netfn, far.command) {
                (FAR_SATELLITE, 0x06, 0x01) => Ok(far.answer(0, &device_id(bmc, FAR_SATELLITE))),
                (FAR_SATELLITE, _, _) => Ok(far.answer(INVALID_COMMAND, &[])),
                _ => Err(NAK),
            };
            match told {
                Ok(told) => inner.answer(0, &told),
                Err(code) => inner.answer(code, &[]),
            }
        }
        _ => inner.answer(INVALID_COMMAND, &[]),
    };
    bmc.later.push(answer);
    Ok(Vec::new())
}
