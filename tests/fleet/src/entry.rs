//! How a simulated ramdisk comes to NATS: over a connection that many share, or with what its boot script brings.
//! What it says there is in `agent`; tickets, keys and tokens are handled by the agent's own code.
use crate::hardware;
use crate::link::{Link, Servers, Who};
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use ironbeat_agent::heart::login::Access;
use ironbeat_agent::heart::pass::Pass;
use ironbeat_agent::init::cmdline;
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::login::Login;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// As iPXE waits for a worker before it asks the next.
const SCRIPT: Duration = Duration::from_secs(10);
/// Before it asks the next.
const AGAIN: Duration = Duration::from_secs(1);
/// A script has a few kilobytes.
const MAX_SCRIPT: u64 = 64 << 10;

/// Of a whole fleet.
#[derive(Clone)]
pub(crate) enum Entry {
    /// Where servers ask nobody.
    Shared(Link),
    /// Each machine fetches its boot script from one of these workers, and has connections of its own.
    Scripts {
        servers: Servers,
        workers: Arc<[SocketAddr]>,
    },
}

/// The connection of an agent that is welcome; its nudges ring while this lives.
pub(crate) struct Own {
    pub link: Link,
    listens: Option<JoinHandle<()>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(listens) = &self.listens {
            listens.abort();
        }
    }
}

impl Entry {
    /// What its boot script brings; asks until it gets one.
    pub async fn access(&self, n: usize) -> Access {
        let Entry::Scripts { workers, .. } = self else {
            return Access::default();
        };
        let begin = n % workers.len();
        for worker in workers.iter().cycle().skip(begin) {
            if let Ok(Ok(script)) = timeout(SCRIPT, script(*worker, n)).await
                && let Some(line) = kernel_line(&script)
            {
                let words = cmdline::parse(line);
                return Access::new(words.login.as_ref(), words.ticket.as_ref());
            }
            // As firmware does.
            sleep(AGAIN).await;
        }
        unreachable!("there are workers, and they come round for ever")
    }

    /// A connection to look up over.
    pub async fn door(&self, access: &Access, boot: BootId) -> Result<Link> {
        match self {
            Entry::Shared(link) => Ok(link.clone()),
            Entry::Scripts { servers, .. } => {
                let who = Who::Machine(access.bootstrap(), boot);
                Link::connect(servers, who, &format!("boot {boot}")).await
            }
        }
    }

    /// One to go on with, after a welcome with `login`.
    pub async fn own(
        &self,
        access: &Access,
        (boot, node): (BootId, NodeId),
        login: Option<&Login>,
        nudge: &Arc<Notify>,
    ) -> Result<Own> {
        let servers = match self {
            Entry::Shared(link) => {
                let (link, listens) = (link.clone(), None);
                return Ok(Own { link, listens });
            }
            Entry::Scripts { servers, .. } => servers,
        };
        let own = login.and_then(|login| access.login(login));
        let own = own.context("a welcome without a login")?;
        let who = Who::Machine(Pass::Own(own), boot);
        let link = Link::connect(servers, who, &format!("node {node}")).await?;
        let subject = format!("{}.nudge.{node}", link.prefix);
        let mut heard = link.nats.subscribe(subject).await?;
        let nudge = Arc::clone(nudge);
        let listens = tokio::spawn(async move {
            while heard.next().await.is_some() {
                nudge.notify_one();
            }
        });
        let listens = Some(listens);
        Ok(Own { link, listens })
    }
}

/// The arguments of the ramdisk's kernel; none: the machine boots its disk.
fn kernel_line(script: &str) -> Option<&str> {
    script
        .lines()
        .find(|line| line.trim().starts_with("kernel "))
}

async fn script(worker: SocketAddr, n: usize) -> Result<String> {
    let mut stream = TcpStream::connect(worker).await?;
    let mac = hardware::mac(n, 0).to_string().replace(':', "-");
    let ask = format!("GET /v1/boot/{mac} HTTP/1.0\r\nHost: {worker}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_SCRIPT).read_to_string(&mut answer).await?;
    let (head, script) = answer.split_once("\r\n\r\n").context("no head")?;
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(script.into()),
        _ => bail!("{head}"),
    }
}
