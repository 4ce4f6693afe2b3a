//! The kernel's calls about network interfaces that rustix does not have: the `ifreq` ioctls and `getifaddrs`.
//! Which to call is decided in `setup` and `dhcp`. All the `unsafe` for these calls is here.
use ironbeat_common::id::Mac;
use libc::{c_int, c_ulong};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_GPERMADDR` of `linux/ethtool.h`.
const ETHTOOL_GPERMADDR: u32 = 0x20;
const SIOCETHTOOL: c_ulong = 0x8946;

/// A socket to send `ifreq` ioctls to: which kind does not matter (netdevice(7)).
pub fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is integers, arrays and unions of them; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.bytes().any(|b| b == 0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not an interface name"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ioctl(socket: &OwnedFd, code: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: `request` is a live, exclusive `ifreq`, which is what every code used in this file reads and writes; where it
    // holds a pointer (ethtool), its target outlives the call.
    let result: c_int = unsafe { libc::ioctl(socket.as_raw_fd(), code as _, request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn ipv4(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain integers; `sockaddr` is the type-erased form of `sockaddr_in`.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) }
}

/// Sets the interface up.
pub fn set_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Makes `ip` the interface's only IPv4 address.
pub fn set_address(socket: &OwnedFd, name: &str, ip: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_addr = ipv4(ip);
    ioctl(socket, libc::SIOCSIFADDR, &mut request)?;
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0);
    request.ifr_ifru.ifru_netmask = ipv4(Ipv4Addr::from(mask));
    ioctl(socket, libc::SIOCSIFNETMASK, &mut request)
}

/// Takes the interface's IPv4 addresses away, and with them its routes.
pub fn clear_address(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_addr = ipv4(Ipv4Addr::UNSPECIFIED);
    ioctl(socket, libc::SIOCSIFADDR, &mut request)
}

/// Adds the default route; an existing one is fine.
pub fn set_gateway(socket: &OwnedFd, gateway: Ipv4Addr) -> io::Result<()> {
    match change_gateway(socket, gateway, libc::SIOCADDRT) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// Removes the default route by this gateway; none is fine.
pub fn remove_gateway(socket: &OwnedFd, gateway: Ipv4Addr) -> io::Result<()> {
    match change_gateway(socket, gateway, libc::SIOCDELRT) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result,
    }
}

fn change_gateway(socket: &OwnedFd, gateway: Ipv4Addr, code: c_ulong) -> io::Result<()> {
    // SAFETY: `rtentry` is integers, `sockaddr`s and a null pointer for "any device"; all zeros is a value of it.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = ipv4(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = ipv4(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = ipv4(gateway);
    route.rt_flags = (libc::RTF_UP | libc::RTF_GATEWAY) as libc::c_ushort;
    // SAFETY: both codes read one `rtentry`, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code as _, &mut route) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Lets the socket send and receive on this interface alone, even before it has an address.
pub fn bind_to_device(socket: &OwnedFd, name: &str) -> io::Result<()> {
    // Checks the name; the bytes are then given without a NUL, which the kernel takes (socket(7)).
    request(name)?;
    // SAFETY: the pointer and length are those of `name`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The kernel's number of an interface.
pub fn index(socket: &OwnedFd, name: &str) -> io::Result<c_int> {
    let mut request = request(name)?;
    ioctl(socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has just filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// `struct ethtool_perm_addr` with room for `MAX_ADDR_LEN` bytes.
#[repr(C)]
struct PermanentAddress {
    command: u32,
    size: u32,
    data: [u8; 32],
}

/// The address burnt into the NIC, where its driver reports it.
pub fn permanent_mac(socket: &OwnedFd, name: &str) -> io::Result<Option<Mac>> {
    let mut address = PermanentAddress {
        command: ETHTOOL_GPERMADDR,
        size: 32,
        data: [0; 32],
    };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut address).cast();
    ioctl(socket, SIOCETHTOOL, &mut request)?;
    let [a, b, c, d, e, f, ..] = address.data;
    let mac = [a, b, c, d, e, f];
    let known = address.size == 6 && mac != [0; 6] && mac != [0xff; 6];
    Ok(known.then_some(Mac::from_bytes(mac)))
}

/// Every interface's IPv4 and IPv6 addresses, with prefix length. Link-local ones identify nothing and are left out.
pub fn addresses() -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs(3) stores one pointer, to a list that is ours until it is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: `entry` is a live element of the list.
        let item = unsafe { &*entry };
        // SAFETY: a name is a NUL-terminated string of the same list.
        let name = unsafe { CStr::from_ptr(item.ifa_name) }
            .to_string_lossy()
            .into_owned();
        // SAFETY: the two pointers are null or `sockaddr`s of the same list.
        if let Some(text) = unsafe { address_text(item.ifa_addr, item.ifa_netmask) } {
            found.entry(name).or_default().push(text);
        }
        entry = item.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// Each pointer is null or points to a `sockaddr` as long as its family demands.
unsafe fn address_text(
    address: *const libc::sockaddr,
    mask: *const libc::sockaddr,
) -> Option<String> {
    if address.is_null() || mask.is_null() {
        return None;
    }
    // SAFETY: not null; every `sockaddr` begins with its family.
    match c_int::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that both are `sockaddr_in`.
            let [ip, mask] = [address, mask]
                .map(|a| u32::from_be(unsafe { (*a.cast::<libc::sockaddr_in>()).sin_addr.s_addr }));
            Some(format!("{}/{}", Ipv4Addr::from(ip), mask.leading_ones()))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that both are `sockaddr_in6`.
            let [ip, mask] = [address, mask]
                .map(|a| unsafe { (*a.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr });
            let ip = Ipv6Addr::from(ip);
            let length = u128::from_be_bytes(mask).leading_ones();
            (!ip.is_unicast_link_local()).then(|| format!("{ip}/{length}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_everywhere() {
        let socket = control_socket().unwrap();
        assert!(index(&socket, "lo").unwrap() > 0);
        assert_eq!(permanent_mac(&socket, "lo").ok().flatten(), None);
        let addresses = addresses().unwrap();
        assert!(
            addresses["lo"].contains(&"127.0.0.1/8".to_string()),
            "{addresses:?}"
        );
    }

    #[test]
    fn names_are_checked() {
        let socket = control_socket().unwrap();
        for wrong in ["", "a-name-that-is-too-long", "nul\0"] {
            assert_eq!(
                index(&socket, wrong).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{wrong:?}"
            );
        }
        assert_eq!(
            index(&socket, "nosuch0").unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    }
}
