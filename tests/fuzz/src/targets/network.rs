//! What a ramdisk hears on the network, and a worker from machines that boot.
//! TLS and NATS are read by libraries, which have fuzz targets of their own.
use super::Target;
use ironbeat_agent::fuzz as agent;
use ironbeat_mutate::good::{boot, dhcp, event_log, http, lldp, pem, sntp};

const HTTP: &[&str] = &[
    "\r\n\r\n",
    "\r\n",
    "HTTP/1.1 ",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Content-Range: bytes ",
    "Location: ",
    "bytes */",
    "Retry-After: ",
    "ffffffffffffffff",
    "?mac=",
    "%00",
    "%2e%2e/",
    "..",
    "//",
    "POST ",
    "HEAD ",
    "Expect: 100-continue\r\n",
    "Range: bytes=0-,-1\r\n",
    "chunked\r\n\r\n5\r\n",
    "\u{0}",
    "Host: h\r\n",
];
const COMMAND_LINE: &[&str] = &[
    " ib.",
    "ib.nats=",
    "ib.ip=",
    "ib.mask=",
    "ib.gw=",
    "ib.dns=",
    "ib.mac=",
    "BOOTIF=01-",
    "ib.ticket=",
    "ib.login=",
    "ib.ca=sha256:",
    "ib.http=",
    "ib.https=https://",
    "ib.ntp=",
    "ib.proxy=http://",
    "ib.log=debug",
    "tls://",
    "[::]",
    ",",
    "=",
    "@",
];
const URL: &[&str] = &[
    "http://", "https://", "//", "\\", "@", ":", "[::1]", "%", "xn--", "\u{ff0e}", "?", "#", "..",
    ":0", ":65536", "0x7f.1", "\n",
];

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("dhcp", "answers of DHCP servers", "agent/src/net/dhcp/packet.rs", |bytes| {
            agent::dhcp(bytes, dhcp::MAC, dhcp::XID)
        })
        .seeds([dhcp::offer(), dhcp::answer(&[&[53, 1, 5], &[52, 1, 3], &[1, 4, 255, 0, 0, 0]])]),
        Target::new("lldp", "LLDP frames", "agent/src/net/lldp/tlv.rs", agent::lldp)
            .seeds([lldp::whole(), lldp::start()]),
        Target::new("sntp", "answers of time servers", "agent/src/net/sntp.rs", |bytes| {
            agent::sntp(bytes, sntp::NONCE)
        })
        .seeds([sntp::answer()]),
        Target::new("command-line", "the kernel's command line", "agent/src/init/cmdline.rs", agent::command_line)
            .seeds([boot::COMMAND_LINE])
            .words(COMMAND_LINE),
        Target::new("boot-script", "kernel arguments on their way into a boot script", "conductor/src/netboot/script.rs", ironbeat::fuzz::boot_script)
            .seeds([" console=ttyS0\nloglevel=7 ", "a ${netX/mac} || b"])
            .words(&["\n", "\r", "\u{85}", "\u{2028}", "\u{b}", "${", "}", "||", "goto next0"]),
        Target::new("http-head", "heads of HTTP answers", "agent/src/web/http.rs", agent::http_head)
            .seeds([http::HEAD])
            .words(HTTP),
        Target::new("http-chunks", "HTTP bodies in chunks", "agent/src/web/http.rs", agent::http_chunks)
            .seeds([http::CHUNKS])
            .words(HTTP),
        Target::new("url", "URLs of images and redirects", "agent/src/web/url.rs", agent::url)
            .seeds(["https://h.example:8443/os.raw?sig=1#x\nhttps://other/a/../b", "http://[fd77::1]/a%20b\n../c?d"])
            .words(URL),
        Target::new("image-head", "what image servers say to a worker that asks before a deploy", "conductor/src/front/image.rs", ironbeat::fuzz::front::image_head)
            .seeds(["https://h.example/os.raw\nbytes 0-0/10\n1", "/os.raw?x=1\nbytes 0-0/10\n10"])
            .words(URL),
        Target::new("http-request", "requests of machines that boot: scripts, kernels, images", "conductor/src/netboot/http/mod.rs", ironbeat::fuzz::http::connection)
            .seeds([
                "GET /v1/boot/52-54-00-77-01-01 HTTP/1.1\r\nHost: h\r\n\r\n",
                "GET /boot/vmlinuz?mac=52-54-00-77-01-01 HTTP/1.1\r\nHost: h\r\nUser-Agent: iPXE/1.21\r\nRange: bytes=1-\r\n\r\n",
                "POST /v1/confirm/a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5/sesame HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\na=b&c",
                "HEAD /images/os.raw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            ])
            .words(HTTP),
        Target::new("event-log", "event logs of TPMs", "conductor/src/measured/event_log.rs", ironbeat::fuzz::event_log)
            .seeds([event_log::log(&event_log::BY_IPXE), event_log::log(&[])])
            .words(&["Spec ID Event03\u{0}", "/initrd\u{0}", "/vmlinuz\u{0}"]),
        Target::new("program", "kernels that are served (PE)", "conductor/src/measured/authenticode.rs", ironbeat::fuzz::program)
            .seeds([event_log::program(b"code", b"sealed"), event_log::program(b"code", b"")])
            .words(&["PE\u{0}\u{0}", "MZ"]),
        Target::new("lease", "leases that dnsmasq tells of", "conductor/src/netboot/dnsmasq/bus.rs", ironbeat::fuzz::dnsmasq::lease)
            .seeds(["DhcpLeaseAdded\n10.77.0.11\n52:54:00:77:01:01\nweb1", "DhcpLeaseUpdated\nfd77::1\n52:54:00:77:01:01\nironbeat-525400770101"])
            .words(&["DhcpLeaseDeleted", "\n", ":", "01-", "00:01:00:01:"]),
        Target::new("ca", "the certificates of a CA (PEM)", "agent/src/web/trust.rs", agent::authority)
            .seeds([pem::CA.to_string(), pem::CA.repeat(2)])
            .words(&["-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n", "=", "MII"]),
    ]
}
