//! Each file opens with two lines: what it owns, and what it leaves to others.
//! Leaves it to a reader to tell whether they are true.

/// What is wrong with the head of a file. Tests own nothing, so they need to say only what they try.
pub fn check(text: &str, test: bool) -> Option<String> {
    let wanted = if test { 1 } else { 2 };
    let found = text
        .lines()
        .take_while(|line| {
            line.strip_prefix("//! ")
                .is_some_and(|said| !said.trim().is_empty())
        })
        .count();
    (found < wanted).then(|| format!("opens with {found} of {wanted} lines of `//! …`"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_file_needs_two_lines_and_a_test_file_one() {
        for (text, test, fine) in [
            ("//! Owns.\n//! Leaves.\nuse a;", false, true),
            ("//! Owns.\n//! More.\n//! Leaves.", false, true),
            ("//! Owns.\n", false, false),
            ("//! Owns.\n//!\n//! Leaves.", false, false),
            ("\n//! Owns.\n//! Leaves.", false, false),
            ("use a;", false, false),
            ("//! Tries it.\nuse a;", true, true),
            ("use a;", true, false),
        ] {
            assert_eq!(check(text, test).is_none(), fine, "{text:?}");
        }
    }
}
