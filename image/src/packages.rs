//! Debian packages that a command needs: which are missing, why they are needed, and their installation.
//! Which command needs which is the commands' affair.
use crate::error::{Error, Result};
use crate::run::text;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// Installs what is missing of `(package, why)`, saying so.
///
/// # Errors
/// When something is missing and cannot be installed, for want of root or of a mirror.
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

/// Its output is shown, as a download takes a while; on standard error, since standard output may carry results.
pub fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    let status = command.status().map_err(|source| Error::Start {
        command: format!("{command:?}"),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("{command:?}"),
        status,
        said: "see above".into(),
    })
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
