//! `ironbeat runbook …`: steps that are kept under a name, for `node clean --runbook` and `node service --runbook`.
//! The workers say what is wrong with one, and which nodes it is for.
use super::client::Client;
use super::manual::StepArgs;
use super::out;
use super::verb::about;
use clap::{Args, Subcommand};
use ironbeat_common::id::KeptId;
use ironbeat_core::id::RunbookName;
use ironbeat_core::node::Trait;
use ironbeat_core::runbook::Runbook;
use ironbeat_ops::reply::RunbookInfo;
use ironbeat_ops::request::{CreateRunbook, DeleteRunbook, ListRunbooks, SetRunbook, ShowRunbook};

#[derive(Subcommand)]
pub enum RunbookCommand {
    #[command(about = about::<CreateRunbook>())]
    Create(Box<TextArgs>),
    #[command(about = about::<ListRunbooks>())]
    List,
    #[command(about = about::<ShowRunbook>())]
    Show {
        /// Id or name.
        runbook: String,
    },
    /// Change what is given of a runbook; its steps all at once.
    Set(Box<SetArgs>),
    #[command(about = about::<DeleteRunbook>())]
    Delete {
        /// Id or name.
        runbook: String,
    },
}

#[derive(Args)]
pub struct TextArgs {
    /// Its name; letters, digits, `-` and `_`.
    name: RunbookName,
    #[command(flatten)]
    steps: StepArgs,
    #[command(flatten)]
    about: AboutArgs,
}

#[derive(Args)]
struct AboutArgs {
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// It is for nodes with one of these traits; may be given several times. None: for any node.
    #[arg(long = "trait")]
    traits: Vec<Trait>,
    /// Unless it is public, it is for nodes of this owner.
    #[arg(long)]
    owner: Option<String>,
    /// For nodes of all owners.
    #[arg(long)]
    public: bool,
}

#[derive(Args)]
pub struct SetArgs {
    /// Id or name.
    runbook: String,
    /// Another name.
    #[arg(long)]
    name: Option<RunbookName>,
    #[command(flatten)]
    steps: StepArgs,
    #[command(flatten)]
    about: AboutArgs,
    /// For nodes of its owner alone from now on.
    #[arg(long, conflicts_with = "public")]
    private: bool,
    /// Take away what was said: description, traits, owner, disable-ramdisk; may be given several times.
    #[arg(long, value_name = "WHAT")]
    clear: Vec<Clear>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Clear {
    Description,
    Traits,
    Owner,
    DisableRamdisk,
}

pub async fn run(client: &Client, command: RunbookCommand) -> anyhow::Result<()> {
    match command {
        RunbookCommand::Create(args) => {
            let TextArgs { name, steps, about } = *args;
            let text = Runbook {
                name,
                description: about.description,
                traits: about.traits,
                owner: about.owner,
                public: about.public,
                disable_ramdisk: steps.disable_ramdisk,
                steps: steps.steps()?,
            };
            let id = KeptId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
            let ask = CreateRunbook {
                id: Some(id),
                runbook: text,
            };
            say(client, &client.ask(&ask).await?, "is kept")
        }
        RunbookCommand::List => {
            let all = client.ask(&ListRunbooks {}).await?;
            if client.json {
                return out::json(&all);
            }
            let rows = all.iter().map(|runbook| {
                let text = &runbook.text;
                let traits: Vec<String> = text.traits.iter().map(ToString::to_string).collect();
                vec![
                    text.name.to_string(),
                    steps(text),
                    if traits.is_empty() {
                        "-".into()
                    } else {
                        traits.join(" ")
                    },
                    text.owner.clone().unwrap_or_else(|| "-".into()),
                    runbook.updated.to_string(),
                ]
            });
            let head = ["NAME", "STEPS", "TRAITS", "OWNER", "UPDATED"];
            out::table(&head, rows.collect())
        }
        RunbookCommand::Show { runbook } => out::json(&client.ask(&ShowRunbook { runbook }).await?),
        RunbookCommand::Set(args) => {
            let runbook = args.runbook.clone();
            let before = client.ask(&ShowRunbook { runbook }).await?;
            let ask = SetRunbook {
                // Its name may be another by then.
                runbook: before.id.to_string(),
                updated: Some(before.updated),
                text: changed(before.text, *args)?,
            };
            say(client, &client.ask(&ask).await?, "is changed")
        }
        RunbookCommand::Delete { runbook } => {
            let gone = client.ask(&DeleteRunbook { runbook }).await?;
            say(client, &gone, "is forgotten")
        }
    }
}

fn changed(mut text: Runbook, args: SetArgs) -> anyhow::Result<Runbook> {
    let disable_ramdisk = args.steps.disable_ramdisk;
    let steps = args.steps.steps()?;
    if !steps.is_empty() {
        text.steps = steps;
    }
    for clear in args.clear {
        match clear {
            Clear::Description => text.description = None,
            Clear::Traits => text.traits.clear(),
            Clear::Owner => text.owner = None,
            Clear::DisableRamdisk => text.disable_ramdisk = false,
        }
    }
    let about = args.about;
    if !about.traits.is_empty() {
        text.traits = about.traits;
    }
    Ok(Runbook {
        name: args.name.unwrap_or(text.name),
        description: about.description.or(text.description),
        owner: about.owner.or(text.owner),
        disable_ramdisk: disable_ramdisk || text.disable_ramdisk,
        public: about.public || (text.public && !args.private),
        ..text
    })
}

fn steps(text: &Runbook) -> String {
    let names: Vec<&str> = text.steps.iter().map(|step| step.step.name()).collect();
    names.join(", ")
}

fn say(client: &Client, runbook: &RunbookInfo, what: &str) -> anyhow::Result<()> {
    if client.json {
        return out::json(runbook);
    }
    let text = &runbook.text;
    let (name, steps) = (&text.name, steps(text));
    out::line(format_args!("{name} {what}: {steps}"))
}
