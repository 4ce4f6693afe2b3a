//! Simulated BMCs as a program: `ironbeat-bmc-sim --count 10000 --first 127.64.0.0 --port 6230`.
//! What they do is in the library.
use ironbeat_bmc_sim::{Faults, Fleet, FleetConfig, Settings, Suite};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: ironbeat-bmc-sim [--count N] [--first IPv4] [--port PORT] [--device NAME|any]
  [--loss PERMILLE] [--delay MS] [--seed N] [--on] [--on-every N] [--silent-every N] [--suite 3|17]

Each BMC has users admin / Rack-pw-1 (administrator) and reader / Rack-pw-2 (user), cipher suites 3 and 17
(or the one that is asked for).
Addresses of 127.0.0.0/8 are there on every host; for others: ip route add local 10.88.0.0/16 dev lo
--on-every 2: BMCs 0, 2, 4 … begin switched on; --silent-every 10: BMCs 0, 10, 20 … never answer.
It runs until its standard input ends, and then prints what it counted, as JSON.";

struct Options {
    fleet: FleetConfig,
    faults: Faults,
    /// BMC n is on if this divides n.
    on_every: Option<usize>,
    silent_every: Option<usize>,
    suite: Option<Suite>,
}

fn is_every(every: Option<usize>, n: usize) -> bool {
    every.is_some_and(|every| n.is_multiple_of(every))
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        fleet: FleetConfig::loopback(1, 6230),
        faults: Faults::default(),
        on_every: None,
        silent_every: None,
        suite: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--on" {
            options.on_every = Some(1);
            continue;
        }
        if matches!(name.as_str(), "--help" | "-h") {
            return Err(USAGE.into());
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|error| format!("{name} {value}: {error}"))
        };
        match name.as_str() {
            "--count" => options.fleet.count = number()? as usize,
            "--first" => {
                options.fleet.first = value
                    .parse()
                    .map_err(|error| format!("{name} {value}: {error}"))?;
            }
            "--port" => {
                options.fleet.port =
                    u16::try_from(number()?).map_err(|error| format!("{name} {value}: {error}"))?;
            }
            "--device" => options.fleet.device = Some(value).filter(|name| name != "any"),
            "--loss" => {
                options.faults.loss_permille =
                    u16::try_from(number()?).map_err(|error| format!("{name} {value}: {error}"))?;
            }
            "--delay" => options.faults.delay = Duration::from_millis(number()?),
            "--on-every" => options.on_every = Some(number()? as usize),
            "--silent-every" => options.silent_every = Some(number()? as usize),
            "--suite" => {
                options.suite = match value.as_str() {
                    "3" => Some(Suite::Three),
                    "17" => Some(Suite::Seventeen),
                    _ => return Err("only suites 3 and 17 are known".into()),
                }
            }
            "--seed" => options.fleet.seed = number()?,
            _ => return Err(format!("{name} is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let settings = |n: usize| {
        let mut guid = [0x6d; 16];
        guid[12..].copy_from_slice(&(n as u32).to_be_bytes());
        let all = Settings::default();
        Settings {
            guid,
            suites: options.suite.map_or(all.suites, |suite| vec![suite]),
            powered_on: is_every(options.on_every, n),
            ..all
        }
    };
    let fleet = match Fleet::start(&options.fleet, settings) {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("listen on UDP port {}: {error}", options.fleet.port);
            return ExitCode::FAILURE;
        }
    };
    fleet.each(|n, bmc| {
        bmc.faults = options.faults.clone();
        bmc.faults.silent |= is_every(options.silent_every, n);
    });
    let last = fleet.address(fleet.len().saturating_sub(1));
    println!("{} BMCs, {} to {last}", fleet.len(), fleet.address(0));
    // Whoever started it holds the other end; it ends with them, however they end.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    println!("{}", counted(&fleet));
    ExitCode::SUCCESS
}

/// `control`: Chassis Control by code, carried out; `control_again`: of these, the ones after a BMC's first of its kind.
fn counted(fleet: &Fleet) -> String {
    let (mut datagrams, mut commands, mut repeated, mut logins) = (0, 0, 0, 0);
    let (mut control, mut again) = ([0; 6], 0);
    fleet.each(|_, bmc| {
        let counters = bmc.counters();
        datagrams += counters.datagrams;
        commands += counters.commands;
        repeated += counters.repeated;
        logins += counters.logins;
        for (sum, count) in control.iter_mut().zip(counters.control) {
            *sum += count;
            again += count.saturating_sub(1);
        }
    });
    format!(
        "{{\"datagrams\":{datagrams},\"commands\":{commands},\"repeated\":{repeated},\"logins\":{logins},\
         \"control\":{control:?},\"control_again\":{again}}}"
    )
}
