//! `ironbeat node history` and `ironbeat node record`: what happened to a node, for people and for a bug report.
//! `ironbeat_ops::history` has the entries; `events` follows what happens now.
use super::client::Client;
use super::out;
use crate::clock;
use clap::Args;
use ironbeat_core::time::Time;
use ironbeat_ops::request::{NodeHistory, NodeRecord};
use std::time::Duration;

#[derive(Args)]
pub struct HistoryArgs {
    /// Id or name; also of a node that is gone.
    node: String,
    /// Only since this time, 2026-11-21T04:51:16Z, or so long ago: 90m, 12h, 90d.
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// How many, counted from the end; at most 1,000.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    At(Time),
    Ago(Duration),
}

fn when(text: &str) -> Result<When, String> {
    let plain = text.trim_end_matches('Z');
    let forms = [
        text.to_string(),
        format!("{plain}.000Z"),
        format!("{plain}T00:00:00.000Z"),
    ];
    if let Some(at) = forms.iter().find_map(|form| form.parse().ok()) {
        return Ok(When::At(at));
    }
    let bad = || format!("{text:?} is no time like 2026-11-21T04:51:16Z, and no span like 12h");
    let unit = text.chars().last().ok_or_else(bad)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(bad()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    Ok(When::Ago(Duration::from_secs(u64::from(count) * secs)))
}

impl When {
    fn at(self, now: Time) -> Time {
        match self {
            When::At(at) => at,
            When::Ago(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                Time::from_unix_ms(now.unix_ms().saturating_sub(ago))
            }
        }
    }
}

pub async fn history(client: &Client, args: HistoryArgs) -> anyhow::Result<()> {
    let HistoryArgs { node, since, limit } = args;
    let since = since.map(|since| since.at(clock::now()));
    let limit = Some(limit);
    let entries = client.ask(&NodeHistory { node, since, limit }).await?;
    for entry in entries {
        match client.json {
            true => out::line(serde_json::to_string(&entry)?)?,
            false => out::line(entry)?,
        }
    }
    Ok(())
}

/// A JSON document a line, whatever was asked for: the head first.
pub async fn record(client: &Client, node: String) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let node = node.clone();
        let page = client.ask(&NodeRecord { node, after }).await?;
        if let Some(head) = page.head {
            out::line(serde_json::to_string(&head)?)?;
        }
        for entry in page.entries {
            out::line(entry)?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_span() {
        let now = Time::from_unix_ms(1_795_236_676_123);
        let at = |text: &str| when(text).map(|when| when.at(now).unix_ms());
        for (text, expected) in [
            ("2026-11-21T04:51:16.123Z", 1_795_236_676_123),
            ("2026-11-21T04:51:16Z", 1_795_236_676_000),
            ("2026-11-21", 1_795_219_200_000),
            ("1s", 1_795_236_675_123),
            ("90m", 1_795_236_676_123 - 5_400_000),
            ("2h", 1_795_236_676_123 - 7_200_000),
            ("90d", 1_795_236_676_123 - 7_776_000_000),
            ("4000000000d", 0),
        ] {
            assert_eq!(at(text), Ok(expected), "{text}");
        }
        for wrong in ["", "h", "2w", "-1h", "yesterday", "größer", "1ä"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
