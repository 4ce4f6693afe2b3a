//! What each role may say and hear. The broker enforces it: a role is the template of a signing key, not a claim of its user.
//! Which endpoint asks for which role is in `ironbeat-ops`; who gets a role is for whoever signs.
use crate::streams::{self, BUCKETS};
use ironbeat_common::subject;
use ironbeat_ops::{ENDPOINTS, Role as Person};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the subjects of answers begin, which are all that the role front may write.
pub const INBOXES: &str = "_INBOX.";
/// The inbox of everybody who has a key of their own: nobody else may listen there.
const OWN_INBOX: &str = "_INBOX.{{subject()}}.>";
/// Inboxes of machines that have no login yet. They share one key, so what is answered there is of use to nobody else.
pub const BOOT_INBOX: &str = "_INBOX.boot";
/// The most a message may have, which is what nats-server takes from anybody.
const MAX_MESSAGE: i64 = 1 << 20;
/// An inventory has up to 200 KB.
const MAX_LOOKUP: i64 = 256 << 10;
/// An agent listens for nudges and in its inbox; the rest is room for a client that subscribes again.
const AGENT_SUBSCRIPTIONS: i64 = 8;
const BOOT_SUBSCRIPTIONS: i64 = 4;

/// Who speaks on NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A worker's own traffic: records, events, consoles, questions to other workers.
    Worker,
    /// A worker's answers. Whoever asks chooses where the answer goes, so it goes out on a login that can write nothing.
    Front,
    Admin,
    Operator,
    Observer,
    /// One machine in its ramdisk, for the node that is the user's name.
    Agent,
    /// A machine that has not been recognised.
    Bootstrap,
    /// Streams and consumers as such, for operators of the NATS servers.
    Jetstream,
}

impl Role {
    pub const ALL: [Self; 8] = [
        Self::Worker,
        Self::Front,
        Self::Admin,
        Self::Operator,
        Self::Observer,
        Self::Agent,
        Self::Bootstrap,
        Self::Jetstream,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Front => "front",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Observer => "observer",
            Self::Agent => "agent",
            Self::Bootstrap => "bootstrap",
            Self::Jetstream => "jetstream",
        }
    }

    /// What it may ask of workers.
    pub fn person(self) -> Option<Person> {
        match self {
            Self::Admin => Some(Person::Admin),
            Self::Operator => Some(Person::Operator),
            Self::Observer => Some(Person::Observer),
            Self::Worker | Self::Front | Self::Agent | Self::Bootstrap | Self::Jetstream => None,
        }
    }

    /// Its permissions, as the template of its signing key.
    pub fn template(self, prefix: &str) -> Template {
        let of = |parts: &[&str]| -> Vec<String> {
            let full = |part: &&str| match part.strip_prefix("P.") {
                Some(rest) => format!("{prefix}.{rest}"),
                None => part.to_string(),
            };
            parts.iter().map(full).collect()
        };
        let allow = |publish: Vec<String>, hear: Vec<String>| Template {
            publish: Subjects::of(publish),
            hear: Subjects::of(hear),
            subs: -1,
            data: -1,
            payload: -1,
            bearer_token: false,
        };
        match self {
            Self::Worker => {
                let mut publish = of(&[
                    "P.event.>",
                    "P.ironic.>",
                    "P.nudge.*",
                    "P.console.*.out",
                    "P.worker.>",
                    "$JS.FC.>",
                    OWN_INBOX,
                ]);
                publish.extend(streams::of_workers());
                publish.extend(BUCKETS.map(|bucket| format!("$KV.{bucket}.>")));
                allow(publish, of(&[OWN_INBOX]))
            }
            Self::Front => allow(
                of(&["_INBOX.>"]),
                of(&[
                    "P.lookup",
                    "P.heartbeat.*",
                    "P.agent.*.login",
                    "P.api.>",
                    "P.worker.>",
                    "P.console.>",
                    "$SRV.>",
                    OWN_INBOX,
                ]),
            ),
            Self::Admin | Self::Operator | Self::Observer => self.of_person(prefix, of),
            Self::Agent => Template {
                subs: AGENT_SUBSCRIPTIONS,
                payload: MAX_MESSAGE,
                ..allow(
                    of(&["P.heartbeat.{{name()}}", "P.agent.{{name()}}.>"]),
                    of(&["P.nudge.{{name()}}", OWN_INBOX]),
                )
            },
            Self::Bootstrap => Template {
                subs: BOOT_SUBSCRIPTIONS,
                payload: MAX_LOOKUP,
                bearer_token: true,
                ..allow(
                    vec![subject::lookup(prefix)],
                    vec![format!("{BOOT_INBOX}.>")],
                )
            },
            Self::Jetstream => allow(of(&["$JS.API.>"]), of(&[OWN_INBOX])),
        }
    }

    fn of_person(self, prefix: &str, of: impl Fn(&[&str]) -> Vec<String>) -> Template {
        let rank = self.person().unwrap_or(Person::Observer);
        let mine = ENDPOINTS.iter().filter(|endpoint| endpoint.role <= rank);
        let mut publish: Vec<String> = mine
            .map(|endpoint| ironbeat_ops::subject::api(prefix, endpoint.name))
            .collect();
        publish.extend(of(&[
            "P.console.*.attach.{{subject()}}",
            "P.console.*.detach.{{subject()}}",
            "$SRV.PING",
            "$SRV.PING.>",
            "$SRV.INFO",
            "$SRV.INFO.>",
            "$SRV.STATS",
            "$SRV.STATS.>",
        ]));
        if rank >= Person::Operator {
            publish.extend(of(&[
                "P.console.*.take.{{subject()}}",
                "P.console.*.in",
                "P.console.*.break",
            ]));
        }
        // To listen in a queue group is to take requests away from the workers.
        let mut deaf = vec!["> >".to_string()];
        // Who hears where a worker's answer goes could guess where its next one does.
        deaf.extend(of(&["P.worker.>"]));
        if rank < Person::Admin {
            // What others ask, and what they type, may have passwords in it.
            deaf.extend(of(&["P.api.>", "P.console.*.in"]));
        }
        let hear = Subjects {
            allow: of(&["P.>", OWN_INBOX]),
            deny: deaf,
        };
        Template {
            publish: Subjects::of(publish),
            hear,
            subs: -1,
            data: -1,
            payload: MAX_MESSAGE,
            bearer_token: false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A role's permissions as nats-server reads them (`UserPermissionLimits` of nats-io/jwt). An empty list would allow all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    #[serde(rename = "pub")]
    pub publish: Subjects,
    #[serde(rename = "sub")]
    pub hear: Subjects,
    /// Subscriptions, bytes in all (which no server counts), bytes of a message; −1: as many as the account.
    pub subs: i64,
    pub data: i64,
    pub payload: i64,
    /// The token alone is enough: whoever holds it has no key to sign with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bearer_token: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subjects {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// A second word is a queue group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl Subjects {
    fn of(allow: Vec<String>) -> Self {
        Self {
            allow,
            deny: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_empty_and_none_allows_everything() {
        for role in Role::ALL {
            let Template { publish, hear, .. } = role.template("p.x");
            for list in [&publish.allow, &hear.allow] {
                assert!(!list.is_empty(), "{role}: an empty list allows all");
                assert!(!list.contains(&">".into()), "{role}");
            }
            let all = publish.allow.iter().chain(&hear.allow);
            assert!(
                !all.clone().any(|subject| subject.starts_with("P.")),
                "{role}"
            );
        }
    }

    /// What a stolen login leaves behind would outlive it.
    #[test]
    fn a_worker_asks_for_no_stream_but_its_own_and_changes_none() {
        let ours: Vec<String> = streams::all("ib.v1").into_iter().map(|it| it.0).collect();
        for subject in Role::Worker.template("ib.v1").publish.allow {
            let Some(verb) = subject.strip_prefix("$JS.API.") else {
                continue;
            };
            let its_own = |name: &String| verb.split('.').any(|token| token == name);
            assert!(ours.iter().any(its_own), "{subject}");
            for change in ["STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE"] {
                assert!(!verb.starts_with(change), "{subject}");
            }
        }
    }

    #[test]
    fn only_workers_touch_records_and_only_answers_go_to_others_inboxes() {
        for role in Role::ALL {
            let publish = role.template("ib.v1").publish.allow;
            let any = |start: &str| publish.iter().any(|subject| subject.starts_with(start));
            assert_eq!(any("$KV."), role == Role::Worker, "{role}");
            let asks = matches!(role, Role::Worker | Role::Jetstream);
            assert_eq!(any("$JS."), asks, "{role}");
            assert_eq!(publish.contains(&"_INBOX.>".into()), role == Role::Front);
        }
    }
}
