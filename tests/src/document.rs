//! Documents that tests write from types: compared with what is there, or written anew if `UPDATE_DOCS` is set.
//! What is in them is for the tests to say, beside the types.
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Set it to have documents written rather than compared.
pub const UPDATE: &str = "UPDATE_DOCS";

/// `path`, from the top of the repository, holds `text` and nothing else.
///
/// # Errors
/// When it does not, and was not to be written.
pub fn is(path: &str, text: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&file, text).with_context(|| format!("write {path}"));
    }
    let there = std::fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
    match difference(&there, text) {
        None => Ok(()),
        Some(difference) => bail!(
            "{path} is not what the types say, {difference}\nHave it written: {UPDATE}=1, and the same command again."
        ),
    }
}

/// `path` holds `text` between the marks of `name`; what is around them is written by hand.
///
/// # Errors
/// When it does not, and was not to be written; when the marks are missing.
pub fn holds(path: &str, name: &str, text: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let there = std::fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
    let wanted = put(&there, name, text).with_context(|| {
        format!("{path} has no `<!-- {name}: … -->` and `<!-- end of {name} -->`")
    })?;
    is(path, &wanted)
}

/// The document with that text between the marks of `name`; none where they are missing.
pub fn put(document: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(&format!("<!-- {name}: "))?;
    let (by, rest) = rest.split_once(" -->\n")?;
    let end = format!("<!-- end of {name} -->");
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}<!-- {name}: {by} -->\n{text}{end}{after}"))
}

/// A table in Markdown; a bar in a cell would end it.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::from("\n");
    text += &format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text + "\n"
}

fn difference(there: &str, wanted: &str) -> Option<String> {
    let mut lines = (there.lines(), wanted.lines());
    for number in 1.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => break,
            (there, wanted) if there == wanted => {}
            (there, wanted) => {
                let [there, wanted] = [there, wanted].map(|line| line.unwrap_or("(its end)"));
                return Some(format!(
                    "line {number}:\n  there: {there}\n  types: {wanted}"
                ));
            }
        }
    }
    (there != wanted).then(|| "at its last line break".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_the_marks_of_one_name_is_replaced() {
        let document = "# Title\n<!-- a: by a -->\nold\n<!-- end of a -->\n<!-- b: by b -->\n<!-- end of b -->\n";
        let new = put(document, "a", "new\n").unwrap();
        assert_eq!(new, document.replace("old", "new"));
        assert_eq!(put(&new, "a", "new\n").unwrap(), new);
        assert_eq!(
            put(&new, "b", "more\n").unwrap(),
            new.replace("by b -->\n", "by b -->\nmore\n")
        );
        assert_eq!(put(document, "c", "new\n"), None);
        assert_eq!(put("<!-- a: by a -->\n", "a", "new\n"), None);
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let rows = [vec!["on|off".to_string(), "2".to_string()]];
        assert_eq!(
            table(&["x", "y"], &rows),
            "\n| x | y |\n|---|---|\n| on\\|off | 2 |\n\n"
        );
    }

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        for (there, wanted, expected) in [
            ("a\nb\n", "a\nc\n", "line 2:\n  there: b\n  types: c"),
            ("a\n", "a\nc\n", "line 2:\n  there: (its end)\n  types: c"),
            ("a", "a\n", "at its last line break"),
        ] {
            assert_eq!(difference(there, wanted).unwrap(), expected);
        }
    }
}
