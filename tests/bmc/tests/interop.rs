//! Third-party clients on simulated BMCs: ipmitool and FreeIPMI, at cipher suites 3 and 17.
//! That our own client gets on with them is in `client`; what all this shows is in `docs/bmc-interop.md`.
mod support;

use ironbeat_bmc_sim::{Fleet, FleetConfig, Settings, User};
use ironbeat_rack::interop::table_says;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use support::{ADMIN, free_port, run, said};

const SUITES: [&str; 2] = ["3", "17"];
const EVENT: [u8; 6] = [0x01, 1, 0x01, 0x59, 0x5a, 0x50];

fn start() -> Fleet {
    Fleet::single(free_port(), Settings::default()).unwrap()
}

fn ipmitool(fleet: &Fleet, login: &[&str], command: &str) -> Output {
    support::ipmitool(fleet.address(0).port(), login, command)
}

/// What `ipmitool COMMAND` prints at one suite and, at the end, whether it left anything behind.
fn with_ipmitool(rows: &[&str], check: impl Fn(&Fleet, &dyn Fn(&str) -> String)) {
    for suite in SUITES {
        let fleet = start();
        let login = [&ADMIN[..], &["-C", suite]].concat();
        check(&fleet, &|command| said(ipmitool(&fleet, &login, command)));
        // Every call has closed its session.
        assert_eq!(fleet.with(0, |bmc, _| bmc.active_sessions()), 0);
    }
    rows.iter()
        .for_each(|row| table_says("ipmitool 1.8.19", row, "3, 17"));
}

/// The same with a program of FreeIPMI and its arguments, which leave so many sessions behind.
fn with_freeipmi(
    rows: &[&str],
    left: usize,
    check: impl Fn(&Fleet, &dyn Fn(&str, &str) -> String),
) {
    for suite in SUITES {
        let fleet = start();
        let host = format!("127.0.0.1:{}", fleet.address(0).port());
        let login = [
            "-h",
            &host,
            "-u",
            "admin",
            "-p",
            "Rack-pw-1",
            "-D",
            "LAN_2_0",
            "-I",
            suite,
        ];
        check(&fleet, &|program, more| {
            let level: &[&str] = match program {
                "ipmipower" => &[],
                _ => &["-l", "ADMIN"],
            };
            let more: Vec<_> = more.split(' ').collect();
            said(run(program, &[&login[..], level, &more].concat()))
        });
        assert_eq!(fleet.with(0, |bmc, _| bmc.active_sessions()), left);
    }
    rows.iter()
        .for_each(|row| table_says("FreeIPMI 1.6.10", row, "3, 17"));
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

const POWER: &str = "power: status, on, off, cycle, reset, soft, diagnostic interrupt";
const BOOT: &str = "boot device, EFI and persistent, set and read";

#[test]
fn ipmitool_drives_power_and_boot() {
    with_ipmitool(&[POWER, BOOT], |fleet, tool| {
        assert_eq!(tool("chassis power status"), "Chassis Power is off\n");
        for control in ["on", "cycle", "reset", "diag", "soft", "off", "on"] {
            tool(&format!("chassis power {control}"));
        }
        assert_eq!(fleet.counters().control, [1, 2, 1, 1, 1, 1]);
        has(
            &tool("chassis status"),
            &["System Power         : on", "always-off"],
        );
        tool("chassis policy always-on");
        has(&tool("chassis status"), &["always-on"]);
        tool("chassis bootdev pxe options=efiboot,persistent");
        let expected = [
            "Boot Flag Valid",
            "Options apply to all future boots",
            "BIOS EFI boot",
            "Force PXE",
        ];
        has(&tool("chassis bootparam get 5"), &expected);
        for (device, text) in [
            ("disk", "Hard-Drive"),
            ("cdrom", "CD/DVD"),
            ("bios", "BIOS Setup"),
        ] {
            tool(&format!("chassis bootdev {device}"));
            let flags = tool("chassis bootparam get 5");
            has(&flags, &[text, "Options apply to only next boot"]);
        }
        has(&tool("chassis restart_cause"), &["chassis power control"]);
    });
}

#[test]
fn ipmitool_sets_and_tests_passwords() {
    let rows = ["password set and tested, 16 and 20 bytes"];
    with_ipmitool(&rows, |fleet, tool| {
        for (bytes, password) in [(16, "sixteen-bytes-it"), (20, "twenty-bytes-of-text")] {
            tool(&format!("user set password 3 {password} {bytes}"));
            has(
                &tool(&format!("user test 3 {bytes} {password}")),
                &["Success"],
            );
            let set = fleet.with(0, |bmc, _| bmc.settings.users[1].password.clone());
            assert_eq!(set, password.as_bytes());
        }
    });
}

#[test]
fn ipmitool_reads_sensors_inventory_and_log() {
    let rows = [
        "device id, GUIDs",
        "LAN parameters",
        "users",
        "sensors with units and thresholds",
        "inventory (FRU)",
        "event log: read, clear",
        "raw command",
        "bridged to one controller, through one to another",
    ];
    with_ipmitool(&rows, |fleet, tool| {
        has(&tool("mc info"), &["Manufacturer ID           : 4753"]);
        has(&tool("mc guid"), &["6D6D6D6D6D6D6D6D6D6D6D6D6D6D6D6D"]);
        has(&tool("mc selftest"), &["passed"]);
        let lan = tool("lan print 1");
        has(&lan, &["IP Address              : 127.0.0.1"]);
        let users = tool("user list 1");
        has(&users, &["2   admin", "3   reader", "ADMINISTRATOR"]);
        let sensors = tool("sensor list");
        has(
            &sensors,
            &["CPU Temp         | 41.000     | degrees C  | ok"],
        );
        has(&sensors, &["12.060     | Volts", "243.000   | 255.000"]);
        has(&tool("sdr elist"), &["10000 RPM"]);
        let fru = tool("fru print 0");
        has(
            &fru,
            &["Product Serial        : S-1", "Product Version       : v1"],
        );
        fleet.with(0, |bmc, now| bmc.log_event(EVENT, now));
        has(&tool("sel list"), &["Temperature"]);
        tool("sel clear");
        has(&tool("sel info"), &["Entries          : 0"]);
        has(&tool("raw 6 1"), &[" 20 03 09 08 02"]);
        has(&tool("-t 0x30 raw 6 1"), &[" 30 03"]);
        has(&tool("-T 0x30 -B 0 -t 0x32 -b 0 raw 6 1"), &[" 32 03"]);
    });
}

#[test]
fn ipmitool_asks_for_the_suites_and_takes_the_best() {
    let fleet = start();
    let login = [&ADMIN[..], &["-vv"]].concat();
    let out = ipmitool(&fleet, &login, "chassis power status");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    has(&err, &["Using best available cipher suite 17"]);
    has(&said(out), &["Chassis Power is off"]);
    table_says("ipmitool 1.8.19", "best suite found by itself", "17");
}

#[test]
fn ipmitool_is_refused_what_its_user_may_not_do() {
    let kg = Settings {
        kg: Some(b"another-key".to_vec()),
        ..Settings::default()
    };
    let with_kg = Fleet::single(free_port(), kg).unwrap();
    assert!(!ipmitool(&with_kg, &ADMIN, "mc info").status.success());
    let login = [&ADMIN[..], &["-k", "another-key"]].concat();
    said(ipmitool(&with_kg, &login, "mc info"));
    table_says("ipmitool 1.8.19", "key K_g", "yes");

    let fleet = start();
    for login in [
        ["-U", "admin", "-P", "wrong", "-C", "17"],
        ["-U", "nobody", "-P", "Rack-pw-1", "-C", "17"],
        ["-U", "admin", "-P", "Rack-pw-1", "-C", "0"],
        ["-U", "admin", "-P", "Rack-pw-1", "-C", "2"],
        ["-U", "reader", "-P", "Rack-pw-2", "-C", "3"],
    ] {
        let output = ipmitool(&fleet, &login, "chassis power status");
        assert!(!output.status.success(), "{login:?}");
    }
    let reader = ["-U", "reader", "-P", "Rack-pw-2", "-L", "USER"];
    said(ipmitool(&fleet, &reader, "chassis power status"));
    let refused = ipmitool(&fleet, &reader, "chassis power on");
    assert!(!refused.status.success());
    assert_eq!(fleet.counters().control, [0; 6]);
}

#[test]
fn freeipmi_drives_power_and_boot() {
    // ipmipower does not close its session after a reset.
    with_freeipmi(&[POWER, BOOT], 1, |fleet, tool| {
        has(&tool("ipmipower", "--stat"), &[": off"]);
        for control in ["on", "cycle", "reset", "pulse", "soft", "on", "off", "on"] {
            has(&tool("ipmipower", &format!("--{control}")), &[": ok"]);
        }
        has(&tool("ipmipower", "--stat"), &[": on"]);
        assert_eq!(fleet.counters().control, [1, 3, 1, 1, 1, 1]);
        let status = tool("ipmi-chassis", "--get-chassis-status");
        has(&status, &["System Power                        : on"]);
        let flags = "--category=chassis --commit -e Chassis_Boot_Flags:Boot_Device=PXE \
                     -e Chassis_Boot_Flags:BIOS_Boot_Type=EFI -e Chassis_Boot_Flags:Boot_Flags_Persistent=Yes";
        tool("ipmi-config", flags);
        let read = tool(
            "ipmi-config",
            "--checkout --category=chassis -S Chassis_Boot_Flags",
        );
        let words: Vec<_> = read.split_whitespace().collect();
        for pair in [
            ["Boot_Flags_Persistent", "Yes"],
            ["BIOS_Boot_Type", "EFI"],
            ["Boot_Device", "PXE"],
        ] {
            assert!(words.windows(2).any(|two| two == pair), "{pair:?}: {read}");
        }
    });
}

#[test]
fn freeipmi_reads_sensors_inventory_and_log() {
    let rows = [
        "device id, GUIDs",
        "LAN parameters",
        "sensors with units and thresholds",
        "inventory (FRU)",
        "event log: read, clear",
        "raw command",
    ];
    with_freeipmi(&rows, 0, |fleet, tool| {
        has(&tool("bmc-info", "--get-device-id"), &["Manufacturer ID"]);
        let guid = tool("bmc-info", "--get-device-guid");
        has(&guid, &["6d6d6d6d-6d6d-6d6d-6d6d-6d6d6d6d6d6d"]);
        let lan = "--checkout --category=core -e Lan_Conf:IP_Address -e Lan_Conf:Subnet_Mask";
        has(&tool("ipmi-config", lan), &["127.0.0.1", "255.255.255.0"]);
        // Its cache of sensor records is of another machine, for all it knows.
        let sensors = "--sdr-cache-recreate --quiet-cache --output-sensor-thresholds";
        let sensors = tool("ipmi-sensors", sensors);
        has(&sensors, &["CPU Temp", "41.00", "243.00", "12.06"]);
        has(&tool("ipmi-fru", "--device-id 0"), &["S-1"]);
        fleet.with(0, |bmc, now| bmc.log_event(EVENT, now));
        has(&tool("ipmi-sel", "--ignore-sdr-cache"), &["Temperature"]);
        tool("ipmi-sel", "--clear");
        has(
            &tool("ipmi-sel", "--info"),
            &["entries                  : 0"],
        );
        has(&tool("ipmi-raw", "0 6 1"), &["rcvd: 01 00 20 03"]);
    });
}

/// A program that wants a terminal: `script` gives it one. Types `hello`, then what ends it.
fn console(command: &str, end: &str) {
    let mut child = Command::new("script")
        .args(["-qfec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is installed (Debian package bsdutils)");
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut until = |wanted: &str| {
        let mut byte = [0];
        while !seen.contains(wanted) {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "no {wanted}: {seen}");
            seen.push(char::from(byte[0]));
        }
    };
    until("console ready");
    stdin.write_all(b"hello\r").unwrap();
    until("hello");
    stdin.write_all(end.as_bytes()).unwrap();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn consoles_echo_what_is_typed() {
    for suite in SUITES {
        let fleet = start();
        let port = fleet.address(0).port();
        console(
            &format!(
                "ipmitool -I lanplus -H 127.0.0.1 -p {port} -U admin -P Rack-pw-1 -C {suite} sol activate"
            ),
            "\r~.",
        );
        console(
            &format!("ipmiconsole -h 127.0.0.1:{port} -u admin -p Rack-pw-1 -l ADMIN -I {suite}"),
            "&.",
        );
    }
    for client in ["ipmitool 1.8.19", "FreeIPMI 1.6.10"] {
        table_says(client, "serial console", "3, 17");
    }
}

#[test]
fn many_answer_each_for_itself() {
    let config = FleetConfig::loopback(300, free_port());
    let fleet = Fleet::start(&config, |n| Settings {
        powered_on: n % 2 == 1,
        users: vec![User {
            id: 2,
            name: format!("user{n}"),
            password: b"pw".to_vec(),
            privilege: 4,
            enabled: true,
        }],
        ..Settings::default()
    })
    .unwrap();
    for n in [0, 1, 255, 256, 299] {
        let address = fleet.address(n);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let user = format!("user{n}");
        let out = said(run(
            "ipmitool",
            &[
                "-I", "lanplus", "-H", &ip, "-p", &port, "-U", &user, "-P", "pw", "-C", "17",
                "chassis", "power", "status",
            ],
        ));
        assert_eq!(out.contains("is on"), n % 2 == 1, "{n}: {out}");
    }
}
