//! Reads the bodies of requests, JSON or CBOR, with errors that say where and what was expected, and never the value.
//! The front says which encoding a body has.
use ironbeat_common::codec::{self, MAX_MESSAGE_BYTES};
use serde::de::{self, DeserializeOwned, Expected, Unexpected};
use serde_value::{Value, ValueDeserializer};
use std::fmt::{self, Display};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Cbor,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("{bytes} bytes, at most {MAX_MESSAGE_BYTES}")]
    TooLong { bytes: usize },
    /// Syntax errors name places, not values.
    #[error("neither JSON nor CBOR: {why}")]
    Unreadable { why: String },
    #[error("{0}")]
    Unfit(String),
}

/// # Errors
/// When the bytes are too many, or not a map of the encoding.
pub fn parse(encoding: Encoding, bytes: &[u8]) -> Result<Value, BadBody> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(BadBody::TooLong { bytes: bytes.len() });
    }
    let unreadable = |why: String| BadBody::Unreadable { why };
    let value: Value = match encoding {
        Encoding::Json if bytes.is_empty() => Value::Map(Default::default()),
        Encoding::Json => {
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?
        }
        Encoding::Cbor => codec::decode(bytes).map_err(|error| unreadable(error.to_string()))?,
    };
    // serde would also read a struct from a list of its fields; nobody should depend on their order.
    if !matches!(value, Value::Map(_)) {
        return Err(BadBody::Unfit("a request is a map".into()));
    }
    Ok(value)
}

/// # Errors
/// When the map is not a `T`.
pub fn fit<T: DeserializeOwned>(value: Value) -> Result<T, BadBody> {
    serde_path_to_error::deserialize(ValueDeserializer::<Quiet>::new(value)).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner().0;
        BadBody::Unfit(match path.as_str() {
            "." => why,
            path => format!("{path}: {why}"),
        })
    })
}

/// An error of serde without the value that it met, which may be a password.
#[derive(Debug)]
struct Quiet(String);

impl Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Quiet {}

impl de::Error for Quiet {
    /// The words of our own types: they may quote an id or an address, but a secret's type quotes nothing.
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("{}, expected {expected}", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("{}, expected {expected}", kind(found)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("expected one of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let field: String = field.chars().take(40).collect();
        Self(format!(
            "unknown field {field:?}, expected {}",
            expected.join(", ")
        ))
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, BadBody> {
        fit(parse(encoding, bytes)?)
    }

    use ironbeat_ops::request::{CheckBmc, Enroll, ListEvents, ShowNode};

    fn refused<T: DeserializeOwned + fmt::Debug>(body: &str) -> String {
        let json = read::<T>(Encoding::Json, body.as_bytes()).unwrap_err();
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        let cbor = read::<T>(Encoding::Cbor, &codec::encode(&value)).unwrap_err();
        assert_eq!(json, cbor);
        json.to_string()
    }

    #[test]
    fn an_error_says_where_and_what_was_expected_but_not_the_value() {
        for (error, expected) in [
            (
                refused::<Enroll>(
                    r#"{"bmc":{"protocol":"ipmi","address":"10.0.0.1","username":"u","password":31337}}"#,
                ),
                "bmc: a secret must be a string",
            ),
            (
                refused::<Enroll>(r#"{"bmc":"hush"}"#),
                "expected internally tagged enum BmcAccess",
            ),
            (
                refused::<ShowNode>(r#"{"nod":"hush"}"#),
                "unknown field \"nod\", expected node",
            ),
            (
                refused::<ListEvents>(r#"{"last":"hush"}"#),
                "last: text, expected usize",
            ),
        ] {
            assert!(error.contains(expected), "{error}");
            assert!(
                !error.contains("hush") && !error.contains("31337"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_empty_body_asks_for_nothing_in_particular() {
        assert_eq!(read(Encoding::Json, b""), Ok(ListEvents::default()));
    }

    #[test]
    fn text_that_is_neither_json_nor_cbor_is_refused_as_such() {
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let error = read::<CheckBmc>(encoding, b"node web1").unwrap_err();
            assert!(error.to_string().starts_with("neither JSON nor CBOR"));
        }
    }

    #[test]
    fn mutated_bodies_never_panic_and_never_show_a_secret() {
        let body = br#"{"bmc":{"protocol":"ipmi","address":"10.0.0.1","username":"u","password":"sesame-31337"}}"#;
        for at in 0..body.len() {
            for with in [b'{', b'"', b'0', 0xff, b'}', b','] {
                let mut torn = body.to_vec();
                torn[at] = with;
                for encoding in [Encoding::Json, Encoding::Cbor] {
                    if let Err(error) = read::<Enroll>(encoding, &torn) {
                        assert!(!error.to_string().contains("31337"), "{error}");
                    }
                }
            }
        }
    }
}
