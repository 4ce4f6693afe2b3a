//! Which module files a ramdisk gets: the named ones and all that they need, with an index cut to them.
//! The agent reads `modules.dep`, `modules.alias` and `modules.softdep` below `/lib/modules/<version>/`, and loads the
//! names in `/etc/ironbeat/modules` on every machine.
use crate::kernel::Kernel;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

pub struct Closure {
    /// In the order in which they can be inserted one after the other.
    pub order: Vec<String>,
    /// Path below `/lib/modules/<version>/` of each module.
    pub files: BTreeMap<String, String>,
    /// Index files, by name.
    pub index: Vec<(&'static str, String)>,
    /// Names that this kernel has neither as module nor built in.
    pub unknown: Vec<String>,
}

/// `drivers/net/virtio_net.ko` is called `virtio_net`; `-` and `_` are the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

pub fn closure(kernel: &Kernel, names: &[&str]) -> Result<Closure> {
    let read = |name: &str| {
        let path = kernel.modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let dep = read("modules.dep")?;
    let needs: BTreeMap<String, (&str, Vec<&str>)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name_of(path), (path, needs.split_whitespace().collect())))
        .collect();
    let builtin: BTreeSet<String> = read("modules.builtin")?.lines().map(name_of).collect();

    let (mut order, mut files, mut unknown) = (Vec::new(), BTreeMap::new(), Vec::new());
    for name in names {
        match needs.get(*name) {
            // modules.dep lists what is needed, nearest first: inserted from the back.
            Some((path, more)) => {
                for path in more.iter().rev().chain([path]) {
                    if files.insert(name_of(path), path.to_string()).is_none() {
                        order.push(name_of(path));
                    }
                }
            }
            None if builtin.contains(*name) => {}
            None => unknown.push(name.to_string()),
        }
    }
    let dep: String = dep
        .lines()
        .filter(|line| {
            line.split(':')
                .next()
                .is_some_and(|path| files.contains_key(&name_of(path)))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    // "alias <pattern> <module>", "softdep <module> pre: …"
    let last_word = |line: &&str| {
        line.split_whitespace()
            .last()
            .is_some_and(|name| files.contains_key(&name.replace('-', "_")))
    };
    let second_word = |line: &&str| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|name| files.contains_key(&name.replace('-', "_")))
    };
    let alias = read("modules.alias")?
        .lines()
        .filter(last_word)
        .map(|line| format!("{line}\n"))
        .collect();
    let softdep = read("modules.softdep")?
        .lines()
        .filter(second_word)
        .map(|line| format!("{line}\n"))
        .collect();
    let index = vec![
        ("modules.dep", dep),
        ("modules.alias", alias),
        ("modules.softdep", softdep),
    ];
    Ok(Closure {
        order,
        files,
        index,
        unknown,
    })
}
