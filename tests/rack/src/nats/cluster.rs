//! Owns a cluster of nats-servers, each on a host and a small disk of its own: what breaks them, and who leads what.
//! Leaves one server's life to the parent module, and streams and clients to the programs under test.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{NatsServer, STORE};
use crate::disk::SmallDisk;
use crate::host::Host;
use crate::layout::NATS_PORT;
use crate::logins::Logins;
use crate::netns::Netns;
use crate::process::run_ok;

/// Server 0 is 10.77.0.11.
const FIRST_HOST: u8 = 11;
const ROUTE_PORT: u16 = 6222;
const MONITOR_PORT: u16 = 8222;
/// Far above what a test stores, and small enough to be filled in a moment.
const DISK_BYTES: u64 = 192 << 20;
/// An election takes 4 to 9 s, and on a busy machine there may be several.
const FORM_TIMEOUT: Duration = Duration::from_secs(90);
/// A monitoring page takes milliseconds; a frozen server never answers.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);
/// From this version on a server knows `sync_interval: always`, without which acknowledged writes wait for the disk.
const SYNCS_ALWAYS: (u32, u32) = (2, 10);

/// Servers that form one cluster. Everything they leave is removed on drop.
#[derive(Debug)]
pub struct NatsCluster {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    // In the order of tearing down.
    server: NatsServer,
    disk: SmallDisk,
    host: Arc<Host>,
}

/// Who leads what, as the servers themselves say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaders {
    /// The leader of the cluster's own decisions.
    pub meta: Option<usize>,
    /// By stream.
    pub streams: BTreeMap<String, usize>,
}

/// What a server's version line says: `2.15.1`.
///
/// # Errors
/// When it cannot be run.
pub fn version(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.arg("--version");
    let line = run_ok(command, Duration::from_secs(30))?;
    let version = line
        .trim()
        .rsplit_once('v')
        .map(|(_, version)| version.to_owned());
    version.with_context(|| format!("read a version in {line:?}"))
}

fn syncs_always(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= SYNCS_ALWAYS
}

impl NatsCluster {
    /// Starts `count` servers on hosts of their own, plugged into `hub`, and waits until they have a leader.
    ///
    /// # Errors
    /// When one does not come up, or they do not find each other.
    pub fn start(hub: &Arc<Netns>, program: &Path, count: u8) -> Result<Self> {
        Self::start_with(hub, program, count, None)
    }

    /// As [`Self::start`], with servers that ask who is there.
    ///
    /// # Errors
    /// When one does not come up, or they do not find each other.
    pub fn start_with(
        hub: &Arc<Netns>,
        program: &Path,
        count: u8,
        logins: Option<&Logins>,
    ) -> Result<Self> {
        let jetstream = match syncs_always(&version(program)?) {
            true => "  sync_interval: always\n",
            false => "",
        };
        let addresses = (0..count).map(|n| Ipv4Addr::new(10, 77, 0, FIRST_HOST + n));
        let routes: Vec<String> = addresses
            .map(|address| format!("nats://{address}:{ROUTE_PORT}"))
            .collect();
        let mut cluster = Self {
            members: Vec::new(),
        };
        for n in 0..count {
            let host = Arc::new(Host::plug(hub, FIRST_HOST + n)?);
            let address = host.address();
            let extra = format!(
                "server_name: {}\nhttp: \"{address}:{MONITOR_PORT}\"\nping_interval: \"20s\"\n\
                 cluster {{\n  name: ib\n  listen: \"{address}:{ROUTE_PORT}\"\n  routes: [{}]\n}}\n",
                name(n.into()),
                routes.join(", "),
            );
            let asks = match logins {
                Some(logins) => {
                    logins.server_lines_in(&logins.dir().join(format!("accounts{n}")))?
                }
                None => String::new(),
            };
            let extra = extra + &asks;
            let (program, on) = (program.to_owned(), Arc::clone(&host));
            let server = NatsServer::configure_with(
                SocketAddr::from((address, NATS_PORT)),
                (&extra, jetstream),
                Box::new(move || on.netns().command(&program)),
                None,
            )?;
            let disk = SmallDisk::mount(&server.dir.path().join(STORE), DISK_BYTES)?;
            cluster.members.push(Member { server, disk, host });
        }
        let all: Vec<usize> = (0..cluster.members.len()).collect();
        cluster.restart_all(&all)?;
        cluster.wait_formed(&all)?;
        Ok(cluster)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where clients connect, server 0 first.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|m| m.server.url()).collect()
    }

    /// kill -9.
    pub fn kill(&mut self, n: usize) {
        self.members[n].server.kill();
    }

    /// kill -9 of all of them, as near to at once as can be.
    pub fn kill_all(&mut self) {
        // Frozen first, none of them sees another one die.
        for member in &mut self.members {
            // What cannot be frozen is killed all the same.
            let _ = member.server.freeze();
        }
        self.members.iter_mut().for_each(|m| m.server.kill());
    }

    /// Stops it if it runs, and starts it on the same store; does not wait for the others.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub fn restart(&mut self, n: usize) -> Result<()> {
        self.members[n].server.restart()
    }

    /// The same with several at once: one that recovers its store while the others are down waits for them.
    ///
    /// # Errors
    /// When one doesn't come up.
    pub fn restart_all(&mut self, who: &[usize]) -> Result<()> {
        thread::scope(|scope| {
            let members = self.members.iter_mut().enumerate();
            let starts: Vec<_> = members
                .filter(|(n, _)| who.contains(n))
                .map(|(_, member)| scope.spawn(|| member.server.restart()))
                .collect();
            starts.into_iter().try_for_each(|start| match start.join() {
                Ok(started) => started,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn freeze(&mut self, n: usize) -> Result<()> {
        self.members[n].server.freeze()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn thaw(&mut self, n: usize) -> Result<()> {
        self.members[n].server.thaw()
    }

    /// Its host, which can be cut off.
    pub fn host(&self, n: usize) -> &Host {
        &self.members[n].host
    }

    /// Its disk, which can be filled.
    pub fn disk(&self, n: usize) -> &SmallDisk {
        &self.members[n].disk
    }

    /// Everything it has logged.
    pub fn log_text(&self, n: usize) -> String {
        self.members[n].server.log_text()
    }

    /// Who leads what, by what the servers that answer say of themselves: a deposed leader that nobody told yet may be
    /// among them, so ask when they had time to agree.
    ///
    /// # Errors
    /// When no server answers.
    pub fn leaders(&self) -> Result<Leaders> {
        let mut leaders = Leaders::default();
        for (n, page) in &self.jetstream()? {
            if page["meta_cluster"]["leader"].as_str() == Some(&name(*n)) {
                leaders.meta = Some(*n);
            }
            let led = led(*n, page).map(|(stream, _)| (stream.to_owned(), *n));
            leaders.streams.extend(led);
        }
        Ok(leaders)
    }

    /// How many servers keep each stream, by the configuration that its leader has.
    ///
    /// # Errors
    /// When no server answers.
    pub fn replicas(&self) -> Result<BTreeMap<String, u64>> {
        let mut replicas = BTreeMap::new();
        for (n, page) in &self.jetstream()? {
            let led = led(*n, page).map(|(stream, about)| {
                let count = about["config"]["num_replicas"].as_u64();
                (stream.to_owned(), count.unwrap_or_default())
            });
            replicas.extend(led);
        }
        Ok(replicas)
    }

    /// What each server that answers shows of JetStream.
    fn jetstream(&self) -> Result<Vec<(usize, Value)>> {
        let page = |n| self.page(n, "/jsz?accounts=true&streams=true&config=true");
        let pages: Vec<(usize, Value)> = (0..self.len())
            .filter_map(|n| Some((n, page(n).ok()?)))
            .collect();
        ensure!(!pages.is_empty(), "no nats-server shows its streams");
        Ok(pages)
    }

    /// Whether a server says of itself that it is well: JetStream is on and up to date.
    pub fn is_healthy(&self, n: usize) -> bool {
        self.page(n, "/healthz")
            .is_ok_and(|page| page["status"] == "ok")
    }

    /// Waits until these servers are well, agree on a leader, and every stream has one.
    ///
    /// # Errors
    /// When that takes too long; the error says what was seen last.
    pub fn wait_formed(&self, who: &[usize]) -> Result<()> {
        let deadline = Instant::now() + FORM_TIMEOUT;
        loop {
            let well: Vec<bool> = who.iter().map(|n| self.is_healthy(*n)).collect();
            let claims: BTreeSet<String> = who.iter().flat_map(|n| self.meta_leader(*n)).collect();
            if well.iter().all(|well| *well) && claims.len() == 1 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("servers {who:?} form no cluster: well {well:?}, leaders {claims:?}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Whom a server takes for the leader.
    fn meta_leader(&self, n: usize) -> Option<String> {
        let page = self.page(n, "/jsz").ok()?;
        let leader = page["meta_cluster"]["leader"].as_str()?;
        (!leader.is_empty()).then(|| leader.to_owned())
    }

    /// A page of a server's monitoring, asked for from the hub, or from the server's own host while it is cut off.
    fn page(&self, n: usize, path: &str) -> Result<Value> {
        let member = &self.members[n];
        let address = SocketAddr::from((member.host.address(), MONITOR_PORT));
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&address, PAGE_TIMEOUT)?;
            stream.set_read_timeout(Some(PAGE_TIMEOUT))?;
            write!(
                stream,
                "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let (_, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
            serde_json::from_str(body).context("a JSON page")
        };
        let page = member.host.netns().inside(ask);
        page.with_context(|| format!("ask {} for {path}", name(n)))
    }
}

/// The streams that a server says it leads, by name.
fn led(n: usize, page: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let accounts = page["account_details"].as_array().into_iter().flatten();
    let streams = accounts.flat_map(|account| account["stream_detail"].as_array());
    let own = name(n);
    streams
        .flatten()
        .filter(move |stream| stream["cluster"]["leader"] == own.as_str())
        .filter_map(|stream| Some((stream["name"].as_str()?, stream)))
}

fn name(n: usize) -> String {
    format!("n{}", n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::NatsBinary;
    use crate::owner::unique_name;
    use std::io::{BufRead as _, BufReader};

    const API: Duration = Duration::from_secs(30);

    /// One request over JetStream's API or to a stream's subject, by hand; none: no answer in time.
    fn ask(
        cluster: &NatsCluster,
        n: usize,
        subject: &str,
        body: &str,
        wait: Duration,
    ) -> Option<String> {
        let host = cluster.host(n);
        let address = SocketAddr::from((host.address(), NATS_PORT));
        let talk = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(wait))?;
            write!(
                stream,
                "CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.t 1\r\nPUB {subject} _INBOX.t {}\r\n{body}\r\n",
                body.len()
            )?;
            let mut lines = BufReader::new(stream).lines();
            let message = lines.find(|line| match line {
                Ok(line) => line.starts_with("MSG _INBOX.t"),
                Err(_) => true,
            });
            Ok(message
                .and_then(Result::ok)
                .and_then(|_| lines.next()?.ok()))
        };
        host.netns().inside(talk).unwrap()
    }

    /// Publishes until it is stored.
    fn store(cluster: &NatsCluster, n: usize, body: &str) {
        let deadline = Instant::now() + FORM_TIMEOUT;
        loop {
            let answer = ask(cluster, n, "t", body, Duration::from_secs(2));
            if answer.is_some_and(|answer| answer.contains("\"seq\"")) {
                return;
            }
            assert!(Instant::now() < deadline, "{body} is not stored");
        }
    }

    /// How many messages the stream holds.
    fn messages(cluster: &NatsCluster, n: usize) -> u64 {
        let info = ask(cluster, n, "$JS.API.STREAM.INFO.T", "", API).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        info["state"]["messages"].as_u64().unwrap()
    }

    #[test]
    fn a_cluster_survives_its_leaders_death_an_island_and_a_full_disk() {
        let hub = Arc::new(Netns::create(&unique_name(), true).unwrap());
        let program = NatsBinary::Floor.path().unwrap();
        let mut cluster = NatsCluster::start(&hub, &program, 3).unwrap();
        let config = r#"{"name":"T","subjects":["t"],"storage":"file","num_replicas":3}"#;
        let created = ask(&cluster, 0, "$JS.API.STREAM.CREATE.T", config, API).unwrap();
        assert!(created.contains("\"did_create\":true"), "{created}");
        store(&cluster, 0, "one");
        assert_eq!(cluster.replicas().unwrap()["T"], 3);

        let leader = cluster.leaders().unwrap().streams["T"];
        let other = (leader + 1) % 3;
        cluster.kill(leader);
        store(&cluster, other, "two");
        let next = cluster.leaders().unwrap().streams["T"];
        assert_ne!(next, leader);
        cluster.restart(leader).unwrap();
        cluster.wait_formed(&[0, 1, 2]).unwrap();

        cluster.host(next).cut_off().unwrap();
        let majority = (next + 1) % 3;
        store(&cluster, majority, "three");
        let alone = ask(&cluster, next, "t", "lost", Duration::from_secs(2));
        assert!(
            !alone.unwrap_or_default().contains("\"seq\""),
            "a minority stores nothing"
        );
        cluster.host(next).rejoin().unwrap();
        cluster.wait_formed(&[0, 1, 2]).unwrap();

        cluster.disk(0).fill().unwrap();
        store(&cluster, 1, "four");
        cluster.disk(0).drain().unwrap();
        cluster.restart(0).unwrap();
        cluster.wait_formed(&[0, 1, 2]).unwrap();

        cluster.kill_all();
        cluster.restart_all(&[0, 1, 2]).unwrap();
        cluster.wait_formed(&[0, 1, 2]).unwrap();
        store(&cluster, 0, "five");
        // How many of the five are left is up to the servers: killed together, they may lose what they had acknowledged.
        assert!(messages(&cluster, 0) > 0, "the stream is there");
    }

    #[test]
    fn versions_are_read_and_compared() {
        let program = NatsBinary::Floor.path().unwrap();
        let version = version(&program).unwrap();
        assert!(version.starts_with("2."), "{version}");
        for (version, always) in [
            ("2.9.10", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
        ] {
            assert_eq!(syncs_always(version), always, "{version}");
        }
    }
}
