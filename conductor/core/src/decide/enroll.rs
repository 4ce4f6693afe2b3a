//! The first and the last event of a node's life: it is enrolled, it is forgotten.
//! Claims are not decided here: the store finds out whether another node has this name, MAC address or BMC.
use super::answer::{Decision, Rejected};
use super::draft::Ctx;
use super::verbs::words;
use crate::disks;
use crate::event::Enrolment;
use crate::node::{Beside, LeftAlone, MAX_MACS, Node, Rest, SCHEMA, State, Versions};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use ironbeat_common::id::SystemUuid;

/// SMBIOS strings are shorter; the index repeats it in a header.
const MAX_SERIAL_BYTES: usize = 255;

pub(super) fn enrolled(
    present: Option<&Node>,
    enrolment: &Enrolment,
    ctx: Ctx<'_>,
) -> Result<Decision, Rejected> {
    let (node, beside) = new_node(enrolment, ctx)?;
    match present {
        None => Ok(Decision {
            node: Some(node),
            beside,
            effects: Vec::new(),
            because: "enrolled".to_string(),
        }),
        // The client repeats itself: its node is there, whatever became of it since.
        Some(present) if same_description(present, &node) => {
            Ok(unchanged(present, "it was enrolled before".to_string()))
        }
        Some(_) => Err(Rejected::Exists),
    }
}

pub(super) fn forgotten(node: &Node) -> Result<Decision, Rejected> {
    let hinted = |hint: &str| Some(format!("{} ({hint})", words(&node.state)));
    let refused = match &node.state {
        State::Resting(Rest::Enroll | Rest::Manageable | Rest::Available) => None,
        State::Resting(
            Rest::Active
            | Rest::InspectFailed
            | Rest::DeployFailed
            | Rest::CleanFailed
            | Rest::Error,
        ) if node.maintenance.is_some() => None,
        State::Resting(Rest::Active) => hinted("undeploy it, or set maintenance"),
        State::Resting(
            Rest::InspectFailed | Rest::DeployFailed | Rest::CleanFailed | Rest::Error,
        ) => hinted("set maintenance"),
        State::Busy(_) => Some(words(&node.state)),
    };
    if let Some(state) = refused {
        let verb = "delete".to_string();
        return Err(Rejected::WrongState { verb, state });
    }
    Ok(Decision {
        node: None,
        beside: Vec::new(),
        effects: Vec::new(),
        because: "deleted".to_string(),
    })
}

fn unchanged(node: &Node, because: String) -> Decision {
    Decision {
        node: Some(node.clone()),
        beside: Vec::new(),
        effects: Vec::new(),
        because,
    }
}

fn same_description(present: &Node, wanted: &Node) -> bool {
    let description = |node: &Node| {
        (
            node.name.clone(),
            node.bmc.clone(),
            node.macs.clone(),
            node.system_uuid,
            node.serial.clone(),
            node.boot_mode,
            node.root_device.clone(),
            node.skip_block_devices.clone(),
        )
    };
    description(present) == description(wanted)
}

fn new_node(enrolment: &Enrolment, ctx: Ctx<'_>) -> Result<(Node, Vec<Beside>), Rejected> {
    let invalid = |why: String| Rejected::Invalid { why };
    let enrolment = enrolment.clone();
    let hints = &enrolment.root_device;
    hints.check().map_err(|bad| invalid(bad.to_string()))?;
    disks::check_skips(&enrolment.skip_block_devices).map_err(invalid)?;
    let found = enrolment.inventory;
    let system = found.as_ref().map(|inventory| &inventory.system);
    let mut macs = enrolment.macs;
    if macs.is_empty() {
        let nics = found.iter().flat_map(|inventory| &inventory.nics);
        macs = nics.map(|nic| nic.mac).take(MAX_MACS).collect();
    }
    macs.sort();
    macs.dedup();
    if macs.len() > MAX_MACS {
        let count = macs.len();
        return Err(invalid(format!(
            "{count} MAC addresses, at most {MAX_MACS}"
        )));
    }
    let serial = enrolment.serial;
    if serial
        .as_ref()
        .is_some_and(|serial| serial.len() > MAX_SERIAL_BYTES)
    {
        return Err(invalid(format!(
            "the serial number is longer than {MAX_SERIAL_BYTES} bytes"
        )));
    }
    let found_serial = system.and_then(|system| system.serial.clone());
    let found_serial = found_serial.filter(|serial| serial.len() <= MAX_SERIAL_BYTES);
    let (bmc, secrets) = enrolment.bmc.split();
    let version = Some(ctx.op.clone());
    let node = Node {
        schema: SCHEMA,
        id: enrolment.id,
        name: enrolment.name,
        bmc,
        macs,
        system_uuid: enrolment
            .system_uuid
            .or(system.and_then(|system| system.uuid.filter(SystemUuid::is_meaningful))),
        serial: serial.or(found_serial),
        boot_mode: enrolment.boot_mode,
        root_device: enrolment.root_device,
        skip_block_devices: enrolment.skip_block_devices,
        instance: None,
        state: State::Resting(Rest::Enroll),
        since: ctx.now,
        wake_at: None,
        power: None,
        maintenance: None,
        last_error: None,
        boot: None,
        past_boots: vec![],
        found_boot_mode: found.as_ref().map(|inventory| inventory.boot.mode),
        left_alone: LeftAlone::default(),
        beside: Versions {
            inventory: found.as_ref().and(version.clone()),
            instance_data: None,
            bmc_secrets: version,
        },
        counter: 0,
        requests: vec![],
        op: ctx.op.clone(),
    };
    let inventory = found.map(|inventory| Beside::Inventory(Box::new(inventory)));
    let mut beside = vec![Beside::BmcSecrets(secrets)];
    beside.extend(inventory);
    Ok((node, beside))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Story, enrolled, enrolment, inventory};
    use super::super::{Ctx, Decision, Event, Policy, PowerVerb, Rejected, Verb, decide};
    use crate::id::Incarnation;
    use crate::node::{Beside, BesideKind, Maintenance, Node, Rest, State};
    use crate::time::Time;
    use ironbeat_common::id::Mac;

    fn happens(node: Option<&Node>, event: Event) -> Result<Decision, Rejected> {
        let (op, worker) = ("op1".parse().unwrap(), "w1".parse().unwrap());
        let ctx = Ctx {
            now: Time::from_unix_ms(7),
            op: &op,
            worker: &worker,
            incarnation: Incarnation::default(),
            policy: &Policy::default(),
            inventory: None,
        };
        decide(node, &event, ctx)
    }

    #[test]
    fn a_new_nodes_secrets_lie_beside_its_record() {
        let decision = happens(None, Event::Enrolled(enrolment())).unwrap();
        let node = decision.node.unwrap();
        assert_eq!(node.state, State::Resting(Rest::Enroll));
        let version = node.beside.of(BesideKind::BmcSecrets);
        assert_eq!(version, Some(&node.op));
        assert!(matches!(&decision.beside[..], [Beside::BmcSecrets(_)]));
        assert!(!serde_json::to_string(&node).unwrap().contains("hush"));
    }

    #[test]
    fn the_machines_lookup_fills_in_what_is_not_given() {
        let mut found = inventory(&["S1"]);
        found.system.serial = Some("SN-1".into());
        let mut wish = enrolment();
        wish.inventory = Some(found);
        let node = happens(None, Event::Enrolled(wish)).unwrap().node.unwrap();
        assert_eq!(node.serial.as_deref(), Some("SN-1"));
        assert_eq!(node.beside.of(BesideKind::Inventory), Some(&node.op));
    }

    #[test]
    fn too_many_nics_are_refused_and_repeated_ones_count_once() {
        let mac = |n: usize| Mac::from_bytes([2, 0, 0, 0, 0, u8::try_from(n).unwrap()]);
        let mut wish = enrolment();
        wish.macs = vec![mac(2), mac(1), mac(2)];
        let node = happens(None, Event::Enrolled(wish.clone())).unwrap().node;
        assert_eq!(node.unwrap().macs, [mac(1), mac(2)]);
        wish.macs = (0..33).map(mac).collect();
        let refused = happens(None, Event::Enrolled(wish)).unwrap_err();
        assert_eq!(refused.to_string(), "33 MAC addresses, at most 32");
    }

    #[test]
    fn enrolling_again_counts_once_and_another_description_is_refused() {
        let enroll = |wish, node| happens(node, Event::Enrolled(wish));
        let first = enroll(enrolment(), None).unwrap().node.unwrap();
        let again = enroll(enrolment(), Some(&first)).unwrap();
        assert_eq!(again.node.as_ref(), Some(&first));
        assert!(again.beside.is_empty());
        let mut other = enrolment();
        other.serial = Some("another".into());
        assert_eq!(enroll(other, Some(&first)), Err(Rejected::Exists));
    }

    #[test]
    fn a_node_is_forgotten_only_while_nothing_runs_on_it() {
        let delete = |node: Option<&Node>| {
            let request = "r".parse().unwrap();
            let verb = Verb::Delete;
            happens(node, Event::Asked { request, verb }).map(|decision| decision.node)
        };
        let mut node = enrolled();
        assert_eq!(delete(Some(&node)), Ok(None));
        node.state = State::Resting(Rest::Active);
        let why = delete(Some(&node)).unwrap_err().to_string();
        assert_eq!(
            why,
            "cannot delete a node that is active (undeploy it, or set maintenance)"
        );
        node.maintenance = Some(Maintenance {
            since: node.since,
            reason: "broken".into(),
            fault: None,
        });
        assert_eq!(delete(Some(&node)), Ok(None));
        assert_eq!(delete(None), Err(Rejected::NoNode));
    }

    #[test]
    fn a_serial_number_has_a_bound() {
        let mut wish = enrolment();
        wish.serial = Some("x".repeat(256));
        let refused = happens(None, Event::Enrolled(wish)).unwrap_err();
        let why = refused.to_string();
        assert_eq!(why, "the serial number is longer than 255 bytes");
    }

    #[test]
    fn a_busy_node_is_not_forgotten_and_the_way_out_is_named() {
        let delete = |story: Story| {
            let request = "r".parse().unwrap();
            let verb = Verb::Delete;
            let refused = happens(Some(&story.node), Event::Asked { request, verb });
            refused.unwrap_err().to_string()
        };
        let cleaning = Story::new().ask(Verb::Manage).bmc_did().ask(Verb::Provide);
        assert_eq!(
            delete(cleaning),
            "cannot delete a node that is cleaning (abort that first)"
        );
        let switching = Story::new().ask(Verb::Manage).bmc_did();
        let switching = switching.ask(Verb::Power(PowerVerb::On));
        assert_eq!(
            delete(switching),
            "cannot delete a node that is manageable with its BMC busy on another request \
             (abort that first)"
        );
        assert_eq!(
            delete(Story::new().ask(Verb::Manage)),
            "cannot delete a node that is verifying (abort that first)"
        );
    }
}
