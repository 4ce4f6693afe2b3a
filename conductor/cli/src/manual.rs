//! Steps of a manual cleaning, a service or a runbook, as they are typed.
//! The core says which there are, and what they need.
use anyhow::Context;
use clap::Args;
use ironbeat_core::id::RunbookName;
use ironbeat_core::manual::Wish;
use ironbeat_core::named::{Bounds, DeployStep, ManualStep, NamedStep, OnStepFailure};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct StepArgs {
    /// In this order: hold, wait=SECONDS, power_on, power_off, reboot, reset_bmc, inspect, erase_devices_metadata (not in a
    /// service). `inspect,timeout=60,tries=2` has that time for each try and those tries; with `,continue` the next step follows even
    /// if it fails.
    #[arg(long = "step", value_parser = step, value_name = "STEP")]
    steps: Vec<NamedStep>,
    /// Steps from a file: a JSON list of {"step", "args", "timeout_secs", "tries", "on_failure"}.
    #[arg(long, value_name = "FILE", conflicts_with = "steps")]
    steps_file: Option<PathBuf>,
    /// Boot no ramdisk: only steps that need none, on whatever the machine runs.
    #[arg(long)]
    pub disable_ramdisk: bool,
}

impl StepArgs {
    /// # Errors
    /// What is wrong with the file.
    pub fn steps(self) -> anyhow::Result<Vec<NamedStep>> {
        let Some(file) = self.steps_file else {
            return Ok(self.steps);
        };
        let told = || format!("read steps from {}", file.display());
        let text = std::fs::read_to_string(&file).with_context(told)?;
        serde_json::from_str(&text).with_context(told)
    }
}

#[derive(Args)]
pub struct WishArgs {
    #[command(flatten)]
    steps: StepArgs,
    /// The steps of this runbook.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["steps", "steps_file", "disable_ramdisk"])]
    #[arg(required_unless_present_any = ["steps", "steps_file"])]
    runbook: Option<RunbookName>,
}

impl WishArgs {
    /// # Errors
    /// What is wrong with a file of steps.
    pub fn wish(self) -> anyhow::Result<Wish> {
        Ok(Wish {
            disable_ramdisk: self.steps.disable_ramdisk,
            steps: self.steps.steps()?,
            runbook: self.runbook,
        })
    }
}

/// `90:erase_devices_metadata,timeout=600`
pub fn deploy_step(text: &str) -> Result<DeployStep, String> {
    let priority = |text: &str| text.parse().ok();
    let split = text.split_once(':');
    let split = split.and_then(|(first, step)| Some((priority(first)?, step)));
    let (priority, text) =
        split.ok_or_else(|| format!("{text:?}: write PRIORITY:STEP, as in 90:hold"))?;
    let named = step(text)?;
    Ok(DeployStep { priority, named })
}

/// `wait=60`, or `inspect,timeout=60,tries=2,continue`
fn step(text: &str) -> Result<NamedStep, String> {
    let mut words = text.split(',');
    let step = named(words.next().unwrap_or_default())?;
    let mut bounds = Bounds::NONE;
    for word in words {
        let number = |value: &str| {
            let number = value.parse().map(Some);
            number.map_err(|_| format!("{value:?} in {word:?} is not a number"))
        };
        match word.split_once('=') {
            Some(("timeout", secs)) => bounds.timeout_secs = number(secs)?,
            Some(("tries", tries)) => bounds.tries = number(tries)?,
            None if word == "continue" => bounds.on_failure = OnStepFailure::Continue,
            Some(_) | None => {
                return Err(format!(
                    "{word:?}: after a step there is timeout=SECONDS, tries=N and continue"
                ));
            }
        }
    }
    Ok(NamedStep { step, bounds })
}

fn named(text: &str) -> Result<ManualStep, String> {
    let (name, args) = match text.split_once('=') {
        Some((name, seconds)) => {
            let seconds: Value = serde_json::from_str(seconds)
                .map_err(|_| format!("{seconds:?} is not a number of seconds"))?;
            (name, Some(json!({ "seconds": seconds })))
        }
        None => (text, None),
    };
    let named = match args {
        Some(args) => json!({ "step": name, "args": args }),
        None => json!({ "step": name }),
    };
    serde_json::from_value(named).map_err(|error| match error.to_string() {
        missing if missing.starts_with("missing field") => {
            format!("say how long: {name}=SECONDS")
        }
        why => why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_typed_by_name_and_unknown_ones_are_told_what_there_is() {
        for known in ManualStep::ALL {
            let typed = match known {
                ManualStep::Wait { seconds } => format!("wait={seconds}"),
                ManualStep::Hold
                | ManualStep::PowerOn
                | ManualStep::PowerOff
                | ManualStep::Reboot
                | ManualStep::ResetBmc
                | ManualStep::Inspect
                | ManualStep::EraseDevicesMetadata => known.name().to_string(),
            };
            assert_eq!(step(&typed), Ok((*known).into()), "{typed}");
        }
        let unknown = step("erase").unwrap_err();
        assert!(unknown.contains("`erase_devices_metadata`"), "{unknown}");
        assert_eq!(step("wait").unwrap_err(), "say how long: wait=SECONDS");
        let bounded = step("inspect,timeout=60,tries=2,continue").unwrap().bounds;
        let said = (bounded.timeout_secs, bounded.tries, bounded.on_failure);
        assert_eq!(said, (Some(60), Some(2), OnStepFailure::Continue));
        for bad in [
            "wait=",
            "wait=soon",
            "wait=-1",
            "hold=5",
            "wait=1.5",
            "",
            "inspect,",
            "inspect,tries",
            "inspect,tries=x",
            "inspect,timeout=-1",
            "inspect,retries=2",
        ] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_of_a_deploy_has_its_priority_before_it() {
        let step = deploy_step("90:inspect,tries=2").unwrap();
        assert_eq!((step.priority, step.named.step), (90, ManualStep::Inspect));
        for bad in [
            "inspect",
            ":inspect",
            "x:inspect",
            "-1:inspect",
            "90:",
            "90",
        ] {
            assert!(deploy_step(bad).is_err(), "{bad}");
        }
    }
}
