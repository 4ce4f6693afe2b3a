//! A DHCP server that lies: what the agent takes for an answer, and what not.
//! The agent's network set-up is tried with the agent, in namespaces of its own.
use crate::book::{Book, Got};
use anyhow::{Context, Result};
use ironbeat_agent::net::dhcp::packet::{Answer, decode};
use ironbeat_common::id::Mac;
use ironbeat_mutate::Mutator;
use std::net::Ipv4Addr;

const MAC: Mac = Mac::from_bytes([0x52, 0x54, 0, 0x77, 1, 1]);
const XID: u32 = 0x1234_5678;
/// Fixed part and magic cookie.
const HEADER: usize = 240;
const MUTANTS: usize = 20_000;

/// An offer of this address.
fn offer(ip: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out[..4].copy_from_slice(&[2, 1, 6, 0]);
    out[4..8].copy_from_slice(&XID.to_be_bytes());
    out[16..20].copy_from_slice(&ip);
    out[28..34].copy_from_slice(MAC.as_bytes());
    out[236..240].copy_from_slice(&[99, 130, 83, 99]);
    out.extend([53, 1, 2, 54, 4, 10, 77, 0, 1, 1, 4, 255, 255, 255, 0]);
    out.extend(options);
    out.push(255);
    out
}

pub fn plays(book: &mut Book) -> Result<()> {
    let good = offer([10, 77, 0, 11], &[]);
    let taken = decode(&good, MAC, XID).filter(|it| it.ip == Ipv4Addr::new(10, 77, 0, 11));
    let (control, _) = book.control("an honest offer is taken", taken.context("it is not"))?;
    // The agent that is offered nothing usable says so when its time is over; what it passes over, it does not tell.
    let told = || None;
    let show = |answer: Answer| format!("{answer:?}");
    for (tries, bytes) in [
        ("to give it a loopback address", offer([127, 0, 0, 1], &[])),
        ("to give it no address", offer([0, 0, 0, 0], &[])),
        (
            "to give it the broadcast address",
            offer([255, 255, 255, 255], &[]),
        ),
        ("to give it a multicast address", offer([224, 0, 0, 1], &[])),
        (
            "an option that is longer than the message",
            offer([10, 77, 0, 11], &[6, 250, 1, 2]),
        ),
        ("an option without its length", {
            let mut bytes = offer([10, 77, 0, 11], &[]);
            bytes.pop();
            bytes.push(6);
            bytes
        }),
        ("a message that is cut", good[..HEADER - 1].to_vec()),
    ] {
        let got = decode(&bytes, MAC, XID).map(show);
        book.attempt(&control, tries, Got::of(got), told());
    }
    let got = decode(&good, MAC, XID + 1).map(show);
    book.attempt(
        &control,
        "to answer a question of another",
        Got::of(got),
        told(),
    );
    let got = decode(&good, Mac::from_bytes([2; 6]), XID).map(show);
    book.attempt(&control, "to answer another machine", Got::of(got), told());
    let mut mutator = Mutator::seeded("neighbours");
    let unusable = |ip: Ipv4Addr| {
        ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback()
    };
    let got = (0..MUTANTS).find_map(|_| {
        let answer = decode(&mutator.mutate(&good), MAC, XID)?;
        let bad =
            answer.kind != ironbeat_agent::net::dhcp::packet::Kind::Nak && unusable(answer.ip);
        bad.then(|| show(answer))
    });
    book.attempt(
        &control,
        &format!("{MUTANTS} damaged offers"),
        Got::of(got),
        told(),
    );
    Ok(())
}
