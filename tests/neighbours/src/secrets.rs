//! Secrets that the run uses, and looks for in all that neighbours get.
//! Who hears and reads what is in `rows/people`.
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER};

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
}
