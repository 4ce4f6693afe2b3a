//! Owns DHCP and first-stage TFTP: a private D-Bus daemon and a dnsmasq on it, configured as the product asks for.
//! Leaves host files and the first boot script to the conductor, which writes them into the directories named here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::layout::{BRIDGE, DHCP_FIRST, DHCP_LAST};
use crate::netns::Netns;
use crate::process::{Process, find_program};

/// Both start in under 0.1 s on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What firmware loads: where Debian's packages put it, what it is called in the TFTP directory, and the package.
const LOADERS: [(&str, &str, &str); 4] = [
    ("/usr/lib/ipxe/undionly.kpxe", "undionly.kpxe", "ipxe"),
    ("/usr/lib/ipxe/snponly.efi", "snponly.efi", "ipxe"),
    (
        "/usr/lib/shim/shimx64.efi.signed",
        "shimx64.efi",
        "shim-signed",
    ),
    (
        "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
        "grubx64.efi",
        "grub-efi-amd64-signed",
    ),
];

/// The name dnsmasq owns on the bus.
pub const BUS_NAME: &str = "uk.org.thekelleys.dnsmasq";

/// dnsmasq's configuration for a network whose machines Ironbeat runs. `@…@` are places for the site's own values.
pub const CONFIG_TEMPLATE: &str = "\
# dnsmasq for Ironbeat: DHCP, router advertisements and the first stage of network boot.
# Everything after the first stage (scripts, kernel, ramdisk) comes from the conductors over HTTP.

# Only DHCP and TFTP here; names are another server's business.
port=0
interface=@INTERFACE@
bind-interfaces

# Addresses. Machines rest longer than a lease between two boots, and keep their address while it is known.
dhcp-range=@FIRST@,@LAST@,1h
dhcp-authoritative
# No ping before an offer: it costs every boot a second or more.
no-ping
dhcp-leasefile=@STATE@/leases

# The conductor writes one file per MAC into hosts/, which is its own; dnsmasq sees new and changed files by itself.
dhcp-hostsdir=@STATE@/hosts
# The conductor hears of leases over D-Bus.
enable-dbus=@BUS_NAME@

# Router advertisements: without any, iPXE waits 13 s for one.
enable-ra
dhcp-range=@PREFIX6@,ra-only

# Which firmware asks (RFC 4578 §2.1: 0 is BIOS, 7 and 9 are x86-64 UEFI), and is it iPXE already (option 175)?
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:efi64,option:client-arch,7
dhcp-match=set:efi64,option:client-arch,9
dhcp-match=set:ipxe,175

# First stage: firmware loads iPXE, iPXE loads boot.ipxe, which the conductor keeps in the TFTP directory.
# A machine that the conductor's host file tags `iblocal` gets no boot file and falls through to its disk; unknown
# machines and those tagged `ibnetboot` get one. With Secure Boot on, firmware refuses iPXE: a machine tagged `ibsecure` loads
# Debian's shim, and that GRUB, which finds its configuration in grub/, where the conductor keeps it.
enable-tftp
tftp-root=@TFTP@
dhcp-boot=tag:!iblocal,tag:ipxe,boot.ipxe
dhcp-boot=tag:!iblocal,tag:!ipxe,tag:bios,undionly.kpxe
dhcp-boot=tag:!iblocal,tag:!ipxe,tag:efi64,tag:!ibsecure,snponly.efi
dhcp-boot=tag:!iblocal,tag:!ipxe,tag:efi64,tag:ibsecure,shimx64.efi
# Tells iPXE not to wait 2 s for a ProxyDHCP server (its option 176, no-pxedhcp).
dhcp-option=tag:ipxe,encap:175,176,1b

log-dhcp
";

/// A running dnsmasq with its private bus.
#[derive(Debug)]
pub struct Dnsmasq {
    dir: PathBuf,
    // Dropped in this order: dnsmasq logs an error when its bus goes first.
    dnsmasq: Process,
    _bus: Process,
}

impl Dnsmasq {
    /// Starts both inside `netns`, keeping everything under `dir`, and waits until DHCP is served.
    ///
    /// # Errors
    /// When a program or a boot loader is missing, or one of them doesn't come up.
    pub fn start(netns: &Netns, dir: &Path) -> Result<Self> {
        for sub in ["hosts", "tftp"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        for (from, name, package) in LOADERS {
            let to = dir.join("tftp").join(name);
            fs::copy(from, to).with_context(|| format!("copy {from} (package {package})"))?;
        }
        let config = CONFIG_TEMPLATE
            .replace("@INTERFACE@", BRIDGE)
            .replace("@FIRST@", &DHCP_FIRST.to_string())
            .replace("@LAST@", &DHCP_LAST.to_string())
            .replace("@PREFIX6@", "fd77::")
            .replace("@STATE@", &dir.display().to_string())
            .replace("@TFTP@", &dir.join("tftp").display().to_string())
            .replace("@BUS_NAME@", BUS_NAME);
        let config_path = dir.join("dnsmasq.conf");
        fs::write(&config_path, config).context("write dnsmasq's configuration")?;

        let bus = start_bus(netns, dir)?;
        let mut command = netns.command(find_program("dnsmasq", Some("DNSMASQ"))?)?;
        command
            .arg(format!("--conf-file={}", config_path.display()))
            // As root it would become another user, who can't read the rack's directory; an empty group leaves the groups
            // alone, which is all a user namespace permits.
            .args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--user=root",
                "--group=",
                "--pid-file=",
            ])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus_address(dir));
        let mut dnsmasq = Process::start("dnsmasq", command, &dir.join("dnsmasq.log"))?;
        dnsmasq.wait_for_log("sockets bound exclusively", START_TIMEOUT)?;
        Ok(Self {
            dir: dir.to_owned(),
            dnsmasq,
            _bus: bus,
        })
    }

    /// Address of the private bus, for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn bus_address(&self) -> String {
        bus_address(&self.dir)
    }

    /// Where host files go: one line each, `MAC,set:iblocal` for example.
    pub fn hosts_dir(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    /// Root of the TFTP server; `boot.ipxe` goes here.
    pub fn tftp_dir(&self) -> PathBuf {
        self.dir.join("tftp")
    }

    /// The leases that dnsmasq has written down.
    pub fn leases_path(&self) -> PathBuf {
        self.dir.join("leases")
    }

    /// A cursor at the start of dnsmasq's log, where each DHCP exchange and TFTP transfer is told.
    pub fn log(&self) -> crate::logfile::LogCursor {
        self.dnsmasq.log()
    }
}

fn bus_address(dir: &Path) -> String {
    format!("unix:path={}", dir.join("bus.sock").display())
}

/// A system bus of the rack's own, on which everybody who can reach its socket may do everything.
fn start_bus(netns: &Netns, dir: &Path) -> Result<Process> {
    let config = format!(
        "<busconfig>\n\
         <type>system</type>\n\
         <listen>{}</listen>\n\
         <auth>EXTERNAL</auth>\n\
         <policy context=\"default\">\n\
         <allow user=\"*\"/>\n<allow own=\"*\"/>\n\
         <allow send_destination=\"*\" eavesdrop=\"true\"/>\n<allow receive_sender=\"*\" eavesdrop=\"true\"/>\n\
         </policy>\n\
         </busconfig>\n",
        bus_address(dir)
    );
    let config_path = dir.join("bus.conf");
    fs::write(&config_path, config).context("write the bus configuration")?;
    let mut command = netns.command(find_program("dbus-daemon", None)?)?;
    command
        .arg(format!("--config-file={}", config_path.display()))
        .args(["--nofork", "--nopidfile", "--print-address"]);
    let mut bus = Process::start("dbus-daemon", command, &dir.join("bus.log"))?;
    // Printed once the socket is bound.
    bus.wait_for_log("unix:path=", START_TIMEOUT)?;
    Ok(bus)
}

#[cfg(test)]
mod tests {
    use super::CONFIG_TEMPLATE;

    #[test]
    fn operators_are_told_the_configuration_that_is_tried_here() {
        let told = include_str!("../../../docs/dnsmasq.md");
        assert!(told.contains(&format!("```text\n{CONFIG_TEMPLATE}```\n")));
    }
}
