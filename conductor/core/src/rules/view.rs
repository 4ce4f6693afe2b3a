//! What rules see of a machine and of its node, as JSON: the inventory with Ironic's names beside ours, and what can be changed.
//! `text` looks things up in it, `action` changes the node's part.
use crate::node::{BmcEndpoint, Node, Notes};
use alloc::string::ToString;
use alloc::vec::Vec;
use ironbeat_common::inventory::{BootMode, Inventory, Nic};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The inventory as it is stored and shown, and in it what ironic-python-agent calls the same.
pub(super) fn inventory(found: &Inventory) -> Value {
    let mut all = plain(found);
    let system = &found.system;
    let firmware = &system.firmware;
    add(
        &mut all,
        "system_vendor",
        json!({
            "product_name": system.product,
            "serial_number": system.serial,
            "manufacturer": system.manufacturer,
            "firmware": {
                "vendor": firmware.vendor,
                "version": firmware.version,
                "build_date": firmware.date,
            },
        }),
    );
    let memory = &mut all["memory"];
    add(memory, "total", found.memory.total_bytes.into());
    let installed = found.memory.installed_bytes;
    let mib = installed.unwrap_or(found.memory.total_bytes) >> 20;
    add(memory, "physical_mb", mib.into());
    let cpu = &mut all["cpu"];
    add(cpu, "model_name", found.cpu.model.clone().into());
    add(cpu, "socket_count", found.cpu.sockets.into());
    let bmc = found.bmc.as_ref();
    let address = |text: Option<&str>| plain(&text);
    let v4 = bmc.and_then(|bmc| bmc.ipv4.as_deref());
    let v6 = bmc.and_then(|bmc| bmc.ipv6.as_deref());
    let mac = bmc.and_then(|bmc| bmc.mac).map(|mac| mac.to_string());
    add(&mut all, "bmc_address", address(v4));
    add(&mut all, "bmc_v6address", address(v6));
    add(&mut all, "bmc_mac", address(mac.as_deref()));
    let boot = &mut all["boot"];
    let mode = match found.boot.mode {
        BootMode::Bios => "bios",
        BootMode::Uefi => "uefi",
    };
    add(boot, "current_boot_mode", mode.into());
    let from = found.boot.interface.map(|mac| mac.to_string());
    add(boot, "pxe_interface", address(from.as_deref()));
    let interfaces: Vec<Value> = found.nics.iter().map(interface).collect();
    add(&mut all, "interfaces", interfaces.into());
    for (at, disk) in found.disks.iter().enumerate() {
        if let Some(shown) = all["disks"].get_mut(at) {
            add(shown, "size", disk.size_bytes.into());
        }
    }
    all
}

fn interface(nic: &Nic) -> Value {
    let mut shown = plain(nic);
    add(&mut shown, "mac_address", nic.mac.to_string().into());
    add(&mut shown, "has_carrier", nic.carrier.into());
    let address = |v4: bool| {
        let bare = nic.addresses.iter().map(|it| it.split('/').next());
        let mut bare = bare.flatten();
        plain(&bare.find(|it| it.contains(':') != v4))
    };
    add(&mut shown, "ipv4_address", address(true));
    add(&mut shown, "ipv6_address", address(false));
    shown
}

fn plain(what: &impl Serialize) -> Value {
    serde_json::to_value(what).unwrap_or_default()
}

fn add(to: &mut Value, key: &str, value: Value) {
    if let Some(object) = to.as_object_mut() {
        object.insert(key.to_string(), value);
    }
}

/// A node that is not there yet.
pub fn nobody() -> Value {
    json!({ "traits": [], "properties": Map::new(), "extra": Map::new() })
}

/// What is said of a node: what rules can change, and a few things more that they can ask for.
pub fn node_view(node: &Node, notes: Option<&Notes>) -> Value {
    let none = Notes::default();
    let notes = notes.unwrap_or(&none);
    let BmcEndpoint::Ipmi { address, .. } = &node.bmc;
    let mut view = json!({
        "uuid": node.id,
        "name": node.name,
        "provision_state": node.state.provision_state(),
        "macs": node.macs,
        "bmc_address": address,
        "serial": node.serial,
        "system_uuid": node.system_uuid,
        "description": notes.description,
        "resource_class": node.resource_class,
        "owner": node.owner,
        "lessee": node.lessee,
        "boot_mode": node.boot_mode,
        "secure_boot": node.secure_boot,
        "automated_clean": node.automated_clean,
        "traits": node.traits,
        "properties": notes.properties,
        "extra": notes.extra,
    });
    if node.root_device != Default::default() {
        add(&mut view, "root_device", plain(&node.root_device));
    }
    if !node.skip_block_devices.is_empty() {
        add(
            &mut view,
            "skip_block_devices",
            plain(&node.skip_block_devices),
        );
    }
    view
}
