//! Files as a worker writes them, and what else may be in one.
//! `ironbeat_core::flight` tests what is compared.
use super::example::file;
use super::{ReadError, is_read, replay};
use ironbeat_core::policy::Policy;

fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

#[test]
fn what_was_decided_is_decided_again() {
    let usual = Policy::default();
    let other = Policy {
        bmc_budget_secs: 77,
        ..Policy::default()
    };
    for policy in [usual, other] {
        let lines = file(&policy);
        assert_eq!(lines.len(), 5);
        assert!(!joined(&lines).contains("hush"));
        let outcome = replay(joined(&lines).as_bytes()).unwrap();
        assert!(outcome.is_same() && outcome.skipped.is_empty(), "{outcome}");
        assert_eq!(
            outcome.to_string(),
            "node 01010101-0101-0101-0101-010101010101: 4 decisions of ironbeat 0.1.0, and all are the same"
        );
    }
}

/// As if the program had been another one then.
#[test]
fn the_first_difference_is_printed_with_its_line() {
    let lines = file(&Policy::default());
    let changed = joined(&lines).replace(
        "{\"resting\":\"manageable\"}",
        "{\"resting\":\"available\"}",
    );
    let outcome = replay(changed.as_bytes()).unwrap();
    let said = outcome.to_string();
    assert!(!outcome.is_same());
    for expected in [
        "2 decisions of ironbeat 0.1.0 are the same, and then one is not",
        "line 4, 2027-01-15T08:00:00.003Z: the record's field \"state\" differs",
        "event: {\"bmc\":{\"op\":\"op2\"",
        "then:  {\"resting\":\"available\"}",
        "now:   {\"resting\":\"manageable\"}",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn what_lacks_its_beginning_goes_on_with_the_next_whole_record() {
    let mut lines = file(&Policy::default());
    // The manage request has the whole record, as the node rested.
    lines.remove(1);
    let outcome = replay(joined(&lines).as_bytes()).unwrap();
    assert_eq!((outcome.same, outcome.skipped.len()), (3, 0), "{outcome}");
    // And the outcome of its act has not.
    lines.remove(1);
    let outcome = replay(joined(&lines).as_bytes()).unwrap();
    let said = outcome.to_string();
    assert_eq!(outcome.same, 1, "{said}");
    assert!(said.starts_with("not decided again: 1: the record before is not in the file\n"));
}

#[test]
fn an_option_that_nobody_knows_leaves_its_entries_out() {
    let lines = file(&Policy {
        bmc_budget_secs: 77,
        ..Policy::default()
    });
    let unknown = joined(&lines).replace("bmc_budget_secs", "bmc_patience_secs");
    let outcome = replay(unknown.as_bytes()).unwrap();
    assert_eq!(outcome.same, 0);
    let why = "its policy has options that this program does not know";
    assert_eq!(outcome.skipped.get(why), Some(&4), "{outcome}");
}

#[test]
fn what_is_no_flight_record_is_an_error() {
    let lines = file(&Policy::default());
    let later = lines[0].replace("\"flight\":1", "\"flight\":9");
    let long = lines[0].clone() + "\n" + &" ".repeat(5 << 20);
    for (file, expected) in [
        (String::new(), "it is empty"),
        ("\n\n".into(), "it is empty"),
        ("words".into(), "line 1: expected value"),
        (lines[1].clone(), "line 1: missing field"),
        (later, "it is of version 9 of flight records"),
        (lines[0].clone() + "\n\nwords", "line 3: expected value"),
        (long, "line 2 has more than"),
    ] {
        let error: ReadError = replay(file.as_bytes()).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with(expected), "{expected}: {said}");
        assert!(!is_read(file.as_bytes()));
    }
    assert!(is_read(joined(&lines).as_bytes()));
}
