//! Where an agent fetches an image from: the URL that was asked for, or any worker that lives now.
//! Serving images is the business of `http`.
use crate::records::presence::Presence;
use ironbeat_common::heartbeat::HeartbeatReply;
use ironbeat_common::order::Order;
use ironbeat_core::node::is_file_name;

/// An image that the workers serve is had from any of them.
pub fn with_mirrors(presence: &Presence, reply: HeartbeatReply) -> HeartbeatReply {
    let HeartbeatReply::Step {
        id,
        order: Order::WriteImage(mut write),
    } = reply
    else {
        return reply;
    };
    let mirrors = presence.live();
    write.urls = write
        .urls
        .iter()
        .flat_map(|source| match is_file_name(source) {
            true => mirrors
                .iter()
                .map(|mirror| format!("{}/images/{source}", mirror.url))
                .collect(),
            false => vec![source.clone()],
        })
        .collect();
    HeartbeatReply::Step {
        id,
        order: Order::WriteImage(write),
    }
}
