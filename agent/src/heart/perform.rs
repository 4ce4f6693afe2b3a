//! Carries out one order, if this process may: the only place that knows which module does what.
//! When to run it, and how to report it, is decided in `steps` and `beat`.
use crate::context::StepContext;
use crate::disk;
use crate::net;
use crate::rescue;
use crate::web::way::Web;
use anyhow::{Context, bail};
use ironbeat_common::heartbeat::Outcome;
use ironbeat_common::inventory::Inventory;
use ironbeat_common::order::Order;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Whether this process may change the machine it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Yes: PID 1 of a ramdisk, or started with `--really`.
    Full,
    /// No: a developer runs it on a machine in use.
    LookOnly,
}

/// Reads all hardware and waits this long for LLDP.
pub type Inspect = dyn Fn(Duration, &StepContext<'_>) -> Inventory;

/// More than twice the longest interval of common switches: a switch still silent by then does not send LLDP.
const MAX_LLDP_WAIT: Duration = Duration::from_secs(120);

/// Carries out an order on this machine.
///
/// # Errors
/// What was attempted on what, and why it failed.
pub fn perform(
    order: &Order,
    context: &StepContext<'_>,
    authority: Authority,
    inspect: &Inspect,
    web: &Web,
) -> anyhow::Result<Outcome> {
    if authority == Authority::LookOnly && !matches!(order, Order::Inspect { .. }) {
        bail!(
            "this agent runs on a machine in use: it refuses to {} unless started with --really",
            order.name()
        );
    }
    match order {
        Order::Inspect { lldp_wait_secs } => {
            let wait = Duration::from_secs(u64::from(*lldp_wait_secs)).min(MAX_LLDP_WAIT);
            let inventory = inspect(wait, context);
            if context.cancelled.load(Ordering::Relaxed) {
                bail!("the inspection was cancelled: the conductor wants another step");
            }
            Ok(Outcome::Inventory(Box::new(inventory)))
        }
        Order::WriteImage(image) => disk::write_image(image, context, web)
            .map(Outcome::Written)
            .with_context(|| format!("writing the image to {}", image.disk)),
        Order::SetBootEntry { disk, label } => disk::set_boot_entry(disk, label, context)
            .map(|()| Outcome::Nothing)
            .with_context(|| format!("making {disk} the first boot entry")),
        Order::EraseMetadata { disks } => disk::erase_metadata(disks, context)
            .map(|()| Outcome::Nothing)
            .context("erasing old metadata"),
        Order::Rescue(order) => rescue::rescue(order, context, web, addresses(), Path::new("/"))
            .map(Outcome::Rescued)
            .context("letting people in"),
        Order::Reboot | Order::PowerOff => {
            rustix::fs::sync();
            Ok(Outcome::Nothing)
        }
    }
}

/// Of all interfaces, without their prefix lengths.
fn addresses() -> Vec<String> {
    let all = net::addresses().unwrap_or_default().into_values().flatten();
    let host = |it: String| it.split('/').next().map(str::to_owned);
    let far = |it: &String| !it.starts_with("127.") && it != "::1";
    all.filter_map(host).filter(far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::disk::DiskIdentity;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn perform_here(
        order: &Order,
        authority: Authority,
        cancelled: bool,
    ) -> Result<Outcome, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let context = StepContext {
            progress: &|_| {},
            cancelled: &AtomicBool::new(cancelled),
            disks: &Vec::new,
            runtime: runtime.handle().clone(),
        };
        let inspect = |wait: Duration, _: &StepContext<'_>| {
            let mut inventory = Inventory::default();
            inventory.cpu.count = u32::try_from(wait.as_secs()).unwrap();
            inventory
        };
        let web = Web::new(Arc::default(), None, &[]);
        perform(order, &context, authority, &inspect, &web).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_machine_in_use_is_only_looked_at() {
        let disk = DiskIdentity {
            serial: None,
            wwn: None,
            size_bytes: 1,
            name: "/dev/vda".into(),
        };
        for order in [
            Order::Reboot,
            Order::PowerOff,
            Order::EraseMetadata {
                disks: vec![disk.clone()],
            },
            Order::SetBootEntry {
                disk,
                label: "os".into(),
            },
        ] {
            let error = perform_here(&order, Authority::LookOnly, false).unwrap_err();
            assert!(
                error.contains(&format!(
                    "refuses to {} unless started with --really",
                    order.name()
                )),
                "{error}"
            );
        }
        assert!(
            perform_here(
                &Order::Inspect { lldp_wait_secs: 0 },
                Authority::LookOnly,
                false
            )
            .is_ok()
        );
    }

    #[test]
    fn an_inspection_is_bounded_and_can_be_cancelled() {
        match perform_here(
            &Order::Inspect {
                lldp_wait_secs: u32::MAX,
            },
            Authority::Full,
            false,
        ) {
            Ok(Outcome::Inventory(inventory)) => assert_eq!(inventory.cpu.count, 120),
            other => panic!("{other:?}"),
        }
        let error =
            perform_here(&Order::Inspect { lldp_wait_secs: 1 }, Authority::Full, true).unwrap_err();
        assert_eq!(
            error,
            "the inspection was cancelled: the conductor wants another step"
        );
    }

    #[test]
    fn a_disk_that_is_not_there_is_named_in_the_error() {
        let disk = DiskIdentity {
            serial: Some("VD-0001".into()),
            wwn: None,
            size_bytes: 1,
            name: "/dev/vda".into(),
        };
        let error = perform_here(
            &Order::EraseMetadata { disks: vec![disk] },
            Authority::Full,
            false,
        )
        .unwrap_err();
        assert!(
            error.starts_with("erasing old metadata: ") && error.contains("VD-0001"),
            "{error}"
        );
    }
}
