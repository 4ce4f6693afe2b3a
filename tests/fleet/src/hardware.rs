//! What machine n is made of: a two-socket server, the same for each n in every run.
//! Leaves what happens to it to `machine`.
use ironbeat_common::id::{BootId, Mac, NodeId, SystemUuid};
use ironbeat_common::inventory::{
    BmcAddress, BootFacts, BootMode, Cpu, Disk, Firmware, Inventory, LldpNeighbour, Memory,
    MemoryModule, Nic, System,
};
use ironbeat_common::lookup::{BootTimings, Lookup};
use std::net::IpAddr;

const GIB: u64 = 1 << 30;
const DIMMS: usize = 24;
const DISKS: usize = 6;
const NICS: u8 = 4;

/// As the kernel lists them for a Xeon of 2023.
const FLAGS: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts acpi mmx fxsr sse sse2 \
    ss ht tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc art arch_perfmon pebs bts rep_good nopl xtopology nonstop_tsc cpuid \
    aperfmperf tsc_known_freq pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 sdbg fma cx16 xtpr pdcm pcid dca sse4_1 \
    sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand lahf_lm abm 3dnowprefetch cpuid_fault epb cat_l3 \
    cat_l2 cdp_l3 ssbd mba ibrs ibpb stibp ibrs_enhanced tpr_shadow flexpriority ept vpid ept_ad fsgsbase tsc_adjust bmi1 avx2 \
    smep bmi2 erms invpcid cqm rdt_a avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb intel_pt avx512cd sha_ni \
    avx512bw avx512vl xsaveopt xsavec xgetbv1 xsaves avx_vnni avx512_bf16 wbnoinvd dtherm ida arat pln pts hwp pku ospke";

fn id(kind: u8, n: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = kind;
    // The version and the variant of random UUIDs.
    (bytes[6], bytes[8]) = (0x40, 0x80);
    // Ids that count up would all fall into neighbouring keys.
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[9..16].copy_from_slice(&mixed.to_be_bytes()[1..]);
    bytes[1..5].copy_from_slice(&(n as u32).to_be_bytes());
    bytes
}

pub fn node_id(n: usize) -> NodeId {
    NodeId::from_bytes(id(0xa0, n))
}

pub fn system_uuid(n: usize) -> SystemUuid {
    SystemUuid::from_bytes(id(0x5e, n))
}

pub fn serial(n: usize) -> String {
    format!("CZ3{n:07}")
}

/// NIC `nic` of machine n.
pub fn mac(n: usize, nic: u8) -> Mac {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    Mac::from_bytes([0x02, a, b, c, 0x10, nic])
}

/// `bmc`: where its BMC is.
pub fn inventory(n: usize, bmc: IpAddr) -> Inventory {
    Inventory {
        system: System {
            uuid: Some(system_uuid(n)),
            manufacturer: Some("Example Systems".into()),
            product: Some("EX-2240 Gen11".into()),
            serial: Some(serial(n)),
            sku: Some("P52534-B21".into()),
            board_serial: Some(format!("PWXKM0{n:07}")),
            chassis_serial: Some(serial(n)),
            asset_tag: Some(format!("DC1-{n:06}")),
            firmware: Firmware {
                vendor: Some("Example Systems".into()),
                version: Some("U54 v2.10".into()),
                date: Some("11/21/2023".into()),
            },
        },
        cpu: Cpu {
            architecture: "x86_64".into(),
            model: "Intel(R) Xeon(R) Gold 6430".into(),
            count: 128,
            sockets: 2,
            mhz: Some(2100),
            flags: FLAGS.split_whitespace().map(Into::into).collect(),
        },
        memory: Memory {
            total_bytes: DIMMS as u64 * 32 * GIB - 5 * GIB,
            installed_bytes: Some(DIMMS as u64 * 32 * GIB),
            modules: (0..DIMMS).map(|dimm| memory_module(n, dimm)).collect(),
        },
        disks: (0..DISKS).map(|number| disk(n, number)).collect(),
        nics: (0..NICS).map(|number| nic(n, number)).collect(),
        bmc: Some(BmcAddress {
            ipv4: bmc.is_ipv4().then(|| bmc.to_string()),
            ipv6: bmc.is_ipv6().then(|| bmc.to_string()),
            mac: Some(mac(n, 0xff)),
        }),
        boot: BootFacts {
            mode: BootMode::Uefi,
            secure_boot: None,
            interface: Some(mac(n, 0)),
            kernel: "6.12.9-amd64".into(),
        },
        problems: Vec::new(),
    }
}

fn memory_module(n: usize, dimm: usize) -> MemoryModule {
    MemoryModule {
        locator: format!("PROC {} DIMM {}", dimm / 12 + 1, dimm % 12 + 1),
        size_bytes: 32 * GIB,
        serial: Some(format!("{:08X}", n * DIMMS + dimm)),
        part: Some("HMCG84AGBRA190N".into()),
        manufacturer: Some("Hynix".into()),
        speed_mts: Some(4800),
    }
}

fn disk(n: usize, number: usize) -> Disk {
    let serial = format!("S6CKNN0W{:06}", n * DISKS + number);
    Disk {
        name: format!("/dev/nvme{number}n1"),
        // The first is the smallest, and so the one that is written.
        size_bytes: if number == 0 { 480 } else { 3840 } * 1_000_000_000,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        model: Some("SAMSUNG MZQL23T8HCLS-00A07".into()),
        vendor: None,
        wwn: Some(format!("eui.36434b304e{:022x}", n * DISKS + number)),
        serial: Some(serial),
        transport: Some("nvme".into()),
        hctl: None,
        by_path: Some(format!("pci-0000:{:02x}:00.0-nvme-1", 0x40 + number)),
        ..Disk::default()
    }
}

fn nic(n: usize, number: u8) -> Nic {
    let cabled = number < 2;
    Nic {
        name: format!("ens{}f{}np{}", 1 + number / 2, number % 2, number % 2),
        mac: mac(n, number),
        carrier: cabled,
        speed_mbps: cabled.then_some(25_000),
        driver: Some("ice".into()),
        pci_address: Some(format!("0000:{:02x}:00.{}", 0x31 + number / 2, number % 2)),
        pci_id: Some("8086:159b".into()),
        mtu: 1500,
        addresses: Vec::new(),
        lldp: cabled.then(|| LldpNeighbour {
            chassis_id: format!(
                "mac 5c:5e:ab:{:02x}:{:02x}:00",
                n / 40 / 256 % 256,
                n / 40 % 256
            ),
            port_id: format!("Ethernet1/{}", n % 40 + 1),
            ttl_secs: 120,
            port_description: Some(format!("server {} port {number}", serial(n))),
            system_name: Some(format!("leaf{}-{number}.dc1.example.net", n / 40)),
            system_description: Some("Arista Networks EOS version 4.30.3M".into()),
            management_addresses: vec![format!("10.0.{}.{number}", n / 40 % 256)],
            pvid: Some(100),
            vlans: vec![100, 200],
            max_frame_bytes: Some(9214),
        }),
    }
}

/// What the agent of that boot says first.
pub fn lookup(n: usize, bmc: IpAddr, boot: BootId) -> Lookup {
    Lookup {
        version: ironbeat_common::codec::VERSION,
        boot,
        agent: env!("CARGO_PKG_VERSION").into(),
        inventory: inventory(n, bmc),
        timings: BootTimings {
            agent_ms: 2_310,
            modules_ms: 4_020,
            network_ms: 5_870,
            inventory_ms: 6_240,
            lookup_ms: 6_250,
        },
        login: None,
        measured: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::codec;
    use ironbeat_common::lookup::Introduction;
    use ironbeat_core::lookup::Identity;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    #[test]
    fn a_lookup_is_as_large_as_that_of_a_two_socket_server() {
        let lookup = lookup(7, Ipv4Addr::LOCALHOST.into(), BootId::from_bytes([1; 16]));
        let bytes = codec::encode(&lookup).len();
        assert!((6_000..=8_000).contains(&bytes), "{bytes} bytes");
        let head: Introduction = codec::decode(&codec::encode(&lookup)).unwrap();
        assert_eq!(head.boot, lookup.boot);
        let machine = Identity::of_machine(&lookup.inventory);
        assert_eq!(Identity::of_marks(head.inventory), machine);
    }

    #[test]
    fn no_two_machines_share_what_identifies_them() {
        let mut seen = BTreeSet::new();
        for n in (0..300).chain([65_535, 65_536, 99_999]) {
            let marks = [
                node_id(n).to_string(),
                system_uuid(n).to_string(),
                serial(n),
                mac(n, 0).to_string(),
            ];
            assert!(marks.into_iter().all(|mark| seen.insert(mark)), "{n}");
        }
    }
}
