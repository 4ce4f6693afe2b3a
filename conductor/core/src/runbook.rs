//! Runbooks: named steps that are kept, for a manual cleaning or a service of the nodes that they are for.
//! The conductor stores them and hands a job their steps; `manual` makes the plan.
use crate::id::RunbookName;
use crate::kept::{Text, check_description, check_length};
use crate::manual::{self, Wish};
use crate::named::NamedStep;
use crate::node::{JobKind, Node, Trait};
use crate::policy::Policy;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

const MAX_OWNER: usize = 255;
const MAX_TRAITS: usize = 50;

/// One runbook, as its author says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    pub name: RunbookName,
    /// For people; at most 4,096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// It is for nodes with one of these; empty: for any (Ironic 1.112).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// Unless it is public, it is for nodes of the same owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub public: bool,
    /// In this order; from 1 to 64.
    pub steps: Vec<NamedStep>,
    /// The ramdisk is not booted: only steps that need none, and what was on stays on.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub disable_ramdisk: bool,
}

impl Runbook {
    pub fn wish(&self) -> Wish {
        Wish {
            steps: self.steps.clone(),
            disable_ramdisk: self.disable_ramdisk,
            runbook: Some(self.name.clone()),
        }
    }

    /// # Errors
    /// Why it is not for this node.
    pub fn fits(&self, node: &Node) -> Result<(), String> {
        let has = |wanted: &Trait| node.traits.contains(wanted);
        if !self.traits.is_empty() && !self.traits.iter().any(has) {
            let all: Vec<String> = self.traits.iter().map(ToString::to_string).collect();
            let (name, all) = (&self.name, all.join(", "));
            return Err(format!(
                "runbook {name} is for nodes with one of the traits {all}"
            ));
        }
        match &self.owner {
            Some(owner) if !self.public && node.owner.as_ref() != Some(owner) => {
                let name = &self.name;
                Err(format!("runbook {name} is for nodes of the owner {owner}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Text for Runbook {
    const KIND: &'static str = "runbook";
    type Name = RunbookName;

    fn name(&self) -> &RunbookName {
        &self.name
    }

    /// Whether somebody could use it at all: for a cleaning, if not for a service.
    fn check(&self, policy: &Policy) -> Result<(), String> {
        check_description(self.description.as_deref())?;
        check_length("owner", self.owner.as_deref(), MAX_OWNER)?;
        if self.traits.len() > MAX_TRAITS {
            let count = self.traits.len();
            return Err(format!("{count} traits, at most {MAX_TRAITS}"));
        }
        manual::steps(JobKind::ManualClean, &self.wish(), policy).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::enrolled;

    fn text(more: &str) -> Runbook {
        let json = format!(r#"{{"name":"burn-in","steps":[{{"step":"inspect"}}]{more}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_runbook_is_for_nodes_with_one_of_its_traits_and_of_its_owner() {
        let mut node = enrolled();
        node.traits = ["CUSTOM_GPU"].map(|name| name.parse().unwrap()).into();
        node.owner = Some("a".into());
        for (more, why) in [
            ("", None),
            (r#","traits":["CUSTOM_FPGA","CUSTOM_GPU"]"#, None),
            (r#","traits":["CUSTOM_FPGA"]"#, Some("CUSTOM_FPGA")),
            (r#","owner":"a""#, None),
            (r#","owner":"b""#, Some("of the owner b")),
            (r#","owner":"b","public":true"#, None),
        ] {
            match (text(more).fits(&node), why) {
                (Ok(()), None) => {}
                (Err(said), Some(why)) => assert!(said.contains(why), "{said}"),
                (said, _) => panic!("{more}: {said:?}"),
            }
        }
    }

    #[test]
    fn a_runbook_that_nobody_could_use_is_refused() {
        let policy = Policy::default();
        assert_eq!(text("").check(&policy), Ok(()));
        let mut many = text("");
        many.steps.clear();
        assert!(many.check(&policy).unwrap_err().contains("0 steps"));
        let without = text(r#","disable_ramdisk":true"#).check(&policy);
        assert!(without.unwrap_err().contains("disable_ramdisk"));
        let mut long = text("");
        long.description = Some("x".repeat(4097));
        assert!(long.check(&policy).unwrap_err().contains("4096"));
    }
}
