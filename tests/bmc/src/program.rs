//! A machine that is a program, such as a QEMU: switched on by starting it, off by ending it, told the rest in band.
//! Leaves the choice of machines to its callers.
use crate::chassis::{BootFlags, Chassis, Control};
use crate::inband::MachineLink;
use crate::signals::unblock_in_child;
use crate::vm::Order;
use std::process::{Child, Command, Stdio};

/// A program as a machine. It ends when this is dropped.
pub struct Program {
    command: String,
    number: usize,
    link: MachineLink,
    child: Option<Child>,
    flags: BootFlags,
    starts: u64,
}

impl Program {
    /// `command` is a line for `sh`, which becomes the program it names. It finds in its environment: `BMC_NUMBER`;
    /// `BMC_BOOT`, one of `none`, `pxe`, `disk`, `cdrom`, `setup` and `other`; and `BMC_EFI`, 1 or 0.
    pub fn new(command: String, number: usize, link: MachineLink) -> Self {
        Self {
            command,
            number,
            link,
            child: None,
            flags: BootFlags::default(),
            starts: 0,
        }
    }

    fn start(&mut self) -> bool {
        let (flags, valid) = (self.flags, self.flags.is_valid());
        let boot = match flags.device() {
            _ if !valid => "none",
            0x00 => "none",
            0x01 => "pxe",
            0x02 => "disk",
            0x05 => "cdrom",
            0x06 => "setup",
            _ => "other",
        };
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("exec {}", self.command))
            .env("BMC_NUMBER", self.number.to_string())
            .env("BMC_BOOT", boot)
            .env("BMC_EFI", if valid && flags.is_efi() { "1" } else { "0" })
            .stdin(Stdio::null());
        unblock_in_child(&mut command);
        match command.spawn() {
            Ok(child) => {
                self.child = Some(child);
                self.starts += 1;
                if !flags.is_persistent() {
                    self.flags = BootFlags::default();
                }
                true
            }
            Err(error) => {
                eprintln!("machine {}: start {:?}: {error}", self.number, self.command);
                false
            }
        }
    }

    fn cut(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Chassis for Program {
    fn is_on(&mut self) -> bool {
        let ended = match &mut self.child {
            None => return false,
            Some(child) => !matches!(child.try_wait(), Ok(None)),
        };
        if ended {
            self.child = None;
        }
        !ended
    }

    fn control(&mut self, control: Control) -> bool {
        match (control, self.is_on()) {
            (Control::Down, _) => {
                self.cut();
                true
            }
            (Control::Up, true) | (Control::Soft, false) => true,
            (Control::Up, false) => self.start(),
            (Control::Cycle, true) => {
                self.cut();
                self.start()
            }
            (Control::Reset, true) => {
                self.link.order(Order::Reset) || {
                    self.cut();
                    self.start()
                }
            }
            (Control::Soft, true) => self.link.order(Order::Button),
            (Control::Diag, true) => self.link.order(Order::Nmi),
            (Control::Cycle | Control::Reset | Control::Diag, false) => false,
        }
    }

    fn set_boot(&mut self, flags: BootFlags) {
        self.flags = flags;
    }

    fn starts(&mut self) -> u64 {
        self.starts
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.cut();
    }
}
