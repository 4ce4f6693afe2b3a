//! Ports and programs for the tests of this directory.
//! What listens on them, and what is run, is the tests' affair.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

/// A UDP port below the range that outgoing connections use, free a moment ago.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 8_000 + (std::process::id() % 6000) as u16 * 2;
    (0..200)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| UdpSocket::bind(("0.0.0.0", *port)).is_ok())
        .expect("one of 200 ports is free")
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"))
}

/// What it printed; it has to end well.
pub fn said(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out
}

/// Who may do everything, for ipmitool.
pub const ADMIN: [&str; 4] = ["-U", "admin", "-P", "Rack-pw-1"];

/// ipmitool on a BMC at 127.0.0.1.
pub fn ipmitool(port: u16, login: &[&str], command: &str) -> Output {
    let port = port.to_string();
    let mut arguments = vec!["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-R", "2"];
    arguments.extend(login);
    arguments.extend(command.split(' '));
    run("ipmitool", &arguments)
}
