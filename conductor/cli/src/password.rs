//! A random password for a BMC, of what every BMC takes.
//! `bmc` sends it.
use anyhow::Context;

/// What IPMI 1.5 has room for, and all BMCs keep.
const LENGTH: usize = 16;
/// Each may fall out of what some BMC, its web page or a shell takes; 16 of these are 95 bits.
const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// 16 letters and digits from the operating system's random numbers, with a capital, a small letter and a digit among them,
/// which some BMCs insist on.
///
/// # Errors
/// When there are no random numbers.
pub fn random() -> anyhow::Result<String> {
    loop {
        let password = any()?;
        let has = |is: fn(&u8) -> bool| password.bytes().any(|byte| is(&byte));
        if has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit) {
            return Ok(password);
        }
    }
}

fn any() -> anyhow::Result<String> {
    // Bytes from here on would make some signs likelier than others.
    let fair = 256 - 256 % SIGNS.len();
    let mut password = String::new();
    while password.len() < LENGTH {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("make a random password")?;
        let fair = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair);
        let signs = fair.map(|byte| char::from(SIGNS[byte % SIGNS.len()]));
        password.extend(signs.take(LENGTH - password.len()));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::node::{Secret, check_password};
    use std::collections::BTreeSet;

    #[test]
    fn random_passwords_are_what_every_bmc_takes_and_no_two_are_the_same() {
        let passwords: BTreeSet<String> = (0..1000).map(|_| random().unwrap()).collect();
        assert_eq!(passwords.len(), 1000);
        for password in &passwords {
            let bytes = password.as_bytes();
            assert_eq!(bytes.len(), 16);
            assert!(bytes.iter().all(u8::is_ascii_alphanumeric), "{password}");
            assert!(bytes.iter().any(u8::is_ascii_uppercase), "{password}");
            assert!(bytes.iter().any(u8::is_ascii_lowercase), "{password}");
            assert!(bytes.iter().any(u8::is_ascii_digit), "{password}");
            check_password(&Secret::new(password.as_str())).unwrap();
        }
        let signs: BTreeSet<char> = passwords.iter().flat_map(|it| it.chars()).collect();
        assert_eq!(signs.len(), SIGNS.len());
    }
}
