//! Owns the rack's own tests: it comes up, machines obey their BMCs and boot from the network, and nothing is left.
//! Leaves the product's behaviour on a rack to other tests.

use std::fs;
use std::time::Duration;

use ironbeat_tests::machine::spec::NodeSpec;
use ironbeat_tests::rack::{Rack, RackSpec};

/// A POST takes 2–4 s on an idle machine; ten times that for loaded ones, and some.
const BOOT: Duration = Duration::from_secs(120);

fn rack(nodes: Vec<NodeSpec>) -> Rack {
    Rack::start(RackSpec {
        nodes,
        ..RackSpec::default()
    })
    .unwrap()
}

/// A boot script that speaks and then switches the machine off.
const HELLO: &str = "#!ipxe\necho HELLO-IPXE ${platform} ${net0/mac}\npoweroff\n";

#[test]
fn a_bios_machine_boots_a_script_from_the_network() {
    boots_from_the_network(NodeSpec::bios(), "HELLO-IPXE pcbios 52:54:00:77:00:01");
}

#[test]
fn a_uefi_machine_boots_a_script_from_the_network() {
    boots_from_the_network(NodeSpec::uefi(), "HELLO-IPXE efi 52:54:00:77:00:01");
}

fn boots_from_the_network(node: NodeSpec, hello: &str) {
    let rack = rack(vec![node]);
    fs::write(rack.dnsmasq().tftp_dir().join("boot.ipxe"), HELLO).unwrap();
    assert_eq!(
        rack.ipmitool(1, &["power", "status"]).unwrap().trim(),
        "Chassis Power is off"
    );
    let mut console = rack.console(1);
    rack.ipmitool(1, &["chassis", "bootdev", "pxe"]).unwrap();
    rack.ipmitool(1, &["power", "on"]).unwrap();
    console.wait_for(hello, BOOT).unwrap();
}
