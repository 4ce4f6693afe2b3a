//! A hostile image server, BMC or DHCP server: they send what nobody asked for, and lie.
//! Redirects to loopback and link-local addresses, and slow drips, come when the agent's client knows them.
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
