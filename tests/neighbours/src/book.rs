//! What was tried and what came of it: a JSON line for each attempt, and the sums.
//! Who tries what is in `rows`.
use anyhow::{Context, Result};
use serde_json::json;

/// What a neighbour has of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Refused,
    /// A hole.
    Obtained(String),
    /// docs/security.md says that this is to be had, and what helps.
    Known(String),
}

impl Got {
    /// Refused, unless this was obtained.
    pub fn of(obtained: Option<String>) -> Self {
        obtained.map_or(Self::Refused, Self::Obtained)
    }
}

/// Somebody who may do the same has done it and got it. No attempt is entered without one.
#[must_use]
#[derive(Debug)]
pub struct Control(());

/// All attempts of a run.
#[derive(Debug, Default)]
pub struct Book {
    who: &'static str,
    controls: u64,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    who: &'static str,
    attempts: u64,
    obtained: Vec<String>,
    known: u64,
    unseen: Vec<String>,
}

impl Book {
    /// From now on it is this neighbour that tries.
    pub fn turn(&mut self, who: &'static str) {
        eprintln!("{who}");
        self.who = who;
        self.row();
    }

    fn row(&mut self) -> &mut Row {
        let who = self.who;
        let at = self.rows.iter().position(|row| row.who == who);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                who,
                attempts: 0,
                obtained: vec![],
                known: 0,
                unseen: vec![],
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// Whoever may do it has tried.
    ///
    /// # Errors
    /// When it did not get it: a refusal of others would prove nothing.
    pub fn control<T>(&mut self, what: &str, got: Result<T>) -> Result<(Control, T)> {
        let who = self.who;
        let got =
            got.with_context(|| format!("{who}: the rightful holder does not get it: {what}"));
        let got = got?;
        self.controls += 1;
        Ok((Control(()), got))
    }

    /// Enters an attempt to find something in what its reader may read: nobody is refused anything, and nobody need see it.
    pub fn reading(&mut self, _: &Control, tries: &str, got: Got) {
        self.enter(tries, got, None);
    }

    /// Enters an attempt. `seen`: what an operator gets of it.
    pub fn attempt(&mut self, _: &Control, tries: &str, got: Got, seen: Option<String>) {
        if seen.is_none() {
            eprintln!("    nobody sees it: {tries}");
            self.row().unseen.push(tries.into());
        }
        self.enter(tries, got, seen);
    }

    fn enter(&mut self, tries: &str, got: Got, seen: Option<String>) {
        let (who, row) = (self.who, self.row());
        row.attempts += 1;
        let shown = match &got {
            Got::Refused => "refused".to_string(),
            Got::Obtained(what) => {
                eprintln!("    OBTAINED: {tries}: {what}");
                row.obtained.push(format!("{tries}: {what}"));
                what.clone()
            }
            Got::Known(what) => {
                row.known += 1;
                format!("known: {what}")
            }
        };
        println!(
            "{}",
            json!({ "who": who, "tries": tries, "got": shown, "seen": seen })
        );
    }

    /// Attempts by who tried, for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<44} {:>8} {:>8} {:>6} {:>7}\n",
            "who", "attempts", "obtained", "known", "unseen"
        );
        for row in &self.rows {
            text += &format!(
                "{:<44} {:>8} {:>8} {:>6} {:>7}\n",
                row.who,
                row.attempts,
                row.obtained.len(),
                row.known,
                row.unseen.len()
            );
            for what in &row.obtained {
                text += &format!("    obtained: {what}\n");
            }
        }
        text
    }

    /// The sums, as programs read them.
    pub fn sums(&self) -> Vec<String> {
        let sum = |of: fn(&Row) -> usize| self.rows.iter().map(of).sum::<usize>() as u64;
        [
            ("neighbours.attempts", sum(|row| row.attempts as usize)),
            ("neighbours.controls", self.controls),
            ("neighbours.obtained", sum(|row| row.obtained.len())),
            ("neighbours.known", sum(|row| row.known as usize)),
            ("neighbours.unseen", sum(|row| row.unseen.len())),
        ]
        .map(|(name, value)| {
            json!({ "name": name, "value": value, "unit": "count", "min": value, "max": value, "runs": 1 })
                .to_string()
        })
        .into()
    }

    /// Nothing was obtained, and something was tried.
    pub fn is_good(&self) -> bool {
        let all = |is: fn(&Row) -> bool| self.rows.iter().all(is);
        !self.rows.is_empty() && all(|row| row.attempts > 0 && row.obtained.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(got: Got) -> Book {
        let mut book = Book::default();
        book.turn("eve");
        let (control, ()) = book.control("to get in", Ok(())).unwrap();
        book.attempt(&control, "to get in", got, Some("a line".into()));
        book
    }

    #[test]
    fn what_is_obtained_fails_a_run_and_what_is_known_does_not() {
        assert!(book(Got::Refused).is_good());
        assert!(book(Got::Known("a ticket".into())).is_good());
        let bad = book(Got::of(Some("a password".into())));
        assert!(!bad.is_good());
        assert!(bad.sums()[2].contains("\"value\":1"));
        assert!(bad.table().contains("obtained: to get in: a password"));
    }

    #[test]
    fn who_tried_nothing_proves_nothing() {
        assert!(!Book::default().is_good());
        let mut book = book(Got::Refused);
        book.turn("mallory");
        assert!(!book.is_good());
    }

    #[test]
    fn a_control_that_gets_nothing_ends_the_run() {
        let mut book = Book::default();
        book.turn("eve");
        let failed = book.control::<()>("to get in", Err(anyhow::anyhow!("closed")));
        assert!(format!("{:#}", failed.unwrap_err()).contains("does not get it: to get in"));
    }
}
