//! A machine for one boot: QEMU with a serial port that is a file, watched with a bound, stopped when it is dropped.
//! Leaves what boots in it to the tests.
use ironbeat_image::flavour::Flavour;
use ironbeat_image::kernel::{self, Kernel};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A boot takes 5 to 15 s on an idle machine, and was seen to take a minute on a busy one.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the serial port's file.
const LOOK: Duration = Duration::from_millis(50);

const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Below target/, shared with the commands that build the same.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's directory for tests is in the target directory")
        .join("cache")
}

pub fn kernel(flavour: Flavour) -> Kernel {
    kernel::fetch(flavour, &cache().join("kernels")).expect("get a kernel from the Debian mirror")
}

/// Runs it to its end.
pub fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("start {program}, one of the test's tools: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub struct Machine {
    qemu: Child,
    serial: PathBuf,
    monitor: PathBuf,
}

impl Machine {
    /// Switches on a machine with 512 MiB, its files in `dir`.
    pub fn start(dir: &Path, uefi: bool, arguments: &[&str]) -> Self {
        let (serial, monitor) = (dir.join("serial.log"), dir.join("monitor.sock"));
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg", "-cpu", "qemu64", "-m", "512"])
            .args(["-machine", "q35,graphics=off", "-nographic", "-no-reboot"])
            .args(["-serial", &format!("file:{}", serial.display())])
            .arg("-qmp")
            .arg(format!("unix:{},server,nowait", monitor.display()))
            .args(arguments);
        if uefi {
            let variables = dir.join("variables.fd");
            fs::copy(UEFI_VARIABLES, &variables)
                .unwrap_or_else(|error| panic!("copy {UEFI_VARIABLES} of package ovmf: {error}"));
            let drive = format!("if=pflash,format=raw,file={}", variables.display());
            command
                .arg("-drive")
                .arg(format!("if=pflash,format=raw,readonly=on,file={UEFI_CODE}"))
                .args(["-drive", &drive]);
        }
        let qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("start qemu-system-x86_64 of package qemu-system-x86: {error}")
            });
        Self {
            qemu,
            serial,
            monitor,
        }
    }

    /// The first line that begins with this word, from there on.
    pub fn line(&mut self, word: &str) -> String {
        self.wait(&format!("a line with {word}"), |machine| {
            let said = machine.said();
            let mut lines = said.split_inclusive('\n');
            let line = lines.find(|line| line.contains(word) && line.ends_with('\n'))?;
            Some(line[line.find(word)?..].trim_end().to_string())
        })
    }

    /// Its power button.
    pub fn press_power_button(&self) {
        let mut monitor = UnixStream::connect(&self.monitor).expect("talk to QEMU's monitor");
        monitor
            .set_read_timeout(Some(PATIENCE))
            .expect("bound the talk with QEMU's monitor");
        monitor
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"system_powerdown\"}\n")
            .expect("talk to QEMU's monitor");
        // QEMU forgets what it has not read when the other end is gone: wait for both answers.
        let (mut heard, mut some) = (String::new(), [0; 4096]);
        while heard.matches("\"return\"").count() < 2 {
            let count = monitor.read(&mut some).expect("hear QEMU's monitor");
            assert_ne!(count, 0, "QEMU's monitor hung up after {heard:?}");
            heard += &String::from_utf8_lossy(&some[..count]);
        }
    }

    /// Until it has switched itself off.
    pub fn wait_off(&mut self) {
        self.wait("power off", |machine| {
            machine.qemu.try_wait().expect("wait for QEMU")
        });
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    fn wait<T>(&mut self, what: &str, look: impl Fn(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            // Before the look, so that a machine's last words count.
            let off = self.qemu.try_wait().expect("wait for QEMU");
            if let Some(found) = look(self) {
                return found;
            }
            let said = || format!("no {what}; it said:\n{}", self.said());
            assert!(off.is_none(), "switched off, {off:?}, {}", said());
            assert!(Instant::now() < until, "{PATIENCE:?} over, {}", said());
            sleep(LOOK);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
