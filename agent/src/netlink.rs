//! Wakes up when the kernel announces a network interface, or a device, over a netlink socket.
//! Callers read sysfs to learn what changed, so no message can be missed or misread.
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINK_GROUP: u32 = 1;
/// What the kernel itself says; udev repeats it in the second group.
const KERNEL_GROUP: u32 = 1;

pub struct Events(OwnedFd);

impl Events {
    /// Interfaces that appear, disappear or change their link.
    pub fn of_interfaces() -> io::Result<Self> {
        Self::open(None, LINK_GROUP)
    }

    /// Devices of any kind that appear, disappear or change.
    pub fn of_devices() -> io::Result<Self> {
        Self::open(Some(KOBJECT_UEVENT), KERNEL_GROUP)
    }

    /// Without a protocol: routing.
    fn open(protocol: Option<Protocol>, group: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = rustix::net::socket_with(family, kind, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, group))?;
        Ok(Self(socket))
    }

    /// Returns after an event, or after `limit`.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0u8; 8192];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                // The kernel dropped messages: that is an event too.
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
