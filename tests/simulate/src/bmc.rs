//! Simulated BMCs: they obey, refuse, forget, lie, and are silent.
//! In which order commands come is in `acts`; whether they may come is judged in `judge`.
use crate::World;
use crate::asks::{Answer, Command};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;

/// A BMC that restarts is silent for this long.
const RESTART_MS: u64 = 90_000;

impl World {
    /// Somebody comes with another password. None: the BMC is silent.
    pub(crate) fn refuses_login(&self, machine: usize) -> Option<Answer> {
        let it = &self.machines[machine];
        (self.now >= it.bmc_silent_until).then_some(Answer::WrongPassword)
    }

    /// A command arrives. None: the BMC is silent.
    pub(crate) fn commanded(
        &mut self,
        machine: usize,
        node: NodeId,
        op: Option<&OpId>,
        command: Command,
    ) -> Option<Answer> {
        let now = self.now;
        let it = &self.machines[machine];
        if now < it.bmc_silent_until {
            return None;
        }
        if now < it.wrong_password_until {
            return Some(Answer::WrongPassword);
        }
        if command != Command::Status {
            self.note("bmc", machine, || format!("{command:?} of {op:?}"));
            self.judge_command(machine, node, op, command);
        }
        if self.faults.chance(&mut self.rng, self.faults.bmc_refuses) {
            return Some(Answer::Refused);
        }
        let lies = self.faults.chance(&mut self.rng, self.faults.bmc_lies);
        let (on, soft) = (self.machines[machine].on, self.rng.below(3) > 0);
        let (soon, later) = (self.rng.between(0, 3_000), self.rng.between(5_000, 120_000));
        match command {
            Command::Status => {
                self.machines[machine].seen_off_wrongly |= on && lies;
                return Some(Answer::Power(on != lies));
            }
            // Accepted and forgotten.
            _ if lies => {}
            Command::On => self.turn_power(machine, true, soon),
            Command::Off => self.turn_power(machine, false, soon),
            Command::Soft if on && soft => self.turn_power(machine, false, later),
            Command::Cycle if on => {
                self.set_power(machine, false);
                self.turn_power(machine, true, 2_000);
            }
            Command::Reset => self.reset(machine),
            Command::Restart => self.machines[machine].bmc_silent_until = now + RESTART_MS,
            Command::Boot { device, persistent } => {
                let forgets = self.faults.bmc_forgets_device;
                if !self.faults.chance(&mut self.rng, forgets) {
                    let it = &mut self.machines[machine];
                    match persistent {
                        true => (it.always, it.once) = (device, None),
                        false => it.once = Some(device),
                    }
                }
            }
            Command::Password(new) => {
                self.machines[machine].password = new;
                self.tally.passwords[0] += 1;
                self.judge_password(machine);
            }
            Command::Soft | Command::Cycle | Command::Diag => {}
        }
        Some(Answer::Power(self.machines[machine].on))
    }
}
