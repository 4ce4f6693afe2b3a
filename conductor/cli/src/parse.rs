//! Arguments that several commands take, as they are typed.
//! What they mean is in the core.
use ironbeat_common::inventory::BootMode;
use ironbeat_core::hints::Hints;
use serde_json::Value;

pub(super) fn boot_mode(text: &str) -> Result<BootMode, String> {
    match text {
        "bios" => Ok(BootMode::Bios),
        "uefi" => Ok(BootMode::Uefi),
        _ => Err("bios or uefi".into()),
    }
}

pub(super) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".into()),
    }
}

/// `KEY=VALUE`; a value that is JSON is taken as that, `memory_mb=65536` is a number and `rack=null` takes the key away. All else
/// is text.
pub(super) fn noted(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    if key.trim().is_empty() {
        return Err("the key is empty".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.trim().into(), value))
}

pub(super) fn hint(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a hint is key=value")?;
    Ok((key.trim().into(), value.trim().into()))
}

pub(super) fn skip(text: &str) -> Result<Hints, String> {
    let pairs = text.split(',').map(hint).collect::<Result<_, _>>()?;
    let hints = Hints(pairs);
    hints.check().map_err(|bad| bad.to_string())?;
    Ok(hints)
}

pub(super) fn hints(pairs: Vec<(String, String)>) -> anyhow::Result<Hints> {
    let hints = Hints(pairs.into_iter().collect());
    hints.check()?;
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_that_is_json_is_taken_as_that_and_all_else_is_text() {
        for (text, key, value) in [
            ("memory_mb=65536", "memory_mb", json!(65536)),
            ("rack=null", "rack", Value::Null),
            ("cpu_arch=x86_64", "cpu_arch", json!("x86_64")),
            ("zip=\"0123\"", "zip", json!("0123")),
            ("at={\"row\": 3}", "at", json!({ "row": 3 })),
            ("torn={\"row\"", "torn", json!("{\"row\"")),
            ("empty=", "empty", json!("")),
            ("a=b=c", "a", json!("b=c")),
        ] {
            assert_eq!(noted(text), Ok((key.into(), value)));
        }
        assert!(noted("memory_mb").is_err() && noted("=1").is_err());
    }
}
