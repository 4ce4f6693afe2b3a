//! The site's account as the NATS servers have it, and another version of it that is made with the site's own keys.
//! What is to be otherwise say `ending` and `roles`.
use super::about::{SIGNER, about, now, operator_key};
use crate::{Connect, out};
use anyhow::{Context, bail, ensure};
use ironbeat_auth::revoke::{ReviseError, lookup_subject, update_subject};
use ironbeat_auth::site;
use nkeys::KeyPair;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A server answers in milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// A worker may have read the account before, and hand in its own a moment later: looked at again after so long.
const LATER: Duration = Duration::from_secs(2);
/// Looks, until the servers have what was wanted.
const ROUNDS: u32 = 8;
/// How long the login is good by which servers are told; clocks differ.
const LOGIN_SECS: i64 = 3600;

pub(super) struct Account {
    servers: async_nats::Client,
    id: String,
    pub signer: KeyPair,
}

impl Account {
    /// # Errors
    /// When the keys for it are not in `dir`, or no server takes the login that is made with them.
    pub async fn open(to: &Connect, dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join(SIGNER);
        ensure!(
            file.exists(),
            "who may do what, and whose login has ended, is signed by the operator's key {}: run this where the directory of \
             `ironbeat auth init` is, or say where with --dir",
            file.display()
        );
        let (signer, system) = (operator_key(dir, "signer")?, operator_key(dir, "system")?);
        let (id, now) = (about(dir)?.account, now());
        let creds = site::revoker(&system, &id, now, Some(now + LOGIN_SECS))?;
        let servers = to.open_as(Some(creds)).await?.nats;
        Ok(Self {
            servers,
            id,
            signer,
        })
    }

    /// Hands the servers what `revise` makes of their account, until it makes nothing of it: now, and once more a moment later.
    /// Returns whether anything was otherwise.
    ///
    /// # Errors
    /// When the servers do not have it so in the end.
    pub async fn make(
        &self,
        revise: impl Fn(&str, &KeyPair) -> Result<Option<String>, ReviseError>,
    ) -> anyhow::Result<bool> {
        let changed = self.tell(&revise).await?;
        tokio::time::sleep(LATER).await;
        Ok(self.tell(&revise).await? || changed)
    }

    async fn tell(
        &self,
        revise: impl Fn(&str, &KeyPair) -> Result<Option<String>, ReviseError>,
    ) -> anyhow::Result<bool> {
        for round in 0..ROUNDS {
            let present = self.ask(lookup_subject(&self.id), "").await?;
            let Some(revised) = revise(present.trim(), &self.signer)? else {
                return Ok(round > 0);
            };
            let (bytes, most) = (revised.len(), self.servers.server_info().max_payload);
            ensure!(
                bytes <= most,
                "the account has {bytes} bytes, and the NATS servers take {most}: nothing has changed"
            );
            let said = self.ask(update_subject(&self.id), &revised).await?;
            let said: Value =
                serde_json::from_str(&said).context("understand the servers' answer")?;
            ensure!(
                said.get("error").is_none(),
                "the NATS servers refuse it: {}",
                out::visible_line(&said["error"].to_string())
            );
        }
        bail!("others hand the NATS servers another account, again and again")
    }

    async fn ask(&self, subject: String, body: &str) -> anyhow::Result<String> {
        let request = async_nats::Request::new()
            .payload(body.to_owned().into())
            .timeout(Some(PATIENCE));
        let reply = self.servers.send_request(subject.clone(), request).await;
        let reply = reply.with_context(|| format!("ask the NATS servers ({subject})"))?;
        String::from_utf8(reply.payload.to_vec()).context("understand the servers' answer")
    }
}
