//! Debian packages with all that they depend on, unpacked into one directory: cached, never installed.
//! Leaves what becomes of them to the caller.
use crate::cache;
use crate::error::{Error, Result, file};
use crate::packages::{apt_get, download};
use crate::run::{run, text};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Debs {
    pub dir: PathBuf,
    /// `name=version`
    pub packages: Vec<String>,
}

/// In the versions that this machine's lists have.
pub fn fetch(wanted: &[&str], cache_dir: &Path) -> Result<Debs> {
    let packages = with_dependencies(wanted).or_else(|_| {
        // A fresh machine has no package lists.
        apt_get(&["update", "-qq"])?;
        with_dependencies(wanted)
    })?;
    let key = Sha256::digest(packages.join("\n"));
    let key: String = key[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = cache::entry(cache_dir, &format!("rescue-{key}"), |dir| {
        eprintln!("rescue: download and unpack {}", packages.join(" "));
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        download(&names, dir)?;
        unpack(dir)
    })?;
    Ok(Debs { dir, packages })
}

fn with_dependencies(wanted: &[&str]) -> Result<Vec<String>> {
    let mut depends = Command::new("apt-cache");
    depends
        .args(["depends", "--recurse", "--important"])
        .args(wanted);
    let names = names(&text(&mut depends)?);
    let mut show = Command::new("apt-cache");
    show.args(["show", "--no-all-versions"]).args(&names);
    let packages = versions(&text(&mut show)?);
    for name in wanted {
        let is_it = |package: &String| package.split('=').next() == Some(name);
        if !packages.iter().any(is_it) {
            return Err(Error::Unfit(format!("Debian has no package {name}")));
        }
    }
    Ok(packages)
}

/// Real packages stand at the beginning of a line, what they need behind blanks, and what several provide in brackets.
fn names(depends: &str) -> BTreeSet<String> {
    let real = |line: &&str| {
        let first = line.bytes().next();
        first.is_some_and(|b| b.is_ascii_alphanumeric()) && !line.contains(':')
    };
    depends.lines().filter(real).map(str::to_string).collect()
}

fn versions(show: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for stanza in show.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(name), Some(version)) = (field("Package: "), field("Version: ")) {
            found.insert(format!("{name}={version}"));
        }
    }
    found.into_iter().collect()
}

fn unpack(dir: &Path) -> Result<()> {
    let mut debs = Vec::new();
    for entry in fs::read_dir(dir).map_err(file("list", dir))? {
        let path = entry.map_err(file("list", dir))?.path();
        if path.extension().is_some_and(|it| it == "deb") {
            debs.push(path);
        }
    }
    debs.sort();
    for deb in debs {
        run(Command::new("dpkg").arg("-x").arg(&deb).arg(dir))?;
        fs::remove_file(&deb).map_err(file("remove", &deb))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_needs_is_read_as_apt_prints_it() {
        let depends = "dropbear-bin\n  Depends: libc6\n  Depends: <libcrypt>\n    libcrypt1\nlibc6\n  Depends: libgcc-s1\nlibgcc-s1\n\
                       <libcrypt>\nlibcrypt1\nother:i386\n";
        let expected = ["dropbear-bin", "libc6", "libcrypt1", "libgcc-s1"];
        assert_eq!(names(depends), expected.map(String::from).into());
        let show = "Package: b\nArchitecture: amd64\nVersion: 1:2-3\n\nPackage: a\nVersion: 4\nDescription: Package: c\n";
        assert_eq!(versions(show), ["a=4", "b=1:2-3"]);
    }
}
