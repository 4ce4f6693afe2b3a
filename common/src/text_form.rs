//! Macros for types that are written and read as text, in every encoding.
//! Parsing and printing are the types' own.

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
                <alloc::string::String as serde::Deserialize>::deserialize(d)?
                    .parse()
                    .map_err(serde::de::Error::custom)
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
