//! The plan of this project as data: its crates, their folders, and who may import whom; which packages of other people it may use.
//! Leaves comparing it with what is on the disk to `tidy`'s other files.

/// What a crate or a folder may import of the others beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// It puts the others together.
    ImportAll,
    Import(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub struct Crate {
    pub name: &'static str,
    pub dir: &'static str,
    pub owns: &'static str,
    /// What is absent, which a reader cannot see by reading.
    pub lacks: &'static str,
    /// Crates of ours that it depends on outside of tests.
    pub may: &'static [&'static str],
    /// No dependency of it may bring the standard library.
    pub no_std: bool,
    /// Crates that must not be among its dependencies, however far away.
    pub never: &'static [&'static str],
    /// Folders and files right below `src`; where there is none, nothing is said about them.
    pub rooms: &'static [Room],
}

/// A folder or a file right below a crate's `src`. A file without an entry is shared: all may import it, and it imports
/// no more than other shared files. A folder without an entry is an error.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub name: &'static str,
    pub kind: Kind,
    pub may: May,
    /// For the map, which leaves out files that say nothing here.
    pub owns: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
}

const fn folder(name: &'static str, may: &'static [&'static str], owns: &'static str) -> Room {
    Room {
        name,
        kind: Kind::Folder,
        may: May::Import(may),
        owns,
    }
}

const fn file(name: &'static str, may: May, owns: &'static str) -> Room {
    Room {
        name,
        kind: Kind::File,
        may,
        owns,
    }
}

/// Every crate's tests may use these.
pub const FOR_TESTS: &[&str] = &[
    "ironbeat-rack",
    "ironbeat-bmc-sim",
    "ironbeat-mutate",
    "ironbeat-document",
];

/// What the tests of some may use beyond that.
pub const TESTS_MAY: &[(&str, &[&str])] = &[
    (
        "ironbeat",
        &[
            "ironbeat-agent",
            "ironbeat-fleet",
            "ironbeat-image",
            "ironbeat-replay",
        ],
    ),
    ("ironbeat-agent", &["ironbeat-auth"]),
    ("ironbeat-bmc-sim", &["ironbeat-ipmi"]),
];

/// From what is said, over those who say it, to what tries it.
///
/// A match over one of our own enums in `ironbeat-core` has no wildcard, so that a new state does not compile until every
/// event has an answer for it. Clippy holds that: `wildcard_enum_match_arm` is denied in its `lib.rs`.
pub const CRATES: &[Crate] = &[
    Crate {
        name: "ironbeat-common",
        dir: "common",
        owns: "what agent and conductor say to each other: ids, inventory, the wire (CBOR)",
        lacks: "clock, socket, file, log line, async: it is `no_std`",
        may: &[],
        no_std: true,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-agent",
        dir: "agent",
        owns: "the ramdisk's only program",
        lacks: "a server, a listening port, a choice: it does what a step says and re-checks the disk",
        may: &["ironbeat-common"],
        no_std: false,
        never: &["ironbeat-core", "ironbeat-ops"],
        rooms: AGENT,
    },
    Crate {
        name: "ironbeat-core",
        dir: "conductor/core",
        owns: "every decision: `decide`, `plan`, `hints`, `lookup`, `boot`, `explain`, `invariant`, and the node's record",
        lacks: "clock, socket, file, log line, async: it is `no_std`",
        may: &["ironbeat-common"],
        no_std: true,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-ops",
        dir: "conductor/ops",
        owns: "what an operator and a conductor say to each other: requests, replies, happenings",
        lacks: "behaviour: it is types only",
        may: &["ironbeat-core", "ironbeat-common"],
        no_std: false,
        never: &["ironbeat", "ironbeat-ipmi"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-ipmi",
        dir: "conductor/ipmi",
        owns: "an IPMI LAN+ client: `crypto`, `packet` → `handshake`, `session` (no sockets, no clocks) → `transport`, `bmc` → `chassis`",
        lacks: "the conductor, which it knows nothing of; processes: ipmitool is a second opinion in tests, never a part",
        may: &[],
        no_std: false,
        never: &["ironbeat-common"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-auth",
        dir: "conductor/auth",
        owns: "who is who on NATS: keys, signed tokens, and what each role may say and hear",
        lacks: "files, sockets, a clock: they are handed in",
        may: &["ironbeat-ops", "ironbeat-core", "ironbeat-common"],
        no_std: false,
        never: &["ironbeat", "ironbeat-ipmi"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-cli",
        dir: "conductor/cli",
        owns: "the operator's commands: a client of `ops` over NATS",
        lacks: "a way into the records but by asking a conductor",
        may: &[
            "ironbeat-auth",
            "ironbeat-ops",
            "ironbeat-core",
            "ironbeat-common",
        ],
        no_std: false,
        never: &["ironbeat", "ironbeat-ipmi"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat",
        dir: "conductor",
        owns: "the worker, and the program that is worker and command line in one",
        lacks: "state: what it knows is in NATS",
        may: &[
            "ironbeat-auth",
            "ironbeat-ops",
            "ironbeat-core",
            "ironbeat-common",
            "ironbeat-ipmi",
            "ironbeat-cli",
        ],
        no_std: false,
        never: &[],
        rooms: CONDUCTOR,
    },
    Crate {
        name: "ironbeat-image",
        dir: "image",
        owns: "kernel, ramdisk, and the demo's operating system, from Debian packages that are unpacked, never installed",
        lacks: "anything of ours: it is handed the agent as a file",
        may: &[],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-bmc-sim",
        dir: "tests/bmc",
        owns: "simulated BMCs, one or ten thousand on a socket, with faults, written from the BMC's side",
        lacks: "a line of our client, which it is there to try",
        may: &[],
        no_std: false,
        never: &["ironbeat-ipmi"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-document",
        dir: "tests/document",
        owns: "tables and schemas in `docs/` that tests write from types, or compare with them",
        lacks: "the types, which it is handed",
        may: &[],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-mutate",
        dir: "tests/mutate",
        owns: "good bytes and repeatable damage to them, for the tests of everything that reads bytes",
        lacks: "a dependency: any crate's tests may use it, `common/` included",
        may: &[],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-rack",
        dir: "tests/rack",
        owns: "the virtual rack: machines under QEMU, nets, hosts, BMCs, dnsmasq, nats-servers alone and in clusters, processes; and its own tests",
        lacks: "the product: a rack runs whatever it is given",
        may: &["ironbeat-bmc-sim"],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-product",
        dir: "tests/product",
        owns: "the whole product in a rack: workers, ramdisks, deployed systems; and the tests of it",
        lacks: "the product's code, but for the types of what operators read: it runs the programs that ship",
        may: &["ironbeat-rack", "ironbeat-ops"],
        no_std: false,
        never: &["ironbeat"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-fleet",
        dir: "tests/fleet",
        owns: "thousands of simulated machines, agent and BMC each, over real NATS and RMCP+, with a ledger of what was touched; the load of `bench fleet`",
        lacks: "the product's code, but for the types on the wire and how an agent shows who it is: it meets the programs that ship",
        may: &[
            "ironbeat-agent",
            "ironbeat-auth",
            "ironbeat-bmc-sim",
            "ironbeat-rack",
            "ironbeat-ops",
            "ironbeat-core",
            "ironbeat-common",
        ],
        no_std: false,
        never: &["ironbeat"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-states",
        dir: "tests/states",
        owns: "our provision states beside Ironic's: where a node goes from each by each event, and why where we differ",
        lacks: "a table of ours: the core is asked, which is under test",
        may: &["ironbeat-core", "ironbeat-common"],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-replay",
        dir: "tests/replay",
        owns: "an exported flight record, decided again by the core: all the same, or the first difference",
        lacks: "a decision: the core is asked, which is under test",
        may: &["ironbeat-ops", "ironbeat-core", "ironbeat-common"],
        no_std: false,
        never: &["ironbeat"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-simulate",
        dir: "tests/simulate",
        owns: "whole fleets in one thread and virtual time: the worker's drive on stores, clocks, BMCs, machines and operators that fail, from a seed",
        lacks: "sockets, threads, a clock, and a decision about a node: those are the conductor's, which is under test",
        may: &[
            "ironbeat",
            "ironbeat-ops",
            "ironbeat-core",
            "ironbeat-common",
        ],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-chaos",
        dir: "tests/chaos",
        owns: "real chaos: a cluster of nats-servers, workers and a simulated fleet, faults as data, and what was lost or seen twice",
        lacks: "a look inside: it judges by what operators are told and what machines saw",
        may: &[
            "ironbeat-fleet",
            "ironbeat-rack",
            "ironbeat-ops",
            "ironbeat-core",
            "ironbeat-common",
        ],
        no_std: false,
        never: &["ironbeat"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-neighbours",
        dir: "tests/neighbours",
        owns: "bad neighbours: who tries what on real servers, worker and agent, beside whoever may do the same",
        lacks: "a guard: those are the product's, which is under test",
        may: &[
            "ironbeat-agent",
            "ironbeat-auth",
            "ironbeat-ops",
            "ironbeat-common",
            "ironbeat-rack",
            "ironbeat-bmc-sim",
            "ironbeat-mutate",
        ],
        no_std: false,
        never: &["ironbeat"],
        rooms: &[],
    },
    Crate {
        name: "ironbeat-fuzz",
        dir: "tests/fuzz",
        owns: "a fuzz target for everything that reads foreign bytes, and a driver: mutants, bounds on time and memory, what is kept",
        lacks: "a reader: those are the product's, which are under test",
        may: &[
            "ironbeat",
            "ironbeat-agent",
            "ironbeat-auth",
            "ironbeat-bmc-sim",
            "ironbeat-cli",
            "ironbeat-common",
            "ironbeat-core",
            "ironbeat-fleet",
            "ironbeat-ipmi",
            "ironbeat-mutate",
            "ironbeat-ops",
            "ironbeat-replay",
        ],
        no_std: false,
        never: &[],
        rooms: &[],
    },
    Crate {
        name: "xtask",
        dir: "xtask",
        owns: "`demo`, `ci`, `tidy`, `image`, `ipxe`, `rack`, `replay`, `states`, `simulate`, `chaos`, `neighbours`, `fuzz`, `bench`",
        lacks: "logic that a test would want: that is in `tests/`",
        may: &[
            "ironbeat-image",
            "ironbeat-ops",
            "ironbeat-product",
            "ironbeat-rack",
            "ironbeat-bmc-sim",
        ],
        no_std: false,
        never: &[],
        rooms: &[],
    },
];

const AGENT: &[Room] = &[
    file("main", May::ImportAll, ""),
    file("lib", May::ImportAll, ""),
    file("fuzz", May::ImportAll, ""),
    folder(
        "heart",
        &["disk", "collect", "rescue", "net", "init", "web"],
        "the link to the conductor, the heartbeat, and the steps that are done for it",
    ),
    folder(
        "collect",
        &["net", "disk"],
        "what the machine is made of; `net` for LLDP",
    ),
    folder(
        "disk",
        &["web"],
        "erases, downloads, writes and checks; the partition table last",
    ),
    folder(
        "rescue",
        &["disk", "web"],
        "a system for people who log in, unpacked beside the agent",
    ),
    folder("net", &[], "interfaces, DHCP, LLDP, SNTP"),
    folder(
        "web",
        &[],
        "HTTP and TLS: one GET, by which way, and whom to believe",
    ),
    folder("init", &[], "PID 1: mounts, drivers, the end of children"),
];

const CONDUCTOR: &[Room] = &[
    file("main", May::ImportAll, ""),
    file("lib", May::ImportAll, ""),
    file("fuzz", May::ImportAll, ""),
    file("run", May::ImportAll, "starts and ends a worker"),
    file(
        "backup",
        May::Import(&["records", "secrets"]),
        "all records into a file and back, without a worker",
    ),
    file(
        "worker",
        May::Import(&["drive", "records", "bmc", "netboot", "secrets"]),
        "what one worker process holds",
    ),
    folder(
        "front",
        &[
            "drive", "records", "bmc", "netboot", "measured", "secrets", "loops", "worker",
        ],
        "what comes in over NATS: lookups, heartbeats, the operators' requests, questions of other workers",
    ),
    folder(
        "loops",
        &["drive", "records", "bmc", "worker"],
        "what a worker does of its own accord: alarms, lost workers, power sync, forgotten secrets, serial consoles, revoked logins, \
         granted keys, passwords in question",
    ),
    folder(
        "drive",
        &["records", "bmc", "secrets"],
        "one event of one node: load, decide, save, act",
    ),
    folder(
        "netboot",
        &["records"],
        "what machines boot: dnsmasq's files, boot scripts, HTTP",
    ),
    folder(
        "measured",
        &["netboot", "records"],
        "what a machine's firmware measured, compared with what is served",
    ),
    folder(
        "bmc",
        &["records"],
        "BMC acts, done by the client of `ipmi/`",
    ),
    folder(
        "records",
        &["secrets"],
        "buckets and streams of the NATS server",
    ),
    folder(
        "secrets",
        &[],
        "master keys, what is sealed with them, and tokens made with them; it knows no NATS",
    ),
];

/// Imports that close a circle of files and stay, and why: (from, to, reason).
pub const CIRCLES: &[(&str, &str, &str)] = &[(
    "tests/bmc/src/commands/mod.rs",
    "tests/bmc/src/bmc.rs",
    "a command acts on the whole BMC, which hands it what comes in; together they are one thing",
)];

/// Packages that may have the feature `std` below a `no_std` crate, and why.
pub const STD_ALLOWED: &[(&str, &str)] = &[];

/// Sources of packages, beside our own folders. As `cargo metadata` and `cargo deny` write them.
pub const SOURCES: &[(&str, &str)] = &[(
    "registry+https://github.com/rust-lang/crates.io-index",
    "the one place where a version, once published, stays what it was",
)];

/// Where it is built and runs; packages for other targets are not looked at.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Licences of what is linked in, and why each is fine in an Apache-2.0 program that is given to others.
pub const LICENCES: &[(&str, &str)] = &[
    ("Apache-2.0", "ours"),
    ("MIT", "keep the notice"),
    ("BSD-2-Clause", "keep the notice"),
    (
        "BSD-3-Clause",
        "keep the notice, claim no endorsement; curve25519-dalek, subtle, zstd",
    ),
    ("ISC", "keep the notice; ring, untrusted, rustls-webpki"),
    ("Zlib", "say what was changed; zlib-rs"),
    (
        "Unicode-3.0",
        "keep the notice; tables of the Unicode consortium",
    ),
    ("BSL-1.0", "no notice with binaries"),
    ("CC0-1.0", "no condition"),
    (
        "CDLA-Permissive-2.0",
        "keep the agreement; webpki-roots, the list of public CAs",
    ),
    (
        "MPL-2.0",
        "source of changed files; we change none of others' files",
    ),
];

/// Packages that are compiled in two versions, and why we cannot change that.
pub const DUPLICATES: &[(&str, &str)] = &[
    ("block-buffer", OLD_CRYPTO),
    ("cipher", OLD_CRYPTO),
    ("const-oid", OLD_CRYPTO),
    ("cpufeatures", OLD_CRYPTO),
    ("crypto-common", OLD_CRYPTO),
    ("digest", OLD_CRYPTO),
    ("inout", OLD_CRYPTO),
    ("rand", OLD_CRYPTO),
    ("rand_core", OLD_CRYPTO),
    ("sha2", OLD_CRYPTO),
    (
        "getrandom",
        "rand 0.8 of nkeys has 0.2, we, rand 0.10 and tempfile have 0.4",
    ),
    (
        "syn",
        "derive macros are moving from 2 to 3 one by one; it runs on the build host",
    ),
];

const OLD_CRYPTO: &str = "nkeys 0.4, the keys of async-nats, is on ed25519-dalek 2, crypto_box 0.9 and rand 0.8; we are on their successors";
