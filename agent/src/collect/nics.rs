//! The inventory of network hardware: addresses, link, driver, PCI address, LLDP neighbour.
//! Bringing interfaces up and listening for neighbours is left to `net`.
use super::{Fill, Roots};
use crate::net::{KernelFacts, interfaces};
use crate::sysfs::{is_pci_address, number, text};
use ironbeat_common::inventory::Nic;
use std::fs;
use std::path::{Path, PathBuf};

/// `facts` asks the kernel about one interface.
///
/// # Errors
/// When there is no `/sys/class/net`.
pub fn read(roots: &Roots, facts: &dyn Fn(&str) -> KernelFacts) -> anyhow::Result<Fill> {
    let nics = list(&roots.sys, facts)?;
    Ok(Box::new(move |inventory| inventory.nics = nics))
}

fn list(sys: &Path, facts: &dyn Fn(&str) -> KernelFacts) -> anyhow::Result<Vec<Nic>> {
    let nic = |name: String| {
        let dir = sys.join("class/net").join(&name);
        // InfiniBand addresses are longer: those ports are left out.
        let present = interfaces::mac(sys, &name)?;
        let facts = facts(&name);
        let device = fs::canonicalize(dir.join("device")).ok()?;
        let pci = device.ancestors().find(|path| {
            path.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(is_pci_address)
        });
        Some(Nic {
            mac: facts.permanent_mac.unwrap_or(present),
            carrier: interfaces::carrier(sys, &name),
            // -1 where it is not known.
            speed_mbps: number::<i64>(&dir, "speed")
                .and_then(|mbps| u32::try_from(mbps).ok())
                .filter(|mbps| *mbps > 0),
            driver: fs::read_link(device.join("driver"))
                .ok()
                .and_then(|link| file_name(&link)),
            pci_address: pci.and_then(file_name),
            pci_id: pci.and_then(pci_id),
            mtu: number(&dir, "mtu").unwrap_or(0),
            addresses: facts.addresses,
            lldp: facts.neighbour,
            name,
        })
    };
    Ok(interfaces::names(sys)?
        .into_iter()
        .filter_map(nic)
        .collect())
}

fn file_name(path: impl AsRef<Path>) -> Option<String> {
    path.as_ref()
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_string)
}

fn pci_id(dir: impl Into<PathBuf>) -> Option<String> {
    let dir = dir.into();
    let part = |file| text(&dir, file)?.strip_prefix("0x").map(str::to_string);
    Some(format!("{}:{}", part("vendor")?, part("device")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::inventory::LldpNeighbour;
    use std::os::unix::fs::symlink;

    fn facts(name: &str) -> KernelFacts {
        match name {
            "eth0" => KernelFacts {
                permanent_mac: None,
                addresses: vec!["10.77.0.11/24".into()],
                neighbour: Some(LldpNeighbour {
                    chassis_id: "tor1".into(),
                    ..LldpNeighbour::default()
                }),
            },
            "eth1" => KernelFacts {
                permanent_mac: Some("52:54:00:77:02:01".parse().unwrap()),
                ..KernelFacts::default()
            },
            _ => KernelFacts::default(),
        }
    }

    fn write(path: PathBuf, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn nic(sys: &Path, name: &str, device: Option<&str>, files: &[(&str, &str)]) {
        let dir = sys.join("class/net").join(name);
        for (file, content) in files {
            write(dir.join(file), content);
        }
        if let Some(device) = device {
            let device = sys.join("devices").join(device);
            fs::create_dir_all(&device).unwrap();
            symlink(&device, dir.join("device")).unwrap();
            symlink("/sys/bus/virtio/drivers/virtio_net", device.join("driver")).unwrap();
        }
    }

    #[test]
    fn hardware_is_listed_with_what_only_the_kernel_knows() {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path().join("sys");
        nic(&sys, "lo", None, &[("address", "00:00:00:00:00:00\n")]);
        nic(&sys, "br0", None, &[("address", "52:54:00:77:01:99\n")]);
        let files = [
            ("address", "52:54:00:77:01:01\n"),
            ("carrier", "1\n"),
            ("speed", "10000\n"),
            ("mtu", "1500\n"),
        ];
        nic(
            &sys,
            "eth0",
            Some("pci0000:00/0000:00:02.0/virtio0"),
            &files,
        );
        write(
            sys.join("devices/pci0000:00/0000:00:02.0/vendor"),
            "0x1af4\n",
        );
        write(
            sys.join("devices/pci0000:00/0000:00:02.0/device"),
            "0x1041\n",
        );
        let files = [("address", "52:54:00:77:99:99\n"), ("speed", "-1\n")];
        nic(&sys, "eth1", Some("pci0000:00/0000:00:04.0"), &files);
        let address = format!("{}\n", ["80"; 20].join(":"));
        nic(
            &sys,
            "ib0",
            Some("pci0000:00/0000:00:05.0"),
            &[("address", address.as_str())],
        );

        let nics = list(&sys, &facts).unwrap();
        let eth0 = Nic {
            name: "eth0".into(),
            mac: "52:54:00:77:01:01".parse().unwrap(),
            carrier: true,
            speed_mbps: Some(10_000),
            driver: Some("virtio_net".into()),
            pci_address: Some("0000:00:02.0".into()),
            pci_id: Some("1af4:1041".into()),
            mtu: 1500,
            addresses: vec!["10.77.0.11/24".into()],
            lldp: facts("eth0").neighbour,
        };
        assert_eq!(nics.len(), 2, "{nics:?}");
        assert_eq!(nics[0], eth0);
        assert_eq!(
            nics[1].mac,
            "52:54:00:77:02:01".parse().unwrap(),
            "the permanent address counts"
        );
        assert_eq!(
            (
                nics[1].carrier,
                nics[1].speed_mbps,
                nics[1].pci_id.as_deref()
            ),
            (false, None, None)
        );
    }
}
