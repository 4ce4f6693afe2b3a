//! Deploy templates: steps that a deploy does beside its own, wherever its instance asks for the trait of the same name.
//! The conductor stores them and hands a deploy their steps; `deploying` puts them in order.
use crate::deploying;
use crate::kept::{Text, check_description};
use crate::named::DeployStep;
use crate::node::Trait;
use crate::policy::Policy;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One template, as its author says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeployTemplate {
    /// Instances that ask for this trait are deployed with these steps.
    pub name: Trait,
    /// For people; at most 4,096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// From 1 to 64.
    pub steps: Vec<DeployStep>,
}

impl Text for DeployTemplate {
    const KIND: &'static str = "template";
    type Name = Trait;

    fn name(&self) -> &Trait {
        &self.name
    }

    fn check(&self, _: &Policy) -> Result<(), String> {
        check_description(self.description.as_deref())?;
        match self.steps.is_empty() {
            true => Err("it has no steps".into()),
            false => deploying::check(&self.steps),
        }
    }
}
