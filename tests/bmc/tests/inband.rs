//! QEMU's end of a simulated BMC: its KCS interface, driven register by register (qtest), and the orders it takes.
//! What an operating system in it makes of that is tried on the rack.
mod support;

use ironbeat_bmc_sim::{Fleet, MachineLink, Order, Program, Settings};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use support::{ADMIN, free_port, ipmitool, said};

/// A QEMU is up in 0.2 s; an overloaded machine gets room.
const PATIENCE: Duration = Duration::from_secs(60);
const DATA: u16 = 0xca2;
const COMMAND: u16 = 0xca3;

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", free_port())).unwrap()
}

fn devices(port: u16) -> [String; 6] {
    [
        "-chardev".into(),
        format!("socket,id=ipmi,host=127.0.0.1,port={port},reconnect=1"),
        "-device".into(),
        "ipmi-bmc-extern,id=bmc,chardev=ipmi".into(),
        "-device".into(),
        "isa-ipmi-kcs,bmc=bmc".into(),
    ]
}

/// A QEMU whose processor stands still: its registers are read and written from here.
struct Machine {
    child: Child,
    registers: BufReader<UnixStream>,
    qmp: (ChildStdin, BufReader<ChildStdout>),
    socket: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Machine {
    fn start(port: u16) -> Self {
        let name = format!("bmc-sim-{}-{port}.qtest", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc,accel=tcg", "-S", "-nodefaults"])
            .args(["-display", "none", "-qmp", "stdio"])
            .args(["-qtest-log", "/dev/null", "-qtest"])
            .arg(format!("unix:{}", socket.display()))
            .args(devices(port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        let qmp = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        listener.set_nonblocking(true).unwrap();
        let mut stream = None;
        wait_until("QEMU lets its registers be driven", || {
            assert!(child.try_wait().unwrap().is_none(), "QEMU has ended");
            stream = listener.accept().ok();
            stream.is_some()
        });
        let (stream, _) = stream.expect("it was waited for");
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut machine = Self {
            child,
            registers: BufReader::new(stream),
            qmp,
            socket,
        };
        writeln!(machine.qmp.0, r#"{{"execute":"qmp_capabilities"}}"#).unwrap();
        machine
    }

    fn event(&mut self, wanted: &str) {
        let lines = self.qmp.1.by_ref().lines();
        assert!(
            lines
                .map_while(Result::ok)
                .any(|line| line.contains(wanted)),
            "no {wanted}"
        );
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.registers.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.registers.read_line(&mut answer).unwrap();
        let rest = answer.strip_prefix("OK").expect("qtest obeys");
        rest.trim().to_string()
    }

    fn write(&mut self, register: u16, byte: u8) {
        self.ask(&format!("outb {register:#x} {byte:#x}"));
    }

    fn read(&mut self, register: u16) -> u8 {
        let answer = self.ask(&format!("inb {register:#x}"));
        u8::try_from(u64::from_str_radix(&answer[2..], 16).unwrap()).unwrap()
    }

    /// One request over the system interface (IPMI 2.0 §9): network function and unit, command, data.
    fn kcs(&mut self, request: &[u8]) -> Vec<u8> {
        let (last, body) = request.split_last().unwrap();
        self.write(COMMAND, 0x61);
        for byte in body {
            self.write(DATA, *byte);
        }
        self.write(COMMAND, 0x62);
        self.write(DATA, *last);
        let mut answer = Vec::new();
        let begin = Instant::now();
        loop {
            let status = self.read(COMMAND);
            let full = status & 0x01 != 0;
            match status >> 6 {
                0x01 if full => {
                    answer.push(self.read(DATA));
                    self.write(DATA, 0x68);
                }
                0x00 if full => {
                    self.read(DATA);
                    return answer;
                }
                0x03 => panic!("the interface is in its error state"),
                _ => assert!(begin.elapsed() < PATIENCE, "no answer to {request:02x?}"),
            }
        }
    }
}

fn connected() -> (Fleet, MachineLink, Machine) {
    let mut fleet = Fleet::single(free_port(), Settings::default()).unwrap();
    let listener = listen();
    let port = listener.local_addr().unwrap().port();
    let link = fleet.serve_machine(0, listener).unwrap();
    let machine = Machine::start(port);
    wait_until("QEMU connects", || link.is_connected());
    (fleet, link, machine)
}

#[test]
fn a_machine_asks_its_bmc_over_kcs() {
    let (fleet, _link, mut machine) = connected();
    let id = machine.kcs(&[0x18, 0x01]);
    assert_eq!(id[..4], [0x1c, 0x01, 0x00, 0x20], "{id:02x?}");
    assert_eq!(id[9..12], [0x91, 0x12, 0x00]);
    // The BMC's own address, as the ramdisk reads it; longer, and with bytes that the protocol has to hide.
    assert_eq!(machine.kcs(&[0x18, 0x42, 0x01])[3..5], [0x01, 0x04]);
    let address = machine.kcs(&[0x30, 0x02, 0x01, 0x03, 0x00, 0x00]);
    assert_eq!(address, [0x34, 0x02, 0x00, 0x11, 127, 0, 0, 1]);
    fleet.with(0, |bmc, _| bmc.settings.guid = [0xaa; 16]);
    assert_eq!(machine.kcs(&[0x18, 0x37])[3..], [0xaa; 16]);
    // The machine's owner may do everything, without a login; and what is not there has a code.
    assert_eq!(machine.kcs(&[0x00, 0x02, 0x01]), [0x04, 0x02, 0x00]);
    assert_eq!(machine.kcs(&[0x00, 0x01])[3] & 1, 1);
    assert_eq!(machine.kcs(&[0x18, 0xfe]), [0x1c, 0xfe, 0xc1]);
    assert_eq!(machine.kcs(&[0x19, 0x01]), [0x1d, 0x01, 0xc2]);
    assert_eq!(fleet.counters().in_band, 7);
}

#[test]
fn an_event_gets_the_machines_attention() {
    let (fleet, _link, mut machine) = connected();
    let attention = |machine: &mut Machine| machine.read(COMMAND) & 0x04 != 0;
    let event = [0x01, 1, 0x01, 0x59, 0x5a, 0x50];
    fleet.with(0, |bmc, now| bmc.log_event(event, now));
    // Nobody wanted events yet.
    assert_eq!(machine.kcs(&[0x18, 0x31]), [0x1c, 0x31, 0x00, 0x00]);
    assert_eq!(machine.kcs(&[0x18, 0x2e, 0x04]), [0x1c, 0x2e, 0x00]);
    assert!(!attention(&mut machine));
    fleet.with(0, |bmc, now| bmc.log_event(event, now));
    wait_until("the machine is told", || attention(&mut machine));
    assert_eq!(machine.kcs(&[0x18, 0x31]), [0x1c, 0x31, 0x00, 0x02]);
    let read = machine.kcs(&[0x18, 0x35]);
    assert_eq!((read[2], &read[13..19]), (0x00, &event[..]));
    wait_until("nothing is left", || !attention(&mut machine));
    assert_eq!(machine.kcs(&[0x18, 0x35]), [0x1c, 0x35, 0x80]);
}

#[test]
fn a_machine_takes_orders_and_may_come_back() {
    let (fleet, link, mut machine) = connected();
    assert!(link.order(Order::Reset));
    machine.event("\"RESET\"");
    assert!(link.order(Order::Button));
    machine.event("\"POWERDOWN\"");
    assert!(link.order(Order::Nmi));
    assert_eq!(machine.kcs(&[0x18, 0x01])[2], 0x00);
    assert_eq!(fleet.counters().in_band, 1);
    assert!(link.order(Order::Off));
    machine.event("\"SHUTDOWN\"");
    assert!(machine.child.wait().unwrap().success());
    wait_until("it is gone", || !link.is_connected());
    assert!(!link.order(Order::Reset));
}

#[test]
fn a_program_is_switched_like_a_machine() {
    let port = free_port();
    let mut fleet = Fleet::single(port, Settings::default()).unwrap();
    let listener = listen();
    let at = listener.local_addr().unwrap().port();
    let link = fleet.serve_machine(0, listener).unwrap();
    let told = std::env::temp_dir().join(format!("bmc-sim-{}-{port}.told", std::process::id()));
    let command = format!(
        "sh -c 'echo $BMC_NUMBER $BMC_BOOT $BMC_EFI >> {}; exec qemu-system-x86_64 -machine pc,accel=tcg -S -nodefaults \
         -display none {}'",
        told.display(),
        devices(at).join(" ")
    );
    fleet.attach(0, Box::new(Program::new(command, 7, link.clone())));
    let tool = |command: &str| {
        said(ipmitool(
            port,
            &[&ADMIN[..], &["-C", "17"]].concat(),
            command,
        ))
    };
    assert!(tool("chassis power status").contains("off"));
    tool("chassis bootdev pxe options=efiboot");
    tool("chassis power on");
    assert!(tool("chassis power status").contains("on"));
    wait_until("the first start", || link.is_connected());
    // The one-time flags are used up, in the BMC's eyes too.
    assert!(tool("chassis bootparam get 5").contains("Boot Flag Invalid"));
    tool("chassis power reset");
    tool("chassis power diag");
    tool("chassis power soft");
    assert!(tool("chassis power status").contains("on"));
    tool("chassis power cycle");
    wait_until("the second start", || link.is_connected());
    // It goes down by itself, as after a shutdown.
    assert!(link.order(Order::Off));
    wait_until("it is off", || tool("chassis power status").contains("off"));
    tool("chassis power on");
    tool("chassis power off");
    assert!(tool("chassis power status").contains("off"));
    let starts = std::fs::read_to_string(&told).unwrap();
    std::fs::remove_file(&told).unwrap();
    assert_eq!(starts, "7 pxe 1\n7 none 0\n7 none 0\n");
    assert_eq!(fleet.counters().control, [1, 2, 1, 1, 1, 1]);
}
