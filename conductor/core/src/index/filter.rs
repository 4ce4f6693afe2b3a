//! Which nodes a list is to have: conditions such as `state=active` and `bmc!=10.0.0.*`, and the table of what they may speak of.
//! `node.list` has their text; the worker hands in the entries, and who looks after each.
use super::entry::Entry;
use crate::id::WorkerId;
use crate::node::{HardwareFault, JobKind, Names, Rest};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Display;
use ironbeat_common::id::NodeId;

/// A list is one person's question: more conditions than there are keys say nothing new.
const MAX_CONDITIONS: usize = 32;
/// Longer than every value that is compared, but for errors.
const MAX_VALUE_CHARS: usize = 256;

/// All nodes, or those that fit every one of some conditions.
#[derive(Clone, Debug, Default)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    key: &'static Key,
    /// `!=`
    is_not: bool,
    /// Of a key with words: folded.
    pattern: Vec<char>,
}

/// What a filter looks at of a node.
#[derive(Clone, Copy)]
pub struct Looked<'a> {
    pub entry: &'a Entry,
    /// Which worker looks after a node. It is asked only by a condition that needs it.
    pub owner: &'a dyn Fn(NodeId) -> Option<WorkerId>,
}

/// Takes each value that a node has under a key: none, one or several.
type Say<'a> = &'a mut dyn FnMut(&dyn Display);

/// One row of the table: what may stand to the left of `=`.
pub struct Key {
    pub name: &'static str,
    pub about: &'static str,
    values: Values,
    of: fn(Looked<'_>, Say<'_>),
}

/// What may stand to the right of `=`.
enum Values {
    /// Anything, compared without regard to the case of ASCII letters.
    Text,
    /// One of these; whatever else is typed would be a mistake. Spaces, `-` and `_` are the same, since spaces need quotes.
    Words(fn() -> Vec<String>),
}

pub const KEYS: &[Key] = &[
    Key {
        name: "id",
        about: "its id",
        values: Values::Text,
        of: |node, say| say(&node.entry.id),
    },
    Key {
        name: "name",
        about: "its name",
        values: Values::Text,
        of: |node, say| each(&node.entry.name, say),
    },
    Key {
        name: "state",
        about: "Ironic's provision state; `failed` is every state that a failure led to, `busy` every other that is left by itself",
        values: Values::Words(states),
        of: |node, say| {
            say(&node.entry.provision_state);
            match node.entry.rest {
                None => say(&BUSY),
                Some(rest) if rest.is_failure() => say(&FAILED),
                Some(_) => {}
            }
        },
    },
    Key {
        name: "target",
        about: "the state that a busy or failed node is headed for",
        values: Values::Words(|| Rest::ALL.iter().map(|rest| rest.name().into()).collect()),
        of: |node, say| each(&node.entry.target_provision_state, say),
    },
    Key {
        name: "job",
        about: "what is under way; `none` of a node at rest",
        values: Values::Words(jobs),
        of: |node, say| say(&node.entry.job_name().unwrap_or(NONE)),
    },
    Key {
        name: "power",
        about: "whether the machine is on, as far as it is known",
        values: Values::Words(|| [ON, OFF, UNKNOWN].map(String::from).to_vec()),
        of: |node, say| {
            say(&match &node.entry.power {
                Some(power) if power.on => ON,
                Some(_) => OFF,
                None => UNKNOWN,
            });
        },
    },
    Key {
        name: "maintenance",
        about: "whether it is in maintenance",
        values: Values::Words(yes_no),
        of: |node, say| say(&yes(node.entry.maintenance.is_some())),
    },
    Key {
        name: "fault",
        about: "why it is in maintenance by itself",
        values: Values::Words(|| {
            let faults = [
                HardwareFault::Power,
                HardwareFault::Clean,
                HardwareFault::Service,
            ];
            let named = faults.map(fault_name).into_iter().chain([NONE]);
            named.map(Into::into).collect()
        }),
        of: |node, say| {
            let maintenance = node.entry.maintenance.as_ref();
            let fault = maintenance.and_then(|maintenance| maintenance.fault);
            say(&fault.map_or(NONE, fault_name));
        },
    },
    Key {
        name: "worker",
        about: "the worker that looks after it",
        values: Values::Text,
        of: |node, say| each(&(node.owner)(node.entry.id), say),
    },
    Key {
        name: "bmc",
        about: "its BMC's address, with or without the port",
        values: Values::Text,
        of: |node, say| {
            say(&node.entry.bmc);
            say(node.entry.bmc.host());
        },
    },
    Key {
        name: "mac",
        about: "a MAC address of the machine",
        values: Values::Text,
        of: |node, say| each(&node.entry.macs, say),
    },
    Key {
        name: "uuid",
        about: "the machine's SMBIOS UUID",
        values: Values::Text,
        of: |node, say| each(&node.entry.system_uuid, say),
    },
    Key {
        name: "serial",
        about: "the machine's serial number",
        values: Values::Text,
        of: |node, say| each(&node.entry.serial, say),
    },
    Key {
        name: "class",
        about: "its resource class",
        values: Values::Text,
        of: |node, say| each(&node.entry.resource_class, say),
    },
    Key {
        name: "trait",
        about: "a trait that it has",
        values: Values::Text,
        of: |node, say| each(&node.entry.traits, say),
    },
    Key {
        name: "owner",
        about: "whose machine it is",
        values: Values::Text,
        of: |node, say| each(&node.entry.owner, say),
    },
    Key {
        name: "lessee",
        about: "who uses it by leave of the owner",
        values: Values::Text,
        of: |node, say| each(&node.entry.lessee, say),
    },
    Key {
        name: "allocation",
        about: "the id of the allocation that has it: `allocation=*` is any, `allocation!=*` none",
        values: Values::Text,
        of: |node, say| each(&node.entry.allocation, say),
    },
    Key {
        name: "protected",
        about: "whether its instance is protected",
        values: Values::Words(yes_no),
        of: |node, say| say(&yes(node.entry.protected)),
    },
    Key {
        name: "retired",
        about: "whether it is retired",
        values: Values::Words(yes_no),
        of: |node, say| say(&yes(node.entry.retired)),
    },
    Key {
        name: "error",
        about: "what its last job or its BMC failed at: `error=*` is any, `error!=*` none",
        values: Values::Text,
        of: |node, say| {
            each(&node.entry.last_error, say);
            each(&node.entry.bmc_error, say);
        },
    },
];

const BUSY: &str = "busy";
const FAILED: &str = "failed";
const NONE: &str = "none";
const ON: &str = "on";
const OFF: &str = "off";
const UNKNOWN: &str = "unknown";

fn each<'a, T: Display + 'a>(values: impl IntoIterator<Item = &'a T>, say: Say<'_>) {
    for value in values {
        say(value);
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn yes_no() -> Vec<String> {
    [true, false].map(|is| String::from(yes(is))).to_vec()
}

fn fault_name(fault: HardwareFault) -> &'static str {
    match fault {
        HardwareFault::Power => "power failure",
        HardwareFault::Clean => "clean failure",
        HardwareFault::Service => "service failure",
    }
}

fn states() -> Vec<String> {
    let of_job = |kind: &JobKind| kind.spec().names;
    let busy = JobKind::ALL.iter().filter_map(of_job).flat_map(names);
    let resting = Rest::ALL.iter().map(|rest| rest.name());
    let mut all: Vec<String> = Vec::new();
    for name in resting.chain(busy).chain([FAILED, BUSY]) {
        if !all.iter().any(|known| known == name) {
            all.push(name.into());
        }
    }
    all
}

fn names(names: Names) -> impl Iterator<Item = &'static str> {
    [Some(names.doing), Some(names.waiting), names.holding]
        .into_iter()
        .flatten()
}

/// A cleaning of named steps is a cleaning: an entry does not tell them apart.
fn job_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Verify => "verify",
        JobKind::Inspect => "inspect",
        JobKind::Adopt => "adopt",
        JobKind::Deploy => "deploy",
        JobKind::Delete => "delete",
        JobKind::Clean | JobKind::ManualClean => "clean",
        JobKind::Service => "service",
        JobKind::Rescue => "rescue",
        JobKind::Unrescue => "unrescue",
        JobKind::Bmc => "bmc",
    }
}

fn jobs() -> Vec<String> {
    let kinds = JobKind::ALL.iter().filter(|kind| kind.line() == **kind);
    let named = kinds.map(|kind| job_name(*kind)).chain([NONE]);
    named.map(Into::into).collect()
}

impl Entry {
    /// The kind of job under way, as its state names it; a cleaning of named steps is [`JobKind::Clean`]. None: it rests.
    pub fn job(&self) -> Option<JobKind> {
        if self.rest.is_some() {
            return None;
        }
        let is_named = |kind: &&JobKind| {
            let spec = kind.spec().names;
            spec.is_some_and(|spec| names(spec).any(|name| name == self.provision_state))
        };
        let named = JobKind::ALL.iter().find(is_named);
        Some(named.map_or(JobKind::Bmc, |kind| kind.line()))
    }

    /// The same as a word of filters and lists.
    pub fn job_name(&self) -> Option<&'static str> {
        self.job().map(job_name)
    }
}

/// A condition that cannot be understood, and what there is instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFilter(String);

impl Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for BadFilter {}

impl Filter {
    /// Of conditions `key=value` and `key!=value`. In a value `*` stands for any characters and `?` for one.
    ///
    /// # Errors
    /// Names the condition, and the keys or values that there are.
    pub fn parse<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Result<Self, BadFilter> {
        let mut all = Vec::new();
        for text in conditions {
            if all.len() == MAX_CONDITIONS {
                let why = format!("a filter has at most {MAX_CONDITIONS} conditions");
                return Err(BadFilter(why));
            }
            all.push(Condition::parse(text)?);
        }
        Ok(Self(all))
    }

    /// Whether a node fits all conditions.
    pub fn fits(&self, node: Looked<'_>) -> bool {
        self.0.iter().all(|condition| condition.fits(node))
    }
}

impl Key {
    /// All that it can be, where not any text is a value.
    pub fn words(&self) -> Option<Vec<String>> {
        match self.values {
            Values::Text => None,
            Values::Words(words) => Some(words()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, BadFilter> {
        let Some((key, value)) = text.split_once('=') else {
            let why = format!(
                "{:?} is no condition: write key=value, or key!=value",
                cut(text)
            );
            return Err(BadFilter(why));
        };
        let (name, is_not) = match key.strip_suffix('!') {
            Some(key) => (key.trim(), true),
            None => (key.trim(), false),
        };
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            let (name, known) = (cut(name), known.join(", "));
            let why = format!("nodes are not filtered by {name:?}: there are {known}");
            return Err(BadFilter(why));
        };
        let value = value.trim();
        if value.chars().count() > MAX_VALUE_CHARS {
            let why = format!("the value of {name} is longer than {MAX_VALUE_CHARS} characters");
            return Err(BadFilter(why));
        }
        let pattern: Vec<char> = value.chars().map(key.values.fold()).collect();
        if let Values::Words(words) = key.values {
            let words = words();
            let is_one = |word: &String| matches(&pattern, word, key.values.fold());
            if !words.iter().any(is_one) {
                let words = words.join(", ");
                let why = format!("{name} cannot be {value:?}: it is one of {words}");
                return Err(BadFilter(why));
            }
        }
        Ok(Self {
            key,
            is_not,
            pattern,
        })
    }

    fn fits(&self, node: Looked<'_>) -> bool {
        let mut is = false;
        let fold = self.key.values.fold();
        (self.key.of)(node, &mut |value| {
            is = is || matches(&self.pattern, &value.to_string(), fold);
        });
        is != self.is_not
    }
}

impl Values {
    /// What makes characters alike.
    fn fold(&self) -> fn(char) -> char {
        match self {
            Values::Text => |c| c.to_ascii_lowercase(),
            Values::Words(_) => |c| match c {
                ' ' | '_' => '-',
                c => c.to_ascii_lowercase(),
            },
        }
    }
}

/// Of what somebody typed, in an error.
fn cut(text: &str) -> String {
    text.chars().take(MAX_VALUE_CHARS).collect()
}

/// Whether a text is what a pattern says, in a time that grows with the product of their lengths at most: a `*` that took too
/// little takes one more, and none before it needs to.
fn matches(pattern: &[char], text: &str, fold: fn(char) -> char) -> bool {
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut p, mut t) = (0, 0);
    // Behind the last `*`, and where in the text it ended.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((behind, end)) => {
                    star = Some((behind, end + 1));
                    (p, t) = (behind, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
