//! With what a connection to NATS is made: a token that needs no key, or this agent's own key and the newest token for it.
//! None of it is ever logged, or sent but to the server. Where it comes from is in `login`.
use crate::init::cmdline::Hidden;
use crate::random;
use async_nats::{Auth, AuthError};
use ironbeat_common::id::BootId;
use nkeys::KeyPair;
use std::sync::{Arc, Mutex, PoisonError};

/// With what a connection is made.
#[derive(Clone)]
pub enum Pass {
    /// The server asks nobody.
    Nothing,
    Bearer(Hidden),
    Own(Arc<Own>),
}

/// This agent's key and its newest token.
pub struct Own {
    key: Arc<KeyPair>,
    jwt: Mutex<String>,
}

impl Own {
    pub fn new(key: Arc<KeyPair>, jwt: String) -> Self {
        let jwt = Mutex::new(jwt);
        Self { key, jwt }
    }

    pub fn public(&self) -> String {
        self.key.public_key()
    }

    pub fn renew(&self, jwt: String) {
        *self.jwt.lock().unwrap_or_else(PoisonError::into_inner) = jwt;
    }
}

impl Pass {
    /// Nobody else may listen there; before it has a login, nobody else knows the last token.
    pub fn inbox(&self, boot: &BootId) -> String {
        match self {
            Pass::Nothing => format!("_INBOX.{boot}"),
            Pass::Bearer(_) => format!("_INBOX.boot.{}", random::guid()),
            Pass::Own(own) => format!("_INBOX.{}", own.public()),
        }
    }

    /// The answer to a server's challenge.
    ///
    /// # Errors
    /// When the key cannot sign, which it always can.
    pub fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Pass::Nothing => {}
            Pass::Bearer(token) => auth.jwt = Some(token.reveal().into()),
            Pass::Own(own) => {
                let jwt = own.jwt.lock().unwrap_or_else(PoisonError::into_inner);
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(own.key.sign(nonce).map_err(AuthError::new)?);
            }
        }
        Ok(auth)
    }
}
