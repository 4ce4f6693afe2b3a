//! A ramdisk's reports (it booted, it beats), and what the conductor wants of it.
//! `lookup` finds the node of a lookup; `alarm` notices silence.
use super::answer::{Effect, Rejected};
use super::astray;
use super::draft::Draft;
use super::job::{FailureOf, HELD};
use super::power;
use super::rules;
use super::ticket::{self, Admitted};
use crate::disks;
use crate::event::Proof;
use crate::node::{
    AgentStep, Beside, BmcAct, Collisions, MeasuredBoot, Node, Phase, Power, PowerSource, Rescue,
    Rest, State, Step,
};
use crate::plan::{self, Plan};
use crate::policy::{OnCollision, OnMeasurement};
use crate::text::said;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use ironbeat_common::heartbeat::{Outcome, Retry, Status, Written};
use ironbeat_common::id::{BootId, StepId};
use ironbeat_common::inventory::Inventory;

/// Characters of an agent's error.
const MAX_ERROR: usize = 2000;

pub(super) fn booted(
    draft: &mut Draft<'_>,
    boot: BootId,
    inventory: &Inventory,
    proof: Proof,
    measured: &MeasuredBoot,
) -> Result<String, Rejected> {
    if is_active(&draft.node) {
        return match proof {
            Proof::NotAsked => astray::looked_up(draft, boot),
            // Its boot script gives no ticket, and a stranger's word must not turn off a machine that works.
            Proof::Missing | Proof::Ticket { .. } => Err(not_wanted(&draft.node)),
        };
    }
    if let Some(why) = refusal(&draft.node, boot) {
        return Err(why);
    }
    if draft.node.boot == Some(boot) {
        ticket::repeats(&draft.node, proof)?;
        return Ok("the same boot looked up again".into());
    }
    if draft.node.is_held() {
        let state = draft.node.state.provision_state();
        return Err(Rejected::AgentNotWanted {
            state: format!("{state}, in maintenance"),
        });
    }
    let before = draft.node.clone();
    if let Admitted::Noted(words) = ticket::admit(draft, proof)? {
        return Ok(words);
    }
    if let Some(refused) = weigh(draft, before, measured) {
        return refused;
    }
    draft.node.boot = Some(boot);
    draft.node.found_boot_mode = Some(inventory.boot.mode);
    let known = draft.ctx.inventory;
    // What lacks a disk does not take the place of what had it: the next try would miss nothing.
    let skips = &draft.node.skip_block_devices;
    if known.is_none() || disks::doubt(inventory, known, skips).is_none() {
        let inventory_now = completed(&with_neighbours(inventory, known), known);
        if known != Some(&inventory_now) {
            draft.put(Beside::Inventory(Box::new(inventory_now)));
        }
    }
    draft.node.power = Some(Power {
        on: true,
        at: draft.ctx.now,
        source: PowerSource::Agent,
    });
    let max_tries = draft.max_tries();
    let job = draft.job();
    let phase = job.phase.clone();
    let because = match phase {
        Phase::AwaitingAgent { .. } => {
            match plan::after_lookup(&draft.node, inventory, known, draft.ctx.policy) {
                Ok(plan) => follow(draft, plan),
                Err(why) => draft.fail(FailureOf::Other, why),
            }
        }
        Phase::AgentStep { .. } if ends_agent(job.step()) => {
            let because = draft.advance();
            format!("the machine rebooted instead of going off: {because}")
        }
        Phase::AgentStep { .. } if job.tries >= max_tries => {
            let what = format!(
                "the machine rebooted in the middle of {} ({} tries)",
                job.step().name(),
                job.tries
            );
            draft.step_failed(FailureOf::Other, what)
        }
        Phase::AgentStep { .. } => begin_again(draft, inventory),
        // The next try begins with what this boot shows.
        Phase::Backoff { .. } | Phase::Held { .. } if matches!(job.step(), Step::Agent(_)) => {
            begin_again(draft, inventory)
        }
        Phase::Held { .. } | Phase::Waiting { .. }
            if matches!(job.step(), Step::Hold | Step::Wait { .. }) =>
        {
            look_again(draft, inventory)
        }
        Phase::InLine { .. }
        | Phase::Held { .. }
        | Phase::Waiting { .. }
        | Phase::Acting { .. }
        | Phase::Backoff { .. } => "the machine rebooted while the BMC was driven".into(),
    };
    // The agent beats as soon as it is welcome: a nudge would make it beat twice.
    draft.effects.retain(|effect| *effect != Effect::Nudge);
    Ok(because)
}

/// Keeps what was measured of a boot that may come in; whether the policy lets it. A boot that it refuses leaves nothing else
/// behind: its ticket is as good as it was.
fn weigh(
    draft: &mut Draft<'_>,
    before: Node,
    measured: &MeasuredBoot,
) -> Option<Result<String, Rejected>> {
    let policy = draft.ctx.policy.measured_boot;
    let measured = (policy != OnMeasurement::Off).then_some(measured);
    draft.node.measured_boot = measured.cloned();
    let refused = measured.filter(|it| policy == OnMeasurement::Require && !it.is_served())?;
    let refused = Rejected::NotMeasured {
        why: refused.to_string(),
    };
    if before.measured_boot.as_ref() == measured {
        return Some(Err(refused));
    }
    draft.node = before;
    draft.node.measured_boot = measured.cloned();
    Some(Ok(refused.to_string()))
}

/// Goes on with the steps after the lookup.
fn follow(draft: &mut Draft<'_>, plan: Plan) -> String {
    let job = draft.job();
    job.steps.truncate(job.at + 1);
    job.steps.extend(plan.steps);
    if let Some(bounds) = plan.bounds {
        job.bounds = bounds;
    }
    let because = draft.advance();
    let Some(left) = plan.left_alone else {
        return because;
    };
    draft.node.left_alone = left;
    match draft.node.left_alone.is_empty() {
        true => because,
        false => format!("{because}; left alone: {}", draft.node.left_alone),
    }
}

/// The machine rebooted in the middle of an agent step.
fn begin_again(draft: &mut Draft<'_>, inventory: &Inventory) -> String {
    let (known, policy) = (draft.ctx.inventory, draft.ctx.policy);
    let plan = match plan::after_reboot(&draft.node, inventory, known, policy) {
        Ok(plan) => plan,
        Err(why) => return draft.fail(FailureOf::Other, why),
    };
    let name = draft.job().step().name();
    let why = format!("the machine rebooted in the middle of {name}");
    let with_others = match goes_on_with(draft, plan) {
        true => ", with other disks",
        false => "",
    };
    draft.job().again = Some(why.clone());
    draft.begin();
    format!("{why}{with_others}: begun again")
}

/// Whether this changes the present step and those that follow.
fn goes_on_with(draft: &mut Draft<'_>, plan: Option<Plan>) -> bool {
    let Some(plan) = plan else {
        return false;
    };
    if let Some(left) = plan.left_alone {
        draft.node.left_alone = left;
    }
    let job = draft.job();
    let changes = job.steps[job.at..] != plan.steps[..];
    job.steps.truncate(job.at);
    job.steps.extend(plan.steps);
    changes
}

/// The machine rebooted while nothing was asked of it: steps that follow may have other disks.
fn look_again(draft: &mut Draft<'_>, inventory: &Inventory) -> String {
    let (known, policy) = (draft.ctx.inventory, draft.ctx.policy);
    match plan::after_reboot(&draft.node, inventory, known, policy) {
        Ok(plan) => {
            goes_on_with(draft, plan);
            "the machine rebooted while nothing was asked of it".into()
        }
        Err(why) => draft.fail(FailureOf::Other, why),
    }
}

/// A lookup does not wait for the switches, as an inspection does: what they said before is kept until they say more.
fn with_neighbours(fresh: &Inventory, known: Option<&Inventory>) -> Inventory {
    let mut fresh = fresh.clone();
    for nic in &mut fresh.nics {
        let before = known.and_then(|known| known.nics.iter().find(|before| before.mac == nic.mac));
        if nic.lldp.is_none() {
            nic.lldp = before.and_then(|before| before.lldp.clone());
        }
    }
    fresh
}

/// Where something could not be read, what is missing is as it was known, unless it is another machine now. The problem is kept, and
/// says what is not fresh.
fn completed(fresh: &Inventory, known: Option<&Inventory>) -> Inventory {
    let mut fresh = fresh.clone();
    let other = |known: &Inventory| {
        let (was, is) = (known.system.uuid, fresh.system.uuid);
        is.is_some() && was.is_some() && was != is
    };
    let Some(known) = known.filter(|known| !fresh.problems.is_empty() && !other(known)) else {
        return fresh;
    };
    let (system, was) = (&mut fresh.system, &known.system);
    system.uuid = system.uuid.or(was.uuid);
    for (is, was) in [
        (&mut system.manufacturer, &was.manufacturer),
        (&mut system.product, &was.product),
        (&mut system.serial, &was.serial),
        (&mut system.sku, &was.sku),
        (&mut system.board_serial, &was.board_serial),
        (&mut system.chassis_serial, &was.chassis_serial),
        (&mut system.asset_tag, &was.asset_tag),
        (&mut system.firmware.vendor, &was.firmware.vendor),
        (&mut system.firmware.version, &was.firmware.version),
        (&mut system.firmware.date, &was.firmware.date),
    ] {
        if is.is_none() {
            is.clone_from(was);
        }
    }
    if fresh.memory.modules.is_empty() {
        fresh.memory.modules.clone_from(&known.memory.modules);
    }
    fresh.memory.installed_bytes = fresh
        .memory
        .installed_bytes
        .or(known.memory.installed_bytes);
    if fresh.bmc.is_none() {
        fresh.bmc.clone_from(&known.bmc);
    }
    fresh
}

pub(super) fn beat(
    draft: &mut Draft<'_>,
    boot: BootId,
    status: &Status,
) -> Result<String, Rejected> {
    if draft.node.boot != Some(boot) {
        return Err(Rejected::UnknownBoot);
    }
    let rival = ticket::lives(draft);
    let because = listen(draft, status);
    Ok(match rival {
        None => because,
        Some(rival) => format!("{rival}; {because}"),
    })
}

/// What the present ramdisk says of its step.
fn listen(draft: &mut Draft<'_>, status: &Status) -> String {
    if draft.node.is_held() {
        return format!("{HELD}: its job waits");
    }
    let Some(Phase::AgentStep { id, .. }) = draft.node.job().map(|job| job.phase.clone()) else {
        return "nothing is asked of the agent".into();
    };
    let ends = draft.node.job().is_some_and(|job| ends_agent(job.step()));
    let now = draft.ctx.now;
    power::lives(&mut draft.node, now);
    let because = match status {
        Status::Done { step, outcome } if *step == id => done(draft, outcome),
        // Its BMC does it as well.
        Status::Failed { step, error } if *step == id && ends => {
            let because = draft.advance();
            let what = said(&error.what, MAX_ERROR);
            format!("the agent did not switch the machine off ({what}): {because}")
        }
        Status::Failed { step, error } if *step == id => {
            let what = said(&error.what, MAX_ERROR);
            match error.retry {
                Retry::Useful => draft.retry(FailureOf::Other, what),
                Retry::Useless => draft.step_failed(FailureOf::Other, what),
            }
        }
        Status::Running { step, .. } if *step == id => return "the step goes on".into(),
        Status::Idle | Status::Running { .. } | Status::Done { .. } | Status::Failed { .. } => {
            // The reply tells it to begin. A record that is only read may be that of a deposed leader, and the job over; to
            // be written it must be the present one.
            if let Phase::AgentStep { seen, .. } = &mut draft.job().phase {
                *seen = now;
            }
            return "the agent is told what to do".into();
        }
    };
    // The reply to this very beat carries the next step.
    draft.effects.retain(|effect| *effect != Effect::Nudge);
    because
}

/// Whether the ramdisk's life ends with it.
fn ends_agent(step: &Step) -> bool {
    match step {
        Step::Agent(step) => step.ends_agent(),
        Step::Bmc(_) | Step::AwaitAgent | Step::Hold | Step::Wait { .. } => false,
    }
}

/// The step is done. Each says what it is there to say: of another step's outcome nothing is believed.
fn done(draft: &mut Draft<'_>, outcome: &Outcome) -> String {
    let Step::Agent(step) = draft.job().step().clone() else {
        return draft.advance();
    };
    match (step, outcome) {
        (AgentStep::Inspect { .. }, Outcome::Inventory(inventory)) => inspected(draft, inventory),
        (AgentStep::WriteImage(_), Outcome::Written(written)) => wrote(draft, written),
        (AgentStep::Rescue(_), Outcome::Rescued(rescued)) => {
            draft.node.rescue = Some(Rescue::of(rescued));
            draft.advance()
        }
        // Nobody may say that people are let in but who says where.
        (AgentStep::Rescue(_), Outcome::Nothing | Outcome::Inventory(_) | Outcome::Written(_)) => {
            let what = "the agent does not say how its rescue system is reached";
            draft.fail(FailureOf::Other, what.into())
        }
        (
            AgentStep::Inspect { .. }
            | AgentStep::WriteImage(_)
            | AgentStep::SetBootEntry { .. }
            | AgentStep::EraseMetadata { .. }
            | AgentStep::PowerOff,
            Outcome::Nothing | Outcome::Inventory(_) | Outcome::Written(_) | Outcome::Rescued(_),
        ) => draft.advance(),
    }
}

/// An inspection that finishes has the last word on what disks there are, unless it could not see them.
fn inspected(draft: &mut Draft<'_>, inventory: &Inventory) -> String {
    if let Some(doubt) = disks::doubt(inventory, None, &draft.node.skip_block_devices) {
        return draft.step_failed(
            FailureOf::Other,
            format!("the inspection could not see all disks ({doubt})"),
        );
    }
    let inventory = completed(inventory, draft.ctx.inventory);
    let ruled = rules::rule(draft, &inventory);
    // What a rule does not like is to be seen.
    draft.put(Beside::Inventory(Box::new(inventory)));
    match ruled {
        Ok(said) if said.is_empty() => draft.advance(),
        Ok(said) => format!("{}; {said}", draft.advance()),
        Err(why) => draft.fail(FailureOf::Other, why),
    }
}

/// The image is on its disk; what other disks have follows by policy.
fn wrote(draft: &mut Draft<'_>, written: &Written) -> String {
    draft.node.collisions = Collisions::of(&written.collisions);
    let collisions = draft.node.collisions.clone();
    let refuses = draft.ctx.policy.disk_collisions == OnCollision::Refuse;
    match (collisions.is_empty(), refuses) {
        (true, _) => draft.advance(),
        (false, true) => {
            let what = format!(
                "the image is written, but another disk may be taken for it (policy disk_collisions = \"refuse\"): {collisions}"
            );
            draft.fail(FailureOf::Other, what)
        }
        (false, false) => {
            let words = match collisions.are_harmless() {
                true => "other disks were made harmless",
                false => "another disk may be taken for the deployed one",
            };
            format!("{}; {words}: {collisions}", draft.advance())
        }
    }
}

fn is_active(node: &Node) -> bool {
    node.state == State::Resting(Rest::Active)
}

/// Why a lookup of this boot is refused, whatever the machine is made of and whenever it comes. That of an active node is
/// noted, and so needs a decision.
pub fn refusal(node: &Node, boot: BootId) -> Option<Rejected> {
    if is_active(node) {
        return None;
    }
    if node.past_boots.contains(&boot) {
        return Some(Rejected::OldBoot);
    }
    (!wants_agent(node)).then(|| not_wanted(node))
}

fn not_wanted(node: &Node) -> Rejected {
    Rejected::AgentNotWanted {
        state: node.state.provision_state().to_string(),
    }
}

/// Whether the lookup of this boot changes the node.
pub(super) fn is_awaited(node: &Node, boot: BootId) -> bool {
    node.boot != Some(boot) && !is_active(node) && !node.is_held() && refusal(node, boot).is_none()
}

/// Whether it brings an inventory of which something could not be read.
pub(super) fn lacks_something(status: &Status) -> bool {
    match status {
        Status::Done {
            outcome: Outcome::Inventory(inventory),
            ..
        } => !inventory.problems.is_empty(),
        Status::Idle | Status::Running { .. } | Status::Done { .. } | Status::Failed { .. } => {
            false
        }
    }
}

/// Whether a ramdisk that calls now is of use: its boot is over and a later step needs it.
fn wants_agent(node: &Node) -> bool {
    node.job().is_some_and(|job| {
        let booting = *job.step() == Step::Bmc(BmcAct::Netboot);
        !booting
            && job.steps[job.at..]
                .iter()
                .any(|step| matches!(step, Step::AwaitAgent | Step::Agent(_)))
    })
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// Nothing new: the agent goes on with its step.
    Idle,
    Step {
        id: StepId,
        step: &'a AgentStep,
    },
    LookUp,
}

/// The reply to a heartbeat: a function of the record and of the agent's status.
pub fn wanted<'a>(node: &'a Node, boot: BootId, status: &Status) -> Wanted<'a> {
    if node.boot != Some(boot) {
        return Wanted::LookUp;
    }
    if node.is_held() {
        return Wanted::Idle;
    }
    let at = match status {
        Status::Idle => None,
        Status::Running { step, .. } | Status::Done { step, .. } | Status::Failed { step, .. } => {
            Some(*step)
        }
    };
    match &node.state {
        State::Busy(job) => match (job.step(), &job.phase) {
            (Step::Agent(_), Phase::AgentStep { id, .. }) if at == Some(*id) => Wanted::Idle,
            (Step::Agent(step), Phase::AgentStep { id, .. }) => Wanted::Step { id: *id, step },
            (
                Step::Agent(_) | Step::Bmc(_) | Step::AwaitAgent | Step::Hold | Step::Wait { .. },
                _,
            ) => Wanted::Idle,
        },
        State::Resting(_) => Wanted::Idle,
    }
}
