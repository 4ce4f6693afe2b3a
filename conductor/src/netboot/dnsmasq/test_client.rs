//! The smallest DHCP client that a DHCP server takes seriously: discover, request (RFC 2131), as firmware asks.
//! Only for tests; the ramdisk has its own.
use ironbeat_common::id::Mac;
use ironbeat_rack::packet::PacketSocket;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Before a question is asked again, and before the server is given up.
const AGAIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Message types (option 53).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The PXE client of a BIOS (option 93 is 0).
    Bios,
    /// The same of UEFI firmware (7).
    Uefi,
    /// iPXE on the same machine (option 175).
    Ipxe,
}

pub struct Client {
    pub socket: PacketSocket,
    pub mac: Mac,
}

#[derive(Debug)]
pub struct Answer {
    pub ip: Ipv4Addr,
    /// Option 67.
    pub boot_file: Option<String>,
    kind: u8,
    server: [u8; 4],
}

impl Client {
    /// The offer to a discover.
    pub fn offer(&self, asker: Asker) -> Answer {
        self.exchange(asker, DISCOVER, &[], OFFER)
    }

    /// Discover, offer, request, acknowledgement: the address is leased.
    pub fn lease(&self, asker: Asker) -> Answer {
        let offer = self.offer(asker);
        let mut options = vec![50, 4];
        options.extend(offer.ip.octets());
        options.extend([54, 4]);
        options.extend(offer.server);
        self.exchange(asker, REQUEST, &options, ACK)
    }

    fn exchange(&self, asker: Asker, kind: u8, options: &[u8], expected: u8) -> Answer {
        let transaction = [self.mac.as_bytes()[5], kind, 0x1b, asker as u8];
        let frame = self.frame(transaction, asker, kind, options);
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.socket.send_or_lose(&frame);
            while let Some(frame) = self.socket.receive(AGAIN).unwrap() {
                match answer(&frame, transaction) {
                    Some(answer) if answer.kind == expected => return answer,
                    Some(_) | None => {}
                }
            }
        }
        panic!("no DHCP message {expected} to {kind} of {asker:?}");
    }

    /// Ethernet, IPv4, UDP, BOOTP; the UDP checksum is left out (RFC 768: zero).
    fn frame(&self, transaction: [u8; 4], asker: Asker, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bootp = vec![1, 1, 6, 0];
        bootp.extend(transaction);
        // Seconds, and the wish for an answer by broadcast.
        bootp.extend([0, 0, 0x80, 0]);
        bootp.extend([0; 16]);
        bootp.extend(self.mac.as_bytes());
        bootp.resize(236, 0);
        bootp.extend([0x63, 0x82, 0x53, 0x63]);
        let arch = if asker == Asker::Uefi { 7 } else { 0 };
        bootp.extend([53, 1, kind, 93, 2, 0, arch, 55, 4, 1, 3, 66, 67]);
        match asker {
            Asker::Bios | Asker::Uefi => {}
            Asker::Ipxe => bootp.extend([175, 3, 1, 1, 1]),
        }
        bootp.extend(options);
        bootp.push(255);
        let length = |extra: usize| u16::try_from(bootp.len() + extra).unwrap().to_be_bytes();
        let mut ip = vec![0x45, 0];
        ip.extend(length(28));
        ip.extend([0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        let checksum = checksum(&ip);
        ip[10..12].copy_from_slice(&checksum);
        let mut frame = vec![0xff; 6];
        frame.extend(self.mac.as_bytes());
        frame.extend([8, 0]);
        frame.extend(ip);
        frame.extend([0, 68, 0, 67]);
        frame.extend(length(8));
        frame.extend([0, 0]);
        frame.extend(bootp);
        frame
    }
}

/// Of an IPv4 header (RFC 791 §3.1).
fn checksum(header: &[u8]) -> [u8; 2] {
    let words = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()).to_be_bytes()
}

/// The answer in a frame, if it is one to this transaction.
fn answer(frame: &[u8], transaction: [u8; 4]) -> Option<Answer> {
    // Ethernet 14, IPv4 20, UDP 8, BOOTP 236, magic cookie 4.
    let bootp = frame.get(42..)?;
    let is_ours =
        frame.get(36..38)? == [0, 68] && *bootp.first()? == 2 && bootp[4..8] == transaction;
    if !is_ours {
        return None;
    }
    let ip: [u8; 4] = *bootp.get(16..20)?.first_chunk()?;
    let (mut kind, mut server, mut boot_file) = (None, None, None);
    let mut options = bootp.get(240..)?;
    while let [code, rest @ ..] = options {
        let (code, [length, rest @ ..]) = (*code, rest) else {
            break;
        };
        if code == 255 {
            break;
        }
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        match (code, value) {
            (53, [value]) => kind = Some(*value),
            (54, value) => server = value.first_chunk().copied(),
            (67, value) => {
                let text = String::from_utf8_lossy(value);
                boot_file = Some(text.trim_end_matches('\0').to_owned());
            }
            _ => {}
        }
        options = rest;
    }
    Some(Answer {
        ip: ip.into(),
        boot_file,
        kind: kind?,
        server: server?,
    })
}
