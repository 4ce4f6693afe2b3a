//! Traits: words for what a machine can do, by which an allocation chooses among nodes.
//! `decide` says when they change; what a trait means is left to those who ask for it.
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use ironbeat_common::id::BadId;
use ironbeat_common::text_form;

/// Traits of one node, as Ironic bounds them.
pub const MAX_TRAITS: usize = 50;
/// As Ironic bounds them: a column of its database.
pub const MAX_TRAIT_BYTES: usize = 255;

/// `HW_CPU_X86_VMX`, `CUSTOM_GPU`. Ironic takes those of os-traits and those that begin with `CUSTOM_`; here the list of the
/// standard ones is open, so that no release of ours is needed for a new one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trait(String);

impl Trait {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Trait {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let begins = s.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        match begins && s.len() <= MAX_TRAIT_BYTES && s.bytes().all(fits) {
            true => Ok(Self(s.to_string())),
            false => Err(BadId::new(
                "trait (capital letters, digits and '_', a letter first, at most 255)",
                s,
            )),
        }
    }
}

impl fmt::Display for Trait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_form!(Trait);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trait_is_written_as_os_traits_writes_them() {
        for good in ["CUSTOM_GPU", "HW_CPU_X86_VMX", "A", &"X".repeat(255)] {
            assert_eq!(good.parse::<Trait>().unwrap().as_str(), good);
        }
        for bad in ["", "gpu", "_A", "1A", "A-B", "A B", "Ä", &"X".repeat(256)] {
            assert!(bad.parse::<Trait>().is_err(), "{bad}");
        }
    }
}
