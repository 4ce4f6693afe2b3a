//! Steps of a manual cleaning or a service, as they are typed.
//! The core says which there are, and what they need.
use clap::Args;
use ironbeat_core::manual::{ManualStep, Wish};
use serde_json::{Value, json};

#[derive(Args)]
pub struct StepArgs {
    /// In this order: hold, wait=SECONDS, power_on, power_off, reboot, reset_bmc, inspect, erase_devices_metadata (not in a
    /// service).
    #[arg(long = "step", required = true, value_parser = step, value_name = "STEP")]
    steps: Vec<ManualStep>,
    /// Boot no ramdisk: only steps that need none, on whatever the machine runs.
    #[arg(long)]
    disable_ramdisk: bool,
}

impl From<StepArgs> for Wish {
    fn from(args: StepArgs) -> Self {
        Self {
            steps: args.steps,
            disable_ramdisk: args.disable_ramdisk,
        }
    }
}

fn step(text: &str) -> Result<ManualStep, String> {
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
            assert_eq!(step(&typed).as_ref(), Ok(known), "{typed}");
        }
        let unknown = step("erase").unwrap_err();
        assert!(unknown.contains("`erase_devices_metadata`"), "{unknown}");
        assert_eq!(step("wait").unwrap_err(), "say how long: wait=SECONDS");
        for bad in ["wait=", "wait=soon", "wait=-1", "hold=5", "wait=1.5", ""] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }
}
