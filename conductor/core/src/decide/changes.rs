//! How a change to a node's description is worked out: what is after it, and the words for it.
//! `set` and `profile` say which fields there are.
use super::answer::Rejected;
use crate::patch::{Clear, Patch};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

/// In words, for the audit: `name (box1 → box2)`.
pub(super) struct Changes(pub Vec<String>);

impl Changes {
    pub fn of<T: PartialEq>(
        &mut self,
        what: &str,
        before: &T,
        after: &T,
        show: impl Fn(&T) -> String,
    ) {
        if before != after {
            self.0
                .push(format!("{what} ({} → {})", show(before), show(after)));
        }
    }

    /// What is too long to show, or secret.
    pub fn hidden(&mut self, what: &str, differs: bool) {
        if differs {
            self.0.push(what.into());
        }
    }
}

pub(super) fn or_none<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".into(), T::to_string)
}

pub(super) fn on_off(on: &Option<bool>) -> String {
    match on {
        None => "none",
        Some(true) => "on",
        Some(false) => "off",
    }
    .into()
}

pub(super) fn invalid(why: impl Into<String>) -> Rejected {
    Rejected::Invalid { why: why.into() }
}

/// The value after a patch that may give it or clear it.
pub(super) fn after<T: Clone>(
    patch: &Patch,
    what: Clear,
    given: Option<&T>,
    before: &Option<T>,
) -> Result<Option<T>, Rejected> {
    match (patch.clear.contains(&what), given) {
        (true, Some(_)) => Err(invalid(format!(
            "the {} is both given and cleared",
            what.name()
        ))),
        (true, None) => Ok(None),
        (false, Some(given)) => Ok(Some(given.clone())),
        (false, None) => Ok(before.clone()),
    }
}
