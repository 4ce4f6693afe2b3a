//! The end of logins and signing keys before their time: the account as it is, with a list of keys that are not accepted any more.
//! Who keeps the list, and who hands the account to the servers, is in the conductor.
use crate::grant::Grant;
use crate::jwt::{self, Claims, ReadError, SignError};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Tokens of a revoked key made until then are refused: all of them, whatever clock made them, in the year 9999 too. Who is
/// to come back gets a new key.
pub const FOR_GOOD: i64 = 253_402_300_799;

/// The account that servers read has 96 bytes for each: 580 KB of the 1 MiB that a message may be.
pub const MAX_REVOKED: usize = 6_000;

/// What ends later than this is no login of an agent: `policy.agent_login_secs` is a week at most, and clocks differ.
const LONGEST_AGENT_SECS: i64 = 8 * 86_400;

/// What is ended by hand stays so for this long at least, lest it be taken for an agent's.
const SHORTEST_BY_HAND_SECS: i64 = 400 * 86_400;

/// Public keys, each with the second since 1970 up to which its tokens are refused: when the last of them ends by itself, or
/// [`FOR_GOOD`].
pub type Revoked = BTreeMap<String, i64>;

/// Drops what was ended by hand, but for these.
fn forget(revoked: &mut Revoked, but: &BTreeSet<String>, now: i64) {
    revoked.retain(|key, until| *until <= now + LONGEST_AGENT_SECS || but.contains(key));
}

/// What the NATS servers are to be told: who has ended, and what they are to forget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    pub forgotten: Option<Forgotten>,
    pub revoked: Revoked,
}

/// By the operator's order, all that was ended by hand until then, but for some.
#[derive(Clone, Debug, PartialEq)]
pub struct Forgotten {
    /// The second since 1970 in which the order was signed: of two orders, the later one counts.
    pub at: i64,
    /// Public keys that stay ended.
    pub but: BTreeSet<String>,
}

impl List {
    /// Of what workers keep. Whoever has a worker's login can write all of it: so nothing but logins ends, nobody for longer than an
    /// agent, and nothing is forgotten, but by an order of the operator's.
    pub fn of(agents: &Revoked, orders: &[Order], now: i64) -> Self {
        let last = orders.iter().filter_map(|order| order.forgotten.as_ref());
        let last = last.max_by_key(|forgotten| forgotten.at);
        let stands = |order: &&Order| {
            last.is_none_or(|last| order.at >= last.at || last.but.contains(&order.key))
        };
        let mut revoked = agents.clone();
        revoked.retain(|key, until| *until <= now + LONGEST_AGENT_SECS && is_login(key));
        for order in orders.iter().filter(stands) {
            end(&mut revoked, &order.key, order.until);
        }
        // One that nobody has carried out in time must not be dug out.
        let forgotten = last.filter(|last| is_fresh(last.at, now)).cloned();
        Self { forgotten, revoked }
    }
}

/// A login's public key: a key that signs logins is none, nor `*`, which servers read as all of them.
fn is_login(key: &str) -> bool {
    key.starts_with('U') && KeyPair::from_public_key(key).is_ok()
}

/// Characters of a public key (nkeys).
const KEY_CHARS: usize = 56;

/// Whether it can be the name of one key. The account of a site may have others, which whoever had a worker's login put in before
/// lists were looked at.
fn names_one(key: &str) -> bool {
    key != "*" && key.len() <= KEY_CHARS
}

/// The login or signing key has ended until then at least.
pub fn end(revoked: &mut Revoked, key: &str, until: i64) {
    let known = revoked.entry(key.into()).or_insert(until);
    *known = until.max(*known);
}

/// A login is to end, as the key says that signs accounts: an admin's login cannot, nor a worker's.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The public key of the login, or a key that signs logins.
    pub key: String,
    /// See [`Revoked`].
    pub until: i64,
    /// The second since 1970 in which it was signed.
    pub at: i64,
    /// All others that were ended by hand are forgotten.
    pub forgotten: Option<Forgotten>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Signed {
    #[serde(rename = "type")]
    kind: OrderKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forget_all_but: Option<BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderKind {
    Revocation,
}

/// A new order is taken within this time, or never.
const ORDER_SECS: i64 = 300;

fn is_fresh(at: i64, now: i64) -> bool {
    (-ORDER_SECS..ORDER_SECS).contains(&(now - at))
}

impl Order {
    /// `until`: when the login ends by itself.
    pub fn new(
        key: &str,
        until: Option<i64>,
        forget_all_but: Option<BTreeSet<String>>,
        now: i64,
    ) -> Self {
        Self {
            key: key.into(),
            until: until.map_or(FOR_GOOD, |until| until.max(now + SHORTEST_BY_HAND_SECS)),
            at: now,
            forgotten: forget_all_but.map(|but| Forgotten { at: now, but }),
        }
    }

    /// A token that says so.
    ///
    /// # Errors
    /// When `signer` has no private half.
    pub fn sign(&self, signer: &KeyPair) -> Result<String, SignError> {
        let order = Claims {
            jti: String::new(),
            iat: self.at,
            iss: String::new(),
            exp: Some(self.at + ORDER_SECS),
            name: "revocation".into(),
            sub: self.key.clone(),
            nats: Signed {
                kind: OrderKind::Revocation,
                until: (self.until != FOR_GOOD).then_some(self.until),
                forget_all_but: self.forgotten.as_ref().map(|it| it.but.clone()),
            },
        };
        jwt::sign(order, signer)
    }

    /// However old it is.
    ///
    /// # Errors
    /// When it is no order of this signer.
    pub fn read(token: &str, signer: &KeyPair) -> Result<Self, BadOrder> {
        let order: Claims<Signed> = jwt::read(token)?;
        if order.iss != signer.public_key() {
            return Err(BadOrder::Foreign);
        }
        let but = order.nats.forget_all_but;
        Ok(Self {
            key: order.sub,
            until: order.nats.until.unwrap_or(FOR_GOOD),
            at: order.iat,
            forgotten: but.map(|but| Forgotten { at: order.iat, but }),
        })
    }

    /// # Errors
    /// When it is for another key, or not of now.
    pub fn is_new(&self, key: &str, now: i64) -> Result<(), BadOrder> {
        match (self.key == key, is_fresh(self.at, now)) {
            (false, _) => Err(BadOrder::Foreign),
            (true, false) => Err(BadOrder::Old {
                secs: now - self.at,
            }),
            (true, true) => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BadOrder {
    #[error("the signed order: {0}")]
    Token(#[from] ReadError),
    #[error(
        "the signed order is for another login, or by another key than the one that signs this site's account"
    )]
    Foreign,
    #[error(
        "the signed order is {secs} s old, by this worker's clock, and is good for {ORDER_SECS} s"
    )]
    Old { secs: i64 },
}

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

/// The account `present` with these keys revoked, too, signed by `signer`; none: it is so already. A revoked key that signs
/// logins is taken out, and with it the logins that it has signed; those of `grants` that are not revoked are put in. What the
/// list has forgotten is taken out once, and a tag says so. The account is newer than `present` whatever the time is, since
/// servers keep the newer one. Nobody else is let in again because the list does not have them: it may have been lost, or be
/// that of a backup.
///
/// Read `list` after `present`. A list from before an order would otherwise meet an account that has forgotten by it already, and
/// fill it again.
///
/// # Errors
/// When `present` is no account that `signer` has signed: old servers keep whatever they are handed, believed or not, and a
/// signature must not make it true. Or when `signer` has no private half.
pub fn revise(
    present: &str,
    list: &List,
    grants: &[Grant],
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
    let until = |until: &Value| until.as_i64().unwrap_or(FOR_GOOD);
    let known = before.iter().map(|(key, at)| (key.clone(), until(at)));
    let mut known: Revoked = known.filter(|(key, _)| names_one(key)).collect();
    let tags_before = nats.get("tags").and_then(Value::as_array).cloned();
    let mut tags = tags_before.clone().unwrap_or_default();
    let has_forgotten = tags.iter().filter_map(forgotten_until).max();
    if let Some(forgotten) = &list.forgotten
        && has_forgotten.is_none_or(|at| at < forgotten.at)
    {
        forget(&mut known, &forgotten.but, now);
        tags.retain(|tag| forgotten_until(tag).is_none());
        tags.push(format!("{FORGOTTEN}{}", forgotten.at).into());
    }
    let mut all = list.revoked.clone();
    for (key, until) in known {
        end(&mut all, &key, until);
    }
    bound(&mut all, now);
    let keys_before = nats.get("signing_keys").and_then(Value::as_array).cloned();
    let keys_before = keys_before.unwrap_or_default();
    let keys = signing_keys(&keys_before, &all, grants);
    let all: serde_json::Map<_, _> = all.into_iter().map(|(key, at)| (key, at.into())).collect();
    let tags_as_before = tags == tags_before.unwrap_or_default();
    if all == before && keys == keys_before && tags_as_before {
        return Ok(None);
    }
    if !tags_as_before {
        nats.insert("tags".into(), tags.into());
    }
    nats.insert("revocations".into(), all.into());
    nats.insert("signing_keys".into(), keys.into());
    account.iat = now.max(account.iat + 1);
    Ok(Some(jwt::sign(account, signer)?))
}

/// The account's tag that says what it has forgotten: the second of the order follows.
const FORGOTTEN: &str = "forgotten:";

fn forgotten_until(tag: &Value) -> Option<i64> {
    tag.as_str()?.strip_prefix(FORGOTTEN)?.parse().ok()
}

/// Those of `before` that are not revoked, and the granted ones.
fn signing_keys(before: &[Value], revoked: &Revoked, grants: &[Grant]) -> Vec<Value> {
    // One without permissions of its own is only a text.
    fn name(key: &Value) -> Option<&str> {
        key.as_str().or_else(|| key["key"].as_str())
    }
    let is_revoked = |key: &Value| name(key).is_some_and(|name| revoked.contains_key(name));
    let mut keys = before.to_vec();
    for grant in grants {
        let is_there = keys.iter().any(|key| name(key) == Some(&grant.scope.key));
        if !is_there {
            keys.push(json!(grant.scope));
        }
    }
    keys.retain(|key| !is_revoked(key));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::MAX_GRANTS;
    use crate::roles::Role;
    use crate::site::{Account, Site};

    fn grant(site: &Site, key: &KeyPair) -> Grant {
        let token = Grant::sign(
            Role::Agent,
            &key.public_key(),
            "ib.v1",
            None,
            1,
            &site.signer,
        );
        Grant::read_of(&token.unwrap(), &site.signer).unwrap().nats
    }

    #[test]
    fn a_granted_key_is_put_in_once_and_a_revoked_one_stays_out() {
        let site = Site::new("ib.v1");
        let keys = |token: &str| -> Vec<String> {
            let account: Claims<Account> = jwt::read(token).unwrap();
            let scopes = account.nats.signing_keys.into_iter();
            scopes.map(|scope| scope.key).collect()
        };
        let (one, two) = (KeyPair::new_account(), KeyPair::new_account());
        let grants = [grant(&site, &one), grant(&site, &two)];
        let revise = |present: &str, revoked: &Revoked, grants: &[Grant]| {
            revise(present, &list(revoked), grants, 1_000, &site.signer).unwrap()
        };
        let first = site.account_jwt(1_000).unwrap();
        let second = revise(&first, &Revoked::new(), &grants).expect("it has more keys");
        let expected = [&keys(&first)[..], &[one.public_key(), two.public_key()]].concat();
        assert_eq!(keys(&second), expected);
        assert_eq!(revise(&second, &Revoked::new(), &grants), None);
        // Grants that were lost take no key away.
        assert_eq!(revise(&second, &Revoked::new(), &[]), None);
        let shared = site.key(Role::Agent).public_key();
        let ended = [one.public_key(), shared.clone()].map(|key| (key, FOR_GOOD));
        let third = revise(&second, &ended.into(), &grants).expect("it has fewer keys");
        let left: Vec<String> = expected
            .into_iter()
            .filter(|key| *key != one.public_key() && *key != shared)
            .collect();
        assert_eq!(keys(&third), left);
        // A list that was lost lets no key in again, although it is granted.
        assert_eq!(revise(&third, &Revoked::new(), &grants), None);
    }

    fn list(revoked: &Revoked) -> List {
        List {
            forgotten: None,
            revoked: revoked.clone(),
        }
    }

    fn keys(of: &[&str]) -> Revoked {
        of.iter().map(|key| (key.to_string(), FOR_GOOD)).collect()
    }

    fn left(account: &str) -> Vec<String> {
        let account: Claims<Account> = jwt::read(account).unwrap();
        account.nats.revocations.into_keys().collect()
    }

    #[test]
    fn a_revision_is_newer_and_changes_nothing_but_the_list() {
        let site = Site::new("ib.v1");
        let first = site.account_jwt(1_000).unwrap();
        // A clock that is behind that of whoever made the account.
        let second = revise(&first, &list(&keys(&["UA"])), &[], 10, &site.signer).unwrap();
        let second = second.expect("it is another list");
        let third = revise(&second, &list(&keys(&["UB"])), &[], 5_000, &site.signer).unwrap();
        let [first, mut second, third]: [Claims<Account>; 3] =
            [&first, &second, &third.unwrap()].map(|token| jwt::read(token).unwrap());
        assert_eq!((second.iat, third.iat), (1_001, 5_000));
        assert_eq!(second.nats.revocations["UA"], FOR_GOOD);
        assert_eq!(third.nats.revocations.len(), 2);
        second.nats.revocations.clear();
        assert_eq!(second.nats, first.nats);
    }

    #[test]
    fn what_names_no_key_leaves_the_account() {
        let site = Site::new("ib.v1");
        let present = site.account_jwt(1_000).unwrap();
        let present = revise(&present, &list(&keys(&["UA"])), &[], 2_000, &site.signer);
        let mut spoilt: Claims<Value> = jwt::read(&present.unwrap().unwrap()).unwrap();
        for key in ["*", &"x".repeat(700_000)] {
            spoilt.nats["revocations"][key] = 3_000.into();
        }
        let spoilt = jwt::sign(spoilt, &site.signer).unwrap();
        let mended = revise(&spoilt, &list(&keys(&[])), &[], 2_500, &site.signer).unwrap();
        assert_eq!(left(&mended.unwrap()), ["UA"]);
    }

    #[test]
    fn a_list_that_was_lost_lets_nobody_in_again() {
        let site = Site::new("ib.v1");
        let agent = Revoked::from([("UA".into(), FOR_GOOD), ("UAGENT".into(), 3_000)]);
        let present = site.account_jwt(1_000).unwrap();
        let present = revise(&present, &list(&agent), &[], 2_000, &site.signer)
            .unwrap()
            .unwrap();
        let again = revise(&present, &list(&keys(&[])), &[], 2_500, &site.signer).unwrap();
        assert!(again.is_none(), "all are refused as they were");
        let later = revise(&present, &list(&keys(&[])), &[], 3_000, &site.signer).unwrap();
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
    fn a_list_that_was_filled_is_forgotten_but_for_those_whom_the_signer_names() {
        let site = Site::new("ib.v1");
        let now = 1_000;
        let mut all = list(&keys(&["UEVE", "UBOGUS"]));
        end(&mut all.revoked, "UAGENT", now + 60);
        let present = site.account_jwt(now).unwrap();
        let filled = revise(&present, &all, &[], now, &site.signer);
        let filled = filled.unwrap().unwrap();
        let order = order("UEVE", now, Some(&["UEVE", "ULOST"]));
        let all = List::of(&all.revoked, &[order], now);
        let short = revise(&filled, &all, &[], now, &site.signer);
        assert_eq!(left(&short.unwrap().unwrap()), ["UAGENT", "UEVE"]);
    }

    fn order(key: &str, at: i64, but: Option<&[&str]>) -> Order {
        let but = but.map(|but| but.iter().map(|key| key.to_string()).collect());
        Order::new(key, None, but, at)
    }

    #[test]
    fn whoever_pushes_a_list_from_before_the_order_does_not_bring_it_back() {
        let site = Site::new("ib.v1");
        let now = 1_000;
        let revise =
            |present: &str, list: &List| revise(present, list, &[], now, &site.signer).unwrap();
        let long = list(&keys(&["UEVE", "UBOGUS"]));
        let present = revise(&site.account_jwt(now).unwrap(), &long).unwrap();
        let orders = [
            order("UEVE", now, Some(&["UEVE"])),
            order("UBOB", now, None),
        ];
        let short = List::of(&Revoked::new(), &orders, now);
        let pushed = revise(&present, &short).expect("it forgets");
        assert_eq!(left(&pushed), ["UBOB", "UEVE"]);
        assert_eq!(revise(&pushed, &short), None);
        // Another worker has read both before the order, and is late.
        let mut late = long;
        end(&mut late.revoked, "UAGENT", now + 60);
        let late = revise(&present, &late).expect("it has an agent more");
        assert_eq!(left(&late), ["UAGENT", "UBOGUS", "UEVE"]);
        let again = revise(&late, &short).expect("it forgets again");
        assert_eq!(left(&again), ["UAGENT", "UBOB", "UEVE"]);
    }

    /// Of after the order, and from before UEVE was ended.
    #[test]
    fn a_list_of_a_backup_does_not_forget_twice() {
        let site = Site::new("ib.v1");
        let now = 1_000;
        let revise =
            |present: &str, list: &List| revise(present, list, &[], now, &site.signer).unwrap();
        let first = order("UBOB", now, Some(&[]));
        let backup = List::of(&Revoked::new(), std::slice::from_ref(&first), now);
        let present = revise(&site.account_jwt(now).unwrap(), &backup).expect("it is tagged");
        let later = List::of(&Revoked::new(), &[first, order("UEVE", now, None)], now);
        let present = revise(&present, &later).unwrap();
        assert_eq!(revise(&present, &backup), None);
        assert_eq!(left(&present), ["UBOB", "UEVE"]);
    }

    #[test]
    fn whoever_can_write_the_list_ends_nobody_for_long_and_lets_nobody_in() {
        let now = 1_000;
        let [agent, bob] = [(); 2].map(|()| KeyPair::new_user().public_key());
        let signs = KeyPair::new_account().public_key();
        let long = format!("U{}", "A".repeat(700_000));
        let by_a_thief = Revoked::from([
            (bob, FOR_GOOD),
            (agent.clone(), now + 60),
            (signs, now + 60),
            ("*".into(), now + 60),
            (long, now + 60),
        ]);
        let told = List::of(&by_a_thief, &[], now);
        assert_eq!(told.revoked, Revoked::from([(agent, now + 60)]));
        assert_eq!(told.forgotten, None);
        // With an order that nobody carried out in time, they drop what was ordered before, and the account keeps it.
        let orders = [order("UEVE", now, None), order("UX", now + 10, Some(&[]))];
        let told = List::of(&Revoked::new(), &orders, now + 10 + ORDER_SECS);
        assert_eq!(told.revoked, keys(&["UX"]));
        assert_eq!(told.forgotten, None);
        let in_time = List::of(&Revoked::new(), &orders, now + 20);
        assert_eq!(in_time.forgotten.map(|it| it.at), Some(now + 10));
    }

    #[test]
    fn a_login_that_has_ended_does_not_end_sooner() {
        let mut all = keys(&["UBOB"]);
        end(&mut all, "UBOB", 1_000);
        assert_eq!(all, keys(&["UBOB"]));
    }

    #[test]
    fn an_order_is_its_signers_and_soon_over() {
        let (site, other) = (Site::new("ib.v1"), Site::new("ib.v1"));
        let wanted = Order::new(
            "UBOB",
            Some(9_000_000_000),
            Some(["UEVE".into()].into()),
            1_000,
        );
        let token = wanted.sign(&site.signer).unwrap();
        let read = Order::read(&token, &site.signer).unwrap();
        assert_eq!(read, wanted);
        assert!(read.is_new("UBOB", 1_200).is_ok());
        for (key, now, why) in [
            ("UEVE", 1_200, "another login"),
            ("UBOB", 1_300, "300 s old"),
            ("UBOB", 600, "-400 s old"),
        ] {
            let said = read.is_new(key, now).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
        let said = Order::read(&token, &other.signer).unwrap_err().to_string();
        assert!(said.contains("another key"), "{said}");
        let account = site.account_jwt(1_000).unwrap();
        assert!(Order::read(&account, &site.signer).is_err());
    }

    /// With the largest list, every role and every grant, below the 1 MiB that NATS servers take.
    #[test]
    fn the_account_with_a_full_list_fits_a_message() {
        let site = Site::new("ib.v1");
        let full = (0..MAX_REVOKED).map(|n| (format!("U{n:055}"), FOR_GOOD));
        let present = site.account_jwt(1_000).unwrap();
        let grants = (0..MAX_GRANTS).map(|_| grant(&site, &KeyPair::new_account()));
        let grants: Vec<Grant> = grants.collect();
        let account = revise(
            &present,
            &list(&full.collect()),
            &grants,
            1_000,
            &site.signer,
        );
        let bytes = account.unwrap().unwrap().len();
        assert!((600_000..900_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_same_list_is_not_pushed_again() {
        let site = Site::new("ib.v1");
        let first = site.account_jwt(1_000).unwrap();
        assert!(
            revise(&first, &list(&keys(&[])), &[], 2_000, &site.signer)
                .unwrap()
                .is_none()
        );
        let second = revise(&first, &list(&keys(&["UA"])), &[], 2_000, &site.signer).unwrap();
        let same = revise(
            &second.unwrap(),
            &list(&keys(&["UA"])),
            &[],
            2_000,
            &site.signer,
        );
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
            let revised = revise(&foreign, &list(&keys(&["UA"])), &[], 1, signer);
            assert!(
                matches!(revised, Err(ReviseError::Foreign(_))),
                "{revised:?}"
            );
        }
    }
}
