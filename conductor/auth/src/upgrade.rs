//! The account of a site that an older version has made, with what this version has each role do.
//! Who hands it to the NATS servers, and asks them for theirs, is the command line.
use crate::jwt::{self, Claims};
use crate::revoke::{ReviseError, Revoked};
use crate::roles::Role;
use crate::site::Scope;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// The account `present` in which each key that signs logins has the role of this version; none: it is so already. `keys`: the public
/// keys of the site's own roles, of which one that it lacks is put in, unless it was revoked. Keys that were granted later are known by
/// the name of their role, which servers read nothing from.
///
/// # Errors
/// As of [`revise`](crate::revoke::revise).
pub fn upgrade(
    present: &str,
    keys: &[(Role, String)],
    prefix: &str,
    now: i64,
    signer: &KeyPair,
) -> Result<Option<String>, ReviseError> {
    let mut account: Claims<Value> = jwt::read(present)?;
    let ours = account.iss == signer.public_key() && account.nats["type"] == "account";
    let nats = account.nats.as_object_mut().filter(|_| ours);
    let nats = nats.ok_or_else(|| ReviseError::Foreign(signer.public_key()))?;
    let revoked = nats.get("revocations").cloned().unwrap_or_default();
    let revoked: Revoked = serde_json::from_value(revoked).unwrap_or_default();
    let before = nats.get("signing_keys").and_then(Value::as_array).cloned();
    let before = before.unwrap_or_default();
    let mut scopes: Vec<Value> = before
        .iter()
        .map(|scope| renewed(scope, keys, prefix).unwrap_or_else(|| scope.clone()))
        .collect();
    for (role, key) in keys {
        let is_there = scopes.iter().any(|scope| scope["key"] == key.as_str());
        if !is_there && !revoked.contains_key(key) {
            scopes.push(json!(Scope::of(*role, key, prefix)));
        }
    }
    if scopes == before {
        return Ok(None);
    }
    nats.insert("signing_keys".into(), scopes.into());
    account.iat = now.max(account.iat + 1);
    Ok(Some(jwt::sign(account, signer)?))
}

/// None: nobody knows whose key it is.
fn renewed(scope: &Value, keys: &[(Role, String)], prefix: &str) -> Option<Value> {
    let key = scope["key"].as_str()?;
    let own = keys.iter().find(|(_, own)| own == key);
    let named = || {
        let granted = [Role::Agent, Role::Bootstrap];
        granted
            .into_iter()
            .find(|role| scope["role"] == role.name())
    };
    let role = own.map(|(role, _)| *role).or_else(named)?;
    Some(json!(Scope::of(role, key, prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Grant;
    use crate::revoke::{FOR_GOOD, List, revise};
    use crate::site::{Account, Site};

    fn keys(site: &Site) -> Vec<(Role, String)> {
        let of = |(role, key): &(Role, KeyPair)| (*role, key.public_key());
        site.roles.iter().map(of).collect()
    }

    fn scopes(token: &str) -> Vec<Scope> {
        let account: Claims<Account> = jwt::read(token).unwrap();
        account.nats.signing_keys
    }

    /// As a version made it that knew fewer roles and let them do something else.
    fn older(site: &Site) -> String {
        let mut account: Claims<Value> = jwt::read(&site.account_jwt(1_000).unwrap()).unwrap();
        let scopes = account.nats["signing_keys"].as_array_mut().unwrap();
        scopes.retain(|scope| scope["role"] != "jetstream");
        for scope in scopes {
            scope["template"]["pub"] = json!({ "allow": ["old.>"] });
        }
        jwt::sign(account, &site.signer).unwrap()
    }

    #[test]
    fn an_older_account_gets_the_roles_of_this_version_once() {
        let site = Site::new("ib.v1");
        let upgrade = |token: &str| upgrade(token, &keys(&site), "ib.v1", 2_000, &site.signer);
        let now = upgrade(&older(&site)).unwrap().expect("it has other roles");
        let fresh = site.account_jwt(1_000).unwrap();
        assert_eq!(scopes(&now), scopes(&fresh));
        assert_eq!(upgrade(&now).unwrap(), None);
        assert_eq!(upgrade(&fresh).unwrap(), None);
    }

    #[test]
    fn keys_that_were_granted_stay_and_those_that_were_revoked_stay_out() {
        let site = Site::new("ib.v1");
        let own = KeyPair::new_account().public_key();
        let token = Grant::sign(Role::Agent, &own, "ib.v1", None, 1, &site.signer).unwrap();
        let grants = [Grant::read_of(&token, &site.signer).unwrap().nats];
        let shared = site.key(Role::Agent).public_key();
        let ended = List {
            forgotten: None,
            revoked: [(shared.clone(), FOR_GOOD)].into(),
        };
        let present = revise(&older(&site), &ended, &grants, 1_500, &site.signer);
        let present = present.unwrap().unwrap();
        let now = upgrade(&present, &keys(&site), "ib.v1", 2_000, &site.signer);
        let now = scopes(&now.unwrap().unwrap());
        assert!(now.contains(&Scope::of(Role::Agent, &own, "ib.v1")));
        assert!(now.iter().all(|scope| scope.key != shared));
        assert_eq!(now.len(), Role::ALL.len());
    }

    #[test]
    fn what_is_no_account_of_ours_is_not_signed() {
        let (site, other) = (Site::new("ib.v1"), Site::new("ib.v1"));
        let foreign = other.account_jwt(1).unwrap();
        let upgraded = upgrade(&foreign, &keys(&site), "ib.v1", 2, &site.signer);
        assert!(
            matches!(upgraded, Err(ReviseError::Foreign(_))),
            "{upgraded:?}"
        );
    }
}
