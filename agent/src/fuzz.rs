//! Entrances to the agent's readers of foreign bytes, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
pub use crate::disk::fuzz as disk;

use crate::collect::{bmc, cpu, disks, smbios};
use crate::init::modules::index::{Index, Tables};
use crate::init::{cmdline, ramdisk};
use crate::net::dhcp::packet;
use crate::net::lldp::tlv;
use crate::net::sntp;
use crate::rescue::archive;
use crate::sysfs;
use crate::web::http;
use crate::web::trust::Authority;
use crate::web::url::Url;
use ironbeat_common::id::Mac;
use std::cell::Cell;
use std::collections::BTreeSet;

/// The answer of a DHCP server to this machine.
pub fn dhcp(bytes: &[u8], mac: [u8; 6], xid: u32) -> bool {
    packet::decode(bytes, Mac::from_bytes(mac), xid).is_some()
}

/// The payload of an LLDP frame.
pub fn lldp(bytes: &[u8]) -> bool {
    tlv::parse(bytes).is_ok()
}

/// The answer of a time server to the request with this nonce.
pub fn sntp(bytes: &[u8], nonce: u64) -> bool {
    sntp::decode(bytes, nonce).is_some()
}

/// The tables of the firmware.
pub fn smbios(bytes: &[u8]) -> bool {
    let (system, modules) = smbios::parse(bytes.to_vec());
    system != Default::default() || !modules.is_empty()
}

/// `/proc/cpuinfo`.
pub fn cpuinfo(bytes: &[u8]) -> bool {
    cpu::parse(&text(bytes)).count > 0
}

/// Vital product data of a SCSI disk: serial number and model.
pub fn vpd(bytes: &[u8]) -> bool {
    disks::parse_vpd_serial(bytes).is_some() | disks::parse_ata_model(bytes).is_some()
}

/// A text of sysfs or procfs, and the name of a PCI function.
pub fn sysfs(bytes: &[u8]) -> bool {
    let text = text(bytes);
    ramdisk::total_mib_of(&text);
    sysfs::is_pci_address(&text);
    sysfs::tidy(&text).is_some()
}

/// What a BMC answers in band: answers one after the other, each behind its length.
pub fn bmc(bytes: &[u8]) -> bool {
    let rest = Cell::new(bytes);
    let answer = || {
        let (length, after) = rest.get().split_first()?;
        let (answer, after) = after.split_at(usize::from(*length).min(after.len()));
        rest.set(after);
        Some(answer.to_vec())
    };
    // A BMC that says no more does not know the command.
    let found = bmc::address(|_, _, _| Ok(answer().unwrap_or_else(|| vec![0xc1])));
    found.is_ok_and(|address| address.is_some())
}

/// The kernel's command line.
pub fn command_line(bytes: &[u8]) -> bool {
    let settings = cmdline::parse(&text(bytes));
    let shown = format!("{settings:?}");
    for secret in [&settings.ticket, &settings.login].into_iter().flatten() {
        let secret = secret.reveal();
        // A short one, or one that is another word's too, may be there by chance.
        let is_lone = secret.len() >= 16 && text(bytes).matches(secret).count() == 1;
        assert!(!is_lone || !shown.contains(secret), "it is shown");
    }
    settings.refused.is_empty() && settings != Default::default()
}

/// depmod's tables, all in one text; and patterns, with the names that they are held against.
pub fn modules(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let tables = Tables {
        alias: text.clone(),
        dep: text.clone(),
        softdep: text.clone(),
    };
    let index = Index::new(&tables);
    let names: Vec<String> = text.split_whitespace().take(16).map(Into::into).collect();
    for wanted in index.wanted(&names).iter().chain(&names) {
        let order = index.in_order(wanted);
        let once: BTreeSet<&String> = order.iter().map(|(name, _)| name).collect();
        assert_eq!(once.len(), order.len(), "a module is loaded twice");
    }
    !index.wanted(&names).is_empty()
}

/// A rescue system's archive, unpacked.
pub fn archive(bytes: &[u8]) -> bool {
    let (mut rest, mut left) = (bytes, bytes.len());
    let mut names = 0;
    while let Ok(Some(entry)) = archive::next(&mut rest, &mut left) {
        assert!(!entry.path.starts_with('/') && !entry.path.split('/').any(|name| name == ".."));
        names += 1;
    }
    names > 0
}

/// The head of an HTTP answer.
pub fn http_head(bytes: &[u8]) -> bool {
    http::parse_head(bytes).is_ok()
}

/// A body in chunks, as far as it has come when the connection ends.
pub fn http_chunks(bytes: &[u8]) -> bool {
    http::fuzz::read_chunks(bytes).is_ok_and(|body| {
        assert!(body.len() <= bytes.len(), "more than has come");
        true
    })
}

/// A URL, or a redirect from one; both behind each other, on two lines.
pub fn url(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let (from, to) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(url) = Url::parse(from) else {
        return false;
    };
    if let Ok(next) = url.join(to) {
        assert!(next.is_secure() || !url.is_secure(), "TLS is left");
    }
    let shown = url.absolute().to_string();
    // What is not ASCII takes three times the room.
    let again = Url::parse(&shown);
    assert!(
        again == Ok(url) || shown.len() > 8192,
        "it is read as another"
    );
    true
}

/// A file with the certificates of a CA.
pub fn authority(bytes: &[u8]) -> bool {
    Authority::from_pem(bytes).is_ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
