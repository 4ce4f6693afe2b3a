//! Starts the agent as PID 1 of a ramdisk, or as an ordinary process that changes nothing without `--really`.
//! Everything else is in the library.
use ironbeat_agent::heart::machine;
use ironbeat_agent::heart::perform::Authority;
use ironbeat_agent::init::cmdline;
use ironbeat_agent::log;

const HELP: &str = "\
ironbeat-agent: reports what this machine is made of and carries out what a conductor orders

usage: ironbeat-agent [--really] [ib.nats=nats://HOST:4222[,...]] [ib.prefix=ib.v1] [ib.mac=MAC] [ib.log=debug]

As /init of a ramdisk (PID 1) it reads the same words from the kernel's command line and owns the machine. As an ordinary
process it only reads and reports: it writes to no disk and never reboots, unless started with --really.

  --really   carry out every order, on this machine
  --version  print the version
  --help     print this text
";

fn main() -> std::process::ExitCode {
    // A container's first process is PID 1 too, but the kernel starts its own by this name.
    if std::process::id() == 1
        && std::env::args()
            .next()
            .is_some_and(|name| name.ends_with("init"))
    {
        machine::run_as_init();
    }
    let mut authority = Authority::LookOnly;
    let mut words = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--version" => {
                println!("ironbeat-agent {}", env!("CARGO_PKG_VERSION"));
                return std::process::ExitCode::SUCCESS;
            }
            "--help" | "-h" => {
                print!("{HELP}");
                return std::process::ExitCode::SUCCESS;
            }
            "--really" => authority = Authority::Full,
            word if word.starts_with("ib.") => words.push(argument),
            _ => {
                eprint!("ironbeat-agent: {argument:?} is not understood\n\n{HELP}");
                return std::process::ExitCode::from(2);
            }
        }
    }
    let mut settings = cmdline::parse(&words.join(" "));
    if settings.nats.is_empty() {
        settings.nats.push("nats://127.0.0.1:4222".to_string());
    }
    let lines = log::start(settings.debug);
    match machine::run_as_process(&settings, lines, authority) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
