//! Prints for the command line, and notices when nobody reads it any more.
//! The subcommands choose the text.
use anyhow::Context;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// The reader of standard output has seen enough (`ironbeat node list | head`): the operator need not hear of it, but
/// the command did not finish either.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct NobodyReads;

/// One line, whatever the text has in it.
///
/// # Errors
/// [`NobodyReads`], or what is wrong with standard output.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    lines(visible_line(&text.to_string()))
}

/// A text of ours, in lines.
///
/// # Errors
/// As of [`line()`].
pub fn lines(text: impl Display) -> anyhow::Result<()> {
    let text = visible(&text.to_string()) + "\n";
    bytes_to(std::io::stdout().lock(), text.as_bytes())
}

/// What a terminal would obey is shown and not done: machines, disks and BMCs may call themselves anything. The form is JSON's,
/// so JSON stays what it is. Lines are left.
pub fn visible(text: &str) -> String {
    escaped(text, |c| is_obeyed(c) && c != '\n' && c != '\t')
}

/// The same of what is to be one line, or a cell of a table.
pub fn visible_line(text: &str) -> String {
    escaped(text, is_obeyed)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_escaped(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out += &format!("\\u{unit:04x}");
                }
            }
            false => out.push(c),
        }
    }
    out
}

/// Controls; what begins a line; and what has no shape of its own, but hides, joins or turns around what is beside it (Unicode's
/// categories Cc, Zl, Zp and Cf, without the signs of single scripts).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// An error and its causes, each once: some errors say their cause themselves.
pub fn causes(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    let mut last = words.clone();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.ends_with(&cause) {
            words += &format!(": {cause}");
        }
        last = cause;
    }
    words
}

/// What may go wrong although the command works: on standard error, so that the output stays what programs read.
///
/// # Errors
/// What is wrong with standard error.
pub fn warn(text: impl Display) -> anyhow::Result<()> {
    let written = writeln!(
        std::io::stderr().lock(),
        "warning: {}",
        visible_line(&text.to_string())
    );
    written.context("write to standard error")
}

/// Prints them unchanged, and at once: a console is a terminal's.
///
/// # Errors
/// As of [`line()`].
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    bytes_to(std::io::stdout().lock(), bytes)
}

fn bytes_to(mut out: impl Write, bytes: &[u8]) -> anyhow::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        result => result.context("write to standard output"),
    }
}

pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    lines(serde_json::to_string_pretty(value)?)
}

/// Makes columns as wide as their widest cell; the last one is not padded.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    lines(drawn(head, rows))
}

fn drawn(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let cells = |row: Vec<String>| row.iter().map(|cell| visible_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.into_iter().map(cells).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([head[column].len()])
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let mut lines = Vec::with_capacity(rows.len() + 1);
    for cells in std::iter::once(&head).chain(&rows) {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text += &format!("{cell:width$}  ");
        }
        lines.push(text.trim_end().to_string());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cause_is_printed_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("read the key: {source}")]
        struct Says {
            source: std::io::Error,
        }
        let says = |cause: &str| {
            anyhow::Error::from(Says {
                source: std::io::Error::other(cause),
            })
        };
        let error = says("no answer").context("open the store");
        assert_eq!(causes(&error), "open the store: read the key: no answer");
        let plain = anyhow::anyhow!("no answer").context("read").context("open");
        assert_eq!(causes(&plain), "open: read: no answer");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_done() {
        let evil =
            "\u{1b}[2J\u{9b}31m\r\u{7f} \u{202e}\u{2028}\u{2029}\u{2066}\u{200b}\u{feff} \u{e0041}";
        let shown = "\\u001b[2J\\u009b31m\\u000d\\u007f \\u202e\\u2028\\u2029\\u2066\\u200b\\ufeff \\udb40\\udc41";
        let said = format!("größer\n\tb 東京 e\u{301} {evil}");
        assert_eq!(visible(&said), format!("größer\n\tb 東京 e\u{301} {shown}"));
        assert_eq!(
            visible_line(&said),
            format!("größer\\u000a\\u0009b 東京 e\u{301} {shown}")
        );
        // JSON stays what it is.
        let value = serde_json::json!({ "label": evil });
        let json = visible(&serde_json::to_string_pretty(&value).unwrap());
        assert!(json.is_ascii(), "{json:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            value
        );
    }

    #[test]
    fn a_row_of_a_table_is_a_line_whatever_is_in_its_cells() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let rows = vec![
            row(["X1\nforged  welcome\t", "unknown"]),
            row(["X2", "\u{202e}"]),
        ];
        assert_eq!(
            drawn(&["MACHINE", "ANSWER"], rows),
            "MACHINE                        ANSWER\n\
             X1\\u000aforged  welcome\\u0009  unknown\n\
             X2                             \\u202e"
        );
    }

    #[test]
    fn a_closed_pipe_and_a_full_disk_are_different_errors() {
        let gone = bytes_to(Broken(ErrorKind::BrokenPipe), b"text").unwrap_err();
        assert!(gone.is::<NobodyReads>());
        let full = bytes_to(Broken(ErrorKind::StorageFull), b"text").unwrap_err();
        assert!(!full.is::<NobodyReads>());
        assert!(format!("{full:#}").starts_with("write to standard output: "));
    }
}
