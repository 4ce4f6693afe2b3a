//! Makes UEFI firmware boot a disk next and first: replaces our old entries by one, and keeps all others behind it.
//! An entry's bytes are left to `load_option`, variables to `efivars`, finding the loader to `esp`.
use super::efivars::EfiVars;
use super::esp::{self, Loader};
use super::load_option::{self, Signature};
use super::target;
use crate::context::StepContext;
use anyhow::Context;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::Progress;
use std::io;
use std::path::Path;

pub fn set_boot_entry(
    identity: &DiskIdentity,
    label: &str,
    ctx: &StepContext<'_>,
    folder: &Path,
) -> anyhow::Result<()> {
    (ctx.progress)(Progress {
        phase: "boot entry".to_owned(),
        done: 0,
        total: None,
        trouble: None,
    });
    let device = target::open(identity, &(ctx.disks)())?;
    let loader = esp::find(&device, ctx.cancelled)?;
    drop(device);
    let vars = EfiVars::open(folder)
        .with_context(|| format!("no boot entry can be set in {}", folder.display()))?;
    match put_first(&vars, label, &loader) {
        // Full, read-only or broken: it depends on the firmware, and by then the image is on the disk.
        Err(e) if loader.has_fallback => {
            tracing::warn!(error = %e, "the firmware takes no boot entry and must find the fallback loader");
            Ok(())
        }
        other => {
            other.with_context(|| format!("writing the boot entry {label:?} for {}", loader.file))
        }
    }
}

/// Deletes what an earlier deployment left (same label, or same partition), writes the entry unless it is there already,
/// puts it first, and makes it the next to be booted. All other entries, those that boot from the network among them, keep
/// their order behind it.
fn put_first(vars: &EfiVars<'_>, label: &str, loader: &Loader) -> io::Result<()> {
    let label = load_option::cut_label(label);
    let wanted = load_option::write(&label, &loader.partition, &loader.file);
    let options = vars.options()?;
    let is_ours = |option: &[u8]| {
        load_option::read(option).is_some_and(|known| {
            let same_partition = known
                .partition
                .is_some_and(|guid| loader.partition.signature == Signature::Gpt(guid));
            known.label == label || same_partition
        })
    };
    let kept = options
        .iter()
        .find(|(_, option)| *option == wanted)
        .map(|(number, _)| *number);
    let old: Vec<u16> = options
        .iter()
        .filter(|(_, option)| is_ours(option))
        .map(|(number, _)| *number)
        .collect();
    for number in old.iter().filter(|number| Some(**number) != kept) {
        vars.delete_option(*number)?;
    }
    let taken =
        |number: &u16| options.iter().any(|(there, _)| there == number) && !old.contains(number);
    let number = match kept {
        Some(number) => number,
        None => {
            let free = (0..=u16::MAX)
                .find(|number| !taken(number))
                .expect("options are bounded far below 65536");
            vars.set_option(free, &wanted)?;
            free
        }
    };
    let ordered = order_first(vars, number, &old);
    // Firmware, or its BMC, may put the order as it likes when it starts, and a disk with another system before ours.
    if let Err(e) = vars.set_next(number) {
        tracing::warn!(error = %e, "the firmware does not take the entry as the next to boot: its boot order decides");
    }
    ordered
}

/// `gone`: what is no entry any more.
fn order_first(vars: &EfiVars<'_>, number: u16, gone: &[u16]) -> io::Result<()> {
    let before = vars.order()?;
    let others = before
        .iter()
        .filter(|there| **there != number && !gone.contains(there));
    let order: Vec<u16> = std::iter::once(&number).chain(others).copied().collect();
    match order == before {
        true => Ok(()),
        false => vars.set_order(&order),
    }
}

#[cfg(test)]
mod tests;
