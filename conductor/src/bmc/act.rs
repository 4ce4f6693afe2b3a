//! What each act is made of: read, compare, act, confirm, so that it may be done twice.
//! Bytes and retransmissions are `ironbeat_ipmi`'s affair; when another try is worth it decides the core.
use super::{BootWish, Permit, Stop, transient};
use ironbeat_common::decide::BmcReport;
use ironbeat_common::inventory::BootMode;
use ironbeat_common::node::BmcAct;
use ironbeat_ipmi::{Bmc, BootDevice, BootFlags, ChassisControl, Error as IpmiError};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for a machine to do what its BMC was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the power to change, in all (Ironic `power_state_change_timeout`).
    pub confirm: Duration,
    /// Between two looks at the power: first, then doubled up to the last.
    pub look_first: Duration,
    pub look_last: Duration,
    /// A power command that shows no effect is given again: some BMCs accept one too soon after the last and forget it.
    pub repeat: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            confirm: Duration::from_secs(60),
            look_first: Duration::from_millis(100),
            look_last: Duration::from_secs(2),
            repeat: Duration::from_secs(15),
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
            set_boot(bmc, Boot::NetworkOnce, wish, permit).await?;
            power(true).await
        }
        BmcAct::SetBootDisk => {
            set_boot(bmc, Boot::DiskAlways, wish, permit).await?;
            look(bmc, permit).await
        }
        BmcAct::EnsureOn => power(true).await,
        BmcAct::BootDisk => {
            power(false).await?;
            set_boot(bmc, Boot::DiskAlways, wish, permit).await?;
            power(true).await
        }
        BmcAct::PowerOff => power(false).await,
    }
}

async fn look(bmc: &Bmc, permit: &Permit<'_>) -> Result<BmcReport, Stop> {
    permit.check("read the power state")?;
    let power_on = bmc.chassis_status().await?.power_on;
    Ok(BmcReport { power_on })
}

enum Boot {
    NetworkOnce,
    DiskAlways,
}

/// Not read back: many BMCs do not say what they were told (ipmi_sim among them).
async fn set_boot(bmc: &Bmc, boot: Boot, wish: BootWish, permit: &Permit<'_>) -> Result<(), Stop> {
    permit.check("set the boot device")?;
    let (device, persistent) = match boot {
        Boot::NetworkOnce => (BootDevice::Pxe, false),
        Boot::DiskAlways => (BootDevice::Disk, true),
    };
    let efi = match wish.mode {
        BootMode::Uefi => true,
        BootMode::Bios => false,
    };
    let flags = BootFlags { efi, persistent };
    Ok(bmc.set_boot_device(device, flags).await?)
}

/// Asks first, acts if needed, and looks until the BMC says that it is so.
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
    let (mut told, mut refused) = (tell(bmc, on, permit).await?, None);
    let mut repeat_at = begin + patience.repeat;
    let mut pause = patience.look_first;
    loop {
        match look(bmc, permit).await {
            Ok(now) if now.power_on == on => return Ok(now),
            Ok(_) => {}
            // A look that fails says nothing about the power, unless the next ones must fail too.
            Err(Stop::Fault(fault)) if !fault.permanent => refused = Some(fault.what),
            Err(stop) => return Err(stop),
        }
        if begin.elapsed() >= patience.confirm {
            break;
        }
        if Instant::now() >= repeat_at {
            repeat_at = Instant::now() + patience.repeat;
            told = tell(bmc, on, permit).await?;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.look_last);
    }
    let wanted = if on { "on" } else { "off" };
    let why = told.err().map(|error| error.to_string()).or(refused);
    let what = format!(
        "BMC {}: told to power {wanted}, it does not say that it is {wanted} after {} s{}",
        bmc.address(),
        patience.confirm.as_secs(),
        why.map(|why| format!(" ({why})")).unwrap_or_default()
    );
    Err(transient(what).into())
}

/// What went wrong for good ends the act; anything else may have worked all the same, which a look tells: a lost answer,
/// or "not supported in the present state" because it is so already.
async fn tell(bmc: &Bmc, on: bool, permit: &Permit<'_>) -> Result<Result<(), IpmiError>, Stop> {
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
