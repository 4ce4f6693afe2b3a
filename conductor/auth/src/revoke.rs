//! The end of logins before their time: the account as it is, with a list of keys that are not accepted any more.
//! Who keeps the list, and who hands the account to the servers, is in the conductor.
use crate::jwt::{self, Claims, ReadError, SignError};
use nkeys::KeyPair;
use serde_json::Value;
use std::collections::BTreeSet;

/// Tokens of a revoked key made until then are refused: all of them, whatever clock made them, in the year 9999 too. Who is
/// to come back gets a new key.
pub const FOR_GOOD: i64 = 253_402_300_799;

#[derive(Debug, thiserror::Error)]
pub enum ReviseError {
    #[error("the account that the servers have: {0}")]
    Present(#[from] ReadError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the account that the servers have was not signed by {0}: it is not one of ours")]
    Foreign(String),
}

/// The subject on which servers say which account they have.
pub fn lookup_subject(account: &str) -> String {
    format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP")
}

/// The subject on which servers take a newer one.
pub fn update_subject(account: &str) -> String {
    format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.UPDATE")
}

/// The account `present` with these keys revoked and no others, signed by `signer`; none: it is so already. It is newer than
/// `present` whatever the time is, since servers keep the newer one.
///
/// # Errors
/// When `present` is no account that `signer` has signed: old servers keep whatever they are handed, believed or not, and a
/// signature must not make it true. Or when `signer` has no private half.
pub fn revise(
    present: &str,
    revoked: &BTreeSet<String>,
    now: i64,
    signer: &KeyPair,
) -> Result<Option<String>, ReviseError> {
    let mut account: Claims<Value> = jwt::read(present)?;
    let foreign = || ReviseError::Foreign(signer.public_key());
    let ours = account.iss == signer.public_key() && account.nats["type"] == "account";
    let nats = account.nats.as_object_mut().filter(|_| ours);
    let nats = nats.ok_or_else(foreign)?;
    let list: serde_json::Map<_, _> = revoked
        .iter()
        .map(|key| (key.clone(), FOR_GOOD.into()))
        .collect();
    let list = Value::Object(list);
    let before = nats.get("revocations");
    if before == Some(&list) || before.is_none() && revoked.is_empty() {
        return Ok(None);
    }
    nats.insert("revocations".into(), list);
    account.iat = now.max(account.iat + 1);
    Ok(Some(jwt::sign(account, signer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Role;
    use crate::site::{Account, Site};

    fn keys(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_revision_is_newer_and_changes_nothing_but_the_list() {
        let site = Site::new("ib.v1");
        let first = site.account_jwt(1_000).unwrap();
        // A clock that is behind that of whoever made the account.
        let second = revise(&first, &keys(&["UA"]), 10, &site.signer).unwrap();
        let second = second.expect("it is another list");
        let third = revise(&second, &keys(&[]), 5_000, &site.signer).unwrap();
        let [first, second, third]: [Claims<Account>; 3] =
            [&first, &second, &third.unwrap()].map(|token| jwt::read(token).unwrap());
        assert_eq!((second.iat, third.iat), (1_001, 5_000));
        assert_eq!(second.nats.revocations["UA"], FOR_GOOD);
        assert_eq!(third.nats, first.nats);
    }

    #[test]
    fn the_same_list_is_not_pushed_again() {
        let site = Site::new("ib.v1");
        let first = site.account_jwt(1_000).unwrap();
        assert!(
            revise(&first, &keys(&[]), 2_000, &site.signer)
                .unwrap()
                .is_none()
        );
        let second = revise(&first, &keys(&["UA"]), 2_000, &site.signer).unwrap();
        let same = revise(&second.unwrap(), &keys(&["UA"]), 2_000, &site.signer);
        assert!(same.unwrap().is_none());
    }

    #[test]
    fn what_is_no_account_of_ours_is_not_signed() {
        let (site, other) = (Site::new("ib.v1"), Site::new("ib.v1"));
        for (foreign, signer) in [
            (site.operator_jwt(1).unwrap(), &site.operator),
            (site.bootstrap_jwt(1).unwrap(), site.key(Role::Bootstrap)),
            (other.account_jwt(1).unwrap(), &site.signer),
        ] {
            let revised = revise(&foreign, &keys(&["UA"]), 1, signer);
            assert!(
                matches!(revised, Err(ReviseError::Foreign(_))),
                "{revised:?}"
            );
        }
    }
}
