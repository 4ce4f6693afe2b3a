//! What the flags of a node keep from it: protected, retired, power off disabled.
//! `profile` says when they can be set; `verbs` asks here before anything begins.
use super::answer::Rejected;
use crate::event::{PowerVerb, Verb};
use crate::node::{BmcAct, Node, Rest};
use alloc::string::ToString;

/// # Errors
/// The flag that keeps this verb from the node, and its reason.
pub(super) fn allow(node: &Node, verb: &Verb) -> Result<(), Rejected> {
    let name = || verb.name().to_string();
    let keeps = Keeps::of(verb);
    if let (true, Some(flag)) = (keeps.protected, &node.protected) {
        let (verb, reason) = (name(), flag.reason.clone());
        return Err(Rejected::Protected { verb, reason });
    }
    if let (true, Some(flag)) = (keeps.retired, &node.retired) {
        let (verb, reason) = (name(), flag.reason.clone());
        return Err(Rejected::Retired { verb, reason });
    }
    // After a failed service it boots the disk, from off to on.
    let boots = matches!(verb, Verb::Abort) && node.state.resting() == Some(Rest::ServiceFailed);
    match (keeps.no_power_off || boots) && node.disable_power_off {
        true => Err(Rejected::PowerOffDisabled { verb: name() }),
        false => Ok(()),
    }
}

/// Which flags keep a verb from a node.
#[derive(Default)]
struct Keeps {
    protected: bool,
    retired: bool,
    no_power_off: bool,
}

impl Keeps {
    /// The ramdisk boots from off to on, and leaves a machine that is off: that proves that nothing of before still runs.
    fn of(verb: &Verb) -> Self {
        let no_power_off = true;
        match verb {
            Verb::Undeploy | Verb::Rebuild(_) => Self {
                protected: true,
                no_power_off,
                ..Self::default()
            },
            Verb::Provide | Verb::Deploy(_) => Self {
                retired: true,
                no_power_off,
                ..Self::default()
            },
            Verb::Inspect
            | Verb::Clean(_)
            | Verb::Service(_)
            | Verb::Rescue(_)
            | Verb::Unrescue
            | Verb::Power(
                PowerVerb::Off
                | PowerVerb::SoftOff { .. }
                | PowerVerb::SoftReboot { .. }
                | PowerVerb::Cycle,
            ) => Self {
                no_power_off,
                ..Self::default()
            },
            Verb::Delete => Self {
                protected: true,
                ..Self::default()
            },
            Verb::Manage
            | Verb::Adopt(_)
            | Verb::Abort
            | Verb::Hold
            | Verb::Unhold
            | Verb::Maintenance(_)
            | Verb::Set(_)
            | Verb::Allocate { .. }
            | Verb::Deallocate(_)
            | Verb::Power(PowerVerb::On | PowerVerb::Reboot | PowerVerb::Reset | PowerVerb::Diag)
            | Verb::BootDevice { .. }
            | Verb::ResetBmc
            | Verb::SetPassword(_) => Self::default(),
        }
    }
}

/// A machine that is not to be switched off is reset, as Ironic does; one that is off is switched on.
pub(super) fn instead_of_off(node: &Node, verb: &Verb) -> Option<BmcAct> {
    let reboots = matches!(verb, Verb::Power(PowerVerb::Reboot));
    let is_on = node.power.as_ref().is_none_or(|power| power.on);
    match (node.disable_power_off && reboots, is_on) {
        (false, _) => None,
        (true, true) => Some(BmcAct::Reset),
        (true, false) => Some(BmcAct::EnsureOn),
    }
}

#[cfg(test)]
mod tests;
