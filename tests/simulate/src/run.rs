//! One run from its seed: trouble for a while, then quiet until everything rests. It takes what comes next, by time, and
//! polls the tasks that this wakes: there is no other runtime, no thread and no wall clock.
//! What each happening does is in the file that owns its subject.
use crate::case::Size;
use crate::faults::{Faults, Strike};
use crate::ground::{SimDrive, drive};
use crate::judge::{Judge, is_an_operators};
use crate::machine::Running;
use crate::rng::Rng;
use crate::store::Store;
use crate::tally::Tally;
use crate::worker::{HostClock, Up, Worker};
use crate::{Happens, OfMachine, Shared, Task, TaskId, World, lock, scene};
use ironbeat_core::node::Node;
use ironbeat_core::policy::Policy;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

pub struct Outcome {
    pub seed: u64,
    pub tally: Tally,
    /// What was wrong, the first thing first.
    pub violations: Vec<String>,
    /// When the run ended: minutes by the simulated clock.
    pub minutes: u64,
    /// Of everything that happened, in order.
    pub hash: u64,
    /// The last steps before the first violation, if they were asked for.
    pub trace: Vec<String>,
}

/// All jobs have been given up by then: two boots of 900 s, steps of two hours, pauses and tries.
const QUIET_MS: u64 = 24 * 3_600_000;
/// What is at rest must stay so, when nothing is asked of it.
const LAST_LOOK_MS: u64 = 70_000;

/// `trace`: keep the last steps, which costs time and changes nothing.
pub fn run(seed: u64, size: &Size, trace: bool) -> Outcome {
    Run::new(seed, size, trace).finish()
}

/// In one of three runs nodes wait for their turn.
fn policy(seed: u64) -> Policy {
    let most = if seed % 3 == 2 { 2 } else { 0 };
    Policy {
        max_concurrent_deploy: most,
        max_concurrent_clean: most,
        rescue_image: "rescue.cpio.zst".into(),
        rescue_checksum: format!("sha256:{}", "0".repeat(64)),
        ..Policy::default()
    }
}

struct Run {
    seed: u64,
    end_of_trouble: u64,
    world: Shared,
    tasks: BTreeMap<TaskId, Task>,
    drives: Vec<Option<Arc<SimDrive>>>,
    next_task: u64,
}

impl Run {
    fn new(seed: u64, size: &Size, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut faults = match size.clocks_alone {
            true => Faults::of_clocks(),
            false => {
                let mut faults = Faults::draw(&mut rng);
                faults.draw_of_readers(&mut Rng::new(!seed));
                faults
            }
        };
        faults.leave_out(&size.without, &size.without_strikes);
        // One more, which nobody operates.
        let machines = (0..=size.machines).map(|n| scene::machine(n, &mut rng));
        let machines = machines.collect();
        let workers = (0..size.workers).map(|n| Worker::new(n, HostClock::draw(&mut rng)));
        let workers = workers.collect();
        let mut world = World {
            now: scene::BEGIN,
            rng,
            faults,
            queue: BTreeMap::new(),
            policy: policy(seed),
            store: Store::default(),
            workers,
            machines,
            judge: Judge::default(),
            tally: Tally::default(),
            current: (0, 0),
            in_hand: BTreeMap::new(),
            spawned: Vec::new(),
            jobs: Vec::new(),
            requests: 0,
            tickets: 0,
            renewals: 0,
            started: Vec::new(),
            killed: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            trace: trace.then(VecDeque::new),
        };
        for n in 0..size.workers {
            world.after(n as u64 * 100, Happens::Starts(n));
        }
        world.after(5_000, Happens::Enrols(size.machines));
        for n in 0..size.machines {
            let ms = world.rng.between(6_000, 60_000);
            world.after(ms, Happens::Operates(n));
        }
        world.after(20_000, Happens::Strikes);
        Self {
            seed,
            end_of_trouble: scene::BEGIN + size.minutes * 60_000,
            world: Arc::new(Mutex::new(world)),
            tasks: BTreeMap::new(),
            drives: (0..size.workers).map(|_| None).collect(),
            next_task: 1,
        }
    }

    fn finish(mut self) -> Outcome {
        let mut end = None;
        loop {
            let mut world = lock(&self.world);
            let ((at, _), what) = world
                .queue
                .pop_first()
                .expect("workers always have something to look at");
            world.now = at;
            if at >= self.end_of_trouble && world.faults.on {
                world.quiet();
            }
            if !world.judge.violations.is_empty() {
                break;
            }
            if !world.faults.on {
                let rests = |node: &Node| node.job().is_none() || is_an_operators(node);
                let rests = world.store.nodes.values().all(|(it, _)| rests(it));
                match end {
                    None if rests => end = Some(at + LAST_LOOK_MS),
                    Some(_) if !rests => end = None,
                    Some(end) if at >= end => break,
                    None if at > self.end_of_trouble + QUIET_MS => break,
                    _ => {}
                }
            }
            let woken = world.happens(what);
            drop(world);
            if let Some(task) = woken {
                self.poll(task);
            }
            self.settle();
        }
        let mut world = lock(&self.world);
        if world.judge.violations.is_empty() {
            world.judge_end();
        }
        Outcome {
            seed: self.seed,
            tally: world.tally.clone(),
            violations: std::mem::take(&mut world.judge.violations),
            minutes: (world.now - scene::BEGIN) / 60_000,
            hash: world.hash,
            trace: world.trace.take().unwrap_or_default().into(),
        }
    }

    fn poll(&mut self, id: TaskId) {
        let Some(mut task) = self.tasks.remove(&id) else {
            return;
        };
        lock(&self.world).current = id;
        let mut context = Context::from_waker(Waker::noop());
        if task.as_mut().poll(&mut context).is_pending() {
            self.tasks.insert(id, task);
        } else {
            lock(&self.world).in_hand.remove(&id);
        }
    }

    /// Ends and starts processes, and begins the tasks that the last step asked for.
    fn settle(&mut self) {
        let mut world = lock(&self.world);
        for n in std::mem::take(&mut world.killed) {
            self.tasks.retain(|(worker, _), _| *worker != n);
            world.in_hand.retain(|(worker, _), _| *worker != n);
            world.spawned.retain(|(worker, _)| *worker != n);
            world.jobs.retain(|(worker, _)| *worker != n);
            self.drives[n] = None;
        }
        let (started, spawned, jobs) = (
            std::mem::take(&mut world.started),
            std::mem::take(&mut world.spawned),
            std::mem::take(&mut world.jobs),
        );
        drop(world);
        for n in started {
            self.drives[n] = Some(drive(&self.world, n));
        }
        let jobs = jobs.into_iter().filter_map(|(worker, job)| {
            let drive = Arc::clone(self.drives[worker].as_ref()?);
            Some((worker, job.run(Arc::clone(&self.world), worker, drive)))
        });
        let begun: Vec<(usize, Task)> = spawned.into_iter().chain(jobs).collect();
        let mut world = lock(&self.world);
        for (worker, task) in begun {
            let id = (worker, self.next_task);
            self.next_task += 1;
            self.tasks.insert(id, task);
            world.wake_now(id);
        }
    }
}

impl World {
    /// Trouble is over: what is broken for good stays so, and nothing new breaks.
    fn quiet(&mut self) {
        self.faults.on = false;
        for machine in &mut self.machines {
            (machine.bmc_silent_until, machine.wrong_password_until) = (0, 0);
        }
        for worker in &mut self.workers {
            if let Up::Frozen(_) = worker.up {
                worker.up = Up::Running;
            }
            (worker.clock.ahead_ms, worker.clock.stopped) = (0, None);
        }
    }

    /// Returns the task that goes on, if one does.
    fn happens(&mut self, what: Happens) -> Option<TaskId> {
        let to = match &what {
            Happens::Wake((worker, _)) => Some(*worker),
            Happens::Looks(n, _)
            | Happens::Renews(n, _)
            | Happens::Syncs(n, _)
            | Happens::Rereads(n, _) => Some(*n),
            Happens::Hears { to, .. } | Happens::Follows { to, .. } | Happens::Comes { to, .. } => {
                Some(*to)
            }
            Happens::Arrives { .. }
            | Happens::Expires { .. }
            | Happens::Starts(_)
            | Happens::Machine { .. }
            | Happens::Power { .. }
            | Happens::Operates(_)
            | Happens::Requests { .. }
            | Happens::Enrols(_)
            | Happens::Rival(_)
            | Happens::RivalComes { .. }
            | Happens::Strikes
            | Happens::Blinds
            | Happens::Returns => None,
        };
        let what = match to {
            Some(worker) => self.takes(worker, what)?,
            None => what,
        };
        match what {
            Happens::Wake(task) => return self.wakes(task),
            Happens::Arrives {
                ask,
                slot,
                task,
                lose,
            } => self.arrives(ask, slot, task, lose),
            Happens::Expires { slot, task } => {
                self.answer(&slot, task, crate::asks::Answer::Silence);
            }
            Happens::Starts(n) => self.starts(n),
            // What a former process of the worker had set itself ended with it.
            Happens::Looks(n, of)
            | Happens::Renews(n, of)
            | Happens::Syncs(n, of)
            | Happens::Rereads(n, of)
                if of != self.workers[n].info.incarnation => {}
            Happens::Looks(n, _) => self.looks(n),
            Happens::Renews(n, _) => self.renews(n),
            Happens::Syncs(n, _) => self.syncs(n),
            Happens::Rereads(n, _) => self.rereads(n),
            Happens::Hears {
                to,
                info,
                revision,
                stored,
            } => self.hears(to, *info, revision, stored),
            Happens::Follows {
                to,
                node,
                record,
                revision,
            } => self.follows(to, node, record, revision),
            Happens::Comes { to, job } => self.comes(to, job),
            Happens::Machine {
                machine,
                epoch,
                what,
            } => {
                if self.machines[machine].epoch == epoch {
                    self.machine_goes_on(machine, what);
                }
            }
            Happens::Power { machine, turn, on } => self.power_turns(machine, turn, on),
            Happens::Operates(machine) => self.operates(machine),
            Happens::Requests {
                machine,
                request,
                verb,
            } => self.requested(machine, request, verb),
            Happens::Enrols(machine) => self.enrols(machine),
            Happens::Rival(machine) => self.rival(machine),
            Happens::RivalComes { machine, ticket } => self.rival_comes(machine, ticket),
            Happens::Strikes => self.strikes(),
            Happens::Blinds => {
                if self.store.away {
                    self.watches(false);
                }
            }
            Happens::Returns => {
                self.note("store is back", 0, String::new);
                self.store.away = false;
                self.watches(true);
            }
        }
        None
    }

    /// Between any two operations of a worker its process may end or stop.
    fn wakes(&mut self, task: TaskId) -> Option<TaskId> {
        let worker = task.0;
        if self.faults.chance(&mut self.rng, self.faults.crash) {
            self.crash(worker);
            return None;
        }
        if self.faults.chance(&mut self.rng, self.faults.freeze) {
            self.freeze(worker);
            self.after(0, Happens::Wake(task));
            return None;
        }
        let hand = self.in_hand.get(&task).copied().unwrap_or_default();
        self.note("wakes", worker, || format!("task {} {hand}", task.1));
        Some(task)
    }

    fn machine_goes_on(&mut self, machine: usize, what: OfMachine) {
        match what {
            OfMachine::PostOver => self.post_over(machine),
            OfMachine::Loaded => self.loaded(machine),
            OfMachine::AgentDue(turn) => self.agent_is_due(machine, turn),
            OfMachine::AskOver(number) | OfMachine::Refused(number) => {
                self.ask_failed(machine, number);
            }
            OfMachine::Welcomed(number, reply) => self.welcomed(machine, number, &reply),
            OfMachine::Replied(number, reply) => self.replied(machine, number, *reply),
            OfMachine::Works(turn) => self.works(machine, turn),
            OfMachine::Resets => self.reset(machine),
            OfMachine::Nudged => self.agent_nudged(machine),
            OfMachine::Ends => self.agent_ends(machine),
            OfMachine::Script(ticket, given) => self.script_comes(machine, ticket, given),
            OfMachine::AgentAsks(number, ask) => self.agent_asks(machine, number, *ask),
        }
    }

    fn strikes(&mut self) {
        if !self.faults.on {
            return;
        }
        let ms = self.rng.between(1, self.faults.strike_ms * 2);
        self.after(ms, Happens::Strikes);
        if self.faults.strikes.is_empty() {
            return;
        }
        let strikes = self.faults.strikes.clone();
        let strike = self.rng.pick(&strikes);
        let machine = self.rng.below(self.machines.len() as u64) as usize;
        let worker = self.rng.below(self.workers.len() as u64) as usize;
        let ms = self.rng.pick(&[2_000, 20_000, 120_000, 600_000]);
        self.note("strikes", machine, || format!("{strike:?}"));
        match strike {
            Strike::StoreAway if self.store.away => {}
            Strike::StoreAway => {
                self.store.away = true;
                let ms = self.rng.between(200, 9_000);
                self.after(ms, Happens::Returns);
                self.after(5_000.min(ms), Happens::Blinds);
            }
            Strike::Crash => self.crash(worker),
            Strike::Freeze => self.freeze(worker),
            Strike::ClockSet => {
                let ahead = [120_000, -120_000, 7_000, -7_000, 3_600_000, 0, 0];
                self.workers[worker].clock.ahead_ms = self.rng.pick(&ahead);
            }
            Strike::ClockStops => {
                let clock = &mut self.workers[worker].clock;
                clock.stopped = clock.stopped.xor(Some(self.now));
            }
            Strike::BmcSilent => self.machines[machine].bmc_silent_until = self.now + ms,
            Strike::WrongPassword => self.machines[machine].wrong_password_until = self.now + ms,
            Strike::MachineReboots => self.reset(machine),
            Strike::MachineDies if self.machines[machine].on => {
                self.machines[machine].epoch += 1;
                self.machines[machine].running = Running::Stuck;
            }
            Strike::MachineDies => {}
            Strike::AgentHangs => {
                if let Some(agent) = self.machines[machine].agent() {
                    agent.hung = true;
                }
            }
        }
    }
}
