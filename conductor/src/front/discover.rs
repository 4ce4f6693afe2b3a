//! An unknown machine becomes a node: the rules say what is said of it, the worker's configuration how its BMC is reached.
//! Nothing is sent to that BMC here: the node rests in `enroll` until somebody manages it.
use crate::discovery::Enroller;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::decide::{Enrolment, Event, Patch};
use ironbeat_core::node::Rest;
use ironbeat_core::rules::{Scope, apply, nobody};
use std::sync::Arc;
use tokio::time::Instant;

/// What became of it, in words for whoever looks at the lookups.
pub(super) async fn discover(
    worker: &Arc<Worker>,
    enroller: &Enroller,
    inventory: &Inventory,
) -> String {
    match enroll(worker, enroller, inventory).await {
        Ok(done) => format!("unknown machine: {done}"),
        Err(why) => format!("unknown machine: discovered, and not enrolled: {why}"),
    }
}

async fn enroll(
    worker: &Arc<Worker>,
    enroller: &Enroller,
    inventory: &Inventory,
) -> Result<String, String> {
    let bmc = inventory.bmc.iter();
    let claimed: Vec<&str> = bmc
        .flat_map(|bmc| [bmc.ipv4.as_deref(), bmc.ipv6.as_deref()])
        .flatten()
        .collect();
    let bmc = enroller.access(&claimed)?;
    if inventory.nics.is_empty() {
        return Err("it has no NIC to be recognised by".into());
    }
    let waiting = worker
        .view
        .pick(|entry| (entry.rest == Some(Rest::Enroll)).then_some(()));
    if waiting.len() >= enroller.max_waiting {
        return Err(format!(
            "{} nodes are in enroll already (auto_discovery.max_waiting)",
            waiting.len()
        ));
    }
    if !enroller.admit(Instant::now()) {
        return Err("too many machines come at once: it asks again".into());
    }
    let rules = worker.store.rules_to_apply().await;
    let rules = rules.map_err(|error| format!("read the inspection rules: {error}"))?;
    if let Some(why) = rules.refused {
        return Err(why);
    }
    let outcome = apply(&rules.all, Scope::Discovery, inventory, &nobody());
    let outcome = outcome.map_err(|failed| failed.to_string())?;
    let id = NodeId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
    let Patch {
        name,
        boot_mode,
        secure_boot,
        root_device,
        skip_block_devices,
        ..
    } = outcome.patch.clone();
    let event = Event::Enrolled(Enrolment {
        id,
        name,
        bmc,
        // These and the rest it takes from the inventory.
        macs: vec![],
        system_uuid: None,
        serial: None,
        boot_mode,
        secure_boot,
        root_device: root_device.unwrap_or_default(),
        skip_block_devices: skip_block_devices.unwrap_or_default(),
        further: Box::new(outcome.patch.clone()),
        inventory: Some(inventory.clone()),
    });
    let node = worker.drive.deliver(id, &event).await;
    let node = node.map_err(|error| outcome.refused(&error.to_string()))?;
    let named = node.name.as_ref().map(ToString::to_string);
    let named = named.unwrap_or_else(|| id.to_string());
    let said = outcome.words(&[]);
    Ok(match said.is_empty() {
        true => format!("enrolled as {named}"),
        false => format!("enrolled as {named}; {said}"),
    })
}
