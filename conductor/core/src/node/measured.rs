//! What the firmware of a machine measured of a ramdisk's boot, compared with what workers serve: for operators, and for the policy.
//! The conductor reads event logs and compares; it is the agent's own word, since the TPM has signed nothing.
use alloc::format;
use alloc::string::String;
use core::fmt;
use ironbeat_common::image::Digest;
use serde::{Deserialize, Serialize};

/// Of the last ramdisk that looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MeasuredBoot {
    /// The machine has no TPM 2.0, or its agent does not know of measurements.
    #[default]
    NoTpm,
    /// There is a TPM, but no event log that can be read, and why.
    NoLog { why: String },
    /// The events of the log do not make the value of this PCR.
    Contradicted { pcr: u8 },
    /// The log is true to the PCRs.
    Compared {
        kernel: Part,
        ramdisk: Part,
        /// The first that was measured beside them and is nothing that workers know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unknown: Option<Unknown>,
    },
}

/// A program, or a file that a loader has read: it may have been started in the kernel's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unknown {
    pub pcr: u32,
    pub sha256: Digest<32>,
    /// As GRUB calls the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One of the two files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What was measured is what a worker serves.
    Served,
    /// Something else was, with this SHA-256.
    Other { sha256: Digest<32> },
    /// Nothing on the way measures it.
    NotMeasured,
}

impl MeasuredBoot {
    /// Whether both files are what is served, and nothing unknown was beside them.
    pub fn is_served(&self) -> bool {
        *self
            == MeasuredBoot::Compared {
                kernel: Part::Served,
                ramdisk: Part::Served,
                unknown: None,
            }
    }

    /// Whether something else was measured, or is made believe: not merely nothing.
    pub fn is_suspect(&self) -> bool {
        let is_other = |part: &Part| matches!(part, Part::Other { .. });
        match self {
            MeasuredBoot::NoTpm | MeasuredBoot::NoLog { .. } => false,
            MeasuredBoot::Contradicted { .. } => true,
            MeasuredBoot::Compared {
                kernel,
                ramdisk,
                unknown,
            } => is_other(kernel) || is_other(ramdisk) || unknown.is_some(),
        }
    }
}

impl fmt::Display for MeasuredBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeasuredBoot::NoTpm => f.write_str("not measured: the machine shows no TPM 2.0"),
            MeasuredBoot::NoLog { why } => {
                write!(
                    f,
                    "not known: its TPM has no event log that can be read: {why}"
                )
            }
            MeasuredBoot::Contradicted { pcr } => write!(
                f,
                "not believed: the event log does not make the value of PCR {pcr}"
            ),
            MeasuredBoot::Compared {
                kernel,
                ramdisk,
                unknown,
            } => {
                match (kernel, ramdisk) {
                    (Part::Served, Part::Served) => {
                        f.write_str("the ramdisk that was served (measured: kernel, ramdisk)")?;
                    }
                    _ => write!(
                        f,
                        "{}; {}",
                        words("kernel", kernel),
                        words("ramdisk", ramdisk)
                    )?,
                }
                match unknown {
                    Some(unknown) => write!(f, "; and something else too: {unknown}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pcr, sha256, name } = self;
        match (name, pcr) {
            (Some(name), _) => write!(f, "the file {name}")?,
            (None, 2 | 4) => f.write_str("a program")?,
            (None, _) => f.write_str("something")?,
        }
        write!(
            f,
            " that no worker knows (SHA-256 {sha256}, measured into PCR {pcr})"
        )
    }
}

fn words(file: &str, part: &Part) -> String {
    match part {
        Part::Served => format!("the {file} that was served"),
        Part::Other { sha256 } => format!("another {file} than we serve (SHA-256 {sha256})"),
        Part::NotMeasured => format!("a {file} that nothing measured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_operator_reads_what_was_measured_of_what_is_served() {
        let beside = |kernel, ramdisk, unknown| MeasuredBoot::Compared {
            kernel,
            ramdisk,
            unknown,
        };
        let compared = |kernel, ramdisk| beside(kernel, ramdisk, None);
        let unknown = |pcr, name: Option<&str>| {
            Some(Unknown {
                pcr,
                sha256: Digest([0xab; 32]),
                name: name.map(Into::into),
            })
        };
        let other = || Part::Other {
            sha256: Digest([0xab; 32]),
        };
        let hex = "ab".repeat(32);
        for (measured, words, is_served, is_suspect) in [
            (
                compared(Part::Served, Part::Served),
                "the ramdisk that was served (measured: kernel, ramdisk)",
                true,
                false,
            ),
            (
                beside(Part::Served, Part::Served, unknown(9, Some("/linux"))),
                &format!(
                    "the ramdisk that was served (measured: kernel, ramdisk); and something else too: the file /linux that no worker \
                     knows (SHA-256 {hex}, measured into PCR 9)"
                ),
                false,
                true,
            ),
            (
                beside(Part::Served, Part::NotMeasured, unknown(4, None)),
                &format!(
                    "the kernel that was served; a ramdisk that nothing measured; and something else too: a program that no worker knows \
                     (SHA-256 {hex}, measured into PCR 4)"
                ),
                false,
                true,
            ),
            (
                compared(Part::Served, Part::NotMeasured),
                "the kernel that was served; a ramdisk that nothing measured",
                false,
                false,
            ),
            (
                compared(Part::Served, other()),
                &format!(
                    "the kernel that was served; another ramdisk than we serve (SHA-256 {hex})"
                ),
                false,
                true,
            ),
            (
                MeasuredBoot::Contradicted { pcr: 9 },
                "not believed: the event log does not make the value of PCR 9",
                false,
                true,
            ),
            (
                MeasuredBoot::default(),
                "not measured: the machine shows no TPM 2.0",
                false,
                false,
            ),
        ] {
            assert_eq!(measured.to_string(), words);
            assert_eq!(measured.is_served(), is_served, "{words}");
            assert_eq!(measured.is_suspect(), is_suspect, "{words}");
        }
    }
}
