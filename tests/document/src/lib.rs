//! Documents that tests write from types: compared with what is there, or written anew if `UPDATE_DOCS` is set.
//! What is in them is for the tests to say, beside the types.
use anyhow::{Context, Result, bail};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value;
use std::path::Path;

/// The top of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Set it to have documents written rather than compared.
pub const UPDATE: &str = "UPDATE_DOCS";

/// `path`, from the top of the repository, holds `text` and nothing else.
///
/// # Errors
/// When it does not, and was not to be written.
pub fn is(path: &str, text: &str) -> Result<()> {
    let file = Path::new(ROOT).join(path);
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
    let file = Path::new(ROOT).join(path);
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

/// Options of a configuration as rows: name, default, meaning. `schema` is the JSON Schema of `T`, whose descriptions are
/// its doc comments; the order is that of its fields.
///
/// # Panics
/// When a field is not explained, or is a section of its own.
pub fn options<'de, T: Deserialize<'de>>(
    prefix: &str,
    schema: &Value,
    sections: &[&str],
) -> Vec<Vec<String>> {
    let row = |name: &&str| {
        let property = &schema["properties"][*name];
        let option = format!("`{prefix}{name}`");
        assert!(
            property.get("$ref").is_none() && property.get("anyOf").is_none(),
            "{option} is a section: it wants rows of its own"
        );
        let meaning = property["description"].as_str().map(plain);
        let meaning = meaning.unwrap_or_else(|| panic!("{option} has no doc comment"));
        let required = schema["required"].as_array();
        let required = required.is_some_and(|names| names.iter().any(|required| required == name));
        let default = match &property["default"] {
            Value::Null if required => "required".into(),
            Value::Null => "–".into(),
            Value::String(text) if text.is_empty() => "empty".into(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        vec![option, default, meaning]
    };
    let names = fields::<T>().iter();
    names
        .filter(|name| !sections.contains(name))
        .map(row)
        .collect()
}

/// A doc comment as one line, without links that only rustdoc follows.
fn plain(comment: &str) -> String {
    comment
        .replace('\n', " ")
        .replace("[`", "`")
        .replace("`]", "`")
        .replace("Policy::", "")
}

/// Fields of a struct as they are read, in the order in which they are declared.
///
/// # Panics
/// When it is not read as a struct.
pub fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found = Fields(None);
    let read = T::deserialize(&mut found);
    assert!(read.is_err(), "nothing is there to be read");
    found.0.expect("a struct")
}

/// What serde asks for first when it reads a struct.
struct Fields(Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for &mut Fields {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("nothing is there"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
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

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "it is only looked at")]
    struct Sample {
        zeal: u32,
        name: Option<String>,
        also: Vec<u32>,
        section: Option<u32>,
    }

    #[test]
    fn options_are_in_the_order_of_their_fields() {
        let schema = serde_json::json!({ "required": ["zeal"], "properties": {
            "also": { "default": [], "description": "As [`Policy::zeal`],\nand more." },
            "name": { "default": "", "description": "Yours." },
            "zeal": { "description": "How much." },
            "section": { "$ref": "elsewhere" },
        }});
        assert_eq!(
            options::<Sample>("x.", &schema, &["section"]),
            [
                ["`x.zeal`", "required", "How much."],
                ["`x.name`", "empty", "Yours."],
                ["`x.also`", "`[]`", "As `zeal`, and more."],
            ]
        );
    }

    #[test]
    #[should_panic(expected = "`x.section` is a section")]
    fn a_section_is_not_overlooked() {
        let schema = serde_json::json!({ "properties": { "section": { "$ref": "elsewhere" } } });
        let sections = ["zeal", "name", "also"];
        options::<Sample>("x.", &schema, &sections);
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
