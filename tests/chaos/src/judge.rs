//! What counts as well, as failed, as lost and as seen twice: pure, from the operators' list and the machines' ledgers.
//! Leaves collecting both to `wave`.
use ironbeat_fleet::{Ledger, Runs};
use ironbeat_ops::reply::Summary;
use std::collections::BTreeMap;

/// What an operator wants of a node in one wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    Manage,
    Provide,
    Deploy,
    Undeploy,
}

impl Wish {
    /// Where the node is before, and in the end.
    pub fn from_to(self) -> (&'static str, &'static str) {
        match self {
            Wish::Manage => ("enroll", "manageable"),
            Wish::Provide => ("manageable", "available"),
            Wish::Deploy => ("available", "active"),
            Wish::Undeploy => ("active", "available"),
        }
    }

    fn should_run(self, runs: Runs) -> bool {
        match self {
            Wish::Deploy => runs == Runs::System,
            Wish::Manage | Wish::Provide | Wish::Undeploy => runs == Runs::Nothing,
        }
    }
}

/// How one node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    Well,
    /// Something is under way, or the request did not arrive yet.
    Pending,
    /// It rests elsewhere and says why.
    Failed,
    /// It rests elsewhere and does not say why, or it is not there.
    Lost,
}

/// `asked`: somebody acknowledged the request.
pub fn stand(wish: Wish, asked: bool, shown: Option<&Summary>) -> Stand {
    let Some(shown) = shown else {
        return Stand::Lost;
    };
    let (from, to) = wish.from_to();
    match shown.provision_state.as_str() {
        _ if shown.target_provision_state.is_some() && shown.last_error.is_none() => Stand::Pending,
        state if state == to && !shown.maintenance => match asked {
            true => Stand::Well,
            false => Stand::Pending,
        },
        // The list follows the records within a moment; who never leaves this state is lost in the end.
        state if state == from => Stand::Pending,
        _ if is_final(shown) => Stand::Failed,
        _ => Stand::Pending,
    }
}

fn is_final(shown: &Summary) -> bool {
    let failed = shown.provision_state.ends_with("failed") || shown.provision_state == "error";
    failed || shown.maintenance || shown.last_error.is_some()
}

/// What a machine saw between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Begun steps, by order.
    pub steps: BTreeMap<&'static str, u64>,
    /// Steps that were begun again under the same id.
    pub repeated: u64,
    pub power_on: u64,
    pub power_off: u64,
}

/// A place in a ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    acts: usize,
    twice: usize,
    on: u64,
    off: u64,
}

impl Mark {
    pub fn of(ledger: &Ledger) -> Self {
        Self {
            acts: ledger.acts.len(),
            twice: ledger.twice().len(),
            on: ledger.powered_on,
            off: ledger.powered_off,
        }
    }

    pub fn since(self, ledger: &Ledger) -> Seen {
        let mut steps = BTreeMap::new();
        for act in &ledger.acts[self.acts..] {
            *steps.entry(act.order).or_insert(0) += 1;
        }
        Seen {
            steps,
            repeated: (ledger.twice().len() - self.twice) as u64,
            power_on: ledger.powered_on - self.on,
            power_off: ledger.powered_off - self.off,
        }
    }
}

/// What is more than it should be, and what is missing, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub twice: Vec<String>,
    /// Power commands that came again, with the reason on record: whether a worker that died had already switched a
    /// machine, nobody can know.
    pub again: Vec<String>,
    pub missing: Vec<String>,
}

/// Compares a machine with one that did the same in quiet times. `begun_again`: how often the node's events say that an
/// act of a BMC was begun again.
pub fn compare(wish: Wish, quiet: &Seen, seen: &Seen, begun_again: u64, runs: Runs) -> Compared {
    let mut compared = Compared::default();
    let mut look = |what: &str, usual: u64, found: u64, may: u64| {
        let words = format!("{what} {found} times, not {usual}");
        if found > usual + may {
            compared.twice.push(words);
        } else if found > usual {
            compared.again.push(words);
        } else if found < usual {
            compared.missing.push(words);
        }
    };
    let orders = quiet.steps.keys().chain(seen.steps.keys());
    let orders: std::collections::BTreeSet<_> = orders.collect();
    for order in orders {
        let count = |of: &Seen| of.steps.get(order).copied().unwrap_or_default();
        look(order, count(quiet), count(seen), 0);
    }
    look("the same step", quiet.repeated, seen.repeated, 0);
    look("power on", quiet.power_on, seen.power_on, begun_again);
    look("power off", quiet.power_off, seen.power_off, begun_again);
    if !wish.should_run(runs) {
        compared.missing.push(format!("it runs {runs:?}"));
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::id::{BootId, NodeId, StepId};
    use ironbeat_core::time::Time;
    use ironbeat_fleet::Act;

    fn shown(state: &str, target: Option<&str>, error: Option<&str>) -> Summary {
        Summary {
            id: NodeId::from_bytes([1; 16]),
            name: None,
            provision_state: state.into(),
            target_provision_state: target.map(Into::into),
            since: Time::from_unix_ms(1),
            power_on: None,
            power_confirmed: false,
            bmc_power_on: None,
            target_power_state: None,
            job: None,
            wake_at: None,
            worker: None,
            maintenance: false,
            fault: None,
            bmc: String::new(),
            last_error: error.map(Into::into),
            bmc_error: None,
            resource_class: None,
            owner: None,
            lessee: None,
            traits: vec![],
            protected: false,
            retired: false,
            allocation: None,
        }
    }

    #[test]
    fn a_node_is_well_pending_failed_or_lost() {
        for (state, target, error, asked, expected) in [
            ("active", None, None, true, Stand::Well),
            ("active", None, None, false, Stand::Pending),
            ("available", None, None, true, Stand::Pending),
            ("deploying", Some("active"), None, true, Stand::Pending),
            (
                "deploy failed",
                Some("active"),
                Some("why"),
                true,
                Stand::Failed,
            ),
            ("error", None, Some("why"), true, Stand::Failed),
        ] {
            let found = stand(Wish::Deploy, asked, Some(&shown(state, target, error)));
            assert_eq!(found, expected, "{state}, asked {asked}");
        }
        assert_eq!(stand(Wish::Deploy, true, None), Stand::Lost);
        let fault = Summary {
            maintenance: true,
            ..shown("active", None, None)
        };
        assert_eq!(stand(Wish::Deploy, true, Some(&fault)), Stand::Failed);
    }

    fn ledger(steps: &[(u64, &'static str)], on: u64) -> Ledger {
        let act = |(step, order): &(u64, &'static str)| Act {
            boot: BootId::from_bytes([1; 16]),
            step: StepId(*step),
            order,
            done: true,
        };
        Ledger {
            acts: steps.iter().map(act).collect(),
            powered_on: on,
            ..Ledger::default()
        }
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).into()).collect()
    }

    #[test]
    fn what_a_machine_saw_twice_or_never_shows() {
        let mark = Mark::of(&ledger(&[(1, "erase")], 1));
        let quiet = mark.since(&ledger(&[(1, "erase"), (2, "write"), (3, "reboot")], 2));
        let check = |steps: &[(u64, &'static str)], on, twice: &[&str], missing: &[&str]| {
            let seen = mark.since(&ledger(steps, on));
            let found = compare(Wish::Deploy, &quiet, &seen, 0, Runs::System);
            assert_eq!((found.twice, found.again.len()), (strings(twice), 0));
            assert_eq!(found.missing, missing);
        };
        let erase = (1, "erase");
        check(&[erase, (2, "write"), (3, "reboot")], 2, &[], &[]);
        check(
            &[erase, (2, "write"), (3, "write"), (4, "reboot")],
            3,
            &["write 2 times, not 1", "power on 2 times, not 1"],
            &[],
        );
        check(
            &[erase, (2, "write"), (2, "write")],
            2,
            &["write 2 times, not 1", "the same step 1 times, not 0"],
            &["reboot 0 times, not 1"],
        );
        let again = Seen {
            power_on: quiet.power_on + 1,
            ..quiet.clone()
        };
        let found = compare(Wish::Deploy, &quiet, &again, 1, Runs::System);
        assert!(found.twice.is_empty(), "the record says why");
        assert_eq!(found.again, ["power on 2 times, not 1"]);
        let off = compare(Wish::Deploy, &quiet, &quiet, 0, Runs::Nothing);
        assert_eq!(off.missing, ["it runs Nothing"]);
    }
}
