//! What a worker says of its policy to the others and to operators: the options that are not the default.
//! The core has the options; every worker is to have the same, since any of them decides on any node.
use crate::reply::{Changed, WorkerInfo};
use ironbeat_core::decide::Policy;
use ironbeat_core::id::WorkerId;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One option, and the value that each worker has.
pub type Difference = (String, Vec<(WorkerId, Value)>);

fn options(policy: &Policy) -> Map<String, Value> {
    match serde_json::to_value(policy) {
        Ok(Value::Object(options)) => options,
        Ok(_) | Err(_) => unreachable!("a policy is a JSON object of numbers and truths"),
    }
}

pub fn changed(policy: &Policy) -> Changed {
    let usual = options(&Policy::default());
    let options = options(policy).into_iter();
    options
        .filter(|(name, value)| usual.get(name) != Some(value))
        .collect()
}

/// Options on which workers differ. One that this version does not have is left out: nobody knows its default.
pub fn differences(workers: &[WorkerInfo]) -> Vec<Difference> {
    let usual = options(&Policy::default());
    let names = workers.iter().flat_map(|worker| worker.policy.keys());
    let names: BTreeSet<&String> = names.collect();
    let of = |name: &String| {
        let default = usual.get(name)?;
        let value = |worker: &WorkerInfo| worker.policy.get(name).unwrap_or(default).clone();
        let values: Vec<_> = workers.iter().map(|w| (w.id.clone(), value(w))).collect();
        let differ = values.windows(2).any(|pair| pair[0].1 != pair[1].1);
        differ.then(|| (name.clone(), values))
    };
    names.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn worker(id: &str, policy: Value) -> WorkerInfo {
        let started = "2026-11-21T04:51:16.123Z";
        let info =
            json!({ "id": id, "url": "", "version": "", "started": started, "policy": policy });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn a_worker_says_what_is_not_the_default() {
        let policy = Policy {
            max_tries: 3,
            automated_clean: false,
            ..Policy::default()
        };
        let expected = json!({ "automated_clean": false, "max_tries": 3 });
        assert_eq!(json!(changed(&policy)), expected);
        assert!(changed(&Policy::default()).is_empty());
    }

    #[test]
    fn options_that_differ_are_named_with_each_value() {
        let same = json!({ "max_boots": 7 });
        let workers = [
            worker("w1", json!({ "max_boots": 7, "max_tries": 3 })),
            worker("w2", same.clone()),
            worker("w3", json!({ "max_boots": 7, "of_another_version": 1 })),
        ];
        let found = json!(differences(&workers));
        let expected = json!([["max_tries", [["w1", 3], ["w2", 5], ["w3", 5]]]]);
        assert_eq!(found, expected);
        assert!(differences(&workers[1..]).is_empty());
    }
}
