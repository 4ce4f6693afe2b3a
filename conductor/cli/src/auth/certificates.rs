//! A certificate authority of the site's own, and the certificate of its NATS servers: ECDSA on P-256.
//! Where they are kept is for `init`.
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
/// Clocks of machines that boot may be behind.
const BEFORE_DAYS: i64 = 2;

pub struct Certificates {
    /// PEM, all of them.
    pub ca: String,
    pub ca_key: String,
    pub server: String,
    pub server_key: String,
}

/// For servers under these names and addresses.
///
/// # Errors
/// When one of them is neither.
pub fn make(hosts: &[String], now: i64) -> anyhow::Result<Certificates> {
    let now = OffsetDateTime::from_unix_timestamp(now).context("understand the time")?;
    let dated = |mut params: CertificateParams, name: &str| {
        params.not_before = now - Duration::days(BEFORE_DAYS);
        params.not_after = now + Duration::days(365 * YEARS);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut ca = dated(CertificateParams::default(), "Ironbeat CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().context("make a key for the CA")?;
    let ca_cert = ca.self_signed(&ca_key).context("sign the CA")?;

    let names = CertificateParams::new(hosts.to_vec());
    let names = names.with_context(|| format!("put {} into a certificate", hosts.join(", ")))?;
    let mut server = dated(names, "nats-server");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate().context("make a key for the servers")?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    let signed = server.signed_by(&server_key, &issuer);
    Ok(Certificates {
        ca: pem("CERTIFICATE", ca_cert.der()),
        ca_key: pem("PRIVATE KEY", &ca_key.serialize_der()),
        server: pem(
            "CERTIFICATE",
            signed.context("sign the servers' certificate")?.der(),
        ),
        server_key: pem("PRIVATE KEY", &server_key.serialize_der()),
    })
}

/// RFC 7468: lines of 64 characters, which are 48 bytes.
fn pem(label: &str, der: &[u8]) -> String {
    let lines = der.chunks(48).map(|line| BASE64.encode(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
