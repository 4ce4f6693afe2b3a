//! The plan, made before anything is done: from inventory and wish to a list of steps, with the disk already chosen.
//! `decide` carries it out; the agent checks the disk again and chooses nothing.
use crate::deploying::{self, BOOT, LEAVE, PREPARE_BOOT, WRITE_IMAGE};
use crate::disks;
use crate::hints::NoDisk;
use crate::node::{
    AgentStep, BmcAct, Bounded, Instance, InstanceData, Job, JobKind, LEAVE_SECS, LeftAlone, Node,
    RescueSystem, Step, Trait, Work, WriteImage,
};
use crate::policy::{OnCollision, Policy};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::image::ImageFormat;
use ironbeat_common::inventory::{BootMode, Disk, Inventory};
use ironbeat_common::order::{ConfigFile, MAX_CONFIG_DRIVE_BYTES};
use serde::Serialize;

/// Boot the ramdisk; the rest is planned once it has said what the machine is made of.
pub fn with_ramdisk() -> Vec<Step> {
    vec![Step::Bmc(BmcAct::Netboot), Step::AwaitAgent]
}

/// The steps after the lookup, and of a cleaning the disks that it leaves alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What is said of them; none: what was said before.
    pub bounds: Option<Vec<Bounded>>,
    pub left_alone: Option<LeftAlone>,
}

/// What follows the lookup. `known`: what lay beside the record before it.
///
/// # Errors
/// Why this machine cannot do what the operator wants.
pub fn after_lookup(
    node: &Node,
    inventory: &Inventory,
    known: Option<&Inventory>,
    policy: &Policy,
) -> Result<Plan, String> {
    let Some(job) = node.job() else {
        return Ok(Plan::default());
    };
    let (steps, left_alone) = match job.kind {
        JobKind::ManualClean | JobKind::Service | JobKind::Rescue => {
            return fill(node, &job.steps[job.at + 1..], inventory, known);
        }
        JobKind::Deploy => {
            all_disks_are_there(node, inventory, known)?;
            return deploy(node, inventory, policy);
        }
        JobKind::Inspect => {
            let inspect = AgentStep::Inspect {
                lldp_wait_secs: policy.lldp_wait_secs,
            };
            let steps = vec![Step::Agent(inspect), Step::Bmc(BmcAct::PowerOff)];
            (steps, None)
        }
        JobKind::Clean => {
            all_disks_are_there(node, inventory, known)?;
            let (disks, left) = disks::for_cleaning(inventory, &node.skip_block_devices);
            let mut steps = Vec::new();
            // A diskless machine is clean.
            if !disks.is_empty() {
                steps.push(Step::Agent(AgentStep::EraseMetadata { disks }));
            }
            steps.push(Step::Bmc(BmcAct::PowerOff));
            (steps, Some(LeftAlone::of(left)))
        }
        JobKind::Verify | JobKind::Adopt | JobKind::Delete | JobKind::Unrescue | JobKind::Bmc => {
            (Vec::new(), None)
        }
    };
    Ok(Plan {
        steps,
        left_alone,
        bounds: None,
    })
}

/// How many steps the job has from its first to its last: before the lookup, as many as its kind usually has. `mode` is how
/// the machine boots, where that is known.
pub fn steps_of(job: &Job, mode: Option<BootMode>, instance: Option<&Instance>) -> usize {
    let added = instance.map_or(0, |instance| deploying::count(&instance.deploy_steps));
    let follow = match (job.steps.last(), job.kind) {
        (Some(Step::AwaitAgent), JobKind::Deploy) if mode == Some(BootMode::Bios) => 4 + added,
        (Some(Step::AwaitAgent), JobKind::Deploy) => 5 + added,
        (Some(Step::AwaitAgent), JobKind::Inspect | JobKind::Clean) => 2,
        (
            Some(Step::AwaitAgent),
            JobKind::Verify
            | JobKind::Adopt
            | JobKind::Delete
            | JobKind::ManualClean
            | JobKind::Service
            | JobKind::Rescue
            | JobKind::Unrescue
            | JobKind::Bmc,
        ) => 0,
        (Some(Step::Bmc(_) | Step::Agent(_) | Step::Hold | Step::Wait { .. }) | None, _) => 0,
    };
    job.steps.len() + follow
}

/// The plan of a job whose machine rebooted in the middle of an agent step; none: the one that it has.
/// Cleaning erases what came late, too; a deploy stays with the disk that it has begun to write, but what it may do to others
/// is chosen anew: a disk without serial number and WWN may have another's name now.
///
/// # Errors
/// Why the job cannot go on, for the operator.
pub fn after_reboot(
    node: &Node,
    inventory: &Inventory,
    known: Option<&Inventory>,
    policy: &Policy,
) -> Result<Option<Plan>, String> {
    let Some(job) = node.job() else {
        return Ok(None);
    };
    match job.kind {
        JobKind::ManualClean | JobKind::Service => {
            fill(node, &job.steps[job.at..], inventory, known).map(Some)
        }
        JobKind::Clean => after_lookup(node, inventory, known, policy).map(Some),
        JobKind::Deploy => {
            all_disks_are_there(node, inventory, known)?;
            write_again(node, job, inventory, policy)
        }
        JobKind::Inspect
        | JobKind::Verify
        | JobKind::Adopt
        | JobKind::Delete
        | JobKind::Rescue
        | JobKind::Unrescue
        | JobKind::Bmc => Ok(None),
    }
}

/// The rest of a deploy, from the write on that is begun again; none: it is past that, or its disk is gone, as the agent will say.
fn write_again(
    node: &Node,
    job: &Job,
    inventory: &Inventory,
    policy: &Policy,
) -> Result<Option<Plan>, String> {
    let left = &job.steps[job.at..];
    let mut writes = left.iter().enumerate().filter_map(|(i, step)| match step {
        Step::Agent(AgentStep::WriteImage(write)) => Some((i, write)),
        Step::Agent(_) | Step::Bmc(_) | Step::AwaitAgent | Step::Hold | Step::Wait { .. } => None,
    });
    let Some((i, write)) = writes.next() else {
        return Ok(None);
    };
    let mut disks = inventory.disks.iter();
    let Some(disk) = disks.find(|disk| write.disk.is(disk)) else {
        return Ok(None);
    };
    let skips = &node.skip_block_devices;
    if !disks::not_skipped(inventory, skips).contains(disk) {
        return Err(format!(
            "{} was to be written, and the skip list names it since the machine rebooted",
            write.disk
        ));
    }
    let mut steps = left.to_vec();
    steps[i] = Step::Agent(AgentStep::WriteImage(WriteImage {
        neutralise: to_neutralise(node, disk, inventory, policy),
        ..write.clone()
    }));
    Ok(Some(Plan {
        steps,
        ..Plan::default()
    }))
}

fn to_neutralise(
    node: &Node,
    disk: &Disk,
    inventory: &Inventory,
    policy: &Policy,
) -> Vec<DiskIdentity> {
    match policy.disk_collisions {
        OnCollision::Warn | OnCollision::Refuse => Vec::new(),
        OnCollision::Neutralise => disks::beside(disk, inventory, &node.skip_block_devices),
    }
}

/// Nothing is erased or written while a disk may be out of sight: a machine would be called clean with its data on it,
/// or the wrong disk be the smallest.
fn all_disks_are_there(
    node: &Node,
    inventory: &Inventory,
    known: Option<&Inventory>,
) -> Result<(), String> {
    match disks::doubt(inventory, known, &node.skip_block_devices) {
        None => Ok(()),
        Some(doubt) => Err(format!(
            "not all disks can be seen ({doubt}): nothing was erased or written; an inspection that finishes makes what it \
             finds the machine's disks"
        )),
    }
}

/// The named steps that are left, with the disks of this machine in those that erase.
///
/// # Errors
/// Not all disks can be seen.
fn fill(
    node: &Node,
    steps: &[Step],
    inventory: &Inventory,
    known: Option<&Inventory>,
) -> Result<Plan, String> {
    let erases = |step: &Step| matches!(step, Step::Agent(AgentStep::EraseMetadata { .. }));
    let mut steps = steps.to_vec();
    if !steps.iter().any(erases) {
        return Ok(Plan {
            steps,
            ..Plan::default()
        });
    }
    all_disks_are_there(node, inventory, known)?;
    let (disks, left) = disks::for_cleaning(inventory, &node.skip_block_devices);
    for step in &mut steps {
        if erases(step) {
            let disks = disks.clone();
            *step = Step::Agent(AgentStep::EraseMetadata { disks });
        }
    }
    Ok(Plan {
        steps,
        left_alone: Some(LeftAlone::of(left)),
        bounds: None,
    })
}

fn deploy(node: &Node, inventory: &Inventory, policy: &Policy) -> Result<Plan, String> {
    let instance = node
        .instance
        .as_ref()
        .ok_or("the node has no instance to deploy")?;
    let disk = root_disk(node, Some(instance), inventory).map_err(|why| why.to_string())?;
    let neutralise = to_neutralise(node, &disk, inventory, policy);
    let disk = DiskIdentity::of(&disk);
    let write = AgentStep::WriteImage(WriteImage {
        disk: disk.clone(),
        source: instance.image.source.clone(),
        format: instance
            .image
            .format
            .unwrap_or_else(|| ImageFormat::of_name(instance.image.source.as_str())),
        checksum: instance.image.checksum.clone(),
        neutralise,
    });
    let mut own = vec![(WRITE_IMAGE, Step::Agent(write))];
    if inventory.boot.mode == BootMode::Uefi {
        let label = "ironbeat".into();
        let entry = Step::Agent(AgentStep::SetBootEntry { disk, label });
        own.push((PREPARE_BOOT, entry));
    }
    let [leave, boot] = into_the_disk();
    own.push((LEAVE, Step::Agent(AgentStep::PowerOff)));
    own.extend([(LEAVE, leave), (BOOT, boot)]);
    let added = &instance.deploy_steps;
    let (disks, left) = match deploying::erases(added) {
        true => disks::for_cleaning(inventory, &node.skip_block_devices),
        false => (Vec::new(), Vec::new()),
    };
    let Work { steps, bounds } = deploying::in_order(own, added, &disks, policy);
    Ok(Plan {
        steps,
        bounds: Some(bounds),
        left_alone: deploying::erases(added).then(|| LeftAlone::of(left)),
    })
}

/// The disk that a deploy of this instance writes to; none: of one that says nothing of it.
///
/// # Errors
/// Why there is none.
pub fn root_disk(
    node: &Node,
    instance: Option<&Instance>,
    inventory: &Inventory,
) -> Result<Disk, NoDisk> {
    let own = instance.map(|instance| &instance.root_device);
    let hints = own.filter(|own| !own.is_empty());
    let hints = hints.unwrap_or(&node.root_device);
    let usable = disks::not_skipped(inventory, &node.skip_block_devices);
    if usable.is_empty() && !inventory.disks.is_empty() {
        return Err(NoDisk::AllSkipped);
    }
    hints.choose(&usable).cloned()
}

/// The ramdisk boots and lets people in.
pub(crate) fn into_a_rescue(system: RescueSystem) -> Vec<Step> {
    let mut steps = with_ramdisk();
    steps.push(Step::Agent(AgentStep::Rescue(system)));
    steps
}

/// Into the disk from whatever runs, which nobody can ask to end.
pub(crate) fn out_of_a_silent_ramdisk() -> [Step; 2] {
    [BmcAct::PowerOff, BmcAct::BootDisk].map(Step::Bmc)
}

/// Out of the ramdisk and into the disk, each seen. Off and on are two steps, so that neither is done again when the
/// report of the other is lost.
pub(crate) fn into_the_disk() -> [Step; 2] {
    let patience_secs = LEAVE_SECS;
    [
        Step::Bmc(BmcAct::LeaveRamdisk { patience_secs }),
        Step::Bmc(BmcAct::BootDisk),
    ]
}

/// Whether an instance can be accepted at all, before a machine is booted for it.
///
/// # Errors
/// What is wrong with it.
pub fn check_instance(node: &Node, instance: &Instance, data: &InstanceData) -> Result<(), String> {
    deploying::check(&instance.deploy_steps)?;
    let lacks = |wanted: &&Trait| !node.traits.contains(wanted);
    let missing: Vec<String> = instance
        .traits
        .iter()
        .filter(lacks)
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(format!(
            "the node has not the traits that the instance asks for: {missing}"
        ));
    }
    instance
        .root_device
        .check()
        .map_err(|bad| bad.to_string())?;
    if let Some(hostname) = &instance.hostname {
        let label = |l: &str| {
            (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if hostname.len() > 253 || !hostname.split('.').all(label) {
            return Err(format!("{hostname:?} is not a host name"));
        }
    }
    // Longer than any URL of a worker.
    let longest = "x".repeat(MAX_URL_BYTES);
    let url = instance.confirm.as_ref().map(|_| longest.as_str());
    let bytes: usize = config_drive(node, instance, data, url)
        .iter()
        .map(|file| file.content.len())
        .sum();
    if bytes > MAX_CONFIG_DRIVE_BYTES {
        return Err(format!(
            "the config drive has {bytes} bytes, at most {MAX_CONFIG_DRIVE_BYTES}"
        ));
    }
    Ok(())
}

/// OpenStack meta_data.json, as cloud-init's ConfigDrive data source reads it.
#[derive(Serialize)]
struct MetaData<'a> {
    uuid: String,
    name: String,
    hostname: String,
    public_keys: BTreeMap<String, &'a str>,
}

/// With it a config drive is reckoned to be as large as it can get.
const MAX_URL_BYTES: usize = 512;

/// What cloud-init is to do beside what the owner wants: it reads a cloud-config from the key of its own name, and user data
/// that has the same key goes before it (`convert_vendordata`, and "Vendor-data" in its documents). Systems without cloud-init
/// find the bare URL.
fn vendor_data(url: &str) -> String {
    let quoted = serde_json::to_string(url).expect("text is JSON");
    let cloud_config = format!(
        "#cloud-config\nphone_home:\n  url: {quoted}\n  post: [instance_id]\n  tries: 10\n"
    );
    let all = BTreeMap::from([("cloud-init", cloud_config.as_str()), ("confirm_url", url)]);
    serde_json::to_string(&all).expect("a map with string keys is JSON")
}

/// The files of the instance's config drive. `confirm_url`: where it says that it runs, if it is to.
pub fn config_drive(
    node: &Node,
    instance: &Instance,
    data: &InstanceData,
    confirm_url: Option<&str>,
) -> Vec<ConfigFile> {
    let own_name = node
        .name
        .as_ref()
        .map_or_else(|| node.id.to_string(), |name| name.to_string());
    let hostname = instance.hostname.clone().unwrap_or(own_name);
    let public_keys = instance
        .ssh_keys
        .iter()
        .enumerate()
        .map(|(i, key)| (format!("key-{i}"), key.as_str()))
        .collect();
    let meta = MetaData {
        uuid: node.id.to_string(),
        name: hostname.clone(),
        hostname,
        public_keys,
    };
    let meta = serde_json::to_string(&meta).expect("strings and a map with string keys are JSON");
    let mut files = vec![file("openstack/latest/meta_data.json", meta)];
    files.extend(
        data.user_data
            .clone()
            .map(|text| file("openstack/latest/user_data", text)),
    );
    files.extend(
        data.network_data
            .clone()
            .map(|text| file("openstack/latest/network_data.json", text)),
    );
    files
        .extend(confirm_url.map(|url| file("openstack/latest/vendor_data.json", vendor_data(url))));
    files
}

fn file(path: &str, content: String) -> ConfigFile {
    ConfigFile {
        path: path.into(),
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{enrolled, instance, inventory};
    use crate::node::{Goal, Phase, Rest, State};
    use crate::time::Time;

    #[test]
    fn the_steps_of_a_job_are_counted_before_they_are_planned() {
        for mode in [BootMode::Bios, BootMode::Uefi] {
            for kind in [JobKind::Deploy, JobKind::Inspect, JobKind::Clean] {
                let now = Time::from_unix_ms(0);
                let mut node = enrolled();
                node.instance = Some(instance().split().0);
                node.state = State::Busy(Box::new(Job {
                    bounds: Vec::new(),
                    went_on: false,
                    kind,
                    goal: Goal::Rest(Rest::Active),
                    began: now,
                    steps: with_ramdisk(),
                    at: 0,
                    tries: 1,
                    boots: 1,
                    again: None,
                    place: None,
                    hold: false,
                    phase: Phase::Backoff {
                        since: now,
                        until: now,
                        because: String::new(),
                        same_try: false,
                    },
                }));
                let mut inventory = inventory(&["A"]);
                inventory.boot.mode = mode;
                let plan = after_lookup(&node, &inventory, None, &Policy::default()).unwrap();
                let mut job = node.job().unwrap().clone();
                let foreseen = steps_of(&job, Some(mode), node.instance.as_ref());
                job.steps.extend(plan.steps);
                assert_eq!(foreseen, job.steps.len(), "{kind:?} {mode:?}");
                assert_eq!(steps_of(&job, Some(mode), node.instance.as_ref()), foreseen);
            }
        }
    }
}
