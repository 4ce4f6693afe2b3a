//! A certificate authority of the site's own, and what it signs for NATS servers and workers: ECDSA on P-256.
//! Where they are kept is for `init` and `certificate`.
use anyhow::Context;
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// A certificate that ends stops a site in one moment, so both live as long as the hardware. Who has reason to doubt a key makes
/// another.
const YEARS: i64 = 15;

/// PEM, both.
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

/// PEM, all of them.
pub struct Certificates {
    pub ca: String,
    pub ca_key: String,
    pub server: Certified,
}

/// For servers under these names and addresses.
///
/// # Errors
/// When one of them is neither.
pub fn make(hosts: &[String], now: i64) -> anyhow::Result<Certificates> {
    let authority = authority(now)?;
    let key = KeyPair::generate().context("make a key for the CA")?;
    let ca = authority.self_signed(&key).context("sign the CA")?;
    Ok(Certificates {
        ca: pem("CERTIFICATE", ca.der()),
        ca_key: pem(PRIVATE_KEY, &key.serialize_der()),
        server: signed(&Issuer::new(authority, key), "nats-server", hosts, now)?,
    })
}

/// One more by a CA that `make` has made. `ca_key`: in PEM.
///
/// # Errors
/// When the key is none, or one of the names neither a name nor an address.
pub fn another(ca_key: &str, name: &str, hosts: &[String], now: i64) -> anyhow::Result<Certified> {
    let der = from_pem(PRIVATE_KEY, ca_key).context("it is no private key in PEM")?;
    let key = KeyPair::try_from(&der[..]).context("understand the CA's key")?;
    // Of the CA's certificate only its name is in those that it signs, and that is always the same.
    signed(&Issuer::new(authority(now)?, key), name, hosts, now)
}

fn dated(mut params: CertificateParams, name: &str, now: i64) -> anyhow::Result<CertificateParams> {
    let now = OffsetDateTime::from_unix_timestamp(now).context("understand the time")?;
    // iPXE goes by the machine's clock, and one without a battery begins anew years ago. Nobody has the key from before it was made.
    params.not_before = OffsetDateTime::UNIX_EPOCH;
    params.not_after = now + Duration::days(365 * YEARS);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn authority(now: i64) -> anyhow::Result<CertificateParams> {
    let mut ca = dated(CertificateParams::default(), "Ironbeat CA", now)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(ca)
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    hosts: &[String],
    now: i64,
) -> anyhow::Result<Certified> {
    let names = CertificateParams::new(hosts.to_vec());
    let names = names.with_context(|| format!("put {} into a certificate", hosts.join(", ")))?;
    let mut server = dated(names, name, now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().with_context(|| format!("make a key for {name}"))?;
    let certificate = server
        .signed_by(&key, issuer)
        .with_context(|| format!("sign the certificate of {name}"))?;
    Ok(Certified {
        certificate: pem("CERTIFICATE", certificate.der()),
        key: pem(PRIVATE_KEY, &key.serialize_der()),
    })
}

const PRIVATE_KEY: &str = "PRIVATE KEY";

/// RFC 7468: lines of 64 characters, which are 48 bytes.
fn pem(label: &str, der: &[u8]) -> String {
    let lines = der.chunks(48).map(|line| BASE64.encode(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

/// What [`pem`] made; none: something else.
fn from_pem(label: &str, text: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let inner = text.trim().strip_prefix(&*begin)?;
    let inner = inner.strip_suffix(&*format!("-----END {label}-----"))?;
    let joined: String = inner.split_whitespace().collect();
    BASE64.decode(joined.as_bytes()).ok()
}
