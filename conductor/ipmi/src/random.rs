//! Unpredictable bytes, from the operating system.
//! What they protect is in `handshake` (logins), `transport` (session ids) and `ask` (numbers of questions).
use crate::error::ErrorKind;

pub(crate) fn random<const N: usize>() -> Result<[u8; N], ErrorKind> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ErrorKind::Io(format!("random bytes: {error}")))?;
    Ok(bytes)
}
