//! Simulated BMCs alone, as a process, up until Ctrl-C.
//! Leaves what they do to `ironbeat-bmc-sim`.
use crate::{artifacts, interrupt, packages};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Between two looks at whether somebody wants to end it.
const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// Address of the first; the others follow. All of 127.0.0.0/8 is there on every host.
    #[arg(long, default_value = "127.64.0.1")]
    first: Ipv4Addr,
    #[arg(long, default_value_t = 6230)]
    port: u16,
    /// More for the simulator, such as `-- --on --fault '10%:silent@30s..60s'`; `-- --help` tells all.
    #[arg(last = true)]
    more: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    let program = artifacts::bmc_sim()?;
    if args.more.iter().any(|word| word == "--help") {
        let status = Command::new(&program).arg("--help").status();
        ensure!(status.context("start the simulator")?.success(), "no help");
        return Ok(());
    }
    interrupt::catch()?;
    let mut simulator = start(&program, args)?;
    let mut said = BufReader::new(simulator.stdout.take().context("its output is ours")?);
    let mut line = String::new();
    said.read_line(&mut line).context("read what it says")?;
    ensure!(!line.is_empty(), "the simulator did not start");
    print!("\n{line}");
    print_next(args, &program);
    while interrupt::check().is_ok() {
        if let Some(status) = simulator.try_wait().context("look at the simulator")? {
            bail!("the simulator ended with {status}");
        }
        std::thread::sleep(LOOK);
    }
    // It ends when its input does.
    drop(simulator.stdin.take());
    let mut counted = String::new();
    said.read_to_string(&mut counted)
        .context("read what it counted")?;
    print!("{counted}");
    simulator.wait().context("wait for the simulator")?;
    Ok(())
}

fn start(program: &Path, args: &Args) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(["--count", &args.count.to_string()])
        .args(["--first", &args.first.to_string()])
        .args(["--port", &args.port.to_string()])
        .args(&args.more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for us: it ends when its input does, and says then what it has counted.
        .process_group(0);
    command
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

fn print_next(args: &Args, program: &Path) {
    let (first, port) = (args.first, args.port);
    println!(
        "users: admin / Rack-pw-1 (administrator), reader / Rack-pw-2 (user); cipher suites 3 and 17\n\
         \nTo try, in another terminal:\n  \
         ipmitool -I lanplus -H {first} -p {port} -U admin -P Rack-pw-1 chassis power status\n  \
         ipmitool -I lanplus -H {first} -p {port} -U admin -P Rack-pw-1 sol activate\n  \
         ipmipower -h {first}:{port} -u admin -p Rack-pw-1 -D LAN_2_0 -I 17 --stat\n  \
         export IRONBEAT_BMC_PASSWORD=Rack-pw-1\n  \
         ironbeat bmc check --bmc {first}:{port} --bmc-user admin\n  \
         ironbeat node enroll --name node1 --bmc {first}:{port} --bmc-user admin\n\
         \nThe last two need a conductor (docs/conductor.md). Faults and more: {} --help\n\
         Ctrl-C ends it, and it says what the BMCs have done.",
        program.display()
    );
}
