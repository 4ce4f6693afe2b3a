//! For which nodes a verb is meant: those that were named, or all that fit some conditions.
//! `bulk` does it for several of them.
use super::client::Client;
use anyhow::{Context, bail, ensure};
use clap::Args;
use ironbeat_ops::reply::Summary;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};

/// Named in a question and in the error of a bulk verb; a screen has room for so many.
pub(super) const MAX_NAMED: usize = 10;

#[derive(Args, Clone)]
pub struct Chosen {
    /// Id or name; several may be given.
    #[arg(
        value_name = "NODE",
        required_unless_present = "conditions",
        conflicts_with = "conditions"
    )]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub many: Many,
}

#[derive(Args, Clone)]
pub struct Conditions {
    /// Only nodes that fit: `state=active,name=rack7-*,power!=on`, with `*` for any characters and `?` for one. A key that is
    /// not known is answered with those that are.
    #[arg(
        id = "conditions",
        long = "where",
        value_name = "KEY=VALUE,…",
        value_delimiter = ','
    )]
    pub all: Vec<String>,
}

/// What concerns several nodes at once.
#[derive(Args, Clone)]
pub struct Many {
    #[command(flatten)]
    only: Conditions,
    /// Do it for all that `--where` chooses without asking.
    #[arg(long)]
    yes: bool,
    /// So many nodes at once.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub parallel: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Id or name.
    pub ask: String,
    /// What people call it.
    pub name: String,
}

pub(super) enum Targets {
    /// The one that was named: its answer is printed as such.
    One(String),
    Several(Vec<Target>),
}

impl Chosen {
    /// More than one, or it is not known yet how many.
    pub(super) fn is_several(&self) -> bool {
        self.nodes.len() != 1
    }

    pub(super) async fn targets(&self, client: &Client, verb: &str) -> anyhow::Result<Targets> {
        self.many.targets(client, verb, &self.nodes).await
    }
}

impl Many {
    /// Of the nodes that were named; or, if none was, of those that fit, once somebody has said yes to them.
    pub(super) async fn targets(
        &self,
        client: &Client,
        verb: &str,
        named: &[String],
    ) -> anyhow::Result<Targets> {
        if !named.is_empty() {
            return Ok(match distinct(named).as_slice() {
                [one] => Targets::One((*one).clone()),
                several => {
                    Targets::Several(several.iter().map(|name| Target::named(name)).collect())
                }
            });
        }
        let conditions = &self.only.all;
        let fitting = client.nodes(conditions).await?;
        ensure!(!fitting.is_empty(), "no node fits {}", conditions.join(","));
        let targets: Vec<Target> = fitting.iter().map(Target::of).collect();
        if !self.yes {
            confirm(verb, &targets)?;
        }
        Ok(Targets::Several(targets))
    }

    pub(super) fn is_filtered(&self) -> bool {
        !self.only.all.is_empty()
    }
}

/// Each once, in the order in which they were named.
fn distinct(named: &[String]) -> Vec<&String> {
    let mut seen = BTreeSet::new();
    named.iter().filter(|name| seen.insert(*name)).collect()
}

impl Target {
    fn named(name: &str) -> Self {
        Self {
            ask: name.into(),
            name: name.into(),
        }
    }

    /// The name may become another node's meanwhile: it is asked for by id.
    pub(super) fn of(node: &Summary) -> Self {
        let id = node.id.to_string();
        let name = node.name.as_ref();
        Self {
            name: name.map_or_else(|| id.clone(), ToString::to_string),
            ask: id,
        }
    }
}

/// `web1, web2 and 7 more`.
pub(super) fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let named: Vec<&str> = names.take(MAX_NAMED).collect();
    let named = named.join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Nobody is asked who cannot answer.
fn confirm(verb: &str, targets: &[Target]) -> anyhow::Result<()> {
    let (count, named) = (targets.len(), some(targets.iter().map(|it| &*it.name)));
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("{verb} of {count} nodes ({named}) asks first: add --yes where nobody can be asked");
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{verb} of {count} nodes: {named}. Go on? [y/N] ")
        .and_then(|()| stderr.flush())
        .context("write to standard error")?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .context("read the answer from standard input")?;
    ensure!(
        matches!(answer.trim(), "y" | "Y" | "yes"),
        "nothing was asked of any node"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_named_twice_is_meant_once() {
        let named = ["b", "a", "b"].map(String::from);
        assert_eq!(distinct(&named), ["b", "a"]);
    }

    #[test]
    fn of_many_nodes_some_are_named() {
        let names: Vec<String> = (0..13).map(|n| format!("n{n}")).collect();
        let said = some(names.iter().map(|name| &**name));
        assert_eq!(said, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 3 more");
        assert_eq!(some(["a", "b"].into_iter()), "a, b");
    }
}
