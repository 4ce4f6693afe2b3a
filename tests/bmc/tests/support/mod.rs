//! Ports and programs for the tests of this directory.
//! Leaves what listens, and what is run, to the tests.
#![allow(dead_code, reason = "every test file uses a part of it")]

use ironbeat_rack::ports::PortLease;
use std::process::{Command, Output};

/// A port that nothing else takes while these tests run.
pub fn free_port() -> u16 {
    PortLease::take().unwrap().keep()
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
