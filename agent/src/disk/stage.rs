//! How a stage of an image's way to the disk ends when it does not reach the end.
//! The stages themselves are `write`, `decode` and `writer`.
use super::buffer::Gone;

/// Why a stage stopped.
#[derive(Debug)]
pub enum Stop {
    /// The stage before or after it stopped; that one knows why.
    Neighbour,
    /// The image makes no sense. If its checksum is wrong too, that is the better explanation.
    Damaged(anyhow::Error),
    Failed(anyhow::Error),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Stop::Neighbour
    }
}
