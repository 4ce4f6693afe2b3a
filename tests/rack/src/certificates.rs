//! A certificate authority and servers' certificates, good ones and bad ones, for the tests of whoever speaks TLS.
//! Those of a site are made by `ironbeat auth init`.
use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// The days on which a certificate begins and ends: year, month, day.
pub type Days = [(i32, u8, u8); 2];

/// Good for all the time that a test is run in.
pub const GOOD: Days = [(2000, 1, 1), (2090, 1, 1)];
/// Over before there was this program.
pub const OVER: Days = [(2000, 1, 1), (2001, 1, 1)];

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a server shows, and its key.
pub struct Certified {
    pub certificate: Vec<u8>,
    /// PKCS #8.
    pub key: Vec<u8>,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "each one is another")]
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = dated(vec![], GOOD);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can be signed");
        Self {
            pem: pem("CERTIFICATE", certificate.der()),
            issuer: Issuer::new(params, key),
        }
    }

    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// For a server under these names and addresses.
    pub fn certify(&self, names: &[&str], days: Days) -> Certified {
        let names = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = dated(names, days).signed_by(&key, &self.issuer);
        Certified {
            certificate: certificate.expect("it can be signed").der().to_vec(),
            key: key.serialize_der(),
        }
    }
}

impl Certified {
    /// Certificate and key.
    pub fn pem(&self) -> [String; 2] {
        [
            pem("CERTIFICATE", &self.certificate),
            pem("PRIVATE KEY", &self.key),
        ]
    }
}

fn dated(names: Vec<String>, [from, until]: Days) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("names and addresses");
    let name = "of a test";
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params
}

/// RFC 7468: lines of 64 characters, which are 48 bytes.
fn pem(label: &str, der: &[u8]) -> String {
    let lines = der.chunks(48).map(|line| BASE64.encode(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
