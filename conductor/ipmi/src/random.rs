//! Unpredictable bytes, from the operating system.
//! They protect logins (`handshake`), session ids (`transport`) and the numbers of questions (`ask`).
use std::io;

pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| io::Error::other(format!("random bytes: {error}")))?;
    Ok(bytes)
}
