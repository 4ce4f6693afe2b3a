//! Which faults which BMCs of a fleet have, and when, as lines of text: `100-199:silent@30s..60s`.
//! Leaves what a fault does to `bmc` and `session`.
use crate::dice::Dice;
use crate::settings::{Faults, PowerFault};
use std::time::Duration;

/// An instant fault, such as a restart, is over after this.
const INSTANT: Duration = Duration::from_millis(1);

/// Rules, applied one after the other.
#[derive(Default)]
pub struct Plan(Vec<Rule>);

struct Rule {
    which: Which,
    changes: Vec<Change>,
    from: Duration,
    /// None: for ever.
    to: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// The first and the last, counted from 0.
    Range(usize, usize),
    /// 0, k, 2k and so on.
    Every(usize),
    /// This many in a thousand, chosen by the seed.
    Share(u16),
}

type Change = Box<dyn Fn(&mut Faults)>;

impl Plan {
    /// The rule of one line: BMCs, a colon, faults with commas between, and from when to when.
    ///
    /// # Errors
    /// Says what it does not understand.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let rule = Rule::parse(line).map_err(|what| format!("fault {line:?}: {what}"))?;
        self.0.push(rule);
        Ok(())
    }

    /// All rules of a text, one a line. Empty lines and what follows a `#` are for people.
    ///
    /// # Errors
    /// Says what it does not understand.
    pub fn add_lines(&mut self, text: &str) -> Result<(), String> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        lines
            .filter(|line| !line.is_empty())
            .try_for_each(|line| self.add(line))
    }

    /// What BMC n has from when on, in ascending order, for [`crate::Bmc::schedule`]. `always` is what it has in any case.
    pub fn of(&self, n: usize, seed: u64, always: &Faults) -> Vec<(Duration, Faults)> {
        let rules: Vec<_> = self
            .0
            .iter()
            .enumerate()
            .filter(|(index, rule)| rule.which.has(n, seed.wrapping_add(*index as u64)))
            .map(|(_, rule)| rule)
            .collect();
        let mut times: Vec<_> = rules
            .iter()
            .flat_map(|rule| [Some(rule.from), rule.to])
            .flatten()
            .chain([Duration::ZERO])
            .collect();
        times.sort_unstable();
        times.dedup();
        let at = |time: Duration| {
            let mut faults = always.clone();
            let rules = rules
                .iter()
                .filter(|rule| rule.from <= time && rule.to.is_none_or(|to| time < to));
            for change in rules.flat_map(|rule| &rule.changes) {
                change(&mut faults);
            }
            (time, faults)
        };
        times.into_iter().map(at).collect()
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let (which, rest) = line.split_once(':').ok_or("no colon behind the BMCs")?;
        let (faults, when) = match rest.split_once('@') {
            Some((faults, when)) => (faults, Some(when)),
            None => (rest, None),
        };
        let (from, mut to) = match when.map(|when| when.split_once("..").unwrap_or((when, ""))) {
            None => (Duration::ZERO, None),
            Some((from, "")) => (duration(from)?, None),
            Some((from, to)) => (duration(from)?, Some(duration(to)?)),
        };
        if to.is_some_and(|to| to <= from) {
            return Err("it ends before it begins".into());
        }
        let words: Vec<_> = faults.split(',').map(str::trim).collect();
        if words == ["restart"] && to.is_none() {
            to = Some(from + INSTANT);
        }
        let changes = words.into_iter().map(change).collect::<Result<_, _>>()?;
        Ok(Self {
            which: Which::parse(which.trim())?,
            changes,
            from,
            to,
        })
    }
}

impl Which {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Which::All);
        }
        if text.ends_with('%') {
            return permille(text).map(Which::Share);
        }
        if let Some(k) = text.strip_prefix("*/") {
            return match number(k)? {
                0 => Err("every zeroth BMC".into()),
                k => Ok(Which::Every(k)),
            };
        }
        match text.split_once('-') {
            Some((first, last)) => Ok(Which::Range(number(first)?, number(last)?)),
            None => number(text).map(|n| Which::Range(n, n)),
        }
    }

    fn has(self, n: usize, seed: u64) -> bool {
        match self {
            Which::All => true,
            Which::Range(first, last) => (first..=last).contains(&n),
            Which::Every(k) => n.is_multiple_of(k),
            // Mixed twice, or neighbours would be chosen together.
            Which::Share(share) => {
                let mixed = Dice::new(n as u64).throw() ^ seed;
                Dice::new(mixed).chance(share)
            }
        }
    }
}

/// One fault by its name, with its value if it has one.
fn change(word: &str) -> Result<Change, String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let plain: Option<fn(&mut Faults)> = match name {
        "silent" => Some(|f| f.silent = true),
        "garbage" => Some(|f| f.garbage = true),
        "says-on" => Some(|f| f.power = PowerFault::SaysOn),
        "says-off" => Some(|f| f.power = PowerFault::SaysOff),
        "ignores-power" => Some(|f| f.power = PowerFault::Ignores),
        "one-session" => Some(|f| f.sessions = Some(1)),
        "table-full" => Some(|f| f.table_full = true),
        "stuck-sequence" => Some(|f| f.stuck_sequence = true),
        "wild-sequence" => Some(|f| f.wild_sequence = true),
        "hides-users" => Some(|f| f.hides_users = true),
        "ignores-17" => Some(|f| f.ignores_seventeen = true),
        "ignores-cipher-suites" => Some(|f| f.ignores_cipher_suites = true),
        "restart" => Some(|f| f.restarts = true),
        "restarts-late" => Some(|f| f.restarts_late = true),
        "restart-on-control" => Some(|f| f.restarts_on_control = true),
        "redraws" => Some(|f| f.redraws = true),
        "no-retry-cache" => Some(|f| f.no_retry_cache = true),
        "no-boot-timer" => Some(|f| f.no_boot_timer = true),
        "drops-persistent" => Some(|f| f.drops_persistent = true),
        "refuses-password" => Some(|f| f.refuses_password = true),
        _ => None,
    };
    if let Some(plain) = plain {
        return match value {
            None => Ok(Box::new(plain)),
            Some(_) => Err(format!("{name} has no value")),
        };
    }
    let value = value.ok_or_else(|| format!("{name} is not known, or needs a value"))?;
    Ok(match name {
        "loss" => shared(value, |f, share| f.loss_permille = share)?,
        "duplicate" => shared(value, |f, share| f.duplicate_permille = share)?,
        "reorder" => shared(value, |f, share| f.reorder_permille = share)?,
        "busy" => shared(value, |f, share| f.busy_permille = share)?,
        "delay" => timed(value, |f, time| f.delay = time)?,
        "jitter" => timed(value, |f, time| f.jitter = time)?,
        "slow-acknowledge" => timed(value, |f, time| f.slow_acknowledge = time)?,
        "sessions" => counted(value, |f, count| f.sessions = Some(count))?,
        "forgets-after" => counted(value, |f, count| {
            f.forgets_after = Some(u32::try_from(count).unwrap_or(u32::MAX));
        })?,
        "keeps-of-password" => counted(value, |f, count| f.keeps_of_password = Some(count))?,
        _ => return Err(format!("{name} is not known")),
    })
}

fn shared(value: &str, set: fn(&mut Faults, u16)) -> Result<Change, String> {
    let value = permille(value)?;
    Ok(Box::new(move |faults| set(faults, value)))
}

fn timed(value: &str, set: fn(&mut Faults, Duration)) -> Result<Change, String> {
    let value = duration(value)?;
    Ok(Box::new(move |faults| set(faults, value)))
}

fn counted(value: &str, set: fn(&mut Faults, usize)) -> Result<Change, String> {
    let value = number(value)?;
    Ok(Box::new(move |faults| set(faults, value)))
}

fn number(text: &str) -> Result<usize, String> {
    let number = text.trim().parse();
    number.map_err(|_| format!("{text:?} is not a number"))
}

/// `20%`, `0.5%`.
fn permille(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is not a share between 0% and 100%, in tenths at most");
    let digits = text.trim().strip_suffix('%').ok_or_else(wrong)?;
    let (whole, tenths) = digits.split_once('.').unwrap_or((digits, "0"));
    let [tenths] = tenths.as_bytes() else {
        return Err(wrong());
    };
    let whole: u16 = whole.parse().map_err(|_| wrong())?;
    let permille = (whole <= 100 && tenths.is_ascii_digit())
        .then(|| whole * 10 + u16::from(tenths - b'0'))
        .filter(|permille| *permille <= 1000);
    permille.ok_or_else(wrong)
}

/// Reads `250ms`, `30s`, `5m` and `2h`.
///
/// # Errors
/// Says what it does not understand.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 250ms, 30s, 5m or 2h");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number.checked_mul(millis).ok_or_else(wrong)?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn plan(lines: &str) -> Plan {
        let mut plan = Plan::default();
        plan.add_lines(lines).unwrap();
        plan
    }

    #[test]
    fn rules_come_and_go_and_add_up() {
        let plan = plan(
            "# A bad minute.\nall:loss=2.5%, delay=20ms\n100-199:silent@30s..1m\n*/50:loss=10%@45s # later\n",
        );
        let always = Faults {
            jitter: secs(1),
            ..Faults::default()
        };
        let base = Faults {
            loss_permille: 25,
            delay: Duration::from_millis(20),
            ..always.clone()
        };
        assert_eq!(plan.of(1, 7, &always), [(secs(0), base.clone())]);
        let silent = Faults {
            silent: true,
            ..base.clone()
        };
        let lossy = Faults {
            loss_permille: 100,
            ..base.clone()
        };
        let both = Faults {
            silent: true,
            ..lossy.clone()
        };
        let expected = [
            (secs(0), base),
            (secs(30), silent),
            (secs(45), both),
            (secs(60), lossy),
        ];
        assert_eq!(plan.of(150, 7, &always), expected);
    }

    #[test]
    fn a_share_is_chosen_by_the_seed() {
        let plan = plan("10%:silent");
        let chosen = |seed| -> Vec<usize> {
            (0..10_000)
                .filter(|n| plan.of(*n, seed, &Faults::default())[0].1.silent)
                .collect()
        };
        let first = chosen(1);
        assert!((900..1100).contains(&first.len()), "{}", first.len());
        assert_eq!(first, chosen(1));
        assert_ne!(first, chosen(2));
    }

    #[test]
    fn a_restart_is_an_instant() {
        let schedule = plan("3:restart@10s").of(3, 1, &Faults::default());
        let restarts: Vec<_> = schedule
            .iter()
            .map(|(from, faults)| (*from, faults.restarts))
            .collect();
        let after = secs(10) + INSTANT;
        assert_eq!(
            restarts,
            [(secs(0), false), (secs(10), true), (after, false)]
        );
    }

    #[test]
    fn every_fault_has_a_name() {
        let names = "silent,garbage,says-on,says-off,ignores-power,one-session,table-full,stuck-sequence,wild-sequence,\
                     hides-users,ignores-17,ignores-cipher-suites,restart,restarts-late,restart-on-control,redraws,no-retry-cache,\
                     no-boot-timer,loss=100%,duplicate=1%,reorder=0.1%,busy=5%,delay=1ms,jitter=2s,slow-acknowledge=3m,\
                     sessions=2,forgets-after=9";
        for name in names.split(',') {
            let schedule = plan(&format!("0:{}", name.trim())).of(0, 1, &Faults::default());
            assert_ne!(schedule[0].1, Faults::default(), "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (line, why) in [
            ("silent", "no colon"),
            ("all:", "is not known"),
            ("all:sillent", "sillent is not known"),
            ("all:silent=1", "silent has no value"),
            ("all:loss", "needs a value"),
            ("all:loss=20", "is not a share"),
            ("all:loss=101%", "is not a share"),
            ("all:loss=1.25%", "is not a share"),
            ("all:delay=5", "is not a time"),
            ("all:delay=99999999999999999h", "is not a time"),
            ("all:silent@1s..1s", "it ends before it begins"),
            ("*/0:silent", "every zeroth"),
            ("x-3:silent", "is not a number"),
        ] {
            let error = Plan::default().add(line).unwrap_err();
            assert!(error.contains(why) && error.contains(line), "{error}");
        }
    }
}
