//! A step as somebody names it: what there is, how long it may take, how often it is tried, and what its failure does.
//! `manual` makes the plan of such steps; a job keeps their bounds beside its own steps.
use crate::policy::Policy;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// A step by name, with Ironic's names where it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    tag = "step",
    content = "args",
    rename_all = "snake_case",
    deny_unknown_fields
)]
pub enum ManualStep {
    /// Nothing more is done until `node unhold`; a ramdisk that runs stays.
    Hold,
    /// Nothing is done for so long; a ramdisk that runs stays.
    Wait {
        /// From 1 to 86400.
        seconds: u32,
    },
    /// On, into the ramdisk, unless it is there already.
    PowerOn,
    PowerOff,
    /// Off and on again, into the ramdisk.
    Reboot,
    /// The BMC restarts; the machine goes on.
    ResetBmc,
    /// Read all hardware anew.
    Inspect,
    /// Make old signatures and partition tables of all disks unreadable. Not in a service.
    EraseDevicesMetadata,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamedStep {
    #[serde(flatten)]
    pub step: ManualStep,
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// A step of a deploy, beside the deploy's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeployStep {
    /// The highest comes first; 0: it is left out. The deploy's own are write_image 80, prepare_instance_boot 60, tear_down_agent
    /// 40 and boot_instance 20.
    pub priority: u32,
    #[serde(flatten)]
    pub named: NamedStep,
}

/// What is said of one step; what is not is as the policy has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Bounds {
    /// How long one try may take, however much its agent beats; from 20 s to a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u32>,
    /// How often it is tried, from 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    #[serde(skip_serializing_if = "OnStepFailure::is_fail")]
    pub on_failure: OnStepFailure,
}

/// What follows when a step has failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnStepFailure {
    /// The job fails.
    #[default]
    Fail,
    /// The next step; the failure stays the node's last error. Of steps that no later one relies on.
    Continue,
}

impl OnStepFailure {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_fail(&self) -> bool {
        *self == OnStepFailure::Fail
    }
}

impl ManualStep {
    /// All that need no argument, and an example of the rest.
    pub const ALL: &[ManualStep] = &[
        ManualStep::Hold,
        ManualStep::Wait { seconds: 60 },
        ManualStep::PowerOn,
        ManualStep::PowerOff,
        ManualStep::Reboot,
        ManualStep::ResetBmc,
        ManualStep::Inspect,
        ManualStep::EraseDevicesMetadata,
    ];

    pub fn name(&self) -> &'static str {
        match self {
            ManualStep::Hold => "hold",
            ManualStep::Wait { .. } => "wait",
            ManualStep::PowerOn => "power_on",
            ManualStep::PowerOff => "power_off",
            ManualStep::Reboot => "reboot",
            ManualStep::ResetBmc => "reset_bmc",
            ManualStep::Inspect => "inspect",
            ManualStep::EraseDevicesMetadata => "erase_devices_metadata",
        }
    }

    pub(crate) fn needs_ramdisk(&self) -> bool {
        match self {
            ManualStep::Inspect | ManualStep::EraseDevicesMetadata => true,
            ManualStep::Hold
            | ManualStep::Wait { .. }
            | ManualStep::PowerOn
            | ManualStep::PowerOff
            | ManualStep::Reboot
            | ManualStep::ResetBmc => false,
        }
    }
}

/// An act on a BMC has at least so long, whatever the policy.
const MIN_TIMEOUT_SECS: u32 = 20;
const MAX_TIMEOUT_SECS: u32 = 7 * 24 * 3600;
const MAX_TRIES: u32 = 100;

impl Bounds {
    /// Of a step of which nothing is said.
    pub const NONE: Bounds = Bounds {
        timeout_secs: None,
        tries: None,
        on_failure: OnStepFailure::Fail,
    };

    pub fn tries(&self, policy: &Policy) -> u32 {
        self.tries.unwrap_or(policy.max_tries)
    }

    pub fn timeout_secs(&self, otherwise: u32) -> u32 {
        self.timeout_secs.unwrap_or(otherwise)
    }

    /// # Errors
    /// What cannot be said of this step.
    pub(crate) fn check(&self, step: &ManualStep) -> Result<(), String> {
        let lasts_as_told = match step {
            ManualStep::Hold | ManualStep::Wait { .. } => true,
            ManualStep::PowerOn
            | ManualStep::PowerOff
            | ManualStep::Reboot
            | ManualStep::ResetBmc
            | ManualStep::Inspect
            | ManualStep::EraseDevicesMetadata => false,
        };
        if lasts_as_told && *self != Bounds::NONE {
            return Err(
                "it cannot fail and lasts as long as it is told: leave out timeout_secs, tries and on_failure".into(),
            );
        }
        for (name, said, least, most) in [
            (
                "timeout_secs",
                self.timeout_secs,
                MIN_TIMEOUT_SECS,
                MAX_TIMEOUT_SECS,
            ),
            ("tries", self.tries, 1, MAX_TRIES),
        ] {
            if let Some(said) = said
                && !(least..=most).contains(&said)
            {
                return Err(format!(
                    "{name} = {said}: it must be between {least} and {most}"
                ));
            }
        }
        let relied_on = match step {
            ManualStep::PowerOn | ManualStep::PowerOff | ManualStep::Reboot => true,
            ManualStep::Hold
            | ManualStep::Wait { .. }
            | ManualStep::ResetBmc
            | ManualStep::Inspect
            | ManualStep::EraseDevicesMetadata => false,
        };
        match relied_on && self.on_failure == OnStepFailure::Continue {
            true => Err("the steps after it rely on it: its failure is the job's".into()),
            false => Ok(()),
        }
    }
}

impl From<ManualStep> for NamedStep {
    fn from(step: ManualStep) -> Self {
        let bounds = Bounds::NONE;
        Self { step, bounds }
    }
}

/// As it is written. Flattened fields cannot refuse unknown ones, and a step must not be done without what was said of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    step: String,
    #[serde(default)]
    args: Option<Value>,
    #[serde(default)]
    timeout_secs: Option<u32>,
    #[serde(default)]
    tries: Option<u32>,
    #[serde(default)]
    on_failure: OnStepFailure,
    #[serde(default)]
    priority: Option<u32>,
}

impl Written {
    fn named(self) -> Result<NamedStep, serde_json::Error> {
        // Ironic's clients send `{}` where there is nothing to say.
        let args = self.args.filter(|args| match args {
            Value::Object(args) => !args.is_empty(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => true,
        });
        let mut named = Map::new();
        named.insert("step".into(), self.step.into());
        named.extend(args.map(|args| ("args".into(), args)));
        Ok(NamedStep {
            step: ManualStep::deserialize(Value::Object(named))?,
            bounds: Bounds {
                timeout_secs: self.timeout_secs,
                tries: self.tries,
                on_failure: self.on_failure,
            },
        })
    }
}

impl<'de> Deserialize<'de> for NamedStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        match written.priority {
            None => written.named().map_err(de::Error::custom),
            Some(_) => Err(de::Error::custom(
                "unknown field `priority`: these steps are done in their order",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for DeployStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let missing = || de::Error::missing_field("priority");
        Ok(Self {
            priority: written.priority.ok_or_else(missing)?,
            named: written.named().map_err(de::Error::custom)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn read(json: &str) -> Result<NamedStep, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_of_a_step_is_read_back_as_it_was_written() {
        for json in [
            r#"{"step":"hold"}"#,
            r#"{"step":"wait","args":{"seconds":5}}"#,
            r#"{"step":"inspect","timeout_secs":60,"tries":2,"on_failure":"continue"}"#,
        ] {
            let step = read(json).unwrap();
            assert_eq!(serde_json::to_string(&step).unwrap(), json);
        }
        let empty = read(r#"{"step":"hold","args":{}}"#).unwrap();
        assert_eq!(empty, ManualStep::Hold.into());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (json, why) in [
            (r#"{"step":"format"}"#, "expected one of `hold`"),
            (r#"{"step":"hold","args":{"seconds":5}}"#, "invalid type"),
            (r#"{"step":"wait","args":{}}"#, "missing field"),
            (
                r#"{"step":"wait","args":{"second":5}}"#,
                "unknown field `second`",
            ),
            (
                r#"{"step":"inspect","timout_secs":5}"#,
                "unknown field `timout_secs`",
            ),
            (
                r#"{"step":"inspect","on_failure":"shrug"}"#,
                "unknown variant `shrug`",
            ),
            (r#"{"args":{}}"#, "missing field `step`"),
        ] {
            let said = read(json).unwrap_err();
            assert!(said.contains(why), "{json}: {said}");
        }
    }

    #[test]
    fn a_step_is_bounded_only_where_that_means_something() {
        for (json, why) in [
            (r#"{"step":"hold","tries":2}"#, "cannot fail"),
            (
                r#"{"step":"wait","args":{"seconds":5},"timeout_secs":60}"#,
                "cannot fail",
            ),
            (
                r#"{"step":"inspect","timeout_secs":19}"#,
                "between 20 and 604800",
            ),
            (r#"{"step":"inspect","tries":0}"#, "between 1 and 100"),
            (r#"{"step":"reboot","on_failure":"continue"}"#, "rely on it"),
        ] {
            let step = read(json).unwrap();
            let said = step.bounds.check(&step.step).unwrap_err();
            assert!(said.contains(why), "{json}: {said}");
        }
    }
}
