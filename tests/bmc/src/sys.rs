//! A UDP socket that says which of the host's addresses a datagram came to, and sends from any of them (`IP_PKTINFO`).
//! Many datagrams a call (`recvmmsg`); the only place with unsafe code.
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Datagrams taken at once.
pub(crate) const BATCH: usize = 64;
/// Far above any IPMI datagram.
const MAX_DATAGRAM: usize = 2048;
/// Kernel buffers: 10,000 BMCs may be asked at once.
const SOCKET_BUFFER: libc::c_int = 8 << 20;
/// Room for one `in_pktinfo` control message, with its header and alignment.
const CONTROL: usize = 64;

pub(crate) struct Socket {
    udp: UdpSocket,
    slots: Box<[Slot]>,
}

#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL],
    address: libc::sockaddr_in,
    length: usize,
    to: Ipv4Addr,
    bytes: [u8; MAX_DATAGRAM],
}

/// A datagram, who sent it, and to which of our addresses.
pub(crate) struct Received<'a> {
    pub from: SocketAddrV4,
    pub to: Ipv4Addr,
    pub bytes: &'a [u8],
}

impl Socket {
    /// `device`: take datagrams of this network device only, such as `lo`.
    pub(crate) fn bind(address: SocketAddrV4, device: Option<&str>) -> io::Result<Self> {
        let udp = UdpSocket::bind(address)?;
        option(&udp, libc::IPPROTO_IP, libc::IP_PKTINFO, &1i32)?;
        // Only root may exceed the host's limit; others get the limit.
        for name in [
            libc::SO_RCVBUF,
            libc::SO_SNDBUF,
            libc::SO_RCVBUFFORCE,
            libc::SO_SNDBUFFORCE,
        ] {
            let _ = option(&udp, libc::SOL_SOCKET, name, &SOCKET_BUFFER);
        }
        if let Some(device) = device {
            let mut name = [0u8; libc::IFNAMSIZ];
            name.get_mut(..device.len())
                .filter(|_| device.len() < libc::IFNAMSIZ)
                .ok_or_else(|| io::Error::other("the name of a network device has 15 bytes"))?
                .copy_from_slice(device.as_bytes());
            option(&udp, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name)?;
        }
        let slot = || Slot {
            control: [0; CONTROL],
            // SAFETY: sockaddr_in is plain data, for which zeros are a value.
            address: unsafe { zeroed() },
            length: 0,
            to: Ipv4Addr::UNSPECIFIED,
            bytes: [0; MAX_DATAGRAM],
        };
        Ok(Self {
            udp,
            slots: (0..BATCH).map(|_| slot()).collect(),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.udp.local_addr()
    }

    /// Waits at most this long for a datagram.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        wait(&[self.udp.as_fd()], timeout)
    }

    /// Takes what is there, without waiting.
    pub(crate) fn receive(&mut self) -> io::Result<usize> {
        // SAFETY: mmsghdr and iovec are plain data, for which zeros are a value.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        for ((slot, message), vector) in self.slots.iter_mut().zip(&mut messages).zip(&mut vectors)
        {
            vector.iov_base = slot.bytes.as_mut_ptr().cast();
            vector.iov_len = MAX_DATAGRAM;
            message.msg_hdr.msg_name = (&raw mut slot.address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: every header points to buffers of the stated lengths, which live in `self` and on this stack and are
        // not touched otherwise until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                self.udp.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        let count = count as usize;
        for (slot, message) in self.slots.iter_mut().zip(&messages).take(count) {
            slot.length = message.msg_len as usize;
            // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`; CMSG_FIRSTHDR returns null or a
            // header inside of it, and an IP_PKTINFO message holds an in_pktinfo, read unaligned.
            slot.to = unsafe {
                let header = libc::CMSG_FIRSTHDR(&message.msg_hdr);
                if header.is_null() || (*header).cmsg_type != libc::IP_PKTINFO {
                    Ipv4Addr::UNSPECIFIED
                } else {
                    let data = libc::CMSG_DATA(header).cast::<libc::in_pktinfo>();
                    Ipv4Addr::from(u32::from_be(data.read_unaligned().ipi_addr.s_addr))
                }
            };
        }
        Ok(count)
    }

    /// One of the datagrams that the last `receive` took.
    pub(crate) fn received(&self, index: usize) -> Received<'_> {
        let slot = &self.slots[index];
        let from = SocketAddrV4::new(
            Ipv4Addr::from(u32::from_be(slot.address.sin_addr.s_addr)),
            u16::from_be(slot.address.sin_port),
        );
        Received {
            from,
            to: slot.to,
            bytes: &slot.bytes[..slot.length],
        }
    }

    /// Sends from one of the host's addresses. What the kernel has no room for is lost, as UDP may.
    pub(crate) fn send(&self, bytes: &[u8], from: Ipv4Addr, to: SocketAddrV4) {
        let mut vector = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(*to.ip()).to_be(),
            },
            sin_zero: [0; 8],
        };
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from(from).to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        #[repr(align(8))]
        struct Control([u8; CONTROL]);
        let mut control = Control([0; CONTROL]);
        // SAFETY: msghdr is plain data; it points to buffers on this stack that outlive the call. The control buffer is
        // aligned and larger than one in_pktinfo message, so CMSG_FIRSTHDR is not null and CMSG_DATA has the room.
        unsafe {
            let mut message: libc::msghdr = zeroed();
            message.msg_name = (&raw mut address).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            message.msg_iov = &mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen =
                libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::IPPROTO_IP;
            (*header).cmsg_type = libc::IP_PKTINFO;
            (*header).cmsg_len =
                libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize;
            libc::CMSG_DATA(header)
                .cast::<libc::in_pktinfo>()
                .write_unaligned(info);
            libc::sendmsg(self.udp.as_raw_fd(), &message, libc::MSG_DONTWAIT);
        }
    }
}

/// Waits at most this long until one of a few descriptors can be read.
pub(crate) fn wait(descriptors: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<bool> {
    let mut polls: Vec<_> = descriptors
        .iter()
        .map(|descriptor| libc::pollfd {
            fd: descriptor.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let nanos = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let count = polls.len() as libc::nfds_t;
    // SAFETY: so many valid pollfds and a valid timespec, which outlive the call; no signal mask.
    let ready = unsafe { libc::ppoll(polls.as_mut_ptr(), count, &nanos, std::ptr::null()) };
    match ready {
        -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(false),
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

fn option<T>(udp: &UdpSocket, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is plain data of the size that is told, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            udp.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
