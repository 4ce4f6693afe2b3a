//! Types that are written and read as text, in every encoding.
//! Parsing and printing are the types' own.
use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;
use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a text where it lies, without a string of its own, where the encoding allows that.
///
/// # Errors
/// When it is no text, or not one that `T` understands.
pub fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    d.deserialize_string(Text(PhantomData))
}

struct Text<T>(PhantomData<fn() -> T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Derives `Serialize`, `Deserialize` and `Debug` from `Display` and `FromStr`.
#[macro_export]
macro_rules! text_form {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::text_form::deserialize(d)
            }
        }
        $crate::text_schema!($name);
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Says in the schema that a type is written as a string.
#[macro_export]
macro_rules! text_schema {
    ($name:ident $(<const $parameter:ident: usize>)?) => {
        #[cfg(feature = "schema")]
        impl $(<const $parameter: usize>)? schemars::JsonSchema for $name $(<$parameter>)? {
            fn schema_name() -> alloc::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}
