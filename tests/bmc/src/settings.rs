//! What a simulated BMC is like and what is wrong with it, as data.
//! Leaves acting on it to `bmc`, `session` and `commands`.
use crate::crypto::Suite;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// 1 to 63.
    pub id: u8,
    /// At most 16 bytes.
    pub name: String,
    /// At most 20 bytes.
    pub password: Vec<u8>,
    /// 2 user, 3 operator, 4 administrator.
    pub privilege: u8,
    pub enabled: bool,
}

/// What kind of BMC it is.
#[derive(Clone, Debug)]
pub struct Settings {
    pub users: Vec<User>,
    pub suites: Vec<Suite>,
    /// Key K_g; none: the password is the key.
    pub kg: Option<Vec<u8>>,
    pub guid: [u8; 16],
    /// IANA number, product, firmware (major, minor in BCD).
    pub manufacturer: u32,
    pub product: u16,
    pub firmware: (u8, u8),
    /// Sessions at the same time; real ones have four to eight.
    pub sessions: usize,
    pub session_idle: Duration,
    /// From a power command's acknowledgement to its effect.
    pub power_delay: Duration,
    /// How long a power cycle stays off, at least.
    pub cycle_delay: Duration,
    /// After a start: how long firmware takes until it uses the boot flags.
    pub post_delay: Duration,
    /// How long the BMC itself needs to restart.
    pub restart: Duration,
    pub powered_on: bool,
    /// What its LAN parameters say.
    pub lan: Lan,
    /// The inventory of FRU 0.
    pub fru: Vec<u8>,
    /// Sensor data records, whole.
    pub sdr: Vec<Vec<u8>>,
    /// Raw readings by sensor number.
    pub readings: Vec<(u8, u8)>,
}

/// The address that a BMC says it has; it answers from the one that a datagram came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lan {
    /// Unspecified: a fleet fills in the one at which it serves this BMC.
    pub address: Ipv4Addr,
    /// UDP port of RMCP and of consoles; 0: a fleet fills in its own.
    pub port: u16,
    pub mask: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub mac: [u8; 6],
    /// A static one, with 64 bits of prefix.
    pub ipv6: Option<Ipv6Addr>,
}

impl Default for Lan {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED,
            port: 0,
            mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Ipv4Addr::new(192, 0, 2, 254),
            mac: [0x52, 0x54, 0, 0, 0, 0x01],
            ipv6: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            users: vec![
                User {
                    id: 2,
                    name: "admin".into(),
                    password: b"Rack-pw-1".to_vec(),
                    privilege: 4,
                    enabled: true,
                },
                User {
                    id: 3,
                    name: "reader".into(),
                    password: b"Rack-pw-2".to_vec(),
                    privilege: 2,
                    enabled: true,
                },
            ],
            suites: vec![Suite::Seventeen, Suite::Three],
            kg: None,
            guid: [0x6d; 16],
            manufacturer: 0x1291,
            product: 0x0f02,
            firmware: (9, 0x08),
            sessions: 8,
            session_idle: Duration::from_secs(60),
            power_delay: Duration::ZERO,
            cycle_delay: Duration::ZERO,
            post_delay: Duration::ZERO,
            restart: Duration::from_secs(1),
            powered_on: false,
            lan: Lan::default(),
            fru: crate::records::fru(),
            sdr: crate::records::sdr(),
            readings: vec![(1, 41), (2, 100), (3, 201)],
        }
    }
}

/// What is wrong with a BMC. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Answers nothing at all.
    pub silent: bool,
    /// Answers every datagram with noise.
    pub garbage: bool,
    /// This many in a thousand datagrams are lost, in each direction.
    pub loss_permille: u16,
    /// This many in a thousand answers come twice.
    pub duplicate_permille: u16,
    /// This many in a thousand answers come after the next one.
    pub reorder_permille: u16,
    /// Waits this long before each answer, and up to this much more by chance.
    pub delay: Duration,
    pub jitter: Duration,
    /// Before the answer to Chassis Control.
    pub slow_acknowledge: Duration,
    pub power: PowerFault,
    /// Its session sequence number stays where it is.
    pub stuck_sequence: bool,
    /// Its session sequence number jumps anywhere.
    pub wild_sequence: bool,
    /// Sessions at the same time, if fewer than its settings say.
    pub sessions: Option<usize>,
    /// Its session table is always full.
    pub table_full: bool,
    /// An unknown user and a wrong password get silence, not an answer.
    pub hides_users: bool,
    /// Drops an Open Session with suite 17 instead of refusing it.
    pub ignores_seventeen: bool,
    pub ignores_cipher_suites: bool,
    /// This many in a thousand commands get "node busy".
    pub busy_permille: u16,
    /// Restarts, once, when a schedule brings this.
    pub restarts: bool,
    /// Answers a reset of itself, and goes on as if nothing were.
    pub restarts_late: bool,
    /// Restarts on Chassis Control, after carrying it out and before answering.
    pub restarts_on_control: bool,
    /// Draws a new random number for each RAKP 1, a repeated one too.
    pub redraws: bool,
    /// Keeps no answers: a repeated command is a second one.
    pub no_retry_cache: bool,
    /// Refuses boot option 3, the 60 s timer.
    pub no_boot_timer: bool,
    /// Takes a boot device for every start as one for the next start alone.
    pub drops_persistent: bool,
    /// Forgets a session after this many commands.
    pub forgets_after: Option<u32>,
    /// Refuses to set any password.
    pub refuses_password: bool,
    /// Keeps so many bytes of a new password, and says that all is well.
    pub keeps_of_password: Option<usize>,
}

/// How the power lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PowerFault {
    #[default]
    None,
    /// Says on, whatever is true.
    SaysOn,
    /// Says off, whatever is true.
    SaysOff,
    /// Acknowledges commands and does nothing.
    Ignores,
    /// Its operating system does not hear the power button; everything else works.
    IgnoresSoft,
}

/// What it did, for tests to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub datagrams: u64,
    pub commands: u64,
    /// Of these, Get Chassis Status.
    pub power_reads: u64,
    /// Commands answered from the retry cache.
    pub repeated: u64,
    pub logins: u64,
    pub refused_logins: u64,
    /// Chassis Control, carried out, by code: down, up, cycle, reset, diag, soft.
    pub control: [u64; 6],
    /// Of these, the ones after a BMC's first of its kind.
    pub control_again: u64,
    pub restarts: u64,
    /// Passwords that were set.
    pub passwords: u64,
    /// Datagrams that the loss fault took.
    pub lost: u64,
    /// Commands over the system interface.
    pub in_band: u64,
}

impl Counters {
    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        let mut control = self.control;
        for (sum, more) in control.iter_mut().zip(other.control) {
            *sum += more;
        }
        Self {
            datagrams: self.datagrams + other.datagrams,
            commands: self.commands + other.commands,
            power_reads: self.power_reads + other.power_reads,
            repeated: self.repeated + other.repeated,
            logins: self.logins + other.logins,
            refused_logins: self.refused_logins + other.refused_logins,
            control,
            control_again: self.control_again + other.control_again,
            restarts: self.restarts + other.restarts,
            passwords: self.passwords + other.passwords,
            lost: self.lost + other.lost,
            in_band: self.in_band + other.in_band,
        }
    }

    /// A JSON object whose keys are the fields' names; `control` is a list.
    pub fn to_json(&self) -> String {
        let Self {
            datagrams,
            commands,
            power_reads,
            repeated,
            logins,
            refused_logins,
            control,
            control_again,
            restarts,
            passwords,
            lost,
            in_band,
        } = self;
        format!(
            "{{\"datagrams\":{datagrams},\"commands\":{commands},\"power_reads\":{power_reads},\"repeated\":{repeated},\"logins\":{logins},\
             \"refused_logins\":{refused_logins},\"control\":{control:?},\"control_again\":{control_again},\"restarts\":{restarts},\"passwords\":{passwords},\"lost\":{lost},\
             \"in_band\":{in_band}}}"
        )
    }
}
