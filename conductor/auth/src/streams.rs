//! The JetStream streams of a site: what they are called, what goes into each, and what a worker may ask of them.
//! What they keep, and how, is for `records` in the conductor.

/// The buckets; each is the stream `KV_<bucket>`.
pub const NODES: &str = "ib";
pub const WORKERS: &str = "ib_workers";
pub const LOOKUPS: &str = "ib_lookups";
pub const BUCKETS: [&str; 3] = [NODES, WORKERS, LOOKUPS];
pub const EVENTS: &str = "IB_EVENTS";
pub const SEEN: &str = "IB_SEEN";
pub const CONSOLES: &str = "IB_CONSOLES";

/// What a stream may have beside subjects and bounds, and ours never have: each has the servers write or send messages, with no
/// login's permissions and for as long as the stream is there. Names of the JSON that servers answer to STREAM.INFO
/// (`server/stream.go`, `StreamConfig`).
pub const CARRIERS: [&str; 5] = [
    "republish",
    "mirror",
    "sources",
    "subject_transform",
    "allow_msg_schedules",
];

/// The streams of a site, each with the one subject that goes into it.
pub fn all(prefix: &str) -> Vec<(String, String)> {
    let buckets = BUCKETS.map(|bucket| (format!("KV_{bucket}"), format!("$KV.{bucket}.>")));
    let others = [
        (EVENTS, "event.>"),
        (SEEN, "heartbeat.*"),
        (CONSOLES, "console.*.out"),
    ];
    let others = others.map(|(name, rest)| (name.into(), format!("{prefix}.{rest}")));
    buckets.into_iter().chain(others).collect()
}

/// The subjects of JetStream's API that workers ask. A stream that is there with another configuration is not changed by
/// STREAM.CREATE, and every worker makes all of them when it starts: so there is none left that a thief could make as he likes.
/// Nobody needs a consumer of the last heartbeats, which come from machines.
pub(crate) fn of_workers() -> Vec<String> {
    let buckets = BUCKETS.map(|bucket| format!("KV_{bucket}"));
    let followed = buckets
        .into_iter()
        .chain([EVENTS, CONSOLES].map(String::from));
    let mut verbs: Vec<String> = vec![];
    for name in followed {
        verbs.extend(kept(&name));
        verbs.extend([
            format!("CONSUMER.CREATE.{name}"),
            format!("CONSUMER.CREATE.{name}.>"),
            format!("CONSUMER.INFO.{name}.*"),
            format!("CONSUMER.DELETE.{name}.*"),
        ]);
    }
    verbs.extend(kept(SEEN));
    verbs.extend([EVENTS, CONSOLES].map(|name| format!("CONSUMER.MSG.NEXT.{name}.*")));
    // Secrets that no record names any more are overwritten.
    verbs.push(format!("STREAM.MSG.DELETE.KV_{NODES}"));
    verbs
        .into_iter()
        .map(|verb| format!("$JS.API.{verb}"))
        .collect()
}

fn kept(name: &str) -> [String; 3] {
    ["INFO", "CREATE", "MSG.GET"].map(|verb| format!("STREAM.{verb}.{name}"))
}
