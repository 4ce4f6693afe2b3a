//! How much memory the kernel manages, by sysinfo.
//! Memory modules are read in `smbios` (type 17).
use super::{Fill, Roots};
use anyhow::{Context, ensure};
use sysinfo::{MemoryRefreshKind, System};

/// sysinfo reads `/proc/meminfo` of the running machine; there is no other root.
pub fn read(_roots: &Roots) -> anyhow::Result<Fill> {
    let mut system = System::new()
        .map_err(|e| anyhow::anyhow!("{e:?}"))
        .context("preparing to read the memory size")?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let total = system.total_memory();
    ensure!(
        total > 0,
        "the kernel does not say how much memory there is"
    );
    Ok(Box::new(move |inventory| {
        inventory.memory.total_bytes = total
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::inventory::Inventory;

    #[test]
    fn this_machine_has_memory() {
        let mut inventory = Inventory::default();
        read(&Roots::at("/")).unwrap()(&mut inventory);
        assert!(inventory.memory.total_bytes > 1 << 26);
    }
}
