//! What documents name is there: files and folders between backticks, links, and `Type::name` of our code.
//! Leaves it to a reader to tell whether what they say of it is true.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// A name that ends so is a file of ours.
const FILES: &[&str] = &[".rs", ".md", ".toml"];

/// What there is to be named.
#[derive(Default)]
pub struct There {
    /// Files and folders, from the root.
    paths: BTreeSet<PathBuf>,
    /// Right below the root.
    rooms: BTreeSet<String>,
    /// In which Rust files a word stands, by their numbers.
    words: BTreeMap<String, BTreeSet<usize>>,
}

impl There {
    /// `code`: the text, where it is Rust.
    pub fn add(&mut self, path: &Path, code: Option<&str>) {
        for above in path.ancestors() {
            self.paths.insert(above.to_path_buf());
        }
        if let Some(first) = path.iter().next() {
            self.rooms.insert(first.to_string_lossy().into_owned());
        }
        // It grows with every file.
        let number = self.paths.len();
        for word in code.into_iter().flat_map(|code| code.split(no_word)) {
            match self.words.get_mut(word) {
                Some(files) => drop(files.insert(number)),
                None => drop(self.words.insert(word.to_string(), [number].into())),
            }
        }
    }

    /// From the root, or as the end of a path: `act.rs`, `records/`.
    fn has(&self, name: &str) -> bool {
        let name = Path::new(name.trim_end_matches('/'));
        self.paths.iter().any(|path| path.ends_with(name))
    }

    /// One file has all of these words.
    fn has_words(&self, words: &[&str]) -> bool {
        let mut files = words.iter().map(|word| self.words.get(*word));
        let Some(Some(first)) = files.next() else {
            return false;
        };
        let rest: Vec<_> = files.collect();
        first.iter().any(|file| {
            rest.iter()
                .all(|words| words.is_some_and(|words| words.contains(file)))
        })
    }

    fn is_path(&self, span: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let first = span.split('/').next().unwrap_or_default();
        !span.starts_with('/')
            && span.len() > 3
            && span.chars().all(plain)
            && (FILES.iter().any(|end| span.ends_with(end))
                || span.ends_with('/')
                || (span.contains('/') && self.rooms.contains(first)))
    }
}

fn no_word(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '_'
}

/// `document` is a path from the root. Returns what it names and is not there, with its line.
pub fn check(document: &Path, text: &str, there: &There) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let at = format!("{}:{}", document.display(), number + 1);
        let parts: Vec<&str> = line.split('`').collect();
        let spans = parts.iter().zip(&parts[1..]).step_by(2);
        // What is bold is not built yet.
        for (_, span) in spans.filter(|(before, _)| !before.ends_with("**")) {
            if there.is_path(span) && !there.has(span) {
                wrong.push(format!("{at}: there is no `{span}`"));
            }
            if let Some(words) = symbol(span)
                && !there.has_words(&words)
            {
                wrong.push(format!("{at}: no file of ours has `{span}`"));
            }
        }
        for link in line.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap_or(Path::new("")).join(target);
            if !there.paths.contains(&normal(&path)) {
                wrong.push(format!("{at}: it links to {target}, which is not there"));
            }
        }
    }
    wrong
}

/// The names of `Event::WorkerLost`; what follows a bracket is an example's.
fn symbol(span: &str) -> Option<Vec<&str>> {
    let path = span.split([' ', '(', '{']).next()?;
    let words: Vec<&str> = path.split("::").collect();
    let is_name = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains(no_word)
    };
    (words.len() > 1 && words.iter().all(is_name)).then_some(words)
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_found_and_examples_are_left_alone() {
        let mut there = There::default();
        let code = "enum Event { Beat }\nstruct Cupboard;";
        there.add(Path::new("core/src/event.rs"), Some(code));
        there.add(Path::new("core/src/other.rs"), Some("fn varnished() {}"));
        there.add(Path::new("docs/api.md"), None);
        for (line, wrong) in [
            ("`core/src/event.rs`, `event.rs` and `src/`", 0),
            ("`core/src/gone.rs`, then `event.rs`", 1),
            ("`gone.rs`", 1),
            ("`shelf/`", 1),
            ("`core/src/gone`", 1),
            ("`vent.rs`: the end of a name is not a name", 1),
            ("`application/json`, `/etc/site.toml`, `<file>/tests.rs`", 0),
            ("`Event::Beat { boot }` and `Event::Beat`", 0),
            ("`Event::Gone`", 1),
            ("`Cupboard::varnished`: both words, but in no one file", 1),
            ("`fd00::1` is an address", 0),
            ("**`shelf/`** and **`Event::Gone`** are not built yet", 0),
            ("**`shelf/`**, `gone.rs`", 1),
            ("[api](api.md#errors), [self](../docs/api.md)", 0),
            ("[web](https://example.org/gone.md), [here](#errors)", 0),
            ("[gone](gone.md)", 1),
            ("```text\n`gone.rs`\n```\n", 0),
        ] {
            let found = check(Path::new("docs/x.md"), line, &there);
            assert_eq!(found.len(), wrong, "{line}: {found:?}");
        }
        let found = check(Path::new("x.md"), "\nSee `gone.rs`.", &there);
        assert_eq!(found, ["x.md:2: there is no `gone.rs`"]);
    }
}
