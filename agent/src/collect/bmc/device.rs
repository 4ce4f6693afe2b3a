//! The kernel's IPMI message interface `/dev/ipmi0` (Documentation/driver-api/ipmi.rst): one request, one response.
//! What to ask is decided in `bmc`. All the `unsafe` for it is here.
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A BMC on a slow system interface takes some 50 ms per message; one that restarts takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest response, in bytes: `IPMI_MAX_MSG_LENGTH` of `linux/ipmi_msgdefs.h`.
const MAX_RESPONSE: usize = 272;

// `linux/ipmi.h`
const SYSTEM_INTERFACE: libc::c_int = 0x0c;
const BMC_CHANNEL: libc::c_short = 0x0f;
const ASYNC_RESPONSE: libc::c_int = 1;
const SEND_COMMAND: libc::c_ulong = ior::<Request>(13);
const RECEIVE_TRUNCATED: libc::c_ulong = iowr::<Received>(11);

const fn ior<T>(number: libc::c_ulong) -> libc::c_ulong {
    2 << 30 | (size_of::<T>() as libc::c_ulong) << 16 | (b'i' as libc::c_ulong) << 8 | number
}

const fn iowr<T>(number: libc::c_ulong) -> libc::c_ulong {
    1 << 30 | ior::<T>(number)
}

#[repr(C)]
struct Address {
    kind: libc::c_int,
    channel: libc::c_short,
    lun: libc::c_uchar,
}

#[repr(C)]
struct Message {
    netfn: libc::c_uchar,
    command: libc::c_uchar,
    length: libc::c_ushort,
    data: *mut libc::c_uchar,
}

#[repr(C)]
struct Request {
    address: *mut Address,
    address_length: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

#[repr(C)]
struct Received {
    kind: libc::c_int,
    address: *mut Address,
    address_length: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

pub struct Device {
    file: File,
    id: libc::c_long,
}

impl Device {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().read(true).write(true).open(path)?,
            id: 0,
        })
    }

    /// Sends one request; the response begins with the completion code.
    pub fn ask(&mut self, netfn: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
        self.id += 1;
        self.send(netfn, command, data)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&limit))? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the BMC did not answer",
                ));
            }
            // A late answer belongs to an earlier request.
            if let Some(response) = self.receive()? {
                return Ok(response);
            }
        }
    }

    fn send(&self, netfn: u8, command: u8, data: &[u8]) -> io::Result<()> {
        let mut address = Address {
            kind: SYSTEM_INTERFACE,
            channel: BMC_CHANNEL,
            lun: 0,
        };
        let mut data = data.to_vec();
        let length = libc::c_ushort::try_from(data.len()).map_err(io::Error::other)?;
        let mut request = Request {
            address: &mut address,
            address_length: size_of::<Address>() as libc::c_uint,
            id: self.id,
            message: Message {
                netfn,
                command,
                length,
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the code names `Request`; it and what it points to live until the call returns and have the lengths given.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), SEND_COMMAND as _, &mut request) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut address = Address {
            kind: 0,
            channel: 0,
            lun: 0,
        };
        let mut data = vec![0u8; MAX_RESPONSE];
        let mut received = Received {
            kind: 0,
            address: &mut address,
            address_length: size_of::<Address>() as libc::c_uint,
            id: 0,
            message: Message {
                netfn: 0,
                command: 0,
                length: MAX_RESPONSE as libc::c_ushort,
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the code names `Received`; it and what it points to live until the call returns and have the lengths given,
        // which the kernel does not exceed.
        let result =
            unsafe { libc::ioctl(self.file.as_raw_fd(), RECEIVE_TRUNCATED as _, &mut received) };
        if result < 0 {
            let error = io::Error::last_os_error();
            // Truncated: the part that fits is enough.
            if error.raw_os_error() != Some(libc::EMSGSIZE) {
                return Err(error);
            }
        }
        data.truncate(usize::from(received.message.length));
        Ok((received.kind == ASYNC_RESPONSE && received.id == self.id).then_some(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_codes_are_those_of_the_header() {
        assert_eq!(
            (SEND_COMMAND, RECEIVE_TRUNCATED),
            (0x8028_690d, 0xc030_690b)
        );
    }
}
