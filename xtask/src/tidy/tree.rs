//! The modules of a program or library as its files declare them, and which file imports which.
//! Leaves what a file may import to `arrows` and `circles`.
use super::source::{self, From, Import, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// Names from the root; the root itself has none.
    pub module: Vec<String>,
    /// Compiled in tests only.
    pub test: bool,
    source: Source,
}

/// Of one `lib.rs` or `main.rs`; the first file is that.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<File>,
    by_module: BTreeMap<Vec<String>, usize>,
}

/// One file imports another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub from: usize,
    pub to: usize,
    pub line: usize,
}

impl Tree {
    /// `read` gives a file's text, if there is one.
    pub fn load(root: &Path, read: &mut dyn FnMut(&Path) -> Option<String>) -> Self {
        let mut tree = Self::default();
        tree.add(root, Vec::new(), false, true, read);
        tree
    }

    fn add(
        &mut self,
        path: &Path,
        module: Vec<String>,
        test: bool,
        owns_dir: bool,
        read: &mut dyn FnMut(&Path) -> Option<String>,
    ) -> bool {
        let Some(text) = read(path) else {
            return false;
        };
        let source = source::read(&text);
        let test = test || source.test;
        let declared = source.declared.clone();
        self.by_module.insert(module.clone(), self.files.len());
        self.files.push(File {
            path: path.to_path_buf(),
            module: module.clone(),
            test,
            source,
        });
        let beside = path.parent().unwrap_or(Path::new(""));
        let below = if owns_dir {
            beside.to_path_buf()
        } else {
            path.with_extension("")
        };
        for child in declared {
            let mut name = module.clone();
            name.extend(child.inside.iter().cloned());
            name.push(child.name.clone());
            let test = test || child.test;
            let dir = child
                .inside
                .iter()
                .fold(below.clone(), |dir, one| dir.join(one));
            if let Some(path) = &child.path {
                // A file that a path names has its own children beside it.
                self.add(&beside.join(path), name, test, true, read);
                continue;
            }
            let _ = self.add(
                &dir.join(format!("{}.rs", child.name)),
                name.clone(),
                test,
                false,
                read,
            ) || self.add(
                &dir.join(&child.name).join("mod.rs"),
                name,
                test,
                true,
                read,
            );
        }
        true
    }

    /// Who imports whom, without tests, and without what a file imports from itself.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (from, file) in self.files.iter().enumerate().filter(|(_, file)| !file.test) {
            for import in &file.source.imports {
                let to = self.find(file, import);
                if to != from && !self.files[to].test {
                    uses.push(Use {
                        from,
                        to,
                        line: import.line,
                    });
                }
            }
        }
        uses
    }

    /// The file of the longest part of a path that is a module.
    fn find(&self, file: &File, import: &Import) -> usize {
        let mut path = match import.from {
            From::Root => Vec::new(),
            From::Up(up) => {
                let mut path = file.module.clone();
                path.extend(import.inside.iter().cloned());
                path.truncate(path.len().saturating_sub(up));
                path
            }
        };
        path.extend(import.names.iter().cloned());
        loop {
            if let Some(found) = self.by_module.get(&path) {
                return *found;
            }
            if path.pop().is_none() {
                return 0;
            }
        }
    }
}

#[cfg(test)]
pub fn of(files: &[(&str, &str)]) -> Tree {
    Tree::load(Path::new(files[0].0), &mut |path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let tree = of(files);
        let found: Vec<String> = tree
            .uses()
            .iter()
            .map(|one| {
                let name = |at: usize| tree.files[at].path.display().to_string();
                format!("{}:{} -> {}", name(one.from), one.line, name(one.to))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_leads_to_the_file_of_its_module() {
        check(
            &[
                ("lib.rs", "mod a;\npub mod b;\nuse crate::a::X;"),
                ("a.rs", "use crate::b::c::Y;"),
                ("b/mod.rs", "mod c;\nuse super::a::X;"),
                ("b/c.rs", "use super::Z;\nuse crate::b::c::Own;"),
            ],
            &[
                "lib.rs:3 -> a.rs",
                "a.rs:1 -> b/c.rs",
                "b/mod.rs:2 -> a.rs",
                "b/c.rs:1 -> b/mod.rs",
            ],
        );
    }

    #[test]
    fn files_of_tests_are_left_out() {
        check(
            &[
                ("lib.rs", "mod a;\n#[cfg(test)]\nmod tests;"),
                ("a.rs", "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;"),
                ("a_tests.rs", "use crate::tests::X;"),
                ("tests/mod.rs", "mod more;\nuse crate::a::X;"),
                ("tests/more.rs", "use crate::a::X;"),
            ],
            &[],
        );
    }
}
