//! Documents that operators write and keep under a name: runbooks, deploy templates. What is alike in all of them.
//! The conductor stores them; `runbook` and `template` say what is in them.
use crate::id::OpId;
use crate::policy::Policy;
use crate::time::Time;
use alloc::format;
use alloc::string::String;
use core::fmt::{Debug, Display};
use core::str::FromStr;
use ironbeat_common::id::KeptId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the documents.
pub const SCHEMA: u32 = 1;
/// As of a node (Ironic).
const MAX_DESCRIPTION: usize = 4096;

/// One document as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept<T> {
    pub schema: u32,
    pub id: KeptId,
    pub text: T,
    pub created: Time,
    pub updated: Time,
    /// The write that made this revision.
    pub op: OpId,
}

/// What its author says.
pub trait Text:
    Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static
{
    /// First token of its keys, and the word for it: "runbook".
    const KIND: &'static str;
    type Name: FromStr<Err: Display> + Display + PartialEq;

    /// No two documents of a kind have the same.
    fn name(&self) -> &Self::Name;

    /// # Errors
    /// What is wrong with it.
    fn check(&self, policy: &Policy) -> Result<(), String>;
}

pub(crate) fn check_length(what: &str, text: Option<&str>, most: usize) -> Result<(), String> {
    match text {
        Some(text) if text.chars().count() > most => {
            Err(format!("the {what} is longer than {most} characters"))
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn check_description(text: Option<&str>) -> Result<(), String> {
    check_length("description", text, MAX_DESCRIPTION)
}
