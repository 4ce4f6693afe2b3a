//! One operator who writes a line after the other into one node's record: how long nobody takes it, and whether what was
//! acknowledged is there in the end.
//! Leaves all other nodes to `wave`.
use ironbeat_fleet::{Link, name};
use ironbeat_ops::request::{SetMaintenance, ShowNode};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(250);
/// An operator who is impatient sees an outage sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// The writer. Call [`Diary::close`] when all is well again.
pub struct Diary {
    link: Link,
    node: usize,
    writer: JoinHandle<()>,
    lines: tokio::sync::watch::Receiver<Lines>,
}

#[derive(Clone, Debug)]
struct Lines {
    sent: u64,
    /// Nobody knows what became of these: a worker that was frozen carries one out when it goes on.
    unclear: Vec<u64>,
    acknowledged: u64,
    last: Instant,
    longest: Duration,
}

/// What the diary shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The longest time without an acknowledgement.
    pub away: Duration,
    /// The last acknowledged line is there, or one that nobody acknowledged.
    pub kept: bool,
}

impl Diary {
    /// Begins after line `from`.
    pub fn open(link: &Link, node: usize, from: u64) -> Self {
        let (shown, lines) = tokio::sync::watch::channel(Lines {
            sent: from,
            unclear: Vec::new(),
            acknowledged: from,
            last: Instant::now(),
            longest: Duration::ZERO,
        });
        let ours = link.clone();
        let writer = tokio::spawn(async move {
            loop {
                let mut line = 0;
                shown.send_modify(|lines| {
                    lines.sent += 1;
                    line = lines.sent;
                });
                let write = SetMaintenance {
                    node: name(node),
                    request: None,
                    reason: Some(text(line)),
                };
                let written = tokio::time::timeout(PATIENCE, ours.operate(&write)).await;
                let acknowledged = matches!(written, Ok(Ok(_)));
                shown.send_modify(|lines| match acknowledged {
                    true => {
                        lines.acknowledged = line;
                        lines.longest = lines.longest.max(lines.last.elapsed());
                        lines.last = Instant::now();
                    }
                    false => lines.unclear.push(line),
                });
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self {
            link: link.clone(),
            node,
            writer,
            lines,
        }
    }

    /// Ends it, and reads what is there. Returns that and the last line sent, where the next diary begins.
    ///
    /// # Errors
    /// When nobody shows the node.
    pub async fn close(self) -> anyhow::Result<(Shown, u64)> {
        self.writer.abort();
        // Only an unknown outcome of the last line is left after this.
        let _ = self.writer.await;
        let lines = self.lines.borrow().clone();
        let node = self.link.operate(&ShowNode::of(name(self.node))).await?;
        let reason = node.rest.get("maintenance").and_then(|it| it.get("reason"));
        let there = reason.and_then(|reason| number(reason.as_str()?));
        let shown = Shown {
            away: lines.longest.max(lines.last.elapsed()),
            kept: there.is_some_and(|there| lines.may_be_last(there)),
        };
        Ok((shown, lines.sent))
    }
}

impl Lines {
    fn may_be_last(&self, line: u64) -> bool {
        (self.acknowledged..=self.sent).contains(&line) || self.unclear.contains(&line)
    }
}

fn text(line: u64) -> String {
    format!("line {line}")
}

fn number(text: &str) -> Option<u64> {
    text.strip_prefix("line ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_line_may_only_give_way_to_one_that_was_not() {
        let lines = Lines {
            sent: 9,
            unclear: vec![4, 9],
            acknowledged: 8,
            last: Instant::now(),
            longest: Duration::ZERO,
        };
        let may: Vec<u64> = (0..12).filter(|line| lines.may_be_last(*line)).collect();
        assert_eq!(may, [4, 8, 9], "7 was there before 8");
        assert_eq!(number(&text(17)), Some(17));
    }
}
