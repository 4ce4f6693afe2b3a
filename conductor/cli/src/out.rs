//! What the command line prints, and what happens when nobody reads it any more.
//! What is printed is the business of the subcommands.
use anyhow::Context;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Whoever read standard output has seen enough (`ironbeat node list | head`): no news for the operator, but the command
/// was not done to its end either.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct NobodyReads;

/// # Errors
/// [`NobodyReads`], or what is wrong with standard output.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// As they are, and at once.
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

/// Columns as wide as their widest cell; the last one is not padded.
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
    fn a_reader_that_has_gone_is_told_from_a_full_disk() {
        let gone = bytes_to(Broken(ErrorKind::BrokenPipe), b"text").unwrap_err();
        assert!(gone.is::<NobodyReads>());
        let full = bytes_to(Broken(ErrorKind::StorageFull), b"text").unwrap_err();
        assert!(!full.is::<NobodyReads>());
        assert!(format!("{full:#}").starts_with("write to standard output: "));
    }
}
