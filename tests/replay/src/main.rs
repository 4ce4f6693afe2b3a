//! `cargo xtask replay FILE`: what a node's flight record says was decided, decided again.
//! How is in the library.
use ironbeat_replay::replay;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("replay: name the file that `ironbeat node record NODE > FILE` has written");
        return ExitCode::from(2);
    };
    let file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) => {
            eprintln!("replay: open {}: {error}", path.display());
            return ExitCode::from(2);
        }
    };
    match replay(file) {
        Ok(outcome) => {
            println!("{outcome}");
            match outcome.is_same() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("replay: {}: {error}", path.display());
            ExitCode::from(2)
        }
    }
}
