//! Identifiers that only the conductor and its operators use: node name, request, operation, worker.
//! Those that agents share are in `ironbeat_common::id`.
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use ironbeat_common::id::BadId;
use ironbeat_common::text_form;

/// A token that is safe as one NATS subject token and one KV key part: `[A-Za-z0-9_-]`, 1 to 63 characters.
fn is_token(s: &str) -> bool {
    (1..=63).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! token_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                if is_token(s) { Ok(Self(s.to_string())) } else { Err(BadId::new($kind, s)) }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        text_form!($name);
    };
}

token_id!(
    /// An operator's name for a node. Also a host name label.
    NodeName, "node name (letters, digits, '-' and '_', at most 63)"
);
token_id!(
    /// One request of an operator: the same id sent twice counts once.
    RequestId, "request id"
);
token_id!(
    /// One write of a node record, and the act that follows it.
    OpId, "operation id"
);
token_id!(
    /// A conductor worker.
    WorkerId, "worker id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_token() {
        assert!("rack1-node_07".parse::<NodeName>().is_ok());
        for wrong in ["", "a.b", "a b", "*", ">", &"x".repeat(64)] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }
}
