//! `ironbeat node set`: what of a node's description changes.
//! The workers say what may change when.
use super::client::Client;
use super::login::{read, read_kg};
use super::out;
use super::parse::{boot_mode, hint, hints, on_off, skip};
use super::profile::ProfileArgs;
use super::verb::fresh_request;
use clap::Args;
use ironbeat_common::id::{Mac, SystemUuid};
use ironbeat_common::inventory::BootMode;
use ironbeat_core::decide::{BmcPatch, Clear, Patch, bmc_is_checked};
use ironbeat_core::hints::Hints;
use ironbeat_core::id::NodeName;
use ironbeat_core::node::{BmcAddress, CipherSuite, Maintenance, Secret};
use ironbeat_ops::reply::Shown;
use ironbeat_ops::request::SetNode;
use std::path::PathBuf;

#[derive(Args)]
pub struct SetArgs {
    /// Id or name.
    node: String,
    /// Its name from now on.
    #[arg(long)]
    name: Option<NodeName>,
    #[command(flatten)]
    bmc: BmcArgs,
    /// MAC address: these and no others; may be given several times.
    #[arg(long = "mac")]
    macs: Vec<Mac>,
    /// One more MAC address; may be given several times.
    #[arg(long = "add-mac")]
    add_macs: Vec<Mac>,
    /// A MAC address that it has no longer; may be given several times.
    #[arg(long = "remove-mac")]
    remove_macs: Vec<Mac>,
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
    /// Root device hint, in place of all that it has; may be given several times.
    #[arg(long = "root-device", value_parser = hint)]
    root_device: Vec<(String, String)>,
    /// A disk that is neither cleaned nor deployed to, by hints with commas between them, in place of all that it has; may be
    /// given several times.
    #[arg(long = "skip-disk", value_parser = skip)]
    skip_disks: Vec<Hints>,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Its instance is not to be taken away, for this reason: no undeploy, no rebuild, no delete.
    #[arg(long, value_name = "REASON")]
    protected: Option<String>,
    /// It is to serve nobody else, for this reason: it is not made available, and not deployed.
    #[arg(long, value_name = "REASON")]
    retired: Option<String>,
    /// What it shall have no longer: name, uuid, serial, boot-mode, secure-boot, root-device, skip-disks, cipher-suite, kg,
    /// description, resource-class, owner, lessee, traits, properties, extra, protected, retired or automated-clean.
    #[arg(long, value_parser = clear)]
    clear: Vec<Clear>,
}

/// Of the access to its BMC, what is given; the rest stays.
#[derive(Args)]
struct BmcArgs {
    /// BMC address.
    #[arg(long)]
    bmc: Option<BmcAddress>,
    /// User of the BMC.
    #[arg(long)]
    bmc_user: Option<String>,
    /// File with the BMC password, `/dev/stdin` for a pipe. Never an argument: everybody can see those.
    #[arg(long)]
    bmc_password_file: Option<PathBuf>,
    /// RMCP+ cipher suite, 3 or 17.
    #[arg(long)]
    cipher_suite: Option<CipherSuite>,
    /// File with the key K_g in hex.
    #[arg(long)]
    bmc_kg_file: Option<PathBuf>,
    /// Speak IPMI 1.5, which hardly protects the password.
    #[arg(long)]
    ipmi_1_5: Option<bool>,
}

impl BmcArgs {
    fn patch(self) -> anyhow::Result<Option<BmcPatch>> {
        let password = self.bmc_password_file.as_deref();
        let password = password
            .map(|path| read("BMC password", path))
            .transpose()?;
        let patch = BmcPatch::Ipmi {
            address: self.bmc,
            username: self.bmc_user,
            password: password.map(Secret::new),
            cipher_suite: self.cipher_suite,
            kg: self.bmc_kg_file.as_deref().map(read_kg).transpose()?,
            ipmi_1_5: self.ipmi_1_5,
        };
        let nothing = BmcPatch::Ipmi {
            address: None,
            username: None,
            password: None,
            cipher_suite: None,
            kg: None,
            ipmi_1_5: None,
        };
        Ok((patch != nothing).then_some(patch))
    }
}

/// What can be cleared, as it is typed.
const CLEARABLE: &[(&str, Clear)] = &[
    ("name", Clear::Name),
    ("uuid", Clear::SystemUuid),
    ("serial", Clear::Serial),
    ("boot-mode", Clear::BootMode),
    ("secure-boot", Clear::SecureBoot),
    ("root-device", Clear::RootDevice),
    ("skip-disks", Clear::SkipBlockDevices),
    ("cipher-suite", Clear::CipherSuite),
    ("kg", Clear::Kg),
    ("description", Clear::Description),
    ("resource-class", Clear::ResourceClass),
    ("owner", Clear::Owner),
    ("lessee", Clear::Lessee),
    ("traits", Clear::Traits),
    ("properties", Clear::Properties),
    ("extra", Clear::Extra),
    ("protected", Clear::Protected),
    ("retired", Clear::Retired),
    ("automated-clean", Clear::AutomatedClean),
];

fn clear(text: &str) -> Result<Clear, String> {
    let found = CLEARABLE.iter().find(|(word, _)| *word == text);
    found.map(|(_, clear)| *clear).ok_or_else(|| {
        let words: Vec<&str> = CLEARABLE.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    })
}

pub async fn run(client: &Client, args: SetArgs) -> anyhow::Result<()> {
    let hints = match args.root_device.is_empty() {
        true => None,
        false => Some(hints(args.root_device)?),
    };
    let patch = Patch {
        name: args.name,
        bmc: args.bmc.patch()?,
        macs: (!args.macs.is_empty()).then_some(args.macs),
        add_macs: args.add_macs,
        remove_macs: args.remove_macs,
        system_uuid: args.uuid,
        serial: args.serial,
        boot_mode: args.boot_mode,
        secure_boot: args.secure_boot,
        root_device: hints,
        skip_block_devices: (!args.skip_disks.is_empty()).then_some(args.skip_disks),
        protected: args.protected,
        retired: args.retired,
        clear: args.clear,
        ..Patch::default()
    };
    let patch = args.profile.add_to(patch);
    let of_bmc = patch.is_of_bmc();
    let ask = SetNode {
        node: args.node.clone(),
        request: fresh_request(),
        patch,
    };
    let shown = client.ask(&ask).await?;
    if client.json {
        return out::json(&shown);
    }
    let then = match of_bmc {
        true => format!("; {}", checked(&shown)),
        false => String::new(),
    };
    out::line(format_args!("{} is changed{then}", args.node))
}

fn checked(node: &Shown) -> &'static str {
    let maintenance = node.rest.get("maintenance").cloned();
    let maintenance: Option<Maintenance> =
        maintenance.and_then(|maintenance| serde_json::from_value(maintenance).ok());
    bmc_is_checked(node.state.resting(), maintenance.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_cleared_has_a_word() {
        for known in Clear::ALL {
            let words = CLEARABLE.iter().filter(|(_, clear)| *clear == known);
            assert_eq!(words.count(), 1, "{}", known.name());
        }
        assert!(clear("colour").unwrap_err().starts_with("one of name, "));
    }
}
