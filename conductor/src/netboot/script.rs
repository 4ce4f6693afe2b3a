//! iPXE scripts, and what GRUB and the ramdisk have instead: a pure function of what a machine boots and where it can get it.
//! `ironbeat_core::boot` says what it boots; `http` serves the script, kernel and ramdisk.
use crate::tickets::Seed;
use ironbeat_common::image::Digest;
use ironbeat_core::boot::Boot;
use std::fmt;

/// How often a machine goes round all workers before it reboots and starts over. The pauses grow by a second each, so
/// it gives up after 45 s: BMC, firmware and boot order get their chance again, and a wedged NIC its reset.
const ROUNDS: u32 = 10;

/// Names under `/boot/` of every worker, as `cargo xtask image` writes them.
pub const KERNEL: &str = "vmlinuz";
pub const RAMDISK: &str = "initrd";

/// The first arguments of every ramdisk's kernel; configured ones follow, and the last word counts. A serial port takes
/// 0.1 ms a character; the kernel tests its ciphers, which the agent never uses, for 0.35 s in an emulated machine (0.03 s
/// in a real one); and a kernel that fails before there is an agent starts over, as it does with the agent.
const ALWAYS: &str = "quiet cryptomgr.notests panic=30";

/// What a boot script needs beside what to boot.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub workers: Workers,
    /// NATS servers for the agent.
    pub nats: Vec<String>,
    pub prefix: String,
    /// More kernel arguments, from the configuration.
    pub kernel_args: String,
    /// Of the CA of the NATS servers, if they have one of their own.
    pub ca: Option<Digest<32>>,
    pub access: Access,
}

/// Base URLs of live workers, the one that answers first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// By http: what is believed by its hash, or by nobody.
    pub plain: Vec<String>,
    /// Where machines get boot scripts, kernels and ramdisks: the same, or over TLS alone.
    pub boot: Vec<String>,
}

/// Workers that a ramdisk is told of: it asks them for the time, and for the CA.
const MAX_WORKERS: usize = 3;

/// With what a ramdisk comes to NATS. It is in its kernel's command line, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Of a node that waits for its ramdisk.
    pub ticket: Option<Seed>,
    pub bootstrap: Option<Token>,
}

/// A token that needs no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

/// The first script, the same for every machine: asks each worker in turn for this machine's own.
///
/// `netX` is the NIC that iPXE configured last, which is the one that it booted from.
pub fn entry_script(workers: &[String]) -> String {
    let ask = |url| format!("chain --replace --autofree {url}/v1/boot/${{netX/mac:hexhyp}} ||");
    let over_tls = workers.iter().any(|url| url.starts_with("https:"));
    // When nobody was believed, the clock may be wrong: the next round goes by that of DHCP's time server, if it names one.
    let set_clock = over_tls.then(|| "isset ${netX/42:ipv4} && ntp ${netX/42:ipv4} ||".into());
    script(again_and_again(
        workers.iter().map(ask).chain(set_clock).collect(),
    ))
}

pub fn script_for(boot: Boot, facts: &Facts) -> String {
    match boot {
        Boot::Ramdisk => script(again_and_again(ramdisk(facts))),
        Boot::Disk => script(disk()),
    }
}

/// The command line of the ramdisk's kernel, with iPXE's words for what it knows.
fn command_line(facts: &Facts) -> String {
    let arguments = [
        // The EFI stub finds its ramdisk by this name; a BIOS kernel ignores it.
        format!("initrd={RAMDISK}"),
        "BOOTIF=01-${netX/mac:hexhyp}".into(),
        "ib.mac=${netX/mac}".into(),
        "ib.ip=${netX/ip}".into(),
        "ib.mask=${netX/netmask}".into(),
        "ib.gw=${netX/gateway}".into(),
        "ib.dns=${netX/dns}".into(),
        // The first time server of DHCP, if firmware asked for it.
        "ib.ntp=${netX/42:ipv4}".into(),
        ALWAYS.into(),
    ];
    let told = told(facts).into_iter();
    let arguments = arguments.into_iter().chain(told);
    let arguments: Vec<String> = arguments.chain(configured(&facts.kernel_args)).collect();
    arguments.join(" ")
}

/// A line break in the configuration must not become a line of the script.
fn configured(kernel_args: &str) -> impl Iterator<Item = String> {
    kernel_args.split_whitespace().map(str::to_string)
}

fn some_workers(word: &str, workers: &[String]) -> String {
    let some = &workers[..workers.len().min(MAX_WORKERS)];
    format!("{word}={}", some.join(","))
}

fn ca_word(sha256: &Digest<32>) -> String {
    format!("ib.ca=sha256:{sha256}")
}

/// What a worker tells a ramdisk, whatever has loaded it.
fn told(facts: &Facts) -> Vec<String> {
    let always = [
        format!("ib.nats={}", facts.nats.join(",")),
        format!("ib.prefix={}", facts.prefix),
        some_workers("ib.http", &facts.workers.plain),
    ];
    let ca = facts.ca.as_ref().map(ca_word);
    let Access { ticket, bootstrap } = &facts.access;
    let ticket = ticket
        .as_ref()
        .map(|it| format!("ib.ticket={}", it.reveal()));
    let login = bootstrap.as_ref().map(|it| format!("ib.login={}", it.0));
    always
        .into_iter()
        .chain(ca)
        .chain(ticket)
        .chain(login)
        .collect()
}

/// What a ramdisk asks for whose loader could not ask for a boot script: the words that the script would have.
pub fn arguments(facts: &Facts) -> String {
    format!("{}\n", told(facts).join(" "))
}

/// Of the signed GRUB, which reads this file by TFTP, from the folder `grub` where kernel and ramdisk are too. It is the same for
/// every machine: Debian 12's GRUB has no `http`, so it cannot ask a worker for anything, and the ramdisk asks for the rest
/// ([`arguments`]). Which machines get so far, DHCP decides.
/// Over TLS, the ramdisk has to know whom to believe before it asks.
pub fn grub_config(workers: &Workers, ca: Option<&Digest<32>>, kernel_args: &str) -> String {
    let quoted = |word: String| format!("'{}'", word.replace('\'', r"'\''"));
    let over_tls = (workers.boot != workers.plain).then(|| {
        let asked = some_workers("ib.https", &workers.boot);
        [Some(asked), ca.map(ca_word)]
    });
    let over_tls = over_tls.into_iter().flatten().flatten();
    let ours = [some_workers("ib.http", &workers.plain)].into_iter();
    let ours = ours.chain(over_tls);
    let words: Vec<String> = ours.chain(configured(kernel_args)).map(quoted).collect();
    let words = words.join(" ");
    format!(
        "linux $prefix/{KERNEL} ib.mac=$net_default_mac {ALWAYS} {words}\n\
         initrd $prefix/{RAMDISK}\n\
         boot\n\
         echo 'ironbeat: kernel and ramdisk could not be loaded: starting over in 10 s'\n\
         sleep 10\n\
         reboot\n"
    )
}

/// What the kernel takes, in bytes (`COMMAND_LINE_SIZE` of `arch/x86/include/asm/setup.h`), with the zero at its end. It cuts
/// off what is longer.
const MAX_COMMAND_LINE: usize = 2048;
/// What iPXE puts in, at its longest.
const PUT_IN: [(&str, usize); 7] = [
    ("${netX/mac:hexhyp}", 17),
    ("${netX/mac}", 17),
    ("${netX/ip}", 15),
    ("${netX/netmask}", 15),
    ("${netX/gateway}", 15),
    ("${netX/dns}", 15),
    ("${netX/42:ipv4}", 15),
];

/// # Errors
/// When the kernel would cut off its command line, in words that say what to shorten.
pub fn check_command_line(facts: &Facts) -> Result<(), String> {
    let mut line = command_line(facts);
    for (word, longest) in PUT_IN {
        line = line.replace(word, &"x".repeat(longest));
    }
    let bytes = line.len() + 1;
    match bytes <= MAX_COMMAND_LINE {
        true => Ok(()),
        false => Err(format!(
            "the ramdisk's kernel command line would have {bytes} bytes, and a kernel takes {MAX_COMMAND_LINE}: shorten http.kernel_args or nats.servers_for_agents"
        )),
    }
}

fn ramdisk(facts: &Facts) -> Vec<String> {
    let arguments = command_line(facts);
    let from_worker = |(n, url): (usize, &String)| {
        // The MAC is for the worker's events; the file is the same for all.
        let file = |name| format!("{url}/boot/{name}?mac=${{netX/mac:hexhyp}}");
        let (kernel, initrd) = (file(KERNEL), file(RAMDISK));
        [
            "imgfree".into(),
            format!("kernel {kernel} {arguments} || goto next{n}"),
            format!("initrd --name {RAMDISK} {initrd} || goto next{n}"),
            format!("boot || goto next{n}"),
            format!(":next{n}"),
        ]
    };
    facts
        .workers
        .boot
        .iter()
        .enumerate()
        .flat_map(from_worker)
        .collect()
}

/// Under UEFI a failure status makes the firmware go on to its next entry; status 0 would end its boot loop
/// (<https://github.com/tinkerbell/tinkerbell/pull/984>). Under BIOS the script boots the first disk itself, because some
/// firmware does not go on after a network boot at all; where there is none to boot, it gets its chance.
fn disk() -> Vec<String> {
    vec![
        "iseq ${platform} efi && exit 1 ||".into(),
        "sanboot --no-describe --drive 0x80 || exit 1".into(),
    ]
}

/// Repeats `lines` with growing pauses, [`ROUNDS`] times: they end elsewhere or have failed.
fn again_and_again(lines: Vec<String>) -> Vec<String> {
    let before = ["set tries:int32 0".into(), ":again".into()];
    let after = [
        "inc tries".into(),
        format!("iseq ${{tries}} {ROUNDS} && reboot ||"),
        "echo ironbeat: no conductor answered, try ${tries}".into(),
        "sleep ${tries}".into(),
        "goto again".into(),
    ];
    before.into_iter().chain(lines).chain(after).collect()
}

fn script(lines: Vec<String>) -> String {
    format!("#!ipxe\n{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain<const N: usize>(urls: [&str; N]) -> Workers {
        let urls = urls.map(String::from).to_vec();
        Workers {
            plain: urls.clone(),
            boot: urls,
        }
    }

    fn facts() -> Facts {
        Facts {
            workers: plain(["http://w1:8081", "http://[fd77::2]:8081"]),
            nats: vec!["nats://n1:4222".into(), "nats://n2:4222".into()],
            prefix: "ib.v1".into(),
            kernel_args: " console=ttyS0\nloglevel=7 ".into(),
            ca: None,
            access: Access::default(),
        }
    }

    fn check(script: &str, expected: &[&str]) {
        assert_eq!(script.lines().collect::<Vec<_>>(), expected);
        assert!(script.ends_with('\n'));
    }

    #[test]
    fn a_machine_asks_every_worker_in_turn() {
        check(
            &entry_script(&facts().workers.boot),
            &[
                "#!ipxe",
                "set tries:int32 0",
                ":again",
                "chain --replace --autofree http://w1:8081/v1/boot/${netX/mac:hexhyp} ||",
                "chain --replace --autofree http://[fd77::2]:8081/v1/boot/${netX/mac:hexhyp} ||",
                "inc tries",
                "iseq ${tries} 10 && reboot ||",
                "echo ironbeat: no conductor answered, try ${tries}",
                "sleep ${tries}",
                "goto again",
            ],
        );
    }

    #[test]
    fn the_ramdisk_is_fetched_from_any_worker() {
        let arguments = "initrd=initrd BOOTIF=01-${netX/mac:hexhyp} ib.mac=${netX/mac} ib.ip=${netX/ip} \
                         ib.mask=${netX/netmask} ib.gw=${netX/gateway} ib.dns=${netX/dns} ib.ntp=${netX/42:ipv4} \
                         quiet cryptomgr.notests panic=30 \
                         ib.nats=nats://n1:4222,nats://n2:4222 ib.prefix=ib.v1 \
                         ib.http=http://w1:8081,http://[fd77::2]:8081 console=ttyS0 loglevel=7";
        let kernel = |url: &str, n: u32| {
            format!(
                "kernel {url}/boot/vmlinuz?mac=${{netX/mac:hexhyp}} {arguments} || goto next{n}"
            )
        };
        check(
            &script_for(Boot::Ramdisk, &facts()),
            &[
                "#!ipxe",
                "set tries:int32 0",
                ":again",
                "imgfree",
                &kernel("http://w1:8081", 0),
                "initrd --name initrd http://w1:8081/boot/initrd?mac=${netX/mac:hexhyp} || goto next0",
                "boot || goto next0",
                ":next0",
                "imgfree",
                &kernel("http://[fd77::2]:8081", 1),
                "initrd --name initrd http://[fd77::2]:8081/boot/initrd?mac=${netX/mac:hexhyp} || goto next1",
                "boot || goto next1",
                ":next1",
                "inc tries",
                "iseq ${tries} 10 && reboot ||",
                "echo ironbeat: no conductor answered, try ${tries}",
                "sleep ${tries}",
                "goto again",
            ],
        );
    }

    #[test]
    fn a_ticket_is_in_the_script_of_a_ramdisk_and_of_nothing_else() {
        let (seed, _) = crate::tickets::new_ticket();
        let access = Access {
            ticket: Some(seed.clone()),
            bootstrap: Some(Token("e.y.s".into())),
        };
        let facts = Facts { access, ..facts() };
        let script = script_for(Boot::Ramdisk, &facts);
        let words = format!(" ib.ticket={} ib.login=e.y.s console=ttyS0", seed.reveal());
        assert_eq!(script.matches(&words).count(), 2, "{script}");
        let disk = script_for(Boot::Disk, &facts);
        assert!(!disk.contains("ib."), "{disk}");
        let asked = arguments(&facts);
        let expected = format!(
            "ib.nats=nats://n1:4222,nats://n2:4222 ib.prefix=ib.v1 ib.http=http://w1:8081,http://[fd77::2]:8081 \
             ib.ticket={} ib.login=e.y.s\n",
            seed.reveal()
        );
        assert_eq!(asked, expected);
        let shown = format!("{facts:?}");
        assert!(!shown.contains(seed.reveal()) && !shown.contains("e.y.s"));
    }

    #[test]
    fn a_ramdisk_is_told_which_ca_to_believe_and_of_a_few_workers() {
        let workers = [1, 2, 3, 4, 5].map(|n| format!("http://w{n}:8081"));
        let facts = Facts {
            ca: Some(Digest([0xab; 32])),
            workers: plain(workers.each_ref().map(String::as_str)),
            ..facts()
        };
        let script = script_for(Boot::Ramdisk, &facts);
        let ca = format!(" ib.ca=sha256:{} ", "ab".repeat(32));
        assert_eq!(script.matches(&ca).count(), 5, "{script}");
        let told = " ib.http=http://w1:8081,http://w2:8081,http://w3:8081 ib.ca=";
        assert_eq!(script.matches(told).count(), 5, "{script}");
    }

    #[test]
    fn a_kernel_takes_the_command_line_with_long_addresses_a_ticket_and_a_login() {
        let server = |n| format!("tls://nats-{n}.provisioning.rack-17.example-datacenter.com:4222");
        let (seed, _) = crate::tickets::new_ticket();
        let login = |bytes| Access {
            ticket: Some(seed.clone()),
            bootstrap: Some(Token("x".repeat(bytes))),
        };
        let long = |bytes| Facts {
            nats: (0..5).map(server).collect(),
            prefix: "datacenter.ironbeat.v1".into(),
            ca: Some(Digest([0xab; 32])),
            workers: plain(["http://worker-1.provisioning.rack-17.example-datacenter.com:8081"; 3]),
            kernel_args: "console=tty0 console=ttyS1,115200n8 loglevel=7 ib.log=debug".into(),
            access: login(bytes),
        };
        // A bootstrap token has some 600 bytes.
        assert_eq!(check_command_line(&long(800)), Ok(()));
        let why = check_command_line(&long(1800)).unwrap_err();
        assert!(why.contains("http.kernel_args"), "{why}");
    }

    #[test]
    fn grub_loads_what_needs_no_worker_and_takes_no_word_of_the_configuration_for_its_own() {
        let workers = facts().workers;
        check(
            &grub_config(
                &workers,
                Some(&Digest([0xab; 32])),
                "console=ttyS0\nib.x=$prefix;'reboot",
            ),
            &[
                "linux $prefix/vmlinuz ib.mac=$net_default_mac quiet cryptomgr.notests panic=30 \
                 'ib.http=http://w1:8081,http://[fd77::2]:8081' 'console=ttyS0' 'ib.x=$prefix;'\\''reboot'",
                "initrd $prefix/initrd",
                "boot",
                "echo 'ironbeat: kernel and ramdisk could not be loaded: starting over in 10 s'",
                "sleep 10",
                "reboot",
            ],
        );
    }

    #[test]
    fn over_tls_go_the_script_the_kernel_the_ramdisk_and_what_grub_left_out() {
        let workers = Workers {
            plain: vec!["http://w1:8081".into()],
            boot: vec!["https://w1:8443".into()],
        };
        let ca = Some(Digest([0xab; 32]));
        let entry = entry_script(&workers.boot);
        let lines = [
            ":again",
            "chain --replace --autofree https://w1:8443/v1/boot/${netX/mac:hexhyp} ||",
            "isset ${netX/42:ipv4} && ntp ${netX/42:ipv4} ||",
            "inc tries",
        ];
        assert!(entry.contains(&lines.join("\n")), "{entry}");
        let told = " 'ib.http=http://w1:8081' 'ib.https=https://w1:8443' 'ib.ca=sha256:abab";
        let grub = grub_config(&workers, ca.as_ref(), "");
        assert!(grub.contains(told), "{grub}");
        let facts = Facts {
            workers,
            ca,
            ..facts()
        };
        let script = script_for(Boot::Ramdisk, &facts);
        for file in ["kernel ", "initrd --name initrd "] {
            assert!(script.contains(&format!("\n{file}https://w1:8443/boot/")));
        }
        assert_eq!(script.matches("http://").count(), 1, "{script}");
        assert!(script.contains(" ib.http=http://w1:8081 "), "{script}");
    }

    #[test]
    fn a_machine_that_boots_its_disk_leaves_ipxe_for_it() {
        check(
            &script_for(Boot::Disk, &facts()),
            &[
                "#!ipxe",
                "iseq ${platform} efi && exit 1 ||",
                "sanboot --no-describe --drive 0x80 || exit 1",
            ],
        );
    }
}
