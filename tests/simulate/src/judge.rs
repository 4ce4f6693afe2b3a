//! What must be true after every step: of the records, and of the metal.
//! What a run has seen besides is in `tally`.
//!
//! Margins, where a late act is allowed, and why:
//! - A BMC command: none. A worker sends nothing from seven seconds after its last renewal on, or five before its budget
//!   ends; others take over at ten, or at the end; a command travels for two at most. So when it arrives, the record still
//!   names the act.
//! - A step begins up to five seconds after the record stopped wanting it: for so long an agent believes an answer.
//! - A machine has left its ramdisk when its BMC has said that it is off; of one that lied about that nobody could know.
//! - A step that runs goes on while its machine is being turned off for that, or until the agent's next beat: 0.6 of 300 s
//!   and an answer's time. While there is no worker nobody can tell it: it asks again within a minute.
use crate::agent::ANSWER_MS;
use crate::asks::Command;
use crate::disks::Content;
use crate::scene::FIRST_PASSWORD;
use crate::{World, scene};
use ironbeat_common::id::{BootId, NodeId, StepId};
use ironbeat_common::login::UserKey;
use ironbeat_core::decide::{Proof, power_is_synced};
use ironbeat_core::explain::explain;
use ironbeat_core::id::OpId;
use ironbeat_core::invariant;
use ironbeat_core::node::{BmcAct, Job, JobKind, Node, Phase, Rest, State, Step};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Judge {
    pub violations: Vec<String>,
    /// Keys of agents that the servers accept no longer.
    pub ended: BTreeSet<UserKey>,
    /// When the record stopped wanting a step.
    left: BTreeMap<(NodeId, BootId, StepId), u64>,
}

/// After the end of a job nothing of it goes on for longer: the longest time to the next beat, and its answer's.
const BEAT_MS: u64 = 180_000 + ANSWER_MS;
/// Agents that find no worker ask again within 45 s; a worker that starts answers after ten.
const UNHEARD_MS: u64 = 60_000;
const REMEMBERED_MS: u64 = 3_600_000;

/// Its job is held by an operator's maintenance, which does not end by itself.
pub(crate) fn is_an_operators(node: &Node) -> bool {
    let maintenance = node.maintenance.as_ref();
    node.is_held() && maintenance.is_some_and(|it| it.fault.is_none())
}

impl Judge {
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }
}

/// How records say that the time for something was over.
const TIME_OVER: [&str; 5] = [
    "did not report in time",
    "no ramdisk has called",
    "has sent no heartbeat since",
    "its whole budget",
    "has made no progress",
];

/// Why its last job failed and its last verb for the BMC, and why the present step pauses.
fn said(node: &Node) -> [Option<&str>; 3] {
    let [error, bmc] = [&node.last_error, &node.bmc_error]
        .map(|error| error.as_ref().map(|error| error.what.as_str()));
    let pause = match node.job().map(|job| &job.phase) {
        Some(Phase::Backoff { because, .. }) => Some(because.as_str()),
        Some(
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. },
        )
        | None => None,
    };
    [error, bmc, pause]
}

fn agent_step(node: &Node) -> Option<(BootId, StepId)> {
    match node.job().map(|job| &job.phase) {
        Some(Phase::AgentStep { id, .. }) => Some((node.boot?, *id)),
        Some(
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. },
        )
        | None => None,
    }
}

fn acting(node: &Node) -> Option<&OpId> {
    match node.job().map(|job| &job.phase) {
        Some(Phase::Acting { op, .. }) => Some(op),
        Some(
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. },
        )
        | None => None,
    }
}

/// The present step turns the machine off, at least for a moment.
fn turns_off(job: &Job) -> bool {
    matches!(
        job.step(),
        Step::Bmc(BmcAct::PowerOff | BmcAct::Netboot | BmcAct::LeaveRamdisk { .. })
    )
}

impl World {
    /// A record was saved.
    pub(crate) fn saved(&mut self, worker: usize, before: Option<&Node>, after: Option<&Node>) {
        let words = |node: Option<&Node>| {
            let step = node.and_then(Node::job).map(|job| job.step().name());
            let state = node.map_or("none", |node| node.state.provision_state());
            let errors = node
                .into_iter()
                .flat_map(|node| [&node.last_error, &node.bmc_error]);
            let error: String = errors
                .flatten()
                .map(|error| format!(" ({})", error.what))
                .collect();
            format!("{state} {}{error}", step.unwrap_or_default())
        };
        let id = after.or(before).map(|node| node.id);
        let machine = id.and_then(|id| self.machine_of(id)).unwrap_or(usize::MAX);
        self.note("record", machine, || {
            let op = after.map_or("", |node| node.op.as_str());
            format!("{} → {} by w{worker}, {op}", words(before), words(after))
        });
        if let Some(after) = after
            && let Err(broken) = invariant::check(after)
        {
            self.judge.violation(format!("{}: {broken}", after.id));
        }
        if before.is_none() && after.is_some() {
            // Whoever enrols it has looked which password it has.
            if let Some(it) = self.machines.get_mut(machine) {
                it.password = FIRST_PASSWORD;
            }
        }
        if machine < self.machines.len() {
            self.judge_password(machine);
        }
        // A place among the jobs of a kind is one too, so there are never more of them than may be.
        let place = |job: &Job| (job.kind, job.place);
        let claims = |node: &Node| {
            let place = node.job().map(place);
            (
                node.name.clone(),
                node.bmc.clone(),
                node.macs.clone(),
                place,
            )
        };
        if before.map(claims) != after.map(claims)
            && let Some(shared) = self.store.shared_claim()
        {
            self.judge.violation(shared);
        }
        if let Some(before) = before
            && let Some((boot, step)) = agent_step(before)
            && after.and_then(agent_step) != Some((boot, step))
        {
            let now = self.now;
            self.judge
                .left
                .retain(|_, at| now.saturating_sub(*at) < REMEMBERED_MS);
            self.judge.left.insert((before.id, boot, step), now);
        }
        if before.map(said) != after.map(said)
            && let Some(said) = after.map(said)
        {
            let said = said.into_iter().flatten();
            let over = said.filter(|what| TIME_OVER.iter().any(|words| what.contains(words)));
            let secs = (self.now - scene::BEGIN) / 1000;
            let over = over.map(|what| format!("{secs} s: machine {machine}: {what}"));
            self.tally.timeouts.extend(over);
        }
        if let (Some(before), Some(after)) = (before, after) {
            self.judge_boot(before, after);
        }
        if let (Some(before), Some(after)) = (before, after)
            && let (State::Busy(job), State::Resting(rest)) = (&before.state, &after.state)
        {
            self.comes_to_rest(machine, job, *rest, after);
        }
    }

    fn comes_to_rest(&mut self, machine: usize, job: &Job, rest: Rest, after: &Node) {
        let Some(it) = self.machines.get(machine) else {
            return;
        };
        let contents = || it.disks.iter().map(|disk| disk.content);
        match (job.kind, rest) {
            (JobKind::Clean, Rest::Available) => {
                if contents().any(|content| content != Content::Blank) {
                    let words = format!("machine {machine} is available, not erased");
                    self.judge.violation(words);
                }
            }
            (JobKind::Deploy, Rest::Active) => {
                if contents().all(|content| content != Content::Image) {
                    self.judge
                        .violation(format!("machine {machine} is active without its image"));
                }
            }
            (_, _) => {}
        }
        // A service that has not booted the ramdisk says nothing of what runs.
        let booted = job.steps[..job.at].contains(&Step::Bmc(BmcAct::Netboot));
        if booted && rest == Rest::Active {
            let deployed = after.past_boots.last().copied();
            if it.ramdisk().is_some() && it.ramdisk() == deployed && !it.seen_off_wrongly {
                self.judge.violation(format!(
                    "machine {machine} is active, and has not left the ramdisk"
                ));
            }
        }
    }

    /// A boot takes the place of another: it has the ticket of the last boot script, and the login before it is to be ended.
    fn judge_boot(&mut self, before: &Node, after: &Node) {
        if before.boot == after.boot {
            return;
        }
        if let Some(was) = &before.tickets.used
            && !after.tickets.ended.iter().any(|it| it.key == was.key)
        {
            let what = format!("{}: a boot is over, and its login is not", after.id);
            self.judge.violation(what);
        }
        let Some(boot) = after.boot else { return };
        let key = after.tickets.used.as_ref().map(|it| it.key);
        if key.is_some_and(|key| self.judge.ended.contains(&key)) {
            let what = format!("{}: {boot} comes with a key that was ended", after.id);
            self.judge.violation(what);
        }
        let open = before.tickets.open.as_ref().map(|it| it.key);
        let used = after.tickets.used.as_ref().map(|it| it.ticket);
        if open.is_none() || used != open {
            let what = format!(
                "{}: {boot} is welcome with {used:?}, and the present ticket is {open:?}",
                after.id
            );
            self.judge.violation(what);
        }
    }

    /// Whoever is told that it is welcome has shown what the record names. A worker that was stopped may tell it late: then the
    /// servers take the key no longer.
    pub(crate) fn judge_welcome(&mut self, node: &Node, proof: Proof) {
        let used = node.tickets.used.as_ref();
        let good = match proof {
            Proof::Ticket { ticket, key } => {
                used.is_some_and(|used| used.ticket == ticket && used.key == key)
            }
            Proof::NotAsked | Proof::Missing => false,
        };
        if !good {
            let what = format!("{}: welcome with {proof:?}, and not {used:?}", node.id);
            self.judge.violation(what);
        }
    }

    pub(crate) fn judge_command(
        &mut self,
        machine: usize,
        node: NodeId,
        op: Option<&OpId>,
        command: Command,
    ) {
        let present = self.store.node(node).and_then(acting);
        if present.is_none() || present != op {
            let what = format!(
                "machine {machine}: {command:?} on behalf of {op:?}, while the record has {present:?}"
            );
            self.judge.violation(what);
        }
    }

    /// Somebody can always log in: the BMC has a password that is on record.
    pub(crate) fn judge_password(&mut self, machine: usize) {
        let it = &self.machines[machine];
        let Some(node) = self.store.node(it.node) else {
            return;
        };
        let version = node.beside.bmc_secrets.as_ref();
        let known = version.map(|version| self.store.passwords(it.node, version));
        let known = known.unwrap_or_default();
        let is_right = |(_, password): &(_, u64)| *password == it.password;
        let open = node.password_change.is_some();
        let what = match (known.iter().any(is_right), open == (known.len() > 1)) {
            (true, true) => return,
            (false, _) => "nobody can log in to its BMC",
            (true, false) => "what is on record of a change of its password is not so",
        };
        let op = node.op.clone();
        let has = it.password;
        self.judge
            .violation(format!("machine {machine}: {what}: {has}, {known:?}, {op}"));
    }

    pub(crate) fn judge_touch(&mut self, machine: usize, step: StepId, begins: bool) {
        let it = &self.machines[machine];
        let Some(boot) = it.ramdisk() else { return };
        let id = it.node;
        let record = self.store.node(id);
        if record.and_then(agent_step) == Some((boot, step)) {
            return;
        }
        let left = self.judge.left.get(&(id, boot, step));
        let late = left.map_or(u64::MAX, |left| self.now - left);
        if begins {
            if late > ANSWER_MS {
                self.judge.violation(format!(
                    "machine {machine}: step {step} of {boot} begins on its disks, which the record did not want for {late} ms"
                ));
            }
            return;
        }
        let being_stopped = record.and_then(Node::job).is_some_and(turns_off);
        let now = self.now;
        let unheard = self.machines[machine]
            .agent()
            .and_then(|agent| agent.unheard)
            .is_some_and(|at| now - at <= UNHEARD_MS);
        if late > BEAT_MS && !being_stopped && !unheard {
            self.judge.violation(format!(
                "machine {machine}: step {step} of {boot} goes on, which the record has not wanted for {late} ms"
            ));
        }
    }

    /// Trouble is over for long: every node rests, or waits for an operator who has not ended its maintenance, or for its turn
    /// after such a node.
    pub(crate) fn judge_end(&mut self) {
        let now = self.time();
        let holds = self
            .store
            .nodes
            .values()
            .any(|(node, _)| is_an_operators(node));
        for (node, _) in self.store.nodes.values() {
            let maintenance = node.maintenance.as_ref();
            let synced = power_is_synced(node.state.resting(), maintenance);
            if let Some(change) = node.password_change.as_ref().filter(|_| synced) {
                let words = format!("{}: {change:?} is not settled", node.id);
                self.judge.violations.push(words);
            }
            let in_line = matches!(node.job().map(|job| &job.phase), Some(Phase::InLine { .. }));
            if node.job().is_some() && !is_an_operators(node) && !(in_line && holds) {
                let words = explain(node, now, &self.policy);
                self.judge
                    .violations
                    .push(format!("{} does not come to rest: {words}", node.id));
            }
        }
    }
}
