//! The fleet that a run begins with: machines, what operators say of them, and what is deployed on them.
//! What happens to it is in the other files.
use crate::disks::{Content, SimDisk};
use crate::machine::{Machine, Running};
use crate::rng::Rng;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_common::image::{Checksum, Digest};
use ironbeat_common::inventory::{BootFacts, BootMode, DRIVERS, Disk, Inventory, Nic, Problem};
use ironbeat_core::decide::{BmcPatch, Enrolment};
use ironbeat_core::hints::Hints;
use ironbeat_core::node::{BmcAccess, BmcAddress, BootDevice, Image, NewInstance, Secret};

/// When runs begin: 2027-01-15.
pub(crate) const BEGIN: u64 = 1_800_000_000_000;

pub(crate) fn machine(n: usize, rng: &mut Rng) -> Machine {
    let disks = (0..rng.between(1, 3)).map(|disk| SimDisk {
        serial: format!("S{n}-{disk}"),
        content: Content::Old,
    });
    let mut id = [0xa5; 16];
    id[15] = n as u8;
    Machine {
        node: NodeId::from_bytes(id),
        address: address(n),
        mac: mac(n),
        uefi: rng.below(2) == 0,
        net_first: rng.below(2) == 0,
        disks: disks.collect(),
        epoch: 0,
        on: false,
        running: Running::Off,
        once: None,
        always: BootDevice::None,
        boots: 0,
        disks_late: false,
        power_turn: 0,
        seen_off_wrongly: false,
        bmc_silent_until: 0,
        wrong_password_until: 0,
        password: FIRST_PASSWORD,
        asks: 0,
        ticket: None,
        given: None,
    }
}

fn address(n: usize) -> BmcAddress {
    let text = format!("10.77.0.{}", n + 1);
    text.parse().expect("an IPv4 address")
}

fn mac(n: usize) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, n as u8])
}

/// Passwords are told apart by numbers.
pub(crate) const FIRST_PASSWORD: u64 = 0;

pub(crate) fn password(n: u64) -> Secret {
    Secret::new(format!("hush-{n}"))
}

pub(crate) fn password_number(password: &Secret) -> u64 {
    let number = password.reveal().strip_prefix("hush-");
    number
        .and_then(|n| n.parse().ok())
        .expect("all are made here")
}

/// Where a BMC is and who logs in, without the password: that is nobody's to give while it may be changed.
pub(crate) fn endpoint(n: usize) -> BmcPatch {
    BmcPatch::Ipmi {
        address: Some(address(n)),
        username: Some("admin".into()),
        password: None,
        cipher_suite: None,
        kg: None,
        ipmi_1_5: Some(false),
    }
}

pub(crate) fn access(n: usize) -> BmcAccess {
    BmcAccess::Ipmi {
        address: address(n),
        username: "admin".into(),
        password: password(FIRST_PASSWORD),
        cipher_suite: None,
        kg: None,
        ipmi_1_5: false,
    }
}

/// `with_mac_of`: whose MAC address the operator types by mistake.
pub(crate) fn enrolment(n: usize, with_mac_of: usize) -> Enrolment {
    let mut id = [0xa5; 16];
    id[15] = n as u8;
    Enrolment {
        id: NodeId::from_bytes(id),
        name: Some(format!("n{n}").parse().expect("a name")),
        bmc: access(n),
        macs: vec![mac(with_mac_of)],
        system_uuid: None,
        serial: None,
        boot_mode: None,
        secure_boot: None,
        root_device: Hints::default(),
        skip_block_devices: Vec::new(),
        further: Default::default(),
        inventory: None,
    }
}

pub(crate) fn instance() -> NewInstance {
    NewInstance {
        traits: vec![],
        deploy_steps: vec![],
        image: Image {
            source: "os.zst".parse().expect("a file's name"),
            checksum: Checksum::Sha256(Digest([7; 32])),
            format: None,
        },
        hostname: None,
        user_data: Some("#cloud-config".into()),
        network_data: None,
        confirm: None,
        token: None,
        ssh_keys: vec![],
        root_device: Hints::default(),
    }
}

/// An agent says so when hardware still came up as it had to go on.
fn late() -> Problem {
    Problem {
        collector: DRIVERS.into(),
        what: "a controller was still coming up".into(),
        by_path: None,
    }
}

impl Machine {
    pub fn inventory(&self) -> Inventory {
        let disk = |(i, disk): (usize, &SimDisk)| Disk {
            name: format!("/dev/sd{i}"),
            size_bytes: (10 + i as u64) << 30,
            logical_sector_bytes: 512,
            serial: Some(disk.serial.clone()),
            ..Disk::default()
        };
        let disks = self.disks.iter().enumerate().map(disk);
        Inventory {
            disks: match self.disks_late {
                true => vec![],
                false => disks.collect(),
            },
            problems: match self.disks_late {
                true => vec![late()],
                false => vec![],
            },
            nics: vec![Nic {
                name: "eth0".into(),
                mac: self.mac,
                carrier: true,
                speed_mbps: None,
                driver: None,
                pci_address: None,
                pci_id: None,
                mtu: 1500,
                addresses: vec![],
                lldp: None,
            }],
            boot: BootFacts {
                mode: match self.uefi {
                    true => BootMode::Uefi,
                    false => BootMode::Bios,
                },
                ..BootFacts::default()
            },
            ..Inventory::default()
        }
    }
}
