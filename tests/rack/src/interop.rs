//! The table of which clients and BMCs get on with each other, as the tests that show it hold it to its word.
//! Leaves trying them to those tests.

const TABLE: &str = include_str!("../../../docs/bmc-interop.md");

/// Holds the table to what a test has just seen: `column` and `row` are known by their heads.
///
/// # Panics
/// Unless `docs/bmc-interop.md` says `said` there.
pub fn table_says(column: &str, row: &str, said: &str) {
    let mut at = None;
    for line in TABLE.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let head = cells[1];
        if head.is_empty() {
            at = cells.iter().position(|cell| *cell == column);
        } else if head == row && at.and_then(|at| cells.get(at)) == Some(&said) {
            return;
        }
    }
    panic!("docs/bmc-interop.md does not say of {column}: {row}: {said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "does not say of simulated: login: 2")]
    fn a_test_fails_when_the_table_does_not_agree() {
        table_says("simulated", "login", "3, 17");
        table_says("simulated", "login", "2");
    }
}
