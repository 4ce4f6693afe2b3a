//! An `http://` URL: taken apart for a request, joined with a redirect's target, printed without its secrets.
//! Nothing is fetched here.
use std::fmt;

/// Longest URL, in bytes: presigned ones have about a thousand.
const MAX_URL_BYTES: usize = 8192;

/// The query is part of the request and of nothing else: it may carry a signature, so that it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("https is not supported yet: give an http URL (the image is checked by its checksum)")]
    Https,
    #[error("not an http:// URL")]
    Scheme,
    #[error("an URL with spaces or control characters, or longer than {MAX_URL_BYTES} bytes")]
    Text,
    #[error("a user or password in an URL is not supported")]
    Credentials,
    #[error("an URL without a host, or with a port that is none")]
    Host,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        if text.len() > MAX_URL_BYTES || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(BadUrl::Text);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err(BadUrl::Https),
            _ => return Err(BadUrl::Scheme),
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadUrl::Credentials);
        }
        let (host, port) = match authority
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, Some(port.strip_prefix(':').ok_or(BadUrl::Host)?)),
            None => authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(80), str::parse).map_err(|_| BadUrl::Host)?;
        if host.is_empty() || host.contains(['[', ']']) {
            return Err(BadUrl::Host);
        }
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| {
                (path, Some(query.to_owned()))
            });
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            query,
        })
    }

    /// Where a `Location` leads that was read here (RFC 3986 §5.2, without the dot segments, which servers resolve).
    pub fn join(&self, location: &str) -> Result<Self, BadUrl> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("http://{rest}"));
        }
        let folder = &self.path[..=self.path.rfind('/').unwrap_or(0)];
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{}{location}", self.path),
            _ => format!("{folder}{location}"),
        };
        Self::parse(&format!("http://{}{target}", self.authority()))
    }

    pub fn host(&self) -> &str {
        &self.host
    }
    pub fn port(&self) -> u16 {
        self.port
    }
    /// For the `Host` field.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == 80 {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
    /// For the request line.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests;
