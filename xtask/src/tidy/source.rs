//! What a Rust file says of modules: which it declares, and which it imports by `crate::`, `super::` and `self::`.
//! It reads words, not grammar: names brought in by glob, macro or re-export are taken to be where the path says.

/// `crate::a::b`: from the root. `super::b`: one up from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Root,
    Up(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub from: From,
    pub names: Vec<String>,
    pub line: usize,
    /// The modules in the file around it, outermost first.
    pub inside: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    /// Of `#[path = "…"]`.
    pub path: Option<String>,
    pub test: bool,
    pub inside: Vec<String>,
}

/// Of a file without what is compiled in tests only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub declared: Vec<Declared>,
    pub imports: Vec<Import>,
    /// `#![cfg(test)]`
    pub test: bool,
}

pub fn read(text: &str) -> Source {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
        inside: Vec::new(),
        depth: 0,
        source: Source::default(),
    };
    reader.read();
    reader.source
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Word(String),
    Text(String),
    Path,
    Sign(char),
}

struct Token {
    what: What,
    line: usize,
}

/// Comments and the insides of literals are left out; only the text of plain string literals is kept.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut all = Vec::new();
    let (mut at, mut line) = (0, 1);
    let next = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let begin = at;
        let mut what = None;
        match (next(at), next(at + 1)) {
            ('/', '/') => {
                while at < chars.len() && next(at) != '\n' {
                    at += 1;
                }
            }
            ('/', '*') => at = after_comment(&chars, at),
            (':', ':') => {
                at += 2;
                what = Some(What::Path);
            }
            ('"', _) => {
                at = after_string(&chars, at);
                let inner = chars[begin + 1..at.saturating_sub(1).max(begin + 1)].iter();
                what = Some(What::Text(inner.collect()));
            }
            ('\'', _) => at = after_quote(&chars, at),
            (c, _) if c.is_alphanumeric() || c == '_' => {
                while next(at).is_alphanumeric() || next(at) == '_' {
                    at += 1;
                }
                let word: String = chars[begin..at].iter().collect();
                match (word.as_str(), next(at)) {
                    ("r" | "br" | "cr", '"' | '#') => at = after_raw(&chars, at),
                    ("b" | "c", '"') => at = after_string(&chars, at),
                    ("b", '\'') => at = after_quote(&chars, at),
                    _ => what = Some(What::Word(word)),
                }
            }
            (c, _) => {
                at += 1;
                if !c.is_whitespace() {
                    what = Some(What::Sign(c));
                }
            }
        }
        if let Some(what) = what {
            all.push(Token { what, line });
        }
        line += chars[begin..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    all
}

/// Block comments nest.
fn after_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `at` is behind the `r`. A raw name (`r#type`) is no string, and its `#` is stepped over.
fn after_raw(chars: &[char], mut at: usize) -> usize {
    let begin = at;
    while chars.get(at) == Some(&'#') {
        at += 1;
    }
    let hashes = at - begin;
    if chars.get(at) != Some(&'"') {
        return at;
    }
    at += 1;
    while at < chars.len() {
        let closed = chars[at] == '"'
            && chars[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        at += 1;
        if closed {
            return at + hashes;
        }
    }
    at
}

/// A character, or the tick of a lifetime.
fn after_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let mut end = at + 3;
            while end < chars.len() && chars[end] != '\'' {
                end += 1;
            }
            (end + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// Attributes before an item.
#[derive(Default)]
struct Attributes {
    test: bool,
    path: Option<String>,
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    /// Modules around this place, each with the depth of its brace.
    inside: Vec<(String, usize)>,
    depth: usize,
    source: Source,
}

impl Reader {
    fn read(&mut self) {
        let mut attributes = Attributes::default();
        while self.at < self.tokens.len() {
            if self.attribute(&mut attributes) {
                if self.source.test {
                    return;
                }
                continue;
            }
            let of_item = std::mem::take(&mut attributes);
            if of_item.test {
                self.skip_item(of_item.path);
                continue;
            }
            // Visibility comes between an attribute and its item.
            if self.word(0) == Some("pub") {
                self.at += 1;
                if self.sign(0) == Some('(') {
                    self.skip_group();
                }
                attributes = of_item;
                continue;
            }
            match (self.word(0), self.word(1), self.sign(2)) {
                (Some("mod"), Some(_), Some(';')) => self.declare(of_item.path, false),
                (Some("mod"), Some(name), Some('{')) => {
                    let name = name.to_string();
                    self.depth += 1;
                    self.inside.push((name, self.depth));
                    self.at += 3;
                }
                (Some("crate" | "super" | "self"), ..) if self.is_path_start() => self.import(),
                _ => {
                    match self.sign(0) {
                        Some('{') => self.depth += 1,
                        Some('}') => {
                            if self.inside.last().is_some_and(|(_, at)| *at == self.depth) {
                                self.inside.pop();
                            }
                            self.depth = self.depth.saturating_sub(1);
                        }
                        _ => {}
                    }
                    self.at += 1;
                }
            }
        }
    }

    fn what(&self, ahead: usize) -> Option<&What> {
        self.tokens.get(self.at + ahead).map(|token| &token.what)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.what(ahead) {
            Some(What::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn sign(&self, ahead: usize) -> Option<char> {
        match self.what(ahead) {
            Some(What::Sign(sign)) => Some(*sign),
            _ => None,
        }
    }

    fn inside(&self) -> Vec<String> {
        self.inside.iter().map(|(name, _)| name.clone()).collect()
    }

    fn is_path_start(&self) -> bool {
        self.what(1) == Some(&What::Path)
            && !self
                .at
                .checked_sub(1)
                .is_some_and(|before| self.tokens[before].what == What::Path)
    }

    /// Steps over `#[…]` or `#![…]`, if that is what comes.
    fn attribute(&mut self, attributes: &mut Attributes) -> bool {
        let inner = self.sign(1) == Some('!');
        if self.sign(0) != Some('#') || self.sign(1 + usize::from(inner)) != Some('[') {
            return false;
        }
        self.at += 1 + usize::from(inner);
        let begin = self.at + 1;
        self.skip_group();
        let body: Vec<&What> = self.tokens[begin..self.at]
            .iter()
            .map(|token| &token.what)
            .collect();
        let is =
            |at: usize, name: &str| matches!(body.get(at), Some(What::Word(word)) if word == name);
        let test = is(0, "cfg") && (is(2, "test") || is(2, "all") && is(4, "test"));
        if inner {
            self.source.test |= test;
            return true;
        }
        attributes.test |= test;
        if is(0, "path")
            && let Some(What::Text(path)) = body.get(2)
        {
            attributes.path = Some(path.clone());
        }
        true
    }

    /// At `(`, `[` or `{`: to behind what closes it.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(what) = self.what(0) {
            match what {
                What::Sign('(' | '[' | '{') => depth += 1,
                What::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// To behind an item that only tests have: its `;`, its braces, or the `,` of a field.
    fn skip_item(&mut self, path: Option<String>) {
        const OF_ITEMS: [&str; 14] = [
            "pub", "fn", "use", "mod", "impl", "struct", "enum", "const", "static", "type",
            "trait", "unsafe", "async", "let",
        ];
        let item = self.word(0).is_some_and(|word| OF_ITEMS.contains(&word));
        loop {
            if let (Some("mod"), Some(_), Some(';')) = (self.word(0), self.word(1), self.sign(2)) {
                return self.declare(path, true);
            }
            match self.sign(0) {
                None if self.at >= self.tokens.len() => return,
                Some('{') => return self.skip_group(),
                Some('(' | '[') => self.skip_group(),
                // The end of what it is in.
                Some('}' | ')' | ']') => return,
                Some(';') => break,
                Some(',') if !item => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }

    fn declare(&mut self, path: Option<String>, test: bool) {
        let name = self.word(1).unwrap_or_default().to_string();
        let inside = self.inside();
        self.source.declared.push(Declared {
            name,
            path,
            test,
            inside,
        });
        self.at += 3;
    }

    fn import(&mut self) {
        let mut from = match self.word(0) {
            Some("crate") => From::Root,
            Some("super") => From::Up(1),
            _ => From::Up(0),
        };
        self.at += 2;
        while self.word(0) == Some("super") && self.what(1) == Some(&What::Path) {
            if let From::Up(up) = &mut from {
                *up += 1;
            }
            self.at += 2;
        }
        self.tree(from, &mut Vec::new());
    }

    /// `a::b`, `a::{b, c::*}`, from behind a `::`.
    fn tree(&mut self, from: From, names: &mut Vec<String>) {
        let before = names.len();
        loop {
            if self.sign(0) == Some('{') {
                self.at += 1;
                while self.at < self.tokens.len() && self.sign(0) != Some('}') {
                    match self.what(0) {
                        Some(What::Word(_) | What::Sign('*' | '{')) => self.tree(from, names),
                        _ => self.at += 1,
                    }
                }
                self.at += 1;
                break;
            }
            let line = self.tokens.get(self.at).map_or(0, |token| token.line);
            let Some(word) = self.word(0).map(str::to_string) else {
                // `*`, or the `<` of a turbofish.
                self.at += usize::from(self.sign(0) == Some('*'));
                self.found(from, names, line);
                break;
            };
            self.at += 1;
            if word != "self" {
                names.push(word);
            }
            if self.what(0) != Some(&What::Path) {
                self.found(from, names, line);
                if self.word(0) == Some("as") {
                    self.at += 2;
                }
                break;
            }
            self.at += 1;
        }
        names.truncate(before);
    }

    fn found(&mut self, from: From, names: &[String], line: usize) {
        let inside = self.inside();
        self.source.imports.push(Import {
            from,
            names: names.to_vec(),
            line,
            inside,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Imports as `line path`, with `^` for each step up.
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = read(text)
            .imports
            .iter()
            .map(|import| {
                let from = match import.from {
                    From::Root => "/".to_string(),
                    From::Up(up) => "^".repeat(up),
                };
                let inside: String = import
                    .inside
                    .iter()
                    .map(|name| format!("{name}:"))
                    .collect();
                format!("{} {inside}{from}{}", import.line, import.names.join("/"))
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn imports_are_found_wherever_they_stand() {
        check("use crate::a::B;", &["1 /a/B"]);
        check(
            "use crate::{\n  a::{self, B as C},\n  d::*,\n};",
            &["2 /a", "2 /a/B", "3 /d"],
        );
        check("fn f() { crate::a::g::<u8>(1) }", &["1 /a/g"]);
        check("use super::super::a::B;", &["1 ^^a/B"]);
        check(
            "mod m { use super::x; }\nuse super::y;",
            &["1 m:^x", "2 ^y"],
        );
        check("pub(crate) use self::kv::Kv;", &["1 kv/Kv"]);
    }

    #[test]
    fn text_that_is_not_code_is_no_import() {
        check("// crate::a\n/* crate::b /* */ crate::c */", &[]);
        check(
            "//! [`crate::a`]\nlet s = \"crate::a\\\"\"; let r = r#\"crate::\"b\"#;",
            &[],
        );
        check("let c = '\"'; let l: &'a str = crate::x::Y;", &["1 /x/Y"]);
        check("let c = '\\''; use crate::z;", &["1 /z"]);
        check("pub(crate) fn f() {}", &[]);
    }

    #[test]
    fn imports_of_tests_alone_are_left_out() {
        check(
            "#[cfg(test)]\nmod tests { use crate::a; }\nuse crate::b;",
            &["3 /b"],
        );
        check(
            "#[cfg(test)]\nuse crate::a::{b, c};\nuse crate::d;",
            &["3 /d"],
        );
        check(
            "struct S { #[cfg(test)] a: crate::a::A, b: crate::b::B }",
            &["1 /b/B"],
        );
        check("#![cfg(test)]\nuse crate::a;", &[]);
        let source = read("#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\npub mod y;");
        let declared: Vec<_> = source
            .declared
            .iter()
            .map(|one| (one.name.as_str(), one.path.as_deref(), one.test))
            .collect();
        assert_eq!(
            declared,
            [("tests", Some("x_tests.rs"), true), ("y", None, false)]
        );
    }
}
