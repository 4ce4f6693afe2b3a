//! The line to one BMC: sends datagrams no faster than it can take them, and measures how fast it answers.
//! `ask`, `attempt` and `open` decide what to send and when to repeat it; `transport` has the sockets.
use crate::clock;
use crate::config::BmcConfig;
use crate::error::ErrorKind;
use crate::pace::Pace;
use crate::transport::{Inbox, Transport};
use std::io;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Line {
    pub(crate) transport: Transport,
    pub(crate) config: Arc<BmcConfig>,
    pub(crate) pace: Pace,
    last_sent: Option<Instant>,
}

impl Line {
    pub(crate) fn new(transport: Transport, config: Arc<BmcConfig>) -> Self {
        Self {
            transport,
            config,
            pace: Pace::default(),
            last_sent: None,
        }
    }

    /// Transmissions of one message.
    pub(crate) fn tries(&self) -> u32 {
        self.config.timing.tries.max(1)
    }

    /// When the next datagram may be sent.
    pub(crate) fn free_at(&self, now: Instant) -> Instant {
        match self.last_sent {
            Some(last) => now.max(last + self.config.timing.spacing),
            None => now,
        }
    }

    /// Waits until `at`, sends, and returns when that was.
    pub(crate) async fn send_at(
        &mut self,
        at: Instant,
        datagram: &[u8],
    ) -> Result<Instant, ErrorKind> {
        if !self.config.timing.spacing.is_zero() {
            sleep_until(at).await;
        }
        let sent = clock::now();
        self.last_sent = Some(sent);
        self.transport
            .send(datagram, self.config.address)
            .await
            .map_err(failed)?;
        Ok(sent)
    }

    /// A place for answers, and a session id that this BMC does not have yet.
    pub(crate) fn inbox(&self) -> Result<Inbox, ErrorKind> {
        self.transport.register(self.config.address).map_err(failed)
    }
}

pub(crate) fn failed(error: io::Error) -> ErrorKind {
    ErrorKind::Io(error.to_string())
}
