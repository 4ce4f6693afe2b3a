//! Simulated BMCs as a program: `ironbeat-bmc-sim --count 10000 --first 127.64.0.0 --port 6230`.
//! What they do is in the library.
use ironbeat_bmc_sim::{Faults, Fleet, FleetConfig, Settings};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: ironbeat-bmc-sim [--count N] [--first IPv4] [--port PORT] [--device NAME|any]
  [--loss PERMILLE] [--delay MS] [--seed N] [--on]

Each BMC has users admin / Rack-pw-1 (administrator) and reader / Rack-pw-2 (user), cipher suites 3 and 17.
Addresses of 127.0.0.0/8 are there on every host; for others: ip route add local 10.88.0.0/16 dev lo
It runs until its standard input ends.";

struct Options {
    fleet: FleetConfig,
    faults: Faults,
    on: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        fleet: FleetConfig::loopback(1, 6230),
        faults: Faults::default(),
        on: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--on" {
            options.on = true;
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
        Settings {
            guid,
            powered_on: options.on,
            ..Settings::default()
        }
    };
    let fleet = match Fleet::start(&options.fleet, settings) {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("listen on UDP port {}: {error}", options.fleet.port);
            return ExitCode::FAILURE;
        }
    };
    fleet.each(|_, bmc| bmc.faults = options.faults.clone());
    let last = fleet.address(fleet.len().saturating_sub(1));
    println!("{} BMCs, {} to {last}", fleet.len(), fleet.address(0));
    // Whoever started it holds the other end; it ends with them, however they end.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    ExitCode::SUCCESS
}
