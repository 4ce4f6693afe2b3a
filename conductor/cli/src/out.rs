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

/// # Errors
/// [`NobodyReads`], or what is wrong with standard output.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    line_to(std::io::stdout().lock(), text)
}

fn line_to(out: impl Write, text: impl Display) -> anyhow::Result<()> {
    let line = visible(&text.to_string()) + "\n";
    bytes_to(out, line.as_bytes())
}

/// What a terminal would obey is shown and not done: machines, disks and BMCs may call themselves anything. The form is JSON's,
/// so JSON stays what it is.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
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
        visible(&text.to_string())
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
    line(serde_json::to_string_pretty(value)?)
}

/// Makes columns as wide as their widest cell; the last one is not padded.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
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
    line(lines.join("\n"))
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
        let printed = |text: &str| {
            let mut out = Vec::new();
            line_to(&mut out, text).unwrap();
            String::from_utf8(out).unwrap()
        };
        let evil = "\u{1b}[2J\u{9b}31m\r\u{7f}";
        let shown = "\\u001b[2J\\u009b31m\\u000d\\u007f";
        assert_eq!(
            printed(&format!("größer\n\tb {evil}")),
            format!("größer\n\tb {shown}\n")
        );
        // JSON stays what it is.
        let value = serde_json::json!({ "label": evil });
        let json = printed(&serde_json::to_string_pretty(&value).unwrap());
        assert!(json.is_ascii(), "{json:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            value
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
