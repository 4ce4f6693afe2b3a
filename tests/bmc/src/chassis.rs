//! The machine behind a BMC, as whoever owns a real one (a QEMU, a program) brings it along.
//! Leaves the made-up machine, which needs no owner, to `power`.

/// A machine that somebody else owns. A BMC asks it before it answers, and the other BMCs of its fleet wait meanwhile: give
/// a machine that is slow to start a fleet of its own.
pub trait Chassis: Send {
    fn is_on(&mut self) -> bool;

    /// Does what Chassis Control asks for. False: not possible now, or never; the BMC says so.
    fn control(&mut self, control: Control) -> bool;

    /// What its firmware is to do at the next start, and at every one when the flags are persistent. Flags that are not
    /// valid take back the ones before.
    fn set_boot(&mut self, flags: BootFlags);

    /// How often it has started so far. A start uses up flags that are not persistent.
    fn starts(&mut self) -> u64;
}

/// Chassis Control (IPMI 2.0 §28.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Down,
    Up,
    Cycle,
    Reset,
    /// A diagnostic interrupt (NMI).
    Diag,
    /// A short press of the power button.
    Soft,
}

impl Control {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Control::Down,
            0x01 => Control::Up,
            0x02 => Control::Cycle,
            0x03 => Control::Reset,
            0x04 => Control::Diag,
            0x05 => Control::Soft,
            _ => return None,
        })
    }
}

/// Boot flags (§28.13, parameter 5), data 1 to 5 as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootFlags(pub [u8; 5]);

impl BootFlags {
    pub fn is_valid(self) -> bool {
        self.0[0] & 0x80 != 0
    }

    pub fn is_persistent(self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// The same, for the next start alone.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.0[0] &= !0x40;
        self
    }

    pub fn is_efi(self) -> bool {
        self.0[0] & 0x20 != 0
    }

    /// Boot device selector: 0 none, 1 PXE, 2 hard disk, 5 CD, 6 BIOS setup.
    pub fn device(self) -> u8 {
        self.0[1] >> 2 & 0x0f
    }
}
