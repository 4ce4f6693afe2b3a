//! What a machine that was welcomed is known by, and its record does not say: that is handed to the node, but for what is
//! another node's. The core fills it in; the store's claims say whose it is.
use crate::drive::ReconcileError;
use crate::records::StoreError;
use crate::worker::Worker;
use ironbeat_common::id::BootId;
use ironbeat_core::decide::{Event, Marks};
use ironbeat_core::lookup::Identity;
use ironbeat_core::node::{MAX_MACS, Node};

fn missing(node: &Node, machine: &Identity) -> Marks {
    let macs = machine.macs.iter().filter(|mac| !node.macs.contains(mac));
    let room = MAX_MACS.saturating_sub(node.macs.len());
    Marks {
        macs: macs.copied().take(room).collect(),
        uuid: machine.uuid.filter(|_| node.system_uuid.is_none()),
        serial: machine.serial.clone().filter(|_| node.serial.is_none()),
    }
}

/// Leaves out what is named in these words of a claim. Whether something was. What another node is known to have makes a
/// lookup ambiguous, which refuses it; this is for what it got in the same moment.
fn leave_out(marks: &mut Marks, what: &str) -> bool {
    let named = |mark: String| what.ends_with(&mark);
    let before = marks.clone();
    marks.macs.retain(|mac| !named(mac.to_string()));
    marks.uuid = marks.uuid.filter(|uuid| !named(uuid.to_string()));
    *marks != before
}

/// Returns what is another node's, in words.
pub(super) async fn identify(
    worker: &Worker,
    node: &Node,
    boot: BootId,
    machine: &Identity,
) -> Vec<String> {
    let mut marks = missing(node, machine);
    let mut of_others = Vec::new();
    // Each round leaves out a mark.
    while marks != Marks::default() {
        let event = Event::Identified {
            boot,
            marks: marks.clone(),
        };
        match worker.drive.deliver(node.id, &event).await {
            Err(ReconcileError::Store(StoreError::Claimed { what, by }))
                if leave_out(&mut marks, &what) =>
            {
                of_others.push(format!("{what} is taken by {by}"));
            }
            Err(error) => {
                tracing::warn!(node = %node.id, %boot, "what the machine is known by was not kept: {error}");
                break;
            }
            Ok(_) => break,
        }
    }
    of_others
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::id::{Mac, SystemUuid};

    #[test]
    fn what_a_claim_names_is_left_out_and_nothing_else() {
        let mac = |n| Mac::from_bytes([2, 0, 0, 0, 0, n]);
        let uuid = SystemUuid::from_bytes([5; 16]);
        let all = Marks {
            macs: vec![mac(1), mac(2)],
            uuid: Some(uuid),
            serial: Some("SN-1".into()),
        };
        // In the words of `records/node.rs`.
        let mut marks = all.clone();
        assert!(leave_out(&mut marks, &format!("MAC address {}", mac(2))));
        assert_eq!(
            (marks.macs.as_slice(), marks.uuid),
            (&[mac(1)][..], Some(uuid))
        );
        assert!(leave_out(&mut marks, &format!("system UUID {uuid}")));
        assert_eq!((marks.macs.as_slice(), marks.uuid), (&[mac(1)][..], None));
        assert!(
            !leave_out(&mut marks, "BMC 10.0.0.1"),
            "it would go round for ever"
        );
    }
}
