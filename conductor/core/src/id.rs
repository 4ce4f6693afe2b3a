//! Identifiers that only the conductor and its operators use: node name, request, operation, worker.
//! Those that agents share are in `ironbeat_common::id`.
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use ironbeat_common::id::BadId;
use ironbeat_common::text_form;
use serde::{Deserialize, Serialize};

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
    /// An operator's name for an allocation.
    AllocationName, "allocation name (letters, digits, '-' and '_', at most 63)"
);
token_id!(
    /// An operator's name for a runbook.
    RunbookName, "runbook name (letters, digits, '-' and '_', at most 63)"
);
token_id!(
    /// An operator's name for an inspection rule.
    RuleName, "rule name (letters, digits, '-' and '_', at most 63)"
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

/// One life of a worker under its name: drawn anew whenever its process starts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u32);

impl FromStr for Incarnation {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let number = u32::from_str_radix(s, 16);
        let shape = s.len() == 8 && s.bytes().all(|b| b.is_ascii_hexdigit());
        match number {
            Ok(number) if shape => Ok(Self(number)),
            Ok(_) | Err(_) => Err(BadId::new("incarnation (8 hex digits)", s)),
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

text_form!(Incarnation);

/// Who acts on a BMC: a worker, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub worker: WorkerId,
    #[serde(default)]
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_eight_hex_digits() {
        for number in [0, 0xab, u32::MAX] {
            let text = Incarnation(number).to_string();
            assert_eq!(text.parse::<Incarnation>().unwrap(), Incarnation(number));
        }
        for wrong in ["", "1", "+0000001", "000000001", "0000000g"] {
            assert!(wrong.parse::<Incarnation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_one_token() {
        assert!("rack1-node_07".parse::<NodeName>().is_ok());
        for wrong in ["", "a.b", "a b", "*", ">", &"x".repeat(64)] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }
}
