//! A hostile image server, BMC or DHCP server: they send what nobody asked for, and lie.
//! Slow drips and false times are tried with the agent.
mod bmcs;
mod images;
mod leases;

use crate::book::Book;
use crate::lab::Lab;
use anyhow::Result;

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn("a hostile image server");
    images::plays(lab, book)?;
    book.turn("a hostile BMC");
    bmcs::plays(lab, book)?;
    book.turn("a hostile DHCP server");
    leases::plays(book)?;
    lab.is_whole()
}
