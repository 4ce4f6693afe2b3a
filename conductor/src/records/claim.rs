//! What a node has to itself: its BMC, MAC addresses, system UUID and name, each a key that names its owner.
//! A claim counts while the node it names exists and lists it; the records themselves are in the parent module.
use super::kv::{KvError, Revision};
use super::{Store, StoreError};
use ironbeat_common::id::{NodeId, SystemUuid};
use ironbeat_core::id::NodeName;
use ironbeat_core::node::{BmcAccess, Node};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A claim without a record behind it may belong to a node in the making, which gets this long from the moment it is
/// seen: two writes of a healthy store, even through most of a second of trouble.
const GRACE: Duration = Duration::from_secs(1);
/// How often a claim in the making is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(25);
/// Claims lost to others in a row: each time another claimant moved, and two or three are already rare.
const MAX_RACES: u32 = 16;

/// Key in the bucket, and the words for it.
pub(super) type Claims = BTreeMap<String, String>;

pub(super) fn claims(node: &Node) -> Claims {
    let mut claims = Claims::new();
    for mac in &node.macs {
        claims.insert(
            format!("ix.mac.{}", mac.hex()),
            format!("MAC address {mac}"),
        );
    }
    if let Some(uuid) = node.system_uuid.filter(SystemUuid::is_meaningful) {
        claims.insert(format!("ix.uuid.{uuid}"), format!("system UUID {uuid}"));
    }
    if let Some(name) = &node.name {
        claims.insert(name_key(name), format!("the name {name}"));
    }
    claims.insert(
        format!("ix.bmc.{}", bmc_token(&node.bmc)),
        format!("BMC {}", node.bmc.address()),
    );
    claims
}

fn name_key(name: &NodeName) -> String {
    format!("ix.name.{name}")
}

/// An address has one spelling already; what a key cannot hold becomes `-`.
fn bmc_token(bmc: &BmcAccess) -> String {
    bmc.address()
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '[' | ']'))
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

/// Whose a claim is, as its key says.
struct Holder {
    owner: Option<NodeId>,
    revision: Revision,
}

impl Store {
    /// The node that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the node's key that is no record this worker understands.
    pub async fn named(&self, name: &NodeName) -> Result<Option<NodeId>, StoreError> {
        let Some(owner) = self.holder(&name_key(name)).await?.owner else {
            return Ok(None);
        };
        let node = self.load(owner).await?;
        Ok(node.and_then(|(node, _)| (node.name.as_ref() == Some(name)).then_some(owner)))
    }

    /// Makes all of `wanted` ours, or none. What is ours already stays ours.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when another node has one of them.
    pub(super) async fn claim_all(&self, id: NodeId, wanted: &Claims) -> Result<(), StoreError> {
        for (key, what) in wanted {
            if let Err(error) = self.claim(id, key, what).await {
                self.release_unlisted(id, wanted).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn claim(&self, id: NodeId, key: &str, what: &str) -> Result<(), StoreError> {
        for _ in 0..MAX_RACES {
            let held = self.holder(key).await?;
            match held.owner {
                Some(owner) if owner == id => return Ok(()),
                Some(owner) if !self.is_stale(key, owner, held.revision).await? => {
                    return Err(StoreError::Claimed {
                        what: what.into(),
                        by: owner,
                    });
                }
                Some(_) | None => {}
            }
            let value = serde_json::to_vec(&id).expect("an id is a JSON string");
            match self.nodes.write(key, value, held.revision).await {
                Ok(_) => return Ok(()),
                // The next look tells whose it is now.
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races { what: what.into() })
    }

    async fn holder(&self, key: &str) -> Result<Holder, StoreError> {
        let (value, revision) = self.nodes.read(key).await?;
        let owner = value.as_deref().and_then(|value| {
            // What is no id names nobody, and nobody holds no claim.
            serde_json::from_slice::<NodeId>(value).ok()
        });
        Ok(Holder { owner, revision })
    }

    /// Whether nobody has a right to a claim. A claim comes before the record that lists it, so its owner gets some
    /// time; a claim that moves meanwhile is not stale, and whose it is now has to be looked at anew.
    async fn is_stale(
        &self,
        key: &str,
        owner: NodeId,
        revision: Revision,
    ) -> Result<bool, StoreError> {
        let until = Instant::now() + GRACE;
        loop {
            match self.load(owner).await {
                Ok(Some((node, _))) if claims(&node).contains_key(key) => return Ok(false),
                // A record that cannot be read may well list it.
                Err(StoreError::Corrupt { .. }) => return Ok(false),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            if self.holder(key).await?.revision != revision || Instant::now() >= until {
                // If it moved, taking it fails by its revision, and the caller looks again.
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives up those of `claims` that are ours and that our record, if there is one, does not list. What cannot be
    /// given up now is stale, and will be taken over.
    pub(super) async fn release_unlisted(&self, id: NodeId, given_up: &Claims) {
        let listed = match self.load(id).await {
            Ok(Some((node, _))) => claims(&node),
            Ok(None) => Claims::new(),
            Err(error) => {
                tracing::debug!(node = %id, "claims left behind: {error}");
                return;
            }
        };
        for (key, what) in given_up
            .iter()
            .filter(|(key, _)| !listed.contains_key(*key))
        {
            let Ok(held) = self.holder(key).await else {
                continue;
            };
            if held.owner == Some(id)
                && let Err(error) = self.nodes.delete(key, held.revision).await
            {
                tracing::debug!(node = %id, what, "claim left behind: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::node::Secret;

    #[test]
    fn a_bmc_has_one_key_however_it_is_written() {
        for (address, token) in [
            ("10.77.1.1", "10-77-1-1"),
            ("10.77.1.1:623", "10-77-1-1"),
            ("10.77.1.1:6230", "10-77-1-1-6230"),
            ("[fd00::1]:623", "fd00--1"),
            ("[FD00:0:0::1]", "fd00--1"),
            ("fd00::1", "fd00--1"),
            ("[fd00::1]:6230", "fd00--1-6230"),
            ("bmc7.Rack-2.example", "bmc7-rack-2-example"),
            ("bmc7.rack-2.example:623", "bmc7-rack-2-example"),
        ] {
            let bmc = BmcAccess::Ipmi {
                address: address.parse().unwrap(),
                username: "u".into(),
                password: Secret::new("p"),
                cipher_suite: None,
                kg: None,
                ipmi_1_5: false,
            };
            assert_eq!(bmc_token(&bmc), token, "{address}");
        }
    }
}
