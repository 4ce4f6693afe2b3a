//! `cargo xtask …`: everything that is done to this project, by people and by CI, through the same commands.
//! Each command is a file. Leaves racks to `ironbeat-rack` and `ironbeat-product`, ramdisks to `ironbeat-image`.
mod artifacts;
mod bench;
mod chaos;
mod ci;
mod demo;
mod fuzz;
mod interrupt;
mod ipxe;
mod neighbours;
mod packages;
mod rack;
mod replay;
mod simulate;
mod states;
mod tidy;

use anyhow::Result;
use artifacts::AgentBuild;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Two machines from enroll to active on real parts, watched live.
    Demo(demo::Args),
    /// Format, lints, `tidy`, docs, unit and integration tests, and whole rack cycles under QEMU.
    Ci,
    /// Is the code laid out as planned (xtask/src/tidy/plan.rs)? Imports, circles, heads of files, licences, the map.
    Tidy(tidy::Args),
    /// Only the rack tests of `ci`, optionally those whose name contains FILTER.
    TestRack {
        filter: Option<String>,
        /// Also those that need an iPXE with HTTPS, which is built from this clone of its repository first.
        #[arg(long, value_name = "DIR")]
        ipxe: Option<PathBuf>,
    },
    /// An iPXE that gets boot scripts, kernel and ramdisk over HTTPS, from a site's CA alone.
    Ipxe(ipxe::Args),
    /// Kernel and ramdisk for network boot.
    Image {
        /// `generic` for real machines, `small` for virtual ones.
        #[arg(long, default_value = "generic")]
        flavour: String,
        /// The CA of the site's NATS servers, in PEM: `DIR/worker/ca.pem` of `ironbeat auth init --tls DIR`. Without it the
        /// boot script says which one it is.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Where `vmlinuz` and `initrd` go; default: `target/image/<flavour>`.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Also the system that `ironbeat node rescue` lets people in to: `rescue.cpio.zst`, for the workers' image directories.
        #[arg(long)]
        rescue: bool,
        /// A Debian package that it has beside busybox, dropbear and e2fsprogs; may be given several times.
        #[arg(long = "rescue-package", value_name = "NAME", requires = "rescue")]
        rescue_packages: Vec<String>,
        /// Compile the agent faster and larger: to try a change, not to ship it.
        #[arg(long)]
        quick: bool,
    },
    /// A rack with workers and enrolled machines, up until Ctrl-C.
    Rack(rack::Args),
    /// Provision states: where a node goes from each by each event, with us and with Ironic; JSON lines on standard output.
    States,
    /// Decides again what a node's flight record says was decided; 1 if something is decided otherwise now, which is printed.
    Replay {
        /// What `ironbeat node record NODE > FILE` has written.
        file: PathBuf,
    },
    /// Many simulated fleets, each from its seed; figures are JSON lines on standard output. A failing one is printed with
    /// its last steps.
    Simulate(simulate::Args),
    /// Servers, workers and simulated machines in jobs, and one fault after the other; a table, and figures as JSON lines on
    /// standard output. Needs root.
    Chaos(chaos::Args),
    /// Bad neighbours, one after the other: nobody, unknown machines, agents, people, stolen keys, servers and BMCs that lie. A
    /// JSON line for each attempt on standard output. Needs root.
    Neighbours(neighbours::Args),
    /// Damages good bytes and has everything read them that reads foreign bytes: ten million mutants for each target unless told
    /// otherwise. Figures are JSON lines on standard output; bytes that something did not survive are kept.
    Fuzz(fuzz::Args),
    /// Measure; results are JSON lines on standard output.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result: Result<()> = match Xtask::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Ci => ci::run(),
        Command::Tidy(args) => tidy::run(&args),
        Command::TestRack { filter, ipxe } => ci::rack_tests(filter.as_deref(), ipxe.as_deref()),
        Command::Ipxe(args) => ipxe::run(&args),
        Command::Image {
            flavour,
            ca,
            out,
            rescue,
            rescue_packages,
            quick,
        } => {
            let build = if quick {
                AgentBuild::Quick
            } else {
                AgentBuild::Small
            };
            let rescue = rescue.then_some(rescue_packages.as_slice());
            artifacts::image_command(&flavour, ca.as_deref(), out, rescue, build)
        }
        Command::Rack(args) => rack::run(&args),
        Command::States => states::run(),
        Command::Replay { file } => return replay::run(&file),
        Command::Simulate(args) => simulate::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Neighbours(args) => neighbours::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(bench) => bench::run(bench),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
