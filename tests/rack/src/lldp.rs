//! Owns the switch's half of LLDP (IEEE 802.1AB): one frame a second on every cable, telling the machine its port.
//! Leaves listening to the machines.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::layout::{GATEWAY, Mac, SWITCH};
use crate::netns::Netns;
use crate::packet::PacketSocket;

/// Real switches send every 30 s; a test should not wait that long.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// How long a neighbour is to be believed, in seconds (the usual four missed frames of a real switch).
const TTL_SECS: u16 = 120;

/// The switch's own address, its chassis id.
pub const SWITCH_MAC: Mac = Mac([0x52, 0x54, 0x00, 0x77, 0xee, 0x01]);

/// The VLAN that the switch says every port is in.
pub const PORT_VLAN: u16 = 100;

/// Sends until dropped.
#[derive(Debug)]
pub struct LldpSender {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LldpSender {
    /// Starts sending on each `(tap, port name)`.
    ///
    /// # Errors
    /// When a tap doesn't exist inside `netns`.
    pub fn start(netns: &Netns, ports: &[(String, String)]) -> Result<Self> {
        let open = || {
            ports
                .iter()
                .map(|(tap, port)| Ok((PacketSocket::open(tap)?, frame(port))))
                .collect()
        };
        let cables: Vec<(PacketSocket, Vec<u8>)> = netns.inside(open)?;
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || {
            while stopped.recv_timeout(SEND_EVERY) == Err(RecvTimeoutError::Timeout) {
                for (socket, frame) in &cables {
                    socket.send_or_lose(frame);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("lldp".into())
            .spawn(work)
            .context("start a thread")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for LldpSender {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The frame of one switch port (802.1AB-2016 §8; organisational TLVs of 802.1Q annex D and 802.3 clause 79).
pub fn frame(port: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);
    frame.extend(SWITCH_MAC.0);
    frame.extend([0x88, 0xcc]);
    tlv(&mut frame, 1, &[&[4], &SWITCH_MAC.0[..]]);
    tlv(&mut frame, 2, &[&[5], port.as_bytes()]);
    tlv(&mut frame, 3, &[&TTL_SECS.to_be_bytes()]);
    tlv(&mut frame, 4, &[b"rack cable on ", port.as_bytes()]);
    tlv(&mut frame, 5, &[SWITCH.as_bytes()]);
    tlv(&mut frame, 6, &[b"Ironbeat virtual rack"]);
    // Capabilities and those enabled: bridge.
    tlv(&mut frame, 7, &[&[0, 4, 0, 4]]);
    // Management address: IPv4, interface number 1 by ifIndex, no OID.
    tlv(
        &mut frame,
        8,
        &[&[5, 1], &GATEWAY.octets(), &[2, 0, 0, 0, 1, 0]],
    );
    tlv(
        &mut frame,
        127,
        &[&[0x00, 0x80, 0xc2, 1], &PORT_VLAN.to_be_bytes()],
    );
    tlv(
        &mut frame,
        127,
        &[&[0x00, 0x12, 0x0f, 4], &1_522_u16.to_be_bytes()],
    );
    tlv(&mut frame, 0, &[]);
    frame
}

/// Type in 7 bits, length in 9, then the parts of the value.
fn tlv(frame: &mut Vec<u8>, kind: u16, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u16::try_from(length)
        .ok()
        .filter(|length| *length < 512)
        .expect("a short name of our own");
    frame.extend((kind << 9 | length).to_be_bytes());
    parts.iter().for_each(|part| frame.extend(*part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_as_the_standard_says() {
        let frame = frame("Ethernet1/1");
        let head = [
            0x01, 0x80, 0xc2, 0, 0, 0x0e, 0x52, 0x54, 0, 0x77, 0xee, 1, 0x88, 0xcc,
        ];
        assert_eq!(frame[..14], head);
        // Chassis id: type 1, 7 bytes, MAC address.
        assert_eq!(frame[14..23], [0x02, 0x07, 4, 0x52, 0x54, 0, 0x77, 0xee, 1]);
        // Port id: type 2, 12 bytes, interface name.
        assert_eq!(&frame[23..37], b"\x04\x0c\x05Ethernet1/1");
        assert_eq!(frame[37..41], [0x06, 0x02, 0, 120]);
        assert_eq!(
            frame[frame.len() - 10..],
            [0xfe, 0x06, 0x00, 0x12, 0x0f, 4, 0x05, 0xf2, 0, 0]
        );
    }
}
