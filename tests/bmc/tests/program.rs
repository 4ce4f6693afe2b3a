//! The program: what it says, what its options do, how it ends.
//! What its BMCs do is tried with the library.
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::{ADMIN, free_port, ipmitool, run, said};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ironbeat-bmc-sim");

struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    first_line: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(port: u16, options: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--port", &port.to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            first_line: String::new(),
        };
        // It answers once it has said so.
        running.output.read_line(&mut running.first_line).unwrap();
        running
    }

    /// What it says once it has been told to end.
    fn last_words(mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

#[test]
fn the_simulator_serves_until_its_input_ends_and_says_what_it_counted() {
    let port = free_port();
    let options = [
        "--count",
        "3",
        "--first",
        "127.77.0.1",
        "--user",
        "root:calvin:administrator",
        "--suite",
        "17",
        "--on",
        "--fault",
        "1:says-off",
        "--fault",
        "2:silent@0ms..24h",
    ];
    let mut running = Running::start(port, &options);
    let expected = format!("3 BMCs, 127.77.0.1:{port} to 127.77.0.3:{port}\n");
    assert_eq!(running.first_line, expected);
    let status = |host: &str, user: &[&str]| {
        let port = port.to_string();
        let mut arguments = vec![
            "-I", "lanplus", "-H", host, "-p", &port, "-N", "1", "-R", "1",
        ];
        arguments.extend(user);
        arguments.extend(["chassis", "power", "status"]);
        run("ipmitool", &arguments)
    };
    let root = ["-U", "root", "-P", "calvin", "-C", "17"];
    assert!(said(status("127.77.0.1", &root)).contains("is on"));
    assert!(said(status("127.77.0.2", &root)).contains("is off"));
    assert!(!status("127.77.0.3", &root).status.success());
    let at_three = ["-U", "root", "-P", "calvin", "-C", "3"];
    assert!(!status("127.77.0.1", &at_three).status.success());
    drop(running.input.take());
    let counted = running.last_words();
    assert!(
        counted.contains(
            r#""logins":2,"refused_logins":1,"control":[0, 0, 0, 0, 0, 0],"control_again":0"#
        ),
        "{counted}"
    );
}

#[test]
fn a_detached_simulator_ends_on_a_signal() {
    let port = free_port();
    let mut running = Running::start(port, &["--first", "127.0.0.1", "--detached"]);
    drop(running.input.take());
    said(ipmitool(port, &ADMIN, "mc info"));
    let pid = running.child.id().to_string();
    said(run("kill", &["-TERM", &pid]));
    assert!(running.last_words().starts_with(r#"{"datagrams":"#));
}

#[test]
fn a_machine_is_a_program_with_its_number() {
    let port = free_port();
    let options = [
        "--count",
        "2",
        "--first",
        "127.78.0.0",
        "--in-band",
        &free_port().to_string(),
        "--machine",
        "sleep 1$BMC_NUMBER$BMC_EFI",
    ];
    let mut running = Running::start(port, &options);
    let tool = |command: &str| {
        let port = port.to_string();
        let mut arguments = vec!["-I", "lanplus", "-H", "127.78.0.1", "-p", &port];
        arguments.extend(ADMIN);
        arguments.extend(command.split(' '));
        said(run("ipmitool", &arguments))
    };
    tool("chassis bootdev pxe options=efiboot");
    tool("chassis power on");
    assert!(tool("chassis power status").contains("is on"));
    let pid = running.child.id().to_string();
    let children = || {
        let out = Command::new("ps")
            .args(["-o", "args=", "--ppid", &pid])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(children(), "sleep 111");
    tool("chassis power off");
    assert_eq!(children(), "");
    tool("chassis power on");
    assert_eq!(children(), "sleep 110");
    let machine = said(run("pgrep", &["-P", &pid])).trim().to_owned();
    drop(running.input.take());
    running.last_words();
    assert!(
        !std::path::Path::new("/proc").join(machine).exists(),
        "it ends with its BMC"
    );
}

#[test]
fn a_bad_argument_is_named() {
    for (options, why) in [
        (&["--cuont", "3"][..], "--cuont 3: no such option"),
        (&["--count"], "--count is not known, or needs a value"),
        (&["--fault", "all:sillent"], "sillent is not known"),
        (&["--faults", "/nowhere"], "--faults /nowhere: No such file"),
        (
            &["--user", "a:b:king"],
            "a level is user, operator or administrator",
        ),
        (&["--machine", "true"], "--machine needs --in-band"),
    ] {
        let output = run(PROGRAM, options);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
    assert!(said(run(PROGRAM, &["--help"])).contains("--fault RULE"));
}
