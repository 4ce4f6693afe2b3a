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

/// The table of what gets on with what, which says what the tests show and nothing else.
const TABLE: &str = include_str!("../../../../docs/bmc-interop.md");

/// Fails unless the table says so: column and row are known by their heads.
pub fn table_says(column: &str, row: &str, said: &str) {
    let mut at = None;
    for line in TABLE.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let head = cells[1];
        if head.is_empty() {
            at = cells.iter().position(|cell| *cell == column);
        } else if head == row && at.and_then(|at| cells.get(at)) == Some(&said) {
            return;
        }
    }
    panic!("docs/bmc-interop.md does not say of {column}: {row}: {said}");
}
