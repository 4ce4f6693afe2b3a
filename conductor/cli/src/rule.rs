//! `ironbeat rule …`: what follows from what an inspection finds.
//! The workers know what a rule may say, and apply it.
use super::client::Client;
use super::out;
use super::verb::about;
use anyhow::Context;
use clap::{Args, Subcommand};
use ironbeat_core::rules::{RuleSpec, Scope};
use ironbeat_ops::reply::{ConditionTrial, RuleInfo, RuleTrial};
use ironbeat_ops::request::{CreateRule, DeleteRule, ListRules, SetRule, ShowRule, TestRule};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum RuleCommand {
    #[command(about = about::<CreateRule>())]
    Create {
        /// A rule as JSON, or a list of them.
        file: PathBuf,
    },
    #[command(about = about::<SetRule>())]
    Set {
        /// A rule as JSON, or a list of them.
        file: PathBuf,
    },
    #[command(about = about::<ListRules>())]
    List,
    #[command(about = about::<ShowRule>())]
    Show {
        /// Id or name.
        rule: String,
    },
    #[command(about = about::<DeleteRule>())]
    Delete {
        /// Id or name.
        rule: String,
    },
    /// Show which conditions of a rule hold, and what it would set. Nothing is changed.
    Test(TestArgs),
}

#[derive(Args)]
pub struct TestArgs {
    /// Id or name of a rule, or a file that ends in `.json`.
    rule: String,
    /// Id or name of a node that has an inventory.
    #[arg(long, required_unless_present = "lookup", conflicts_with = "lookup")]
    node: Option<String>,
    /// A machine that looked up: a key of `ironbeat lookups`, or the start of one.
    #[arg(long)]
    lookup: Option<String>,
}

/// # Errors
/// When a file cannot be read, or the workers refuse.
pub async fn run(client: &Client, command: RuleCommand) -> anyhow::Result<()> {
    match command {
        RuleCommand::Create { file } => {
            for rule in read(&file)? {
                said(client, &client.ask(&CreateRule { rule }).await?, "is there")?;
            }
            Ok(())
        }
        RuleCommand::Set { file } => {
            for rule in read(&file)? {
                said(client, &client.ask(&SetRule { rule }).await?, "is replaced")?;
            }
            Ok(())
        }
        RuleCommand::List => {
            let all = client.ask(&ListRules {}).await?;
            if client.json {
                return out::json(&all);
            }
            let rows = all.iter().map(|info| {
                let rule = &info.rule;
                let count = |count: usize| match rule.sensitive {
                    true => "?".to_string(),
                    false => count.to_string(),
                };
                vec![
                    rule.name.to_string(),
                    rule.priority.to_string(),
                    scope(rule).into(),
                    count(rule.conditions.len()),
                    count(rule.actions.len()),
                    rule.description.clone().unwrap_or_else(|| "-".into()),
                ]
            });
            let head = [
                "RULE",
                "PRIORITY",
                "SCOPE",
                "CONDITIONS",
                "ACTIONS",
                "DESCRIPTION",
            ];
            out::table(&head, rows.collect())
        }
        RuleCommand::Show { rule } => out::json(&client.ask(&ShowRule { rule }).await?),
        RuleCommand::Delete { rule } => {
            let gone = client.ask(&DeleteRule { rule }).await?;
            said(client, &gone, "is forgotten")
        }
        RuleCommand::Test(args) => test(client, args).await,
    }
}

async fn test(client: &Client, args: TestArgs) -> anyhow::Result<()> {
    let mut ask = TestRule {
        node: args.node,
        lookup: args.lookup,
        ..TestRule::default()
    };
    match args.rule.ends_with(".json") {
        true => {
            let mut rules = read(Path::new(&args.rule))?;
            anyhow::ensure!(
                rules.len() == 1,
                "{} has {} rules: test one at a time",
                args.rule,
                rules.len()
            );
            ask.given = rules.pop();
        }
        false => ask.rule = Some(args.rule),
    }
    let tried = client.ask(&ask).await?;
    if client.json {
        return out::json(&tried);
    }
    for (at, condition) in tried.conditions.iter().enumerate() {
        let (number, op) = (at + 1, &condition.op);
        out::line(format_args!(
            "condition {number}, {op}: {}",
            held(condition)
        ))?;
    }
    let Some(patch) = changes(&tried)? else {
        return out::line(format_args!("{} does not apply", tried.rule));
    };
    for line in &tried.log {
        out::line(format_args!("says {line}"))?;
    }
    out::line(format_args!("{} applies: {patch}", tried.rule))
}

fn held(condition: &ConditionTrial) -> String {
    match (condition.holds, &condition.why) {
        (Some(true), _) => "holds".into(),
        (Some(false), _) => "does not hold".into(),
        (None, why) => format!("cannot be said: {}", why.as_deref().unwrap_or("-")),
    }
}

/// None: it does not apply.
fn changes(tried: &RuleTrial) -> anyhow::Result<Option<String>> {
    if !tried.applies {
        return Ok(None);
    }
    Ok(Some(match (&tried.fails, &tried.patch) {
        (Some(why), _) => format!("the inspection fails: {why}"),
        (None, Some(patch)) if *patch != Default::default() => {
            format!("it sets {}", serde_json::to_string(patch)?)
        }
        (None, Some(_) | None) => "it changes nothing".into(),
    }))
}

fn read(file: &Path) -> anyhow::Result<Vec<RuleSpec>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("read {shown}"))?;
    let one = text.trim_start().starts_with('{');
    let rules = match one {
        true => serde_json::from_str(&text).map(|rule| vec![rule]),
        false => serde_json::from_str(&text),
    };
    rules.with_context(|| format!("understand {shown} as rules"))
}

fn said(client: &Client, info: &RuleInfo, what: &str) -> anyhow::Result<()> {
    match client.json {
        true => out::json(info),
        false => out::line(format_args!("rule {} {what}", info.rule.name)),
    }
}

fn scope(rule: &RuleSpec) -> &'static str {
    match rule.scope {
        None => "both",
        Some(Scope::Inspection) => "inspection",
        Some(Scope::Discovery) => "discovery",
    }
}
