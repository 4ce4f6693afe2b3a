//! What stands in braces in a rule: `{inventory[system][product]}`, `{node.name}`, `{item}`, as Python's `format` reads it.
//! What is there is put in its place; `operator` and `action` say where.
use super::shown;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::Value;

/// Bytes of a text after what stands in braces is put in its place.
pub(super) const MAX_TEXT: usize = 4096;
/// Keys of one reference.
const MAX_KEYS: usize = 16;

/// What references mean.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub inventory: &'a Value,
    pub node: &'a Value,
    /// In a loop.
    pub item: Option<&'a Value>,
}

enum Part {
    Text(String),
    /// The root first.
    Reference(Vec<String>),
}

/// Whether the text is one reference and nothing else: then it stands for a value of any type.
pub(super) fn is_reference(text: &str) -> bool {
    match parse(text).as_deref() {
        Ok([Part::Reference(_)]) => true,
        Ok(_) | Err(_) => false,
    }
}

/// Whether all that stands in braces, however deep, can be looked for.
///
/// # Errors
/// The first that cannot.
pub(super) fn check(value: &Value, in_loop: bool) -> Result<(), String> {
    if let Some(text) = value.as_str() {
        for part in parse(text)? {
            let Part::Reference(keys) = part else {
                continue;
            };
            match keys.first().map(String::as_str) {
                Some("inventory" | "node") => {}
                Some("item") if in_loop => {}
                Some("item") => return Err("{item} is nothing outside of a loop".to_string()),
                Some("plugin_data") => {
                    return Err(
                        "{plugin_data} is nothing here: {inventory} has all that a machine says"
                            .to_string(),
                    );
                }
                Some(_) | None => {
                    return Err(format!(
                        "{} is nothing: there are {{inventory}}, {{node}} and in loops {{item}} (write {{{{ and }}}} for braces)",
                        shown(text)
                    ));
                }
            }
        }
        return Ok(());
    }
    let list = value.as_array().into_iter().flatten();
    let object = value
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::values);
    list.chain(object).try_for_each(|one| check(one, in_loop))
}

/// Puts what is there in the place of what stands in braces. What is not there is null, and nothing within a text.
///
/// # Errors
/// When a text becomes too long; with `strict`, when something is not there.
pub(super) fn fill(value: &Value, scene: Scene<'_>, strict: bool) -> Result<Value, String> {
    if let Some(text) = value.as_str() {
        return fill_text(text, scene, strict);
    }
    if let Some(list) = value.as_array() {
        let filled = list.iter().map(|one| fill(one, scene, strict));
        return Ok(Value::Array(filled.collect::<Result<_, _>>()?));
    }
    if let Some(object) = value.as_object() {
        let filled = object
            .iter()
            .map(|(key, one)| Ok((key.clone(), fill(one, scene, strict)?)));
        return Ok(Value::Object(filled.collect::<Result<_, String>>()?));
    }
    Ok(value.clone())
}

fn fill_text(text: &str, scene: Scene<'_>, strict: bool) -> Result<Value, String> {
    let parts = parse(text)?;
    if let [Part::Reference(keys)] = parts.as_slice() {
        return match find(scene, keys).filter(|found| !found.is_null()) {
            Some(found) => Ok(found.clone()),
            None if strict => Err(format!("{} is not there", shown(text))),
            None => Ok(Value::Null),
        };
    }
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(&text),
            Part::Reference(keys) => match find(scene, &keys).filter(|found| !found.is_null()) {
                Some(found) => filled.push_str(&words(found)?),
                None if strict => {
                    return Err(format!(
                        "of {} {} is not there",
                        shown(text),
                        keys.join(".")
                    ));
                }
                None => {}
            },
        }
        if filled.len() > MAX_TEXT {
            return Err(too_long(text));
        }
    }
    Ok(filled.into())
}

fn too_long(text: &str) -> String {
    format!("{} becomes longer than {MAX_TEXT} bytes", shown(text))
}

/// A value within a text.
///
/// # Errors
/// When it is too long for one.
pub(super) fn words(value: &Value) -> Result<String, String> {
    let words = match value.as_str() {
        Some(text) => text.to_string(),
        None => value.to_string(),
    };
    match words.len() {
        ..=MAX_TEXT => Ok(words),
        bytes => Err(format!("a value of {bytes} bytes, at most {MAX_TEXT}")),
    }
}

fn find<'a>(scene: Scene<'a>, keys: &[String]) -> Option<&'a Value> {
    let (root, keys) = keys.split_first()?;
    let root = match root.as_str() {
        "inventory" => Some(scene.inventory),
        "node" => Some(scene.node),
        "item" => scene.item,
        _ => None,
    };
    keys.iter().try_fold(root?, |value, key| {
        let of_list = |list: &'a Vec<Value>| list.get(key.parse::<usize>().ok()?);
        match value.as_array() {
            Some(list) => of_list(list),
            None => value.get(key.as_str()),
        }
    })
}

fn parse(text: &str) -> Result<Vec<Part>, String> {
    let bad = || {
        format!(
            "{} has braces that hold no reference: write {{inventory[system][product]}}, and {{{{ and }}}} for braces",
            shown(text)
        )
    };
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else {
            let (inner, after) = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
                .ok_or_else(bad)?;
            if !plain.is_empty() {
                parts.push(Part::Text(core::mem::take(&mut plain)));
            }
            parts.push(Part::Reference(keys(inner).ok_or_else(bad)?));
            rest = after;
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// `inventory[disks][0].name`
fn keys(inner: &str) -> Option<Vec<String>> {
    let name = |text: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !text.is_empty() && text.chars().all(good)
    };
    let end = inner.find(['[', '.']).unwrap_or(inner.len());
    let (root, mut rest) = inner.split_at(end);
    if !name(root) {
        return None;
    }
    let mut keys = Vec::from([root.to_string()]);
    while !rest.is_empty() {
        let key;
        if let Some(after) = rest.strip_prefix('[') {
            (key, rest) = after.split_once(']')?;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['[', '.']).unwrap_or(after.len());
            (key, rest) = after.split_at(end);
            if !name(key) {
                return None;
            }
        }
        if key.is_empty() || keys.len() == MAX_KEYS {
            return None;
        }
        keys.push(key.to_string());
    }
    Some(keys)
}
