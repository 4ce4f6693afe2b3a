//! A machine's marks, learned from its ramdisk: what the record lacks is filled in, what it says already stays.
//! Whether a mark is another node's is for the claims in the store to say.
use super::answer::Rejected;
use super::draft::Draft;
use crate::event::Marks;
use crate::node::{MAX_MACS, MAX_SERIAL_BYTES};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::id::{BootId, SystemUuid};

pub(super) fn identified(
    draft: &mut Draft<'_>,
    boot: BootId,
    marks: &Marks,
) -> Result<String, Rejected> {
    let node = &mut draft.node;
    let astray = node.astray.as_ref().is_some_and(|it| it.boot == boot);
    if node.boot != Some(boot) && !astray {
        return Err(Rejected::UnknownBoot);
    }
    let mut learned: Vec<String> = Vec::new();
    for mac in &marks.macs {
        if !node.macs.contains(mac) && node.macs.len() < MAX_MACS {
            node.macs.push(*mac);
            learned.push(format!("MAC address {mac}"));
        }
    }
    node.macs.sort();
    if let (None, Some(uuid)) = (
        node.system_uuid,
        marks.uuid.filter(SystemUuid::is_meaningful),
    ) {
        node.system_uuid = Some(uuid);
        learned.push(format!("system UUID {uuid}"));
    }
    let serial = marks.serial.as_ref();
    if let (None, Some(serial)) = (
        &node.serial,
        serial.filter(|serial| serial.len() <= MAX_SERIAL_BYTES),
    ) {
        node.serial = Some(serial.clone());
        learned.push(format!("serial number {serial}"));
    }
    Ok(match learned.is_empty() {
        true => "nothing new is known of the machine".into(),
        false => format!("the machine is known by its {} too", learned.join(", ")),
    })
}
