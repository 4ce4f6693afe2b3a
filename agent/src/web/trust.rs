//! Whom the agent believes over TLS: the site's CA alone for NATS, that and the public ones for URLs; at the time that `clock` has.
//! Where the site's CA comes from is in `heart::authority`.
use crate::clock::{self, Wall};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};

/// Certificates in the file of a site's CA: an old one and a new one, of several authorities.
const MAX_CERTIFICATES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum BadAuthority {
    #[error("it has no certificate")]
    None,
    #[error("it has more than {MAX_CERTIFICATES} certificates")]
    Many,
    #[error("it is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("a certificate in it cannot be used")]
    Certificate(#[source] Error),
}

/// The certificates of a CA.
#[derive(Clone, Debug)]
pub struct Authority(RootCertStore);

impl Authority {
    /// # Errors
    /// When these are not certificates, each of them in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadAuthority> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            if roots.len() >= MAX_CERTIFICATES {
                return Err(BadAuthority::Many);
            }
            let certificate = certificate.map_err(BadAuthority::Pem)?;
            roots.add(certificate).map_err(BadAuthority::Certificate)?;
        }
        match roots.is_empty() {
            true => Err(BadAuthority::None),
            false => Ok(Self(roots)),
        }
    }
}

/// Whom to believe, once it is known.
#[derive(Default)]
pub struct Trust {
    wall: Arc<Wall>,
    site: OnceLock<Authority>,
}

impl Trust {
    pub fn new(wall: Arc<Wall>) -> Self {
        let site = OnceLock::new();
        Self { wall, site }
    }

    pub fn wall(&self) -> &Wall {
        &self.wall
    }

    /// From now on; the first one stays.
    pub fn believe(&self, site: Authority) {
        // A second one would be an attempt to replace the first.
        let _ = self.site.set(site);
    }

    /// For servers of the site alone; where it has no CA of its own, for those that a public one vouches for. Says on the
    /// console why it believes one not.
    pub fn of_site(&self) -> ClientConfig {
        let site = self.site.get().map(|site| site.0.clone());
        self.config(site.unwrap_or_else(public), true)
    }

    /// For whatever a URL may lead to.
    pub fn of_urls(&self) -> ClientConfig {
        let mut roots = public();
        roots.extend(
            self.site
                .get()
                .into_iter()
                .flat_map(|site| site.0.roots.clone()),
        );
        self.config(roots, false)
    }

    fn config(&self, roots: RootCertStore, says_why: bool) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(roots, &provider, self.wall.clone(), says_why);
        let time = Arc::new(Time(self.wall.clone()));
        ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has ciphers for it")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()
    }
}

/// Those that browsers believe (Mozilla's list).
fn public() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

#[derive(Debug)]
struct Time(Arc<Wall>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now()))
    }
}

/// Believes what the library's own verifier believes, and says why it does not: the NATS client does not tell.
#[derive(Debug)]
struct Verifier {
    library: Arc<WebPkiServerVerifier>,
    wall: Arc<Wall>,
    says_why: bool,
}

impl Verifier {
    fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        wall: Arc<Wall>,
        says_why: bool,
    ) -> Self {
        let library = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        Self {
            library: library.build().expect("there are roots, and no CRLs"),
            wall,
            says_why,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .library
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        if let (Err(error), true) = (&verified, self.says_why) {
            let (server, why) = (name.to_str(), why(error, &self.wall));
            tracing::error!(%server, why, "this NATS server is not believed: nothing is sent to it");
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}

/// In words, for whoever looks at the console.
pub fn why(error: &Error, wall: &Wall) -> String {
    let here = || clock::day(wall.now().as_secs());
    match error {
        Error::InvalidCertificate(bad) => match bad {
            // Two CAs of one name: that of another site, say.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of a CA that this ramdisk believes".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has ended; here it is {}", here())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet; here it is {}", here())
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            _ => error.to_string(),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::mutants;
    use ironbeat_rack::certificates;

    fn pem() -> String {
        certificates::Authority::new().pem()
    }

    #[test]
    fn a_file_of_certificates_is_read_and_nothing_else() {
        let two = pem() + &pem();
        assert_eq!(Authority::from_pem(two.as_bytes()).unwrap().0.len(), 2);
        let many = pem().repeat(MAX_CERTIFICATES + 1);
        for (wrong, said) in [
            ("", "it has no certificate"),
            ("hello", "it has no certificate"),
            (&pem().replace("MII", "!!!"), "it is not PEM"),
            (&many, "more than"),
        ] {
            let error = Authority::from_pem(wrong.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        mutants(pem().as_bytes(), 5_000, |bytes| {
            drop(Authority::from_pem(bytes));
        });
    }
}
