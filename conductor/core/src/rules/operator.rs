//! The operators of conditions: Ironic's, and three more of the same kind.
//! `text` puts values in their place; a regular expression takes time in proportion to its text, whatever either is.
use super::text::{self, Scene, words};
use super::{Args, Condition, Multiple, Signature, args_of, check_loop, shown};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::IpAddr;
use core::str::FromStr;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Bytes of a regular expression as it is written.
const MAX_REGEX: usize = 1024;
/// Bytes of one as it is compiled.
const MAX_COMPILED: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    IsEmpty,
    IsNone,
    IsTrue,
    IsFalse,
    InNet,
    Matches,
    Contains,
    OneOf,
}

impl Operator {
    pub const ALL: [Operator; 14] = [
        Operator::Eq,
        Operator::Ne,
        Operator::Lt,
        Operator::Le,
        Operator::Gt,
        Operator::Ge,
        Operator::IsEmpty,
        Operator::IsNone,
        Operator::IsTrue,
        Operator::IsFalse,
        Operator::InNet,
        Operator::Matches,
        Operator::Contains,
        Operator::OneOf,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Operator::Eq => "eq",
            Operator::Ne => "ne",
            Operator::Lt => "lt",
            Operator::Le => "le",
            Operator::Gt => "gt",
            Operator::Ge => "ge",
            Operator::IsEmpty => "is-empty",
            Operator::IsNone => "is-none",
            Operator::IsTrue => "is-true",
            Operator::IsFalse => "is-false",
            Operator::InNet => "in-net",
            Operator::Matches => "matches",
            Operator::Contains => "contains",
            Operator::OneOf => "one-of",
        }
    }

    /// When it holds.
    pub fn about(self) -> &'static str {
        match self {
            Operator::Eq => {
                "Each of `values` is the next one; a number is a text that reads as the same number."
            }
            Operator::Ne => "Each of `values` is another than the next one.",
            Operator::Lt => {
                "Each of `values` is less than the next one: as numbers where both are, else as texts."
            }
            Operator::Le => "Less or the same.",
            Operator::Gt => "Greater.",
            Operator::Ge => "Greater or the same.",
            Operator::IsEmpty => "`value` is not there, or is an empty text, list or object.",
            Operator::IsNone => "`value` is not there.",
            Operator::IsTrue => "`value` is true, a number but 0, `yes` or `true`.",
            Operator::IsFalse => "`value` is not there, false, 0, `no` or `false`.",
            Operator::InNet => {
                "`address`, with or without a prefix length, is one of `subnet`: `10.0.0.0/8`, `fd00::/8`."
            }
            Operator::Matches => {
                "The regular expression `regex` fits all of `value`; of a list, one of its things."
            }
            Operator::Contains => {
                "`regex` fits a part of `value`; of a list, of one of its things."
            }
            Operator::OneOf => "`value` is one of `values`.",
        }
    }

    pub fn signature(self) -> Signature {
        let (required, optional): (&[&str], &[&str]) = match self {
            Operator::Eq
            | Operator::Ne
            | Operator::Lt
            | Operator::Le
            | Operator::Gt
            | Operator::Ge => (&["values"], &["force_strings"]),
            Operator::IsEmpty | Operator::IsNone | Operator::IsTrue | Operator::IsFalse => {
                (&["value"], &[])
            }
            Operator::InNet => (&["address", "subnet"], &[]),
            Operator::Matches | Operator::Contains => (&["value", "regex"], &[]),
            Operator::OneOf => (&["value", "values"], &[]),
        };
        Signature { required, optional }
    }
}

/// `!eq`: whether it is inverted, and what.
fn read(op: &str) -> Result<(bool, Operator), String> {
    let name = op.trim_start();
    let (inverted, name) = match name.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, name),
    };
    let found = Operator::ALL.into_iter().find(|one| one.name() == name);
    let found = found.ok_or_else(|| {
        let all: Vec<&str> = Operator::ALL.into_iter().map(Operator::name).collect();
        format!(
            "there is no operator {}: there are {}, each with ! before it for the opposite",
            shown(name),
            all.join(", ")
        )
    })?;
    Ok((inverted, found))
}

pub(super) fn check(condition: &Condition) -> Result<(), String> {
    let (_, op) = read(&condition.op)?;
    let of_op = |why: String| format!("{}: {why}", op.name());
    let args = args_of(&condition.args, &op.signature()).map_err(of_op)?;
    check_loop(condition.each.as_ref()).map_err(of_op)?;
    let in_loop = condition.each.is_some();
    for (name, value) in &args {
        if name != "regex" {
            text::check(value, in_loop).map_err(of_op)?;
        }
    }
    if let Some(values) = args.get("values") {
        let is_list = values.is_array() || values.as_str().is_some_and(text::is_reference);
        if !is_list {
            return Err(of_op("\"values\" is not a list".to_string()));
        }
        let few = values.as_array().is_some_and(|list| list.len() < 2);
        if few && op != Operator::OneOf {
            return Err(of_op("\"values\" are fewer than two".to_string()));
        }
    }
    if args
        .get("force_strings")
        .is_some_and(|force| !force.is_boolean())
    {
        return Err(of_op(
            "\"force_strings\" is neither true nor false".to_string(),
        ));
    }
    if let Some(subnet) = args.get("subnet") {
        let text = subnet.as_str().unwrap_or_default();
        if !text.contains('{') {
            text.parse::<Network>().map_err(of_op)?;
        }
    }
    expression(op, &args).map_err(of_op)?;
    Ok(())
}

/// What it looks for: always as it is written, so that it is compiled once for all things of a loop.
fn expression(op: Operator, args: &Args) -> Result<Option<Regex>, String> {
    let Some(given) = args.get("regex") else {
        return Ok(None);
    };
    let text = given
        .as_str()
        .ok_or_else(|| "\"regex\" is not a text".to_string())?;
    if text.len() > MAX_REGEX {
        return Err(format!(
            "\"regex\" has {} bytes, at most {MAX_REGEX}",
            text.len()
        ));
    }
    let whole = match op == Operator::Matches {
        true => format!("^(?:{text})$"),
        false => text.to_string(),
    };
    let mut builder = RegexBuilder::new(&whole);
    let built = builder.size_limit(MAX_COMPILED).nest_limit(50).build();
    // Of a broken one the message has lines that point at the place.
    built.map(Some).map_err(|error| {
        let why = error.to_string();
        let last = why.lines().last().unwrap_or_default();
        format!("regular expression: {last}")
    })
}

/// Whether it holds. `steps` is what may yet be looked at.
pub(super) fn holds(
    condition: &Condition,
    scene: Scene<'_>,
    steps: &mut u32,
) -> Result<bool, String> {
    let (inverted, op) = read(&condition.op)?;
    let args = args_of(&condition.args, &op.signature())?;
    let regex = expression(op, &args)?;
    let mut one = |scene: Scene<'_>| -> Result<bool, String> {
        let args = filled(&args, scene)?;
        step(steps, &args)?;
        Ok(test(op, &args, regex.as_ref(), scene.item.is_some())? != inverted)
    };
    let Some(items) = items(condition.each.as_ref(), scene)? else {
        return one(scene);
    };
    let mut found = Vec::with_capacity(items.len());
    for item in &items {
        let scene = Scene {
            item: Some(item),
            ..scene
        };
        found.push(one(scene)?);
    }
    Ok(match condition.multiple {
        Multiple::Any => found.contains(&true),
        Multiple::All => !found.contains(&false),
        Multiple::First => found.first() == Some(&true),
        Multiple::Last => found.last() == Some(&true),
    })
}

/// Counts one condition or action, and what it looks at if that is much: an inventory may have a thousand things.
///
/// # Errors
/// When all rules together have done too much.
pub(super) fn step(steps: &mut u32, args: &Args) -> Result<(), String> {
    let weight: usize = args.values().map(weight).sum();
    let cost = u32::try_from(1 + weight / 64).unwrap_or(u32::MAX);
    *steps = steps
        .checked_sub(cost)
        .ok_or_else(|| "the rules go over too many things".to_string())?;
    Ok(())
}

fn weight(value: &Value) -> usize {
    let text = value.as_str().map_or(0, str::len) / 64;
    let list = value.as_array().into_iter().flatten();
    let object = value
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::values);
    1 + text + list.chain(object).map(weight).sum::<usize>()
}

fn filled(args: &Args, scene: Scene<'_>) -> Result<Args, String> {
    let one = |(name, value): (&String, &Value)| {
        let value = match name.as_str() {
            "regex" => value.clone(),
            _ => text::fill(value, scene, false)?,
        };
        Ok((name.clone(), value))
    };
    args.iter().map(one).collect()
}

/// What a loop goes over. None: there is no loop.
pub(super) fn items(each: Option<&Value>, scene: Scene<'_>) -> Result<Option<Vec<Value>>, String> {
    let Some(each) = each else { return Ok(None) };
    let over = text::fill(each, scene, false)?;
    Ok(Some(if let Some(list) = over.as_array() {
        list.clone()
    } else if over.is_null() {
        Vec::new()
    } else {
        Vec::from([over])
    }))
}

fn test(op: Operator, args: &Args, regex: Option<&Regex>, in_loop: bool) -> Result<bool, String> {
    let none = Value::Null;
    let arg = |name: &str| args.get(name).unwrap_or(&none);
    let value = arg("value");
    let force = arg("force_strings") == &Value::Bool(true) || in_loop;
    let ordered = |fits: fn(Ordering) -> bool| -> Result<bool, String> {
        each_pair(arg("values"), |a, b| {
            Ok(order(a, b, force)?.is_some_and(fits))
        })
    };
    match op {
        Operator::Eq => each_pair(arg("values"), |a, b| same(a, b, force)),
        Operator::Ne => each_pair(arg("values"), |a, b| Ok(!same(a, b, force)?)),
        Operator::Lt => ordered(Ordering::is_lt),
        Operator::Le => ordered(Ordering::is_le),
        Operator::Gt => ordered(Ordering::is_gt),
        Operator::Ge => ordered(Ordering::is_ge),
        Operator::IsEmpty => Ok(is_empty(value)),
        Operator::IsNone => Ok(value.is_null()),
        Operator::IsTrue => Ok(truth(value) == Some(true)),
        Operator::IsFalse => Ok(value.is_null() || truth(value) == Some(false)),
        Operator::InNet => {
            let subnet: Network = words(arg("subnet"))?.parse()?;
            let address = words(arg("address"))?;
            let (address, _) = address.split_once('/').unwrap_or((&address, ""));
            let address = address.parse::<IpAddr>();
            Ok(address.is_ok_and(|address| subnet.contains(address)))
        }
        Operator::Matches | Operator::Contains => {
            let fits = |one: &Value| -> Result<bool, String> {
                let text = match one.is_null() {
                    true => String::new(),
                    false => words(one)?,
                };
                Ok(regex.is_some_and(|regex| regex.is_match(&text)))
            };
            let Some(list) = value.as_array() else {
                return fits(value);
            };
            for one in list {
                if fits(one)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Operator::OneOf => {
            let Some(list) = arg("values").as_array() else {
                return Ok(false);
            };
            for one in list {
                if same(value, one, force)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

fn each_pair(
    values: &Value,
    holds: impl Fn(&Value, &Value) -> Result<bool, String>,
) -> Result<bool, String> {
    let Some(values) = values.as_array() else {
        return Ok(false);
    };
    for (one, next) in values.iter().zip(values.iter().skip(1)) {
        if !holds(one, next)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_str().is_some_and(str::is_empty)
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn truth(value: &Value) -> Option<bool> {
    if let Some(number) = value.as_f64() {
        return Some(number != 0.0);
    }
    let of_text = |text: &str| match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    };
    value.as_bool().or_else(|| value.as_str().and_then(of_text))
}

fn number(value: &Value) -> Option<f64> {
    let text = value.as_str().map(str::trim);
    let number = match text {
        Some(text) => text.parse().ok(),
        None => value.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite())
}

fn whole(value: &Value) -> Option<i128> {
    let of_text = || value.as_str()?.trim().parse().ok();
    let unsigned = || value.as_u64().map(i128::from);
    unsigned()
        .or_else(|| value.as_i64().map(i128::from))
        .or_else(of_text)
}

fn same(a: &Value, b: &Value, force: bool) -> Result<bool, String> {
    if a == b {
        return Ok(true);
    }
    let both_text = a.is_string() && b.is_string();
    if !both_text && let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Ok(a == b);
    }
    if !both_text && let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a == b);
    }
    match force && !a.is_null() && !b.is_null() {
        true => Ok(words(a)? == words(b)?),
        false => Ok(false),
    }
}

/// None: they have none, as one is not there.
fn order(a: &Value, b: &Value, force: bool) -> Result<Option<Ordering>, String> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Ok(Some(a.cmp(&b)));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a.partial_cmp(&b));
    }
    let texts = a.is_string() && b.is_string();
    match texts || force && !a.is_null() && !b.is_null() {
        true => Ok(Some(words(a)?.cmp(&words(b)?))),
        false => Ok(None),
    }
}

/// Addresses that begin alike: `10.0.0.0/8`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((ours, kind), (theirs, other)) = (bits(self.address), bits(address));
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.prefix))
            .unwrap_or_default();
        kind == other && (ours ^ theirs) & mask == 0
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{} is no network: write it as 10.0.0.0/8 or fd00::/8",
                shown(text)
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.parse().map_err(|_| bad()))?;
        match prefix <= most {
            true => Ok(Self { address, prefix }),
            false => Err(bad()),
        }
    }
}
