//! `ironbeat node …`: the arguments of each verb, and how nodes are shown.
//! The conductor's endpoints carry the verbs out.
use super::client::Client;
use super::login::BmcLogin;
use super::manual::StepArgs;
use super::out;
use super::parse::{boot_mode, hint, hints, on_off, skip};
use super::power::power_word;
use super::profile::{ProfileArgs, TraitCommand, change_traits};
use super::verb::{Which, about, ask_of, fresh_request, verb};
use super::wait::{Success, Wait};
use anyhow::Context;
use clap::{Args, Subcommand};
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_common::image::Checksum;
use ironbeat_common::inventory::BootMode;
use ironbeat_core::hints::Hints;
use ironbeat_core::id::NodeName;
use ironbeat_core::node::{
    BmcAddress, BootDevice, HardwareFault, Image, ImageSource, NewInstance, Rest, Trait,
};
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::{
    self, BmcInfo, DeleteNode, Enroll, ExplainNode, ListNodes, SetBootDevice, SetMaintenance,
    SetNode, ShowNode, UnsetMaintenance,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum NodeCommand {
    #[command(about = about::<Enroll>())]
    Enroll(Box<EnrollArgs>),
    #[command(about = about::<ListNodes>())]
    List,
    #[command(about = about::<ShowNode>())]
    Show {
        /// Id or name.
        node: String,
    },
    #[command(about = about::<ExplainNode>())]
    Explain {
        /// Id or name.
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
        steps: StepArgs,
    },
    #[command(about = about::<request::Service>())]
    Service {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        steps: StepArgs,
    },
    #[command(about = about::<request::Hold>())]
    Hold {
        /// Id or name.
        node: String,
    },
    #[command(about = about::<request::Unhold>())]
    Unhold {
        /// Id or name.
        node: String,
    },
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
    BootDevice {
        #[command(flatten)]
        which: Which,
        /// none, pxe, disk, safe, cdrom or bios; without one: show what the BMC reports.
        #[arg(value_parser = boot_device)]
        device: Option<BootDevice>,
        /// Every boot from now on.
        #[arg(long)]
        persistent: bool,
    },
    /// Open its serial console in this terminal; `~.` ends it, and others may watch.
    Console(super::console::ConsoleArgs),
    #[command(about = about::<DeleteNode>())]
    Delete {
        /// Id or name.
        node: String,
    },
}

#[derive(Subcommand)]
pub enum MaintenanceCommand {
    #[command(about = about::<SetMaintenance>())]
    Set {
        /// Id or name.
        node: String,
        /// For whoever finds the node in it.
        #[arg(long)]
        reason: Option<String>,
    },
    #[command(about = about::<UnsetMaintenance>())]
    Unset {
        /// Id or name.
        node: String,
    },
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
}

fn boot_device(text: &str) -> Result<BootDevice, String> {
    let known = BootDevice::ALL
        .into_iter()
        .find(|device| device.name() == text);
    known.ok_or_else(|| {
        format!(
            "one of {}",
            BootDevice::ALL.map(BootDevice::name).join(", ")
        )
    })
}

pub async fn run(client: Client, command: NodeCommand) -> anyhow::Result<()> {
    match command {
        NodeCommand::Enroll(args) => enroll(&client, *args).await,
        NodeCommand::Console(args) => super::console::run(&client, args).await,
        NodeCommand::List => list(&client).await,
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
        NodeCommand::Manage(which) => {
            let (node, request) = (which.node.clone(), fresh_request());
            verb(
                &client,
                &which,
                Success::At(Rest::Manageable),
                &request::Manage { node, request },
            )
            .await
        }
        NodeCommand::Inspect(which) => {
            let (node, request) = (which.node.clone(), fresh_request());
            verb(
                &client,
                &which,
                Success::At(Rest::Manageable),
                &request::Inspect { node, request },
            )
            .await
        }
        NodeCommand::Provide(which) => {
            let (node, request) = (which.node.clone(), fresh_request());
            verb(
                &client,
                &which,
                Success::At(Rest::Available),
                &request::Provide { node, request },
            )
            .await
        }
        NodeCommand::Rebuild { which, instance } => {
            let RebuildArgs {
                image,
                checksum,
                about,
            } = *instance;
            let instance = match image.zip(checksum) {
                Some((image, checksum)) => Some(read_instance(image, checksum, about)?),
                None => None,
            };
            let ask = request::Rebuild {
                node: which.node.clone(),
                request: fresh_request(),
                instance,
            };
            verb(&client, &which, Success::At(Rest::Active), &ask).await
        }
        NodeCommand::Undeploy(which) => {
            let (node, request) = (which.node.clone(), fresh_request());
            verb(
                &client,
                &which,
                Success::At(Rest::Available),
                &request::Undeploy { node, request },
            )
            .await
        }
        NodeCommand::Abort(which) => {
            let (node, request) = (which.node.clone(), fresh_request());
            verb(
                &client,
                &which,
                Success::Over,
                &request::Abort { node, request },
            )
            .await
        }
        NodeCommand::BootDevice {
            which,
            device: None,
            persistent: _,
        } => {
            let info = client.ask(&BmcInfo::of(which.node)).await?;
            out::json(&info.boot)
        }
        NodeCommand::BootDevice {
            which,
            device: Some(boot_device),
            persistent,
        } => {
            let ask = SetBootDevice {
                node: which.node.clone(),
                request: fresh_request(),
                boot_device,
                persistent,
            };
            verb(&client, &which, Success::Back, &ask).await
        }
        NodeCommand::Deploy { which, instance } => {
            let InstanceArgs {
                image,
                checksum,
                about,
            } = *instance;
            let ask = request::Deploy {
                node: which.node.clone(),
                request: fresh_request(),
                instance: read_instance(image, checksum, about)?,
            };
            verb(&client, &which, Success::At(Rest::Active), &ask).await
        }
        NodeCommand::Adopt { which, instance } => {
            let InstanceArgs {
                image,
                checksum,
                about,
            } = *instance;
            let ask = request::Adopt {
                node: which.node.clone(),
                request: fresh_request(),
                instance: read_instance(image, checksum, about)?,
            };
            verb(&client, &which, Success::At(Rest::Active), &ask).await
        }
        NodeCommand::Clean { which, steps } => {
            let ask = request::Clean {
                node: which.node.clone(),
                request: fresh_request(),
                wish: steps.into(),
            };
            verb(&client, &which, Success::At(Rest::Manageable), &ask).await
        }
        NodeCommand::Service { which, steps } => {
            let ask = request::Service {
                node: which.node.clone(),
                request: fresh_request(),
                wish: steps.into(),
            };
            verb(&client, &which, Success::At(Rest::Active), &ask).await
        }
        NodeCommand::Hold { node } => {
            let request = fresh_request();
            let ask = request::Hold {
                node: node.clone(),
                request,
            };
            let shown = ask_of(&client, &node, &ask).await?;
            changed(
                &client,
                &shown,
                format_args!("{node} begins no further step"),
            )
        }
        NodeCommand::Unhold { node } => {
            let request = fresh_request();
            let ask = request::Unhold {
                node: node.clone(),
                request,
            };
            let shown = ask_of(&client, &node, &ask).await?;
            changed(&client, &shown, format_args!("{node} goes on"))
        }
        NodeCommand::Wait { node, timeout } => {
            let wait = Wait {
                client: &client,
                name: &node,
                timeout_secs: timeout,
            };
            wait.attach().await
        }
        NodeCommand::Set(args) => super::set::run(&client, *args).await,
        NodeCommand::Trait(command) => change_traits(&client, command).await,
        NodeCommand::Maintenance(MaintenanceCommand::Set { node, reason }) => {
            let request = fresh_request();
            let ask = SetMaintenance {
                node: node.clone(),
                request,
                reason,
            };
            let shown = ask_of(&client, &node, &ask).await?;
            changed(&client, &shown, format_args!("{node} is in maintenance"))
        }
        NodeCommand::Maintenance(MaintenanceCommand::Unset { node }) => {
            let request = fresh_request();
            let ask = UnsetMaintenance {
                node: node.clone(),
                request,
            };
            let shown = ask_of(&client, &node, &ask).await?;
            changed(
                &client,
                &shown,
                format_args!("{node} is not in maintenance"),
            )
        }
        NodeCommand::Delete { node } => {
            let gone = ask_of(&client, &node, &DeleteNode::of(&node)).await?;
            out::line(format_args!("{} is forgotten", gone.id))
        }
    }
}

fn changed(client: &Client, shown: &Shown, said: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    match client.json {
        true => out::json(shown),
        false => out::line(said),
    }
}

fn read_instance(
    source: ImageSource,
    checksum: Checksum,
    args: AboutArgs,
) -> anyhow::Result<NewInstance> {
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

async fn list(client: &Client) -> anyhow::Result<()> {
    let nodes = client.all_nodes().await?;
    if client.json {
        return out::json(&nodes);
    }
    let rows = nodes.iter().map(|node| {
        vec![
            node.id.to_string(),
            node.name.as_ref().map_or("-".into(), ToString::to_string),
            node.provision_state.clone(),
            power_word(node),
            match (node.fault, node.maintenance) {
                (Some(HardwareFault::Power), _) => "power failure".into(),
                (Some(HardwareFault::Clean), _) => "clean failure".into(),
                (Some(HardwareFault::Service), _) => "service failure".into(),
                (None, true) => "yes".into(),
                (None, false) => "-".into(),
            },
            node.bmc.clone(),
            node.errors(),
        ]
    });
    out::table(
        &["ID", "NAME", "STATE", "POWER", "MAINT", "BMC", "LAST ERROR"],
        rows.collect(),
    )
}
