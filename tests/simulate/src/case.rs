//! How large a run is and what it does without: as options, and as the line that repeats it.
//! A run that fails is cut down to the smallest that still does. What then happens in a run is in `run`.
use crate::faults::{Chance, Strike};
use clap::{Parser, ValueEnum};
use std::fmt;

/// A run, from its seed. Its line is what `cargo xtask simulate` takes.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(no_binary_name = true)]
pub struct Case {
    #[arg(long)]
    pub seed: u64,
    #[command(flatten)]
    pub size: Size,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Size {
    #[arg(long, default_value_t = 24)]
    pub machines: usize,
    #[arg(long, default_value_t = 3)]
    pub workers: usize,
    /// Minutes of trouble in each run, by the simulated clock.
    #[arg(long, default_value_t = 60)]
    pub minutes: u64,
    /// Nothing is wrong but the clocks of workers.
    #[arg(long)]
    pub clocks_alone: bool,
    /// Faults that never come.
    #[arg(long, value_delimiter = ',')]
    pub without: Vec<Chance>,
    #[arg(long, value_delimiter = ',')]
    pub without_strikes: Vec<Strike>,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            machines: 24,
            workers: 3,
            minutes: 60,
            clocks_alone: false,
            without: Vec::new(),
            without_strikes: Vec::new(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, size } = self;
        write!(
            out,
            "--seed {seed} --machines {} --workers {} --minutes {}",
            size.machines, size.workers, size.minutes
        )?;
        if size.clocks_alone {
            write!(out, " --clocks-alone")?;
        }
        list(out, "--without", &size.without)?;
        list(out, "--without-strikes", &size.without_strikes)
    }
}

fn list<T: ValueEnum>(out: &mut fmt::Formatter<'_>, option: &str, values: &[T]) -> fmt::Result {
    let names: Vec<String> = values
        .iter()
        .filter_map(|value| Some(value.to_possible_value()?.get_name().to_string()))
        .collect();
    match names.as_slice() {
        [] => Ok(()),
        names => write!(out, " {option} {}", names.join(",")),
    }
}

/// The cases in a text: one a line, and comments after `#`.
///
/// # Errors
/// A line that is no case.
pub fn cases(text: &str) -> Result<Vec<Case>, clap::Error> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| Case::try_parse_from(line.split_whitespace()))
        .collect()
}

/// A smaller run is another run: what went wrong may need another seed in it.
const SEEDS: u64 = 4;

/// The smallest run found that still fails, and when it does; `fails` says in which minute. Tries what takes most away
/// first, at most `tries` runs.
pub fn cut_down(case: &Case, tries: u32, fails: impl Fn(&Case) -> Option<u64>) -> Case {
    let mut best = case.clone();
    let mut left = tries;
    let mut at = fails(&best);
    while at.is_some() {
        at = smaller(&best.size, at)
            .into_iter()
            .flat_map(|size| (0..SEEDS).map(move |n| (size.clone(), n)))
            .find_map(|(size, n)| {
                left = left.checked_sub(1)?;
                let seed = best.seed + n;
                let case = Case { seed, size };
                let at = fails(&case)?;
                best = case;
                Some(at)
            });
    }
    best
}

/// Runs that are smaller by one thing. Nothing is asked of the minutes after the one in which it went wrong.
fn smaller(size: &Size, at: Option<u64>) -> Vec<Size> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Size)| {
        let mut smaller = size.clone();
        change(&mut smaller);
        if smaller != *size {
            all.push(smaller);
        }
    };
    with(&|it| it.minutes = at.map_or(it.minutes, |at| it.minutes.min(at + 1)));
    with(&|it| it.machines = (it.machines / 2).max(1));
    with(&|it| it.machines = (it.machines - 1).max(1));
    with(&|it| it.workers = (it.workers - 1).max(1));
    with(&|it| it.minutes = (it.minutes / 2).max(1));
    for strike in Strike::value_variants() {
        with(&|it| add(&mut it.without_strikes, *strike));
    }
    for chance in Chance::value_variants() {
        with(&|it| add(&mut it.without, *chance));
    }
    all
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_cut_down_to_what_it_needs() {
        let case = Case {
            seed: 40,
            size: Size::default(),
        };
        let fails = |case: &Case| {
            let Size {
                machines,
                minutes,
                without_strikes,
                ..
            } = &case.size;
            let needed = !without_strikes.contains(&Strike::Freeze) && case.seed > 40 - 1;
            (needed && *machines > 2 && *minutes > 16).then_some(20)
        };
        let small = cut_down(&case, 1_000, fails);
        let size = &small.size;
        assert_eq!((size.machines, size.workers, size.minutes), (3, 1, 21));
        assert_eq!(size.without.len(), Chance::value_variants().len());
        let strikes = Strike::value_variants().len();
        assert_eq!(size.without_strikes.len(), strikes - 1);
        assert_eq!(cases(&format!("# why\n{small} # so\n")).unwrap(), [small]);
    }

    #[test]
    fn a_case_that_passes_stays_as_it_is() {
        let case = Case {
            seed: 1,
            size: Size::default(),
        };
        assert_eq!(cut_down(&case, 1_000, |_| None), case);
        assert!(cases("--seed one").is_err());
    }
}
