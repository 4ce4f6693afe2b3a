//! Debian packages that a command needs: which are missing, why they are needed, and their installation.
//! Leaves it to the commands to say which they need.
use crate::error::{Error, Result};
use crate::run::{run, text};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Installs what is missing of `(package, why)`, saying so.
///
/// # Errors
/// When something is missing and cannot be installed: not root, or no mirror.
pub fn ensure_packages(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Debian packages to install:");
    for (name, why) in &missing {
        eprintln!("  {name:<20} {why}");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Packages(names.join(" ")).into());
    }
    // A fresh machine has no package lists, an old one has lists of files that are gone.
    apt_get(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&names);
    Ok(apt_get(&arguments)?)
}

fn missing<'a>(wanted: &[(&'a str, &'a str)]) -> Result<Vec<(&'a str, &'a str)>> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]);
    let list = text(&mut query)?;
    let installed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    Ok(wanted
        .iter()
        .filter(|(name, _)| !installed.contains(name))
        .copied()
        .collect())
}

/// Says a line for each package that it sets up, on standard error, since standard output may carry results; and all that
/// apt and dpkg said when it fails.
pub fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        // A machine that has just booted may be installing updates by itself.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    let name = format!("{command:?}");
    let failed = |source| Error::Start {
        command: name.clone(),
        source,
    };
    let (said, writer) = std::io::pipe().map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the other end of the pipe, which would never end.
    drop(command);
    let mut all = String::new();
    for line in BufReader::new(said).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line);
        if let Some(package) = set_up(&line) {
            eprintln!("  installed {package}");
        }
        all.push_str(&line);
        all.push('\n');
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: name,
        status,
        said: all.trim().to_string(),
    })
}

/// Puts packages into a directory as files. `name` or `name=version` each.
pub fn download(packages: &[&str], dir: &Path) -> Result<()> {
    let get = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-qq"]).args(packages);
        run(command.current_dir(dir)).map(drop)
    };
    get().or_else(|_| {
        // Old lists name a file that the mirror has replaced.
        apt_get(&["update", "-qq"])?;
        get()
    })
}

/// `Setting up kmod (30+20221128-1) ...`
fn set_up(line: &str) -> Option<&str> {
    let package = line.trim().strip_prefix("Setting up ")?;
    Some(package.trim_end_matches(" ..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_package_is_found_and_an_installed_one_is_not() {
        let wanted = [
            ("dpkg", "is on every Debian"),
            ("no-such-package-anywhere", "is on none"),
        ];
        assert_eq!(missing(&wanted).unwrap(), [wanted[1]]);
        ensure_packages(&wanted[..1]).unwrap();
    }

    #[test]
    fn of_what_apt_says_only_packages_are_shown() {
        for (line, shown) in [
            ("Setting up kmod (30-1) ...", Some("kmod (30-1)")),
            ("Unpacking kmod (30-1) ...", None),
            ("Processing triggers for libc-bin (2.36) ...", None),
        ] {
            assert_eq!(set_up(line), shown);
        }
    }

    #[test]
    fn a_failed_apt_is_quoted() {
        let error = apt_get(&["no-such-verb"]).unwrap_err().to_string();
        assert!(error.contains("no-such-verb"), "{error}");
        assert!(error.contains("Invalid operation"), "{error}");
    }
}
