//! Tickets of boot scripts and logins of agents: made, checked and ended. Nothing here is kept: records have public halves.
//! The core decides who gets what; `netboot` hands tickets out, `front` takes them.
use crate::login::Login;
use ironbeat_auth::agent::Mint;
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::login::{Login as AgentLogin, LoginRequest, Signature, UserKey, signed_text};
use ironbeat_core::decide::Proof;
use ironbeat_core::node::Ended;
use ironbeat_core::time::Time;
use nkeys::KeyPair;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// Has the NATS servers end logins; done when that is written down, whoever does it then.
pub type EndLogins = dyn Fn(Vec<Ended>) -> Ending + Send + Sync;
pub type Ending = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What a worker needs where agents log in.
pub struct Tickets {
    login: Arc<Login>,
    /// The token with which machines look up that have no login yet.
    bootstrap: RwLock<String>,
    end: Arc<EndLogins>,
    lives_secs: u32,
}

/// The private half of a ticket, for a boot script and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(String);

impl Seed {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

/// What a lookup shows with a ticket is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    #[error("its signature is not its ticket's")]
    Ticket,
    #[error(
        "it does not prove that the key is its own: boot the ramdisk that came with this worker"
    )]
    Key,
}

impl Tickets {
    pub fn new(login: Arc<Login>, end: Arc<EndLogins>, lives_secs: u32) -> Self {
        Self {
            bootstrap: RwLock::new(login.bootstrap.clone()),
            login,
            end,
            lives_secs,
        }
    }

    /// The token that boot scripts have.
    pub fn bootstrap(&self) -> String {
        let bootstrap = self.bootstrap.read();
        bootstrap.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Boot scripts have this token from now on.
    pub fn hand_out(&self, bootstrap: String) {
        *self
            .bootstrap
            .write()
            .unwrap_or_else(PoisonError::into_inner) = bootstrap;
    }

    /// A login for the agent of a node. `asked`: from before its record was read.
    ///
    /// # Errors
    /// When the minting key cannot sign.
    pub fn login(&self, node: NodeId, key: &UserKey, asked: Time) -> anyhow::Result<AgentLogin> {
        minted(&self.login.mint, node, key, asked, self.lives_secs)
    }

    /// # Errors
    /// When the list of ended logins could not be written.
    pub async fn end(&self, logins: Vec<Ended>) -> anyhow::Result<()> {
        (self.end)(logins).await
    }
}

fn minted(
    mint: &Mint,
    node: NodeId,
    key: &UserKey,
    asked: Time,
    lives_secs: u32,
) -> anyhow::Result<AgentLogin> {
    let now = i64::try_from(asked.unix_ms() / 1000)?;
    let until = now + i64::from(lives_secs);
    Ok(AgentLogin {
        jwt: mint.login(&node.to_string(), &key.to_string(), now, until)?,
        lives_secs,
    })
}

/// A new ticket: what the machine gets, and what the record keeps.
pub fn new_ticket() -> (Seed, UserKey) {
    let pair = KeyPair::new_user();
    let seed = pair.seed().expect("a new key has both halves");
    let key = pair.public_key().parse();
    (Seed(seed), key.expect("nkeys writes keys as we read them"))
}

/// What a lookup shows, where tickets are asked for. The key is one that nobody else has: it ends with the boot, so a machine
/// that named a worker's would end the worker's login.
///
/// # Errors
/// When the signatures are not the ticket's and the key's.
pub fn proof(boot: BootId, request: Option<&LoginRequest>) -> Result<Proof, Forged> {
    let Some(request) = request else {
        return Ok(Proof::Missing);
    };
    let (ticket, key) = (request.ticket, request.key);
    let text = signed_text(&boot, &key);
    let is_of = |signature: &Signature, key: UserKey| {
        let key = KeyPair::from_public_key(&key.to_string());
        key.is_ok_and(|key| key.verify(text.as_bytes(), &signature.0).is_ok())
    };
    if !is_of(&request.signature, ticket) {
        return Err(Forged::Ticket);
    }
    let by_key = request.by_key.as_ref();
    if !by_key.is_some_and(|signature| is_of(signature, key)) {
        return Err(Forged::Key);
    }
    Ok(Proof::Ticket { ticket, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_auth::jwt::{self, Claims, User};

    const BOOT: BootId = BootId::from_bytes([7; 16]);

    fn signed(ticket: &(Seed, UserKey), boot: BootId, key: &(Seed, UserKey)) -> LoginRequest {
        let text = signed_text(&boot, &key.1);
        let by = |seed: &Seed| {
            let pair = KeyPair::from_seed(seed.reveal()).unwrap();
            Signature(pair.sign(text.as_bytes()).unwrap().try_into().unwrap())
        };
        LoginRequest {
            key: key.1,
            ticket: ticket.1,
            signature: by(&ticket.0),
            by_key: Some(by(&key.0)),
        }
    }

    #[test]
    fn a_ticket_signs_for_one_boot_and_one_key() {
        let (ticket, key, (other_seed, other)) = (new_ticket(), new_ticket(), new_ticket());
        let request = signed(&ticket, BOOT, &key);
        let (ticket, key) = (ticket.1, key.1);
        assert_eq!(
            proof(BOOT, Some(&request)),
            Ok(Proof::Ticket { ticket, key })
        );
        assert_eq!(proof(BOOT, None), Ok(Proof::Missing));
        let later = BootId::from_bytes([8; 16]);
        assert_eq!(proof(later, Some(&request)), Err(Forged::Ticket));
        let by_other = signed(&(other_seed, other), BOOT, &new_ticket()).signature;
        for by_key in [None, Some(by_other)] {
            let of_another = LoginRequest {
                by_key,
                ..request.clone()
            };
            assert_eq!(proof(BOOT, Some(&of_another)), Err(Forged::Key));
        }
        for forged in [
            LoginRequest {
                key: other,
                ..request.clone()
            },
            LoginRequest {
                ticket: other,
                ..request.clone()
            },
            LoginRequest {
                signature: Signature([0; 64]),
                ..request
            },
        ] {
            assert_eq!(proof(BOOT, Some(&forged)), Err(Forged::Ticket));
        }
    }

    #[test]
    fn a_ticket_is_not_shown() {
        let (seed, _) = new_ticket();
        assert!(seed.reveal().starts_with("SU"));
        assert_eq!(format!("{seed:?}"), "******");
    }

    #[test]
    fn a_login_names_the_node_and_is_bound_to_the_agents_key_and_to_its_time() {
        let mint = Mint::new(KeyPair::new_account(), "A");
        let (node, (_, key)) = (NodeId::from_bytes([1; 16]), new_ticket());
        let login = minted(&mint, node, &key, Time::from_unix_ms(5_999), 600);
        let claims: Claims<User> = jwt::read(&login.unwrap().jwt).unwrap();
        assert_eq!(claims.name, node.to_string());
        assert_eq!(claims.sub, key.to_string());
        assert_eq!((claims.iat, claims.exp), (5, Some(605)));
    }
}
