//! What a BMC says without a login: whether it is there, how to log in, which cipher suites it offers.
//! It is for people who ask why a login fails; `login` logs in, `ask` sends and waits.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::presession::{
    AuthCapabilities, CipherSuite, SUITE_CHUNK, SUITE_CHUNKS, cipher_suites_request,
    parse_cipher_suites,
};
use std::time::Duration;

/// Transmissions of a question that some BMCs never answer.
const OPTIONAL_TRIES: u32 = 2;

/// What answers at a BMC's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Answers the ASF presence ping, and says that it speaks IPMI. Some BMCs never do.
    pub pong: Option<Duration>,
    pub capabilities: AuthCapabilities,
    /// None: it does not say (`ipmi_sim` never does).
    pub cipher_suites: Option<Vec<CipherSuite>>,
}

impl Bmc {
    /// ASF presence ping (§13.2.3): the time until the answer.
    ///
    /// # Errors
    /// `Unreachable` when nothing answers; there may be a BMC nevertheless.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let mut link = self.turn("presence ping").await?;
        let line = link.line();
        line.ping(line.tries())
            .await
            .map_err(|kind| self.error("presence ping", kind))
    }

    /// Everything that can be asked before a login. None of it is authenticated.
    ///
    /// # Errors
    /// `Unreachable` when nothing answers at all.
    pub async fn presence(&self) -> Result<Presence, Error> {
        let attempt = "get authentication capabilities";
        let mut link = self.turn(attempt).await?;
        let line = link.line();
        let capabilities = line
            .capabilities(line.tries())
            .await
            .map_err(|kind| self.error(attempt, kind))?;
        let pong = line.ping(OPTIONAL_TRIES).await.ok();
        drop(link);
        let cipher_suites = self.cipher_suites().await.ok();
        Ok(Presence {
            pong,
            capabilities,
            cipher_suites,
        })
    }

    /// Get Channel Cipher Suites (§22.15): what it claims. `ipmi_sim` claims more than it can.
    ///
    /// # Errors
    /// `Unreachable` when it does not say, as some never do.
    pub async fn cipher_suites(&self) -> Result<Vec<CipherSuite>, Error> {
        let attempt = "get cipher suites";
        let mut link = self.turn(attempt).await?;
        let mut records = Vec::new();
        for index in 0..SUITE_CHUNKS {
            let request = cipher_suites_request(index);
            let response = link
                .line()
                .ask_plain(&request, OPTIONAL_TRIES)
                .await
                .map_err(|kind| self.error(attempt, kind))?;
            if response.completion != 0 {
                return Err(self.error(attempt, self.completion(response.completion)));
            }
            let [_channel, chunk @ ..] = response.data.as_slice() else {
                return Err(self.error(attempt, ErrorKind::Malformed("cipher suites cut short")));
            };
            records.extend(chunk);
            if chunk.len() < SUITE_CHUNK {
                break;
            }
        }
        Ok(parse_cipher_suites(&records))
    }

    /// The smoothed round trip of this BMC, once one was measured. Waits until no command is under way.
    pub async fn round_trip(&self) -> Option<Duration> {
        self.turn("round trip").await.ok()?.line().pace.round_trip()
    }
}
