//! All BMCs of this worker: a kept handle for each, one act at a time under a permit that ends.
//! `act` has the commands of an act, `login` reads addresses and logins, `password` finds the one that is right and sets
//! another; the core decides which act is due.
mod act;
mod login;
mod password;
#[cfg(test)]
mod tests;

use crate::records::logins::BmcLogin;
use act::Patience;
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::BootMode;
use ironbeat_core::decide::{BmcFault, BmcReport, Event};
use ironbeat_core::node::{BmcAccess, BmcAct, BmcAddress, Host};
use ironbeat_ipmi::{Bmc, Error as IpmiError, Timing, Transport};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Handles kept, each with a session of its own; more than any one worker should look after.
const MAX_HANDLES: usize = 16_384;
/// An act under way asks this often whether it still may: well within the three seconds between the time when a worker
/// must stop and the moment when others take over.
const FENCE_LOOK: Duration = Duration::from_millis(250);
/// At shutdown the sessions with all BMCs are ended, this many at a time, for this long in all.
const CLOSE_AT_ONCE: usize = 256;
/// A session unused for this long is ended, before the BMC does it itself, which some get wrong.
const IDLE: Duration = Duration::from_secs(30);
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Why an act must stop; none: it may go on.
pub type Fence<'a> = dyn Fn() -> Option<Halt> + Sync + 'a;

/// Why an act is not carried through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// This worker has not the right to act.
    MayNotAct,
    Unwanted,
    /// Its time is over.
    Late,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Halt::MayNotAct => "this worker stops, lost touch with NATS or has a wrong clock",
            Halt::Unwanted => "an operator wants something else",
            Halt::Late => "the time for this act is over",
        })
    }
}

/// How the machine shall boot next.
#[derive(Clone, Copy, Debug)]
pub struct BootWish {
    pub mode: BootMode,
}

pub struct Bmcs {
    transport: Transport,
    timing: Timing,
    patience: Patience,
    handles: Mutex<HashMap<BmcAddress, Handle>>,
    found: mpsc::Sender<Found>,
}

/// Which password a node's BMC was seen to accept, while that is in question.
pub type Found = (NodeId, Event);

/// By address: a BMC belongs to one node, and changed credentials replace the old ones.
struct Handle {
    access: BmcAccess,
    bmc: Bmc,
    used: Instant,
    users: Arc<()>,
    /// Used since its session was last ended.
    open: bool,
}

impl Handle {
    fn lease(&self) -> Lease {
        Lease {
            bmc: self.bmc.clone(),
            _user: Arc::clone(&self.users),
        }
    }
}

/// See [`Bmcs::handle`].
pub struct Lease {
    pub bmc: Bmc,
    _user: Arc<()>,
}

impl Bmcs {
    /// `spacing`: between two packets to one BMC. `found`: told which password is right, where that is in question; when it is
    /// full, the next login tells it.
    pub fn new(spacing: Duration, found: mpsc::Sender<Found>) -> Self {
        let timing = Timing {
            spacing,
            ..Timing::default()
        };
        Self::with(timing, Patience::default(), found)
    }

    fn with(timing: Timing, patience: Patience, found: mpsc::Sender<Found>) -> Self {
        Self {
            transport: Transport::new(),
            timing,
            patience,
            handles: Mutex::default(),
            found,
        }
    }

    /// Does one act. `fence` says before every command, and a few times a second, why this worker may no longer act, if
    /// so; from then on, or from `until`, a command under way is no longer repeated.
    ///
    /// # Errors
    /// What was attempted on which BMC, and whether another try makes sense. Holds no secret.
    pub async fn perform(
        &self,
        login: &BmcLogin,
        act: BmcAct,
        wish: BootWish,
        until: Instant,
        fence: &Fence<'_>,
    ) -> Result<BmcReport, BmcFault> {
        let permit = Permit {
            until,
            fence,
            doing: Mutex::new("begin"),
        };
        let told = AtomicBool::new(act != BmcAct::SetPassword);
        let work = async {
            if act == BmcAct::SetPassword {
                return password::set(self, login, &permit, &told).await;
            }
            let lease = self.handle(login).await?;
            act::carry_out(&lease.bmc, act, wish, &permit, self.patience).await
        };
        let result = tokio::select! {
            biased;
            why = permit.end() => Err(why),
            result = work => result,
        };
        let fault = match result {
            Ok(report) => return Ok(report),
            Err(Stop::Fault(fault)) => {
                self.forget_if_named(login.address());
                fault
            }
            Err(Stop::Halted(why)) => {
                let (address, doing) = (login.address(), permit.doing());
                let what = format!("BMC {address}: {doing}: stopped, because {why}");
                BmcFault {
                    let_go: why == Halt::MayNotAct,
                    ..transient(what)
                }
            }
        };
        Err(BmcFault {
            untold: !told.load(Ordering::Relaxed),
            ..fault
        })
    }

    /// Asks for the power state, once.
    ///
    /// # Errors
    /// What was attempted on which BMC, and whether another try makes sense. Holds no secret.
    pub async fn read_power(&self, login: &BmcLogin) -> Result<BmcReport, BmcFault> {
        let lease = self.handle(login).await?;
        match lease.bmc.chassis_status().await {
            Ok(status) => Ok(BmcReport {
                power_on: status.power_on,
            }),
            Err(error) => {
                self.forget_if_named(login.address());
                Err(fault(&error))
            }
        }
    }

    /// Ends the sessions that nobody has used for a while: a BMC has four to eight slots, and other workers and people
    /// want one too.
    pub async fn close_idle(&self) {
        use futures_util::StreamExt;
        let idle: Vec<Bmc> = {
            let mut handles = self.lock();
            let idle = handles.values_mut().filter(|handle| {
                let in_use = Arc::strong_count(&handle.users) > 1;
                handle.open && !in_use && handle.used.elapsed() >= IDLE
            });
            idle.map(|handle| {
                handle.open = false;
                handle.bmc.clone()
            })
            .collect()
        };
        futures_util::stream::iter(&idle)
            .for_each_concurrent(CLOSE_AT_ONCE, |bmc| bmc.close())
            .await;
    }

    /// A BMC for somebody who waits at a terminal: asked often and not for long, over a session of its own.
    ///
    /// # Errors
    /// When its address or login cannot be understood.
    pub async fn hasty(&self, access: &BmcAccess) -> Result<Bmc, BmcFault> {
        let timing = Timing {
            first_timeout: Duration::from_millis(700),
            max_timeout: Duration::from_millis(700),
            tries: 4,
            ..self.timing
        };
        Ok(self.transport.bmc(login::config(access, timing).await?))
    }

    /// A BMC to speak with. Its session stays open while the lease lasts. While its password is being changed, this is where
    /// each that it may have is tried, and whoever keeps the record told which is right.
    ///
    /// # Errors
    /// When its address or login cannot be understood; while its password is being changed, when it lets nobody in.
    pub async fn handle(&self, login: &BmcLogin) -> Result<Lease, BmcFault> {
        self.kept(&self.access(login).await?).await
    }

    /// With which password to log in.
    ///
    /// # Errors
    /// As [`Bmcs::handle`].
    pub async fn access(&self, login: &BmcLogin) -> Result<BmcAccess, BmcFault> {
        if login.secrets.next.is_none() {
            return Ok(login.present());
        }
        let tried = password::find(self, login).await?;
        if let Some(event) = tried.event(login) {
            let _ = self.found.try_send((login.node, event));
        }
        tried.access
    }

    /// For the record of a node whose BMC's password is being changed, from somebody who waits for it. None: there is nothing
    /// to tell.
    ///
    /// # Errors
    /// When the BMC cannot be asked.
    pub async fn ask_password(&self, login: &BmcLogin) -> Result<Option<Event>, BmcFault> {
        Ok(password::find(self, login).await?.event(login))
    }

    /// Whether the last that spoke with this BMC logged in so.
    fn keeps(&self, access: &BmcAccess) -> bool {
        let handles = self.lock();
        let handle = handles.get(access.address());
        handle.is_some_and(|handle| handle.access == *access)
    }

    async fn kept(&self, access: &BmcAccess) -> Result<Lease, BmcFault> {
        let address = access.address();
        if let Some(handle) = self.lock().get_mut(address)
            && handle.access == *access
        {
            (handle.used, handle.open) = (Instant::now(), true);
            return Ok(handle.lease());
        }
        let config = login::config(access, self.timing).await?;
        let handle = Handle {
            access: access.clone(),
            bmc: self.transport.bmc(config),
            used: Instant::now(),
            users: Arc::default(),
            open: true,
        };
        let lease = handle.lease();
        let mut handles = self.lock();
        if handles.len() >= MAX_HANDLES && !handles.contains_key(address) {
            let oldest = handles.iter().min_by_key(|(_, handle)| handle.used);
            // Its users have clones; the last one dropped ends the session.
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                handles.remove(&oldest);
            }
        }
        handles.insert(address.clone(), handle);
        Ok(lease)
    }

    /// A name may resolve to another address next time.
    fn forget_if_named(&self, address: &BmcAddress) {
        if let Host::Name(_) = address.host() {
            self.lock().remove(address);
        }
    }

    /// Gives every BMC that answers its session slot back.
    pub async fn close(&self) {
        use futures_util::StreamExt;
        let handles: Vec<Bmc> = self.lock().drain().map(|(_, handle)| handle.bmc).collect();
        let closing = futures_util::stream::iter(&handles)
            .for_each_concurrent(CLOSE_AT_ONCE, |bmc| bmc.close());
        // When its handle is dropped, a BMC that was not reached gets a farewell without an answer.
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BmcAddress, Handle>> {
        // The map is whole between any two statements, so a panic elsewhere cannot have torn it.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an act is over before its end.
enum Stop {
    Fault(BmcFault),
    Halted(Halt),
}

impl From<BmcFault> for Stop {
    fn from(fault: BmcFault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<IpmiError> for Stop {
    fn from(error: IpmiError) -> Self {
        Stop::Fault(fault(&error))
    }
}

fn fault(error: &IpmiError) -> BmcFault {
    BmcFault {
        permanent: error.is_permanent(),
        ..transient(error.to_string())
    }
}

fn transient(what: String) -> BmcFault {
    BmcFault {
        what,
        permanent: false,
        accepted: None,
        untold: false,
        let_go: false,
    }
}

fn permanent(what: String) -> BmcFault {
    BmcFault {
        permanent: true,
        ..transient(what)
    }
}

/// The right to act: until when, and whether this worker still has it.
struct Permit<'a> {
    until: Instant,
    fence: &'a Fence<'a>,
    /// The last command begun.
    doing: Mutex<&'static str>,
}

impl Permit<'_> {
    /// Asked before every command.
    fn check(&self, doing: &'static str) -> Result<(), Stop> {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
        match self.refusal() {
            Some(why) => Err(Stop::Halted(why)),
            None => Ok(()),
        }
    }

    fn refusal(&self) -> Option<Halt> {
        let late = || (Instant::now() >= self.until).then_some(Halt::Late);
        (self.fence)().or_else(late)
    }

    /// Resolves when the permit ends.
    async fn end(&self) -> Stop {
        loop {
            if let Some(why) = self.refusal() {
                return Stop::Halted(why);
            }
            let next = Instant::now() + FENCE_LOOK;
            tokio::time::sleep_until(next.min(self.until)).await;
        }
    }

    fn doing(&self) -> &'static str {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
