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
    bytes(format!("{text}\n").as_bytes())
}

/// What may go wrong although the command works: on standard error, so that the output stays what programs read.
///
/// # Errors
/// What is wrong with standard error.
pub fn warn(text: impl Display) -> anyhow::Result<()> {
    let written = writeln!(std::io::stderr().lock(), "warning: {text}");
    written.context("write to standard error")
}

/// Prints them unchanged, and at once.
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
    fn a_closed_pipe_and_a_full_disk_are_different_errors() {
        let gone = bytes_to(Broken(ErrorKind::BrokenPipe), b"text").unwrap_err();
        assert!(gone.is::<NobodyReads>());
        let full = bytes_to(Broken(ErrorKind::StorageFull), b"text").unwrap_err();
        assert!(!full.is::<NobodyReads>());
        assert!(format!("{full:#}").starts_with("write to standard output: "));
    }
}
