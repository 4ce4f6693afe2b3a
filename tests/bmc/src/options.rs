//! The command line of the program.
//! Leaves acting on it to `main`.
use ironbeat_bmc_sim::{Faults, FleetConfig, Plan, Settings, Suite, User};
use std::str::FromStr;
use std::time::Duration;

pub const USAGE: &str = "Simulated BMCs that speak RMCP+ (IPMI 2.0): many on one UDP socket, with faults.

usage: ironbeat-bmc-sim [OPTION]...

where
  --count N              so many BMCs (1)
  --first IPv4           the address of the first; the others follow (127.64.0.0)
  --port PORT            UDP port of all of them (6230)
  --device NAME          take datagrams of this network device only (lo); any: of all
what they are
  --suite 3|17           one cipher suite instead of both
  --user NAME:PASSWORD:LEVEL
                         a user in place of the usual ones; LEVEL is user, operator or administrator; may be repeated
  --kg KEY               key K_g
  --sessions N           sessions at the same time (8)
  --on                   machines are on at first
  --on-every N           machines 0, N, 2N … are
  --power-delay TIME     from Chassis Control to its effect (0ms)
  --cycle-delay TIME     how long a cycle stays off (0ms)
  --post-delay TIME      from a start until the boot flags are used (0ms)
their machines
  --in-band PORT         BMC n waits for its QEMU (ipmi-bmc-extern) on TCP port PORT + n of 127.0.0.1
  --machine COMMAND      machine n is this program: starts with power on, is ended by power off; `sh` expands
                         $BMC_NUMBER, $BMC_BOOT (none pxe disk cdrom setup other) and $BMC_EFI (0 1); needs --in-band
what is wrong with them
  --fault RULE           BMCs:FAULT[,FAULT]...[@FROM[..TO]], such as 100-199:silent@30s..1m; may be repeated
                         BMCs: all, 7, 100-199, */10 (every tenth), 5% (chosen by the seed)
                         FAULT: silent garbage loss=20% duplicate=5% reorder=5% delay=50ms jitter=20ms busy=10%
                           one-session sessions=2 table-full forgets-after=10 stuck-sequence wild-sequence
                           slow-acknowledge=3s says-on says-off ignores-power restart restart-on-control
                           hides-users ignores-17 ignores-cipher-suites no-retry-cache no-boot-timer drops-persistent redraws
                           restarts-late
  --faults FILE          such rules, one a line
  --loss PERMILLE        the same as --fault all:loss=…
  --delay MS             the same as --fault all:delay=…
  --silent-every N       the same as --fault */N:silent
  --seed N               chance is the same whenever this is (1)
running
  --detached             go on when standard input ends

Users are admin / Rack-pw-1 (administrator) and reader / Rack-pw-2 (user). Addresses of 127.0.0.0/8 are there on every
host; for others: ip route add local 10.88.0.0/16 dev lo. It runs until its standard input ends or a signal comes, and
then prints what the BMCs have done as one line of JSON.";

pub struct Options {
    pub fleet: FleetConfig,
    pub settings: Settings,
    pub faults: Faults,
    pub plan: Plan,
    /// Machine n is on at first if this divides n.
    pub on_every: Option<usize>,
    pub in_band: Option<u16>,
    pub machine: Option<String>,
    pub detached: bool,
}

pub enum Refused {
    Help,
    Because(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused::Because(why)
    }
}

impl Options {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Refused> {
        let mut options = Options {
            fleet: FleetConfig::loopback(1, 6230),
            settings: Settings::default(),
            faults: Faults::default(),
            plan: Plan::default(),
            on_every: None,
            in_band: None,
            machine: None,
            detached: false,
        };
        let mut users = Vec::new();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--help" | "-h" => return Err(Refused::Help),
                "--on" => options.on_every = Some(1),
                "--detached" => options.detached = true,
                _ => {
                    let value = arguments
                        .next()
                        .ok_or_else(|| format!("{name} is not known, or needs a value"))?;
                    options
                        .take(&name, &value, &mut users)
                        .map_err(|why| format!("{name} {value}: {why}"))?;
                }
            }
        }
        if !users.is_empty() {
            options.settings.users = users;
        }
        if options.machine.is_some() && options.in_band.is_none() {
            return Err(Refused::Because("--machine needs --in-band".into()));
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str, users: &mut Vec<User>) -> Result<(), String> {
        let Self {
            fleet, settings, ..
        } = self;
        match name {
            "--count" => fleet.count = read(value)?,
            "--first" => fleet.first = read(value)?,
            "--port" => fleet.port = read(value)?,
            "--device" => fleet.device = Some(value.to_owned()).filter(|name| name != "any"),
            "--seed" => fleet.seed = read(value)?,
            "--suite" => settings.suites = vec![suite(value)?],
            "--on-every" => self.on_every = Some(read(value)?),
            "--silent-every" => self.plan.add(&format!("*/{value}:silent"))?,
            "--user" => users.push(user(value, users.len())?),
            "--kg" => settings.kg = Some(value.as_bytes().to_vec()),
            "--sessions" => settings.sessions = read(value)?,
            "--power-delay" => settings.power_delay = ironbeat_bmc_sim::duration(value)?,
            "--cycle-delay" => settings.cycle_delay = ironbeat_bmc_sim::duration(value)?,
            "--post-delay" => settings.post_delay = ironbeat_bmc_sim::duration(value)?,
            "--in-band" => self.in_band = Some(read(value)?),
            "--machine" => self.machine = Some(value.to_owned()),
            "--loss" => self.faults.loss_permille = read(value)?,
            "--delay" => self.faults.delay = Duration::from_millis(read(value)?),
            "--fault" => self.plan.add(value)?,
            "--faults" => {
                let text = std::fs::read_to_string(value).map_err(|error| error.to_string())?;
                self.plan.add_lines(&text)?;
            }
            _ => return Err("no such option".into()),
        }
        Ok(())
    }
}

fn read<T: FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| error.to_string())
}

fn suite(text: &str) -> Result<Suite, String> {
    match text.trim() {
        "3" => Ok(Suite::Three),
        "17" => Ok(Suite::Seventeen),
        _ => Err("there are 3 and 17".into()),
    }
}

fn user(text: &str, before: usize) -> Result<User, String> {
    let (name, rest) = text.split_once(':').ok_or("NAME:PASSWORD:LEVEL")?;
    let (password, level) = rest.rsplit_once(':').ok_or("NAME:PASSWORD:LEVEL")?;
    let privilege = match level {
        "user" => 2,
        "operator" => 3,
        "administrator" => 4,
        _ => return Err("a level is user, operator or administrator".into()),
    };
    if name.len() > 16 || password.len() > 20 || before >= 9 {
        return Err("a name has 16 bytes, a password 20, a BMC 9 users".into());
    }
    Ok(User {
        // User 1 is the one without a name (IPMI 2.0 §6.9.1).
        id: before as u8 + 2,
        name: name.into(),
        password: password.into(),
        privilege,
        enabled: true,
    })
}
