//! What each act on a BMC is made of, in commands to a simulated one: the same order and patience as the conductor's
//! `bmc/act.rs`, which speaks IPMI. What a command does to the machine is in `bmc`.
//!
//! Before every command the fence is asked, in the same instant in which the command is sent: a worker that is stopped
//! between the two is not simulated (microseconds, in which no takeover fits).
use crate::asks::{Answer, Ask, Command, ask, sleep};
use crate::{Shared, lock};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Accepted, BmcFault, BmcReport};
use ironbeat_core::id::OpId;
use ironbeat_core::node::{BMC_RESTART_SECS, BmcAct, BootDevice, Candidate, Node};
use std::sync::Arc;
use std::time::Duration;

const CONFIRM_MS: u64 = 60_000;
const REPEAT_MS: u64 = 15_000;
const LOOK_FIRST_MS: u64 = 100;
const LOOK_LAST_MS: u64 = 2_000;
const CYCLE_MS: u64 = 3_000;

struct Doing {
    world: Shared,
    worker: usize,
    node: NodeId,
    machine: Option<usize>,
    op: OpId,
    /// By the servers' clock.
    decided: u64,
    until: u64,
    /// What the BMC's password may be, in the order in which it is tried.
    passwords: Vec<(Candidate, u64)>,
    /// With which it is logged in; none: there is one only.
    login: Option<u64>,
}

fn transient(what: &str) -> BmcFault {
    BmcFault {
        what: what.into(),
        permanent: false,
        accepted: None,
        untold: false,
        let_go: false,
    }
}

fn permanent(what: &str) -> BmcFault {
    BmcFault {
        permanent: true,
        ..transient(what)
    }
}

pub(crate) async fn perform(
    world: &Shared,
    worker: usize,
    node: &Node,
    op: &OpId,
    act: BmcAct,
    budget: Duration,
) -> Result<BmcReport, BmcFault> {
    let mut doing = {
        let inside = lock(world);
        let since = node.job().map(|job| job.phase.since());
        let age = since.map(|since| inside.clock_of(worker).since(since));
        let age = age.unwrap_or_default().as_millis();
        let budget = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        Doing {
            world: Arc::clone(world),
            worker,
            node: node.id,
            machine: inside.machine_at(node.bmc.address()),
            op: op.clone(),
            decided: inside.now - u64::try_from(age).unwrap_or_default(),
            until: inside.now + budget,
            passwords: match &node.beside.bmc_secrets {
                Some(version) => inside.store.passwords(node.id, version),
                None => Vec::new(),
            },
            login: None,
        }
    };
    let found = match doing.passwords.len() < 2 {
        true => Candidate::Present,
        false => doing.log_in().await?,
    };
    match act {
        BmcAct::SetPassword => doing.set_password(found).await,
        act => doing.carry_out(act).await,
    }
}

impl Doing {
    /// Tries each password until one is right.
    async fn log_in(&mut self) -> Result<Candidate, BmcFault> {
        for (candidate, password) in self.passwords.clone() {
            self.login = Some(password);
            match self.look().await {
                Ok(_) => return Ok(candidate),
                Err(fault) if fault.permanent => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(permanent("wrong password"))
    }

    async fn set_password(&mut self, found: Candidate) -> Result<BmcReport, BmcFault> {
        let [(_, old), (_, new)] = self.passwords[..] else {
            return Err(permanent("no new password is on record"));
        };
        if found == Candidate::Next {
            return self.look().await;
        }
        let told = self.tell(Command::Password(new)).await;
        self.login = Some(new);
        match self.look().await {
            Err(fault) if fault.permanent => {}
            proof => return proof,
        }
        told?;
        self.login = Some(old);
        self.tell(Command::Password(old)).await?;
        self.look().await?;
        Err(permanent(
            "it says that it has set the new password, and then refuses it",
        ))
    }

    async fn carry_out(&self, act: BmcAct) -> Result<BmcReport, BmcFault> {
        match act {
            BmcAct::Check => self.look().await,
            BmcAct::Netboot => {
                self.power(false).await?;
                self.boot(BootDevice::Pxe, true).await?;
                self.power(true).await
            }
            BmcAct::LeaveRamdisk { patience_secs } => {
                if self.await_off(u64::from(patience_secs) * 1000).await? {
                    return Ok(BmcReport { power_on: false });
                }
                self.power(false).await
            }
            BmcAct::BootDisk => {
                self.boot(BootDevice::Disk, true).await?;
                self.power(true).await
            }
            BmcAct::EnsureOn => self.power(true).await,
            BmcAct::PowerOff => self.power(false).await,
            BmcAct::SoftOff {
                patience_secs,
                then_hard,
            } => {
                if self.soft_off(u64::from(patience_secs) * 1000).await? {
                    return Ok(BmcReport { power_on: false });
                }
                if then_hard {
                    return self.power(false).await;
                }
                Err(permanent("the operating system has not switched off"))
            }
            BmcAct::Cycle => {
                self.once(Command::Cycle).await?;
                sleep(&self.world, CYCLE_MS).await;
                self.await_on().await
            }
            BmcAct::Reset => {
                self.once(Command::Reset).await?;
                self.look().await
            }
            BmcAct::Diag => {
                self.once(Command::Diag).await?;
                self.look().await
            }
            BmcAct::SetBootDevice { device, persistent } => {
                self.boot(device, persistent).await?;
                self.look().await
            }
            BmcAct::SetPassword => unreachable!("it needs two logins"),
            BmcAct::ResetBmc => {
                match self.tell(Command::Restart).await {
                    Err(fault) if fault.permanent => return Err(fault),
                    _ => {}
                }
                self.await_answer().await
            }
        }
    }

    /// One command, if this worker still may.
    async fn tell(&self, command: Command) -> Result<bool, BmcFault> {
        {
            let inside = lock(&self.world);
            if !inside.may_act_since(self.worker, self.decided) {
                return Err(BmcFault {
                    let_go: true,
                    ..transient("stopped: this worker lost touch with NATS")
                });
            }
            if inside.now >= self.until {
                return Err(transient("stopped: the time for this act is over"));
            }
            if inside.is_unwanted(self.worker, self.node, &self.op) {
                return Err(transient("stopped: an operator wants something else"));
            }
        }
        let command = Ask::Bmc {
            machine: self.machine,
            node: self.node,
            op: Some(self.op.clone()),
            password: self.login,
            command,
        };
        match ask(&self.world, command).await {
            Answer::Power(on) => Ok(on),
            Answer::WrongPassword => Err(permanent("wrong password")),
            Answer::Refused => Err(transient("refused: node busy")),
            _ => Err(transient("no answer")),
        }
    }

    /// Whether the act is over for good, whatever failed.
    fn is_over(&self) -> bool {
        let inside = lock(&self.world);
        inside.now >= self.until
            || !inside.may_act_since(self.worker, self.decided)
            || inside.is_unwanted(self.worker, self.node, &self.op)
    }

    fn now(&self) -> u64 {
        lock(&self.world).now
    }

    async fn look(&self) -> Result<BmcReport, BmcFault> {
        let power_on = self.tell(Command::Status).await?;
        Ok(BmcReport { power_on })
    }

    async fn boot(&self, device: BootDevice, persistent: bool) -> Result<(), BmcFault> {
        let command = Command::Boot { device, persistent };
        self.tell(command).await.map(drop)
    }

    async fn once(&self, command: Command) -> Result<(), BmcFault> {
        if !self.look().await?.power_on {
            return Err(permanent("the machine is off"));
        }
        self.tell(command).await.map(drop)
    }

    async fn power(&self, on: bool) -> Result<BmcReport, BmcFault> {
        let before = self.look().await?;
        if before.power_on == on {
            return Ok(before);
        }
        let command = if on { Command::On } else { Command::Off };
        let begin = self.now();
        let mut told = self.tell(command).await;
        let mut repeat_at = begin + REPEAT_MS;
        let mut pause = LOOK_FIRST_MS;
        let mut blind;
        loop {
            if let Err(fault) = &told
                && (fault.permanent || self.is_over())
            {
                return Err(fault.clone());
            }
            match self.look().await {
                Ok(now) if now.power_on == on => return Ok(now),
                Ok(_) => blind = false,
                Err(fault) if fault.permanent || self.is_over() => return Err(fault),
                Err(_) => blind = true,
            }
            if self.now() - begin >= CONFIRM_MS {
                break;
            }
            if self.now() >= repeat_at {
                repeat_at = self.now() + REPEAT_MS;
                told = self.tell(command).await;
            }
            sleep(&self.world, pause).await;
            pause = (pause * 2).min(LOOK_LAST_MS);
        }
        let accepted = (blind && told.is_ok()).then_some(match on {
            true => Accepted::PowerOn,
            false => Accepted::PowerOff,
        });
        Err(BmcFault {
            accepted,
            ..transient("it does not say that the power is as commanded")
        })
    }

    async fn soft_off(&self, time_ms: u64) -> Result<bool, BmcFault> {
        if !self.look().await?.power_on {
            return Ok(true);
        }
        let begin = self.now();
        let told = self.tell(Command::Soft).await;
        if let Err(fault) = told
            && (fault.permanent || self.is_over())
        {
            return Err(fault);
        }
        while self.now() - begin < time_ms {
            sleep(&self.world, LOOK_LAST_MS).await;
            match self.look().await {
                Ok(now) if !now.power_on => return Ok(true),
                Err(fault) if fault.permanent || self.is_over() => return Err(fault),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    async fn await_off(&self, time_ms: u64) -> Result<bool, BmcFault> {
        let begin = self.now();
        let mut pause = LOOK_FIRST_MS;
        loop {
            match self.look().await {
                Ok(now) if !now.power_on => return Ok(true),
                Err(fault) if fault.permanent || self.is_over() => return Err(fault),
                Ok(_) | Err(_) => {}
            }
            if self.now() - begin >= time_ms {
                return Ok(false);
            }
            sleep(&self.world, pause).await;
            pause = (pause * 2).min(LOOK_LAST_MS);
        }
    }

    async fn await_on(&self) -> Result<BmcReport, BmcFault> {
        let begin = self.now();
        loop {
            match self.look().await {
                Ok(now) if now.power_on => return Ok(now),
                Err(fault) if fault.permanent || self.is_over() => return Err(fault),
                Ok(_) | Err(_) => {}
            }
            if self.now() - begin >= CONFIRM_MS {
                return Err(transient("power cycle: the machine is not on"));
            }
            sleep(&self.world, LOOK_LAST_MS).await;
        }
    }

    async fn await_answer(&self) -> Result<BmcReport, BmcFault> {
        let begin = self.now();
        sleep(&self.world, CYCLE_MS).await;
        loop {
            match self.look().await {
                Ok(now) => return Ok(now),
                Err(fault) if self.is_over() => return Err(fault),
                Err(_) => {}
            }
            if self.now() - begin >= u64::from(BMC_RESTART_SECS) * 1000 {
                return Err(transient("told to restart, it does not answer"));
            }
            sleep(&self.world, LOOK_LAST_MS).await;
        }
    }
}
