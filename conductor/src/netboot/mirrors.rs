//! Where an agent fetches an image from: the URL that was asked for, or any worker that lives now.
//! `http` serves images.
use crate::records::presence::Presence;
use ironbeat_core::node::ImageSource;

/// URLs of an image; any live worker has an image that workers serve.
pub fn urls(presence: &Presence, source: &ImageSource) -> Vec<String> {
    match source {
        ImageSource::Http(_) => vec![source.to_string()],
        ImageSource::Served(_) => {
            let mirrors = presence.live().into_iter();
            mirrors
                .map(|mirror| format!("{}/images/{source}", mirror.url))
                .collect()
        }
    }
}
