//! Why a stage of an image write stopped early.
//! The stages themselves are `write`, `decode` and `writer`.
use super::buffer::Gone;

/// Why a stage stopped.
#[derive(Debug)]
pub enum Stop {
    /// The stage before or after it stopped and knows why.
    Neighbour,
    /// The image is damaged. If its checksum is wrong too, that is the better explanation.
    Damaged(anyhow::Error),
    Failed(anyhow::Error),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Stop::Neighbour
    }
}
