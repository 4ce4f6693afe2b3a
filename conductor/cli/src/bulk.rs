//! One verb for several nodes: so many at once, a line for each as it ends, and whether all, some or none succeeded.
//! `choose` says which nodes; `verb` what is asked of each.
use super::choose::{Target, some};
use super::out::{self, NobodyReads};
use super::wait::{Ended, NotDone};
use anyhow::ensure;
use futures_util::{StreamExt, stream};
use serde_json::json;

/// It did not succeed for every node. Scripts tell some from none by the exit code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAll {
    #[error("{0}")]
    Some(String),
    #[error("{0}")]
    None(String),
}

impl NotAll {
    /// Of the program; [`NotDone`] has those below.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Some(_) => 6,
            Self::None(_) => 7,
        }
    }
}

/// # Errors
/// [`NotAll`]; or what is wrong with standard output: then no further node is begun.
pub(super) async fn run(
    targets: &[Target],
    at_once: u16,
    is_json: bool,
    print: impl Fn(String) -> anyhow::Result<()>,
    one: impl AsyncFn(&Target) -> Ended,
) -> anyhow::Result<()> {
    let one = &one;
    let each = stream::iter(targets).map(|target| async move { (target, one(target).await) });
    let mut each = std::pin::pin!(each.buffer_unordered(usize::from(at_once)));
    let mut failed = Vec::new();
    while let Some((target, ended)) = each.next().await {
        if ended.how.is_err() {
            failed.push(&*target.name);
        }
        match is_json {
            true => print(json_line(target, &ended))?,
            false => print(line(target, &ended))?,
        }
    }
    judge(targets.len(), failed)?;
    if !is_json {
        print(format!("{} nodes, none failed", targets.len()))?;
    }
    Ok(())
}

fn judge(count: usize, failed: Vec<&str>) -> Result<(), NotAll> {
    let (bad, named) = (failed.len(), some(failed.into_iter()));
    match bad {
        0 => Ok(()),
        bad if bad == count => Err(NotAll::None(format!("none of {count} nodes: {named}"))),
        bad => Err(NotAll::Some(format!("{bad} of {count} nodes not: {named}"))),
    }
}

fn line(target: &Target, ended: &Ended) -> String {
    let name = &target.name;
    match &ended.how {
        Ok(how) => format!("{name}: {how}"),
        Err(error) => {
            let why = out::causes(error);
            match why.strip_prefix(&**name) {
                // It names the node itself.
                Some(rest) if rest.starts_with([' ', ':']) => why,
                Some(_) | None => format!("{name}: {why}"),
            }
        }
    }
}

fn json_line(target: &Target, ended: &Ended) -> String {
    let error = ended.how.as_ref().err();
    json!({
        "node": target.name,
        "ok": error.is_none(),
        "code": error.map_or(0, exit_code),
        "error": error.map(out::causes),
        "shown": ended.shown,
    })
    .to_string()
}

/// Of the program, when this is what it ends with.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    /// As if the signal had ended it, which Rust's runtime ignores.
    const SIGPIPE: u8 = 128 + 13;
    if error.is::<NobodyReads>() {
        return SIGPIPE;
    }
    let not_done = error.downcast_ref().map(NotDone::exit_code);
    let not_all = error.downcast_ref().map(NotAll::exit_code);
    not_done.or(not_all).unwrap_or(1)
}

/// A value of which several nodes cannot have the same.
pub(super) fn only_for_one(what: &str, is_given: bool) -> anyhow::Result<()> {
    ensure!(!is_given, "{what} is for one node, and there are several");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn target(n: usize) -> Target {
        let name = format!("n{n}");
        Target {
            ask: name.clone(),
            name,
        }
    }

    fn done() -> Ended {
        Ended {
            shown: None,
            how: Ok("active".into()),
        }
    }

    #[tokio::test]
    async fn no_more_nodes_than_were_allowed_are_under_way_at_once() {
        let targets: Vec<Target> = (0..50).map(target).collect();
        let (now, most) = (Cell::new(0), Cell::new(0));
        let ended = run(
            &targets,
            7,
            true,
            |_| Ok(()),
            async |_| {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::task::yield_now().await;
                now.set(now.get() - 1);
                done()
            },
        );
        ended.await.unwrap();
        assert_eq!((now.get(), most.get()), (0, 7));
    }

    #[test]
    fn the_exit_code_says_whether_all_some_or_none_succeeded() {
        let code = |count, failed: &[&str]| {
            let judged = judge(count, failed.to_vec()).map_err(anyhow::Error::from);
            judged.map_or_else(|error| exit_code(&error), |()| 0)
        };
        assert_eq!(code(3, &[]), 0);
        assert_eq!(code(3, &["a"]), 6);
        assert_eq!(code(3, &["a", "b", "c"]), 7);
        assert_eq!(code(1, &["a"]), 7);
        let not = judge(3, vec!["a"]).unwrap_err().to_string();
        assert_eq!(not, "1 of 3 nodes not: a");
    }

    #[test]
    fn a_line_names_its_node_once() {
        let check = |error: anyhow::Error, expected: &str| {
            assert_eq!(line(&target(1), &error.into()), expected);
        };
        check(anyhow::anyhow!("no answer"), "n1: no answer");
        check(
            anyhow::anyhow!("n1 is deploy failed: why"),
            "n1 is deploy failed: why",
        );
        check(anyhow::anyhow!("n12 has it"), "n1: n12 has it");
        assert_eq!(line(&target(1), &done()), "n1: active");
        let failed = NotDone::TimeOver("n1 is still active".into());
        let said = json_line(&target(1), &anyhow::Error::from(failed).into());
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["ok"], &said["code"]), (&json!(false), &json!(4)));
    }
}
