//! `ironbeat auth certificate`: one more by the CA that `init --tls` made.
//! `certificates` makes it.
use super::about::CA;
use super::about::now;
use super::certificates::another;
use super::files::{read, write_new};
use super::init::CA_KEY;
use crate::out;
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct CertificateArgs {
    /// The site's directory, as `ironbeat auth init --tls` made it.
    dir: PathBuf,
    /// Of whom it is.
    name: String,
    /// A name or address under which it is reached; more than once for more.
    #[arg(long = "host", required = true)]
    hosts: Vec<String>,
    /// Where to put `NAME.pem` and `NAME.key`.
    #[arg(long, default_value = ".")]
    to: PathBuf,
}

pub fn run(args: &CertificateArgs) -> anyhow::Result<()> {
    let CertificateArgs {
        dir,
        name,
        hosts,
        to,
    } = args;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.chars().all(good),
        "{name:?} cannot be the name of a file: letters, digits, - _ and . can"
    );
    let path = dir.join(CA_KEY);
    let ca_key = read(&path).context("a site has a CA if it was made with --tls")?;
    let made = another(&ca_key, name, hosts, now());
    let made = made.with_context(|| format!("make a certificate with {}", path.display()))?;
    let of = |end: &str| to.join(format!("{name}.{end}"));
    let (certificate, key) = (of("pem"), of("key"));
    write_new(&certificate, &made.certificate)?;
    write_new(&key, &made.key)?;
    out::line(format_args!(
        "{} and {}: whoever believes {} believes it, under {}.",
        certificate.display(),
        key.display(),
        dir.join("people").join(CA).display(),
        hosts.join(" and "),
    ))
}
