//! One Ironbeat on NATS: its operator, its account with a signing key per role, and what nats-server is told of them.
//! Pure: who writes what where, and the time, is for the caller.
use crate::creds::{self, Creds};
use crate::jwt::{self, Claims, SignError, User};
use crate::roles::{Role, Subjects, Template};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// The name of the account, as `nats account` shows it.
pub const ACCOUNT: &str = "IRONBEAT";
/// Between two looks of the servers of a cluster whether another knows newer accounts.
const RESOLVER_INTERVAL: &str = "2m";

/// All keys of a site. The account has an identity that nothing is ever signed with, so its private half is not kept: a user
/// that no template bounds cannot be made.
pub struct Site {
    pub prefix: String,
    /// Signs which keys may sign for the operator; of no use while all runs.
    pub operator: KeyPair,
    /// Signs accounts, and so revocations.
    pub signer: KeyPair,
    pub system: KeyPair,
    /// The public key of [`ACCOUNT`].
    pub account: String,
    pub roles: Vec<(Role, KeyPair)>,
}

/// Where a nats-server listens and keeps things, beside what [`Site::server_lines`] says.
pub struct Server<'a> {
    pub listen: SocketAddr,
    pub store: &'a Path,
    /// The file with the site's lines, beside this one.
    pub auth: &'a str,
}

impl Server<'_> {
    /// A whole configuration file.
    pub fn config(&self) -> String {
        format!(
            "listen: \"{}\"\njetstream {{\n  store_dir: \"{}\"\n}}\ninclude \"{}\"\n",
            self.listen,
            self.store.display(),
            self.auth,
        )
    }
}

impl Site {
    /// New keys for everything.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            operator: KeyPair::new_operator(),
            signer: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account().public_key(),
            roles: Role::ALL.map(|role| (role, KeyPair::new_account())).into(),
        }
    }

    /// The signing key of a role.
    ///
    /// # Panics
    /// When the site was put together without it.
    pub fn key(&self, role: Role) -> &KeyPair {
        let found = self.roles.iter().find(|(of, _)| *of == role);
        &found.expect("a site has a key for every role").1
    }

    /// # Errors
    /// When the operator's key has no private half, as it is for all tokens below and their keys.
    pub fn operator_jwt(&self, now: i64) -> Result<String, SignError> {
        let nats = Operator {
            signing_keys: vec![self.signer.public_key()],
            system_account: self.system.public_key(),
            kind: "operator".into(),
            version: 2,
        };
        let subject = self.operator.public_key();
        jwt::sign(claims("ironbeat", subject, now, None, nats), &self.operator)
    }

    pub fn system_jwt(&self, now: i64) -> Result<String, SignError> {
        let nats = Account {
            limits: Limits::all(0),
            ..Account::of(vec![])
        };
        let subject = self.system.public_key();
        jwt::sign(claims("SYS", subject, now, None, nats), &self.signer)
    }

    pub fn account_jwt(&self, now: i64) -> Result<String, SignError> {
        let scopes = self.roles.iter();
        let scopes = scopes.map(|(role, key)| Scope::of(*role, &key.public_key(), &self.prefix));
        let nats = Account::of(scopes.collect());
        let account = claims(ACCOUNT, self.account.clone(), now, None, nats);
        jwt::sign(account, &self.signer)
    }

    /// As [`login`], with the role's own key.
    pub fn login(
        &self,
        role: Role,
        name: &str,
        now: i64,
        until: Option<i64>,
    ) -> Result<Creds, SignError> {
        login(self.key(role), &self.account, role, name, now, until)
    }

    /// What machines that nobody knows yet show: a token without a key.
    pub fn bootstrap_jwt(&self, now: i64) -> Result<String, SignError> {
        self.login(Role::Bootstrap, "bootstrap", now, None)
            .map(|creds| creds.jwt)
    }

    /// The lines of nats-server's configuration that make it ask who is there. `accounts` is its directory of accounts.
    pub fn server_lines(
        &self,
        accounts: &Path,
        tls: Option<(&Path, &Path)>,
        now: i64,
    ) -> Result<String, SignError> {
        let tls = tls.map_or(String::new(), |(cert, key)| {
            format!(
                "tls {{\n  cert_file: \"{}\"\n  key_file: \"{}\"\n  timeout: 15\n}}\n",
                cert.display(),
                key.display()
            )
        });
        Ok(format!(
            "operator: {operator}\nsystem_account: {system}\n\
             resolver {{\n  type: full\n  dir: \"{dir}\"\n  allow_delete: false\n  interval: \"{RESOLVER_INTERVAL}\"\n}}\n\
             # Read when the directory has nothing newer.\n\
             resolver_preload {{\n  {system}: {system_jwt}\n  {account}: {account_jwt}\n}}\n{tls}",
            operator = self.operator_jwt(now)?,
            system = self.system.public_key(),
            dir = accounts.display(),
            system_jwt = self.system_jwt(now)?,
            account = self.account,
            account_jwt = self.account_jwt(now)?,
        ))
    }
}

/// A login with a new key, signed by the account's key for `role`; `until` none: for ever.
///
/// # Errors
/// When `signer` has no private half.
pub fn login(
    signer: &KeyPair,
    account: &str,
    role: Role,
    name: &str,
    now: i64,
    until: Option<i64>,
) -> Result<Creds, SignError> {
    let key = KeyPair::new_user();
    let mut user = User::of(account);
    user.tags = vec![creds::tag(role)];
    let jwt = claims(name, key.public_key(), now, until, user);
    let jwt = jwt::sign(jwt, signer)?;
    Ok(Creds { jwt, key })
}

/// A login to the system account that may read and replace the account, and nothing else. Without the signer it is of no
/// use: servers take an account only with its signature.
///
/// # Errors
/// When `system`, the key of that account, has no private half.
pub fn revoker(
    system: &KeyPair,
    account: &str,
    now: i64,
    until: Option<i64>,
) -> Result<Creds, SignError> {
    let key = KeyPair::new_user();
    let template = Template {
        publish: Subjects {
            allow: ["LOOKUP", "UPDATE"]
                .map(|verb| format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.{verb}"))
                .into(),
            deny: vec![],
        },
        hear: Subjects {
            allow: vec![format!("_INBOX.{}.>", key.public_key())],
            deny: vec![],
        },
        subs: -1,
        data: -1,
        payload: -1,
        bearer_token: false,
    };
    // Signed by the account itself, it has no issuer_account; its permissions are its own.
    let nats = Unscoped {
        template,
        kind: jwt::UserKind::User,
        version: 2,
    };
    let jwt = claims("revoker", key.public_key(), now, until, nats);
    let jwt = jwt::sign(jwt, system)?;
    Ok(Creds { jwt, key })
}

fn claims<N>(name: &str, sub: String, iat: i64, exp: Option<i64>, nats: N) -> Claims<N> {
    Claims {
        jti: String::new(),
        iat,
        iss: String::new(),
        exp,
        name: name.into(),
        sub,
        nats,
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Operator {
    signing_keys: Vec<String>,
    system_account: String,
    #[serde(rename = "type")]
    kind: String,
    version: u8,
}

/// A user whose permissions are in its own token.
#[derive(Clone, Debug, Serialize)]
struct Unscoped {
    #[serde(flatten)]
    template: Template,
    #[serde(rename = "type")]
    kind: jwt::UserKind,
    version: u8,
}

/// The `nats` claims of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    limits: Limits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signing_keys: Vec<Scope>,
    /// Public keys of users, each with a second: tokens made until then are not accepted any more. Those of signing keys that
    /// were taken out are among them, for whoever revises the account; servers look for users only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revocations: BTreeMap<String, i64>,
    #[serde(rename = "type")]
    kind: String,
    version: u8,
}

impl Account {
    fn of(signing_keys: Vec<Scope>) -> Self {
        Self {
            limits: Limits::all(-1),
            signing_keys,
            revocations: BTreeMap::new(),
            kind: "account".into(),
            version: 2,
        }
    }
}

/// A signing key and what its users may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scope {
    kind: String,
    pub(crate) key: String,
    role: String,
    template: Template,
}

impl Scope {
    /// `key`: the public half.
    pub(crate) fn of(role: Role, key: &str, prefix: &str) -> Self {
        Self {
            kind: "user_scope".into(),
            key: key.into(),
            role: role.name().into(),
            template: role.template(prefix),
        }
    }
}

/// −1: unlimited. What an account leaves out is zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Limits {
    subs: i64,
    data: i64,
    payload: i64,
    imports: i64,
    exports: i64,
    wildcards: bool,
    conn: i64,
    leaf: i64,
    mem_storage: i64,
    disk_storage: i64,
    streams: i64,
    consumer: i64,
}

impl Limits {
    fn all(jetstream: i64) -> Self {
        Self {
            subs: -1,
            data: -1,
            payload: -1,
            imports: -1,
            exports: -1,
            wildcards: true,
            conn: -1,
            leaf: -1,
            mem_storage: jetstream,
            disk_storage: jetstream,
            streams: jetstream,
            consumer: jetstream,
        }
    }
}
