//! The table of bad neighbours: a file for each, in the order in which they come.
//! What they share is in `lab`.
pub mod agent;
pub mod front;
pub mod hostile;
pub mod mint;
pub mod nobody;
pub mod people;
pub mod replay;
pub mod servers;
pub mod stranger;
pub mod worker;

use crate::book::Book;
use crate::lab::Lab;
use anyhow::Result;

pub struct Row {
    /// For `--only`.
    pub name: &'static str,
    pub plays: fn(&mut Lab, &mut Book) -> Result<()>,
}

pub const ROWS: &[Row] = &[
    Row {
        name: "nobody",
        plays: nobody::plays,
    },
    Row {
        name: "unknown",
        plays: stranger::plays,
    },
    Row {
        name: "agent",
        plays: agent::plays,
    },
    Row {
        name: "mint",
        plays: mint::plays,
    },
    Row {
        name: "replay",
        plays: replay::plays,
    },
    Row {
        name: "server",
        plays: servers::plays,
    },
    Row {
        name: "hostile",
        plays: hostile::plays,
    },
    Row {
        name: "front",
        plays: front::plays,
    },
    Row {
        name: "worker",
        plays: worker::plays,
    },
    // Last, so that their ears have heard all others.
    Row {
        name: "people",
        plays: people::plays,
    },
];
