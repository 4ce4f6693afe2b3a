//! `ironbeat node …`: the arguments of each verb, and how nodes are shown.
//! The conductor's endpoints carry the verbs out.
use super::bars::Bars;
use super::bulk::only_for_one;
use super::choose::{Chosen, Many};
use super::client::Client;
use super::login::BmcLogin;
use super::manual::{WishArgs, deploy_step};
use super::out;
use super::parse::{boot_mode, hint, hints, on_off, skip};
use super::profile::{ProfileArgs, TraitCommand, change_traits};
use super::rescue::LoginArgs;
use super::verb::{Until, Which, about, fresh_request};
use super::wait::{Says, Success, Wait};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_common::image::Checksum;
use ironbeat_common::inventory::BootMode;
use ironbeat_core::hints::Hints;
use ironbeat_core::id::NodeName;
use ironbeat_core::named::DeployStep;
use ironbeat_core::node::{BmcAddress, BootDevice, Image, ImageSource, NewInstance, Rest, Trait};
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::{
    self, BmcInfo, DeleteNode, Enroll, ExplainNode, ListNodes, SetBootDevice, SetMaintenance,
    SetNode, ShowNode, UnsetMaintenance, ValidateNode,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum NodeCommand {
    #[command(about = about::<Enroll>())]
    Enroll(Box<EnrollArgs>),
    #[command(about = about::<ListNodes>())]
    List(super::list::ListArgs),
    #[command(about = about::<ShowNode>())]
    Show {
        /// Id or name.
        node: String,
    },
    #[command(about = about::<ValidateNode>())]
    Validate {
        /// Id or name.
        node: String,
    },
    #[command(about = about::<ExplainNode>())]
    Explain {
        /// Id or name.
        node: String,
    },
    #[command(about = about::<request::NodeHistory>())]
    History(super::past::HistoryArgs),
    #[command(about = about::<request::NodeRecord>())]
    Record {
        /// Id or name; also of a node that is gone.
        node: String,
    },
    #[command(about = about::<request::Manage>())]
    Manage(Which),
    #[command(about = about::<request::Inspect>())]
    Inspect(Which),
    #[command(about = about::<request::Provide>())]
    Provide(Which),
    #[command(about = about::<request::Deploy>())]
    Deploy {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        instance: Box<InstanceArgs>,
    },
    #[command(about = about::<request::Rebuild>())]
    Rebuild {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        instance: Box<RebuildArgs>,
    },
    #[command(about = about::<request::Undeploy>())]
    Undeploy(Which),
    #[command(about = about::<request::Adopt>())]
    Adopt {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        instance: Box<InstanceArgs>,
    },
    #[command(about = about::<request::Clean>())]
    Clean {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        wish: WishArgs,
    },
    #[command(about = about::<request::Service>())]
    Service {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        wish: WishArgs,
    },
    #[command(about = about::<request::Rescue>())]
    Rescue {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        login: LoginArgs,
    },
    #[command(about = about::<request::Unrescue>())]
    Unrescue(Which),
    #[command(about = about::<request::Hold>())]
    Hold(Chosen),
    #[command(about = about::<request::Unhold>())]
    Unhold(Chosen),
    #[command(about = about::<request::Abort>())]
    Abort(Which),
    /// Wait until the job that is under way is over, whoever began it.
    Wait {
        /// Id or name.
        node: String,
        /// Give up waiting after so many seconds.
        #[arg(long, default_value_t = 3600)]
        timeout: u64,
    },
    #[command(about = about::<SetNode>())]
    Set(Box<super::set::SetArgs>),
    /// Change what a machine can do, as allocations ask for it.
    #[command(subcommand)]
    Trait(TraitCommand),
    /// Begin or end maintenance.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Choose what firmware boots next, or always.
    BootDevice(BootDeviceArgs),
    /// Open its serial console in this terminal; `~.` ends it, and others may watch.
    Console(super::console::ConsoleArgs),
    #[command(about = about::<DeleteNode>())]
    Delete(Chosen),
}

#[derive(Subcommand)]
pub enum MaintenanceCommand {
    #[command(about = about::<SetMaintenance>())]
    Set {
        #[command(flatten)]
        chosen: Chosen,
        /// For whoever finds the node in it.
        #[arg(long)]
        reason: Option<String>,
    },
    #[command(about = about::<UnsetMaintenance>())]
    Unset(Chosen),
}

#[derive(Args)]
pub struct BootDeviceArgs {
    /// Ids or names, and last the device: none, pxe, disk, safe, cdrom or bios; a node alone: show what its BMC reports.
    #[arg(value_name = "NODE… DEVICE", required_unless_present = "conditions")]
    words: Vec<String>,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    until: Until,
    /// Every boot from now on.
    #[arg(long)]
    persistent: bool,
}

#[derive(Args)]
pub struct EnrollArgs {
    /// Its id; default: a fresh one.
    #[arg(long)]
    id: Option<NodeId>,
    /// A name of its own, for all commands.
    #[arg(long)]
    name: Option<NodeName>,
    /// BMC address: `10.0.0.1`, `10.0.0.1:6230`, `[fd00::1]:623`.
    #[arg(long)]
    bmc: BmcAddress,
    #[command(flatten)]
    login: BmcLogin,
    /// MAC address; may be given several times.
    #[arg(long = "mac")]
    macs: Vec<Mac>,
    /// SMBIOS system UUID.
    #[arg(long)]
    uuid: Option<SystemUuid>,
    /// Serial number of the machine.
    #[arg(long)]
    serial: Option<String>,
    /// How its firmware boots: uefi or bios.
    #[arg(long, value_parser = boot_mode)]
    boot_mode: Option<BootMode>,
    /// Whether its UEFI firmware has Secure Boot on, and starts signed loaders only: on or off.
    #[arg(long, value_parser = on_off)]
    secure_boot: Option<bool>,
    /// Root device hint, `serial=S1` or `size=>= 100`; may be given several times.
    #[arg(long = "root-device", value_parser = hint)]
    root_device: Vec<(String, String)>,
    /// A disk that is neither cleaned nor deployed to, by hints as above, several with commas between them; may be given
    /// several times.
    #[arg(long = "skip-disk", value_parser = skip)]
    skip_disks: Vec<Hints>,
    #[command(flatten)]
    profile: ProfileArgs,
    /// What it can do: `CUSTOM_GPU`; may be given several times.
    #[arg(long = "trait")]
    traits: Vec<Trait>,
    /// Take MACs, UUID, serial and inventory from a machine that looked up (`ironbeat lookups`).
    #[arg(long)]
    from: Option<String>,
}

#[derive(Args)]
pub struct InstanceArgs {
    /// `http://…`, or the name of a file in the workers' image directory.
    #[arg(long)]
    image: ImageSource,
    /// `sha256:<hex>` or `sha512:<hex>` of the file as it is served.
    #[arg(long)]
    checksum: Checksum,
    #[command(flatten)]
    about: AboutArgs,
}

/// Without an image: the same instance again.
#[derive(Args)]
pub struct RebuildArgs {
    /// Another image: `http://…`, or the name of a file in the workers' image directory.
    #[arg(long, requires = "checksum")]
    image: Option<ImageSource>,
    /// `sha256:<hex>` or `sha512:<hex>` of the file as it is served.
    #[arg(long, requires = "image")]
    checksum: Option<Checksum>,
    #[command(flatten)]
    about: AboutArgs,
}

/// What an instance is told about itself.
#[derive(Args)]
struct AboutArgs {
    /// Its host name; default: the node's name.
    #[arg(long, requires = "image")]
    hostname: Option<String>,
    /// cloud-init user data.
    #[arg(long, requires = "image")]
    user_data: Option<PathBuf>,
    /// OpenStack network_data.json.
    #[arg(long, requires = "image")]
    network_data: Option<PathBuf>,
    /// SSH public key; may be given several times.
    #[arg(long = "ssh-key", requires = "image")]
    ssh_keys: Vec<String>,
    /// Have the instance say once that it runs (cloud-init's phone_home, against a worker); `--confirm=false`: not. Default:
    /// as the policy has it.
    #[arg(long, requires = "image", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    confirm: Option<bool>,
    /// Root device hint of this instance; overrides the node's own.
    #[arg(long = "root-device", value_parser = hint, requires = "image")]
    root_device: Vec<(String, String)>,
    /// A trait of the node's that it must have; a deploy template of that name adds its steps. May be given several times.
    #[arg(long = "trait", requires = "image")]
    traits: Vec<Trait>,
    /// A step beside those of every deploy, by priority: `90:erase_devices_metadata`, `50:hold`; may be given several times.
    #[arg(long = "deploy-step", value_parser = deploy_step, value_name = "PRIORITY:STEP", requires = "image")]
    deploy_steps: Vec<DeployStep>,
}

pub async fn run(client: Client, command: NodeCommand) -> anyhow::Result<()> {
    match command {
        NodeCommand::Enroll(args) => enroll(&client, *args).await,
        NodeCommand::Console(args) => super::console::run(&client, args).await,
        NodeCommand::List(args) => super::list::run(&client, args).await,
        NodeCommand::Show { node } => out::json(
            &client
                .ask_as::<_, serde_json::Value>(&ShowNode::of(node))
                .await?,
        ),
        NodeCommand::Explain { node } => {
            let explanation = client.ask(&ExplainNode::of(node)).await?;
            if client.json {
                return out::json(&explanation);
            }
            out::lines(explanation.to_string().trim_end())
        }
        NodeCommand::Validate { node } => {
            let rows = client.ask(&ValidateNode::of(node)).await?;
            if client.json {
                return out::json(&rows);
            }
            let rows = rows.into_iter().map(|row| {
                let result = match row.result {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "-",
                };
                vec![row.interface, result.into(), row.reason]
            });
            out::table(&["INTERFACE", "READY", "REASON"], rows.collect())
        }
        NodeCommand::History(args) => super::past::history(&client, args).await,
        NodeCommand::Record { node } => super::past::record(&client, node).await,
        NodeCommand::Manage(which) => {
            let ask = |node| request::Manage {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::At(Rest::Manageable), ask).await
        }
        NodeCommand::Inspect(which) => {
            let ask = |node| request::Inspect {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::At(Rest::Manageable), ask).await
        }
        NodeCommand::Provide(which) => {
            let ask = |node| request::Provide {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::At(Rest::Available), ask).await
        }
        NodeCommand::Rebuild { which, instance } => {
            let RebuildArgs {
                image,
                checksum,
                about,
            } = *instance;
            let instance = match image.zip(checksum) {
                Some((image, checksum)) => Some(read_instance(&which, image, checksum, about)?),
                None => None,
            };
            let ask = |node| request::Rebuild {
                node,
                request: fresh_request(),
                instance: instance.clone(),
            };
            which.ask(&client, Success::At(Rest::Active), ask).await
        }
        NodeCommand::Undeploy(which) => {
            let ask = |node| request::Undeploy {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::At(Rest::Available), ask).await
        }
        NodeCommand::Abort(which) => {
            let ask = |node| request::Abort {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::Over, ask).await
        }
        NodeCommand::BootDevice(args) => boot_device(&client, args).await,
        NodeCommand::Deploy { which, instance } => {
            let InstanceArgs {
                image,
                checksum,
                about,
            } = *instance;
            let instance = read_instance(&which, image, checksum, about)?;
            let ask = |node| request::Deploy {
                node,
                request: fresh_request(),
                instance: instance.clone(),
            };
            which.ask(&client, Success::At(Rest::Active), ask).await
        }
        NodeCommand::Adopt { which, instance } => {
            let InstanceArgs {
                image,
                checksum,
                about,
            } = *instance;
            let instance = read_instance(&which, image, checksum, about)?;
            let ask = |node| request::Adopt {
                node,
                request: fresh_request(),
                instance: instance.clone(),
            };
            which.ask(&client, Success::At(Rest::Active), ask).await
        }
        NodeCommand::Clean { which, wish } => {
            let wish = wish.wish()?;
            let ask = |node| request::Clean {
                node,
                request: fresh_request(),
                wish: wish.clone(),
            };
            which.ask(&client, Success::At(Rest::Manageable), ask).await
        }
        NodeCommand::Service { which, wish } => {
            let wish = wish.wish()?;
            let ask = |node| request::Service {
                node,
                request: fresh_request(),
                wish: wish.clone(),
            };
            which.ask(&client, Success::At(Rest::Active), ask).await
        }
        NodeCommand::Rescue { which, login } => {
            let login = login.login()?;
            let ask = |node| request::Rescue {
                node,
                request: fresh_request(),
                login: login.clone(),
            };
            which.ask(&client, Success::At(Rest::Rescue), ask).await
        }
        NodeCommand::Unrescue(which) => {
            let ask = |node| request::Unrescue {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::At(Rest::Active), ask).await
        }
        NodeCommand::Hold(chosen) => {
            let ask = |node| request::Hold {
                node,
                request: fresh_request(),
            };
            let said = |_: &Shown| "begins no further step".into();
            chosen.ask(&client, ask, said).await
        }
        NodeCommand::Unhold(chosen) => {
            let ask = |node| request::Unhold {
                node,
                request: fresh_request(),
            };
            chosen.ask(&client, ask, |_| "goes on".into()).await
        }
        NodeCommand::Wait { node, timeout } => {
            let bars = Bars::new(client.json);
            let wait = Wait {
                client: &client,
                name: &node,
                timeout_secs: timeout,
                says: Says::of(&client, bars.as_ref()),
            };
            wait.attach().await
        }
        NodeCommand::Set(args) => super::set::run(&client, *args).await,
        NodeCommand::Trait(command) => change_traits(&client, command).await,
        NodeCommand::Maintenance(MaintenanceCommand::Set { chosen, reason }) => {
            let ask = |node| SetMaintenance {
                node,
                request: fresh_request(),
                reason: reason.clone(),
            };
            chosen
                .ask(&client, ask, |_| "is in maintenance".into())
                .await
        }
        NodeCommand::Maintenance(MaintenanceCommand::Unset(chosen)) => {
            let ask = |node| UnsetMaintenance {
                node,
                request: fresh_request(),
            };
            let said = |_: &Shown| "is not in maintenance".into();
            chosen.ask(&client, ask, said).await
        }
        NodeCommand::Delete(chosen) => {
            let said = |gone: &Shown| format!("is forgotten, id {}", gone.id);
            chosen.ask(&client, DeleteNode::of, said).await
        }
    }
}

/// The last word is the device where it can be one: `web1 pxe`. A lone word is a node.
async fn boot_device(client: &Client, args: BootDeviceArgs) -> anyhow::Result<()> {
    let BootDeviceArgs {
        mut words,
        many,
        until,
        persistent,
    } = args;
    let known = BootDevice::ALL.map(BootDevice::name).join(", ");
    let device = match words.len() {
        1 if !many.is_filtered() => None,
        _ => words.pop(),
    };
    let Some(device) = device else {
        if many.is_filtered() {
            bail!("say which device: one of {known}");
        }
        let info = client
            .ask(&BmcInfo {
                node: words.concat(),
            })
            .await?;
        return out::json(&info.boot);
    };
    let is_it = |known: &BootDevice| known.name() == device;
    let Some(boot_device) = BootDevice::ALL.into_iter().find(is_it) else {
        bail!("{device:?} is no device: the last word is one of {known}");
    };
    if many.is_filtered() && !words.is_empty() {
        bail!("give nodes or --where, and not both");
    }
    let ask = |node| SetBootDevice {
        node,
        request: fresh_request(),
        boot_device,
        persistent,
    };
    let targets = many.targets(client, "node boot-device", &words).await?;
    until.ask(client, targets, &many, Success::Back, ask).await
}

fn read_instance(
    which: &Which,
    source: ImageSource,
    checksum: Checksum,
    args: AboutArgs,
) -> anyhow::Result<NewInstance> {
    if which.chosen.is_several() {
        only_for_one("--hostname", args.hostname.is_some())?;
    }
    let read = |path: Option<PathBuf>| {
        path.map(|path| {
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        })
        .transpose()
    };
    Ok(NewInstance {
        image: Image {
            source,
            checksum,
            format: None,
        },
        hostname: args.hostname,
        user_data: read(args.user_data)?,
        network_data: read(args.network_data)?,
        confirm: args.confirm,
        token: None,
        ssh_keys: args.ssh_keys,
        root_device: hints(args.root_device)?,
        traits: args.traits,
        deploy_steps: args.deploy_steps,
    })
}

async fn enroll(client: &Client, args: EnrollArgs) -> anyhow::Result<()> {
    let bmc = args.login.access(args.bmc)?;
    let fresh = || NodeId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
    let wish = Enroll {
        // Chosen here, so that a repeated request enrolls one node.
        id: Some(args.id.unwrap_or_else(fresh)),
        name: args.name,
        bmc,
        macs: args.macs,
        system_uuid: args.uuid,
        serial: args.serial,
        boot_mode: args.boot_mode,
        secure_boot: args.secure_boot,
        root_device: hints(args.root_device)?,
        skip_block_devices: args.skip_disks,
        description: args.profile.description,
        resource_class: args.profile.resource_class,
        owner: args.profile.owner,
        lessee: args.profile.lessee,
        traits: args.traits,
        properties: args.profile.properties.into_iter().collect(),
        extra: args.profile.extra.into_iter().collect(),
        disable_power_off: args.profile.power_off.map(|on| !on),
        automated_clean: args.profile.automated_clean,
        from: args.from,
    };
    let shown: serde_json::Value = client.ask_as(&wish).await?;
    for warning in shown["warnings"].as_array().into_iter().flatten() {
        out::warn(warning.as_str().unwrap_or_default())?;
    }
    if client.json {
        return out::json(&shown);
    }
    let id = shown["id"].as_str().unwrap_or_default();
    out::line(format_args!("{id} is enrolled"))
}
