//! Debian packages that a command needs: which are missing, why they are needed, and their installation.
use crate::run::text;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::process::Command;

/// Installs what is missing of `(package, why)`, saying so.
///
/// # Errors
/// When something is missing and cannot be installed, for want of root or of a mirror.
pub fn ensure_packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Debian packages to install:");
    for (name, why) in &missing {
        eprintln!("  {name:<20} {why}");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    ensure!(
        rustix::process::geteuid().is_root(),
        "as root: apt-get update && apt-get install --no-install-recommends {}",
        names.join(" ")
    );
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&names);
    apt(&arguments)
}

fn missing<'a>(wanted: &[(&'a str, &'a str)]) -> Result<Vec<(&'a str, &'a str)>> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]);
    let list = text(&mut query).context("ask which packages are installed (is this Debian?)")?;
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

/// Its output goes to the terminal: a download takes a while.
fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let wanted = [
            ("dpkg", "is on every Debian"),
            ("no-such-package-anywhere", "is on none"),
        ];
        assert_eq!(missing(&wanted).unwrap(), [wanted[1]]);
        ensure_packages(&wanted[..1]).unwrap();
    }
}
