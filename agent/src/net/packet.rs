//! Link-layer sockets (packet(7)), which rustix does not have: open, join a multicast group, receive with the interface.
//! Parsing frames is left to `lldp`. All the `unsafe` for these sockets is here.
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Where a payload came in, and how long it is.
pub struct Frame {
    pub interface: i32,
    /// In bytes, of the buffer given.
    pub length: usize,
    /// Sent by this machine: the kernel shows those too.
    pub outgoing: bool,
}

/// Opens a socket for the payloads of one EtherType on all interfaces.
pub fn open(ether_type: u16) -> io::Result<OwnedFd> {
    let protocol = i32::from(ether_type.to_be());
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            protocol,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the interface pass on frames to this group address.
pub fn join(socket: &OwnedFd, interface: i32, group: [u8; 6]) -> io::Result<()> {
    let mut address = [0u8; 8];
    address[..6].copy_from_slice(&group);
    let request = libc::packet_mreq {
        mr_ifindex: interface,
        mr_type: libc::PACKET_MR_MULTICAST as libc::c_ushort,
        mr_alen: 6,
        mr_address: address,
    };
    // SAFETY: pointer and length are those of `request`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Waits for a frame and truncates it to `buffer`.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Frame> {
    // SAFETY: `sockaddr_ll` is integers and arrays of them; all zeros is a value of it.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut from_length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the buffer and the address are live and exclusive, with their true lengths.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &mut from_length,
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(Frame {
        interface: from.sll_ifindex,
        length,
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
    })
}
