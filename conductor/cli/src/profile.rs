//! What an operator says of a node beyond its machine: the arguments of `node enroll` and `node set`, and `node trait …`.
//! The workers say what is too long, and what may change when.
use super::client::Client;
use super::out;
use super::parse::{noted, on_off};
use super::verb::{ask_of, fresh_request};
use clap::{Args, Subcommand};
use ironbeat_core::decide::Patch;
use ironbeat_core::node::Trait;
use ironbeat_ops::request::SetNode;
use serde_json::Value;

#[derive(Args)]
pub struct ProfileArgs {
    /// For people; at most 4,096 characters.
    #[arg(long)]
    pub description: Option<String>,
    /// What kind of machine it is, for those who allocate.
    #[arg(long, value_name = "CLASS")]
    pub resource_class: Option<String>,
    /// Whose machine it is.
    #[arg(long)]
    pub owner: Option<String>,
    /// Who uses it, by leave of the owner.
    #[arg(long)]
    pub lessee: Option<String>,
    /// What you say of its hardware, `cpu_arch=x86_64` or `memory_mb=65536`; null takes a key away, others stay. May be given
    /// several times.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = noted)]
    pub properties: Vec<(String, Value)>,
    /// Whatever else, likewise: `rack=R7`, `contract=null`.
    #[arg(long = "extra", value_name = "KEY=VALUE", value_parser = noted)]
    pub extra: Vec<(String, Value)>,
    /// Whether it may be switched off: off where it may not.
    #[arg(long, value_name = "ON|OFF", value_parser = on_off)]
    pub power_off: Option<bool>,
    /// Whether it is cleaned on its way to `available`; default: as the policy has it.
    #[arg(long, value_name = "ON|OFF", value_parser = on_off)]
    pub automated_clean: Option<bool>,
}

impl ProfileArgs {
    /// Adds them to the rest of what is said.
    pub fn add_to(self, patch: Patch) -> Patch {
        Patch {
            description: self.description,
            resource_class: self.resource_class,
            owner: self.owner,
            lessee: self.lessee,
            properties: self.properties.into_iter().collect(),
            extra: self.extra.into_iter().collect(),
            disable_power_off: self.power_off.map(|on| !on),
            automated_clean: self.automated_clean,
            ..patch
        }
    }
}

#[derive(Subcommand)]
pub enum TraitCommand {
    /// Give a node further traits.
    Add {
        /// Id or name.
        node: String,
        /// `CUSTOM_GPU`: capital letters, digits and `_`.
        #[arg(required = true)]
        traits: Vec<Trait>,
    },
    /// Take traits from a node.
    Remove {
        /// Id or name.
        node: String,
        /// Some that it has.
        #[arg(required = true)]
        traits: Vec<Trait>,
    },
    /// Give a node these traits and no others; without any: none.
    Set {
        /// Id or name.
        node: String,
        /// All that it is to have.
        traits: Vec<Trait>,
    },
}

pub async fn change_traits(client: &Client, command: TraitCommand) -> anyhow::Result<()> {
    let none = Patch::default();
    let (node, patch) = match command {
        TraitCommand::Add { node, traits } => {
            let add_traits = traits;
            (node, Patch { add_traits, ..none })
        }
        TraitCommand::Remove { node, traits } => {
            let remove_traits = traits;
            (
                node,
                Patch {
                    remove_traits,
                    ..none
                },
            )
        }
        TraitCommand::Set { node, traits } => {
            let traits = Some(traits);
            (node, Patch { traits, ..none })
        }
    };
    let ask = SetNode {
        node: node.clone(),
        request: fresh_request(),
        patch,
    };
    let shown = ask_of(client, &node, &ask).await?;
    if client.json {
        return out::json(&shown);
    }
    let traits = shown.rest.get("traits").and_then(Value::as_array);
    let traits = traits.into_iter().flatten().filter_map(Value::as_str);
    let traits: Vec<&str> = traits.collect();
    match traits.is_empty() {
        true => out::line(format_args!("{node} has no traits")),
        false => out::line(format_args!("{node} has {}", traits.join(" "))),
    }
}
