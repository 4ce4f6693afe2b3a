//! Secrets on their way: where a request has them, what a sealed one looks like, and what it is bound to.
//! The command line seals, a worker opens; both have their ciphers from `nkeys`.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where the bodies of an endpoint have secrets, as JSON pointers. Each is text, or `{"sealed": "…"}` in its place.
pub fn secrets_of(endpoint: &str) -> &'static [&'static str] {
    match endpoint {
        "node.enroll" | "bmc.check" => &["/bmc/password", "/bmc/kg"],
        "bmc.set_password" => &["/password"],
        "node.rescue" => &["/login/password_hash"],
        "node.set" => &["/patch/bmc/password", "/patch/bmc/kg"],
        "node.deploy" | "node.rebuild" | "node.adopt" => {
            &["/instance/user_data", "/instance/network_data", SOURCE]
        }
        _ => &[],
    }
}

const SOURCE: &str = "/instance/image/source";

/// Whether this text at such a place is one: of a URL, the query may be a signature.
pub fn is_secret(field: &str, text: &str) -> bool {
    field != SOURCE || text.contains('?')
}

/// The one field of an object that stands for a secret.
pub const SEALED: &str = "sealed";

/// What a sealed secret is good for: in another request, for another field, another node or another BMC it is refused, so
/// that nobody who hears it can send it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub endpoint: String,
    /// As in [`secrets_of`].
    pub field: String,
    /// The node as the body names it: `node`, or `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The BMC's address as the body has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<String>,
}

impl Bound {
    /// `text`: the text at a JSON pointer of the body.
    pub fn to(endpoint: &str, field: &str, text: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            field: field.into(),
            node: text("/node").or_else(|| text("/id")),
            bmc: text("/bmc/address").or_else(|| text("/patch/bmc/address")),
        }
    }
}

/// What is sealed, as JSON.
#[derive(Serialize, Deserialize)]
pub struct Letter {
    #[serde(rename = "for")]
    pub bound: Bound,
    pub secret: String,
}

/// `<to>:<from>:<base64>`: the workers' public key, that of whoever sealed it, and what NATS's xkeys make of a [`Letter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedText {
    pub to: String,
    pub from: String,
    pub base64: String,
}

impl fmt::Display for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.to, self.from, self.base64)
    }
}

impl FromStr for SealedText {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ':').map(String::from);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(to), Some(from), Some(base64)) => Ok(Self { to, from, base64 }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ENDPOINTS;
    use serde_json::json;

    #[test]
    fn endpoints_with_secrets_are_endpoints() {
        let with = ENDPOINTS
            .iter()
            .filter(|it| !secrets_of(it.name).is_empty());
        let names: Vec<&str> = with.map(|it| it.name).collect();
        let expected = [
            "node.enroll",
            "node.deploy",
            "node.rebuild",
            "node.adopt",
            "node.rescue",
            "node.set",
            "bmc.check",
            "bmc.set_password",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_sealed_secret_is_bound_to_what_the_body_names() {
        let body = json!({ "node": "web1", "patch": { "bmc": { "address": "10.0.0.1" } } });
        let text = |at: &str| Some(body.pointer(at)?.as_str()?.to_string());
        let bound = Bound::to("node.set", "/patch/bmc/password", text);
        let expected = json!({
            "endpoint": "node.set", "field": "/patch/bmc/password", "node": "web1", "bmc": "10.0.0.1",
        });
        assert_eq!(json!(bound), expected);
    }

    #[test]
    fn a_sealed_text_has_three_parts() {
        let sealed: SealedText = "XA:XB:c2VhbGVk".parse().unwrap();
        assert_eq!(sealed.to_string(), "XA:XB:c2VhbGVk");
        for wrong in ["", "XA", "XA:c2VhbGVk"] {
            assert_eq!(wrong.parse::<SealedText>(), Err(()), "{wrong}");
        }
    }
}
