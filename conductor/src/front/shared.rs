//! For `ironbeat bmc check`: which other nodes' BMCs have the same password. It is not shown, nor opened for this.
//! `records/marks` knows; the records say whether it is still so.
use crate::worker::Worker;
use ironbeat_core::node::Node;

/// Nodes named at most; the others are counted.
const MAX_NAMED: usize = 8;

/// In words. None: no other node has it, or its passwords are not sealed.
pub(super) async fn shared_password(worker: &Worker, node: &Node) -> Option<String> {
    let version = node.beside.bmc_secrets.as_ref()?;
    // Which one it has is open.
    if node.password_change.is_some() || !worker.store.keys.seals() {
        return None;
    }
    let Some(mut others) = worker.marks.others(node.id, version) else {
        return Some(
            "nobody knows: it was stored before passwords were compared; `ironbeat auth rotate-key` makes them comparable"
                .into(),
        );
    };
    // Of a deleted node a mark may be left.
    others.retain(|(id, _)| worker.view.get(id).is_some());
    let more = others.split_off(MAX_NAMED.min(others.len())).len();
    let mut named = vec![];
    for (id, version) in others {
        // A mark may be of a version that no record names.
        if let Ok(Some((other, _))) = worker.store.nodes.load(id).await
            && other.beside.bmc_secrets.as_ref() == Some(&version)
        {
            let name = other.name.as_ref().map(ToString::to_string);
            named.push(name.unwrap_or_else(|| id.to_string()));
        }
    }
    if named.is_empty() {
        return None;
    }
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "yes, {}{more}: whoever learns it of one BMC has them all; give each its own (`ironbeat bmc set-password`)",
        named.join(", ")
    ))
}
