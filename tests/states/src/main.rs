//! `cargo xtask states`: a JSON line for each state and event.
//! What is compared is in the library.
use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for row in ironbeat_states::rows() {
        let line = serde_json::to_string(&row).map_err(std::io::Error::other)?;
        writeln!(out, "{line}")?;
    }
    Ok(())
}
