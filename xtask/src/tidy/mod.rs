//! `cargo xtask tidy`: is the code laid out as the plan says, do documents name what is there, is others' code allowed?
//! Reads and prints. Leaves each check, which is pure, to a file of its own, and what is right to `plan`.
mod arrows;
mod circles;
mod documents;
mod headers;
mod map;
mod no_std;
mod packages;
mod plan;
mod source;
mod tree;

use crate::artifacts;
use anyhow::{Context, Result, bail, ensure};
use arrows::Member;
use packages::Package;
use plan::Crate;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::Tree;

#[derive(clap::Args, Default)]
pub struct Args {
    /// Write the map in ARCHITECTURE.md, and deny.toml, instead of comparing them.
    #[arg(long)]
    write: bool,
}

/// # Errors
/// When something is not as the plan says, after all of it is printed.
pub fn run(args: &Args) -> Result<()> {
    let root = artifacts::root();
    let metadata = metadata(&root)?;
    let members = members(&metadata)?;
    let mut wrong = arrows::check_crates(plan::CRATES, &members);
    println!("crates:");
    for member in &members {
        print_arrows(&member.name, member.uses.iter().map(String::as_str));
    }
    for one in plan::CRATES {
        if members.iter().any(|member| member.name == one.name) {
            wrong.extend(check_crate(&root, one)?);
        }
    }
    wrong.extend(packages::check(&packages(&metadata)?));
    wrong.extend(written(&root, args.write)?);
    wrong.extend(documents(&root)?);
    if wrong.is_empty() {
        println!("tidy: all is as planned in xtask/src/tidy/plan.rs");
        return Ok(());
    }
    for one in &wrong {
        eprintln!("{one}");
    }
    bail!(
        "{} places are not as planned in xtask/src/tidy/plan.rs",
        wrong.len()
    );
}

fn print_arrows<'a>(from: &str, to: impl Iterator<Item = &'a str>) {
    let to: Vec<&str> = to.collect();
    if !to.is_empty() {
        println!("  {from} -> {}", to.join(", "));
    }
}

/// One crate's folders, files and features.
fn check_crate(root: &Path, one: &Crate) -> Result<Vec<String>> {
    let src = Path::new(one.dir).join("src");
    let mut wrong = Vec::new();
    let mut arrows = arrows::Arrows::new();
    let mut read = |path: &Path| std::fs::read_to_string(root.join(path)).ok();
    let files = rust_files(root, &src)?;
    let trees: Vec<Tree> = files
        .iter()
        .filter(|file| is_root(file, &src))
        .map(|file| Tree::load(file, &mut read))
        .collect();
    for tree in &trees {
        let (found, bad) = arrows::check_folders(one, tree);
        arrows.extend(found);
        wrong.extend(bad);
        wrong.extend(circles::check(tree, plan::CIRCLES));
    }
    if !arrows.is_empty() {
        println!("{}:", src.display());
    }
    let from: BTreeSet<&str> = arrows.iter().map(|(from, _)| from.as_str()).collect();
    for from in from {
        let to = arrows.iter().filter(|(other, _)| other == from);
        print_arrows(from, to.map(|(_, to)| to.as_str()));
    }
    let below: Vec<&Path> = files
        .iter()
        .filter_map(|file| file.strip_prefix(&src).ok())
        .collect();
    let stems = below
        .iter()
        .filter(|file| file.components().count() == 1)
        .filter_map(|file| file.file_stem())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let folders = below
        .iter()
        .filter(|file| file.components().count() > 1)
        .filter_map(|file| file.components().next())
        .map(|name| name.as_os_str().to_string_lossy().into_owned())
        .collect();
    wrong.extend(arrows::check_rooms(one, &folders, &stems));
    for file in &files {
        let known: Vec<_> = trees
            .iter()
            .flat_map(|tree| &tree.files)
            .filter(|known| known.path == *file)
            .collect();
        if known.is_empty() {
            wrong.push(format!("{}: no module declares it", file.display()));
        }
        let test = known.iter().all(|known| known.test);
        let text = std::fs::read_to_string(root.join(file))
            .with_context(|| format!("read {}", file.display()))?;
        if let Some(bad) = headers::check(&text, test) {
            wrong.push(format!("{}:1: {bad}", file.display()));
        }
    }
    if one.no_std {
        let tree = std_features(root, one.name)?;
        for bad in no_std::check(&tree, plan::STD_ALLOWED) {
            wrong.push(format!("{}/Cargo.toml: {bad}", one.dir));
        }
    }
    Ok(wrong)
}

/// Does a library or a program begin in this file?
fn is_root(file: &Path, src: &Path) -> bool {
    file == src.join("lib.rs")
        || file == src.join("main.rs")
        || file.parent() == Some(&src.join("bin"))
}

/// Below `dir`, sorted, as paths from `root`.
fn rust_files(root: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files(root, dir)?;
    files.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    Ok(files)
}

/// Below `dir`, sorted, as paths from `root`; without what is built and what is hidden.
fn files(root: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let entries = std::fs::read_dir(root.join(&dir))
            .with_context(|| format!("list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", dir.display()))?;
            let name = entry.file_name();
            let path = dir.join(&name);
            if name.to_string_lossy().starts_with('.') || path == Path::new("target") {
                continue;
            }
            if entry.path().is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Compares what is written from the plan with what is there, or writes it.
fn written(root: &Path, write: bool) -> Result<Vec<String>> {
    let architecture = "ARCHITECTURE.md";
    let document = std::fs::read_to_string(root.join(architecture))
        .with_context(|| format!("read {architecture}"))?;
    let Some(mapped) = map::put(&document, &map::text(plan::CRATES)) else {
        return Ok(vec![format!(
            "{architecture}: has no {} … {}",
            map::BEGIN,
            map::END
        )]);
    };
    let mut wrong = Vec::new();
    for (name, text) in [(architecture, mapped), ("deny.toml", packages::deny_toml())] {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        if write {
            std::fs::write(&path, text).with_context(|| format!("write {name}"))?;
            println!("{name}: written");
        } else {
            wrong.push(format!(
                "{name}: is not what the plan says; `cargo xtask tidy --write` writes it"
            ));
        }
    }
    Ok(wrong)
}

/// Documents at the top and in `docs/`, against all files that there are.
fn documents(root: &Path) -> Result<Vec<String>> {
    let mut there = documents::There::default();
    let mut documents = Vec::new();
    for path in files(root, Path::new(""))? {
        let ends = |end| path.extension().is_some_and(|it| it == end);
        let read = || {
            std::fs::read_to_string(root.join(&path))
                .with_context(|| format!("read {}", path.display()))
        };
        if ends("rs") {
            there.add(&path, Some(&read()?));
        } else {
            there.add(&path, None);
        }
        if ends("md") && (path.starts_with("docs") || path.components().count() == 1) {
            documents.push((path.clone(), read()?));
        }
    }
    let wrong = documents
        .iter()
        .flat_map(|(path, text)| documents::check(path, text, &there));
    Ok(wrong.collect())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root);
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("read what cargo says")
}

/// Only normal dependencies: what is built for a build script or a test is not linked in.
fn std_features(root: &Path, package: &str) -> Result<String> {
    cargo(
        root,
        &[
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--target",
            plan::TARGET,
            "--no-dedupe",
            "--prefix",
            "depth",
            "--format",
            "{p}|{f}",
        ],
    )
}

fn metadata(root: &Path) -> Result<Value> {
    let text = cargo(
        root,
        &[
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            plan::TARGET,
        ],
    )?;
    serde_json::from_str(&text).context("understand what cargo metadata says")
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("cargo metadata has no list `{key}`"))
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str();
    Ok(text
        .with_context(|| format!("cargo metadata has no text `{key}`"))?
        .to_string())
}

fn packages(metadata: &Value) -> Result<Vec<Package>> {
    list(metadata, "packages")?
        .iter()
        .map(|package| {
            Ok(Package {
                name: text(package, "name")?,
                version: text(package, "version")?,
                licence: package["license"].as_str().map(str::to_string),
                source: package["source"].as_str().map(str::to_string),
            })
        })
        .collect()
}

fn members(metadata: &Value) -> Result<Vec<Member>> {
    let ids: BTreeSet<&str> = list(metadata, "workspace_members")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = list(metadata, "packages")?;
    let ours: Vec<&Value> = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .collect();
    let names: BTreeSet<&str> = ours
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let built_from = built_from(metadata)?;
    let mut members = Vec::new();
    for package in ours {
        let mut member = Member {
            name: text(package, "name")?,
            ..Member::default()
        };
        for dependency in list(package, "dependencies")? {
            let name = text(dependency, "name")?;
            if !names.contains(name.as_str()) {
                continue;
            }
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if is_dev {
                member.uses_in_tests.push(name);
            } else {
                member.uses.push(name);
            }
        }
        member.reaches = reach(&text(package, "id")?, &built_from);
        members.push(member);
    }
    Ok(members)
}

/// What each package is built from, by ids, without what only its tests need.
fn built_from(metadata: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let mut all = BTreeMap::new();
    for node in list(&metadata["resolve"], "nodes")? {
        let mut to = Vec::new();
        for dependency in list(node, "deps")? {
            let kinds = list(dependency, "dep_kinds")?;
            if kinds
                .iter()
                .any(|kind| kind["kind"].as_str() != Some("dev"))
            {
                to.push(text(dependency, "pkg")?);
            }
        }
        all.insert(text(node, "id")?, to);
    }
    Ok(all)
}

/// Names of all packages that the one with this id is built from.
fn reach(id: &str, built_from: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        for to in built_from.get(id).into_iter().flatten() {
            if seen.insert(to.as_str()) {
                next.push(to);
            }
        }
    }
    seen.into_iter().map(name_of_id).collect()
}

/// `registry+…#serde@1.0.0`, `path+file:///…/common#ironbeat-common@0.1.0`, `path+file:///…/xtask#0.1.0`.
fn name_of_id(id: &str) -> String {
    let (place, tail) = id.rsplit_once('#').unwrap_or(("", id));
    match tail.split_once('@') {
        Some((name, _)) => name.to_string(),
        None => place.rsplit('/').next().unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_is_built_from_is_found_far_away() {
        let metadata = serde_json::json!({"resolve": {"nodes": [
            {"id": "path+file:///w/a#0.1.0", "deps": [
                {"pkg": "path+file:///w/x#b@0.1.0", "dep_kinds": [{"kind": null}]},
                {"pkg": "r#only-in-tests@1.0.0", "dep_kinds": [{"kind": "dev"}]},
            ]},
            {"id": "path+file:///w/x#b@0.1.0", "deps": [
                {"pkg": "r#far@1.0.0", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]},
            ]},
        ]}});
        let found = reach("path+file:///w/a#0.1.0", &built_from(&metadata).unwrap());
        assert_eq!(found, ["b".to_string(), "far".to_string()].into());
        assert_eq!(name_of_id("path+file:///w/a#0.1.0"), "a");
    }
}
