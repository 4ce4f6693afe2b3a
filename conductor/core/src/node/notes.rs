//! Notes: what an operator writes about a node for people and their programs; no decision reads them.
//! They lie beside the record, which stays small. `decide` says when they change.
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Characters of a description, as in Ironic.
pub const MAX_DESCRIPTION: usize = 4096;
/// Bytes of `properties`, and of `extra`, as JSON. Nova and Metal3 keep less than 1 KiB there; one reply of a NATS server's
/// usual 1 MiB has both beside an inventory.
pub const MAX_OBJECT_BYTES: usize = 16 * 1024;
/// Objects and lists inside each other. Readers of JSON give up somewhere, ours at 128.
const MAX_DEPTH: usize = 16;

/// What an operator has noted of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the operator says of its hardware, in Ironic's words: `cpu_arch`, `memory_mb`, `local_gb`, `capabilities`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// Whatever else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Notes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// What is too large, and its bound.
    pub fn check(&self) -> Result<(), String> {
        let characters = self
            .description
            .iter()
            .flat_map(|text| text.chars())
            .count();
        if characters > MAX_DESCRIPTION {
            return Err(format!(
                "the description has {characters} characters, at most {MAX_DESCRIPTION}"
            ));
        }
        for (what, object) in [("properties", &self.properties), ("extra", &self.extra)] {
            if let Some((key, _)) = object.iter().find(|(_, value)| depth(value) > MAX_DEPTH) {
                let key: String = key.chars().take(40).collect();
                return Err(format!(
                    "{what}: {key:?} has more than {MAX_DEPTH} lists and objects inside each other"
                ));
            }
            let bytes = serde_json::to_vec(object).map_or(usize::MAX, |json| json.len());
            if bytes > MAX_OBJECT_BYTES {
                return Err(format!(
                    "{what}: {bytes} bytes as JSON, at most {MAX_OBJECT_BYTES}"
                ));
            }
        }
        Ok(())
    }
}

/// Whatever was read has been read to this depth before, so this ends.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or_default(),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Puts each key in its place; null takes one away, and what is not named stays (as RFC 7396 has it, of the first level alone).
pub(crate) fn merge(into: &mut Map<String, Value>, given: &Map<String, Value>) {
    for (key, value) in given {
        match value {
            Value::Null => {
                into.remove(key);
            }
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
