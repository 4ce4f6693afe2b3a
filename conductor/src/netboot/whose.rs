//! Whose a NIC is, and what its machine boots now: by the index, and by the record where the index may be behind.
//! `boots` makes an answer of it.
use crate::records::view::View;
use crate::records::{Store, StoreError};
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_core::boot::{Boot, boot_for};

#[derive(Clone)]
pub struct Whose {
    pub view: View,
    pub store: Store,
    /// Unknown machines boot the ramdisk and are remembered.
    pub discovery: bool,
}

impl Whose {
    /// The node of this NIC, if it is one's, and what it boots.
    ///
    /// A machine may come within milliseconds of the write that wants it in the ramdisk, and a worker that was cut off does not
    /// know for seconds that it is. A wrong script costs minutes: the machine is in another system then, or in a ramdisk that
    /// nobody lets in. So the index alone is believed only where it wants the ramdisk, since whoever gives the ticket looks at the
    /// record.
    ///
    /// # Errors
    /// Nobody can say at the moment.
    pub async fn boots(&self, mac: Mac) -> Result<(Option<NodeId>, Boot), StoreError> {
        let seen = self.view.of_mac(&mac);
        let record = match &seen {
            Some(node) if node.boot == Boot::Ramdisk => return Ok((Some(node.id), Boot::Ramdisk)),
            Some(node) => {
                let record = self.store.nodes.load(node.id).await;
                record.map(|found| found.map(|(node, _)| node))
            }
            None => self.store.of_mac(mac).await,
        };
        Ok(match record? {
            Some(node) => (Some(node.id), boot_for(&node)),
            None if self.discovery => (None, Boot::Ramdisk),
            None => (None, Boot::Disk),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Names;
    use crate::records::tests::{connect, create, mac, masters, node, server, store};
    use ironbeat_core::node::{Goal, Job, JobKind, Phase, Rest, State};
    use ironbeat_core::plan;
    use ironbeat_core::time::Time;
    use ironbeat_rack::nats::NatsServer;

    fn awaiting() -> Job {
        let now = Time::from_unix_ms(1);
        Job {
            kind: JobKind::Inspect,
            goal: Goal::Rest(Rest::Manageable),
            began: now,
            steps: plan::with_ramdisk(),
            bounds: vec![],
            went_on: false,
            at: 1,
            tries: 1,
            boots: 1,
            again: None,
            place: None,
            hold: false,
            phase: Phase::AwaitingAgent {
                since: now,
                until: now,
                sign: None,
                died: 0,
            },
        }
    }

    /// The index of another bucket, which never hears of this one's nodes.
    async fn behind(server: &NatsServer) -> View {
        let names = Names {
            prefix: "other".into(),
            ..Names::default()
        };
        let other = Store::open(connect(&server.url()).await, &names, masters());
        let view = View::start(&other.await.expect("the store opens"));
        view.ready().await;
        view
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_whose_node_the_index_has_not_heard_of_is_no_stranger() {
        let server = server();
        let store = store(&server).await;
        create(&store, &node(1)).await.unwrap();
        let mut waits = node(2);
        waits.state = State::Busy(Box::new(awaiting()));
        create(&store, &waits).await.unwrap();
        let view = behind(&server).await;
        for discovery in [true, false] {
            let whose = Whose {
                view: view.clone(),
                store: store.clone(),
                discovery,
            };
            let boots = async |n| whose.boots(mac(n)).await.unwrap();
            assert_eq!(boots(1).await, (Some(node(1).id), Boot::Disk));
            assert_eq!(boots(2).await, (Some(waits.id), Boot::Ramdisk));
            let stranger = match discovery {
                true => Boot::Ramdisk,
                false => Boot::Disk,
            };
            assert_eq!(boots(3).await, (None, stranger));
        }
    }
}
