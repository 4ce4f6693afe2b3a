//! The faults, as data: what breaks, for how long, and how soon the documents promise that all is well again.
//! Leaves breaking and mending to `site`, and what happens meanwhile to `wave`.
use std::time::Duration;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Nothing,
    /// kill -9; started again when it is mended.
    KillWorker,
    KillAllWorkers,
    /// SIGSTOP and SIGCONT.
    FreezeWorker,
    KillServer(Role),
    FreezeServer(Role),
    /// As when the power goes: all of them at once.
    KillAllServers,
    /// The leader of the records and a worker see each other and nobody else.
    Island,
    /// The leader of the records cannot write any more. A nats-server switches JetStream off then, and it is an operator
    /// who makes room and starts it again.
    FullDisk,
    /// A worker's wall clock jumps this many milliseconds ahead, and back.
    ClockAhead(i64),
}

/// Which nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads the stream of the records.
    Leader,
    /// It follows.
    Follower,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    /// For the table.
    pub what: &'static str,
    pub harm: Harm,
    /// From breaking to mending.
    pub hold: Duration,
    /// What all takes longer than without the fault, at most. A target that the table shows; a busy machine may miss it.
    pub bound: Duration,
    /// In the short form too.
    pub short: bool,
}

/// The measure of all others.
pub const QUIET: Fault = Fault {
    name: "none",
    what: "nothing",
    harm: Harm::Nothing,
    hold: Duration::ZERO,
    bound: Duration::ZERO,
    short: true,
};

/// A lost worker is given up after 10 s, and what it was at begins again.
const WORKER: Duration = Duration::from_secs(30);
/// An election takes up to 9 s, and those who asked in vain ask again.
const ELECTION: Duration = Duration::from_secs(10);
/// Clients of a server that hangs notice after two pings of 10 s.
const HANG: Duration = Duration::from_secs(30);

const fn fault(
    name: &'static str,
    what: &'static str,
    harm: Harm,
    hold_secs: u64,
    bound: Duration,
) -> Fault {
    Fault {
        name,
        what,
        harm,
        hold: Duration::from_secs(hold_secs),
        bound,
        short: false,
    }
}

const fn short(fault: Fault) -> Fault {
    Fault {
        short: true,
        ..fault
    }
}

pub const FAULTS: &[Fault] = &[
    short(fault(
        "worker_killed",
        "kill -9 of a worker",
        Harm::KillWorker,
        12,
        WORKER,
    )),
    fault(
        "worker_frozen",
        "SIGSTOP of a worker for 15 s",
        Harm::FreezeWorker,
        15,
        WORKER,
    ),
    fault(
        "workers_killed",
        "kill -9 of all workers, back after 5 s",
        Harm::KillAllWorkers,
        5,
        WORKER,
    ),
    short(fault(
        "leader_killed",
        "kill -9 of the records' leader",
        Harm::KillServer(Role::Leader),
        12,
        ELECTION,
    )),
    fault(
        "leader_frozen",
        "SIGSTOP of the records' leader for 20 s",
        Harm::FreezeServer(Role::Leader),
        20,
        HANG,
    ),
    fault(
        "follower_killed",
        "kill -9 of another server",
        Harm::KillServer(Role::Follower),
        12,
        ELECTION,
    ),
    fault(
        "follower_frozen",
        "SIGSTOP of another server for 20 s",
        Harm::FreezeServer(Role::Follower),
        20,
        HANG,
    ),
    short(fault(
        "servers_killed",
        "kill -9 of all servers at once, back after 2 s",
        Harm::KillAllServers,
        2,
        Duration::from_secs(15),
    )),
    fault(
        "partition",
        "the records' leader and a worker on an island for 20 s",
        Harm::Island,
        20,
        WORKER,
    ),
    fault(
        "disk_full",
        "no space for the records' leader for 15 s",
        Harm::FullDisk,
        15,
        ELECTION,
    ),
    fault(
        "clock_ahead",
        "a worker's clock two minutes ahead for 20 s",
        Harm::ClockAhead(120_000),
        20,
        WORKER,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_short_form_breaks_workers_and_servers() {
        let names: BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        let short: Vec<_> = FAULTS.iter().filter(|fault| fault.short).collect();
        assert!((3..=4).contains(&short.len()));
        for harm in [Harm::KillWorker, Harm::KillServer(Role::Leader)] {
            assert!(short.iter().any(|fault| fault.harm == harm), "{harm:?}");
        }
    }
}
