//! Owns raw Ethernet sockets on one link (packet(7)), and with them the crate's only hand-made socket address.
//! Leaves what the frames say to `lldp`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netdevice, recv, send,
    socket_with, sockopt,
};

/// A socket that sends and receives whole Ethernet frames on one link.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens one on `link`, which must be in the network namespace of the calling thread. It receives frames of all
    /// kinds, also those that others send out through the link.
    ///
    /// # Errors
    /// When there is no such link, or the process may not.
    pub fn open(link: &str) -> Result<Self> {
        let open = || {
            // Protocol 0 receives nothing before `bind` names the link.
            let socket = socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                None,
            )?;
            let index = netdevice::name_to_index(&socket, link)?;
            bind(&socket, &LinkAddress::every_protocol_on(index))?;
            Ok::<_, rustix::io::Errno>(socket)
        };
        open()
            .map(Self)
            .with_context(|| format!("open a packet socket on {link}"))
    }

    /// Sends a frame, Ethernet header included. A link without a carrier loses it.
    pub fn send_or_lose(&self, frame: &[u8]) {
        // ENETDOWN is the everyday case: nobody has opened the tap.
        let _ = send(&self.0, frame, SendFlags::DONTWAIT);
    }

    /// Receives the next frame; `None` when none comes in time.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(timeout))
            .context("bound packet reads")?;
        let mut frame = vec![0; 2_048];
        match recv(&self.0, &mut *frame, RecvFlags::empty()) {
            Ok((length, _)) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error).context("receive a frame"),
        }
    }
}

/// An address of packet(7).
struct LinkAddress(libc::sockaddr_ll);

impl LinkAddress {
    fn every_protocol_on(index: u32) -> Self {
        let family = u16::try_from(libc::AF_PACKET).expect("an address family fits its field");
        let protocol = u16::try_from(libc::ETH_P_ALL)
            .expect("an Ethernet protocol has 16 bits")
            .to_be();
        Self(libc::sockaddr_ll {
            sll_family: family,
            sll_protocol: protocol,
            sll_ifindex: index.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        })
    }
}

// SAFETY: `f` gets a pointer to a live `sockaddr_ll` and that structure's own size.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let length = SocketAddrLen::try_from(size_of::<libc::sockaddr_ll>()).expect("20 bytes");
        f((&raw const self.0).cast(), length)
    }
}
