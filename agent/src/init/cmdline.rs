//! What the boot script passed on the kernel's command line (`ib.*`, `BOOTIF`), or a developer as arguments.
//! What to do with it is decided in `heart::machine`, `net::setup` and `heart::link`.
use crate::ipv4::{InterfaceAddress, mask_len};
use data_encoding::HEXLOWER_PERMISSIVE;
use ironbeat_common::id::Mac;
use ironbeat_common::subject;
use nkeys::{KeyPair, KeyPairType};
use std::fmt;
use std::net::Ipv4Addr;

/// Servers tried; a cluster has three or five.
const MAX_SERVERS: usize = 16;
/// Addresses taken from a list.
const MAX_NAME_SERVERS: usize = 3;
/// Workers, and time servers, of which any will do.
const MAX_OTHERS: usize = 3;
/// Words that are never shown, well formed or not.
const SECRET: [&str; 2] = ["ib.ticket", "ib.login"];
/// Refused words kept: a hostile line must not fill the log.
const MAX_REFUSED: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nats://10.77.0.1:4222`, any of which will do.
    pub nats: Vec<String>,
    pub prefix: String,
    /// The NIC that the firmware booted from.
    pub booted: Option<Mac>,
    /// The address that the network boot already had.
    pub address: Option<InterfaceAddress>,
    pub name_servers: Vec<Ipv4Addr>,
    pub debug: bool,
    /// The seed that shows which boot script this is.
    pub ticket: Option<Hidden>,
    /// The token with which it may look up, and nothing else.
    pub login: Option<Hidden>,
    /// SHA-256 of the file with the CA of the NATS servers.
    pub ca: Option<[u8; 32]>,
    /// Base URLs of workers, `http://10.77.0.1:8081`.
    pub workers: Vec<String>,
    /// The same over TLS, for arguments that the command line leaves out. None: those come from [`Self::workers`].
    pub over_tls: Vec<String>,
    /// Time servers, by name or address.
    pub ntp: Vec<String>,
    /// By which URLs of others are fetched, `http://10.77.0.1:3128`.
    pub proxy: Option<String>,
    /// Words that were not understood: logged, never fatal.
    pub refused: Vec<String>,
}

/// Text that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nats: Vec::new(),
            prefix: subject::DEFAULT_PREFIX.to_string(),
            booted: None,
            address: None,
            name_servers: Vec::new(),
            debug: false,
            ticket: None,
            login: None,
            ca: None,
            workers: Vec::new(),
            over_tls: Vec::new(),
            ntp: Vec::new(),
            proxy: None,
            refused: Vec::new(),
        }
    }
}

/// Reads words separated by white space and ignores foreign ones (`console=`, `quiet`). The last of a kind counts.
pub fn parse(text: &str) -> Settings {
    let mut settings = Settings::default();
    let (mut ip, mut mask, mut gateway) = (None, None, None);
    let (mut mac, mut bootif) = (None, None);
    for word in text.split_ascii_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        if key != "BOOTIF" && !key.starts_with("ib.") {
            continue;
        }
        // iPXE leaves the value empty where it has none.
        if value.is_empty() && word.contains('=') {
            continue;
        }
        let understood = match key {
            "BOOTIF" => set(&mut bootif, bootif_mac(value)),
            "ib.mac" => set(&mut mac, value.parse().ok()),
            "ib.nats" => servers(value).map(|list| settings.nats = list).is_some(),
            "ib.prefix" => {
                is_prefix(value) && {
                    settings.prefix = value.to_string();
                    true
                }
            }
            "ib.ip" => set(&mut ip, value.parse().ok()),
            "ib.mask" => set(&mut mask, prefix_len(value)),
            "ib.gw" => set(&mut gateway, value.parse::<Ipv4Addr>().ok()),
            "ib.dns" => addresses(value)
                .map(|list| settings.name_servers = list)
                .is_some(),
            "ib.ticket" => set(&mut settings.ticket, ticket(value)),
            "ib.login" => set(&mut settings.login, token(value)),
            "ib.ca" => {
                let sha256 = fingerprint(value);
                // Of no file: whoever was to believe a CA does not go on without one.
                settings.ca = Some(sha256.unwrap_or_default());
                sha256.is_some()
            }
            "ib.http" => others(value, |url| is_base(url, true))
                .map(|list| settings.workers = list)
                .is_some(),
            "ib.https" => others(value, |url| {
                url.starts_with("https://") && is_base(url, true)
            })
            .map(|list| settings.over_tls = list)
            .is_some(),
            "ib.ntp" => others(value, is_host)
                .map(|list| settings.ntp = list)
                .is_some(),
            "ib.proxy" => {
                is_base(value, false) && {
                    settings.proxy = Some(value.to_string());
                    true
                }
            }
            "ib.log" => {
                ["debug", "info"].contains(&value) && {
                    settings.debug = value == "debug";
                    true
                }
            }
            _ => false,
        };
        if !understood && settings.refused.len() < MAX_REFUSED {
            settings.refused.push(match SECRET.contains(&key) {
                true => format!("{key}=******"),
                false => word.chars().take(120).collect(),
            });
        }
    }
    settings.booted = mac.or(bootif);
    let no_gateway = |g: &Ipv4Addr| !g.is_unspecified();
    settings.address = match (ip, mask) {
        (Some(ip), Some(prefix_len)) => Some(InterfaceAddress {
            ip,
            prefix_len,
            gateway: gateway.filter(no_gateway),
        }),
        (Some(ip), None) => {
            settings.refused.push(format!("ib.ip={ip} without ib.mask"));
            None
        }
        (None, _) => None,
    };
    settings
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let understood = value.is_some();
    if understood {
        *slot = value;
    }
    understood
}

/// `01-aa-bb-cc-dd-ee-ff`: pxelinux's form, the hardware type before the address.
fn bootif_mac(value: &str) -> Option<Mac> {
    value.strip_prefix("01-")?.parse().ok()
}

fn servers(value: &str) -> Option<Vec<String>> {
    let list: Vec<String> = value.split(',').map(str::to_string).collect();
    let good = |s: &String| {
        (s.starts_with("nats://") || s.starts_with("tls://"))
            && s.parse::<async_nats::ServerAddr>().is_ok()
    };
    (list.len() <= MAX_SERVERS && list.iter().all(good)).then_some(list)
}

fn ticket(value: &str) -> Option<Hidden> {
    let pair = KeyPair::from_seed(value).ok()?;
    matches!(pair.key_pair_type(), KeyPairType::User).then(|| Hidden(value.into()))
}

/// A JSON Web Token; what it says is the server's business.
fn token(value: &str) -> Option<Hidden> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let parts: Vec<&str> = value.split('.').collect();
    let good = parts.len() == 3 && parts.iter().all(|part| part.bytes().all(plain));
    good.then(|| Hidden(value.into()))
}

/// `sha256:` and 64 hexadecimal digits.
fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let digits = value.strip_prefix("sha256:")?;
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
    bytes.try_into().ok()
}

fn others(value: &str, good: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let list: Vec<&str> = value.split(',').collect();
    let good = list.iter().all(|one| good(one));
    good.then(|| {
        list.into_iter()
            .take(MAX_OTHERS)
            .map(str::to_string)
            .collect()
    })
}

/// A URL to which paths can be added.
fn is_base(value: &str, may_have_tls: bool) -> bool {
    let rest = value.strip_prefix("http://");
    let secure = value.strip_prefix("https://").filter(|_| may_have_tls);
    let plain = |b: u8| b.is_ascii_graphic() && !b"@?#\\".contains(&b);
    rest.or(secure)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

/// A name or an address.
fn is_host(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-".contains(&b);
    !value.is_empty() && value.len() <= 253 && value.bytes().all(plain)
}

fn addresses(value: &str) -> Option<Vec<Ipv4Addr>> {
    let list: Vec<Ipv4Addr> = value
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(list.into_iter().take(MAX_NAME_SERVERS).collect())
}

/// Subject tokens without wildcards.
fn is_prefix(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    value.len() <= 64
        && value
            .split('.')
            .all(|token| !token.is_empty() && token.bytes().all(plain))
}

/// A dotted netmask or a bare length.
fn prefix_len(value: &str) -> Option<u8> {
    if let Ok(length) = value.parse::<u8>() {
        return (length <= 32).then_some(length);
    }
    mask_len(value.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::boot::COMMAND_LINE;

    fn refused(text: &str) -> Vec<String> {
        parse(text).refused
    }

    #[test]
    fn a_whole_line_of_a_boot_script_is_read() {
        let settings = parse(
            "initrd=ramdisk console=ttyS0 quiet ib.nats=nats://10.77.0.1:4222,tls://10.77.0.2:4222 ib.prefix=lab.v1 \
             ib.mac=52:54:00:77:01:0a BOOTIF=01-52-54-00-77-01-0b ib.ip=10.77.0.11 ib.mask=255.255.255.0 \
             ib.gw=10.77.0.1 ib.dns=10.77.0.1,10.77.0.2 ib.log=debug ib.http=http://10.77.0.1:8081,https://w2.lab \
             ib.ntp=10.77.0.1,ntp.lab,fd77::1,ib.lab ib.proxy=http://10.77.0.9:3128 ib.https=https://10.77.0.1:8443 \
             ib.ca=sha256:00000000000000000000000000000000000000000000000000000000000000fF\n",
        );
        assert_eq!(
            settings.nats,
            ["nats://10.77.0.1:4222", "tls://10.77.0.2:4222"]
        );
        assert_eq!((settings.prefix.as_str(), settings.debug), ("lab.v1", true));
        assert_eq!(
            settings.booted,
            Some("52:54:00:77:01:0a".parse().unwrap()),
            "ib.mac wins over BOOTIF"
        );
        let ip = |last| Ipv4Addr::new(10, 77, 0, last);
        assert_eq!(
            settings.address,
            Some(InterfaceAddress {
                ip: ip(11),
                prefix_len: 24,
                gateway: Some(ip(1))
            })
        );
        assert_eq!(settings.name_servers, [ip(1), ip(2)]);
        assert_eq!(
            settings.workers,
            ["http://10.77.0.1:8081", "https://w2.lab"]
        );
        assert_eq!(settings.over_tls, ["https://10.77.0.1:8443"]);
        assert_eq!(settings.ntp, ["10.77.0.1", "ntp.lab", "fd77::1"]);
        assert_eq!(settings.proxy.as_deref(), Some("http://10.77.0.9:3128"));
        assert_eq!(settings.ca.map(|sha256| sha256[31]), Some(0xff));
        assert!(settings.refused.is_empty(), "{:?}", settings.refused);
    }

    #[test]
    fn an_empty_line_has_defaults() {
        assert_eq!(parse(""), Settings::default());
        assert_eq!(parse("").prefix, "ib.v1");
        assert_eq!(
            parse("BOOTIF=01-52-54-00-77-01-0b").booted,
            Some("52:54:00:77:01:0b".parse().unwrap())
        );
    }

    #[test]
    fn empty_values_are_absent_values() {
        let settings = parse("ib.ip=10.0.0.2 ib.mask=8 ib.gw= ib.dns= ib.mac=");
        assert_eq!(
            settings.address,
            Some(InterfaceAddress {
                ip: Ipv4Addr::new(10, 0, 0, 2),
                prefix_len: 8,
                gateway: None
            })
        );
        assert!(settings.refused.is_empty(), "{:?}", settings.refused);
    }

    #[test]
    fn unknown_words_are_listed_and_the_rest_counts() {
        for wrong in [
            "ib.nats=10.0.0.1",
            "ib.nats=http://10.0.0.1",
            "ib.nats=nats://a:4222,",
            "ib.prefix=ib..v1",
            "ib.prefix=ib.*",
            "ib.prefix=>",
            "ib.mac=52:54",
            "BOOTIF=52-54-00-77-01-0b",
            "ib.ip=10.0.0",
            "ib.mask=255.0.255.0",
            "ib.mask=33",
            "ib.gw=nowhere",
            "ib.dns=10.0.0.1,x",
            "ib.log=loud",
            "ib.colour=blue",
            "ib.ca=sha256:00",
            "ib.ca=md5:00000000000000000000000000000000",
            "ib.http=10.0.0.1",
            "ib.http=http://10.0.0.1,",
            "ib.https=http://10.0.0.1",
            "ib.ntp=10.0.0.1,",
            "ib.ntp=a/b",
            "ib.proxy=https://10.0.0.1:3128",
            "ib.proxy=http://me:hush@10.0.0.1:3128",
            "ib.nats",
        ] {
            assert_eq!(refused(wrong), [wrong]);
            assert_eq!(parse(&format!("{wrong} ib.log=debug")).refused, [wrong]);
        }
        assert_eq!(parse("ib.ca=sha256:00").ca, Some([0; 32]));
        assert_eq!(parse("ib.ca=").ca, None);
        assert_eq!(
            refused("ib.ip=10.0.0.2"),
            ["ib.ip=10.0.0.2 without ib.mask"]
        );
        assert_eq!(refused(&"ib.x=1 ".repeat(50)).len(), MAX_REFUSED);
    }

    #[test]
    fn a_ticket_and_a_login_are_read_and_never_shown() {
        let seed = KeyPair::new_user().seed().unwrap();
        let settings = parse(&format!("ib.ticket={seed} ib.login=ab-c.d_e.f"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains(&seed) && !shown.contains("ab-c"), "{shown}");
        assert_eq!(settings.ticket.unwrap().reveal(), seed);
        assert_eq!(settings.login.unwrap().reveal(), "ab-c.d_e.f");
        let account = KeyPair::new_account().seed().unwrap();
        for (word, key) in [
            (format!("ib.ticket={}", &seed[..57]), "ib.ticket"),
            (format!("ib.ticket={account}"), "ib.ticket"),
            ("ib.login=hush.hush".into(), "ib.login"),
            ("ib.login=hush.\u{1b}.hush".into(), "ib.login"),
        ] {
            assert_eq!(refused(&word), [format!("{key}=******")]);
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        ironbeat_mutate::mutants(COMMAND_LINE.as_bytes(), 20_000, |bytes| {
            let settings = parse(&String::from_utf8_lossy(bytes));
            assert!(
                settings.refused.len() <= MAX_REFUSED + 1 && settings.nats.len() <= MAX_SERVERS
            );
        });
    }
}
