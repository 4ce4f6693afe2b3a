//! `ironbeat allocation …`: a node of a kind for whoever asks.
//! The workers choose, and say why there is none.
use super::client::Client;
use super::out;
use super::verb::about;
use clap::{Args, Subcommand};
use ironbeat_common::id::AllocationId;
use ironbeat_core::id::AllocationName;
use ironbeat_core::node::Trait;
use ironbeat_ops::reply::{AllocationInfo, AllocationState};
use ironbeat_ops::request::{CreateAllocation, DeleteAllocation, ListAllocations, ShowAllocation};

#[derive(Subcommand)]
pub enum AllocationCommand {
    #[command(about = about::<CreateAllocation>())]
    Create(Box<CreateArgs>),
    #[command(about = about::<ListAllocations>())]
    List,
    #[command(about = about::<ShowAllocation>())]
    Show {
        /// Id or name.
        allocation: String,
    },
    #[command(about = about::<DeleteAllocation>())]
    Delete {
        /// Id or name.
        allocation: String,
    },
}

#[derive(Args)]
pub struct CreateArgs {
    /// Its id; default: a fresh one. The same id again asks for the same node.
    #[arg(long)]
    id: Option<AllocationId>,
    /// A name of its own; a node of the same name is tried first.
    #[arg(long)]
    name: Option<AllocationName>,
    /// What kind of machine.
    #[arg(long, required_unless_present = "backfill", value_name = "CLASS")]
    resource_class: Option<String>,
    /// What it can do: `CUSTOM_GPU`; may be given several times.
    #[arg(long = "trait")]
    traits: Vec<Trait>,
    /// One of these nodes, by id or name; may be given several times.
    #[arg(long = "candidate", value_name = "NODE")]
    candidates: Vec<String>,
    /// A node that is theirs, or lent to them.
    #[arg(long)]
    owner: Option<String>,
    /// Exactly this node, which is active already.
    #[arg(long, value_name = "NODE", conflicts_with = "candidates")]
    backfill: Option<String>,
}

pub async fn run(client: &Client, command: AllocationCommand) -> anyhow::Result<()> {
    match command {
        AllocationCommand::Create(args) => {
            let fresh = || AllocationId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
            let ask = CreateAllocation {
                id: Some(args.id.unwrap_or_else(fresh)),
                name: args.name,
                resource_class: args.resource_class,
                traits: args.traits,
                candidate_nodes: args.candidates,
                owner: args.owner,
                node: args.backfill,
            };
            let made = client.ask(&ask).await?;
            if client.json {
                return out::json(&made);
            }
            out::line(format_args!("{} has node {}", called(&made), node(&made)))
        }
        AllocationCommand::List => {
            let all = client.ask(&ListAllocations {}).await?;
            if client.json {
                return out::json(&all);
            }
            let rows = all.iter().map(|made| {
                vec![
                    made.id.to_string(),
                    made.name.as_ref().map_or("-".into(), ToString::to_string),
                    state(made).into(),
                    node(made),
                    made.wanted.resource_class.clone(),
                    made.created.to_string(),
                ]
            });
            let head = ["ID", "NAME", "STATE", "NODE", "CLASS", "CREATED"];
            out::table(&head, rows.collect())
        }
        AllocationCommand::Show { allocation } => {
            out::json(&client.ask(&ShowAllocation { allocation }).await?)
        }
        AllocationCommand::Delete { allocation } => {
            let gone = client.ask(&DeleteAllocation { allocation }).await?;
            if client.json {
                return out::json(&gone);
            }
            out::line(format_args!("{} has ended", called(&gone)))
        }
    }
}

fn called(made: &AllocationInfo) -> String {
    let name = made.name.as_ref().map(ToString::to_string);
    name.unwrap_or_else(|| made.id.to_string())
}

fn node(made: &AllocationInfo) -> String {
    let name = made.node_name.as_ref().map(ToString::to_string);
    let id = made.node.as_ref().map(ToString::to_string);
    name.or(id).unwrap_or_else(|| "-".into())
}

fn state(made: &AllocationInfo) -> &'static str {
    match made.state {
        AllocationState::Allocating => "allocating",
        AllocationState::Active => "active",
    }
}
