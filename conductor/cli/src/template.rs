//! `ironbeat template …`: steps for deploys of instances that ask for the trait of the same name.
//! The workers say what is wrong with one.
use super::client::Client;
use super::manual::deploy_step;
use super::out;
use super::verb::about;
use anyhow::Context;
use clap::{Args, Subcommand};
use ironbeat_common::id::KeptId;
use ironbeat_core::named::DeployStep;
use ironbeat_core::node::Trait;
use ironbeat_core::template::DeployTemplate;
use ironbeat_ops::reply::TemplateInfo;
use ironbeat_ops::request::{
    CreateTemplate, DeleteTemplate, ListTemplates, SetTemplate, ShowTemplate,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum TemplateCommand {
    #[command(about = about::<CreateTemplate>())]
    Create {
        /// A trait: `CUSTOM_SECURE_ERASE`.
        name: Trait,
        #[command(flatten)]
        text: TextArgs,
    },
    #[command(about = about::<ListTemplates>())]
    List,
    #[command(about = about::<ShowTemplate>())]
    Show {
        /// Id or name.
        template: String,
    },
    /// Change what is given of a template; its steps all at once.
    Set {
        /// Id or name.
        template: String,
        /// Another name.
        #[arg(long)]
        name: Option<Trait>,
        #[command(flatten)]
        text: TextArgs,
    },
    #[command(about = about::<DeleteTemplate>())]
    Delete {
        /// Id or name.
        template: String,
    },
}

#[derive(Args)]
pub struct TextArgs {
    /// By priority: `90:erase_devices_metadata`, `50:hold`; may be given several times. The deploy's own are write_image 80,
    /// prepare_instance_boot 60, tear_down_agent 40 and boot_instance 20.
    #[arg(long = "step", value_parser = deploy_step, value_name = "PRIORITY:STEP")]
    steps: Vec<DeployStep>,
    /// Steps from a file: a JSON list of {"step", "args", "priority", "timeout_secs", "tries", "on_failure"}.
    #[arg(long, value_name = "FILE", conflicts_with = "steps")]
    steps_file: Option<PathBuf>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
}

impl TextArgs {
    fn steps(&self) -> anyhow::Result<Vec<DeployStep>> {
        let Some(file) = &self.steps_file else {
            return Ok(self.steps.clone());
        };
        let told = || format!("read steps from {}", file.display());
        let text = std::fs::read_to_string(file).with_context(told)?;
        serde_json::from_str(&text).with_context(told)
    }
}

pub async fn run(client: &Client, command: TemplateCommand) -> anyhow::Result<()> {
    match command {
        TemplateCommand::Create { name, text } => {
            let steps = text.steps()?;
            let ask = CreateTemplate {
                id: Some(KeptId::from_bytes(*uuid::Uuid::new_v4().as_bytes())),
                template: DeployTemplate {
                    name,
                    description: text.description,
                    steps,
                },
            };
            say(client, &client.ask(&ask).await?, "is kept")
        }
        TemplateCommand::List => {
            let all = client.ask(&ListTemplates {}).await?;
            if client.json {
                return out::json(&all);
            }
            let rows = all.iter().map(|template| {
                let text = &template.text;
                vec![
                    text.name.to_string(),
                    steps(text),
                    template.updated.to_string(),
                ]
            });
            out::table(&["NAME", "STEPS", "UPDATED"], rows.collect())
        }
        TemplateCommand::Show { template } => {
            out::json(&client.ask(&ShowTemplate { template }).await?)
        }
        TemplateCommand::Set {
            template,
            name,
            text,
        } => {
            let given = text.steps()?;
            let before = client.ask(&ShowTemplate { template }).await?;
            let was = before.text;
            let ask = SetTemplate {
                // Its name may be another by then.
                template: before.id.to_string(),
                updated: Some(before.updated),
                text: DeployTemplate {
                    name: name.unwrap_or(was.name),
                    description: text.description.or(was.description),
                    steps: if given.is_empty() { was.steps } else { given },
                },
            };
            say(client, &client.ask(&ask).await?, "is changed")
        }
        TemplateCommand::Delete { template } => {
            let gone = client.ask(&DeleteTemplate { template }).await?;
            say(client, &gone, "is forgotten")
        }
    }
}

fn steps(text: &DeployTemplate) -> String {
    let each = text.steps.iter();
    let words = each.map(|step| format!("{}:{}", step.priority, step.named.step.name()));
    words.collect::<Vec<_>>().join(", ")
}

fn say(client: &Client, template: &TemplateInfo, what: &str) -> anyhow::Result<()> {
    if client.json {
        return out::json(template);
    }
    let text = &template.text;
    let (name, steps) = (&text.name, steps(text));
    out::line(format_args!("{name} {what}: {steps}"))
}
