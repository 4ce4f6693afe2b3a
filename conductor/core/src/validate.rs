//! What is missing before a node can do what it may be asked for, by Ironic's interfaces. Nothing is asked of its BMC: `bmc check` does
//! that.
//! The conductor hands in what lies beside the record, and whether machines can boot from the network at all.
use crate::disks;
use crate::lookup::weak_identity;
use crate::node::Node;
use crate::plan::root_disk;
use crate::policy::Policy;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::inventory::Inventory;
use serde::{Deserialize, Serialize};

/// One interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Validation {
    /// Ironic's name.
    pub interface: String,
    /// None: the node has none of this kind, or it cannot be known yet.
    pub result: Option<bool>,
    /// What is missing, or worth knowing.
    pub reason: String,
}

/// What a node is looked at with.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub inventory: Option<&'a Inventory>,
    /// Why machines may not boot from the network; none: nothing is known against it.
    pub no_network_boot: Option<&'a str>,
    pub policy: &'a Policy,
}

type Found = (Option<bool>, String);

/// In the order of Ironic's list.
pub fn validate(node: &Node, known: Known<'_>) -> Vec<Validation> {
    let none = |why: &str| (None, why.to_string());
    let bmc = bmc(node);
    let boot = boot(node, known);
    let rows: [(&str, Found); 13] = [
        ("bios", none("settings of the firmware are not changed")),
        ("boot", boot.clone()),
        ("console", bmc.clone()),
        ("deploy", both(&kept_from(node, true), &deploy(node, known))),
        ("firmware", none("firmware is not written")),
        ("inspect", both(&kept_from(node, false), &both(&boot, &bmc))),
        ("management", bmc.clone()),
        (
            "network",
            none("machines stay on the networks that they are on"),
        ),
        ("power", bmc.clone()),
        ("raid", none("arrays are not made")),
        (
            "rescue",
            both(&kept_from(node, false), &rescue(known.policy, &boot)),
        ),
        ("storage", none("machines boot from their own disks")),
        ("vendor", bmc),
    ];
    let rows = rows.into_iter();
    rows.map(|(interface, (result, reason))| Validation {
        interface: interface.into(),
        result,
        reason,
    })
    .collect()
}

fn bmc(node: &Node) -> Found {
    if node.beside.bmc_secrets.is_none() {
        let why = "no password of the BMC is known: node set NODE --bmc-password-file FILE";
        return (Some(false), why.into());
    }
    match &node.bmc_error {
        Some(error) => (
            Some(false),
            format!("at {} the BMC failed: {}", error.at, error.what),
        ),
        None => (Some(true), String::new()),
    }
}

fn boot(node: &Node, known: Known<'_>) -> Found {
    match (weak_identity(node), known.no_network_boot) {
        (Some(why), _) => (Some(false), why),
        (None, Some(why)) => (Some(false), why.into()),
        (None, None) => (Some(true), String::new()),
    }
}

/// What a flag of the node keeps from it: `serves` where somebody would be served.
fn kept_from(node: &Node, serves: bool) -> Found {
    match &node.retired {
        Some(flag) if serves => (Some(false), format!("the node is retired: {}", flag.reason)),
        Some(_) | None if node.disable_power_off => {
            let why = "its power off is disabled: node set NODE --power-off on";
            (Some(false), why.into())
        }
        Some(_) | None => (Some(true), String::new()),
    }
}

fn both(first: &Found, second: &Found) -> Found {
    match first.0 {
        Some(true) => second.clone(),
        Some(false) | None => first.clone(),
    }
}

/// The disk that would be written, where it can be said.
fn deploy(node: &Node, known: Known<'_>) -> Found {
    let Some(inventory) = known.inventory else {
        let why =
            "its disks are not known yet: node inspect NODE, or the deploy itself, finds them";
        return (None, why.into());
    };
    if let Some(doubt) = disks::doubt(inventory, None, &node.skip_block_devices) {
        return (Some(false), format!("not all disks can be seen: {doubt}"));
    }
    match root_disk(node, node.instance.as_ref(), inventory) {
        Ok(disk) => {
            let disk = DiskIdentity::of(&disk);
            (Some(true), format!("{disk} would be written"))
        }
        Err(why) => (Some(false), why.to_string()),
    }
}

fn rescue(policy: &Policy, boot: &Found) -> Found {
    match policy.rescue_system() {
        Err(why) => (Some(false), why),
        Ok(_) => boot.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{enrolled, inventory};

    fn of(node: &Node, known: Known<'_>, interface: &str) -> Found {
        let rows = validate(node, known);
        let row = rows.into_iter().find(|row| row.interface == interface);
        let row = row.expect("Ironic has it");
        (row.result, row.reason)
    }

    #[test]
    fn a_node_says_per_interface_what_is_missing() {
        let policy = Policy::default();
        let found = inventory(&["S1"]);
        let known = Known {
            inventory: Some(&found),
            no_network_boot: None,
            policy: &policy,
        };
        let node = enrolled();
        assert_eq!(of(&node, known, "power"), (Some(true), String::new()));
        let (result, reason) = of(&node, known, "deploy");
        assert_eq!(result, Some(true));
        assert!(reason.contains("serial S1"), "{reason}");
        let (result, reason) = of(&node, known, "rescue");
        assert_eq!(result, Some(false));
        assert!(reason.contains("policy.rescue_image"), "{reason}");
        assert_eq!(of(&node, known, "raid").0, None);

        let blind = Known {
            inventory: None,
            no_network_boot: Some("no dnsmasq reads the files"),
            ..known
        };
        assert_eq!(of(&node, blind, "deploy").0, None);
        let refused = (Some(false), "no dnsmasq reads the files".to_string());
        assert_eq!(of(&node, blind, "boot"), refused);
        assert_eq!(of(&node, blind, "inspect"), refused);

        let mut bare = node;
        (bare.macs, bare.system_uuid, bare.serial) = (Vec::new(), None, None);
        bare.beside.bmc_secrets = None;
        assert_eq!(of(&bare, known, "boot").0, Some(false));
        let (result, reason) = of(&bare, known, "power");
        assert_eq!(result, Some(false));
        assert!(reason.contains("--bmc-password-file"), "{reason}");
        let mut stays_on = enrolled();
        stays_on.disable_power_off = true;
        for interface in ["deploy", "inspect", "rescue"] {
            let (result, reason) = of(&stays_on, known, interface);
            assert_eq!(result, Some(false), "{interface}");
            assert!(reason.contains("power off is disabled"), "{reason}");
        }
        let two = inventory(&["S1", "S2"]);
        let mut same = two.clone();
        for disk in &mut same.disks {
            (disk.serial, disk.size_bytes) = (None, 1 << 40);
        }
        let tied = Known {
            inventory: Some(&same),
            ..known
        };
        assert_eq!(of(&bare, tied, "deploy").0, Some(false));
    }
}
