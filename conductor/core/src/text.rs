//! Text that a machine said: what is kept of it is short, and nothing that a terminal obeys.
//! What it is about is left to who keeps it.
use alloc::string::String;

/// The first `max` characters, one of them for each control character: a disk's label, and the agent itself, may say anything.
pub fn said(text: &str, max: usize) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(max).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced_and_what_is_long_is_cut() {
        for (text, max, expected) in [
            ("root größer", 99, "root größer"),
            ("größer", 3, "grö"),
            (
                "a\u{1b}[2Jb\nc\u{9b}31m\u{7f}",
                99,
                "a\u{fffd}[2Jb\u{fffd}c\u{fffd}31m\u{fffd}",
            ),
        ] {
            assert_eq!(said(text, max), expected);
        }
    }
}
