//! The steps of a deploy in the order of their priorities: its own, and those that an operator or a template adds.
//! `plan` chooses the disks; the numbers are Ironic's.
use crate::named::{Bounds, DeployStep, ManualStep};
use crate::node::{AgentStep, BmcAct, Bounded, Step, Work};
use crate::policy::Policy;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::disk::DiskIdentity;

pub(crate) const WRITE_IMAGE: u32 = 80;
pub(crate) const PREPARE_BOOT: u32 = 60;
pub(crate) const LEAVE: u32 = 40;
pub(crate) const BOOT: u32 = 20;

const MAX_STEPS: usize = 64;
const MAX_PRIORITY: u32 = 1_000_000;

/// Whether these may be done in a deploy.
///
/// # Errors
/// Which may not, and why.
pub(crate) fn check(steps: &[DeployStep]) -> Result<(), String> {
    if steps.len() > MAX_STEPS {
        return Err(format!("{} deploy steps, at most {MAX_STEPS}", steps.len()));
    }
    for DeployStep { priority, named } in steps {
        let step = &named.step;
        may_be_at(step, *priority)
            .and_then(|()| named.bounds.check(step))
            .map_err(|why| format!("deploy step {} at {priority}: {why}", step.name()))?;
    }
    Ok(())
}

fn may_be_at(step: &ManualStep, priority: u32) -> Result<(), String> {
    if priority > MAX_PRIORITY {
        return Err(format!("priorities end at {MAX_PRIORITY}"));
    }
    for (taken, by) in [
        (WRITE_IMAGE, "write_image"),
        (PREPARE_BOOT, "prepare_instance_boot"),
        (LEAVE, "tear_down_agent"),
        (BOOT, "boot_instance"),
    ] {
        if priority == taken {
            return Err(format!(
                "{by} has that priority: say whether it comes before or after"
            ));
        }
    }
    match step {
        _ if priority == 0 => Ok(()),
        // A deployed machine was last seen on, in its own system.
        _ if priority < BOOT => Err(format!("a deploy ends with boot_instance, at {BOOT}")),
        ManualStep::Hold | ManualStep::Wait { .. } => Ok(()),
        ManualStep::EraseDevicesMetadata if priority > WRITE_IMAGE => Ok(()),
        ManualStep::EraseDevicesMetadata => Err(format!(
            "it would erase the image; above {WRITE_IMAGE} it comes before that is written"
        )),
        ManualStep::Inspect if priority > LEAVE => Ok(()),
        ManualStep::Inspect => Err(format!(
            "the ramdisk does it, and is left at {LEAVE}; above that it is there"
        )),
        ManualStep::ResetBmc if priority < LEAVE => Ok(()),
        ManualStep::ResetBmc => Err(format!(
            "whoever drives the BMC listens to no ramdisk; below {LEAVE} there is none any more"
        )),
        ManualStep::PowerOn | ManualStep::PowerOff | ManualStep::Reboot => {
            Err("a deploy boots its ramdisk and leaves it by itself".into())
        }
    }
}

/// How many are done.
pub(crate) fn count(steps: &[DeployStep]) -> usize {
    steps.iter().filter(|step| step.priority > 0).count()
}

/// The name of what is done first, where that is not to write the image.
pub(crate) fn before_write(steps: &[DeployStep]) -> Option<&'static str> {
    let before = steps.iter().filter(|step| step.priority > WRITE_IMAGE);
    // Of the same priority the first: `max_by_key` would take the last.
    let first = before.min_by_key(|step| core::cmp::Reverse(step.priority));
    first.map(|step| step.named.step.name())
}

pub(crate) fn erases(steps: &[DeployStep]) -> bool {
    let erases = |step: &DeployStep| step.named.step == ManualStep::EraseDevicesMetadata;
    steps.iter().any(|step| step.priority > 0 && erases(step))
}

/// All in their order; of those with the same priority the one that was given first. `own`: those of the deploy itself. `disks`:
/// those that are erased, where that is asked for.
pub(crate) fn in_order(
    own: Vec<(u32, Step)>,
    added: &[DeployStep],
    disks: &[DiskIdentity],
    policy: &Policy,
) -> Work {
    let mut all: Vec<(u32, Step, Bounds)> = Vec::new();
    all.extend(
        own.into_iter()
            .map(|(priority, step)| (priority, step, Bounds::NONE)),
    );
    for DeployStep { priority, named } in added {
        let step = match named.step {
            ManualStep::Hold => Step::Hold,
            ManualStep::Wait { seconds } => Step::Wait { secs: seconds },
            ManualStep::ResetBmc => Step::Bmc(BmcAct::ResetBmc),
            ManualStep::Inspect => Step::Agent(AgentStep::Inspect {
                lldp_wait_secs: policy.lldp_wait_secs,
            }),
            ManualStep::EraseDevicesMetadata => Step::Agent(AgentStep::EraseMetadata {
                disks: disks.to_vec(),
            }),
            // `check` lets none of them in.
            ManualStep::PowerOn | ManualStep::PowerOff | ManualStep::Reboot => continue,
        };
        if *priority > 0 {
            all.push((*priority, step, named.bounds));
        }
    }
    all.sort_by_key(|(priority, ..)| core::cmp::Reverse(*priority));
    let last = all.len().saturating_sub(1);
    let said = all.iter().enumerate();
    let bounds = said.filter(|(_, (.., bounds))| *bounds != Bounds::NONE);
    let bounds = bounds.map(|(at, (.., bounds))| Bounded {
        follow: last - at,
        bounds: *bounds,
    });
    Work {
        bounds: bounds.collect(),
        steps: all.into_iter().map(|(_, step, _)| step).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn read(json: &str) -> DeployStep {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_step_of_a_deploy_is_refused_where_it_cannot_be_done() {
        for (json, why) in [
            (
                r#"{"step":"hold","priority":80}"#,
                "write_image has that priority",
            ),
            (
                r#"{"step":"hold","priority":20}"#,
                "boot_instance has that priority",
            ),
            (
                r#"{"step":"erase_devices_metadata","priority":70}"#,
                "would erase the image",
            ),
            (r#"{"step":"inspect","priority":30}"#, "left at 40"),
            (
                r#"{"step":"hold","priority":19}"#,
                "ends with boot_instance",
            ),
            (
                r#"{"step":"reset_bmc","priority":50}"#,
                "listens to no ramdisk",
            ),
            (r#"{"step":"reboot","priority":90}"#, "by itself"),
            (r#"{"step":"hold","priority":1000001}"#, "priorities end"),
            (
                r#"{"step":"inspect","priority":90,"tries":0}"#,
                "between 1 and 100",
            ),
        ] {
            let said = check(&[read(json)]).unwrap_err();
            assert!(said.contains(why), "{json}: {said}");
        }
        for json in [
            r#"{"step":"erase_devices_metadata","priority":81}"#,
            r#"{"step":"reset_bmc","priority":39}"#,
            r#"{"step":"wait","args":{"seconds":5},"priority":21}"#,
            r#"{"step":"reboot","priority":0}"#,
        ] {
            assert_eq!(check(&[read(json)]), Ok(()), "{json}");
        }
        let many = vec![read(r#"{"step":"hold","priority":1}"#); 65];
        assert!(check(&many).unwrap_err().contains("at most 64"));
        let none = serde_json::from_str::<DeployStep>(r#"{"step":"hold"}"#).unwrap_err();
        assert!(none.to_string().contains("missing field `priority`"));
    }
}
