//! Seals the secrets of a request to the workers' public key, so that nobody else who hears it learns them.
//! `ironbeat_ops::sealed` says where requests have secrets; a worker opens them.
use anyhow::{Context, bail};
use data_encoding::BASE64;
use ironbeat_ops::sealed::{Bound, Letter, SEALED, SealedText, is_secret, secrets_of};
use nkeys::XKey;
use serde_json::{Value, json};

/// Whether there is something to seal.
pub fn has_secrets(endpoint: &str, body: &Value) -> bool {
    let mut fields = secrets_of(endpoint).iter();
    fields.any(|field| secret(body, field).is_some())
}

fn secret<'a>(body: &'a Value, field: &str) -> Option<&'a str> {
    let text = body.pointer(field)?.as_str()?;
    is_secret(field, text).then_some(text)
}

/// Each secret of `body` in its sealed form. `key`: the workers'; `own`: made for this request alone.
///
/// # Errors
/// When the key is none.
pub fn seal(endpoint: &str, body: &mut Value, key: &str, own: &XKey) -> anyhow::Result<()> {
    let Ok(to) = XKey::from_public_key(key) else {
        bail!("a worker says that secrets are sealed to {key:?}, which is no public key");
    };
    let plain = body.clone();
    for field in secrets_of(endpoint) {
        let Some(secret) = secret(&plain, field) else {
            continue;
        };
        let text = |at: &str| Some(plain.pointer(at)?.as_str()?.to_string());
        let letter = Letter {
            bound: Bound::to(endpoint, field, text),
            secret: secret.into(),
        };
        let sealed = own.seal(&serde_json::to_vec(&letter)?, &to).ok();
        let sealed = SealedText {
            to: key.into(),
            from: own.public_key(),
            base64: BASE64.encode(&sealed.context("seal a secret")?),
        };
        if let Some(place) = body.pointer_mut(field) {
            *place = json!({ SEALED: sealed.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sealed_and_all_else_stays() {
        let workers = XKey::new();
        let mut body = json!({
            "id": "x", "name": "hush-name",
            "bmc": { "protocol": "ipmi", "address": "10.0.0.1", "username": "u", "password": "hush", "cipher_suite": 3 },
        });
        assert!(has_secrets("node.enroll", &body));
        seal(
            "node.enroll",
            &mut body,
            &workers.public_key(),
            &XKey::new(),
        )
        .unwrap();
        let sealed = body["bmc"]["password"].take();
        assert_eq!(
            body,
            json!({
                "id": "x", "name": "hush-name",
                "bmc": { "protocol": "ipmi", "address": "10.0.0.1", "username": "u", "password": null, "cipher_suite": 3 },
            })
        );
        let text: SealedText = sealed["sealed"].as_str().unwrap().parse().unwrap();
        let from = XKey::from_public_key(&text.from).unwrap();
        let bytes = BASE64.decode(text.base64.as_bytes()).unwrap();
        let letter: Letter = serde_json::from_slice(&workers.open(&bytes, &from).unwrap()).unwrap();
        assert_eq!(letter.secret, "hush");
        assert_eq!(letter.bound.bmc.as_deref(), Some("10.0.0.1"));
        assert!(XKey::new().open(&bytes, &from).is_err());
    }

    #[test]
    fn what_has_no_secret_is_left_alone() {
        for (endpoint, body) in [
            (
                "node.set",
                json!({ "node": "web1", "patch": { "name": "x" } }),
            ),
            ("node.show", json!({ "node": "web1" })),
            ("bmc.check", json!({ "node": "web1" })),
            (
                "node.deploy",
                json!({ "instance": { "image": { "source": "http://h/os" } } }),
            ),
        ] {
            assert!(!has_secrets(endpoint, &body));
            let mut sealed = body.clone();
            seal(
                endpoint,
                &mut sealed,
                &XKey::new().public_key(),
                &XKey::new(),
            )
            .unwrap();
            assert_eq!(sealed, body);
        }
        let mut body = json!({});
        assert!(seal("node.show", &mut body, "hush", &XKey::new()).is_err());
    }
}
