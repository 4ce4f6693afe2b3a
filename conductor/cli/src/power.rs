//! `ironbeat power`: what operators do to the power of nodes.
//! The core says what each verb means.
use super::choose::Conditions;
use super::client::Client;
use super::out;
use super::verb::{Which, fresh_request};
use super::wait::Success;
use anyhow::bail;
use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use ironbeat_core::decide::PowerVerb;
use ironbeat_ops::reply::Summary;
use ironbeat_ops::request::{ChangePower, SyncPower};

/// BMCs that `sync-now` asks at once; the workers share them.
const AT_ONCE: usize = 64;

#[derive(Subcommand)]
pub enum PowerCommand {
    /// Switch on.
    On(Which),
    /// Switch off by force.
    Off(Which),
    /// Switch off, then on.
    Reboot(Which),
    /// Ask the operating system to switch off.
    SoftOff(Soft),
    /// Ask the operating system to switch off, then on.
    SoftReboot(Soft),
    /// Have the BMC itself switch off and on; never done twice.
    Cycle(Which),
    /// Pulse the reset line; never done twice.
    Reset(Which),
    /// Send a diagnostic interrupt (NMI), for a crash dump.
    Diag(Which),
    /// Ask the BMCs now: of these nodes, or of all.
    SyncNow {
        /// Ids or names; none: all nodes.
        #[arg(value_name = "NODE", conflicts_with = "conditions")]
        nodes: Vec<String>,
        #[command(flatten)]
        only: Conditions,
    },
}

#[derive(Args)]
pub struct Soft {
    #[command(flatten)]
    which: Which,
    /// Seconds that the operating system has; default: the workers' policy.
    #[arg(long)]
    soft_timeout: Option<u32>,
    /// After that, switch off by force.
    #[arg(long)]
    then_hard: bool,
}

pub async fn run(client: Client, command: PowerCommand) -> anyhow::Result<()> {
    let (which, power) = match command {
        PowerCommand::On(which) => (which, PowerVerb::On),
        PowerCommand::Off(which) => (which, PowerVerb::Off),
        PowerCommand::Reboot(which) => (which, PowerVerb::Reboot),
        PowerCommand::SoftOff(soft) => {
            let verb = PowerVerb::SoftOff {
                timeout_secs: soft.soft_timeout,
                then_hard: soft.then_hard,
            };
            (soft.which, verb)
        }
        PowerCommand::SoftReboot(soft) => {
            let verb = PowerVerb::SoftReboot {
                timeout_secs: soft.soft_timeout,
                then_hard: soft.then_hard,
            };
            (soft.which, verb)
        }
        PowerCommand::Cycle(which) => (which, PowerVerb::Cycle),
        PowerCommand::Reset(which) => (which, PowerVerb::Reset),
        PowerCommand::Diag(which) => (which, PowerVerb::Diag),
        PowerCommand::SyncNow { nodes, only } => return sync_now(&client, nodes, &only).await,
    };
    let ask = |node| ChangePower {
        node,
        request: fresh_request(),
        power,
    };
    which.ask(&client, Success::Back, ask).await
}

async fn sync_now(client: &Client, nodes: Vec<String>, only: &Conditions) -> anyhow::Result<()> {
    // Asked for by id, shown by name.
    let nodes: Vec<(String, String)> = if nodes.is_empty() {
        let all = client.nodes(&only.all).await?;
        all.iter()
            .map(|node| (node.id.to_string(), called(node)))
            .collect()
    } else {
        nodes.into_iter().map(|node| (node.clone(), node)).collect()
    };
    let count = nodes.len();
    let answers: Vec<(String, anyhow::Result<Summary>)> = stream::iter(nodes)
        .map(|(node, name)| async move {
            let answer = client.ask(&SyncPower::of(&node)).await;
            (name, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut rows = Vec::new();
    let mut known = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(summary) => {
                rows.push(vec![
                    called(&summary),
                    summary.provision_state.clone(),
                    power_word(&summary),
                    summary.errors(),
                ]);
                known.push(summary);
            }
            Err(error) => rows.push(vec![name, "?".into(), "?".into(), out::causes(&error)]),
        }
    }
    if client.json {
        out::json(&known)?;
    } else {
        out::table(&["NODE", "STATE", "POWER", "LAST ERROR"], rows)?;
    }
    if known.len() < count {
        bail!(
            "{} of {count} nodes could not be asked",
            count - known.len()
        );
    }
    Ok(())
}

fn called(node: &Summary) -> String {
    let name = node.name.as_ref();
    name.map_or_else(|| node.id.to_string(), ToString::to_string)
}

/// `on`, `off?` when nobody has seen it, `off → power on` on the way, `on? (the BMC says off)` when it was just asked.
pub fn power_word(node: &Summary) -> String {
    let now = match node.power_on {
        Some(true) => "on",
        Some(false) => "off",
        None => "-",
    };
    let doubt = match node.power_on.is_some() && !node.power_confirmed {
        true => "?",
        false => "",
    };
    let said = match node.bmc_power_on {
        Some(said) if node.power_on != Some(said) => {
            let said = if said { "on" } else { "off" };
            format!(" (the BMC says {said})")
        }
        Some(_) | None => String::new(),
    };
    match &node.target_power_state {
        Some(target) => format!("{now}{doubt}{said} → {target}"),
        None => format!("{now}{doubt}{said}"),
    }
}
