//! CBOR on standard input, JSON on standard output; what is JSON already passes through.
//! Made for `nats sub --translate`, which hands over one message body at a time.
use super::out;
use anyhow::Context;
use ciborium::Value;
use std::fmt::Write as _;
use std::io::Read;

pub fn run() -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(64 << 20)
        .read_to_end(&mut bytes)
        .context("read standard input")?;
    out::lines(to_json(&bytes)?)
}

pub(crate) fn to_json(bytes: &[u8]) -> anyhow::Result<String> {
    if bytes.is_empty() {
        return Ok("{}".into());
    }
    // The first byte does not tell: `[` and `{` begin CBOR strings too.
    if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    let mut rest = bytes;
    let value: Value = ciborium::from_reader(&mut rest).context("decode CBOR")?;
    let mut json = serde_json::to_string_pretty(&json(value))?;
    if !rest.is_empty() {
        write!(json, "\n({} bytes follow)", rest.len())?;
    }
    Ok(json)
}

/// JSON has neither byte strings nor other map keys than text: both are shown as text.
fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Integer(n) => match i128::from(n) {
            n if i64::try_from(n).is_ok() => serde_json::Value::from(n as i64),
            n if u64::try_from(n).is_ok() => serde_json::Value::from(n as u64),
            n => n.to_string().into(),
        },
        Value::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("h'{hex}'").into()
        }
        Value::Float(float) => serde_json::Value::from(float),
        Value::Text(text) => text.into(),
        Value::Bool(bool) => bool.into(),
        Value::Null => serde_json::Value::Null,
        Value::Tag(tag, inner) => serde_json::json!({ "tag": tag, "value": json(*inner) }),
        Value::Array(items) => items.into_iter().map(json).collect::<Vec<_>>().into(),
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(key, value)| {
                (
                    key.into_text().unwrap_or_else(|key| json(key).to_string()),
                    json(value),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        // CBOR has more simple values than JSON has words; the decoder knows none of them today.
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::codec::encode;
    use ironbeat_common::heartbeat::{Heartbeat, Status};
    use ironbeat_common::id::BootId;

    #[test]
    fn a_heartbeat_is_readable() {
        let beat = Heartbeat {
            version: 1,
            boot: BootId::from_bytes([1; 16]),
            seq: 2,
            status: Status::Idle,
            nudge: None,
        };
        let shown: serde_json::Value =
            serde_json::from_str(&to_json(&encode(&beat)).unwrap()).unwrap();
        assert_eq!(shown["seq"], 2);
        assert_eq!(shown["status"], "Idle");
    }

    #[test]
    fn any_bytes_get_some_answer() {
        assert_eq!(to_json(b"").unwrap(), "{}");
        assert_eq!(to_json(b"{\"a\":1}").unwrap(), "{\"a\":1}");
        assert_eq!(to_json(&[0x42, 1, 0xff]).unwrap(), "\"h'01ff'\"");
        assert_eq!(to_json(&[0xa1, 0x01, 0x02]).unwrap(), "{\n  \"1\": 2\n}");
        assert_eq!(to_json(b"7").unwrap(), "7");
        assert_eq!(to_json(&[0x01, 0x02]).unwrap(), "1\n(1 bytes follow)");
        assert!(to_json(&[0x5b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
