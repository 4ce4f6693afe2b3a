//! How this agent shows who it is: the token and the ticket of its boot script, then its own key and the newest token for it.
//! None of it is ever logged. `pass` is what a connection is made with; `beat` says when which is used.
use super::link::{Link, RETRY_FIRST, RETRY_LIMIT, log_failure};
use super::pass::{Own, Pass};
use crate::init::cmdline::Hidden;
use crate::random;
use ironbeat_common::codec;
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::login::{
    Login, LoginRequest, Renewal, RenewalReply, Signature, UserKey, signed_text,
};
use ironbeat_common::subject;
use nkeys::KeyPair;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What the boot script brought.
#[derive(Default)]
pub struct Access {
    bootstrap: Option<Hidden>,
    /// The ticket, and the key that it vouches for.
    ticket: Option<(KeyPair, Arc<KeyPair>)>,
}

impl Access {
    /// Makes this agent's key, which may wait for the kernel's random numbers.
    pub fn new(bootstrap: Option<&Hidden>, ticket: Option<&Hidden>) -> Self {
        let ticket = ticket.and_then(|seed| KeyPair::from_seed(seed.reveal()).ok());
        Self {
            bootstrap: bootstrap.cloned(),
            ticket: ticket.map(|ticket| (ticket, Arc::new(KeyPair::new_user()))),
        }
    }

    /// For the first connection, over which it looks up.
    pub fn bootstrap(&self) -> Pass {
        match &self.bootstrap {
            None => Pass::Nothing,
            Some(token) => Pass::Bearer(token.clone()),
        }
    }

    /// What its lookup shows; none: it has no ticket.
    pub fn request(&self, boot: &BootId) -> Option<LoginRequest> {
        let (ticket, key) = self.ticket.as_ref()?;
        let public: UserKey = key.public_key().parse().ok()?;
        let text = signed_text(boot, &public);
        let by = |key: &KeyPair| key.sign(text.as_bytes()).ok()?.try_into().ok();
        Some(LoginRequest {
            key: public,
            ticket: ticket.public_key().parse().ok()?,
            signature: Signature(by(ticket)?),
            by_key: Some(Signature(by(key)?)),
        })
    }

    /// The login that it got. None: it has no key to use it with.
    pub fn login(&self, login: &Login) -> Option<Arc<Own>> {
        let (_, key) = self.ticket.as_ref()?;
        Some(Arc::new(Own::new(key.clone(), login.jwt.clone())))
    }
}

/// Asks for the next token in time, until it is dropped.
pub struct Renewing(JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Renewing {
    pub fn start(
        link: Link,
        own: Arc<Own>,
        prefix: &str,
        boot: BootId,
        node: NodeId,
        lives_secs: u32,
    ) -> Self {
        let subject = subject::login(prefix, &node);
        Self(tokio::spawn(renew(link, own, subject, boot, lives_secs)))
    }
}

/// The server closes the connection when the token's time is over; it is made again with the newest.
async fn renew(link: Link, own: Arc<Own>, subject: String, boot: BootId, lives_secs: u32) {
    let Ok(key) = own.public().parse() else {
        return;
    };
    let renewal = Renewal {
        version: codec::VERSION,
        boot,
        key,
    };
    let pause =
        |lives_secs: u32| random::jittered(Duration::from_secs(lives_secs.max(1).into()), 0.5, 0.8);
    let mut wait = pause(lives_secs);
    let mut failures = 0;
    loop {
        tokio::time::sleep(wait).await;
        match link.ask(subject.clone(), &renewal).await {
            Ok(RenewalReply::Login(login)) => {
                tracing::debug!("login renewed");
                failures = 0;
                wait = pause(login.lives_secs);
                own.renew(login.jwt);
            }
            Ok(RenewalReply::Over) => {
                tracing::warn!("the conductor does not want this boot any more: its login ends");
                return;
            }
            Err(error) => {
                log_failure(&error, "renewing the login");
                wait = random::back_off(RETRY_FIRST, failures, RETRY_LIMIT);
                failures += 1;
            }
        }
    }
}
