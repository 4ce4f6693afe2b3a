//! Which URLs the agent accepts (`http` and `https`, no credentials), and how it prints them: without the query.
//! Parsing and joining are the `url` crate's; fetching is in `http`.
use std::fmt;
use std::net::IpAddr;
use url::Position;

/// Longest URL, in bytes: presigned ones have about a thousand.
const MAX_URL_BYTES: usize = 8192;

/// The query is only ever sent: it may carry a signature, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(url::Url);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("not an http:// or https:// URL")]
    Scheme,
    #[error("from https to http")]
    Downgrade,
    #[error(
        "a URL with spaces, backslashes or control characters, or longer than {MAX_URL_BYTES} bytes"
    )]
    Text,
    #[error("a user or password in a URL is not supported")]
    Credentials,
    #[error("a URL without a valid host or port")]
    Host(#[source] url::ParseError),
}

impl Url {
    /// Stricter than the `url` crate, which also forgives what browsers forgive (`http:h`, `http:///h`).
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        check_text(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => {}
            _ => return Err(BadUrl::Scheme),
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if authority.contains('@') {
            return Err(BadUrl::Credentials);
        }
        if authority.is_empty() {
            return Err(BadUrl::Host(url::ParseError::EmptyHost));
        }
        // Names are ASCII here, as `idna_adapter` 1.0.0 has it, which panics at others in a build with debug assertions. The `url`
        // crate would decode escapes first.
        if !authority.is_ascii() || authority.contains('%') {
            return Err(BadUrl::Host(url::ParseError::IdnaError));
        }
        let mut url = url::Url::parse(text).map_err(BadUrl::Host)?;
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// Where a `Location` in an answer from here leads (RFC 3986 §5.2). A redirect to another host is parsed as strictly as an
    /// order's URL; only a path or a query is left to the `url` crate. What began with TLS does not go on without.
    pub fn join(&self, location: &str) -> Result<Self, BadUrl> {
        let next = self.resolve(location)?;
        match self.is_secure() && !next.is_secure() {
            true => Err(BadUrl::Downgrade),
            false => Ok(next),
        }
    }

    fn resolve(&self, location: &str) -> Result<Self, BadUrl> {
        check_text(location)?;
        // A colon in the first segment ends a scheme (RFC 3986 §4.2).
        let first = location.split(['/', '?', '#']).next().unwrap_or(location);
        if first.contains(':') {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.0.scheme()));
        }
        let joined = self.0.join(location).map_err(BadUrl::Host)?;
        Self::parse(joined.as_str())
    }

    /// What is at `path` below this one.
    pub fn at(&self, path: &str) -> Result<Self, BadUrl> {
        let base = self.0[..Position::AfterPath].trim_end_matches('/');
        Self::parse(&format!("{base}{path}"))
    }
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }
    /// None: it has a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }
    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.0.host_str().expect("an http or https URL has a host");
        host.trim_matches(['[', ']'])
    }
    pub fn port(&self) -> u16 {
        self.0
            .port_or_known_default()
            .expect("http and https have default ports")
    }
    /// For the `Host` field.
    pub fn authority(&self) -> &str {
        &self.0[Position::BeforeHost..Position::AfterPort]
    }
    /// For a proxy that is to open a connection there: the port is never left out.
    pub fn host_and_port(&self) -> String {
        let host = self.0.host_str().expect("an http or https URL has a host");
        format!("{host}:{}", self.port())
    }
    /// For the request line of a proxy.
    pub fn absolute(&self) -> &str {
        &self.0[..Position::AfterQuery]
    }
    /// For the request line.
    pub fn target(&self) -> &str {
        &self.0[Position::BeforePath..Position::AfterQuery]
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..Position::AfterPath])
    }
}

/// The `url` crate drops tabs and line breaks, encodes spaces, and takes a backslash for a slash. No URL has any of them.
fn check_text(text: &str) -> Result<(), BadUrl> {
    let is_foreign = |byte: u8| byte <= b' ' || byte == b'\\' || byte == 0x7f;
    if text.len() > MAX_URL_BYTES || text.bytes().any(is_foreign) {
        return Err(BadUrl::Text);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
