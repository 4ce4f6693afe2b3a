//! What one worker process holds: its identity, its connections, its drive, and the tasks it has running.
//! `front`, `loops` and `drive` use it.
use crate::bmc::Bmcs;
use crate::config::Scripts;
use crate::discovery::Enroller;
use crate::drive::RealDrive;
use crate::login::Login;
use crate::records::Store;
use crate::records::events::Events;
use crate::records::logins::Logins;
use crate::records::lookups::Lookups;
use crate::records::marks::Marks;
use crate::records::presence::Presence;
use crate::records::revoked::Revocations;
use crate::records::seen::Seen;
use crate::records::view::View;
use crate::secrets::ImageTokens;
use crate::seldom::Seldom;
use crate::strangers::Strangers;
use crate::tickets::Tickets;
use async_nats::{Message, Subject};
use ironbeat_auth::roles::INBOXES;
use ironbeat_core::decide::Policy;
use ironbeat_core::id::WorkerId;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

pub struct Worker {
    pub id: WorkerId,
    /// Subject prefix, `ib.v1`.
    pub prefix: String,
    pub client: async_nats::Client,
    /// For what others ask, and the answers.
    pub front: async_nats::Client,
    /// None: `auth = "none"`.
    pub login: Option<Arc<Login>>,
    pub revocations: Revocations,
    pub store: Store,
    pub view: View,
    pub marks: Marks,
    pub presence: Presence,
    pub seen: Seen,
    pub events: Events,
    pub lookups: Lookups,
    pub logins: Logins,
    pub bmcs: Arc<Bmcs>,
    /// The one way to change a node.
    pub drive: Arc<RealDrive>,
    pub policy: Policy,
    /// Lookups of machines that belong to no node are remembered.
    pub discovery: bool,
    /// None: they are not enrolled.
    pub enroller: Option<Enroller>,
    /// None: nobody needs a login.
    pub tickets: Option<Arc<Tickets>>,
    pub strangers: Strangers,
    /// Lines about what machines are refused.
    pub refusals: Seldom,
    /// Lines about lookups of machines that are no node's ramdisk.
    pub knocks: Seldom,
    /// Lines about ramdisks that are welcome, as often as they say that they are here.
    pub welcomes: Seldom,
    /// Lines about secrets that came in the clear.
    pub plain: Seldom,
    /// Lines about requests that cannot be answered.
    pub unanswered: Seldom,
    /// With which images are fetched. None: they are everybody's.
    pub image_tokens: Option<ImageTokens>,
    /// The images that it serves.
    pub image_dir: PathBuf,
    /// How machines get boot scripts.
    pub scripts_by: Scripts,
    pub tasks: TaskTracker,
}

impl Worker {
    /// Runs in the background; joined at shutdown.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Where the answer to a message goes. None: it asks for none, or for one where this worker may not write, which servers
    /// would refuse, and note, each time.
    pub fn answer_to<'m>(&self, message: &'m Message) -> Option<&'m Subject> {
        let to = message.reply.as_ref()?;
        let may = self.login.is_none() || to.starts_with(INBOXES);
        may.then_some(to)
    }
}
