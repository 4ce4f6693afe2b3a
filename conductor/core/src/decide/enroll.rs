//! The first and the last event of a node's life: it is enrolled, it is forgotten.
//! Claims are not decided here: the store finds out whether another node has this name, MAC address or BMC.
use super::allocate;
use super::answer::words;
use super::answer::{Decision, Rejected};
use super::changes::Changes;
use super::draft::Ctx;
use super::profile;
use crate::disks;
use crate::event::Enrolment;
use crate::node::{
    Beside, BmcSecrets, Collisions, LeftAlone, MAX_MACS, MAX_SERIAL_BYTES, Node, Notes, Rest,
    SCHEMA, State, Tickets, Versions,
};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use ironbeat_common::id::{Mac, SystemUuid};

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
        Some(present) => match differences(present, &node, ctx, &beside) {
            differs if differs.is_empty() => {
                Ok(unchanged(present, "it was enrolled before".to_string()))
            }
            differs => Err(Rejected::Exists {
                differs: differs.join(", "),
            }),
        },
    }
}

pub(super) fn forgotten(node: &Node) -> Result<Decision, Rejected> {
    if let Some(protected) = &node.protected {
        return Err(Rejected::Protected {
            verb: "delete".to_string(),
            reason: protected.reason.clone(),
        });
    }
    allocate::not_allocated(node, "delete")?;
    let hinted = |hint: &str| Some(format!("{} ({hint})", words(&node.state)));
    let change = node.password_change.as_ref();
    let loses_password = change.is_some_and(|change| change.refused.is_none());
    let refused = match &node.state {
        State::Resting(_) if loses_password && node.maintenance.is_none() => {
            hinted("a change of its BMC's password is open: set maintenance to lose both passwords")
        }
        State::Resting(Rest::Enroll | Rest::Manageable | Rest::Available | Rest::AdoptFailed) => {
            None
        }
        State::Resting(
            Rest::Active
            | Rest::InspectFailed
            | Rest::DeployFailed
            | Rest::CleanFailed
            | Rest::ManualCleanFailed
            | Rest::ServiceFailed
            | Rest::Rescue
            | Rest::RescueFailed
            | Rest::UnrescueFailed
            | Rest::Error,
        ) if node.maintenance.is_some() => None,
        State::Resting(
            Rest::Active
            | Rest::ServiceFailed
            | Rest::Rescue
            | Rest::RescueFailed
            | Rest::UnrescueFailed,
        ) => hinted("undeploy it, or set maintenance"),
        State::Resting(
            Rest::InspectFailed
            | Rest::DeployFailed
            | Rest::CleanFailed
            | Rest::ManualCleanFailed
            | Rest::Error,
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

/// In words. Secrets are compared here, so that nobody has to be shown one.
fn differences(
    present: &Node,
    wanted: &Node,
    ctx: Ctx<'_>,
    beside: &[Beside],
) -> Vec<&'static str> {
    let secrets = ctx.secrets;
    let given = beside.iter().find_map(|document| match document {
        Beside::BmcSecrets(secrets) => Some(secrets),
        Beside::Inventory(_)
        | Beside::InstanceData(_)
        | Beside::RescueLogin(_)
        | Beside::Notes(_) => None,
    });
    let noted = beside.iter().find_map(|document| match document {
        Beside::Notes(notes) => Some(notes),
        Beside::Inventory(_)
        | Beside::InstanceData(_)
        | Beside::BmcSecrets(_)
        | Beside::RescueLogin(_) => None,
    });
    let none = Notes::default();
    let (notes, noted) = (ctx.notes.unwrap_or(&none), noted.unwrap_or(&none));
    let password = |secrets: Option<&BmcSecrets>| secrets.map(|s| s.password.clone());
    let kg = |secrets: Option<&BmcSecrets>| secrets.and_then(|s| s.kg.clone());
    let compared = [
        ("name", present.name == wanted.name),
        ("BMC", present.bmc == wanted.bmc),
        ("BMC password", password(secrets) == password(given)),
        ("K_g", kg(secrets) == kg(given)),
        ("MAC addresses", present.macs == wanted.macs),
        ("system UUID", present.system_uuid == wanted.system_uuid),
        ("serial", present.serial == wanted.serial),
        ("boot mode", present.boot_mode == wanted.boot_mode),
        ("Secure Boot", present.secure_boot == wanted.secure_boot),
        (
            "root device hints",
            present.root_device == wanted.root_device,
        ),
        (
            "skip list",
            present.skip_block_devices == wanted.skip_block_devices,
        ),
        (
            "resource class",
            present.resource_class == wanted.resource_class,
        ),
        ("owner", present.owner == wanted.owner),
        ("lessee", present.lessee == wanted.lessee),
        ("traits", present.traits == wanted.traits),
        (
            "automated cleaning",
            present.automated_clean == wanted.automated_clean,
        ),
        (
            "power off",
            present.disable_power_off == wanted.disable_power_off,
        ),
        ("description", notes.description == noted.description),
        ("properties", notes.properties == noted.properties),
        ("extra", notes.extra == noted.extra),
    ];
    let differ = compared.iter().filter(|(_, same)| !same);
    differ.map(|(what, _)| *what).collect()
}

/// In order, each once.
pub(super) fn tidy_macs(mut macs: Vec<Mac>) -> Result<Vec<Mac>, Rejected> {
    macs.sort();
    macs.dedup();
    match macs.len() {
        ..=MAX_MACS => Ok(macs),
        count => Err(Rejected::Invalid {
            why: format!("{count} MAC addresses, at most {MAX_MACS}"),
        }),
    }
}

pub(super) fn check_serial(serial: Option<&str>) -> Result<(), Rejected> {
    match serial.is_some_and(|serial| serial.len() > MAX_SERIAL_BYTES) {
        true => Err(Rejected::Invalid {
            why: format!("the serial number is longer than {MAX_SERIAL_BYTES} bytes"),
        }),
        false => Ok(()),
    }
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
    let macs = tidy_macs(macs)?;
    let serial = enrolment.serial;
    check_serial(serial.as_deref())?;
    let found_serial = system.and_then(|system| system.serial.clone());
    let found_serial = found_serial.filter(|serial| serial.len() <= MAX_SERIAL_BYTES);
    let (bmc, secrets) = enrolment.bmc.split();
    let version = Some(ctx.op.clone());
    let notes = profile::noted(&Notes::default(), &enrolment.further)?;
    let notes = Some(notes).filter(|notes| !notes.is_empty());
    let mut node = Node {
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
        secure_boot: enrolment.secure_boot,
        root_device: enrolment.root_device,
        skip_block_devices: enrolment.skip_block_devices,
        resource_class: None,
        owner: None,
        lessee: None,
        traits: Vec::new(),
        protected: None,
        retired: None,
        disable_power_off: false,
        automated_clean: None,
        allocation: None,
        instance: None,
        state: State::Resting(Rest::Enroll),
        since: ctx.now,
        wake_at: None,
        power: None,
        maintenance: None,
        last_error: None,
        bmc_error: None,
        boot: None,
        past_boots: vec![],
        tickets: Tickets::default(),
        found_boot_mode: found.as_ref().map(|inventory| inventory.boot.mode),
        astray: None,
        measured_boot: None,
        collisions: Collisions::default(),
        left_alone: LeftAlone::default(),
        rescue: None,
        password_change: None,
        beside: Versions {
            inventory: found.as_ref().and(version.clone()),
            instance_data: None,
            bmc_secrets: version.clone(),
            rescue_login: None,
            notes: notes.as_ref().and(version),
        },
        counter: 0,
        requests: vec![],
        op: ctx.op.clone(),
    };
    profile::apply(
        &mut node,
        &enrolment.further,
        ctx.now,
        &mut Changes(Vec::new()),
    )?;
    node.schema = node.lowest_schema();
    let inventory = found.map(|inventory| Beside::Inventory(Box::new(inventory)));
    let mut beside = vec![Beside::BmcSecrets(secrets)];
    beside.extend(inventory);
    beside.extend(notes.map(Beside::Notes));
    Ok((node, beside))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Story, access, enrolled, enrolment, inventory};
    use super::super::{Ctx, Decision, Event, Policy, PowerVerb, Rejected, Verb, decide};
    use crate::id::Incarnation;
    use crate::node::{Beside, BesideKind, BmcAccess, Maintenance, Node, Rest, Secret, State};
    use crate::time::Time;
    use ironbeat_common::id::Mac;

    fn happens(node: Option<&Node>, event: Event) -> Result<Decision, Rejected> {
        let secrets = node.map(|_| access().split().1);
        let (op, worker) = ("op1".parse().unwrap(), "w1".parse().unwrap());
        let ctx = Ctx {
            now: Time::from_unix_ms(7),
            op: &op,
            worker: &worker,
            incarnation: Incarnation::default(),
            policy: &Policy::default(),
            inventory: None,
            secrets: secrets.as_ref(),
            instance_data: None,
            notes: None,
            rules: None,
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
        let differs = |other| enroll(other, Some(&first)).unwrap_err().to_string();
        let mut other = enrolment();
        other.serial = Some("another".into());
        let BmcAccess::Ipmi { password, kg, .. } = &mut other.bmc;
        *password = Secret::new("guess");
        *kg = Some("0a0b".parse().unwrap());
        assert_eq!(
            differs(other.clone()),
            "a node with this id exists, and differs in: BMC password, K_g, serial"
        );
        other = enrolment();
        let BmcAccess::Ipmi { username, .. } = &mut other.bmc;
        *username = "root".into();
        assert_eq!(
            differs(other),
            "a node with this id exists, and differs in: BMC"
        );
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
