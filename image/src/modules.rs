//! Which module files a ramdisk gets: the named ones and all that they need, with depmod's index cut to them.
//! Leaves naming them to `flavour`, and loading them to the agent.
//!
//! What the agent may rely on, below `/`:
//! - `lib/modules/<uname -r>/` holds the module files, uncompressed, and `modules.dep` and `modules.alias` as depmod writes
//!   them, with no line about a module that is not there. Paths in `modules.dep` are relative to that directory; a
//!   module's needs are all listed, the nearest first.
//! - `modules.softdep` there has a line `softdep <module> pre: <module> …` for each module that fails or does less unless
//!   others are loaded before it. Where depmod's table has an alias, as in `libcrc32c pre: crc32c`, the modules behind it
//!   are named; all of them are there.
//! - `etc/ironbeat/memory-mib` is its first file and says how much memory a machine needs; `var/ironbeat/complete` is its last.
//! - `etc/ironbeat/modules` names what is loaded on every machine, one a line, in that order; each is there.
use crate::error::{Result, file};
use crate::kernel::Kernel;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// depmod's tables, and the kernel's own list of what is built in.
pub struct Tables {
    pub dep: String,
    pub alias: String,
    pub softdep: String,
    pub builtin: String,
}

impl Tables {
    pub fn read(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(file("read", &path))
        };
        Ok(Self {
            dep: read("modules.dep")?,
            alias: read("modules.alias")?,
            softdep: read("modules.softdep")?,
            builtin: read("modules.builtin")?,
        })
    }
}

pub struct Closure {
    /// Path below `/lib/modules/<version>/` of each module.
    pub files: BTreeMap<String, String>,
    /// Index files, by name.
    pub index: [(&'static str, String); 3],
    /// Names that this kernel has neither as module nor built in.
    pub unknown: Vec<String>,
}

/// The closure of these names.
pub fn closure(kernel: &Kernel, names: &[&str]) -> Result<Closure> {
    Ok(close(&Tables::read(&kernel.modules)?, names))
}

pub fn close(tables: &Tables, names: &[&str]) -> Closure {
    let needs = tables.dep.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<String, (&str, &str)> = needs
        .map(|(path, needs)| (name_of(path), (path, needs)))
        .collect();
    let builtin: BTreeSet<String> = tables.builtin.lines().map(name_of).collect();
    let before = befores(tables, &needs);
    let mut walk = Walk {
        needs: &needs,
        before: &before,
        files: BTreeMap::new(),
    };
    names.iter().for_each(|name| walk.visit(name));
    let files = walk.files;

    let absent = |name: &&&str| !files.contains_key(**name) && !builtin.contains(**name);
    let unknown = names.iter().filter(absent).map(ToString::to_string);
    let is_there = |name: &str| files.contains_key(&normal(name));
    let softdep = before
        .iter()
        .filter(|(name, befores)| files.contains_key(*name) && !befores.is_empty())
        .map(|(name, befores)| format!("softdep {name} pre: {}\n", befores.join(" ")))
        .collect();
    let index = [
        (
            "modules.dep",
            kept(&tables.dep, |line| {
                line.split_once(':')
                    .is_some_and(|(path, _)| is_there(&name_of(path)))
            }),
        ),
        // "alias <pattern> <module>"
        (
            "modules.alias",
            kept(&tables.alias, |line| {
                line.split_whitespace().nth(2).is_some_and(is_there)
            }),
        ),
        ("modules.softdep", softdep),
    ];
    Closure {
        unknown: unknown.collect(),
        files,
        index,
    }
}

struct Walk<'a> {
    /// Each module's path, and the paths of all that it needs, the nearest first.
    needs: &'a BTreeMap<String, (&'a str, &'a str)>,
    /// What some modules want loaded first.
    before: &'a BTreeMap<String, Vec<String>>,
    files: BTreeMap<String, String>,
}

impl Walk<'_> {
    /// Goes at most once into each module, so circles end.
    fn visit(&mut self, name: &str) {
        let Some((path, needs)) = self.needs.get(name) else {
            return;
        };
        if self.files.insert(name.into(), path.to_string()).is_some() {
            return;
        }
        for name in self.before.get(name).into_iter().flatten() {
            self.visit(name);
        }
        for path in needs.split_whitespace() {
            self.visit(&name_of(path));
        }
    }
}

/// "softdep <module> pre: <module or alias> … post: …", as modules.
fn befores(
    tables: &Tables,
    modules: &BTreeMap<String, (&str, &str)>,
) -> BTreeMap<String, Vec<String>> {
    // "alias <pattern> <module>"; those meant here have no wildcard.
    let mut behind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tables.alias.lines() {
        let mut words = line.split_whitespace().skip(1).map(normal);
        if let (Some(alias), Some(name)) = (words.next(), words.next()) {
            behind.entry(alias).or_default().push(name);
        }
    }
    let mut befores: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tables.softdep.lines() {
        let mut words = line.split_whitespace();
        let ("softdep", Some(name)) = (words.next().unwrap_or(""), words.next()) else {
            continue;
        };
        let before = befores.entry(normal(name)).or_default();
        let named = words.skip_while(|word| *word != "pre:").skip(1);
        for name in named.take_while(|word| *word != "post:").map(normal) {
            if modules.contains_key(&name) {
                before.push(name);
            } else {
                before.extend(behind.get(&name).into_iter().flatten().cloned());
            }
        }
    }
    befores
}

fn kept(table: &str, keep: impl Fn(&str) -> bool) -> String {
    let lines = table.lines().filter(|line| keep(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// `drivers/net/virtio_net.ko` is called `virtio_net`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split('.').next().unwrap_or(file))
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The module without its signature (`scripts/sign-file.c`: module, signature, 12 bytes that end with the signature's
/// length, magic string); as it is when it has none.
pub fn unsigned(module: &[u8]) -> &[u8] {
    const MAGIC: &[u8] = b"~Module signature appended~\n";
    const DESCRIPTION_BYTES: usize = 12;
    let cut = || {
        let rest = module.strip_suffix(MAGIC)?;
        let (rest, description) =
            rest.split_at_checked(rest.len().checked_sub(DESCRIPTION_BYTES)?)?;
        let signature = u32::from_be_bytes(*description.last_chunk()?);
        rest.get(..rest.len().checked_sub(signature as usize)?)
    };
    cut().unwrap_or(module)
}

#[cfg(test)]
mod tests;
