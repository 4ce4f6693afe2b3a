//! Third-party clients on the simulated BMC: ipmitool and FreeIPMI, at cipher suites 3 and 17.
//! That our own client gets on with it is in `client`.
mod support;

use ironbeat_bmc_sim::{Fleet, Settings, User};
use std::process::Output;
use support::{ADMIN, free_port, run, said};

fn start() -> Fleet {
    Fleet::single(free_port(), Settings::default()).unwrap()
}

fn ipmitool(fleet: &Fleet, login: &[&str], command: &str) -> Output {
    support::ipmitool(fleet.address(0).port(), login, command)
}

#[test]
fn ipmitool_drives_it_at_both_suites() {
    for suite in ["3", "17"] {
        let fleet = start();
        let login = [&ADMIN[..], &["-C", suite]].concat();
        let tool = |command: &str| said(ipmitool(&fleet, &login, command));
        assert_eq!(tool("chassis power status"), "Chassis Power is off\n");
        tool("chassis power on");
        assert_eq!(tool("chassis power status"), "Chassis Power is on\n");
        for control in ["cycle", "reset", "diag", "soft"] {
            tool(&format!("chassis power {control}"));
        }
        assert_eq!(
            fleet.with(0, |bmc, _| bmc.counters().control),
            [0, 1, 1, 1, 1, 1]
        );
        tool("chassis bootdev pxe options=efiboot,persistent");
        let flags = tool("chassis bootparam get 5");
        for line in [
            "Boot Flag Valid",
            "Options apply to all future boots",
            "BIOS EFI boot",
            "Force PXE",
        ] {
            assert!(flags.contains(line), "{line}: {flags}");
        }
        assert!(tool("mc info").contains("Manufacturer ID           : 4753"));
        assert!(tool("sdr list").contains("CPU Temp         | 41 degrees C"));
        assert!(tool("sdr list").contains("12.06 Volts"));
        assert!(tool("fru print 0").contains("Product Serial        : S-1"));
        assert!(tool("user list 1").contains("admin"));
        assert!(tool("lan print 1").contains("IP Address              : 127.0.0.1"));
        fleet.with(0, |bmc, now| {
            bmc.log_event([0x01, 1, 0x01, 0x59, 0x5a, 0x50], now)
        });
        assert!(tool("sel list").contains("Temperature"));
        tool("sel clear");
        assert!(tool("sel info").contains("Entries          : 0"));
        let bridged = tool("-t 0x30 raw 6 1");
        assert!(bridged.starts_with(" 30 03"), "{bridged}");
        // Every call has closed its session.
        assert_eq!(fleet.with(0, |bmc, _| bmc.active_sessions()), 0);
    }
}

#[test]
fn ipmitool_asks_for_the_suites_and_takes_the_best() {
    let fleet = start();
    let out = ipmitool(
        &fleet,
        &[&ADMIN[..], &["-vv"]].concat(),
        "chassis power status",
    );
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        err.contains("Using best available cipher suite 17"),
        "{err}"
    );
    assert!(said(out).contains("Chassis Power is off"));
}

#[test]
fn ipmitool_is_refused_what_is_to_be_refused() {
    let kg = Settings {
        kg: Some(b"another-key".to_vec()),
        ..Settings::default()
    };
    let with_kg = Fleet::single(free_port(), kg).unwrap();
    assert!(!ipmitool(&with_kg, &ADMIN, "mc info").status.success());
    let login = [&ADMIN[..], &["-k", "another-key"]].concat();
    said(ipmitool(&with_kg, &login, "mc info"));

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
    assert!(
        !ipmitool(&fleet, &reader, "chassis power on")
            .status
            .success()
    );
    assert_eq!(fleet.with(0, |bmc, _| bmc.counters().control), [0; 6]);
}

#[test]
fn freeipmi_drives_it_at_both_suites() {
    for suite in ["3", "17"] {
        let fleet = start();
        let host = format!("127.0.0.1:{}", fleet.address(0).port());
        let tool = |program: &str, more: &[&str]| {
            let mut arguments = vec!["-h", &host, "-u", "admin", "-p", "Rack-pw-1"];
            arguments.extend(["-D", "LAN_2_0", "-I", suite]);
            arguments.extend(more);
            said(run(program, &arguments))
        };
        assert!(tool("ipmipower", &["--stat"]).contains(": off"));
        assert!(tool("ipmipower", &["--on"]).contains(": ok"));
        assert!(tool("ipmipower", &["--stat"]).contains(": on"));
        let admin = ["-l", "ADMIN"];
        assert!(tool("bmc-info", &admin).contains("IPMI Version"));
        let chassis = tool("ipmi-chassis", &["-l", "ADMIN", "--get-chassis-status"]);
        assert!(chassis.contains("System Power"), "{chassis}");
        let fru = tool("ipmi-fru", &["-l", "ADMIN", "--device-id", "0"]);
        assert!(fru.contains("S-1"), "{fru}");
        fleet.with(0, |bmc, now| {
            bmc.log_event([0x01, 1, 0x01, 0x59, 0x5a, 0x50], now)
        });
        let sel = tool("ipmi-sel", &["-l", "ADMIN", "--ignore-sdr-cache"]);
        assert!(sel.contains("Temperature"), "{sel}");
        assert_eq!(fleet.with(0, |bmc, _| bmc.active_sessions()), 0);
    }
}

#[test]
fn many_answer_each_for_itself() {
    let config = ironbeat_bmc_sim::FleetConfig::loopback(300, free_port());
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
