//! Runs one step at a time on its own thread, shares its progress, and cancels it on request.
//! Which step to run is decided in `beat`; carrying out its order is left to `perform`.
use crate::context::{MayPass, StepContext};
use ironbeat_common::heartbeat::{Outcome, Progress, Retry, Status, StepError};
use ironbeat_common::id::StepId;
use ironbeat_common::inventory::Disk;
use ironbeat_common::order::Order;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Carries out an order. Called on its own thread; blocks until done.
pub type Perform = dyn Fn(&Order, &StepContext<'_>) -> anyhow::Result<Outcome> + Send + Sync;
pub type ReadDisks = dyn Fn() -> Vec<Disk> + Send + Sync;

/// How the agent ends: only by an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Reboot,
    PowerOff,
}

/// The answer of [`Runner::want`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It started at this moment.
    Started(Instant),
    /// It is already running or over.
    AlreadyThere,
    /// Another step is being cancelled; this one starts when that has ended.
    Waits,
}

/// The one step there is.
pub struct Runner {
    perform: Arc<Perform>,
    disks: Arc<ReadDisks>,
    current: Current,
    /// What starts when the current step has ended.
    next: Option<(StepId, Order)>,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
}

enum Current {
    Nothing,
    /// `forgotten`: nobody wants it any more, so its end is not reported.
    Running {
        step: StepId,
        shared: Arc<Shared>,
        forgotten: bool,
    },
    Over(Ended),
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    cancelled: AtomicBool,
}

struct Ended {
    step: StepId,
    result: Result<Outcome, StepError>,
    ending: Option<Ending>,
}

impl Runner {
    pub fn new(perform: Arc<Perform>, disks: Arc<ReadDisks>) -> Self {
        Self {
            perform,
            disks,
            current: Current::Nothing,
            next: None,
            ended: mpsc::channel(1),
        }
    }

    /// Starts `step`, or cancels the running one first. Must be called on the runtime.
    pub fn want(&mut self, step: StepId, order: Order) -> Taken {
        match &self.current {
            Current::Running {
                step: running,
                forgotten: false,
                ..
            } if *running == step => {
                self.next = None;
                Taken::AlreadyThere
            }
            Current::Running {
                step: running,
                shared,
                ..
            } => {
                if !shared.cancelled.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        step = running.0,
                        wanted = step.0,
                        "cancelling the running step"
                    );
                }
                self.next = Some((step, order));
                Taken::Waits
            }
            Current::Over(ended) if ended.step == step => Taken::AlreadyThere,
            Current::Over(_) | Current::Nothing => self.start(step, order),
        }
    }

    /// The conductor wants nothing new: a running step goes on, a waiting one is dropped.
    pub fn want_nothing_new(&mut self) {
        self.next = None;
    }

    /// No record names this boot any more, so nobody wants its step: it is cancelled, and its end is not reported.
    pub fn forget(&mut self) {
        self.next = None;
        match &mut self.current {
            Current::Running {
                shared, forgotten, ..
            } => {
                shared.cancelled.store(true, Ordering::Relaxed);
                *forgotten = true;
            }
            Current::Over(_) | Current::Nothing => self.current = Current::Nothing,
        }
    }

    /// Returns when the running step has ended, and starts the one that waited for it. Pends for ever without a running step.
    pub async fn ended(&mut self) -> Option<Taken> {
        let ended = match self.ended.1.recv().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        };
        match &ended.result {
            Ok(_) => tracing::info!(step = ended.step.0, "step done"),
            Err(error) => tracing::error!(step = ended.step.0, error = error.what, "step failed"),
        }
        let forgotten = matches!(
            self.current,
            Current::Running {
                forgotten: true,
                ..
            }
        );
        self.current = if forgotten {
            Current::Nothing
        } else {
            Current::Over(ended)
        };
        self.next
            .take()
            .map(|(step, order)| self.start(step, order))
    }

    pub fn is_running(&self) -> bool {
        matches!(self.current, Current::Running { .. })
    }

    /// Set once the step that ends this agent is done.
    pub fn ending(&self) -> Option<Ending> {
        match &self.current {
            Current::Over(Ended { ending, .. }) => *ending,
            Current::Running { .. } | Current::Nothing => None,
        }
    }

    pub fn status(&self) -> Status {
        match &self.current {
            Current::Nothing
            | Current::Running {
                forgotten: true, ..
            } => Status::Idle,
            Current::Running { step, shared, .. } => Status::Running {
                step: *step,
                progress: shared.progress(),
            },
            Current::Over(Ended {
                step,
                result: Ok(outcome),
                ..
            }) => Status::Done {
                step: *step,
                outcome: outcome.clone(),
            },
            Current::Over(Ended {
                step,
                result: Err(error),
                ..
            }) => Status::Failed {
                step: *step,
                error: error.clone(),
            },
        }
    }

    fn start(&mut self, step: StepId, order: Order) -> Taken {
        tracing::info!(step = step.0, order = order.name(), "step starts");
        let shared = Arc::new(Shared::default());
        let job = Job {
            step,
            order,
            shared: shared.clone(),
            perform: self.perform.clone(),
            disks: self.disks.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let ended = self.ended.0.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("step-{step}"))
            // There is always room: the next step starts only after this message is read.
            .spawn(move || drop(ended.blocking_send(job.run())));
        self.current = match spawned {
            Ok(_) => Current::Running {
                step,
                shared,
                forgotten: false,
            },
            Err(error) => {
                let error = StepError {
                    what: format!("starting a thread for the step: {error}"),
                    retry: Retry::Useful,
                };
                Current::Over(Ended {
                    step,
                    result: Err(error),
                    ending: None,
                })
            }
        };
        Taken::Started(Instant::now())
    }
}

impl Shared {
    fn progress(&self) -> Progress {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Job {
    step: StepId,
    order: Order,
    shared: Arc<Shared>,
    perform: Arc<Perform>,
    disks: Arc<ReadDisks>,
    runtime: tokio::runtime::Handle,
}

impl Job {
    fn run(self) -> Ended {
        let shared = &self.shared;
        let context = StepContext {
            progress: &|progress| {
                *shared
                    .progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = progress
            },
            cancelled: &shared.cancelled,
            disks: &*self.disks,
            runtime: self.runtime,
        };
        // In the ramdisk a panic ends the machine; as an ordinary process it ends the step.
        let result = catch_unwind(AssertUnwindSafe(|| (self.perform)(&self.order, &context)))
            .unwrap_or_else(|_| {
                Err(anyhow::anyhow!(
                    "the step panicked; the agent's log says where"
                ))
            });
        let ending = match (&self.order, &result) {
            (Order::Reboot, Ok(_)) => Some(Ending::Reboot),
            (Order::PowerOff, Ok(_)) => Some(Ending::PowerOff),
            _ => None,
        };
        let result = result.map_err(|error| step_error(&error));
        Ended {
            step: self.step,
            result,
            ending,
        }
    }
}

fn step_error(error: &anyhow::Error) -> StepError {
    StepError {
        what: format!("{error:#}"),
        retry: match error.downcast_ref::<MayPass>() {
            Some(_) => Retry::Useful,
            None => Retry::Useless,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not_however_deep_it_is() {
        let refused = || anyhow::anyhow!("connection refused");
        let away = MayPass("the server is away".into());
        let error = refused().context(away).context("writing the image");
        let told = step_error(&error);
        let words = "writing the image: the server is away: connection refused";
        assert_eq!((told.what.as_str(), told.retry), (words, Retry::Useful));
        assert_eq!(step_error(&refused()).retry, Retry::Useless);
    }
}
