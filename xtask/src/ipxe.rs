//! An iPXE that speaks HTTPS and believes one CA alone, built from a source tree that the operator has.
//! Leaves iPXE itself to <https://github.com/ipxe/ipxe>, and what becomes of its files to docs/dnsmasq.md.
use crate::{artifacts, packages};
use anyhow::{Context, Result, ensure};
use ironbeat_product::cluster;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// The CA that it is to believe, in PEM: `DIR/people/ca.pem` of `ironbeat auth init --tls DIR`.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// A clone of iPXE's repository, v2.0.0 or later.
    #[arg(long, value_name = "DIR")]
    source: PathBuf,
    /// Where the files go; default: `target/ipxe`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What make is asked for, its name in the TFTP directory, and whether it is told what it leaves out.
const FILES: [(&str, &str, bool); 2] = [
    ("bin-x86_64-efi/snponly.efi", "snponly.efi", false),
    ("bin/undionly.kpxe", "undionly.kpxe", true),
];

/// It came in December 2025; a site's certificates are ECDSA on P-256, and so is all that an older one cannot check.
const NEEDED: &str = "src/crypto/mishmash/ecdhe_ecdsa_aes_gcm_sha256.c";

/// A folder below `src/config/local`, which iPXE's repository ignores.
const CONFIG: &str = "ironbeat";
/// A BIOS has neither of them otherwise.
const CONFIG_LINES: &str = "#define DOWNLOAD_PROTO_HTTPS\n#define NTP_CMD\n";

pub fn run(args: &Args) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(artifacts::ipxe_dir);
    build(&args.source, &args.ca, &out)?;
    for (_, name, _) in FILES {
        println!("{}", out.join(name).display());
    }
    println!(
        "Copy both into dnsmasq's TFTP directory, and set http.scripts = \"https\" on every worker (docs/dnsmasq.md)."
    );
    Ok(())
}

/// A site as `ironbeat auth init` makes it, and an iPXE that believes it, for rack tests. The site stays the same, so that iPXE is
/// compiled once. Returns where they are.
///
/// # Errors
/// When one of them cannot be made.
pub fn of_rack(ironbeat: &Path, source: &Path) -> Result<PathBuf> {
    let dir = artifacts::ipxe_rack_dir();
    let site = dir.join("auth");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    if !site.exists() {
        cluster::make_site(ironbeat, &site)?;
    }
    build(source, &site.join("people/ca.pem"), &dir)?;
    Ok(dir)
}

/// The files of [`FILES`] into `out`.
///
/// # Errors
/// When the tree is none of a current iPXE, or make fails.
fn build(source: &Path, ca: &Path, out: &Path) -> Result<()> {
    let src = source.join("src");
    let is_there = |path: &Path| {
        ensure!(
            path.is_file(),
            "{} is not there: --source wants a clone of https://github.com/ipxe/ipxe, v2.0.0 or later",
            path.display()
        );
        Ok(())
    };
    is_there(&src.join("Makefile"))?;
    is_there(&source.join(NEEDED))?;
    let text = fs::read_to_string(ca).with_context(|| format!("read {}", ca.display()))?;
    ensure!(
        text.contains("-----BEGIN CERTIFICATE-----"),
        "{} has no certificate in PEM",
        ca.display()
    );
    let ca = fs::canonicalize(ca).with_context(|| format!("find {}", ca.display()))?;
    // Its makefile takes a list with commas, and splits words at spaces.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    ensure!(
        ca.to_string_lossy().chars().all(plain),
        "{}: iPXE's makefile takes no such path, copy the CA to a plainer one",
        ca.display()
    );
    packages::ensure(&[packages::IPXE])?;
    let config = src.join("config/local").join(CONFIG);
    write_if_other(&config.join("general.h"), CONFIG_LINES)?;
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    for (target, name, is_told) in FILES {
        let mut make = Command::new("make");
        make.current_dir(&src)
            .arg(format!("--jobs={jobs}"))
            .arg(target);
        // Of those that it believes iPXE keeps the hash alone: servers do not send the CA itself, so it has to have that too.
        make.arg(format!("TRUST={}", ca.display()));
        make.arg(format!("CERT={}", ca.display()));
        if is_told {
            make.arg(format!("CONFIG={CONFIG}"));
        }
        println!("{make:?} in {}", src.display());
        let status = make.status().with_context(|| format!("start {make:?}"))?;
        ensure!(status.success(), "{make:?} ended with {status}");
        let (from, to) = (src.join(target), out.join(name));
        fs::copy(&from, &to)
            .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// What is newer than before is compiled again.
fn write_if_other(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let write = || format!("write {}", path.display());
    let folder = path.parent().with_context(write)?;
    fs::create_dir_all(folder).with_context(write)?;
    fs::write(path, text).with_context(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_no_ipxe_an_old_one_and_a_ca_that_is_none_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let refused = |ca: &str| {
            let built = build(dir.path(), &path(ca), &path("out"));
            built.unwrap_err().to_string()
        };
        assert!(refused("ca.pem").contains("src/Makefile is not there"));
        fs::create_dir_all(path("src/crypto/mishmash")).unwrap();
        fs::write(path("src/Makefile"), "").unwrap();
        let why = refused("ca.pem");
        assert!(why.contains("ecdsa") && why.contains("v2.0.0"), "{why}");
        fs::write(path(NEEDED), "").unwrap();
        assert!(refused("ca.pem").starts_with("read "));
        fs::write(path("ca.pem"), "something else").unwrap();
        assert!(refused("ca.pem").contains("no certificate"));
        let pem = "-----BEGIN CERTIFICATE-----";
        fs::write(path("c a.pem"), pem).unwrap();
        assert!(refused("c a.pem").contains("a plainer one"));
    }
}
