//! Owns the rack's own tests: machines obey their BMCs, boot from network and disk, and see their switch.
//! Leaves the teardown to `teardown`, and the product's behaviour on a rack to other tests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ironbeat_rack::layout::{DHCP_FIRST, NodeNumber};
use ironbeat_rack::machine::qemu::PostFirmware;
use ironbeat_rack::machine::spec::{
    BootDevice, BootFlags, DiskContent, DiskKind, Firmware, NicModel, NicRom, NodeSpec,
};
use ironbeat_rack::machine::{End, PowerEvent, boot_sector};
use ironbeat_rack::packet::PacketSocket;
use ironbeat_rack::process::run_ok;
use ironbeat_rack::rack::{BmcKind, Rack, RackSpec};
use ironbeat_rack::{lldp, owner};

/// A POST with network boot takes 2–8 s on an idle machine; far more on a loaded one.
const BOOT: Duration = Duration::from_secs(240);

/// Answers over the rack's network take milliseconds.
const ANSWER: Duration = Duration::from_secs(30);

fn rack(nodes: Vec<NodeSpec>) -> Rack {
    Rack::start(RackSpec {
        nodes,
        ..RackSpec::default()
    })
    .unwrap()
}

/// What every machine boots from the network until it is told otherwise.
fn write_boot_script(rack: &Rack, last_line: &str) {
    let script = format!("#!ipxe\necho HELLO-IPXE ${{platform}} ${{net0/mac}}\n{last_line}\n");
    fs::write(rack.dnsmasq().tftp_dir().join("boot.ipxe"), script).unwrap();
}

/// The posts among a machine's power events.
fn posts(rack: &Rack, node: usize) -> Vec<(PostFirmware, BootDevice)> {
    let events = rack.machine(node).events();
    let post = |event| {
        if let PowerEvent::Post(post) = event {
            Some((post.firmware, post.boot))
        } else {
            None
        }
    };
    events
        .into_iter()
        .filter_map(|(_, event)| post(event))
        .collect()
}

#[test]
fn machines_obey_their_bmcs() {
    for bmc in [BmcKind::IpmiSim, BmcKind::Simulated] {
        machines_obey(bmc);
    }
}

fn machines_obey(bmc: BmcKind) {
    let mut rack = Rack::start(RackSpec {
        nodes: vec![NodeSpec::bios(), NodeSpec::uefi()],
        bmc,
        ..RackSpec::default()
    })
    .unwrap();
    for node in [1, 2] {
        let power = |rack: &Rack| {
            rack.ipmitool(node, &["power", "status"])
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(power(&rack), "Chassis Power is off");
        rack.ipmitool(node, &["power", "on"]).unwrap();
        assert_eq!(power(&rack), "Chassis Power is on");
        rack.ipmitool(node, &["power", "on"]).unwrap();
        rack.ipmitool(node, &["power", "reset"]).unwrap();
        rack.ipmitool(node, &["power", "soft"]).unwrap();
        assert_eq!(
            power(&rack),
            "Chassis Power is on",
            "no operating system listens to the button"
        );
        // The BMC dies and comes back; the machine doesn't notice.
        rack.bmc(node).kill();
        assert!(
            rack.ipmitool(node, &["-N", "1", "-R", "1", "power", "status"])
                .is_err()
        );
        rack.bmc(node).revive().unwrap();
        assert_eq!(power(&rack), "Chassis Power is on");
        rack.ipmitool(node, &["power", "off"]).unwrap();
        assert_eq!(power(&rack), "Chassis Power is off");
        assert!(!rack.machine(node).is_on());
        let firmware = if node == 1 {
            PostFirmware::Bios
        } else {
            PostFirmware::Uefi
        };
        assert_eq!(posts(&rack, node), [(firmware, BootDevice::Disk); 2]);
        let others: Vec<PowerEvent> = rack
            .machine(node)
            .events()
            .into_iter()
            .map(|(_, event)| event)
            .collect();
        assert_eq!(
            others[2..],
            [PowerEvent::ButtonPressed, PowerEvent::SwitchedOff]
        );
    }
    let wrong = rack
        .ipmitool(1, &["-P", "not-it", "power", "status"])
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("Unable to establish"), "{wrong}");
    rack.shutdown();
}

/// What `ipmi_sim` drops: the EFI bit, the persistent bit, and telling what was set.
#[test]
fn a_simulated_bmc_passes_all_boot_flags_on() {
    let rack = Rack::start(RackSpec {
        nodes: vec![NodeSpec {
            firmware: Firmware::Auto,
            ..NodeSpec::uefi()
        }],
        bmc: BmcKind::Simulated,
        ..RackSpec::default()
    })
    .unwrap();
    let tool = |args: &[&str]| rack.ipmitool(1, args).unwrap();
    let flags = || tool(&["chassis", "bootparam", "get", "5"]);
    tool(&["chassis", "bootdev", "pxe", "options=efiboot"]);
    assert!(flags().contains("Boot Flag Valid") && flags().contains("BIOS EFI boot"));
    tool(&["power", "on"]);
    assert!(flags().contains("Boot Flag Invalid"), "used up");
    tool(&["power", "cycle"]);
    tool(&["chassis", "bootdev", "pxe", "options=persistent"]);
    tool(&["power", "reset"]);
    tool(&["power", "cycle"]);
    assert!(flags().contains("Options apply to all future boots"));
    tool(&["chassis", "bootdev", "disk"]);
    tool(&["power", "reset"]);
    tool(&["power", "reset"]);
    tool(&["power", "off"]);
    let expected = [
        (PostFirmware::Uefi, BootDevice::Pxe),
        (PostFirmware::Bios, BootDevice::Disk),
        (PostFirmware::Bios, BootDevice::Pxe),
        (PostFirmware::Bios, BootDevice::Pxe),
        (PostFirmware::Bios, BootDevice::Disk),
        (PostFirmware::Bios, BootDevice::Disk),
    ];
    assert_eq!(posts(&rack, 1), expected);
}

/// One machine of every kind of NIC and disk.
#[test]
fn bios_machines_boot_from_the_network_once_and_then_from_disk() {
    let seed = owner::RunDir::create().unwrap();
    let sector = seed.path().join("sector");
    fs::write(&sector, boot_sector("HELLO-DISK\r\n")).unwrap();
    let node = |model, kind| {
        let mut node = NodeSpec::bios();
        node.nics[0].model = model;
        node.disks[0].kind = kind;
        node.disks[0].content = DiskContent::File(sector.clone());
        node
    };
    let rack = rack(vec![
        node(NicModel::VirtioNet, DiskKind::VirtioBlk),
        node(NicModel::E1000, DiskKind::Sata),
        node(NicModel::E1000e, DiskKind::Scsi),
        node(NicModel::VirtioNet, DiskKind::Nvme),
    ]);
    // The last letter would still be in the serial port when the machine resets.
    write_boot_script(&rack, "sleep 1\nreboot");
    for node in 1..=4 {
        rack.ipmitool(node, &["chassis", "bootdev", "pxe"]).unwrap();
        rack.ipmitool(node, &["power", "on"]).unwrap();
    }
    for node in 1..=4 {
        let mut console = rack.console(node);
        console
            .wait_for(&format!("HELLO-IPXE pcbios 52:54:00:77:00:0{node}"), BOOT)
            .unwrap();
        console.wait_for("HELLO-DISK", BOOT).unwrap();
        let events: Vec<PowerEvent> = rack
            .machine(node)
            .events()
            .into_iter()
            .map(|(_, event)| event)
            .collect();
        assert_eq!(events[1], PowerEvent::Ended(End::Reset));
        assert_eq!(
            posts(&rack, node),
            [
                (PostFirmware::Bios, BootDevice::Pxe),
                (PostFirmware::Bios, BootDevice::Disk)
            ]
        );
    }
}

#[test]
fn a_uefi_machine_boots_from_the_network_by_its_nics_rom() {
    let rack = rack(vec![NodeSpec::uefi()]);
    write_boot_script(&rack, "sleep 1\npoweroff");
    let mut console = rack.console(1);
    rack.ipmitool(1, &["chassis", "bootdev", "pxe"]).unwrap();
    rack.ipmitool(1, &["power", "on"]).unwrap();
    console
        .wait_for("HELLO-IPXE efi 52:54:00:77:00:01", BOOT)
        .unwrap();
}

#[test]
fn a_uefi_machine_without_a_rom_loads_ipxe_by_tftp() {
    let mut node = NodeSpec {
        firmware: Firmware::Auto,
        ..NodeSpec::uefi()
    };
    node.nics[0].rom = NicRom::None;
    let rack = rack(vec![node]);
    write_boot_script(&rack, "sleep 1\npoweroff");
    let mut console = rack.console(1);
    rack.machine(1).set_boot(BootFlags {
        device: BootDevice::Pxe,
        persistent: true,
        efi: true,
    });
    rack.machine(1).power_on().unwrap();
    console
        .wait_for("HELLO-IPXE efi 52:54:00:77:00:01", BOOT)
        .unwrap();
    rack.dnsmasq()
        .log()
        .wait_for("snponly.efi", ANSWER)
        .unwrap();
    // Persistent flags stay; without the EFI flag this machine is a BIOS machine.
    rack.machine(1).power_off();
    assert_eq!(rack.machine(1).boot_flags().device, BootDevice::Pxe);
    rack.machine(1).set_boot(BootFlags::default());
    rack.machine(1).power_on().unwrap();
    rack.machine(1).power_off();
    rack.machine(1).power_on().unwrap();
    let uefi = (PostFirmware::Uefi, BootDevice::Pxe);
    assert_eq!(
        posts(&rack, 1),
        [uefi, (PostFirmware::Bios, BootDevice::Disk), uefi]
    );
}

#[test]
fn a_machine_told_to_boot_locally_gets_no_boot_file_until_told_otherwise() {
    let rack = rack(vec![NodeSpec::bios()]);
    write_boot_script(&rack, "sleep 1\npoweroff");
    let host = |tag: &str| {
        // As the conductor does it: whole files, renamed into place.
        let staged: PathBuf = rack.dnsmasq().hosts_dir().join("../staged");
        fs::write(&staged, format!("52:54:00:77:00:01,set:{tag}\n")).unwrap();
        fs::rename(&staged, rack.dnsmasq().hosts_dir().join("525400770001")).unwrap();
    };
    let mut log = rack.dnsmasq().log();
    host("iblocal");
    log.wait_for("525400770001", ANSWER).unwrap();
    let mut console = rack.console(1);
    let boot = || {
        rack.machine(1).power_off();
        rack.machine(1).set_boot(BootFlags {
            device: BootDevice::Pxe,
            ..BootFlags::default()
        });
        rack.machine(1).power_on().unwrap();
    };
    boot();
    let found = console
        .wait_for_any(&["HELLO-IPXE", "Nothing to boot"], BOOT)
        .unwrap();
    assert_eq!(
        found.pattern,
        1,
        "a boot file was offered to a machine tagged iblocal: {}",
        console.text()
    );
    host("ibnetboot");
    log.wait_for("525400770001", ANSWER).unwrap();
    boot();
    console.wait_for("HELLO-IPXE", BOOT).unwrap();
    let leases = fs::read_to_string(rack.dnsmasq().leases_path()).unwrap();
    assert!(
        leases.contains("52:54:00:77:00:01") && leases.contains(&DHCP_FIRST.to_string()[..6]),
        "{leases}"
    );
}

#[test]
fn the_switch_tells_a_running_machine_its_port() {
    let rack = rack(vec![NodeSpec::bios()]);
    let tap = rack.machine(1).node().tap(0);
    let listener = rack.netns().inside(|| PacketSocket::open(&tap)).unwrap();
    // The cable is dead until the machine is on.
    rack.machine(1).power_on().unwrap();
    let deadline = Instant::now() + BOOT;
    while listener.receive(ANSWER).unwrap().expect("a frame a second") != lldp::frame("Ethernet1/1")
    {
        assert!(Instant::now() < deadline, "no LLDP frame on {tap}");
    }
}

#[test]
fn a_machine_can_ask_its_bmc_in_band() {
    let rack = rack(vec![NodeSpec::bios()]);
    let node = NodeNumber::new(1).unwrap();
    let port = (Ipv4Addr::LOCALHOST, node.kcs_port());
    let mut kcs = rack
        .netns()
        .inside(|| Ok(TcpStream::connect(port)?))
        .unwrap();
    kcs.set_read_timeout(Some(ANSWER)).unwrap();
    // VM protocol (QEMU's ipmi_bmc_extern): sequence, netfn Transport, Get LAN Configuration Parameters: channel 1,
    // parameter 3 (IP address), set 0, block 0; checksum to a sum of zero; end of message.
    let mut request = vec![0x01, 0x0c << 2, 0x02, 0x01, 0x03, 0x00, 0x00];
    let sum = request
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    request.extend([sum.wrapping_neg(), 0xa0]);
    kcs.write_all(&request).unwrap();
    // The BMC also sends commands to its system (they end in A1); the answer is the first message ending in A0.
    let mut message = Vec::new();
    let mut byte = [0];
    while byte != [0xa0] {
        kcs.read_exact(&mut byte).unwrap();
        if byte == [0xa1] {
            message.clear()
        } else {
            message.push(byte[0])
        }
    }
    // Sequence, response netfn, command, completion code 0, revision 0x11, address.
    assert_eq!(
        message[..9],
        [0x01, 0x0d << 2, 0x02, 0x00, 0x11, 10, 77, 1, 1],
        "{message:02x?}"
    );
}

#[test]
fn programs_run_inside_reach_the_servers() {
    let mut rack = rack(Vec::new());
    fs::write(rack.http_dir().join("file"), "served").unwrap();
    let (url, nats) = (rack.images().url("file"), rack.nats().address());
    let body = rack.netns().inside(|| {
        let mut http = TcpStream::connect(rack.images().address())?;
        http.set_read_timeout(Some(ANSWER))?;
        http.write_all(b"GET /file HTTP/1.0\r\n\r\n")?;
        let mut body = String::new();
        http.read_to_string(&mut body)?;
        let mut info = [0; 5];
        TcpStream::connect(nats)?.read_exact(&mut info)?;
        assert_eq!(&info, b"INFO ");
        Ok(body)
    });
    assert!(body.unwrap().ends_with("served"), "{url}");
    let addresses = run_ok(
        rack.command("/usr/sbin/ip")
            .map(|mut ip| {
                ip.args(["-4", "addr"]);
                ip
            })
            .unwrap(),
        ANSWER,
    );
    assert!(addresses.unwrap().contains("10.77.0.1/24"));
    let mut bus = rack.command("/usr/bin/dbus-send").unwrap();
    bus.env("DBUS_SYSTEM_BUS_ADDRESS", rack.dnsmasq().bus_address());
    bus.args([
        "--system",
        "--print-reply",
        "--dest=uk.org.thekelleys.dnsmasq",
        "/uk/org/thekelleys/dnsmasq",
    ]);
    bus.arg("uk.org.thekelleys.GetVersion");
    assert!(run_ok(bus, ANSWER).unwrap().contains("string \"2."));
}
