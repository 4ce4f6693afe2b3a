//! An operator changes a node's description: what may change when, and what is said of it. Secrets are never said.
//! Claims are not decided here: the store finds out whether another node has this name, MAC address or BMC.
#[cfg(test)]
mod tests;

use super::answer::Rejected;
use super::answer::words;
use super::changes::{Changes, after, invalid, on_off, or_none};
use super::draft::Draft;
use super::enroll::{check_serial, tidy_macs};
use super::password;
use super::power::power_is_synced;
use super::profile;
use crate::disks;
use crate::node::{
    Beside, BesideKind, BmcEndpoint, BmcSecrets, During, Maintenance, Node, Rest, State,
};
use crate::patch::{BmcPatch, Clear, Patch};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::BootMode;

pub(super) fn set(draft: &mut Draft<'_>, patch: &Patch) -> Result<String, Rejected> {
    if *patch == Patch::default() {
        return Err(invalid("nothing is given that could change"));
    }
    if let State::Busy(_) = draft.node.state
        && !fits_a_job(patch)
    {
        return Err(Rejected::WrongState {
            verb: "change the BMC, what the machine is recognised by (but for further MAC addresses), its boot mode, its disks or whether it \
                   may be switched off of"
                .into(),
            state: words(&draft.node.state),
        });
    }
    let mut changes = describe_all(draft, patch)?;
    if patch.is_of_bmc() {
        reach_bmc(draft, patch, &mut changes)?;
    }
    Ok(match changes.0.is_empty() {
        true => "the operator changed nothing".into(),
        false => {
            let node = &draft.node;
            let checked = bmc_is_checked(node.state.resting(), node.maintenance.as_ref());
            let secrets = |document: &&Beside| document.kind() == BesideKind::BmcSecrets;
            let then = draft.beside.iter().filter(secrets);
            let then: String = then.map(|_| format!("; {checked}")).collect();
            format!("the operator changed {}{then}", changes.0.join(", "))
        }
    })
}

/// All but the BMC, whatever the state.
pub(super) fn describe_all(draft: &mut Draft<'_>, patch: &Patch) -> Result<Changes, Rejected> {
    let mut changes = Changes(Vec::new());
    describe(&mut draft.node, patch, &mut changes)?;
    profile::apply(&mut draft.node, patch, draft.ctx.now, &mut changes)?;
    if patch.is_of_notes() {
        profile::note(draft, patch, &mut changes)?;
    }
    Ok(changes)
}

/// What no step of a job depends on: a machine that is known by more addresses is still the same, and with another loader it
/// comes to the same ramdisk.
fn fits_a_job(patch: &Patch) -> bool {
    let Patch {
        name: _,
        bmc,
        macs,
        add_macs: _,
        remove_macs,
        system_uuid,
        serial,
        boot_mode,
        secure_boot: _,
        root_device,
        skip_block_devices,
        description: _,
        resource_class: _,
        owner: _,
        lessee: _,
        traits: _,
        add_traits: _,
        remove_traits: _,
        properties: _,
        extra: _,
        protected: _,
        retired: _,
        disable_power_off,
        automated_clean: _,
        clear,
    } = patch;
    let of_machine = macs.is_some()
        || !remove_macs.is_empty()
        || system_uuid.is_some()
        || serial.is_some()
        || boot_mode.is_some()
        || root_device.is_some()
        || skip_block_devices.is_some();
    let clears = |clear: &Clear| match clear {
        Clear::SystemUuid
        | Clear::Serial
        | Clear::BootMode
        | Clear::RootDevice
        | Clear::SkipBlockDevices
        | Clear::CipherSuite
        | Clear::Kg => true,
        Clear::Name
        | Clear::SecureBoot
        | Clear::Description
        | Clear::ResourceClass
        | Clear::Owner
        | Clear::Lessee
        | Clear::Traits
        | Clear::Properties
        | Clear::Extra
        | Clear::Protected
        | Clear::Retired
        | Clear::AutomatedClean => false,
    };
    bmc.is_none() && disable_power_off.is_none() && !of_machine && !clear.iter().any(clears)
}

/// Says what checks the access to a BMC that an operator has changed.
pub fn bmc_is_checked(rest: Option<Rest>, maintenance: Option<&Maintenance>) -> &'static str {
    match rest {
        Some(Rest::Enroll) => "manage checks the access to the BMC",
        Some(_) | None if power_is_synced(rest, maintenance) => {
            "the next power sync checks the access to the BMC"
        }
        Some(_) | None => "the first power sync after maintenance checks the access to the BMC",
    }
}

fn mode(mode: &Option<BootMode>) -> String {
    match mode {
        None => "none",
        Some(BootMode::Bios) => "bios",
        Some(BootMode::Uefi) => "uefi",
    }
    .into()
}

/// All but the BMC.
fn describe(node: &mut Node, patch: &Patch, changes: &mut Changes) -> Result<(), Rejected> {
    let Patch {
        name,
        bmc: _,
        macs,
        add_macs,
        remove_macs,
        system_uuid,
        serial,
        boot_mode,
        secure_boot,
        root_device,
        skip_block_devices,
        description: _,
        resource_class: _,
        owner: _,
        lessee: _,
        traits: _,
        add_traits: _,
        remove_traits: _,
        properties: _,
        extra: _,
        protected: _,
        retired: _,
        disable_power_off: _,
        automated_clean: _,
        clear: _,
    } = patch;
    let name = after(patch, Clear::Name, name.as_ref(), &node.name)?;
    changes.of("name", &node.name, &name, or_none);
    node.name = name;

    let macs = new_macs(&node.macs, macs.as_deref(), add_macs, remove_macs)?;
    let show = |macs: &Vec<Mac>| match macs.as_slice() {
        [] => "none".into(),
        macs => macs
            .iter()
            .map(Mac::to_string)
            .collect::<Vec<_>>()
            .join(" "),
    };
    changes.of("MAC addresses", &node.macs, &macs, show);
    node.macs = macs;

    let uuid = after(
        patch,
        Clear::SystemUuid,
        system_uuid.as_ref(),
        &node.system_uuid,
    )?;
    changes.of("system UUID", &node.system_uuid, &uuid, or_none);
    node.system_uuid = uuid;

    let serial = after(patch, Clear::Serial, serial.as_ref(), &node.serial)?;
    check_serial(serial.as_deref())?;
    changes.of("serial", &node.serial, &serial, or_none);
    node.serial = serial;

    let firmware = after(patch, Clear::BootMode, boot_mode.as_ref(), &node.boot_mode)?;
    changes.of("boot mode", &node.boot_mode, &firmware, mode);
    node.boot_mode = firmware;

    let secure = after(
        patch,
        Clear::SecureBoot,
        secure_boot.as_ref(),
        &node.secure_boot,
    )?;
    changes.of("Secure Boot", &node.secure_boot, &secure, on_off);
    node.secure_boot = secure;

    let present = Some(node.root_device.clone());
    let hints =
        after(patch, Clear::RootDevice, root_device.as_ref(), &present)?.unwrap_or_default();
    hints.check().map_err(|bad| invalid(bad.to_string()))?;
    changes.hidden("root device hints", node.root_device != hints);
    node.root_device = hints;

    let present = Some(node.skip_block_devices.clone());
    let skips = skip_block_devices.as_ref();
    let skips = after(patch, Clear::SkipBlockDevices, skips, &present)?.unwrap_or_default();
    disks::check_skips(&skips).map_err(invalid)?;
    changes.hidden("skip list", node.skip_block_devices != skips);
    node.skip_block_devices = skips;
    Ok(())
}

fn new_macs(
    present: &[Mac],
    all: Option<&[Mac]>,
    add: &[Mac],
    remove: &[Mac],
) -> Result<Vec<Mac>, Rejected> {
    if let Some(unknown) = remove.iter().find(|mac| !present.contains(mac)) {
        return Err(invalid(format!("the node has no MAC address {unknown}")));
    }
    let kept = all
        .unwrap_or(present)
        .iter()
        .filter(|mac| !remove.contains(mac));
    tidy_macs(kept.chain(add).copied().collect())
}

/// Any change is a new version of the secrets: workers remember logins by it. What was known of the power is not known of
/// another BMC.
fn reach_bmc(draft: &mut Draft<'_>, patch: &Patch, changes: &mut Changes) -> Result<(), Rejected> {
    let nothing = BmcPatch::Ipmi {
        address: None,
        username: None,
        password: None,
        cipher_suite: None,
        kg: None,
        ipmi_1_5: None,
    };
    let BmcPatch::Ipmi {
        address,
        username,
        password,
        cipher_suite,
        kg,
        ipmi_1_5,
    } = patch.bmc.as_ref().unwrap_or(&nothing);
    let BmcEndpoint::Ipmi {
        address: old_address,
        username: old_username,
        cipher_suite: old_suite,
        ipmi_1_5: old_1_5,
    } = draft.node.bmc.clone();
    let known = draft.ctx.secrets;
    let Some(new_password) = password.as_ref().or(known.map(|known| &known.password)) else {
        return Err(invalid("the BMC's password is not known: give it too"));
    };
    let other_user = username.as_ref().is_some_and(|user| *user != old_username);
    // Another BMC may have the old password too, and say nothing about this one.
    let other_bmc = address.as_ref().is_some_and(|to| *to != old_address);
    if password.is_some() || other_user || other_bmc {
        password::may_be_replaced(draft)?;
    }
    let old_kg = known.and_then(|known| known.kg.clone());
    let next = known.and_then(|known| known.next.clone());
    let secrets = BmcSecrets {
        password: new_password.clone(),
        kg: after(patch, Clear::Kg, kg.as_ref(), &old_kg)?,
        next: next.filter(|_| password.is_none()),
    };
    let suite = after(patch, Clear::CipherSuite, cipher_suite.as_ref(), &old_suite)?;
    let new_address = address.clone().unwrap_or_else(|| old_address.clone());
    let new_username = username.clone().unwrap_or_else(|| old_username.clone());
    let new_1_5 = ipmi_1_5.unwrap_or(old_1_5);

    let before = changes.0.len();
    changes.of(
        "BMC address",
        &old_address,
        &new_address,
        ToString::to_string,
    );
    changes.of("BMC user", &old_username, &new_username, String::clone);
    changes.hidden("cipher suite", old_suite != suite);
    changes.of("IPMI 1.5", &old_1_5, &new_1_5, |yes| {
        if *yes { "yes" } else { "no" }.into()
    });
    changes.hidden(
        "BMC password",
        known.map(|known| &known.password) != Some(&secrets.password),
    );
    changes.hidden("K_g", old_kg != secrets.kg);
    let is_open = draft.node.password_change.is_some();
    changes.hidden(
        "the change of the BMC's password, which ends",
        is_open && secrets.next.is_none(),
    );
    if changes.0.len() == before {
        return Ok(());
    }
    if new_address != old_address {
        draft.node.power = None;
    }
    draft.node.bmc = BmcEndpoint::Ipmi {
        address: new_address,
        username: new_username,
        cipher_suite: suite,
        ipmi_1_5: new_1_5,
    };
    if secrets.next.is_none() {
        draft.node.password_change = None;
    }
    let error = draft.node.bmc_error.take();
    // All else speaks of an access that is no more.
    draft.node.bmc_error = error.filter(|error| error.during == During::Astray);
    draft.put(Beside::BmcSecrets(secrets));
    Ok(())
}
