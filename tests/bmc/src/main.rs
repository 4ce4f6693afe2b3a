//! Simulated BMCs as a program: `ironbeat-bmc-sim --count 10000 --first 127.64.0.0 --port 6230`.
//! What they do is in the library; what they are told on the command line is in `options`.
mod options;

use ironbeat_bmc_sim::signals::{Termination, block_termination};
use ironbeat_bmc_sim::{Fleet, Program, Settings};
use options::{Options, Refused};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::mpsc;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(Refused::Help) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(Refused::Because(why)) => {
            eprintln!("ironbeat-bmc-sim: {why}\n--help says what there is");
            return ExitCode::FAILURE;
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ironbeat-bmc-sim: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    // Before any thread is started, so that none of them takes a signal.
    let signals = block_termination().map_err(|error| format!("block signals: {error}"))?;
    let settings = |n: usize| {
        let mut guid = [0x6d; 16];
        guid[12..].copy_from_slice(&(n as u32).to_be_bytes());
        let mut settings = Settings {
            guid,
            powered_on: options
                .on_every
                .is_some_and(|every| n.is_multiple_of(every)),
            ..options.settings.clone()
        };
        let [.., c, d] = (n as u32).to_be_bytes();
        settings.lan.mac = [0x52, 0x54, 0, 0, c, d];
        settings
    };
    let mut fleet = Fleet::start(&options.fleet, settings)
        .map_err(|error| format!("listen on UDP port {}: {error}", options.fleet.port))?;
    let seed = options.fleet.seed;
    fleet.each(|n, bmc| bmc.schedule(options.plan.of(n, seed, &options.faults)));
    if let Some(first) = options.in_band {
        connect_machines(&mut fleet, first, options.machine.as_deref())?;
    }
    let last = fleet.address(fleet.len().saturating_sub(1));
    println!("{} BMCs, {} to {last}", fleet.len(), fleet.address(0));
    wait_for_the_end(signals, options.detached);
    println!("{}", fleet.counters().to_json());
    Ok(())
}

/// A TCP port for each machine, from `first` on; and the machines, if they are programs.
fn connect_machines(fleet: &mut Fleet, first: u16, program: Option<&str>) -> Result<(), String> {
    for n in 0..fleet.len() {
        let port = u16::try_from(usize::from(first) + n)
            .map_err(|_| format!("there are no {} ports from {first} on", fleet.len()))?;
        let link = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| fleet.serve_machine(n, listener))
            .map_err(|error| format!("listen on TCP port {port}: {error}"))?;
        if let Some(command) = program {
            fleet.attach(n, Box::new(Program::new(command.into(), n, link)));
        }
    }
    Ok(())
}

/// Until a signal comes or, unless detached, standard input ends.
fn wait_for_the_end(signals: Termination, detached: bool) {
    let (end, ended) = mpsc::channel();
    let by_signal = end.clone();
    std::thread::spawn(move || {
        signals.wait();
        let _ = by_signal.send(());
        // The second one means it.
        signals.wait();
        std::process::exit(130);
    });
    if !detached {
        std::thread::spawn(move || {
            // Whoever started it holds the other end; it ends with them, however they end.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = end.send(());
        });
    }
    let _ = ended.recv();
}
