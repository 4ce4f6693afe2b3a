//! What a run shows: a table for people on standard error, JSON lines for programs on standard output.
//! Leaves what it means to `judge`.
use crate::wave::Outcome;
use serde_json::json;
use std::fmt::Write as _;

/// One row for each wave; `quiet` is the first.
pub fn table(outcomes: &[Outcome]) -> String {
    let quiet = outcomes.first().and_then(|outcome| outcome.well);
    let mut text = format!(
        "{:<52} {:>5} {:>7} {:>7} {:>7} {:>6} {:>6} {:>5} {:>5} {:>5}\n",
        "what was done",
        "jobs",
        "away s",
        "well s",
        "longer",
        "bound",
        "failed",
        "lost",
        "twice",
        "again"
    );
    for it in outcomes {
        let well = it.well.map(|well| well.as_secs_f64());
        let longer = well
            .zip(quiet)
            .map(|(well, quiet)| well - quiet.as_secs_f64());
        let number = |it: Option<f64>| it.map_or("never".into(), |it| format!("{it:.1}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<52} {:>5} {:>7.1} {:>7} {:>7} {:>6} {:>6} {:>5} {:>5} {:>5}",
            it.fault.what,
            it.jobs,
            it.away.as_secs_f64(),
            number(well),
            number(longer),
            it.fault.bound.as_secs(),
            it.failed.len(),
            it.lost,
            it.twice,
            it.again
        );
        for words in &it.details {
            let _ = writeln!(text, "    {words}");
        }
    }
    text
}

/// `chaos.recover_s` and `chaos.away_s` by fault, then the sums.
pub fn lines(outcomes: &[Outcome]) -> Vec<String> {
    let line = |name: &str, fault: Option<&str>, value: Option<f64>, unit: &str| {
        let value = value.map(|value| (value * 1000.0).round() / 1000.0);
        let mut line = json!({ "name": name, "value": value, "unit": unit, "min": value, "max": value, "runs": 1 });
        if let Some(fault) = fault {
            line["fault"] = fault.into();
        }
        line.to_string()
    };
    let by_fault = outcomes.iter().flat_map(|it| {
        let fault = Some(it.fault.name);
        let well = it.well.map(|well| well.as_secs_f64());
        [
            line("chaos.recover_s", fault, well, "s"),
            line("chaos.away_s", fault, Some(it.away.as_secs_f64()), "s"),
        ]
    });
    let sum = |of: fn(&Outcome) -> u64| Some(outcomes.iter().map(of).sum::<u64>() as f64);
    let sums = [
        line("chaos.lost", None, sum(|it| it.lost), "count"),
        line("chaos.twice", None, sum(|it| it.twice), "count"),
        line("chaos.again", None, sum(|it| it.again), "count"),
        line(
            "chaos.failed_jobs",
            None,
            sum(|it| it.failed.len() as u64),
            "count",
        ),
    ];
    by_fault.chain(sums).collect()
}
