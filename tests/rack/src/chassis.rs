//! Owns how a BMC reaches its machine: for `ipmi_sim` a loopback port in the namespace, one request per connection, and the
//! script that it runs; a simulated one calls. Leaves what a request does to `machine`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ironbeat_bmc_sim::{Chassis, Control};

use crate::layout::{CHASSIS_PORT, NodeNumber};
use crate::machine::spec::{BootDevice, BootFlags};
use crate::machine::{Machine, PowerEvent};
use crate::netns::Netns;

/// The script writes its whole request at once.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// `ipmi_sim` runs a program for every look at the power state, so it must be small: bash, with bash's own TCP. A
/// program of this crate would have to be found by everyone who uses the rack as a library, built or not.
/// The first line of an answer is `ok` or what went wrong; the rest is for `ipmi_sim`.
fn script() -> String {
    format!(
        "#!/bin/bash\n\
         exec 3<>/dev/tcp/127.0.0.1/{CHASSIS_PORT} || exit 1\n\
         printf '%s\\n' \"$*\" >&3\n\
         IFS= read -r verdict <&3\n\
         [ \"$verdict\" = ok ] || {{ printf '%s\\n' \"$verdict\" >&2; exit 1; }}\n\
         cat <&3\n"
    )
}

/// Writes the script to `path`, executable.
///
/// # Errors
/// When it can't be written.
pub(crate) fn write_script(path: &Path) -> Result<()> {
    let write = || {
        fs::write(path, script())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Serves the chassis port until dropped.
#[derive(Debug)]
pub(crate) struct ChassisServer {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl ChassisServer {
    /// Listens inside `netns`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(netns: &Netns, machines: Arc<[Machine]>) -> Result<Self> {
        let bind = || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, CHASSIS_PORT)).context("bind the chassis port")
        };
        let listener = Arc::new(netns.inside(bind)?);
        let accept = Arc::clone(&listener);
        let serve = move || {
            while let Ok((stream, _)) = accept.accept() {
                let machines = Arc::clone(&machines);
                // One thread per request; a BMC makes one at a time, so there are never more threads than BMCs.
                thread::spawn(move || serve_one(stream, &machines));
            }
        };
        let thread = thread::Builder::new()
            .name("chassis".into())
            .spawn(serve)
            .context("start a thread")?;
        Ok(Self {
            listener,
            thread: Some(thread),
        })
    }
}

impl Drop for ChassisServer {
    fn drop(&mut self) {
        // On Linux this wakes the thread in accept(2) with an error.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve_one(mut stream: TcpStream, machines: &[Machine]) {
    let read = || -> Result<String> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(line)
    };
    let answer = match read().and_then(|request| answer(&request, machines)) {
        Ok(text) => format!("ok\n{text}"),
        Err(error) => format!("{error:#}\n").replace('\n', " ") + "\n",
    };
    // The script may have been killed with its BMC.
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.shutdown(Shutdown::Both);
}

/// Does one request: `NODE get NAME…`, `NODE set NAME VALUE…`, `NODE lan get NAME…`.
fn answer(request: &str, machines: &[Machine]) -> Result<String> {
    let mut words = request.split_whitespace();
    let number = words
        .next()
        .and_then(|word| word.parse().ok())
        .and_then(NodeNumber::new);
    let node = number.with_context(|| format!("no node number in {request:?}"))?;
    let machine = machines
        .get(node.index())
        .with_context(|| format!("the rack has no node {node}"))?;
    let words: Vec<&str> = words.collect();
    match words.as_slice() {
        ["lan", "get", names @ ..] => {
            Ok(names.iter().map(|name| lan_parameter(node, name)).collect())
        }
        // Changes of LAN parameters are taken and forgotten.
        ["lan", "set" | "check", ..] => Ok(String::new()),
        ["get", names @ ..] => names.iter().map(|name| get(machine, name)).collect(),
        ["set", pairs @ ..] => {
            ensure!(
                pairs.len() % 2 == 0,
                "a name without a value in {request:?}"
            );
            for pair in pairs.chunks_exact(2) {
                set(machine, pair[0], pair[1])?;
            }
            Ok(String::new())
        }
        _ => bail!("can't do {request:?}"),
    }
}

fn get(machine: &Machine, name: &str) -> Result<String> {
    match name {
        "power" => Ok(format!("power:{}\n", u8::from(machine.is_on()))),
        "boot" => {
            let word = match machine.boot_flags().device {
                BootDevice::Disk => "default",
                BootDevice::Pxe => "pxe",
            };
            Ok(format!("boot:{word}\n"))
        }
        _ => bail!("no chassis value {name:?}"),
    }
}

fn set(machine: &Machine, name: &str, value: &str) -> Result<()> {
    match (name, value) {
        ("power", "0") => machine.power_off(),
        ("power", "1") => machine.power_on()?,
        ("reset", _) => machine.reset()?,
        ("shutdown", _) => machine.press_power_button()?,
        ("boot", "none") => machine.clear_boot(),
        // ipmi_sim passes neither the persistent nor the EFI bit on. Its `default` is the hard disk.
        ("boot", "pxe") => machine.set_boot(BootFlags {
            device: BootDevice::Pxe,
            ..BootFlags::default()
        }),
        ("boot", _) => machine.set_boot(BootFlags::default()),
        ("identify", _) => {}
        _ => bail!("no chassis control {name:?} to {value:?}"),
    }
    Ok(())
}

/// What `lan print` shows, and what the ramdisk learns in-band about its BMC.
fn lan_parameter(node: NodeNumber, name: &str) -> String {
    let value = match name {
        "ip_addr" => node.bmc_address().to_string(),
        "ip_addr_src" => "static".to_owned(),
        "mac_addr" => format!("52:54:00:77:ff:{:02x}", node.get()),
        "subnet_mask" => "255.255.255.0".to_owned(),
        name if name.contains("mac_addr") => "00:00:00:00:00:00".to_owned(),
        _ => "0.0.0.0".to_owned(),
    };
    format!("{name}:{value}\n")
}

/// A machine of the rack, in the hands of a simulated BMC.
pub(crate) struct Owned(pub Machine);

impl Chassis for Owned {
    fn is_on(&mut self) -> bool {
        self.0.is_on()
    }

    fn control(&mut self, control: Control) -> bool {
        let machine = &self.0;
        let done = match control {
            Control::Down => {
                machine.power_off();
                Ok(())
            }
            Control::Up => machine.power_on(),
            Control::Cycle | Control::Reset if !machine.is_on() => return false,
            Control::Cycle => {
                machine.power_off();
                machine.power_on()
            }
            Control::Reset => machine.reset(),
            Control::Soft => machine.press_power_button(),
            Control::Diag => return false,
        };
        if let Err(error) = &done {
            // As in `ipmi_sim`'s log: the BMC's client learns only that it did not work.
            eprintln!("node {}: {control:?}: {error:#}", machine.node());
        }
        done.is_ok()
    }

    fn set_boot(&mut self, flags: ironbeat_bmc_sim::BootFlags) {
        // A BMC has one set of flags: what was persistent before is gone in any case.
        self.0.set_boot(BootFlags {
            persistent: true,
            ..BootFlags::default()
        });
        // Boot device selectors of table 28-14: no override, and PXE; all others are disks here.
        match flags.device() {
            _ if !flags.is_valid() => {}
            0x00 => {}
            device => self.0.set_boot(BootFlags {
                device: if device == 0x01 {
                    BootDevice::Pxe
                } else {
                    BootDevice::Disk
                },
                persistent: flags.is_persistent(),
                efi: flags.is_efi(),
            }),
        }
    }

    fn starts(&mut self) -> u64 {
        let events = self.0.events();
        let posts = events
            .iter()
            .filter(|(_, event)| matches!(event, PowerEvent::Post(_)));
        posts.count() as u64
    }
}
