//! Drives BMCs: one arm per act, each read, compare, act, confirm, so that it may be done twice.
//! The protocols are a closed set; which act is due is decided in the core.
use ironbeat_common::decide::{BmcFault, BmcReport};
use ironbeat_common::inventory::BootMode;
use ironbeat_common::node::{BmcAccess, BmcAct};
use ironbeat_ipmi::{
    Bmc, BmcConfig, BootDevice, BootFlags, ChassisControl, Error as IpmiError, Secret, Suite,
    Timing, Transport,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a BMC has to carry out a power command (Ironic `power_state_change_timeout`).
const CONFIRM: Duration = Duration::from_secs(60);
/// Between two looks at the power state: first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LAST: Duration = Duration::from_secs(2);
/// Handles kept, each with a session of its own; more than any one worker should look after.
const MAX_HANDLES: usize = 16_384;
const IPMI_PORT: u16 = 623;

/// How the machine shall boot next.
#[derive(Clone, Copy, Debug)]
pub struct BootWish {
    pub mode: BootMode,
}

/// All BMCs of this worker.
pub struct Bmcs {
    transport: Transport,
    handles: Mutex<HashMap<BmcKey, Bmc>>,
}

/// A handle is kept per address and login: changed credentials are a new one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BmcKey(String);

fn lock(handles: &Mutex<HashMap<BmcKey, Bmc>>) -> MutexGuard<'_, HashMap<BmcKey, Bmc>> {
    handles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an act runs under: until when, and whether this worker is still entitled to it.
struct Permit<'a> {
    until: Instant,
    fence: &'a (dyn Fn() -> bool + Sync),
}

impl Permit<'_> {
    /// Asked before every command.
    fn check(&self) -> Result<(), BmcFault> {
        if !(self.fence)() {
            return Err(transient(
                "this worker lost touch with NATS and stopped acting".into(),
            ));
        }
        if Instant::now() >= self.until {
            return Err(transient("the time for this act is over".into()));
        }
        Ok(())
    }
}

fn transient(what: String) -> BmcFault {
    BmcFault {
        what,
        permanent: false,
    }
}

fn fault(error: IpmiError) -> BmcFault {
    BmcFault {
        permanent: error.is_permanent(),
        what: error.to_string(),
    }
}

impl Bmcs {
    pub fn new() -> Self {
        Self {
            transport: Transport::new(),
            handles: Mutex::default(),
        }
    }

    /// Does one act. `fence` says before every command whether this worker may still act.
    ///
    /// # Errors
    /// What was attempted on which BMC, and whether another try makes sense. Holds no secret.
    pub async fn perform(
        &self,
        access: &BmcAccess,
        act: BmcAct,
        wish: BootWish,
        until: Instant,
        fence: &(dyn Fn() -> bool + Sync),
    ) -> Result<BmcReport, BmcFault> {
        let bmc = self.handle(access).await?;
        let permit = Permit { until, fence };
        // An answer that never comes is bounded by the client; this bounds the sum.
        match tokio::time::timeout_at(until, run(&bmc, act, wish, &permit)).await {
            Ok(result) => result,
            Err(_) => Err(transient(format!(
                "BMC {}: the time for this act is over",
                bmc.address()
            ))),
        }
    }

    async fn handle(&self, access: &BmcAccess) -> Result<Bmc, BmcFault> {
        let BmcAccess::Ipmi {
            address,
            username,
            password,
            cipher_suite,
            kg,
        } = access;
        let key = BmcKey(format!(
            "{address} {username} {cipher_suite:?} {} {}",
            password.reveal(),
            kg.as_ref().map_or("", |kg| kg.reveal())
        ));
        if let Some(bmc) = lock(&self.handles).get(&key) {
            return Ok(bmc.clone());
        }
        let resolved = resolve(address).await?;
        let mut config = BmcConfig::new(resolved, username.clone(), Secret::new(password.reveal()));
        config.kg = match kg {
            Some(kg) => Some(Secret::new(unhex(kg.reveal()).ok_or_else(|| BmcFault {
                what: format!("BMC {address}: the key K_g is not hex"),
                permanent: true,
            })?)),
            None => None,
        };
        config.suite = match cipher_suite {
            None => None,
            Some(3) => Some(Suite::Three),
            Some(17) => Some(Suite::Seventeen),
            Some(other) => {
                let what = format!("BMC {address}: cipher suite {other} is not one of 3 and 17");
                return Err(BmcFault {
                    what,
                    permanent: true,
                });
            }
        };
        config.timing = Timing::default();
        let bmc = self.transport.bmc(config);
        let mut handles = lock(&self.handles);
        if handles.len() >= MAX_HANDLES {
            // Whoever uses one has a clone; the rest is opened again when it is needed.
            handles.clear();
        }
        Ok(handles.entry(key).or_insert(bmc).clone())
    }

    /// Gives every BMC its session slot back.
    pub async fn close(&self) {
        let handles: Vec<Bmc> = lock(&self.handles).drain().map(|(_, bmc)| bmc).collect();
        for bmc in handles {
            bmc.close().await;
        }
    }
}

impl Default for Bmcs {
    fn default() -> Self {
        Self::new()
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; a name is looked up.
async fn resolve(address: &str) -> Result<SocketAddr, BmcFault> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = address
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok((ip, IPMI_PORT).into());
    }
    let with_port = if address.contains(':') {
        address.to_string()
    } else {
        format!("{address}:{IPMI_PORT}")
    };
    let found = tokio::net::lookup_host(&with_port).await;
    let mut found = found.map_err(|error| transient(format!("look up BMC {address}: {error}")))?;
    found
        .next()
        .ok_or_else(|| transient(format!("look up BMC {address}: it has no address")))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

async fn run(
    bmc: &Bmc,
    act: BmcAct,
    wish: BootWish,
    permit: &Permit<'_>,
) -> Result<BmcReport, BmcFault> {
    match act {
        BmcAct::Check => {
            permit.check()?;
            bmc.device_id().await.map_err(fault)?;
            report(bmc).await
        }
        BmcAct::Netboot => {
            set_power(bmc, false, permit).await?;
            set_boot(bmc, BootDevice::Pxe, wish, false, permit).await?;
            set_power(bmc, true, permit).await
        }
        BmcAct::SetBootDisk => {
            set_boot(bmc, BootDevice::Disk, wish, true, permit).await?;
            report(bmc).await
        }
        BmcAct::EnsureOn => set_power(bmc, true, permit).await,
        BmcAct::BootDisk => {
            set_power(bmc, false, permit).await?;
            set_boot(bmc, BootDevice::Disk, wish, true, permit).await?;
            set_power(bmc, true, permit).await
        }
        BmcAct::PowerOff => set_power(bmc, false, permit).await,
    }
}

async fn report(bmc: &Bmc) -> Result<BmcReport, BmcFault> {
    let status = bmc.chassis_status().await.map_err(fault)?;
    Ok(BmcReport {
        power_on: status.power_on,
    })
}

async fn set_boot(
    bmc: &Bmc,
    device: BootDevice,
    wish: BootWish,
    persistent: bool,
    permit: &Permit<'_>,
) -> Result<(), BmcFault> {
    permit.check()?;
    let flags = BootFlags {
        efi: wish.mode == BootMode::Uefi,
        persistent,
    };
    // Not read back: many BMCs do not say what they were told (ipmi_sim among them).
    bmc.set_boot_device(device, flags).await.map_err(fault)
}

/// Asks first, acts if needed, and looks until the BMC says that it is so.
async fn set_power(bmc: &Bmc, on: bool, permit: &Permit<'_>) -> Result<BmcReport, BmcFault> {
    permit.check()?;
    let mut now = report(bmc).await?;
    if now.power_on == on {
        return Ok(now);
    }
    permit.check()?;
    let control = if on {
        ChassisControl::PowerUp
    } else {
        ChassisControl::PowerDown
    };
    bmc.chassis_control(control).await.map_err(fault)?;
    let begin = Instant::now();
    let mut pause = LOOK_FIRST;
    loop {
        now = report(bmc).await?;
        if now.power_on == on {
            return Ok(now);
        }
        if begin.elapsed() >= CONFIRM {
            let (wanted, said) = if on { ("on", "off") } else { ("off", "on") };
            let what = format!(
                "BMC {}: told to power {wanted}, it still says {said} after {} s",
                bmc.address(),
                CONFIRM.as_secs()
            );
            return Err(transient(what));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_LAST);
        permit.check()?;
    }
}
