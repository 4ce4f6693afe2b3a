//! `cargo xtask fuzz`: damages good bytes and has everything read them that reads foreign bytes; figures as JSON lines.
//! What is tried, and how, is in the library.
use clap::Parser;
use ironbeat_fuzz::{Counted, Done, Failure, Order, Target, all, one, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static MEMORY: Counted = Counted;

#[derive(Parser)]
#[command(name = "cargo xtask fuzz")]
struct Args {
    /// Only this target; may be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Mutants of each target.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    mutants: u64,
    /// How long all targets take together at most; each has its share.
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// The same seed makes the same mutants.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The number of the first mutant.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Tries the bytes of this file on the one target, instead of mutants.
    #[arg(long, value_name = "FILE", requires = "target")]
    file: Option<PathBuf>,
    /// Lists the targets.
    #[arg(long)]
    list: bool,
    /// Writes the seeds of all targets below this directory, as the corpora of cargo-fuzz.
    #[arg(long, value_name = "DIR")]
    write_seeds: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match work(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn work(args: &Args) -> Result<bool, String> {
    let targets = all();
    if args.list {
        targets
            .iter()
            .for_each(|it| println!("{:<16} {}", it.name, it.what));
        return Ok(true);
    }
    if let Some(dir) = &args.write_seeds {
        return write_seeds(&targets, dir)
            .map(|()| true)
            .map_err(|error| format!("write {}: {error}", dir.display()));
    }
    let chosen = chosen(&targets, &args.target)?;
    if let Some(file) = &args.file {
        let bytes =
            std::fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))?;
        return Ok(chosen.iter().all(|index| replay(&targets[*index], &bytes)));
    }
    let share = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0 / chosen.len() as f64);
    let limit = args
        .minutes
        .map(share)
        .transpose()
        .map_err(|error| format!("--minutes: {error}"))?;
    let order = Order {
        seed: args.seed,
        first: args.first,
        mutants: args.mutants,
        limit,
    };
    let mut good = true;
    run(&targets, &chosen, order, |done| {
        good &= done.failures.is_empty();
        done.failures
            .iter()
            .for_each(|failure| eprintln!("{failure}"));
        tell(done);
    });
    Ok(good)
}

fn chosen(targets: &[Target], names: &[String]) -> Result<Vec<usize>, String> {
    if names.is_empty() {
        return Ok((0..targets.len()).collect());
    }
    let find = |name: &String| {
        let index = targets.iter().position(|target| target.name == name);
        index.ok_or_else(|| format!("there is no target {name}: --list says which there are"))
    };
    names.iter().map(find).collect()
}

fn replay(target: &Target, bytes: &[u8]) -> bool {
    match one(target, bytes) {
        Ok(tried) => {
            let not = if tried.understood { "" } else { " not" };
            println!(
                "{}: survived,{not} understood, {} bytes held",
                target.name, tried.peak
            );
            true
        }
        Err(why) => {
            eprintln!("{}", Failure::of(target, bytes, why));
            false
        }
    }
}

fn write_seeds(targets: &[Target], dir: &std::path::Path) -> std::io::Result<()> {
    for target in targets {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir)?;
        for (n, seed) in target.seeds.iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{n}")), seed)?;
        }
    }
    Ok(())
}

fn tell(done: &Done) {
    let per_s = done.mutants as f64 / done.took.as_secs_f64().max(1e-9);
    let share = done.understood as f64 / done.mutants.max(1) as f64;
    for (name, value, unit) in [
        ("fuzz.mutants", done.mutants as f64, "mutants"),
        ("fuzz.per_s", per_s.round(), "1/s"),
        (
            "fuzz.understood",
            (share * 1000.0).round() / 1000.0,
            "share",
        ),
        ("fuzz.peak_bytes", done.peak as f64, "bytes"),
        ("fuzz.failures", done.failures.len() as f64, "failures"),
    ] {
        let target = done.target;
        let line =
            serde_json::json!({ "name": name, "target": target, "value": value, "unit": unit });
        println!("{line}");
    }
}
