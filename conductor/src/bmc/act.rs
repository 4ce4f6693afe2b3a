//! The commands of each act: read, compare, act, confirm, so that it may be done twice.
//! `ironbeat_ipmi` makes the bytes and retransmits; the core decides whether another try is worth it.
use super::{BootWish, Permit, Stop, permanent, transient};
use ironbeat_common::inventory::BootMode;
use ironbeat_core::decide::{Accepted, BmcFault, BmcReport};
use ironbeat_core::node::{BMC_RESTART_SECS, BmcAct, BootDevice as Device};
use ironbeat_ipmi::{
    Bmc, BmcReset, BootDevice, BootFlags, ChassisControl, Error as IpmiError, ErrorKind,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for a machine to obey its BMC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the power to change, in all (Ironic `power_state_change_timeout`).
    pub confirm: Duration,
    /// Between two looks at the power: first, then doubled up to the last.
    pub look_first: Duration,
    pub look_last: Duration,
    /// A power command without effect is repeated: some BMCs accept one too soon after the last and forget it.
    pub repeat: Duration,
    /// A BMC that cycles the power says "on" until it has begun; one that restarts answers until then.
    pub cycle: Duration,
    /// For a BMC to restart.
    pub restart: Duration,
    /// A BMC that was told to restart goes on answering for up to this long while it shuts down.
    pub goes_down: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            confirm: Duration::from_secs(60),
            look_first: Duration::from_millis(100),
            look_last: Duration::from_secs(2),
            repeat: Duration::from_secs(15),
            cycle: Duration::from_secs(3),
            restart: Duration::from_secs(BMC_RESTART_SECS.into()),
            goes_down: Duration::from_secs(20),
        }
    }
}

pub(super) async fn carry_out(
    bmc: &Bmc,
    act: BmcAct,
    wish: BootWish,
    permit: &Permit<'_>,
    patience: Patience,
) -> Result<BmcReport, Stop> {
    let power = |on| set_power(bmc, on, permit, patience);
    match act {
        BmcAct::Check => {
            permit.check("ask for the device id")?;
            bmc.device_id().await?;
            look(bmc, permit).await
        }
        BmcAct::Netboot => {
            power(false).await?;
            set_boot(bmc, Device::Pxe, true, wish, permit).await?;
            power(true).await
        }
        BmcAct::LeaveRamdisk { patience_secs } => {
            let time = Duration::from_secs(patience_secs.into());
            if await_off(bmc, time, permit, patience).await? {
                return Ok(BmcReport { power_on: false });
            }
            power(false).await
        }
        BmcAct::BootDisk => {
            set_boot(bmc, Device::Disk, true, wish, permit).await?;
            power(true).await
        }
        BmcAct::EnsureOn => power(true).await,
        BmcAct::PowerOff => power(false).await,
        BmcAct::SoftOff {
            patience_secs,
            then_hard,
        } => {
            let time = Duration::from_secs(patience_secs.into());
            if soft_off(bmc, time, permit, patience).await? {
                return Ok(BmcReport { power_on: false });
            }
            if then_hard {
                return power(false).await;
            }
            Err(permanent(format!(
                "BMC {}: the operating system was asked to switch off, and still runs after {patience_secs} s",
                bmc.address()
            ))
            .into())
        }
        BmcAct::Cycle => {
            once(bmc, ChassisControl::PowerCycle, "power cycle", permit).await?;
            tokio::time::sleep(patience.cycle).await;
            await_on(bmc, permit, patience).await
        }
        BmcAct::Reset => {
            once(bmc, ChassisControl::HardReset, "reset", permit).await?;
            look(bmc, permit).await
        }
        BmcAct::Diag => {
            once(bmc, ChassisControl::Diag, "diagnostic interrupt", permit).await?;
            look(bmc, permit).await
        }
        BmcAct::SetBootDevice { device, persistent } => {
            set_boot(bmc, device, persistent, wish, permit).await?;
            if persistent {
                is_kept(bmc, device, permit).await?;
            }
            look(bmc, permit).await
        }
        BmcAct::SetPassword => unreachable!("it needs two logins: `password` carries it out"),
        BmcAct::ResetBmc => {
            permit.check("restart the BMC")?;
            let is_down = match bmc.reset_bmc(BmcReset::Cold).await {
                // Many restart before they answer.
                Err(error) if matches!(error.kind, ErrorKind::Unconfirmed { .. }) => true,
                told => told.map(|()| false)?,
            };
            tokio::time::sleep(patience.cycle).await;
            await_answer(bmc, is_down, permit, patience).await
        }
    }
}

/// An act that makes sense only while the machine is on, and is commanded once.
async fn once(
    bmc: &Bmc,
    control: ChassisControl,
    doing: &'static str,
    permit: &Permit<'_>,
) -> Result<(), Stop> {
    if !look(bmc, permit).await?.power_on {
        let what = format!("BMC {}: {doing}: the machine is off", bmc.address());
        return Err(permanent(what).into());
    }
    permit.check(doing)?;
    Ok(bmc.chassis_control(control).await?)
}

/// Waits until the machine is on by itself.
async fn await_on(bmc: &Bmc, permit: &Permit<'_>, patience: Patience) -> Result<BmcReport, Stop> {
    let begin = Instant::now();
    loop {
        let last = match look(bmc, permit).await {
            Ok(now) if now.power_on => return Ok(now),
            Ok(_) => "it says that the machine is off".into(),
            Err(Stop::Fault(fault)) if !fault.permanent => fault.what,
            Err(stop) => return Err(stop),
        };
        if begin.elapsed() >= patience.confirm {
            let (bmc, secs) = (bmc.address(), patience.confirm.as_secs());
            let what = format!("BMC {bmc}: power cycle: {secs} s later, {last}");
            return Err(transient(what).into());
        }
        tokio::time::sleep(patience.look_last).await;
    }
}

/// Waits until a restarting BMC answers again. Before it is up, its answers mean nothing, not even "wrong password".
pub(super) async fn await_answer(
    bmc: &Bmc,
    mut was_down: bool,
    permit: &Permit<'_>,
    patience: Patience,
) -> Result<BmcReport, Stop> {
    let begin = Instant::now();
    loop {
        let why = match look(bmc, permit).await {
            Err(Stop::Fault(fault)) => {
                was_down = true;
                fault.what
            }
            Ok(_) if !was_down && begin.elapsed() < patience.goes_down => {
                tokio::time::sleep(patience.look_last).await;
                continue;
            }
            result => return result,
        };
        if begin.elapsed() >= patience.restart {
            let (bmc, secs) = (bmc.address(), patience.restart.as_secs());
            let what = format!("BMC {bmc}: restart: it does not answer after {secs} s ({why})");
            return Err(transient(what).into());
        }
        tokio::time::sleep(patience.look_last).await;
    }
}

/// Asks the operating system, and waits until it is off or its time is over. Returns whether it is off.
async fn soft_off(
    bmc: &Bmc,
    time: Duration,
    permit: &Permit<'_>,
    patience: Patience,
) -> Result<bool, Stop> {
    if !look(bmc, permit).await?.power_on {
        return Ok(true);
    }
    permit.check("soft power off")?;
    let begin = Instant::now();
    // Lost or refused: a look tells, and asking an operating system twice does no harm.
    let mut told = bmc.chassis_control(ChassisControl::SoftShutdown).await;
    let mut pause = patience.look_first;
    while begin.elapsed() < time {
        match &told {
            Err(error) if error.is_permanent() => break,
            Err(error) if error.completion().is_some() => break,
            Err(_) => told = bmc.chassis_control(ChassisControl::SoftShutdown).await,
            Ok(()) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.look_last);
        match look(bmc, permit).await {
            Ok(now) if !now.power_on => return Ok(true),
            Ok(_) => {}
            Err(Stop::Fault(fault)) if !fault.permanent => {}
            Err(stop) => return Err(stop),
        }
    }
    match told {
        Ok(()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the machine is off by itself, or its time is over. Returns whether it is off.
async fn await_off(
    bmc: &Bmc,
    time: Duration,
    permit: &Permit<'_>,
    patience: Patience,
) -> Result<bool, Stop> {
    let begin = Instant::now();
    let mut pause = patience.look_first;
    loop {
        match look(bmc, permit).await {
            Ok(now) if !now.power_on => return Ok(true),
            Ok(_) => {}
            Err(Stop::Fault(fault)) if !fault.permanent => {}
            Err(stop) => return Err(stop),
        }
        if begin.elapsed() >= time {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.look_last);
    }
}

pub(super) async fn look(bmc: &Bmc, permit: &Permit<'_>) -> Result<BmcReport, Stop> {
    permit.check("read the power state")?;
    let power_on = bmc.chassis_status().await?.power_on;
    Ok(BmcReport { power_on })
}

/// Some BMCs take a device for every boot as one for the next boot alone. Whoever asked for it is told; a job does not fail
/// of it. An answer counts only if it has the device: many BMCs report something other than what was set.
async fn is_kept(bmc: &Bmc, device: Device, permit: &Permit<'_>) -> Result<(), Stop> {
    permit.check("read the boot device back")?;
    let Ok(found) = bmc.boot_flags().await else {
        return Ok(());
    };
    if device == Device::None || found.device != Some(of_ipmi(device)) || !found.valid {
        return Ok(());
    }
    match found.flags.persistent {
        true => Ok(()),
        false => Err(permanent(format!(
            "BMC {}: it set the boot device for the next boot alone, and dropped \"persistent\"",
            bmc.address()
        ))
        .into()),
    }
}

fn of_ipmi(device: Device) -> BootDevice {
    match device {
        Device::None => BootDevice::None,
        Device::Pxe => BootDevice::Pxe,
        Device::Disk => BootDevice::Disk,
        Device::Safe => BootDevice::Safe,
        Device::Cdrom => BootDevice::Cdrom,
        Device::Bios => BootDevice::Bios,
    }
}

/// Not read back: many BMCs report something other than what was set (`ipmi_sim` among them).
async fn set_boot(
    bmc: &Bmc,
    device: Device,
    persistent: bool,
    wish: BootWish,
    permit: &Permit<'_>,
) -> Result<(), Stop> {
    permit.check("set the boot device")?;
    let efi = match wish.mode {
        BootMode::Uefi => true,
        BootMode::Bios => false,
    };
    let flags = BootFlags { efi, persistent };
    Ok(bmc.set_boot_device(of_ipmi(device), flags).await?)
}

/// Asks first, acts if needed, and waits until the BMC confirms.
async fn set_power(
    bmc: &Bmc,
    on: bool,
    permit: &Permit<'_>,
    patience: Patience,
) -> Result<BmcReport, Stop> {
    let before = look(bmc, permit).await?;
    if before.power_on == on {
        return Ok(before);
    }
    let begin = Instant::now();
    let (mut told, mut refused) = (command_power(bmc, on, permit).await?, None);
    // Whether the last look got an answer, which then contradicts the command.
    let mut blind;
    let mut repeat_at = begin + patience.repeat;
    let mut pause = patience.look_first;
    loop {
        match look(bmc, permit).await {
            Ok(now) if now.power_on == on => return Ok(now),
            Ok(_) => blind = false,
            // A failed look says nothing about the power, unless the next ones must fail too.
            Err(Stop::Fault(fault)) if !fault.permanent => {
                (refused, blind) = (Some(fault.what), true);
            }
            Err(stop) => return Err(stop),
        }
        if begin.elapsed() >= patience.confirm {
            break;
        }
        if Instant::now() >= repeat_at {
            repeat_at = Instant::now() + patience.repeat;
            told = command_power(bmc, on, permit).await?;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.look_last);
    }
    let wanted = if on { "on" } else { "off" };
    let accepted = (blind && told.is_ok()).then_some(match on {
        true => Accepted::PowerOn,
        false => Accepted::PowerOff,
    });
    let why = told.err().map(|error| error.to_string()).or(refused);
    let what = format!(
        "BMC {}: power {wanted}: it does not report {wanted} after {} s{}",
        bmc.address(),
        patience.confirm.as_secs(),
        why.map(|why| format!(" ({why})")).unwrap_or_default()
    );
    let fault = BmcFault {
        accepted,
        ..transient(what)
    };
    Err(fault.into())
}

/// A permanent error ends the act. After any other the command may have worked all the same, which a look tells: the
/// answer was lost, or it was "not supported in the present state" because the power is as wanted already.
async fn command_power(
    bmc: &Bmc,
    on: bool,
    permit: &Permit<'_>,
) -> Result<Result<(), IpmiError>, Stop> {
    let (control, doing) = if on {
        (ChassisControl::PowerUp, "power on")
    } else {
        (ChassisControl::PowerDown, "power off")
    };
    permit.check(doing)?;
    match bmc.chassis_control(control).await {
        Err(error) if error.is_permanent() => Err(error.into()),
        told => Ok(told),
    }
}
