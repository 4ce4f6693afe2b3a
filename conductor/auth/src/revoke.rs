//! The end of logins before their time: the account as it is, with a list of keys that are not accepted any more.
//! Who keeps the list, and who hands the account to the servers, is in the conductor.
use crate::jwt::{self, Claims, ReadError, SignError};
use nkeys::KeyPair;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tokens of a revoked key made until then are refused: all of them, whatever clock made them, in the year 9999 too. Who is
/// to come back gets a new key.
pub const FOR_GOOD: i64 = 253_402_300_799;

/// With more, the account that servers read is larger than a message may be.
pub const MAX_REVOKED: usize = 6_000;

/// Public keys, each with the second since 1970 up to which its tokens are refused: when the last of them ends by itself, or
/// [`FOR_GOOD`].
pub type Revoked = BTreeMap<String, i64>;

/// Drops what has ended by itself. Of more than [`MAX_REVOKED`], those go that end first; they are returned.
pub fn bound(revoked: &mut Revoked, now: i64) -> Vec<String> {
    revoked.retain(|_, until| *until > now);
    let mut early = Vec::new();
    while revoked.len() > MAX_REVOKED {
        let ending = revoked.iter().filter(|(_, until)| **until < FOR_GOOD);
        let Some((key, _)) = ending.min_by_key(|(_, until)| **until) else {
            break;
        };
        early.push(key.clone());
        revoked.remove(&early[early.len() - 1]);
    }
    early
}

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

/// The account `present` with these keys revoked, too, signed by `signer`; none: it is so already. It is newer than `present`
/// whatever the time is, since servers keep the newer one. Nobody is let in again because the list does not have them: it may
/// have been lost, or be that of a backup.
///
/// # Errors
/// When `present` is no account that `signer` has signed: old servers keep whatever they are handed, believed or not, and a
/// signature must not make it true. Or when `signer` has no private half.
pub fn revise(
    present: &str,
    revoked: &Revoked,
    now: i64,
    signer: &KeyPair,
) -> Result<Option<String>, ReviseError> {
    let mut account: Claims<Value> = jwt::read(present)?;
    let foreign = || ReviseError::Foreign(signer.public_key());
    let ours = account.iss == signer.public_key() && account.nats["type"] == "account";
    let nats = account.nats.as_object_mut().filter(|_| ours);
    let nats = nats.ok_or_else(foreign)?;
    let before = nats.get("revocations").and_then(Value::as_object).cloned();
    let before = before.unwrap_or_default();
    let mut all = revoked.clone();
    for (key, until) in &before {
        let until = until.as_i64().unwrap_or(FOR_GOOD);
        let known = all.entry(key.clone()).or_insert(until);
        *known = until.max(*known);
    }
    bound(&mut all, now);
    let list: serde_json::Map<_, _> = all.into_iter().map(|(key, at)| (key, at.into())).collect();
    if list == before {
        return Ok(None);
    }
    nats.insert("revocations".into(), list.into());
    account.iat = now.max(account.iat + 1);
    Ok(Some(jwt::sign(account, signer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Role;
    use crate::site::{Account, Site};

    fn keys(of: &[&str]) -> Revoked {
        of.iter().map(|key| (key.to_string(), FOR_GOOD)).collect()
    }

    #[test]
    fn a_revision_is_newer_and_changes_nothing_but_the_list() {
        let site = Site::new("ib.v1");
        let first = site.account_jwt(1_000).unwrap();
        // A clock that is behind that of whoever made the account.
        let second = revise(&first, &keys(&["UA"]), 10, &site.signer).unwrap();
        let second = second.expect("it is another list");
        let third = revise(&second, &keys(&["UB"]), 5_000, &site.signer).unwrap();
        let [first, mut second, third]: [Claims<Account>; 3] =
            [&first, &second, &third.unwrap()].map(|token| jwt::read(token).unwrap());
        assert_eq!((second.iat, third.iat), (1_001, 5_000));
        assert_eq!(second.nats.revocations["UA"], FOR_GOOD);
        assert_eq!(third.nats.revocations.len(), 2);
        second.nats.revocations.clear();
        assert_eq!(second.nats, first.nats);
    }

    #[test]
    fn a_list_that_was_lost_lets_nobody_in_again() {
        let site = Site::new("ib.v1");
        let agent = Revoked::from([("UA".into(), FOR_GOOD), ("UAGENT".into(), 3_000)]);
        let present = site.account_jwt(1_000).unwrap();
        let present = revise(&present, &agent, 2_000, &site.signer)
            .unwrap()
            .unwrap();
        let again = revise(&present, &keys(&[]), 2_500, &site.signer).unwrap();
        assert!(again.is_none(), "all are refused as they were");
        let later = revise(&present, &keys(&[]), 3_000, &site.signer).unwrap();
        let later: Claims<Account> = jwt::read(&later.unwrap()).unwrap();
        let left: Vec<&String> = later.nats.revocations.keys().collect();
        assert_eq!(left, ["UA"], "the other's tokens have ended by themselves");
    }

    #[test]
    fn what_has_ended_by_itself_is_dropped_and_the_list_stays_bounded() {
        let mut revoked = keys(&["person"]);
        revoked.insert("old".into(), 100);
        assert_eq!(bound(&mut revoked, 100), [""; 0]);
        assert_eq!(revoked, keys(&["person"]));
        let many = (0..MAX_REVOKED as i64).map(|n| (format!("U{n:05}"), 1_000 + n));
        revoked.extend(many);
        assert_eq!(bound(&mut revoked, 200), ["U00000"], "it ends first");
        assert_eq!(revoked.len(), MAX_REVOKED);
        assert!(revoked.contains_key("person"));
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
