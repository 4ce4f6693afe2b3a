//! Simulated disks: which ones a machine has, and what is on them.
//! Who writes to them is in `work`, whether that may be is in `judge`.

pub(crate) struct SimDisk {
    pub serial: String,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Somebody's system from before.
    Old,
    Blank,
    /// Written in part.
    Half,
    Image,
}
