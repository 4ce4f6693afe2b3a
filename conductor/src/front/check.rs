//! `ironbeat bmc check`: what is wrong with a BMC, in words: each question that can be asked, from the outside inwards.
//! `ironbeat_ipmi` has the same questions without the words.
use super::bmc::ANSWERING_CHANNEL;
use super::defaults::factory_password;
use super::translate::firmware;
use ironbeat_core::node::BmcAccess;
use ironbeat_ipmi::{Bmc, Error, ErrorKind};
use ironbeat_ops::bmc::{Check, Verdict};

/// Asks until an answer makes the next question pointless. `node`: whose BMC it is, if it is a node's; `shared`: who else has
/// its password.
pub async fn check(
    bmc: &Bmc,
    access: &BmcAccess,
    node: Option<&str>,
    shared: Option<String>,
) -> Check {
    let mut check = Check {
        address: bmc.address().to_string(),
        findings: Vec::new(),
    };
    if before_login(&mut check, bmc, access).await && login(&mut check, bmc).await {
        password(&mut check, access, node);
        if let Some(shared) = shared {
            let question = "do other nodes have the same password?";
            check.note(question, Verdict::Odd, shared);
        }
        inside(&mut check, bmc).await;
    }
    check
}

async fn before_login(check: &mut Check, bmc: &Bmc, access: &BmcAccess) -> bool {
    use Verdict::{Bad, Good, Odd};
    let presence = match bmc.presence().await {
        Ok(presence) => presence,
        Err(error) => {
            let (kind, port) = (error.kind, bmc.address().port());
            let why = match kind {
                ErrorKind::Malformed(_) => format!(
                    "Something answers that does not speak IPMI: another service on UDP port {port}, a wrong address, \
                     or a BMC that hangs"
                ),
                _ => format!(
                    "Nothing speaks IPMI at this address: a wrong address, no route, a firewall before UDP port {port}, \
                     IPMI over LAN switched off, or a BMC that hangs"
                ),
            };
            check.note("does anything answer?", Bad, format!("{kind}. {why}"));
            return false;
        }
    };
    match presence.pong {
        Some(time) => check.note("does anything answer?", Good, format!("yes, in {time:.1?}")),
        None => check.note(
            "does anything answer?",
            Odd,
            "yes, though not to a presence ping; some BMCs never do",
        ),
    }
    let can = &presence.capabilities;
    if !can.ipmi_v2 {
        check.note(
            "does it speak IPMI 2.0?",
            Bad,
            "no, and IPMI 1.5 would send the password almost in the clear",
        );
        return false;
    }
    check.note("does it speak IPMI 2.0?", Good, "yes");
    let BmcAccess::Ipmi { kg, .. } = access;
    match (can.kg_needed, kg.is_some()) {
        (true, false) => check.note(
            "does a login need a key K_g?",
            Bad,
            "yes, and none is configured",
        ),
        (false, true) => check.note(
            "does a login need a key K_g?",
            Odd,
            "it says no, but one is configured",
        ),
        (true, true) | (false, false) => {}
    }
    if can.anonymous {
        check.note(
            "may anybody log in?",
            Odd,
            "it says that the user without a name needs no password: switch that user off",
        );
    }
    match &presence.cipher_suites {
        None => check.note(
            "which cipher suites does it have?",
            Odd,
            "it does not say; 17 and then 3 are tried",
        ),
        Some(suites) => {
            let ids: Vec<u8> = suites.iter().map(|suite| suite.id).collect();
            let list = ids.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            match (ids.contains(&17), ids.contains(&3), ids.contains(&0)) {
                (false, false, _) => check.note(
                    "which cipher suites does it have?",
                    Bad,
                    format!(
                        "{list}; 17 or 3 is needed, as the others protect nothing or are no better"
                    ),
                ),
                (_, _, true) => check.note(
                    "which cipher suites does it have?",
                    Odd,
                    format!(
                        "{list}; with suite 0 anybody can log in without a password: switch it off"
                    ),
                ),
                _ => check.note("which cipher suites does it have?", Good, list),
            }
        }
    }
    true
}

async fn login(check: &mut Check, bmc: &Bmc) -> bool {
    match bmc.device_id().await {
        Ok(id) => {
            check.note("can one log in?", Verdict::Good, "yes");
            let version = firmware(id.firmware);
            if id.busy {
                check.note(
                    "what is it?",
                    Verdict::Bad,
                    format!("firmware {version}, busy with an update of itself or not yet started"),
                );
                return false;
            }
            let what = format!(
                "manufacturer {} (IANA), product {}, firmware {version}",
                id.manufacturer, id.product
            );
            check.note("what is it?", Verdict::Good, what);
            true
        }
        Err(error) => {
            let answer = format!("{}{}", error.kind, advice(&error));
            check.note("can one log in?", Verdict::Bad, answer);
            false
        }
    }
}

/// Of a login that works: whether everybody knows it.
fn password(check: &mut Check, access: &BmcAccess, node: Option<&str>) {
    let Some(known) = factory_password(access) else {
        return;
    };
    let node = node.unwrap_or("NODE");
    let answer = format!(
        "yes, {known}: whoever reaches the BMC can log in; give it another one (`ironbeat bmc set-password {node}`)"
    );
    check.note("is its password a known one?", Verdict::Odd, answer);
}

/// What to do about it.
fn advice(error: &Error) -> &'static str {
    match &error.kind {
        ErrorKind::NoSuchUser { .. } => {
            ": make the user on the BMC, or correct the name (`ironbeat node set`)"
        }
        ErrorKind::WrongPassword { .. } => ": correct the password here or on the BMC",
        ErrorKind::WrongKey { .. } => ": correct the key here or on the BMC",
        ErrorKind::PrivilegeTooLow { .. } => {
            ": give the user the privilege on the BMC, also for this channel and over RMCP+"
        }
        ErrorKind::CipherRefused(_) => ": allow suite 17 or 3 on the BMC",
        ErrorKind::OutOfSessions => {
            ": others hold its sessions; they end by themselves after a minute, or after a cold reset of the BMC"
        }
        ErrorKind::SilentLogin { .. } => ": try another user, and look at the BMC's own log",
        ErrorKind::Unreachable { .. } => {
            ": it answered before the login and not after; it may be overloaded, or lose packets"
        }
        _ => "",
    }
}

async fn inside(check: &mut Check, bmc: &Bmc) {
    use Verdict::{Bad, Good, Odd};
    match bmc.chassis_status().await {
        Ok(chassis) => {
            let on = if chassis.power_on { "on" } else { "off" };
            let faults: Vec<&str> = [
                (chassis.power_fault, "power fault"),
                (chassis.power_control_fault, "power control fault"),
                (chassis.overload, "power overload"),
                (chassis.interlock, "held off by an interlock"),
                (chassis.cooling_fault, "cooling fault"),
                (chassis.drive_fault, "drive fault"),
                (chassis.intrusion, "chassis open"),
            ]
            .into_iter()
            .filter_map(|(is, name)| is.then_some(name))
            .collect();
            match faults.is_empty() {
                true => check.note("how is the machine?", Good, on),
                false => check.note(
                    "how is the machine?",
                    Odd,
                    format!("{on}; {}", faults.join(", ")),
                ),
            }
        }
        Err(error) => check.note("how is the machine?", Bad, error.kind.to_string()),
    }
    match bmc.boot_flags().await {
        Ok(_) => check.note("can it say what to boot?", Good, "yes"),
        Err(error) => check.note("can it say what to boot?", Odd, error.kind.to_string()),
    }
    match bmc.lan_parameters(ANSWERING_CHANNEL).await {
        Ok(lan) => match lan.address {
            Some(own) if bmc.address().ip() != own && !bmc.address().ip().is_loopback() => check
                .note(
                    "is it who it says it is?",
                    Odd,
                    format!("it says that its address is {own}: there is a NAT between, or this is another BMC"),
                ),
            Some(_) | None => {}
        },
        Err(error) => check.note("what is its address?", Odd, error.kind.to_string()),
    }
    match bmc.sel_info().await {
        Ok(info) if info.overflowed || info.free_bytes < 16 => check.note(
            "is there room in its event log?",
            Odd,
            "no: new events are lost (`ironbeat bmc sel --clear`)",
        ),
        Ok(_) | Err(_) => {}
    }
    if let Some(time) = bmc.round_trip().await {
        check.note(
            "how fast is it?",
            Good,
            format!("an answer takes {time:.1?}"),
        );
    }
}
