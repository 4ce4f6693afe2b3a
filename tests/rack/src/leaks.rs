//! A search for secrets in what was printed, stored or heard, in whatever form they are there.
//! Tests say which secrets they used, and where to look.
use anyhow::{Context, Result};
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER};
use serde_json::Value;
use std::path::Path;

/// Characters of a private key of NATS: 36 bytes in base32 (nats-io/nkeys, `strkey.go`).
const SEED: usize = 58;
/// Names of files of `ironbeat auth init` that hold no secret.
const PUBLIC: [&str; 5] = [
    "ca.pem",
    "server.pem",
    "site.json",
    "nats-server.conf",
    "auth.conf",
];

/// A secret, and what it is in the usual encodings wherever it begins.
fn disguises(secret: &str) -> Vec<String> {
    let mut all = vec![
        secret.to_string(),
        HEXLOWER.encode(secret.as_bytes()),
        BASE32_NOPAD.encode(secret.as_bytes()),
        secret.chars().rev().collect(),
    ];
    for encoding in [&BASE64, &BASE64URL] {
        for before in 0..3 {
            let text = encoding.encode(format!("{}{secret}", "-".repeat(before)).as_bytes());
            let from = [0, 2, 3][before];
            all.push(text[from..text.len() - 4].to_string());
        }
    }
    all
}

/// The first of `secrets`, by its name, that is in `text` in whatever form.
pub fn find(text: &str, secrets: &[(String, String)]) -> Option<String> {
    let shows = |secret: &str| disguises(secret).iter().any(|it| text.contains(it));
    let found = secrets.iter().find(|(_, secret)| shows(secret));
    found.map(|(name, _)| name.clone())
}

/// Whether a private key of NATS is in `text`, whosever it is: of a ticket, of an agent, of a login.
pub fn has_seed(text: &str) -> bool {
    let mut words = text.split(|c: char| !matches!(c, 'A'..='Z' | '2'..='7'));
    words.any(|word| word.len() == SEED && word.starts_with('S'))
}

/// What is secret in the files below `dir`, which `ironbeat auth init` made: keys, tokens, each with the name of its file.
///
/// # Errors
/// When a file cannot be read.
pub fn of_logins(dir: &Path) -> Result<Vec<(String, String)>> {
    let context = || format!("read {}", dir.display());
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            if !path.ends_with("accounts") {
                found.extend(of_logins(&path)?);
            }
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if PUBLIC.contains(&&*name) {
            continue;
        }
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        let json = serde_json::from_str::<Value>(&text).unwrap_or_default();
        let long = |line: &&str| line.len() > 50 && !line.contains([' ', '{']);
        let secrets = json["seed"].as_str().into_iter();
        let secrets = secrets.chain(text.lines().filter(long));
        found.extend(secrets.map(|secret| (path.display().to_string(), secret.into())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_all_its_forms_and_nowhere_else() {
        let secrets = [("the password".to_string(), "hush-4711-hush".to_string())];
        let forms = ["", "x", "xy", "xyz"].map(|before| {
            let text = format!("{before}hush-4711-hush{before}");
            [
                BASE64.encode(text.as_bytes()),
                HEXLOWER.encode(text.as_bytes()),
                text,
            ]
        });
        for text in forms.iter().flatten() {
            assert_eq!(find(text, &secrets), Some("the password".into()), "{text}");
        }
        assert_eq!(find("hush-4712-hush", &secrets), None);
    }

    #[test]
    fn a_private_key_is_told_from_a_public_one() {
        let seed = format!("SU{}", "A7".repeat(28));
        assert!(has_seed(&seed) && has_seed(&format!("ib.ticket={seed} ib.login=x")));
        for other in [
            format!("U{}", "A7".repeat(28)),
            format!("SU{}", "A7".repeat(27)),
            format!("{seed}A"),
            seed.to_lowercase(),
        ] {
            assert!(!has_seed(&other), "{other}");
        }
    }
}
