//! The files alone, and a real dnsmasq that a made-up machine asks for an address over a cable of its own.
//! The rack and `tests/netboot.rs` boot machines by all this.
use super::test_client::{Asker, Client};
use super::*;
use ironbeat_rack::dnsmasq::{BUS_NAME, Dnsmasq as Server};
use ironbeat_rack::layout::BRIDGE;
use ironbeat_rack::logfile::LogCursor;
use ironbeat_rack::netns::Netns;
use ironbeat_rack::owner::unique_name;
use ironbeat_rack::packet::PacketSocket;
use std::fs;
use tokio::sync::mpsc;

const RAMDISK: Host = Host::Ramdisk(Loader::Ipxe);

fn scripts(entry_script: &str) -> TftpFiles {
    TftpFiles {
        entry_script: entry_script.into(),
        grub_config: "boot\n".into(),
        boot_dir: "/srv/boot".into(),
    }
}

/// Local answers take milliseconds; the machine may be busy.
const ANSWER: Duration = Duration::from_secs(60);

fn mac(n: u8) -> Mac {
    Mac::from_bytes([0x52, 0x54, 0, 0x77, 0, n])
}

fn config(hosts_dir: &Path, tftp_dir: &Path, bus: &str) -> DnsmasqConfig {
    DnsmasqConfig {
        hosts_dir: hosts_dir.into(),
        tftp_dir: tftp_dir.into(),
        bus: Some(bus.into()),
        bus_name: BUS_NAME.into(),
    }
}

/// Directories without a dnsmasq.
struct Dirs(tempfile::TempDir);

impl Dirs {
    fn new() -> Self {
        Self::made(tempfile::tempdir().unwrap())
    }

    fn made(dir: tempfile::TempDir) -> Self {
        let dirs = Self(dir);
        for dir in ["hosts", "tftp"] {
            fs::create_dir(dirs.path(dir)).unwrap();
        }
        dirs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn follower(&self) -> Dnsmasq {
        let bus = "unix:path=/nonexistent";
        Dnsmasq::start(
            config(&self.path("hosts"), &self.path("tftp"), bus),
            |_, _| {},
        )
    }

    /// What dnsmasq would read, by name.
    fn hosts(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.path("hosts"))
            .unwrap()
            .map(Result::unwrap);
        let visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        let mut files: Vec<(String, String)> = visible
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().to_string_lossy().into(), text)
            })
            .collect();
        files.sort();
        files
    }
}

impl Dnsmasq {
    fn told(&mut self, wanted: &BTreeMap<Mac, Host>, script: &str) -> Result<(), DnsmasqError> {
        self.want_all(wanted.clone());
        self.apply(&scripts(script))
    }
}

fn file(n: u8, tag: &str) -> (String, String) {
    (
        format!("ironbeat-52540077000{n}"),
        format!("52:54:00:77:00:0{n},set:{tag}\n"),
    )
}

#[tokio::test]
async fn files_follow_the_records() {
    let dirs = Dirs::new();
    fs::write(dirs.path("hosts/site"), "of the operator\n").unwrap();
    let site = ("site".to_string(), "of the operator\n".to_string());
    let mut first = dirs.follower();
    let both = BTreeMap::from([(mac(1), RAMDISK), (mac(2), Host::Disk)]);
    first.told(&both, "#!ipxe\n").unwrap();
    let as_wanted = [file(1, "ibnetboot"), file(2, "iblocal"), site.clone()];
    assert_eq!(dirs.hosts(), as_wanted);
    let script = fs::read_to_string(dirs.path("tftp/boot.ipxe")).unwrap();
    assert_eq!(script, "#!ipxe\n");
    // Nothing is left where files are staged, and an unchanged file is not touched.
    assert_eq!(
        fs::read_dir(dirs.path("hosts/.staging")).unwrap().count(),
        0
    );
    let touched = || {
        fs::metadata(dirs.path("hosts/ironbeat-525400770001"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = touched();
    first.told(&both, "#!ipxe\n").unwrap();
    let mut second = dirs.follower();
    second.told(&both, "#!ipxe\n").unwrap();
    assert_eq!(touched(), before);
    // A worker that starts later finds what an earlier one wrote.
    second
        .told(&BTreeMap::from([(mac(1), Host::Disk)]), "#!ipxe\n")
        .unwrap();
    assert_eq!(
        dirs.hosts(),
        [file(1, "iblocal"), file(2, "ibnetboot"), site]
    );
}

#[tokio::test]
async fn a_machine_with_secure_boot_has_a_tag_and_loaders_that_must_be_there() {
    let dirs = Dirs::new();
    let boot = dirs.path("boot");
    fs::create_dir(&boot).unwrap();
    let files = TftpFiles {
        boot_dir: boot.clone(),
        ..scripts("")
    };
    let mut follower = dirs.follower();
    follower.want(mac(1), Some(RAMDISK));
    follower.apply(&files).unwrap();
    // GRUB's files are there for whoever wants them; what is put in their place counts.
    let grub = |name: &str| fs::read_to_string(dirs.path("tftp/grub").join(name));
    assert_eq!(grub("grub.cfg").unwrap(), "boot\n");
    assert!(grub("vmlinuz").is_err());
    for name in ["vmlinuz", "initrd"] {
        for content in ["old", "new"] {
            fs::write(boot.join(name), content).unwrap();
            assert_eq!(grub(name).unwrap(), content);
        }
    }
    let secure = Host::Ramdisk(Loader::Shim);
    follower.want(mac(1), Some(secure));
    for (missing, next) in [("shimx64.efi", "shim"), ("grubx64.efi", "grub")] {
        follower.looked = None;
        let error = follower.apply(&files).unwrap_err().to_string();
        assert!(error.contains(missing), "{error}");
        fs::write(dirs.path("tftp").join(missing), next).unwrap();
    }
    follower.apply(&files).unwrap();
    let expected = [file(1, "ibnetboot,set:ibsecure")];
    assert_eq!(dirs.hosts(), expected);
    // A worker that starts later reads what the file says.
    let mut second = dirs.follower();
    second.want(mac(1), Some(secure));
    second.apply(&files).unwrap();
    assert_eq!(second.hosts[&mac(1)], Some(secure));
    // Another folder for kernel and ramdisk.
    let moved = TftpFiles {
        boot_dir: dirs.path("moved"),
        ..files
    };
    second.apply(&moved).unwrap();
    let link = fs::read_link(dirs.path("tftp/grub/initrd")).unwrap();
    assert_eq!(link, dirs.path("moved/initrd"));
}

#[tokio::test]
async fn foreign_changes_to_the_files_are_undone_at_the_next_look() {
    let dirs = Dirs::new();
    let mut follower = dirs.follower();
    let desired = BTreeMap::from([
        (mac(1), Host::Disk),
        (mac(2), Host::Disk),
        (mac(3), Host::Disk),
    ]);
    follower.told(&desired, "a\n").unwrap();
    let as_wanted = dirs.hosts();
    fs::remove_file(dirs.path("hosts/ironbeat-525400770001")).unwrap();
    fs::write(dirs.path("hosts/ironbeat-525400770002"), "").unwrap();
    fs::remove_file(dirs.path("tftp/boot.ipxe")).unwrap();
    follower.looked = None;
    follower.told(&desired, "a\n").unwrap();
    assert_eq!(dirs.hosts(), as_wanted);
    assert!(dirs.path("tftp/boot.ipxe").exists());
}

#[tokio::test]
async fn the_file_of_a_forgotten_machine_goes_a_look_later() {
    let dirs = Dirs::new();
    let mut follower = dirs.follower();
    let none = BTreeMap::new();
    follower
        .told(&BTreeMap::from([(mac(1), Host::Disk)]), "")
        .unwrap();
    for (looks, expected) in [
        (0, vec![file(1, "ibnetboot")]),
        (1, vec![file(1, "ibnetboot")]),
        (1, vec![]),
        (1, vec![]),
    ] {
        if looks > 0 {
            follower.looked = None;
        }
        follower.told(&none, "").unwrap();
        assert_eq!(dirs.hosts(), expected);
    }
    // A machine that is enrolled again in between keeps its file.
    let again = BTreeMap::from([(mac(1), RAMDISK)]);
    follower.told(&again, "").unwrap();
    for desired in [&none, &again, &none, &again] {
        follower.looked = None;
        follower.told(desired, "").unwrap();
        assert_eq!(dirs.hosts(), [file(1, "ibnetboot")]);
    }
}

#[tokio::test]
async fn one_file_that_cannot_be_written_does_not_hold_up_the_others() {
    let dirs = Dirs::new();
    let obstacle = dirs.path("hosts/ironbeat-525400770001");
    fs::create_dir_all(obstacle.join("full")).unwrap();
    let mut follower = dirs.follower();
    let desired = BTreeMap::from([(mac(1), Host::Disk), (mac(2), Host::Disk)]);
    let error = follower.told(&desired, "").unwrap_err().to_string();
    assert!(error.contains("ironbeat-525400770001"), "{error}");
    let written = fs::read_to_string(dirs.path("hosts/ironbeat-525400770002")).unwrap();
    assert_eq!(written, file(2, "iblocal").1);
    // Tried again with every call.
    fs::remove_dir_all(&obstacle).unwrap();
    follower.told(&desired, "").unwrap();
    assert_eq!(dirs.hosts(), [file(1, "iblocal"), file(2, "iblocal")]);
    // A missing directory is not made: dnsmasq would not look into it.
    let config = config(&dirs.path("nowhere"), &dirs.path("tftp"), "unix:path=/n");
    let mut lost = Dnsmasq::start(config, |_, _| {});
    assert!(lost.told(&desired, "").is_err());
    assert!(!dirs.path("nowhere").exists());
}

#[tokio::test]
async fn many_machines_are_written_in_portions() {
    let dirs = Dirs::new();
    let many = |n: usize| {
        let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
        (Mac::from_bytes([2, 0, 0, 0, high, low]), Host::Disk)
    };
    let desired: BTreeMap<Mac, Host> = (0..2 * MAX_WRITES + 1).map(many).collect();
    let mut follower = dirs.follower();
    for expected in [MAX_WRITES, 2 * MAX_WRITES, desired.len()] {
        follower.told(&desired, "").unwrap();
        assert_eq!(dirs.hosts().len(), expected);
    }
}

/// What a change costs is counted in comparisons and in files, which are replaced and so get another inode.
#[tokio::test]
async fn one_change_among_ten_thousand_nodes_compares_and_writes_one_file() {
    use std::os::unix::fs::MetadataExt;
    // In memory: so many files take a disk a minute.
    let dirs = Dirs::made(tempfile::tempdir_in("/dev/shm").unwrap());
    let many = |n: u16| {
        let [high, low] = n.to_be_bytes();
        Mac::from_bytes([2, 0, 0, 0, high, low])
    };
    let mut follower = dirs.follower();
    follower.want_all((0..10_000).map(|n| (many(n), Host::Disk)).collect());
    while follower.looked.is_none() || !follower.due.is_empty() {
        follower.apply(&scripts("")).unwrap();
    }
    let inodes = || -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(dirs.path("hosts"))
            .unwrap()
            .map(Result::unwrap);
        let files = entries.filter(|entry| mac_of(&entry.path()).is_some());
        files
            .map(|entry| (entry.path(), entry.metadata().unwrap().ino()))
            .collect()
    };
    let mut before = inodes();
    assert_eq!(before.len(), 10_000);
    for (boot, writes) in [
        (Some(RAMDISK), 1),
        (Some(RAMDISK), 0),
        (None, 0),
        (Some(Host::Disk), 1),
    ] {
        let compared = follower.compared;
        follower.want(many(4711), boot);
        follower.apply(&scripts("")).unwrap();
        let after = inodes();
        let written = after
            .iter()
            .filter(|(path, inode)| before[*path] != **inode);
        assert_eq!(written.count(), writes, "{boot:?}");
        assert_eq!(follower.compared - compared, 1);
        before = after;
    }
}

/// A dnsmasq in a namespace of its own, and a cable to it.
struct Network {
    server: Option<Server>,
    netns: Netns,
    dir: tempfile::TempDir,
}

const CABLE: &str = "cable";

impl Network {
    fn without_server() -> Self {
        let netns = Netns::create(&unique_name(), false).unwrap();
        netns
            .ip(&[
                format!("link add {CABLE} type veth peer name plug"),
                format!("link set plug master {BRIDGE}"),
                "link set plug up".into(),
                format!("link set {CABLE} up"),
            ])
            .unwrap();
        Self {
            server: None,
            netns,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn start_server(&mut self) {
        // The old one first: both use the same bus and directories.
        self.server = None;
        self.server = Some(Server::start(&self.netns, self.dir.path()).unwrap());
    }

    fn config(&self) -> DnsmasqConfig {
        let path = |name: &str| self.dir.path().join(name);
        let bus = format!("unix:path={}", path("bus.sock").display());
        config(&path("hosts"), &path("tftp"), &bus)
    }

    /// What a machine is offered once dnsmasq has read its file, which `change` changes.
    fn offered_after(
        &self,
        client: &Client,
        asker: Asker,
        change: impl FnOnce(),
    ) -> Option<String> {
        let log = self.server.as_ref().unwrap().log();
        let mut log = LogCursor::at_end(log.path());
        change();
        let file = format!("read {}", self.dir.path().join("hosts").display());
        let file = format!("{file}/{FILE_PREFIX}{}", client.mac.hex());
        log.wait_for(&file, ANSWER).unwrap();
        client.offer(asker).boot_file
    }

    fn client(&self, mac: Mac) -> Client {
        let socket = self.netns.inside(|| PacketSocket::open(CABLE)).unwrap();
        Client { socket, mac }
    }
}

fn name(file: &str) -> Option<String> {
    Some(file.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_sent_from_the_network_to_its_disk_and_back_without_a_restart() {
    let mut network = Network::without_server();
    network.start_server();
    let config = network.config();
    let mut follower = Dnsmasq::start(config.clone(), |_, _| {});
    let (client, other) = (network.client(mac(1)), network.client(mac(2)));
    // Unknown machines boot from the network.
    assert_eq!(client.offer(Asker::Bios).boot_file, name("undionly.kpxe"));
    assert_eq!(client.offer(Asker::Ipxe).boot_file, name("boot.ipxe"));
    assert_eq!(client.offer(Asker::Uefi).boot_file, name("snponly.efi"));
    // With Secure Boot, UEFI firmware loads shim; whoever is no UEFI firmware is sent where it always is.
    let secure = BTreeMap::from([(mac(1), Host::Ramdisk(Loader::Shim))]);
    let secure = || follower.told(&secure, "#!ipxe\n").unwrap();
    let offered = network.offered_after(&client, Asker::Uefi, secure);
    assert_eq!(offered, name("shimx64.efi"));
    assert_eq!(other.offer(Asker::Uefi).boot_file, name("snponly.efi"));
    assert_eq!(client.offer(Asker::Bios).boot_file, name("undionly.kpxe"));
    assert_eq!(client.offer(Asker::Ipxe).boot_file, name("boot.ipxe"));
    for (boot, expected) in [
        (Host::Disk, None),
        (RAMDISK, name("boot.ipxe")),
        (Host::Disk, None),
    ] {
        let apply = || {
            follower
                .told(&BTreeMap::from([(mac(1), boot)]), "#!ipxe\n")
                .unwrap()
        };
        let offered = network.offered_after(&client, Asker::Ipxe, apply);
        assert_eq!(offered, expected);
        assert_eq!(client.offer(Asker::Ipxe).boot_file, expected);
        assert_eq!(other.offer(Asker::Ipxe).boot_file, name("boot.ipxe"));
    }
    // A forgotten machine is as unknown as at first: while its file is there, when it is gone, and after a restart.
    let forget = || follower.told(&BTreeMap::new(), "#!ipxe\n").unwrap();
    let offered = network.offered_after(&client, Asker::Ipxe, forget);
    assert_eq!(offered, name("boot.ipxe"));
    let mut looks = || {
        for _ in 0..2 {
            follower.looked = None;
            follower.told(&BTreeMap::new(), "#!ipxe\n").unwrap();
        }
    };
    let offered = network.offered_after(&client, Asker::Ipxe, &mut looks);
    assert_eq!(offered, name("boot.ipxe"));
    assert!(!follower.host_file(mac(1)).exists());
    assert!(Dnsmasq::version(&config).await.unwrap().starts_with("2."));
    network.start_server();
    assert_eq!(client.offer(Asker::Bios).boot_file, name("undionly.kpxe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_reported_through_restarts_of_dnsmasq_and_its_bus() {
    let mut network = Network::without_server();
    let config = network.config();
    for error in [
        Dnsmasq::version(&config).await.unwrap_err(),
        Dnsmasq::metrics(&config).await.unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("reach the bus unix:path="), "{error}");
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let follower = Dnsmasq::start(config.clone(), move |mac, ip| {
        let _ = tell.send((mac, ip));
    });
    for round in 1..=2 {
        network.start_server();
        let client = network.client(mac(round));
        // The follower notices by itself that dnsmasq is there; it does not report an earlier lease.
        let (seen, ip) = loop {
            let ip = client.lease(Asker::Ipxe).ip;
            if let Ok(lease) = tokio::time::timeout(Duration::from_secs(1), told.recv()).await {
                break (lease.unwrap(), ip);
            }
        };
        assert_eq!(seen, (mac(round), IpAddr::V4(ip)));
        // A renewed lease is reported like a new one.
        while told.try_recv().is_ok() {}
        let renewed = client.lease(Asker::Bios).ip;
        assert_eq!(told.recv().await, Some((mac(round), IpAddr::V4(renewed))));
        assert_eq!(follower.trouble(), None);
        let metrics = Dnsmasq::metrics(&config).await.unwrap();
        assert!(metrics["dhcp_ack"] >= 2, "{metrics:?}");
    }
    // Without it, the follower says so.
    network.server = None;
    let mut health = follower.health.clone();
    let trouble = tokio::time::timeout(ANSWER, health.wait_for(Option::is_some));
    assert!(trouble.await.unwrap().unwrap().is_some());
    network.start_server();
    // The bus without dnsmasq.
    let nobody = DnsmasqConfig {
        bus_name: "org.example.Nobody".into(),
        ..config
    };
    let error = Dnsmasq::version(&nobody).await.unwrap_err().to_string();
    assert!(
        error.contains("call GetVersion of org.example.Nobody") && error.contains("ServiceUnknown"),
        "{error}"
    );
}

/// A peer that takes the connection and never says a word.
#[tokio::test]
async fn a_wedged_bus_is_given_up() {
    let dirs = Dirs::new();
    let socket = dirs.path("bus");
    let _wedged = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let bus = format!("unix:path={}", socket.display());
    let config = config(&dirs.path("hosts"), &dirs.path("tftp"), &bus);
    tokio::time::pause();
    let error = Dnsmasq::version(&config).await.unwrap_err().to_string();
    assert!(error.contains("no answer within 5 s"), "{error}");
}
