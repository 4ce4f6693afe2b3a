//! What an agent does for a step, tick by tick, and what becomes of the disks: as the agent's `heart/steps.rs`.
//! Whether a disk may be touched is judged in `judge`.
use crate::disks::Content;
use crate::{OfMachine, World};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::{Outcome, Progress, Rescued, Retry, Status, StepError, Written};
use ironbeat_common::id::StepId;
use ironbeat_common::order::Order;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Reboot,
    PowerOff,
}

pub(crate) enum Current {
    Nothing,
    Running {
        step: StepId,
        order: Box<Order>,
        ticks: u64,
        /// Of how many.
        of: u64,
        cancelled: bool,
    },
    Over {
        step: StepId,
        result: Box<Result<Outcome, StepError>>,
        ending: Option<Ending>,
    },
}

impl Current {
    pub fn status(&self) -> Status {
        match self {
            Current::Nothing => Status::Idle,
            Current::Running {
                step, ticks, of, ..
            } => Status::Running {
                step: *step,
                progress: Progress {
                    phase: "work".into(),
                    done: *ticks,
                    total: Some(*of),
                    trouble: None,
                },
            },
            Current::Over { step, result, .. } => match &**result {
                Ok(outcome) => Status::Done {
                    step: *step,
                    outcome: outcome.clone(),
                },
                Err(error) => Status::Failed {
                    step: *step,
                    error: error.clone(),
                },
            },
        }
    }

    pub fn forget(&mut self) {
        match self {
            Current::Running { cancelled, .. } => *cancelled = true,
            Current::Over { .. } | Current::Nothing => *self = Current::Nothing,
        }
    }

    pub fn ending(&self) -> Option<Ending> {
        match self {
            Current::Over { ending, .. } => *ending,
            Current::Nothing | Current::Running { .. } => None,
        }
    }
}

/// Whether the order changes disks.
fn touches(order: &Order) -> bool {
    match order {
        Order::WriteImage(_) | Order::EraseMetadata { .. } => true,
        Order::Inspect { .. }
        | Order::SetBootEntry { .. }
        | Order::Rescue(_)
        | Order::Reboot
        | Order::PowerOff => false,
    }
}

impl World {
    /// Whether it started.
    pub(crate) fn agent_wants(&mut self, machine: usize, id: StepId, order: Order) -> bool {
        let Some(agent) = self.machines[machine].agent() else {
            return false;
        };
        match &mut agent.current {
            Current::Running { step, .. } if *step == id => agent.next = None,
            Current::Running { cancelled, .. } => {
                *cancelled = true;
                agent.next = Some((id, order));
            }
            Current::Over { step, .. } if *step == id => {}
            Current::Over { .. } | Current::Nothing => {
                self.step_starts(machine, id, order);
                return true;
            }
        }
        false
    }

    fn step_starts(&mut self, machine: usize, step: StepId, order: Order) {
        let of = match &order {
            Order::Inspect { .. } => 4,
            Order::WriteImage(_) => self.rng.between(2, 80),
            Order::EraseMetadata { .. } | Order::Rescue(_) => self.rng.between(1, 3),
            Order::SetBootEntry { .. } | Order::Reboot | Order::PowerOff => 1,
        };
        self.note("step", machine, || format!("{step} {}", order.name()));
        if touches(&order) {
            self.judge_touch(machine, step, true);
        }
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        agent.current = Current::Running {
            step,
            order: Box::new(order),
            ticks: 0,
            of,
            cancelled: false,
        };
        self.works_on(machine);
    }

    fn works_on(&mut self, machine: usize) {
        let ms = self.rng.between(500, 10_000);
        if let Some(agent) = self.machines[machine].agent() {
            agent.works += 1;
            let works = agent.works;
            self.of_machine(ms, machine, OfMachine::Works(works));
        }
    }

    pub(crate) fn works(&mut self, machine: usize, turn: u64) {
        let fails = self.faults.chance(&mut self.rng, self.faults.step_fails);
        let hangs = self.faults.chance(&mut self.rng, self.faults.agent_hangs);
        let it = &mut self.machines[machine];
        let inventory = it.inventory();
        let Some(agent) = it.agent() else { return };
        if agent.hung || agent.works != turn {
            return;
        }
        let Current::Running {
            step,
            order,
            ticks,
            of,
            cancelled,
        } = &mut agent.current
        else {
            return;
        };
        *ticks += 1;
        let (step, over) = (*step, *ticks >= *of || *cancelled || fails);
        let (failed, order) = (*cancelled || fails, (**order).clone());
        if hangs {
            agent.hung = true;
            self.note("agent hangs", machine, String::new);
            return;
        }
        if touches(&order) {
            self.judge_touch(machine, step, false);
            self.touch(machine, &order, over && !failed);
        }
        if !over {
            self.works_on(machine);
            return;
        }
        let result = match (&order, failed) {
            (_, true) => Err(StepError {
                what: "it did not work".into(),
                retry: match self.rng.below(2) {
                    0 => Retry::Useless,
                    _ => Retry::Useful,
                },
            }),
            (Order::Inspect { .. }, false) => Ok(Outcome::Inventory(Box::new(inventory))),
            (Order::WriteImage(_), false) => Ok(Outcome::Written(Written {
                image_bytes: 1,
                millis: 1,
                resumed: 0,
                collisions: Vec::new(),
            })),
            (Order::Rescue(_), false) => Ok(Outcome::Rescued(Rescued::default())),
            (_, false) => Ok(Outcome::Nothing),
        };
        self.note("step ends", machine, || {
            format!("{step} {}", result.is_ok())
        });
        let ending = match (&order, failed) {
            (Order::Reboot, false) => Some(Ending::Reboot),
            (Order::PowerOff, false) => Some(Ending::PowerOff),
            _ => None,
        };
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        agent.current = Current::Over {
            step,
            result: Box::new(result),
            ending,
        };
        let next = agent.next.take();
        self.agent_tells_end(machine);
        if let Some((id, order)) = next {
            self.step_starts(machine, id, order);
        }
    }

    fn touch(&mut self, machine: usize, order: &Order, done: bool) {
        let of = |identity: &DiskIdentity| identity.serial.clone();
        let (serials, content) = match order {
            Order::WriteImage(write) => (vec![of(&write.disk)], Content::Image),
            Order::EraseMetadata { disks } => (disks.iter().map(of).collect(), Content::Blank),
            Order::Inspect { .. }
            | Order::SetBootEntry { .. }
            | Order::Rescue(_)
            | Order::Reboot
            | Order::PowerOff => return,
        };
        for disk in &mut self.machines[machine].disks {
            if serials.contains(&Some(disk.serial.clone())) {
                disk.content = if done { content } else { Content::Half };
            }
        }
    }
}
