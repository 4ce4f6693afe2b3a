//! How to get into a BMC: what to try next after the last attempt. It has no socket and no clock.
//! `attempt` carries an attempt out; `link` keeps the session.
use crate::config::{BmcConfig, Protocol};
use crate::crypto::Suite;
use crate::error::ErrorKind;
use crate::presession::AuthCapabilities;
use std::mem;
use tokio::time::Instant;

/// After silence to this many requests for a session, the BMC is asked for its capabilities.
const STRANGER_TRIES: u32 = 2;
/// Logins in a row that are lost halfway. The second is for one whose messages crossed; a third that fails is final.
const LOGINS: u32 = 3;

/// Lessons about a BMC from earlier logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The suite that it accepted last.
    pub suite: Option<Suite>,
    /// It let us in only after it was asked for its capabilities.
    pub greet: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask for its capabilities, once.
    Greet,
    /// Log in with this suite (none: IPMI 1.5), sending the first message at most `tries` times.
    Try {
        suite: Option<Suite>,
        tries: u32,
    },
    Done,
    GiveUp(ErrorKind),
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// After `Greet`. None: no answer, or none that can be read.
    Greeted(Option<AuthCapabilities>),
    /// After `Try`.
    Entered,
    Failed(ErrorKind),
}

pub(crate) struct Login {
    /// In the order in which they are tried (none: IPMI 1.5), and how many of them were given up.
    suites: &'static [Option<Suite>],
    refusals: usize,
    tries: u32,
    greeted: bool,
    known: Known,
    /// The error if no suite is left.
    refused: Option<ErrorKind>,
    stage: Stage,
}

enum Stage {
    /// This BMC needed it last time.
    GreetingFirst,
    Trying(Attempt),
    /// The attempt met silence or noise.
    Greeting {
        attempt: Attempt,
        failed: ErrorKind,
    },
    Over,
}

#[derive(Clone, Copy)]
struct Attempt {
    suite: Option<Suite>,
    tries: u32,
    /// Logins with these tries, this one included.
    logins: u32,
    /// Whether silence is a reason to ask for capabilities and to try again.
    may_greet: bool,
    /// When this suite was tried first.
    since: Instant,
}

impl Login {
    pub(crate) fn begin(config: &BmcConfig, known: Known, now: Instant) -> (Self, Next) {
        let mut login = Self {
            suites: suites(config, known),
            tries: config.timing.tries.max(1),
            refusals: 0,
            greeted: false,
            known,
            refused: None,
            stage: Stage::GreetingFirst,
        };
        let next = match known.greet && config.protocol == Protocol::RmcpPlus {
            true => Next::Greet,
            false => login.try_suite(now),
        };
        (login, next)
    }

    /// Lessons for the next login, however this one ended.
    pub(crate) fn known(&self) -> Known {
        self.known
    }

    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Next {
        match (event, mem::replace(&mut self.stage, Stage::Over)) {
            (Event::Greeted(can), Stage::GreetingFirst) => {
                self.greeted = can.is_some();
                self.try_suite(now)
            }
            (Event::Greeted(can), Stage::Greeting { attempt, failed }) => {
                self.greeted_late(can, attempt, failed, now)
            }
            (Event::Entered, Stage::Trying(attempt)) => {
                self.known = Known {
                    suite: attempt.suite,
                    greet: self.greeted,
                };
                Next::Done
            }
            (Event::Failed(kind), Stage::Trying(attempt)) => self.failed(kind, attempt, now),
            (Event::Greeted(_), Stage::Trying(_) | Stage::Over)
            | (
                Event::Entered | Event::Failed(_),
                Stage::GreetingFirst | Stage::Greeting { .. } | Stage::Over,
            ) => unreachable!("an event answers what was to be done last"),
        }
    }

    fn try_suite(&mut self, now: Instant) -> Next {
        let Some(suite) = self.suites.get(self.refusals) else {
            return self.no_suite_left();
        };
        // IPMI 1.5 begins every login with that question.
        let may_greet = suite.is_some() && !self.greeted;
        self.attempt(Attempt {
            suite: *suite,
            tries: match may_greet {
                true => self.tries.min(STRANGER_TRIES),
                false => self.tries,
            },
            logins: 1,
            may_greet,
            since: now,
        })
    }

    fn attempt(&mut self, attempt: Attempt) -> Next {
        self.stage = Stage::Trying(attempt);
        Next::Try {
            suite: attempt.suite,
            tries: attempt.tries,
        }
    }

    fn failed(&mut self, kind: ErrorKind, attempt: Attempt, now: Instant) -> Next {
        match kind {
            ErrorKind::SessionLost if attempt.logins < LOGINS => self.attempt(Attempt {
                logins: attempt.logins + 1,
                ..attempt
            }),
            // Silence may mean that the BMC takes us for the last session from our port. A question that every BMC
            // answers makes a new caller of us. Noise is no more than silence: anybody can send it.
            failed @ (ErrorKind::Unreachable { .. } | ErrorKind::Malformed(_))
                if attempt.may_greet =>
            {
                self.stage = Stage::Greeting { attempt, failed };
                Next::Greet
            }
            kind => self.suite_failed(kind, attempt.since, now),
        }
    }

    fn greeted_late(
        &mut self,
        can: Option<AuthCapabilities>,
        attempt: Attempt,
        failed: ErrorKind,
        now: Instant,
    ) -> Next {
        self.greeted = can.is_some();
        let tries = match can {
            Some(can) if !can.ipmi_v2 => return Next::GiveUp(ErrorKind::NoRmcpPlus),
            Some(_) => self.tries,
            None => self.tries - attempt.tries,
        };
        if tries == 0 {
            return self.suite_failed(failed, attempt.since, now);
        }
        self.attempt(Attempt {
            tries,
            logins: 1,
            may_greet: false,
            ..attempt
        })
    }

    /// This suite is given up.
    fn suite_failed(&mut self, kind: ErrorKind, since: Instant, now: Instant) -> Next {
        match kind {
            // Some BMCs limit the privilege per suite, and call it an invalid role.
            ErrorKind::CipherRefused(_) | ErrorKind::PrivilegeTooLow { .. } => {
                self.refused = Some(kind);
            }
            // Some BMCs answer other questions, but drop requests for a suite that they do not know.
            ErrorKind::Unreachable { .. } => {
                let silence = ErrorKind::Unreachable {
                    tries: self.tries,
                    waited: now - since,
                };
                if !self.greeted {
                    return Next::GiveUp(silence);
                }
                self.refused.get_or_insert(silence);
            }
            kind => return Next::GiveUp(kind),
        }
        self.refusals += 1;
        self.try_suite(now)
    }

    fn no_suite_left(&mut self) -> Next {
        // A BMC may refuse what it accepted before, after an update of its firmware.
        self.known.suite = None;
        Next::GiveUp(match self.refused.take() {
            Some(kind @ (ErrorKind::PrivilegeTooLow { .. } | ErrorKind::Unreachable { .. })) => {
                kind
            }
            _ => {
                let tried = self.suites.iter().flatten();
                let tried: Vec<_> = tried.map(|suite| suite.number().to_string()).collect();
                ErrorKind::CipherRefused(tried.join(" and "))
            }
        })
    }
}

fn suites(config: &BmcConfig, known: Known) -> &'static [Option<Suite>] {
    const SEVENTEEN: Option<Suite> = Some(Suite::Seventeen);
    const THREE: Option<Suite> = Some(Suite::Three);
    match (config.protocol, config.suite, known.suite) {
        (Protocol::Ipmi15, _, _) => &[None],
        (Protocol::RmcpPlus, Some(Suite::Seventeen), _) => &[SEVENTEEN],
        (Protocol::RmcpPlus, Some(Suite::Three), _) => &[THREE],
        (Protocol::RmcpPlus, None, Some(Suite::Three)) => &[THREE],
        (Protocol::RmcpPlus, None, Some(Suite::Seventeen) | None) => &[SEVENTEEN, THREE],
    }
}

#[cfg(test)]
mod tests;
