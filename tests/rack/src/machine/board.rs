//! Owns the mainboard of one machine: power state, boot flags, and the one QEMU that is the present POST.
//! Leaves who presses the buttons (a BMC, a test) to the callers.

use std::fmt;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::qemu::{self, PostFirmware};
use super::qmp::{self, End, Qmp, QmpEvents};
use super::spec::{BootDevice, BootFlags, Firmware, NodeSpec};
use super::{disk, qemu::Paths, tpm};
use crate::exec::inherit;
use crate::layout::NodeNumber;
use crate::logfile::LogCursor;
use crate::netns::Netns;
use crate::process::{Process, find_program};

/// A QEMU whose QMP connection has ended exits within milliseconds; then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Power events kept for reading; a machine in a boot loop makes one every few seconds.
const MAX_EVENTS: usize = 10_000;

/// A machine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    node: NodeNumber,
    spec: NodeSpec,
    paths: Paths,
    netns: Arc<Netns>,
    state: Mutex<State>,
}

/// What changes. One lock around it: a machine has one power supply.
struct State {
    qemu: Option<Running>,
    /// For the next POST only; goes before `standing`.
    next: Option<BootFlags>,
    /// For every POST.
    standing: BootFlags,
    posts: u32,
    /// CPU time of QEMUs that have ended.
    cpu_time: Duration,
    events: Vec<(SystemTime, PowerEvent)>,
    /// Threads that watch present and past QEMUs; joined at the end.
    watchers: Vec<JoinHandle<()>>,
    /// After [`Machine::remove`] nothing starts any more.
    removed: bool,
}

struct Running {
    post: u32,
    process: Process,
    qmp: Qmp,
    /// Ends with QEMU's connection, or when it is dropped.
    _tpm: Option<Process>,
}

/// One power-on self test: one start of one QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    /// Counts from 1.
    pub number: u32,
    /// Which firmware runs.
    pub firmware: PostFirmware,
    /// What it was told to boot from.
    pub boot: BootDevice,
}

/// Something that happened to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// A POST began.
    Post(Post),
    /// A POST ended by itself or by its guest.
    Ended(End),
    /// The BMC switched it off.
    SwitchedOff,
    /// The BMC pressed the power button.
    ButtonPressed,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({})", self.0.node)
    }
}

impl Machine {
    /// Makes the machine's disks and variable store under `dir`. It is off.
    ///
    /// # Errors
    /// When a file can't be made.
    pub fn create(
        node: NodeNumber,
        spec: NodeSpec,
        dir: PathBuf,
        netns: Arc<Netns>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let paths = Paths { dir };
        for (i, disk) in spec.disks.iter().enumerate() {
            disk::make(disk, &paths.disk(i))?;
        }
        if let Some(variables) = qemu::variables(spec.firmware) {
            std::fs::copy(variables, paths.vars())
                .context("copy OVMF's variables (package ovmf)")?;
        }
        let state = State {
            qemu: None,
            next: None,
            standing: BootFlags::default(),
            posts: 0,
            cpu_time: Duration::ZERO,
            events: Vec::new(),
            watchers: Vec::new(),
            removed: false,
        };
        Ok(Self(Arc::new(Inner {
            node,
            spec,
            paths,
            netns,
            state: Mutex::new(state),
        })))
    }

    /// Its number.
    pub fn node(&self) -> NodeNumber {
        self.0.node
    }

    /// What it was made from.
    pub fn spec(&self) -> &NodeSpec {
        &self.0.spec
    }

    /// Where its files are.
    pub fn paths(&self) -> &Paths {
        &self.0.paths
    }

    /// A cursor at the start of its serial console.
    pub fn console(&self) -> LogCursor {
        LogCursor::at_start(self.0.paths.console_log())
    }

    /// True while it is powered.
    pub fn is_on(&self) -> bool {
        self.state().qemu.is_some()
    }

    /// All that happened to its power, oldest first.
    pub fn events(&self) -> Vec<(SystemTime, PowerEvent)> {
        self.state().events.clone()
    }

    /// Switches it on; nothing happens when it is on.
    ///
    /// # Errors
    /// When QEMU doesn't start.
    pub fn power_on(&self) -> Result<()> {
        let mut state = self.state();
        if state.qemu.is_some() {
            Ok(())
        } else {
            self.post(&mut state)
        }
    }

    /// Cuts its power; nothing happens when it is off.
    pub fn power_off(&self) {
        let mut state = self.state();
        if state.cut() {
            state.note(PowerEvent::SwitchedOff);
        }
    }

    /// Resets it: a new POST. Nothing happens when it is off (IPMI 2.0 §28.3 leaves that to the implementation).
    ///
    /// # Errors
    /// When QEMU doesn't start.
    pub fn reset(&self) -> Result<()> {
        let mut state = self.state();
        if state.cut() {
            self.post(&mut state)
        } else {
            Ok(())
        }
    }

    /// Presses the power button: an operating system that listens shuts down.
    ///
    /// # Errors
    /// When QEMU doesn't take it.
    pub fn press_power_button(&self) -> Result<()> {
        let mut state = self.state();
        state.note(PowerEvent::ButtonPressed);
        match &mut state.qemu {
            Some(running) => running
                .qmp
                .execute("system_powerdown", &json!({}))
                .map(drop),
            None => Ok(()),
        }
    }

    /// Plugs a stick of zeros into the USB controller of a machine that is on.
    ///
    /// # Errors
    /// When the machine is off or has no USB controller.
    pub fn plug_usb_disk(&self, bytes: u64, serial: &str) -> Result<()> {
        let mut state = self.state();
        let running = state.qemu.as_mut().context("a machine that is off")?;
        let zeros = json!({
            "driver": "null-co", "node-name": serial, "size": bytes, "read-zeroes": true
        });
        running.qmp.execute("blockdev-add", &zeros)?;
        let stick = json!({
            "driver": "usb-storage", "bus": "usb.0", "drive": serial, "serial": serial
        });
        running.qmp.execute("device_add", &stick).map(drop)
    }

    /// Sets the boot flags of the next POST, or of all when they are persistent; a persistent setting ends a one-time one.
    pub fn set_boot(&self, flags: BootFlags) {
        let mut state = self.state();
        if flags.persistent {
            state.standing = flags;
            state.next = None;
        } else {
            state.next = Some(flags);
        }
    }

    /// Takes back the one-time boot flags.
    pub fn clear_boot(&self) {
        self.state().next = None;
    }

    /// The boot flags that the next POST will use.
    pub fn boot_flags(&self) -> BootFlags {
        let state = self.state();
        state.next.unwrap_or(state.standing)
    }

    /// Process id of the present QEMU.
    pub fn qemu_pid(&self) -> Option<u32> {
        self.state()
            .qemu
            .as_ref()
            .map(|running| running.process.pid())
    }

    /// CPU time that its QEMUs have used so far: what its work costs, whatever else the host is doing.
    pub fn cpu_time(&self) -> Duration {
        let state = self.state();
        state.cpu_time
            + state
                .qemu
                .as_ref()
                .map_or(Duration::ZERO, |running| running.process.cpu_time())
    }

    /// Switches it off for ever and waits for its threads.
    pub fn remove(&self) {
        let watchers = {
            let mut state = self.state();
            state.removed = true;
            state.cut();
            std::mem::take(&mut state.watchers)
        };
        for watcher in watchers {
            // A watcher has nothing to report; a panic in it was printed.
            let _ = watcher.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a QEMU with the flags as they are now, which uses up the one-time ones.
    fn post(&self, state: &mut State) -> Result<()> {
        let inner = &self.0;
        if state.removed {
            bail!("node {} is removed", inner.node);
        }
        let flags = state.next.take().unwrap_or(state.standing);
        let firmware = match (inner.spec.firmware, flags.efi) {
            (Firmware::Uefi, _) | (Firmware::Auto, true) => PostFirmware::Uefi,
            (Firmware::SecureUefi, _) => PostFirmware::SecureUefi,
            (Firmware::Bios, _) | (Firmware::Auto, false) => PostFirmware::Bios,
        };
        state.posts += 1;
        let post = Post {
            number: state.posts,
            firmware,
            boot: flags.device,
        };
        state.note(PowerEvent::Post(post));
        let (running, events) = self
            .start_qemu(post)
            .with_context(|| format!("power on node {}", inner.node))?;
        state.qemu = Some(running);
        let machine = self.clone();
        let watch = move || machine.watch(post.number, events);
        let name = format!("node{}-post{}", inner.node, post.number);
        let watcher = thread::Builder::new()
            .name(name)
            .spawn(watch)
            .context("start a thread")?;
        state.watchers.retain(|watcher| !watcher.is_finished());
        state.watchers.push(watcher);
        Ok(())
    }

    fn start_qemu(&self, post: Post) -> Result<(Running, QmpEvents)> {
        let Inner {
            node,
            spec,
            paths,
            netns,
            ..
        } = &*self.0;
        let (ours, theirs) = UnixStream::pair().context("make a socket pair for QMP")?;
        let theirs = OwnedFd::from(theirs);
        let tpm = match spec.tpm {
            true => Some(tpm::start(paths)?),
            false => None,
        };
        let mut command = netns.command(find_program("qemu-system-x86_64", Some("QEMU"))?)?;
        command.args(qemu::arguments(
            *node,
            spec,
            paths,
            post.firmware,
            post.boot,
            theirs.as_raw_fd(),
        ));
        // QEMU alone holds the other end from here on, so its end is the end of the stream.
        inherit(&mut command, theirs);
        let process = Process::start("qemu", command, &paths.qemu_log())?;
        let greeted = qmp::greet(ours);
        let (qmp, events) =
            greeted.with_context(|| format!("start QEMU; it said:\n{}", process.log().tail()))?;
        Ok((
            Running {
                post: post.number,
                process,
                qmp,
                _tpm: tpm,
            },
            events,
        ))
    }

    /// Follows one QEMU to its end; if nobody asked for that end, does what the guest asked for.
    fn watch(&self, post: u32, events: QmpEvents) {
        let end = events.until_end();
        let mut state = self.state();
        let Some(mut running) = state.qemu.take_if(|running| running.post == post) else {
            return;
        };
        if running.process.wait_exit(EXIT_TIMEOUT).is_err() {
            running.process.kill();
        }
        state.cpu_time += running.process.cpu_time();
        state.note(PowerEvent::Ended(end));
        if end == End::Reset
            && !state.removed
            && let Err(error) = self.post(&mut state)
        {
            // No caller to tell: the machine stays off, and whoever waits for its console reads this.
            eprintln!("node {}: {error:#}", self.0.node);
        }
    }
}

impl State {
    /// Kills the present QEMU (a power cut). False when there was none.
    fn cut(&mut self) -> bool {
        let Some(mut running) = self.qemu.take() else {
            return false;
        };
        running.process.kill();
        self.cpu_time += running.process.cpu_time();
        running.qmp.close();
        true
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "it notes when something happened to a machine"
    )]
    fn note(&mut self, event: PowerEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push((SystemTime::now(), event));
        }
    }
}
