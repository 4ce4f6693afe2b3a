//! What is known to be in the way of a verb when it is asked for, and would otherwise be found after a boot.
//! `image` looks for images; the core chooses the disk. What may have passed by then is a warning, never a refusal.
use super::image::{self, Look, without_query};
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::worker::Worker;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::id::NodeId;
use ironbeat_common::image::ImageFormat;
use ironbeat_common::inventory::{Disk, Inventory};
use ironbeat_core::decide::{Ctx, Event, Verb, decide};
use ironbeat_core::id::Incarnation;
use ironbeat_core::lookup::weak_identity;
use ironbeat_core::node::{Image, Instance, Node};
use ironbeat_core::plan;

/// Returns what an operator should know although the verb can go on.
///
/// # Errors
/// Why it cannot lead where it should.
pub(super) async fn foresee(
    worker: &Worker,
    id: NodeId,
    event: &Event,
) -> Result<Vec<String>, ApiError> {
    let Event::Asked { request, verb } = event else {
        return Ok(vec![]);
    };
    if !boots_ramdisk(verb) {
        return Ok(vec![]);
    }
    let Some((node, _)) = worker.store.nodes.load(id).await? else {
        return Ok(vec![]);
    };
    let cleans = node.automated_clean;
    if matches!(verb, Verb::Provide) && !cleans.unwrap_or(worker.policy.automated_clean) {
        return Ok(vec![]);
    }
    // What was done before needs no look, and a verb that is not possible now has a better reason to be refused.
    if node.requests.contains(request) || !is_possible(worker, &node, event) {
        return Ok(vec![]);
    }
    let mut warnings = ramdisk(worker)?;
    if !matches!(verb, Verb::Inspect) {
        warnings.extend(weak_identity(&node));
    }
    if let Some((instance, image)) = wanted(worker, &node, verb).await? {
        let inventory = worker.store.beside.inventory(&node).await?;
        let disk = root_disk(&node, &instance, inventory.as_ref())?;
        let looks = image::look(worker, &image.source).await;
        warnings.extend(judge(&image, disk.as_ref(), &looks)?);
    }
    if let Verb::Rescue(_) = verb
        && let Ok(system) = worker.policy.rescue_system()
    {
        let looks = image::look(worker, &system.source).await;
        let image = Image {
            source: system.source,
            checksum: system.checksum,
            format: None,
        };
        warnings.extend(judge(&image, None, &looks)?);
    }
    Ok(warnings)
}

/// An undeploy can always begin: powering off needs no ramdisk, and the cleaning after it can be repeated.
fn boots_ramdisk(verb: &Verb) -> bool {
    match verb {
        Verb::Inspect | Verb::Deploy(_) | Verb::Rebuild(_) | Verb::Rescue(_) => true,
        // Whether it is cleaned, its record says.
        Verb::Provide => true,
        Verb::Clean(wish) | Verb::Service(wish) => !wish.disable_ramdisk,
        Verb::Manage
        | Verb::Undeploy
        | Verb::Adopt(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => false,
    }
}

/// What a deploy would write, and its image with a whole URL.
async fn wanted(
    worker: &Worker,
    node: &Node,
    verb: &Verb,
) -> Result<Option<(Instance, Image)>, ApiError> {
    let (instance, data) = match verb {
        Verb::Deploy(instance) | Verb::Rebuild(Some(instance)) => instance.clone().split(),
        Verb::Rebuild(None) => {
            let Some(instance) = node.instance.clone() else {
                return Ok(None);
            };
            let data = worker.store.beside.instance_data(node).await?;
            (instance, data.unwrap_or_default())
        }
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Undeploy
        | Verb::Adopt(_)
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Rescue(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => return Ok(None),
    };
    let mut image = instance.image.clone();
    let lost = || {
        fail(
            409,
            format!("the query of {} is lost: give the image anew", image.source),
        )
    };
    image.source = data.image_source(&image.source).ok_or_else(lost)?;
    Ok(Some((instance, image)))
}

/// Nothing is saved: the core says whether it would accept this now.
fn is_possible(worker: &Worker, node: &Node, event: &Event) -> bool {
    let ctx = Ctx {
        now: clock::now(),
        op: &node.op,
        worker: &worker.id,
        incarnation: Incarnation::default(),
        policy: &worker.policy,
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    decide(Some(node), event, ctx).is_ok()
}

/// A machine fetches kernel and ramdisk from any worker.
fn ramdisk(worker: &Worker) -> Result<Vec<String>, ApiError> {
    let workers = worker.presence.heard();
    let lacking = workers.iter().filter_map(|info| {
        let lacks = info.lacks.join(" and ");
        (!lacks.is_empty()).then(|| format!("worker {} lacks {lacks}", info.id))
    });
    let lacking: Vec<String> = lacking.collect();
    match lacking.len() == workers.len() {
        true => Err(fail(
            409,
            format!("no worker has a ramdisk to boot: {}", lacking.join("; ")),
        )),
        false => Ok(lacking),
    }
}

/// By what the machine last said of itself; none: nothing certain is known of its disks.
fn root_disk(
    node: &Node,
    instance: &Instance,
    inventory: Option<&Inventory>,
) -> Result<Option<Disk>, ApiError> {
    let certain = |inventory: &&Inventory| inventory.disk_problems().next().is_none();
    let Some(inventory) = inventory.filter(certain) else {
        return Ok(None);
    };
    match plan::root_disk(node, Some(instance), inventory) {
        Ok(disk) => Ok(Some(disk)),
        Err(why) => Err(fail(
            400,
            format!(
                "{why} (by the inventory of the last boot: `ironbeat node inspect` reads it again)"
            ),
        )),
    }
}

fn judge(
    image: &Image,
    disk: Option<&Disk>,
    looks: &[(String, Look)],
) -> Result<Vec<String>, ApiError> {
    let source = without_query(image.source.as_str());
    let (mut sizes, mut doubts) = (Vec::new(), Vec::new());
    let mut is_lost = true;
    for (place, look) in looks {
        match look {
            Look::There(size) => sizes.extend(size.map(|bytes| (bytes, place))),
            Look::Missing(why) => doubts.push(format!("not at {place}: {why}")),
            Look::Unclear(why) => {
                doubts.push(format!("nobody knows whether it is at {place}: {why}"))
            }
        }
        is_lost &= matches!(look, Look::Missing(_));
    }
    if is_lost {
        return Err(fail(400, format!("image {source}: {}", doubts.join("; "))));
    }
    let format = image
        .format
        .unwrap_or_else(|| ImageFormat::of_name(image.source.as_str()));
    sizes.sort();
    if let (ImageFormat::Raw, Some(disk), [(bytes, _), ..]) = (format, disk, sizes.as_slice())
        && *bytes > disk.size_bytes
    {
        return Err(fail(
            400,
            format!(
                "image {source} has {bytes} bytes, {} has {}",
                DiskIdentity::of(disk),
                disk.size_bytes
            ),
        ));
    }
    if let ([(least, at), ..], [.., (most, there)]) = (sizes.as_slice(), sizes.as_slice())
        && least != most
    {
        doubts.push(format!(
            "its copies differ, and at most one has the checksum: {least} bytes at {at}, {most} at {there}"
        ));
    }
    let warn = |doubt| format!("image {source}: {doubt}");
    Ok(doubts.into_iter().map(warn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::image::Checksum;

    const MISSING: fn() -> Look = || Look::Missing("HTTP status 404".into());
    const UNCLEAR: fn() -> Look = || Look::Unclear("connection refused".into());

    fn disk() -> Disk {
        Disk {
            name: "/dev/sda".into(),
            size_bytes: 1000,
            serial: Some("S1".into()),
            ..Disk::default()
        }
    }

    fn check(source: &str, looks: Vec<Look>, expected: Result<&[&str], &str>) {
        let image = Image {
            source: source.parse().unwrap(),
            checksum: "0".repeat(64).parse::<Checksum>().unwrap(),
            format: None,
        };
        let places = ["worker w1", "worker w2"].map(String::from).into_iter();
        let looks: Vec<(String, Look)> = places.zip(looks).collect();
        let found = judge(&image, Some(&disk()), &looks);
        match (found, expected) {
            (Ok(warnings), Ok(expected)) => {
                assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
                for (warning, words) in warnings.iter().zip(expected) {
                    assert!(warning.contains(words), "{warning}");
                }
            }
            (Err(error), Err(words)) => assert!(error.why.contains(words), "{}", error.why),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn an_image_is_refused_only_when_everybody_says_that_it_is_not_there() {
        use Look::There;
        check("os.raw", vec![There(Some(5)), There(Some(5))], Ok(&[]));
        let gone =
            "image os.raw: not at worker w1: HTTP status 404; not at worker w2: HTTP status 404";
        check("os.raw", vec![MISSING(), MISSING()], Err(gone));
        check(
            "http://h/os.raw?sig=hush",
            vec![MISSING()],
            Err("image http://h/os.raw: not at"),
        );
        let one = ["image os.raw: not at worker w2: HTTP status 404"];
        check("os.raw", vec![There(Some(5)), MISSING()], Ok(&one));
        let both = [
            "not at worker w1",
            "nobody knows whether it is at worker w2",
        ];
        check("os.raw", vec![MISSING(), UNCLEAR()], Ok(&both));
        check(
            "http://h/os.raw",
            vec![UNCLEAR()],
            Ok(&["connection refused"]),
        );
    }

    #[test]
    fn an_image_that_the_disk_cannot_hold_is_refused_where_its_size_is_certain() {
        use Look::There;
        let large = "image os.raw has 1001 bytes, ";
        check("os.raw", vec![There(Some(1001))], Err(large));
        check("os.raw", vec![There(Some(1000))], Ok(&[]));
        check("os.raw", vec![There(None)], Ok(&[]));
        check("os.raw.zst", vec![There(Some(1001))], Ok(&[]));
        let copies = ["its copies differ"];
        check(
            "os.raw",
            vec![There(Some(1001)), There(Some(9))],
            Ok(&copies),
        );
    }
}
