//! `ironbeat node list`: which nodes, with which columns, in which order.
//! A worker chooses the nodes (`ironbeat_core::index::KEYS`); `out` draws the table.
use super::choose::Conditions;
use super::client::Client;
use super::clock;
use super::out;
use super::power::power_word;
use clap::Args;
use ironbeat_core::explain::human;
use ironbeat_core::node::HardwareFault;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::Summary;
use std::cmp::Ordering;

/// The usual columns.
const USUAL: &str = "id,name,state,power,maintenance,bmc,error";

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    only: Conditions,
    /// Of id, name, state, target, since, age, job, power, maintenance, worker, bmc, class, traits, owner, lessee, flags and error;
    /// `--json` has all.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', value_parser = column, default_value = USUAL)]
    columns: Vec<&'static Column>,
    /// In the order of these columns; with `-` before it, the other way round: `--sort state,-age`.
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        value_parser = order,
        default_value = "name",
        allow_hyphen_values = true
    )]
    sort: Vec<Order>,
}

/// One row of the table of columns.
pub struct Column {
    name: &'static str,
    head: &'static str,
    /// The time is now.
    cell: fn(&Summary, Time) -> String,
    /// None: as its cells.
    compare: Option<fn(&Summary, &Summary) -> Ordering>,
}

const COLUMNS: &[Column] = &[
    Column {
        name: "id",
        head: "ID",
        cell: |node, _| node.id.to_string(),
        compare: None,
    },
    Column {
        name: "name",
        head: "NAME",
        cell: |node, _| or_dash(node.name.as_ref()),
        compare: Some(|a, b| a.name.cmp(&b.name)),
    },
    Column {
        name: "state",
        head: "STATE",
        cell: |node, _| node.provision_state.clone(),
        compare: None,
    },
    Column {
        name: "target",
        head: "TARGET",
        cell: |node, _| or_dash(node.target_provision_state.as_ref()),
        compare: None,
    },
    Column {
        name: "since",
        head: "SINCE",
        cell: |node, _| node.since.to_string(),
        compare: Some(|a, b| a.since.cmp(&b.since)),
    },
    Column {
        name: "age",
        head: "AGE",
        cell: |node, now| human(now.since(node.since).as_secs()),
        compare: Some(|a, b| b.since.cmp(&a.since)),
    },
    Column {
        name: "job",
        head: "JOB",
        cell: |node, _| or_dash(node.job.as_ref()),
        compare: None,
    },
    Column {
        name: "power",
        head: "POWER",
        cell: |node, _| power_word(node),
        compare: None,
    },
    Column {
        name: "maintenance",
        head: "MAINT",
        cell: |node, _| maintenance(node).into(),
        compare: None,
    },
    Column {
        name: "worker",
        head: "WORKER",
        cell: |node, _| or_dash(node.worker.as_ref()),
        compare: None,
    },
    Column {
        name: "bmc",
        head: "BMC",
        cell: |node, _| node.bmc.clone(),
        compare: None,
    },
    Column {
        name: "class",
        head: "CLASS",
        cell: |node, _| or_dash(node.resource_class.as_ref()),
        compare: None,
    },
    Column {
        name: "traits",
        head: "TRAITS",
        cell: |node, _| listed(node.traits.iter()),
        compare: None,
    },
    Column {
        name: "owner",
        head: "OWNER",
        cell: |node, _| or_dash(node.owner.as_ref()),
        compare: None,
    },
    Column {
        name: "lessee",
        head: "LESSEE",
        cell: |node, _| or_dash(node.lessee.as_ref()),
        compare: None,
    },
    Column {
        name: "flags",
        head: "FLAGS",
        cell: |node, _| listed(flags(node)),
        compare: None,
    },
    Column {
        name: "error",
        head: "LAST ERROR",
        cell: |node, _| node.errors(),
        compare: None,
    },
];

#[derive(Clone, Copy)]
struct Order {
    by: &'static Column,
    is_reverse: bool,
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or("-".into(), ToString::to_string)
}

fn listed(words: impl Iterator<Item: ToString>) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    match words.is_empty() {
        true => "-".into(),
        false => words.join(" "),
    }
}

fn flags(node: &Summary) -> impl Iterator<Item = &'static str> {
    let set = [
        (node.protected, "protected"),
        (node.retired, "retired"),
        (node.allocation.is_some(), "allocated"),
    ];
    set.into_iter()
        .filter_map(|(is_set, flag)| is_set.then_some(flag))
}

fn maintenance(node: &Summary) -> &'static str {
    match (node.fault, node.maintenance) {
        (Some(HardwareFault::Power), _) => "power failure",
        (Some(HardwareFault::Clean), _) => "clean failure",
        (Some(HardwareFault::Service), _) => "service failure",
        (None, true) => "yes",
        (None, false) => "-",
    }
}

fn column(text: &str) -> Result<&'static Column, String> {
    let known = COLUMNS.iter().find(|column| column.name == text.trim());
    known.ok_or_else(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn order(text: &str) -> Result<Order, String> {
    let text = text.trim();
    let (name, is_reverse) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let by = column(name)?;
    Ok(Order { by, is_reverse })
}

/// The first column counts most. What is equal in all of them stays as it came.
fn sort(nodes: &mut [Summary], orders: &[Order], now: Time) {
    nodes.sort_by(|a, b| {
        let each = orders.iter().map(|Order { by, is_reverse }| {
            let order = match by.compare {
                Some(compare) => compare(a, b),
                None => (by.cell)(a, now).cmp(&(by.cell)(b, now)),
            };
            if *is_reverse { order.reverse() } else { order }
        });
        each.fold(Ordering::Equal, Ordering::then)
    });
}

pub(super) async fn run(client: &Client, args: ListArgs) -> anyhow::Result<()> {
    let mut nodes = client.nodes(&args.only.all).await?;
    let now = clock::now();
    sort(&mut nodes, &args.sort, now);
    if client.json {
        return out::json(&nodes);
    }
    let head: Vec<&str> = args.columns.iter().map(|column| column.head).collect();
    let cells = |node: &Summary| args.columns.iter().map(|it| (it.cell)(node, now)).collect();
    out::table(&head, nodes.iter().map(cells).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: Option<&str>, state: &str, since: u64) -> Summary {
        let since = serde_json::to_value(Time::from_unix_ms(since)).unwrap();
        serde_json::from_value(json!({
            "id": "07070707-0707-0707-0707-070707070707",
            "name": name.map_or(Value::Null, Value::from),
            "provision_state": state,
            "since": since,
            "maintenance": false,
            "bmc": "10.0.0.1",
        }))
        .unwrap()
    }

    fn sorted(by: &str) -> Vec<String> {
        let mut nodes = [
            node(Some("b"), "available", 1_000),
            node(None, "active", 2_000),
            node(Some("a"), "available", 3_000),
        ];
        let orders: Result<Vec<Order>, String> = by.split(',').map(order).collect();
        sort(&mut nodes, &orders.unwrap(), Time::from_unix_ms(9_000));
        nodes
            .iter()
            .map(|node| or_dash(node.name.as_ref()))
            .collect()
    }

    #[test]
    fn nodes_are_sorted_by_one_column_after_the_other() {
        for (by, expected) in [
            ("name", ["-", "a", "b"]),
            ("-name", ["b", "a", "-"]),
            ("state", ["-", "b", "a"]),
            ("state,name", ["-", "a", "b"]),
            ("state,-since", ["-", "a", "b"]),
            ("age", ["a", "-", "b"]),
            ("-age", ["b", "-", "a"]),
        ] {
            assert_eq!(sorted(by), expected, "{by}");
        }
    }

    #[test]
    fn columns_that_are_not_there_are_answered_with_those_that_are() {
        let why = column("colour").err().unwrap();
        assert!(why.contains("maintenance, worker, bmc"), "{why}");
        assert!(order("--name").is_err() && order("").is_err());
        for usual in USUAL.split(',') {
            assert!(column(usual).is_ok(), "{usual}");
        }
    }
}
