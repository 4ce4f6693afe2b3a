//! Owns the proof that a rack leaves nothing behind, however it ends, inside and outside a user namespace.
//! Leaves what a rack does while it is up to `rack`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbeat_rack::machine::spec::NodeSpec;
use ironbeat_rack::netns;
use ironbeat_rack::owner::sweep_run_dirs;
use ironbeat_rack::rack::{Rack, RackSpec};

/// Ends of programs are a matter of milliseconds, and of seconds on a loaded machine.
const SOON: Duration = Duration::from_secs(60);

/// A process that holds a rack.
struct Holder {
    child: Child,
    dir: PathBuf,
    netns: String,
    children: Vec<u32>,
}

impl Holder {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines
            .map(Result::unwrap)
            .take_while(|line| line != "up")
            .collect();
        let value = |key: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in {lines:?}"))
                .trim()
                .to_owned()
        };
        let (dir, netns) = (PathBuf::from(value("dir")), value("netns"));
        let children = children_of(child.id());
        Self {
            child,
            dir,
            netns,
            children,
        }
    }
}

/// The children of `pid`.
fn children_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    for task in tasks {
        let children =
            std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    found
}

fn is_alive(pid: &u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Zombies are dead; whoever adopted them has not looked yet.
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn wait_until_gone(pids: &[u32]) {
    let deadline = Instant::now() + SOON;
    while pids.iter().any(is_alive) {
        assert!(
            Instant::now() < deadline,
            "still alive: {:?}",
            pids.iter().filter(|pid| is_alive(pid))
        );
        std::thread::yield_now();
    }
}

fn hold() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hold-rack"));
    command.args(["bios", "uefi"]);
    command
}

#[test]
fn an_orderly_end_leaves_nothing() {
    let mut holder = Holder::start(hold());
    assert!(netns::named_by_us().unwrap().contains(&holder.netns));
    // nats-server, dbus-daemon, dnsmasq, two BMCs, two machines.
    assert_eq!(holder.children.len(), 7, "{:?}", holder.children);
    assert_eq!(netns::processes_in(&holder.netns).unwrap().len(), 7);
    drop(holder.child.stdin.take());
    assert!(holder.child.wait().unwrap().success());
    assert!(!holder.children.iter().any(is_alive));
    assert!(!netns::named_by_us().unwrap().contains(&holder.netns));
    assert!(!holder.dir.exists());
}

#[test]
fn a_kept_handle_keeps_nothing_up() {
    let mut rack = Rack::start(RackSpec {
        nodes: vec![NodeSpec::bios()],
        ..RackSpec::default()
    })
    .unwrap();
    let name = rack.netns().name().unwrap().to_owned();
    let machine = rack.machine(1).clone();
    machine.power_on().unwrap();
    let pids = [
        machine.qemu_pid().unwrap(),
        rack.nats().pid().unwrap(),
        rack.bmc(1).pid().unwrap(),
    ];
    rack.shutdown();
    assert!(!pids.iter().any(is_alive));
    assert!(!netns::named_by_us().unwrap().contains(&name));
    assert!(
        machine.power_on().is_err(),
        "a machine without its rack stays off"
    );
    let dir = rack.dir().to_owned();
    assert!(dir.exists());
    drop(rack);
    assert!(!dir.exists());
}

#[test]
fn a_killed_holder_leaves_nothing_after_the_next_sweep() {
    let mut holder = Holder::start(hold());
    assert_eq!(holder.children.len(), 7, "{:?}", holder.children);
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    wait_until_gone(&holder.children);
    // A test's parallel neighbour may have swept already; after this call nobody has anything left to sweep.
    netns::sweep().unwrap();
    sweep_run_dirs().unwrap();
    assert!(!netns::named_by_us().unwrap().contains(&holder.netns));
    assert!(!holder.dir.exists());
}

#[test]
fn a_rack_in_a_user_namespace_needs_no_names_and_leaves_nothing() {
    let mut command = Command::new("unshare");
    command
        .args(["-Urn", "--"])
        .arg(hold().get_program())
        .args(hold().get_args());
    let mut holder = Holder::start(command);
    assert_eq!(holder.netns, "(this one)");
    assert_eq!(holder.children.len(), 7, "{:?}", holder.children);
    assert_ne!(
        namespace_of(holder.children[0]),
        namespace_of(std::process::id())
    );
    drop(holder.child.stdin.take());
    assert!(holder.child.wait().unwrap().success());
    assert!(!holder.children.iter().any(is_alive));
    assert!(!holder.dir.exists());
}

fn namespace_of(pid: u32) -> PathBuf {
    std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns/net")).unwrap()
}
