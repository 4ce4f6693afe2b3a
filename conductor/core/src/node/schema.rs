//! Which version a record has: the lowest whose workers lose nothing of it. So workers of two versions run side by side, and those of the
//! older one leave alone exactly the nodes that use what they do not know.
//! A field that is added to a record does not compile until it has its place here; `records` of the conductor refuses later versions.
use super::instance::Instance;
use super::job::{Job, State};
use super::spec::{JobKind, Rest};
use super::step::Step;
use super::{Node, Versions};

/// The latest version that this worker understands: the second has manual cleanings, services, rescues, steps with bounds or in a deploy,
/// and what is said of a node beyond its machine.
pub const SCHEMA: u32 = 2;

impl Node {
    /// The version that this record has to have.
    pub fn lowest_schema(&self) -> u32 {
        match needs_second(self) {
            true => 2,
            false => 1,
        }
    }
}

fn needs_second(node: &Node) -> bool {
    let Node {
        // Of the first version.
        schema: _,
        id: _,
        name: _,
        bmc: _,
        macs: _,
        system_uuid: _,
        serial: _,
        boot_mode: _,
        secure_boot: _,
        root_device: _,
        skip_block_devices: _,
        since: _,
        wake_at: _,
        power: _,
        maintenance: _,
        last_error: _,
        bmc_error: _,
        boot: _,
        past_boots: _,
        tickets: _,
        found_boot_mode: _,
        measured_boot: _,
        astray: _,
        collisions: _,
        left_alone: _,
        password_change: _,
        counter: _,
        requests: _,
        op: _,
        // Of the second.
        resource_class,
        owner,
        lessee,
        traits,
        protected,
        retired,
        disable_power_off,
        automated_clean,
        allocation,
        rescue,
        // Some of them.
        instance,
        state,
        beside,
    } = node;
    let Versions {
        inventory: _,
        instance_data: _,
        bmc_secrets: _,
        rescue_login,
        notes,
    } = beside;
    [resource_class, owner, lessee]
        .into_iter()
        .any(Option::is_some)
        || [protected, retired].into_iter().any(Option::is_some)
        || [rescue_login, notes].into_iter().any(Option::is_some)
        || !traits.is_empty()
        || *disable_power_off
        || automated_clean.is_some()
        || allocation.is_some()
        || rescue.is_some()
        || instance.as_ref().is_some_and(of_instance)
        || match state {
            State::Resting(rest) => of_rest(*rest),
            State::Busy(job) => of_job(job),
        }
}

fn of_instance(instance: &Instance) -> bool {
    let Instance {
        image: _,
        hostname: _,
        ssh_keys: _,
        root_device: _,
        confirm: _,
        traits,
        deploy_steps,
    } = instance;
    !traits.is_empty() || !deploy_steps.is_empty()
}

fn of_rest(rest: Rest) -> bool {
    match rest {
        Rest::ManualCleanFailed
        | Rest::ServiceFailed
        | Rest::Rescue
        | Rest::RescueFailed
        | Rest::UnrescueFailed => true,
        Rest::Enroll
        | Rest::Manageable
        | Rest::Available
        | Rest::Active
        | Rest::InspectFailed
        | Rest::AdoptFailed
        | Rest::DeployFailed
        | Rest::CleanFailed
        | Rest::Error => false,
    }
}

fn of_job(job: &Job) -> bool {
    let Job {
        goal: _,
        began: _,
        at: _,
        tries: _,
        boots: _,
        again: _,
        place: _,
        hold: _,
        phase: _,
        kind,
        steps,
        bounds,
        went_on,
    } = job;
    let second = |step: &Step| match step {
        Step::Hold | Step::Wait { .. } => true,
        Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) => false,
    };
    let kind = match kind {
        JobKind::ManualClean | JobKind::Service | JobKind::Rescue | JobKind::Unrescue => true,
        JobKind::Verify
        | JobKind::Inspect
        | JobKind::Adopt
        | JobKind::Deploy
        | JobKind::Delete
        | JobKind::Clean
        | JobKind::Bmc => false,
    };
    kind || !bounds.is_empty() || *went_on || steps.iter().any(second)
}

#[cfg(test)]
mod tests {
    use crate::decide::Verb;
    use crate::decide::tests::Story;
    use serde_json::json;

    #[test]
    fn a_record_has_the_lowest_version_that_loses_nothing_of_it() {
        let story = Story::available();
        assert_eq!(story.node.schema, 1);
        let say = |said| Verb::set(serde_json::from_value(said).unwrap());
        let story = story.ask(say(json!({ "owner": "a" })));
        assert_eq!(story.node.schema, 2);
        // Workers of before may have it again.
        let story = story.ask(say(json!({ "clear": ["owner"] })));
        assert_eq!(story.node.schema, 1);
        let wish = json!({ "steps": [{ "step": "power_off" }] });
        let clean = Verb::Clean(serde_json::from_value(wish).unwrap());
        let story = story.ask(Verb::Manage).ask(clean);
        assert_eq!(story.node.schema, 2);
    }
}
