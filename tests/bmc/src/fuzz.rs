//! Entrances to what a simulated BMC reads beside datagrams, for `ironbeat-fuzz`.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
use crate::plan::Plan;
use crate::sol::Port;
use crate::vm::{Decoder, Frame};
use std::time::Duration;

/// Bytes of a machine's system interface, cut anywhere.
pub fn frames(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::default();
    let frames = bytes.iter().filter_map(|byte| decoder.take(*byte));
    frames
        .filter(|frame| matches!(frame, Frame::Message(_)))
        .count()
        > 0
}

/// What is typed into a console: packets, each behind its length.
pub fn console(bytes: &[u8]) -> bool {
    let mut port = Port::new(1);
    let (mut rest, mut now, mut sent) = (bytes, Duration::ZERO, 0);
    while let [length, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        now += Duration::from_millis(100);
        port.receive(packet, now);
        while let Some(packet) = port.poll(now) {
            assert!(packet.len() <= 64, "{} bytes", packet.len());
            sent += 1;
        }
    }
    sent > 0
}

/// A plan of faults.
pub fn plan(bytes: &[u8]) -> bool {
    let mut plan = Plan::default();
    plan.add_lines(&String::from_utf8_lossy(bytes)).is_ok()
}
