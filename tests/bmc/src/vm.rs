//! How QEMU's `ipmi-bmc-extern` speaks with a BMC: messages of the machine's system interface, and orders for the machine.
//! It is the "VM" protocol of OpenIPMI's lanserv. Leaves sockets to `inband`, and meanings to `commands`.

/// What ends a message, what ends an order, and what hides such bytes inside of either: the next one has bit 4 set.
const END_OF_MESSAGE: u8 = 0xa0;
const END_OF_ORDER: u8 = 0xa1;
const ESCAPE: u8 = 0xaa;
const HIDDEN: u8 = 0x10;
/// Above any IPMI message (300 bytes in QEMU), number and checksum included. What is longer is dropped.
const MAX_FRAME: usize = 512;

/// What the machine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Message(Message),
    /// The version of the protocol that it speaks.
    Version(u8),
    Capabilities(Capabilities),
    /// It was reset.
    Reset,
}

/// A command over the system interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub id: u8,
    pub netfn: u8,
    pub lun: u8,
    pub command: u8,
    pub data: Vec<u8>,
}

/// What the machine can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u8);

/// What a BMC can tell the machine to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Something waits to be read; nothing waits any more.
    Attention(bool),
    /// QEMU exits.
    Off,
    /// QEMU presses its power button.
    Button,
    Reset,
    Nmi,
}

impl Order {
    fn code(self) -> u8 {
        match self {
            Order::Attention(false) => 0x00,
            Order::Attention(true) => 0x01,
            Order::Off => 0x03,
            Order::Reset => 0x04,
            Order::Nmi => 0x07,
            Order::Button => 0x09,
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        vec![self.code(), END_OF_ORDER]
    }
}

impl Capabilities {
    pub(crate) fn can(self, order: Order) -> bool {
        let bit = match order {
            Order::Off => 0x01,
            Order::Reset => 0x02,
            Order::Nmi => 0x08,
            Order::Attention(_) => 0x10,
            Order::Button => 0x20,
        };
        self.0 & bit != 0
    }
}

/// Splits the machine's bytes into frames, however they were cut.
#[derive(Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    hidden: bool,
    too_long: bool,
}

impl Decoder {
    /// A frame, when this byte ends a sound one.
    pub(crate) fn take(&mut self, byte: u8) -> Option<Frame> {
        match byte {
            END_OF_MESSAGE | END_OF_ORDER => {
                let whole = !self.too_long && !self.hidden;
                let bytes = std::mem::take(self).bytes;
                let parse = if byte == END_OF_MESSAGE {
                    message
                } else {
                    order
                };
                whole.then(|| parse(&bytes))?
            }
            ESCAPE => {
                self.hidden = true;
                None
            }
            byte => {
                let byte = if self.hidden { byte & !HIDDEN } else { byte };
                self.hidden = false;
                self.too_long |= self.bytes.len() == MAX_FRAME;
                if !self.too_long {
                    self.bytes.push(byte);
                }
                None
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

fn message(bytes: &[u8]) -> Option<Frame> {
    let [id, netfn, command, data @ .., _] = bytes else {
        return None;
    };
    (sum(bytes) == 0).then(|| {
        Frame::Message(Message {
            id: *id,
            netfn: netfn >> 2,
            lun: netfn & 3,
            command: *command,
            data: data.to_vec(),
        })
    })
}

fn order(bytes: &[u8]) -> Option<Frame> {
    match *bytes {
        [0xff, version] => Some(Frame::Version(version)),
        [0x08, capabilities] => Some(Frame::Capabilities(Capabilities(capabilities))),
        [0x04] => Some(Frame::Reset),
        _ => None,
    }
}

impl Message {
    /// The bytes of the answer; `answer` is completion code and data.
    pub(crate) fn answer(&self, answer: &[u8]) -> Vec<u8> {
        let mut plain = vec![self.id, (self.netfn | 1) << 2 | self.lun, self.command];
        plain.extend(answer);
        plain.push(sum(&plain).wrapping_neg());
        let mut out = Vec::with_capacity(plain.len() + 8);
        for byte in plain {
            match byte {
                END_OF_MESSAGE | END_OF_ORDER | ESCAPE => out.extend([ESCAPE, byte | HIDDEN]),
                byte => out.push(byte),
            }
        }
        out.push(END_OF_MESSAGE);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        bytes
            .iter()
            .filter_map(|byte| decoder.take(*byte))
            .collect()
    }

    /// What QEMU 7.2 sends when it has connected, when it is reset, and when Linux asks for the device id.
    #[test]
    fn what_qemu_sends_is_understood() {
        let bytes = [
            0xff, 0x01, 0xa1, 0x08, 0x3f, 0xa1, 0x04, 0xa1, 0x05, 0x18, 0x01, 0xe2, 0xa0,
        ];
        let read = frames(&bytes);
        let [
            Frame::Version(1),
            Frame::Capabilities(can),
            Frame::Reset,
            Frame::Message(message),
        ] = &read[..]
        else {
            panic!("{read:?}");
        };
        assert!(can.can(Order::Button) && can.can(Order::Nmi) && can.can(Order::Attention(true)));
        assert_eq!((message.netfn, message.lun, message.command), (6, 0, 1));
        assert_eq!(
            message.answer(&[0, 0x20]),
            [0x05, 0x1c, 0x01, 0x00, 0x20, 0xbe, 0xa0]
        );
    }

    #[test]
    fn bytes_that_mean_something_are_hidden() {
        let message = Message {
            id: 0xaa,
            netfn: 0x0a,
            lun: 0,
            command: 0xa1,
            data: vec![0xa0, 0xa1, 0xaa, 0x10],
        };
        let mut plain = vec![0xaa, 0x28, 0xa1, 0xa0, 0xa1, 0xaa, 0x10];
        plain.push(sum(&plain).wrapping_neg());
        let mut sent = Vec::new();
        for byte in plain {
            match byte {
                0xa0 | 0xa1 | 0xaa => sent.extend([0xaa, byte | 0x10]),
                byte => sent.push(byte),
            }
        }
        sent.push(0xa0);
        assert_eq!(frames(&sent), [Frame::Message(message.clone())]);
        // The answer, read the same way, has the same bytes in it.
        let answer = message.answer(&[0, 0xa0, 0xaa]);
        let [Frame::Message(read)] = &frames(&answer)[..] else {
            panic!("{answer:02x?}");
        };
        assert_eq!((read.netfn, &read.data[..]), (0x0b, &[0, 0xa0, 0xaa][..]));
    }

    #[test]
    fn after_any_bytes_memory_is_bounded_and_the_next_message_is_read() {
        let good = [0x05, 0x18, 0x01, 0xe2, 0xa0];
        let seed = 20_261_121;
        let mut dice = Dice::new(seed);
        for round in 0..5_000 {
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..dice.throw() % 40 {
                match dice.throw() % 4 {
                    0 => bytes.extend(good),
                    1 => bytes.push([0xa0, 0xa1, 0xaa][dice.throw() as usize % 3]),
                    2 => bytes.extend(vec![dice.throw() as u8; dice.throw() as usize % 700]),
                    _ => bytes.push(dice.throw() as u8),
                }
            }
            let mut decoder = Decoder::default();
            for byte in bytes {
                decoder.take(byte);
                assert!(
                    decoder.bytes.len() <= MAX_FRAME,
                    "seed {seed}, round {round}"
                );
            }
            decoder.take(0xa0);
            let last = good.iter().filter_map(|byte| decoder.take(*byte)).last();
            assert!(
                matches!(last, Some(Frame::Message(_))),
                "seed {seed}, round {round}"
            );
        }
    }
}
