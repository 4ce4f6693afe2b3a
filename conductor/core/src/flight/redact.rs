//! An event without its secrets, which decides as it did with them, or is known not to.
//! `replay` says which events cannot be decided again without.
use crate::decide::{BmcPatch, Enrolment, Event, Patch, Verb};
use crate::node::{BmcAccess, ConfirmToken, Image, KEPT_BACK, NewInstance, RescueLogin, Secret};
use alloc::boxed::Box;
use alloc::string::ToString;
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::Inventory;

/// In place of a password's hash: what reads one wants this form.
const HASH_KEPT_BACK: &str = "$6$kept$back";

/// And the hash of its token. `found`: what the ramdisk found is kept elsewhere.
pub(super) fn event(event: &Event, found: bool) -> (Event, Option<Digest<32>>) {
    let mut token = None;
    let event = match event {
        Event::Enrolled(enrolment) => Event::Enrolled(Enrolment {
            bmc: access(&enrolment.bmc),
            further: Box::new(patch(&enrolment.further)),
            ..enrolment.clone()
        }),
        Event::Asked { request, verb: it } => {
            token = token_of(it).map(|token| token.sha256.clone());
            Event::Asked {
                request: request.clone(),
                verb: verb(it),
            }
        }
        Event::Booted {
            boot,
            inventory: _,
            proof,
            measured,
        } if found => Event::Booted {
            boot: *boot,
            inventory: Inventory::default(),
            proof: *proof,
            measured: measured.clone(),
        },
        // Of tickets and logins they have public halves, and no message of an agent or a BMC has a secret.
        Event::Booted { .. }
        | Event::Seen { .. }
        | Event::Script { .. }
        | Event::LoginsEnded { .. }
        | Event::Identified { .. }
        | Event::Confirmed { .. }
        | Event::Beat { .. }
        | Event::Bmc { .. }
        | Event::Alarm { .. }
        | Event::WorkerLost { .. }
        | Event::Turn { .. }
        | Event::PasswordFound { .. }
        | Event::PowerRead { .. } => event.clone(),
    };
    (event, token)
}

/// Puts a token with this hash where there was one.
pub(super) fn with_token(event: &mut Event, sha256: Digest<32>) {
    let Event::Asked { verb, .. } = event else {
        return;
    };
    if let Verb::Deploy(instance) | Verb::Adopt(instance) | Verb::Rebuild(Some(instance)) = verb {
        let secret = kept_back();
        instance.token = Some(ConfirmToken { secret, sha256 });
    }
}

fn token_of(verb: &Verb) -> Option<&ConfirmToken> {
    match verb {
        Verb::Deploy(instance) | Verb::Adopt(instance) | Verb::Rebuild(Some(instance)) => {
            instance.token.as_ref()
        }
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Rebuild(None)
        | Verb::Undeploy
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Rescue(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => None,
    }
}

fn verb(verb: &Verb) -> Verb {
    match verb {
        Verb::Deploy(wanted) => Verb::Deploy(instance(wanted)),
        Verb::Rebuild(wanted) => Verb::Rebuild(wanted.as_ref().map(instance)),
        Verb::Adopt(wanted) => Verb::Adopt(instance(wanted)),
        Verb::Rescue(login) => Verb::Rescue(RescueLogin {
            password_hash: login
                .password_hash
                .as_ref()
                .map(|_| Secret::new(HASH_KEPT_BACK)),
            ssh_keys: login.ssh_keys.clone(),
        }),
        Verb::Set(it) => Verb::Set(Box::new(patch(it))),
        Verb::SetPassword(_) => Verb::SetPassword(kept_back()),
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Undeploy
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc => verb.clone(),
    }
}

/// Every field is named: a new one has to be looked at here.
fn instance(wanted: &NewInstance) -> NewInstance {
    let NewInstance {
        image,
        hostname,
        user_data,
        network_data,
        ssh_keys,
        root_device,
        traits,
        deploy_steps,
        confirm,
        token: _,
    } = wanted;
    let kept_back = |data: &Option<_>| data.as_ref().map(|_| KEPT_BACK.to_string());
    NewInstance {
        image: Image {
            source: image.source.kept_back(),
            checksum: image.checksum.clone(),
            format: image.format,
        },
        hostname: hostname.clone(),
        user_data: kept_back(user_data),
        network_data: kept_back(network_data),
        ssh_keys: ssh_keys.clone(),
        root_device: root_device.clone(),
        traits: traits.clone(),
        deploy_steps: deploy_steps.clone(),
        confirm: *confirm,
        token: None,
    }
}

/// K_g is left out: no part of a record follows from it.
fn access(access: &BmcAccess) -> BmcAccess {
    let BmcAccess::Ipmi {
        address,
        username,
        password: _,
        cipher_suite,
        kg: _,
        ipmi_1_5,
    } = access;
    BmcAccess::Ipmi {
        address: address.clone(),
        username: username.clone(),
        password: kept_back(),
        cipher_suite: *cipher_suite,
        kg: None,
        ipmi_1_5: *ipmi_1_5,
    }
}

/// Whatever it says of the BMC is decided with the BMC's secrets, so what stands in for them only has to be readable.
fn patch(patch: &Patch) -> Patch {
    let bmc = patch.bmc.as_ref().map(|bmc| {
        let BmcPatch::Ipmi {
            address,
            username,
            password,
            cipher_suite,
            kg: _,
            ipmi_1_5,
        } = bmc;
        BmcPatch::Ipmi {
            address: address.clone(),
            username: username.clone(),
            password: password.as_ref().map(|_| kept_back()),
            cipher_suite: *cipher_suite,
            kg: None,
            ipmi_1_5: *ipmi_1_5,
        }
    });
    Patch {
        bmc,
        ..patch.clone()
    }
}

fn kept_back() -> Secret {
    Secret::new(KEPT_BACK)
}
