//! Opens the secrets of a request that were sealed on their way, and says which came in the clear.
//! `ironbeat_ops::sealed` says where they are; the keys are in the store.
use super::refusal::{ApiError, fail};
use crate::records::keys::Keyring;
use ironbeat_ops::sealed::{Bound, SEALED, SealedText, is_secret, secrets_of};
use serde_value::Value;

/// What was opened is text in its place from now on. Returns the fields that came in the clear though these workers have a key
/// to seal with.
///
/// # Errors
/// When one does not open, or was sealed for another request.
pub(super) async fn open(
    keys: &Keyring,
    endpoint: &str,
    body: &mut Value,
) -> Result<Vec<&'static str>, ApiError> {
    let mut plain = Vec::new();
    for field in secrets_of(endpoint) {
        let sealed = match at(body, field) {
            Some(Value::String(text)) if keys.seals() && is_secret(field, text) => {
                plain.push(*field);
                continue;
            }
            Some(Value::Map(map)) => map.get(&key(SEALED)).cloned(),
            // Types are judged later.
            Some(_) | None => continue,
        };
        let Some(Value::String(sealed)) = sealed else {
            continue;
        };
        let text = |at: &str| text(body, at);
        let secret = unseal(keys, &sealed, &Bound::to(endpoint, field, text)).await;
        let secret = secret.map_err(|error| ApiError {
            why: format!("{field}: {}", error.why),
            ..error
        })?;
        if let Some(place) = at_mut(body, field) {
            *place = Value::String(secret);
        }
    }
    Ok(plain)
}

async fn unseal(keys: &Keyring, sealed: &str, bound: &Bound) -> Result<String, ApiError> {
    let shape = "a sealed secret is <to>:<from>:<base64>, as docs/api.md says";
    let sealed: SealedText = sealed.parse().map_err(|()| fail(400, shape))?;
    let Some(key) = keys.sealing(&sealed.to).await? else {
        return Err(fail(
            409,
            "it is sealed to a key that the workers do not have, or no longer: ask secrets.key again",
        ));
    };
    let letter = key.open_letter(&sealed);
    let letter = letter.ok_or_else(|| fail(400, "it does not open: it was changed on its way"))?;
    if letter.bound != *bound {
        return Err(fail(
            400,
            "it was sealed for another request, field, node or BMC",
        ));
    }
    Ok(letter.secret)
}

fn key(name: &str) -> Value {
    Value::String(name.into())
}

fn at<'a>(body: &'a Value, pointer: &str) -> Option<&'a Value> {
    let names = pointer.split('/').skip(1);
    names.into_iter().try_fold(body, |value, name| match value {
        Value::Map(map) => map.get(&key(name)),
        _ => None,
    })
}

fn at_mut<'a>(body: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    let names = pointer.split('/').skip(1);
    names.into_iter().try_fold(body, |value, name| match value {
        Value::Map(map) => map.get_mut(&key(name)),
        _ => None,
    })
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    match at(body, pointer)? {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}
