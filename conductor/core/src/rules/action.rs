//! The actions of rules: Ironic's, as far as a node here has what they change.
//! They change a view of the node; `run` makes a patch of the difference.
use super::operator::{items, step};
use super::text::{self, Scene, words};
use super::{Action, Args, Signature, args_of, check_loop, depth, shown};
use crate::node::Trait;
use crate::patch::Patch;
use crate::text::said;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// Characters of what a rule says.
const MAX_SAID: usize = 500;
/// Keys of a path.
const MAX_KEYS: usize = 8;
/// Things in a list that rules extend.
const MAX_LIST: usize = 256;

/// Bytes of all that is said of a node, as JSON: more than its notes may have.
const MAX_NODE_BYTES: usize = 128 * 1024;
/// More than notes may have, and little enough for any reader.
const MAX_NODE_DEPTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Fail,
    Log,
    SetAttribute,
    ExtendAttribute,
    DelAttribute,
    SetCapability,
    UnsetCapability,
    AddTrait,
    RemoveTrait,
}

impl Deed {
    pub const ALL: [Deed; 9] = [
        Deed::Fail,
        Deed::Log,
        Deed::SetAttribute,
        Deed::ExtendAttribute,
        Deed::DelAttribute,
        Deed::SetCapability,
        Deed::UnsetCapability,
        Deed::AddTrait,
        Deed::RemoveTrait,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Deed::Fail => "fail",
            Deed::Log => "log",
            Deed::SetAttribute => "set-attribute",
            Deed::ExtendAttribute => "extend-attribute",
            Deed::DelAttribute => "del-attribute",
            Deed::SetCapability => "set-capability",
            Deed::UnsetCapability => "unset-capability",
            Deed::AddTrait => "add-trait",
            Deed::RemoveTrait => "remove-trait",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Deed::Fail => {
                "The inspection fails with `msg`; an unknown machine is not enrolled. Nothing that any rule says is done."
            }
            Deed::Log => {
                "`msg` is told with the end of the inspection: in the node's events and in the worker's log."
            }
            Deed::SetAttribute => "The attribute `path` is `value` from now on.",
            Deed::ExtendAttribute => "The list at `path` has `value` too; with `unique` only once.",
            Deed::DelAttribute => "The node has no `path` any longer.",
            Deed::SetCapability => "`name:value` among the node's `properties/capabilities`.",
            Deed::UnsetCapability => "The capability goes.",
            Deed::AddTrait => "The node has the trait `name`.",
            Deed::RemoveTrait => "It has it no longer, if it had.",
        }
    }

    pub fn signature(self) -> Signature {
        let (required, optional): (&[&str], &[&str]) = match self {
            Deed::Fail => (&["msg"], &[]),
            Deed::Log => (&["msg"], &["level"]),
            Deed::SetAttribute => (&["path", "value"], &[]),
            Deed::ExtendAttribute => (&["path", "value"], &["unique"]),
            Deed::DelAttribute => (&["path"], &[]),
            Deed::SetCapability => (&["name", "value"], &[]),
            Deed::UnsetCapability | Deed::AddTrait | Deed::RemoveTrait => (&["name"], &[]),
        };
        Signature { required, optional }
    }
}

/// Ironic's that nothing here answers to, and why.
const ABSENT: &[(&str, &str)] = &[
    (
        "set-port-attribute",
        "ports are no things of their own here",
    ),
    (
        "extend-port-attribute",
        "ports are no things of their own here",
    ),
    (
        "del-port-attribute",
        "ports are no things of their own here",
    ),
    (
        "set-plugin-data",
        "there are no plugins that keep data: `extra` is for what a site keeps",
    ),
    (
        "extend-plugin-data",
        "there are no plugins that keep data: `extra` is for what a site keeps",
    ),
    (
        "unset-plugin-data",
        "there are no plugins that keep data: `extra` is for what a site keeps",
    ),
    (
        "api-call",
        "workers call nobody: whoever follows the events hears of each inspection",
    ),
];

/// What a path can name: its first key, whether keys of an operator's follow, and what it is.
pub const ATTRIBUTES: &[(&str, bool, &str)] = &[
    (
        "name",
        false,
        "Letters, digits, `-` and `_`; each name once.",
    ),
    ("description", false, "For people."),
    ("resource_class", false, "What kind of machine it is."),
    ("owner", false, "Whose machine it is."),
    ("lessee", false, "Who uses it."),
    ("boot_mode", false, "`bios` or `uefi`."),
    ("secure_boot", false, "`true` or `false`."),
    (
        "root_device",
        false,
        "Hints, an object; Ironic's `properties/root_device` is the same.",
    ),
    (
        "skip_block_devices",
        false,
        "Disks that are left alone: a list of hints.",
    ),
    ("automated_clean", false, "`true` or `false`."),
    (
        "properties",
        true,
        "What is said of the hardware: `properties/cpu_arch`.",
    ),
    ("extra", true, "Whatever else: `extra/rack`."),
];

fn read(op: &str) -> Result<Deed, String> {
    if let Some(found) = Deed::ALL.into_iter().find(|one| one.name() == op) {
        return Ok(found);
    }
    let all: Vec<&str> = Deed::ALL.into_iter().map(Deed::name).collect();
    let all = all.join(", ");
    Err(match ABSENT.iter().find(|(name, _)| *name == op) {
        Some((name, why)) => format!("there is no {name}, as {why}: there are {all}"),
        None => format!("there is no action {}: there are {all}", shown(op)),
    })
}

pub(super) fn check(action: &Action) -> Result<(), String> {
    let deed = read(&action.op)?;
    let of_deed = |why: String| format!("{}: {why}", deed.name());
    let args = args_of(&action.args, &deed.signature()).map_err(of_deed)?;
    check_loop(action.each.as_ref()).map_err(of_deed)?;
    let in_loop = action.each.is_some();
    for value in args.values() {
        text::check(value, in_loop).map_err(of_deed)?;
    }
    let plain = |name: &str| {
        let text = args.get(name).and_then(Value::as_str);
        text.filter(|text| !text.contains(['{', '}']))
    };
    for name in ["path", "name", "msg", "level"] {
        if args.get(name).is_some_and(|value| !value.is_string()) {
            return Err(of_deed(format!("\"{name}\" is not a text")));
        }
    }
    if let Some(path) = plain("path") {
        let keys = keys(path).map_err(of_deed)?;
        if let (Deed::SetAttribute, [attribute]) = (deed, keys.as_slice())
            && let Some(value) = args.get("value").filter(|value| is_plain(value))
        {
            sound(attribute, &value_for(attribute, value)).map_err(of_deed)?;
        }
    }
    if args
        .get("unique")
        .is_some_and(|unique| !unique.is_boolean())
    {
        return Err(of_deed("\"unique\" is neither true nor false".to_string()));
    }
    if let Some(level) = plain("level")
        && !["debug", "info", "warning", "error", "critical"].contains(&level)
    {
        return Err(of_deed(format!(
            "there is no level {}: there are debug, info, warning, error, critical",
            shown(level)
        )));
    }
    match (deed, plain("name")) {
        (Deed::AddTrait | Deed::RemoveTrait, Some(name)) => {
            let read = name.parse::<Trait>();
            read.map_err(|bad| of_deed(bad.to_string()))?;
        }
        (Deed::SetCapability | Deed::UnsetCapability, Some(name)) => {
            capability(name).map_err(of_deed)?;
        }
        (
            Deed::AddTrait
            | Deed::RemoveTrait
            | Deed::SetCapability
            | Deed::UnsetCapability
            | Deed::Fail
            | Deed::Log
            | Deed::SetAttribute
            | Deed::ExtendAttribute
            | Deed::DelAttribute,
            _,
        ) => {}
    }
    Ok(())
}

/// Nothing stands in braces in it.
fn is_plain(value: &Value) -> bool {
    let text = value.as_str().is_none_or(|text| !text.contains(['{', '}']));
    let list = value.as_array().into_iter().flatten();
    let object = value.as_object().into_iter().flat_map(Map::values);
    text && list.chain(object).all(is_plain)
}

/// `/extra/rack`, `extra/rack`, `extra.rack`; with a slash in it, dots belong to keys.
fn keys(path: &str) -> Result<Vec<&str>, String> {
    let bare = path.strip_prefix('/').unwrap_or(path);
    let separator = match path.contains('/') {
        true => '/',
        false => '.',
    };
    let mut keys: Vec<&str> = bare.split(separator).collect();
    if let ["properties", "root_device"] = keys.as_slice() {
        keys = Vec::from(["root_device"]);
    }
    if keys.len() > MAX_KEYS || keys.iter().any(|key| key.is_empty()) {
        return Err(format!("{} is no path: write extra/rack", shown(path)));
    }
    let Some((_, deep, _)) = ATTRIBUTES.iter().find(|(name, _, _)| *name == keys[0]) else {
        let all: Vec<&str> = ATTRIBUTES.iter().map(|(name, _, _)| *name).collect();
        return Err(format!(
            "rules cannot change {}: there are {} (traits have actions of their own)",
            shown(path),
            all.join(", ")
        ));
    };
    match (deep, keys.len()) {
        (true, 1) => Err(format!("{0} needs a key: {0}/rack", keys[0])),
        (true, _) | (false, 1) => Ok(keys),
        (false, _) => Err(format!("{} has no parts that rules can change", keys[0])),
    }
}

/// A number is a good name.
fn value_for(attribute: &str, value: &Value) -> Value {
    let is_text = ["name", "description", "resource_class", "owner", "lessee"];
    match value.is_number() && is_text.contains(&attribute) {
        true => value.to_string().into(),
        false => value.clone(),
    }
}

/// Whether the attribute can be this.
fn sound(attribute: &str, value: &Value) -> Result<(), String> {
    let patch = Map::from_iter([(attribute.to_string(), value.clone())]);
    let read = serde_json::from_value::<Patch>(Value::Object(patch));
    let said = |error: serde_json::Error| said(&error.to_string(), MAX_SAID);
    read.map(drop)
        .map_err(|error| format!("{attribute}: {}", said(error)))
}

fn capability(name: &str) -> Result<&str, String> {
    let good = !name.is_empty() && !name.contains([':', ',']) && !name.contains(char::is_control);
    match good {
        true => Ok(name),
        false => Err(format!(
            "{} is no name of a capability: no ':' and no ','",
            shown(name)
        )),
    }
}

/// Does it to the view of a node. What it says goes to `log`.
///
/// # Errors
/// Why it cannot be done, or what `fail` says.
pub(super) fn perform(
    action: &Action,
    inventory: &Value,
    node: &mut Value,
    log: &mut Vec<String>,
    steps: &mut u32,
) -> Result<(), String> {
    let deed = read(&action.op)?;
    let args = args_of(&action.args, &deed.signature())?;
    let over = {
        let scene = Scene {
            inventory,
            node,
            item: None,
        };
        items(action.each.as_ref(), scene)?
    };
    let items: Vec<Option<&Value>> = match &over {
        None => Vec::from([None]),
        Some(items) => items.iter().map(Some).collect(),
    };
    for item in items {
        let scene = Scene {
            inventory,
            node,
            item,
        };
        let fill =
            |(name, value): (&String, &Value)| Ok((name.clone(), text::fill(value, scene, true)?));
        let filled: Result<Args, String> = args.iter().map(fill).collect();
        let filled = filled.map_err(|why| format!("{}: {why}", deed.name()))?;
        step(steps, &filled)?;
        act(deed, &filled, node, log).map_err(|why| match deed {
            Deed::Fail => why,
            Deed::Log
            | Deed::SetAttribute
            | Deed::ExtendAttribute
            | Deed::DelAttribute
            | Deed::SetCapability
            | Deed::UnsetCapability
            | Deed::AddTrait
            | Deed::RemoveTrait => format!("{}: {why}", deed.name()),
        })?;
        bounded(node).map_err(|why| format!("{}: {why}", deed.name()))?;
    }
    Ok(())
}

/// What is put into itself doubles with each time.
fn bounded(node: &Value) -> Result<(), String> {
    let bytes = serde_json::to_vec(node).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_NODE_BYTES {
        return Err(format!(
            "what is said of the node has {bytes} bytes as JSON, at most {MAX_NODE_BYTES}"
        ));
    }
    match depth(node) > MAX_NODE_DEPTH {
        true => Err(format!(
            "more than {MAX_NODE_DEPTH} lists and objects inside each other"
        )),
        false => Ok(()),
    }
}

fn act(deed: Deed, args: &Args, node: &mut Value, log: &mut Vec<String>) -> Result<(), String> {
    let none = Value::Null;
    let arg = |name: &str| args.get(name).unwrap_or(&none);
    let text = |name: &str| words(arg(name));
    let of_trait = || -> Result<Value, String> {
        let name = text("name")?.parse::<Trait>();
        let name = name.map_err(|bad| bad.to_string())?;
        Ok(name.as_str().into())
    };
    match deed {
        Deed::Fail => Err(said(&text("msg")?, MAX_SAID)),
        Deed::Log => {
            log.push(said(&text("msg")?, MAX_SAID));
            Ok(())
        }
        Deed::SetAttribute => {
            let path = text("path")?;
            let keys = keys(&path)?;
            let value = value_for(keys[0], arg("value"));
            if keys.len() == 1 {
                sound(keys[0], &value)?;
            }
            *place(node, &keys)? = value;
            Ok(())
        }
        Deed::ExtendAttribute => {
            let path = text("path")?;
            let keys = keys(&path)?;
            let at = place(node, &keys)?;
            let mut list = match (at.as_array(), at.is_null()) {
                (Some(list), _) => list.clone(),
                (None, true) => Vec::new(),
                (None, false) => return Err(format!("{} is no list", shown(&path))),
            };
            let value = arg("value");
            let unique = arg("unique") == &Value::Bool(true);
            if !(unique && list.contains(value)) {
                list.push(value.clone());
            }
            if list.len() > MAX_LIST {
                return Err(format!(
                    "{} would have more than {MAX_LIST} things",
                    shown(&path)
                ));
            }
            let list = Value::Array(list);
            if keys.len() == 1 {
                sound(keys[0], &list)?;
            }
            *at = list;
            Ok(())
        }
        Deed::DelAttribute => {
            let path = text("path")?;
            let keys = keys(&path)?;
            let (last, before) = keys.split_last().ok_or("an empty path")?;
            let found = before
                .iter()
                .try_fold(node, |value, key| value.get_mut(*key));
            if let Some(object) = found.and_then(Value::as_object_mut) {
                object.remove(*last);
            }
            Ok(())
        }
        Deed::SetCapability => {
            let (name, value) = (text("name")?, text("value")?);
            if value.contains(',') || value.contains(char::is_control) {
                return Err(format!("{} is no value of a capability", shown(&value)));
            }
            capabilities(node, capability(&name)?, Some(&value))
        }
        Deed::UnsetCapability => capabilities(node, capability(&text("name")?)?, None),
        Deed::AddTrait => {
            let wanted = of_trait()?;
            let traits = list_of(node, "traits");
            if !traits.contains(&wanted) {
                traits.push(wanted);
            }
            match traits.len() {
                ..=MAX_LIST => Ok(()),
                count => Err(format!("{count} traits")),
            }
        }
        Deed::RemoveTrait => {
            let gone = of_trait()?;
            list_of(node, "traits").retain(|one| *one != gone);
            Ok(())
        }
    }
}

/// Where a path leads; what is missing on the way is made.
fn place<'a>(node: &'a mut Value, keys: &[&str]) -> Result<&'a mut Value, String> {
    keys.iter().try_fold(node, |value, key| {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let object = value
            .as_object_mut()
            .ok_or_else(|| format!("{} has something else on its way", shown(&keys.join("/"))))?;
        Ok(object.entry(key.to_string()).or_insert(Value::Null))
    })
}

fn list_of<'a>(node: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let at = &mut node[key];
    if !at.is_array() {
        *at = Value::Array(Vec::new());
    }
    at.as_array_mut().expect("it has just been made a list")
}

/// `boot_mode:uefi,cpu_vt:true`, as Ironic has them.
fn capabilities(node: &mut Value, name: &str, value: Option<&str>) -> Result<(), String> {
    let at = place(node, &["properties", "capabilities"])?;
    let present = at.as_str().unwrap_or_default();
    let is_other = |one: &&str| one.split(':').next() != Some(name) && !one.is_empty();
    let mut all: Vec<String> = present
        .split(',')
        .filter(is_other)
        .map(ToString::to_string)
        .collect();
    all.extend(value.map(|value| format!("{name}:{value}")));
    *at = match all.is_empty() {
        true => Value::Null,
        false => all.join(",").into(),
    };
    Ok(())
}
