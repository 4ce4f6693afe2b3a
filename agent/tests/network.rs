//! The agent's DHCP and LLDP code on a virtual wire in its own namespace, with dnsmasq at the other end.
//! Parsers are tested beside their code; `net::setup` is tried by booting machines, too.
use ironbeat_agent::net::dhcp::{Client, Lease};
use ironbeat_agent::net::lldp::Neighbours;
use ironbeat_agent::net::serving::Server;
use ironbeat_agent::net::setup::{self, BootNetwork, Surroundings};
use ironbeat_agent::net::sys;
use ironbeat_common::id::Mac;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A wait that never ends on working code; generous, because the machine may be busy.
const FOR_EVER: Duration = Duration::from_secs(120);
const MAC: Mac = Mac::from_bytes([0x52, 0x54, 0, 0x77, 1, 1]);
const INSIDE: &str = "IRONBEAT_TEST_IN_NAMESPACE";

/// Runs the named test again in its own network namespace; returns whether this is already that run.
fn in_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is part of util-linux");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    false
}

fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split_ascii_whitespace())
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {words}");
}

/// The other end of the wire, in its own namespace: the kernel must not take its address for one of ours.
struct Switch(Child);

impl Switch {
    /// `agent0` with the test's MAC here, wired to `switch0` there.
    fn new() -> Self {
        let switch = Self::without_wire();
        switch.wire("agent0", "52:54:00:77:01:01");
        sys::set_up(&sys::control_socket().unwrap(), "agent0").unwrap();
        switch
    }

    fn wire(&self, name: &str, mac: &str) {
        ip(&format!(
            "link add {name} address {mac} type veth peer name switch0"
        ));
        ip(&format!("link set switch0 netns {}", self.0.id()));
        self.ip("link set switch0 up");
    }

    fn without_wire() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of util-linux");
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        Self(holder)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), program]);
        command
    }

    fn ip(&self, words: &str) {
        let status = self
            .command("ip")
            .args(words.split_ascii_whitespace())
            .status()
            .expect("nsenter is part of util-linux");
        assert!(status.success(), "ip {words}");
    }

    fn dnsmasq(&self, range: &str) -> Stopped {
        let child = self
            .command("dnsmasq")
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--interface=switch0",
                "--bind-interfaces",
            ])
            .args([
                "--no-ping",
                "--dhcp-leasefile=/dev/null",
                "--user=root",
                "--group=root",
                "--dhcp-authoritative",
            ])
            .args([range, "--dhcp-host=52:54:00:77:01:01,10.77.0.11"])
            .args([
                "--dhcp-option=option:router,10.77.0.1",
                "--dhcp-option=option:dns-server,10.77.0.1,10.77.0.2",
                "--dhcp-option=option:ntp-server,10.77.0.3",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq-base is installed");
        Stopped(child)
    }

    /// A frame as a switch sends it.
    fn send(&self, payload: &[u8]) {
        let frame: String = [
            &[0x01u8, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc][..],
            payload,
        ]
        .concat()
        .iter()
        .map(|b| format!("\\x{b:02x}"))
        .collect();
        let program = format!(
            "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('switch0', 0)); s.send(b'{frame}')"
        );
        assert!(
            self.command("python3")
                .args(["-c", &program])
                .status()
                .expect("python3 is installed")
                .success()
        );
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Set after `limit`: a wait that never ends fails instead.
fn give_up_after(limit: Duration) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        set.store(true, Ordering::Relaxed);
    });
    flag
}

struct Stopped(Child);
impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dnsmasq_gives_an_address_and_more_time_for_it() {
    if !in_namespace("dnsmasq_gives_an_address_and_more_time_for_it") {
        return;
    }
    let switch = Switch::new();
    switch.ip("address add 10.77.0.1/24 dev switch0");
    let _server = switch.dnsmasq("--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,1h");
    let give_up = give_up_after(FOR_EVER);
    let mut client = Client::open("agent0", MAC).unwrap();
    let lease = client
        .obtain(&give_up)
        .expect("a lease before the test times out");
    assert_eq!(
        (lease.ip, lease.prefix_len),
        (Ipv4Addr::new(10, 77, 0, 11), 24)
    );
    assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 77, 0, 1)));
    assert_eq!(
        lease.name_servers,
        [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)]
    );
    // The server shortens half the hour a little, so a rack does not renew in step.
    assert!(
        (900..=1800).contains(&lease.renew_after.as_secs()),
        "{lease:?}"
    );

    let socket = sys::control_socket().unwrap();
    sys::set_address(&socket, "agent0", lease.ip, lease.prefix_len).unwrap();
    sys::set_gateway(&socket, lease.gateway.unwrap()).unwrap();
    sys::set_gateway(&socket, lease.gateway.unwrap()).unwrap();
    assert_eq!(sys::addresses().unwrap()["agent0"], ["10.77.0.11/24"]);
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    assert!(
        routes
            .lines()
            .any(|line| line.starts_with("agent0\t00000000\t01004D0A")),
        "{routes}"
    );

    assert_eq!(
        client.renew(lease.ip, &give_up).map(|renewed| renewed.ip),
        Some(lease.ip)
    );
}

#[test]
fn a_client_without_a_server_stops_on_request() {
    if !in_namespace("a_client_without_a_server_stops_on_request") {
        return;
    }
    let _switch = Switch::new();
    let stop = Arc::new(AtomicBool::new(false));
    let stop_client = stop.clone();
    let asking =
        std::thread::spawn(move || Client::open("agent0", MAC).unwrap().obtain(&stop_client));
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().unwrap(), None);
    assert!(
        Client::open("nosuch0", MAC)
            .is_err_and(|e| e.to_string() == "opening a DHCP socket on nosuch0")
    );
}

/// What sysfs says of interfaces that the kernel of the test made without hardware.
struct Sysfs(tempfile::TempDir);

impl Sysfs {
    fn with(nics: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, mac) in nics {
            let dir = root.path().join("class/net").join(name);
            std::fs::create_dir_all(dir.join("device")).unwrap();
            std::fs::write(dir.join("address"), mac).unwrap();
            std::fs::write(dir.join("carrier"), "1").unwrap();
        }
        Self(root)
    }

    /// Starts the set-up with a boot from `agent0`; the second flag says that a server was reached.
    fn start(&self, deaf_after: Duration) -> (oneshot::Receiver<Vec<Ipv4Addr>>, Arc<AtomicBool>) {
        let boot = BootNetwork {
            booted: Some(MAC),
            address: None,
            name_servers: Vec::new(),
        };
        let reached = Arc::new(AtomicBool::new(false));
        let around = Surroundings {
            sys: self.0.path().to_path_buf(),
            resolver: self.0.path().join("resolv.conf"),
            deaf_after,
            ..Surroundings::of_machine(reached.clone(), Vec::new)
        };
        let ready = setup::start(boot, around, Arc::default(), Arc::default()).unwrap();
        (ready, reached)
    }
}

/// Waits until the interface has this address.
fn has_address(name: &str, address: &str) {
    let until = Instant::now() + FOR_EVER;
    while sys::addresses()
        .unwrap()
        .get(name)
        .is_none_or(|all| *all != [address])
    {
        assert!(Instant::now() < until, "{:?}", sys::addresses().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_nic_that_fails_is_tried_again_and_one_that_returns_is_set_up_again() {
    if !in_namespace("a_nic_that_fails_is_tried_again_and_one_that_returns_is_set_up_again") {
        return;
    }
    let sysfs = Sysfs::with(&[("agent0", "52:54:00:77:01:01")]);
    // It cannot be brought up yet, as while its driver resets it.
    let (ready, reached) = sysfs.start(FOR_EVER);
    let mut switch = Switch::without_wire();
    for _ in 0..2 {
        switch.wire("agent0", "52:54:00:77:01:01");
        switch.ip("address add 10.77.0.1/24 dev switch0");
        let server = switch.dnsmasq("--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,1h");
        has_address("agent0", "10.77.0.11/24");
        reached.store(true, Ordering::Relaxed);
        drop(server);
        ip("link delete agent0");
        switch = Switch::without_wire();
    }
    let time_servers = vec![Ipv4Addr::new(10, 77, 0, 3)];
    assert_eq!(ready.blocking_recv(), Ok(time_servers));
}

#[test]
fn a_nic_that_leads_nowhere_does_not_stop_the_others() {
    if !in_namespace("a_nic_that_leads_nowhere_does_not_stop_the_others") {
        return;
    }
    let (boot, other) = ("52:54:00:77:01:01", "52:54:00:77:01:02");
    let switches = [("agent0", boot, "10.77.0"), ("agent1", other, "10.78.0")];
    let switches = switches.map(|(name, mac, net)| {
        let switch = Switch::without_wire();
        switch.wire(name, mac);
        switch.ip(&format!("address add {net}.1/24 dev switch0"));
        let range = format!("--dhcp-range={net}.11,{net}.11,255.255.255.0,1h");
        let server = switch.dnsmasq(&range);
        (server, switch)
    });
    let sysfs = Sysfs::with(&[("agent0", boot), ("agent1", other)]);
    let (ready, reached) = sysfs.start(Duration::from_secs(1));
    has_address("agent0", "10.77.0.11/24");
    // Nobody was reached by the first.
    has_address("agent1", "10.78.0.11/24");
    reached.store(true, Ordering::Relaxed);
    let time_servers = vec![Ipv4Addr::new(10, 77, 0, 3)];
    assert_eq!(ready.blocking_recv(), Ok(time_servers));
    drop(switches);
}

#[test]
fn a_renewal_applies_what_it_brings() {
    if !in_namespace("a_renewal_applies_what_it_brings") {
        return;
    }
    let _switch = Switch::new();
    let dir = tempfile::tempdir().unwrap();
    let resolver = dir.path().join("resolv.conf");
    let server = Server::new(resolver.clone(), Arc::default()).unwrap();
    let [gateway, next, name_server] = [1, 2, 3].map(|n| Ipv4Addr::new(10, 77, 0, n));
    let lease = Lease {
        ip: Ipv4Addr::new(10, 77, 0, 11),
        prefix_len: 24,
        gateway: Some(gateway),
        name_servers: vec![gateway],
        time_servers: vec![],
        renew_after: Duration::from_secs(60),
    };
    let gateways = || -> Vec<String> {
        let routes = std::fs::read_to_string("/proc/net/route").unwrap();
        let lines = routes
            .lines()
            .filter_map(|l| l.strip_prefix("agent0\t00000000\t"));
        lines.map(|line| line[..8].to_string()).collect()
    };
    assert!(server.take("agent0", &lease).unwrap());
    assert_eq!(gateways(), ["01004D0A"]);
    let renewed = Lease {
        prefix_len: 16,
        gateway: Some(next),
        name_servers: vec![name_server],
        ..lease.clone()
    };
    assert!(server.renewed("agent0", &renewed).unwrap());
    assert_eq!(gateways(), ["02004D0A"]);
    assert_eq!(sys::addresses().unwrap()["agent0"], ["10.77.0.11/16"]);
    let written = || std::fs::read_to_string(&resolver).unwrap();
    assert_eq!(written(), "nameserver 10.77.0.3\n");
    // What a renewal does not mention stays.
    let silent = Lease {
        gateway: None,
        name_servers: Vec::new(),
        ..renewed
    };
    assert!(server.renewed("agent0", &silent).unwrap());
    assert_eq!(
        (gateways(), written()),
        (vec!["02004D0A".into()], "nameserver 10.77.0.3\n".into())
    );
    assert!(
        !server.renewed("agent1", &silent).unwrap(),
        "it does not serve"
    );
}

#[test]
fn a_switch_is_heard() {
    if !in_namespace("a_switch_is_heard") {
        return;
    }
    let switch = Switch::new();
    let neighbours = Arc::new(Neighbours::default());
    let index = sys::index(&sys::control_socket().unwrap(), "agent0").unwrap();
    neighbours.listen_on(index).unwrap();
    let never = AtomicBool::new(false);
    switch.send(b"not an LLDP frame at all");
    switch.send(b"\x02\x05\x07tor1\x04\x0c\x05Ethernet1/1\x06\x02\x00\x78\x00\x00");
    let started = Instant::now();
    neighbours.wait_for(&|| vec![index], FOR_EVER, &never);
    assert!(started.elapsed() < FOR_EVER, "it was heard, not waited out");
    let neighbour = neighbours.get(index).unwrap();
    assert_eq!(
        (neighbour.chassis_id.as_str(), neighbour.port_id.as_str()),
        ("tor1", "Ethernet1/1")
    );
    // A wait for an interface that does not exist ends at its limit or when it is cancelled.
    neighbours.wait_for(
        &|| vec![index, index + 1000],
        Duration::from_millis(1),
        &never,
    );
    neighbours.wait_for(
        &|| vec![index, index + 1000],
        FOR_EVER,
        &AtomicBool::new(true),
    );
}
