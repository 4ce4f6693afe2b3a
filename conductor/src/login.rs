//! A worker's own logins: read from the directory that `ironbeat auth init` made, and connected with.
//! What each may do is in `ironbeat-auth`; `loops/revoke` uses what ends others' logins.
use crate::config::{Auth, Nats};
use crate::seldom::Seldom;
use anyhow::{Context, bail, ensure};
use async_nats::ConnectErrorKind;
use async_nats::connection::State;
use ironbeat_auth::agent::Mint;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::jwt::{self, User};
use ironbeat_auth::refused::Refused;
use ironbeat_auth::sealing::Sealer;
use ironbeat_cli::auth::{GRANT, SEALING};
use ironbeat_cli::connect::{
    NO_AUTH, is_turned_away, may_do_without, options, read_creds, refusal,
};
use ironbeat_cli::private;
use ironbeat_cli::servers;
use ironbeat_core::id::WorkerId;
use ironbeat_core::text::said;
use nkeys::KeyPair;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two looks at servers that are away.
const LOOK: Duration = Duration::from_secs(1);
/// A login that is refused at each try for so long has ended. Servers that have just started, or are given the account anew,
/// refuse for a second or two.
const ENDED: Duration = Duration::from_secs(30);

/// What a worker is that has logins.
pub struct Login {
    /// Writes records; hears nothing that it has not asked for.
    pub worker: Creds,
    /// Hears requests and answers them. It can write to inboxes and nowhere else, because whoever asks says where the answer
    /// goes.
    pub front: Creds,
    /// Makes the logins of agents.
    pub mint: Mint,
    /// The operator's word that the key of `mint` makes agents, as [`Grant::sign`] writes it. None: it is the one that workers
    /// share, and the account has had it from the start.
    pub grant: Option<String>,
    /// What machines show that have no login yet, until the site has a newer one.
    pub bootstrap: String,
    bootstrap_key: String,
    /// The CA of the NATS servers, if they have one of their own.
    pub ca: Option<PathBuf>,
    /// Proves to which key secrets are sealed. None: the site was made before there was such a proof.
    pub sealer: Option<Sealer>,
    /// Ends logins, where the operator has left that to workers.
    pub revoker: Option<Revoker>,
}

impl Login {
    /// The public key whose grants this worker believes, where it knows it.
    pub fn signer(&self) -> Option<String> {
        let own = self.grant.as_deref().and_then(|it| Grant::read(it).ok());
        let revoker = self.revoker.as_ref().map(|it| it.signer.public_key());
        own.map(|grant| grant.iss).or(revoker)
    }
}

pub struct Revoker {
    pub creds: Creds,
    pub signer: KeyPair,
    /// The account's public key.
    pub account: String,
}

impl Login {
    /// None: `auth = "none"`.
    ///
    /// # Errors
    /// When neither was said, both were, a file is missing or open to others, or the servers are on other machines than this
    /// and nobody knows.
    pub fn of(nats: &Nats, i_know: bool) -> anyhow::Result<Option<Self>> {
        match (&nats.login, nats.auth) {
            (Some(_), Some(Auth::None)) => {
                bail!("nats.login is given and nats.auth is none: take one of them out")
            }
            (Some(dir), None) => Self::read(dir).map(Some),
            (None, Some(Auth::None)) => {
                may_do_without(&nats.servers, i_know)?;
                tracing::warn!("{NO_AUTH}");
                Ok(None)
            }
            (None, None) => bail!(
                "nats.login is missing: run `ironbeat auth init DIR`, copy DIR/worker to the workers' hosts, and write \
                 login = \"/etc/ironbeat/worker\" under [nats]. For a lab on loopback, without logins: auth = \"none\""
            ),
        }
    }

    /// The public keys of the workers' own logins, and that of their minting key.
    pub fn keys(&self) -> Vec<String> {
        let revoker = self.revoker.as_ref().map(|revoker| &revoker.creds);
        let creds = [&self.worker, &self.front].into_iter().chain(revoker);
        let mut keys: Vec<String> = creds.map(|creds| creds.key.public_key()).collect();
        keys.extend([self.bootstrap_key.clone(), self.mint.key()]);
        keys
    }

    fn read(dir: &Path) -> anyhow::Result<Self> {
        let word = |name: &str| {
            let text = private::read(&dir.join(name))?;
            Ok::<_, anyhow::Error>(text.trim().to_owned())
        };
        let key = |name: &str| {
            let key = KeyPair::from_seed(&word(name)?);
            key.map_err(|_| anyhow::anyhow!("{} is no key", dir.join(name).display()))
        };
        let worker = read_creds(&dir.join("worker.creds"))?;
        let account = worker.account()?;
        let revoker = match dir.join("revoke").exists() {
            true => Some(Revoker {
                creds: read_creds(&dir.join("revoke/system.creds"))?,
                signer: key("revoke/signer.seed")?,
                account: account.clone(),
            }),
            false => {
                tracing::warn!(
                    "{} is not there: a login that this worker ends goes on until its time is over, or another worker sees to it",
                    dir.join("revoke").display()
                );
                None
            }
        };
        let sealing = dir.join(SEALING);
        let sealer = match sealing.exists() {
            true => {
                let sealer = Sealer::parse(&word(SEALING)?);
                Some(sealer.with_context(|| format!("understand {}", sealing.display()))?)
            }
            false => {
                tracing::warn!(
                    "{} is not there: commands send no secrets to this worker. Run `ironbeat auth worker sign` where the site's keys \
                     are, and copy what it makes",
                    sealing.display()
                );
                None
            }
        };
        let bootstrap = word("bootstrap.jwt")?;
        let claims = jwt::read::<User>(&bootstrap);
        let claims =
            claims.with_context(|| format!("understand {}/bootstrap.jwt", dir.display()))?;
        let ca = dir.join("ca.pem");
        let mint = Mint::new(key("agents.seed")?, account);
        let granted = dir.join(GRANT);
        let grant = match granted.exists() {
            true => {
                let grant = word(GRANT)?;
                let key = Grant::read(&grant).map(|grant| grant.sub);
                let key = key.with_context(|| format!("understand {}", granted.display()))?;
                ensure!(
                    key == mint.key(),
                    "{} is for another key than agents.seed beside it",
                    granted.display()
                );
                Some(grant)
            }
            false => None,
        };
        Ok(Self {
            worker,
            front: read_creds(&dir.join("front.creds"))?,
            mint,
            grant,
            bootstrap,
            bootstrap_key: claims.sub,
            ca: ca.exists().then_some(ca),
            sealer,
            revoker,
        })
    }
}

/// What servers have refused to this worker: its login is not what this version needs, or has ended.
#[derive(Clone, Default)]
pub struct Refusals {
    all: Arc<Mutex<BTreeSet<Refused>>>,
    /// Whose login.
    ended: watch::Sender<Option<String>>,
}

impl Refusals {
    /// Subjects may have ids in them.
    const MAX: usize = 32;

    /// Returns when a login of this worker has ended, and says so.
    pub async fn ended(&self) -> anyhow::Error {
        let mut ended = self.ended.subscribe();
        let who = ended.wait_for(Option::is_some).await;
        let who = who
            .expect("this has the sender")
            .clone()
            .unwrap_or_default();
        anyhow::anyhow!(
            "the NATS servers have not taken the login of this worker ({who}) for {} s: it was revoked. `ironbeat auth worker add` \
             makes another, under a new name",
            ENDED.as_secs()
        )
    }

    fn add(&self, refused: Refused) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < Self::MAX {
            all.insert(refused);
        }
    }

    /// In words.
    pub fn all(&self) -> Vec<String> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(Refused::to_string).collect()
    }
}

/// Since when a connection that is made again has been turned away at each try.
#[derive(Default)]
struct TurnedAway(Mutex<Option<Instant>>);

impl TurnedAway {
    /// Whether its login has ended, as far as this event says.
    fn for_good(&self, event: &async_nats::Event, now: Instant) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            event if is_turned_away(event) => now - *since.get_or_insert(now) >= ENDED,
            // One has let it in, or none could be asked.
            async_nats::Event::Connected | async_nats::Event::ClientError(_) => {
                *since = None;
                false
            }
            _ => false,
        }
    }
}

/// Which of a worker's connections it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Worker,
    /// Where an answer goes is whoever asks to say: what is refused there is no fault of the worker's login.
    Front,
    Revoke,
}

/// How a worker's connections are made.
pub struct Connector<'a> {
    pub nats: &'a Nats,
    pub id: &'a WorkerId,
    pub ca: Option<&'a Path>,
    pub refusals: &'a Refusals,
}

impl Connector<'_> {
    /// Waits for servers that are not there yet, however long, and not for those that do not know the login.
    ///
    /// # Errors
    /// When the servers' names are none, or they do not take the login.
    pub async fn open(
        &self,
        part: Part,
        creds: Option<&Creds>,
    ) -> anyhow::Result<async_nats::Client> {
        let (refusals, lines) = (self.refusals.clone(), Seldom::default());
        let (who, turned_away) = (creds.map(Creds::who), TurnedAway::default());
        let name = match part {
            Part::Worker => format!("conductor/{}", self.id),
            Part::Front => format!("conductor/{}/front", self.id),
            Part::Revoke => format!("conductor/{}/revoke", self.id),
        };
        let options = options(creds, self.ca)
            .name(name)
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                report(part, &event, &refusals, &lines);
                if part != Part::Revoke && turned_away.for_good(&event, Instant::now()) {
                    refusals.ended.send_replace(who.clone());
                }
                async {}
            });
        let mut away = Away::default();
        loop {
            let error = match options.clone().connect(&self.nats.servers).await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    let who = creds.map_or("nobody".into(), Creds::who);
                    let servers = self.nats.servers.iter().map(|it| servers::plain(it));
                    let servers = servers.collect::<Vec<_>>().join(", ");
                    bail!(
                        "the NATS servers at {servers} do not take the login of this worker ({who}): it was revoked, or it is of \
                         another site"
                    )
                }
                ConnectErrorKind::ServerParse => {
                    let tried = servers::tried(&self.nats.servers).await;
                    return Err(error).context(format!("connect to NATS at {tried}"));
                }
                _ => {}
            }
            away.say(servers::tried(&self.nats.servers).await);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the servers let this login in. A key that its token needs no signature of may be any.
    ///
    /// # Errors
    /// When no server is reached.
    pub async fn lets_in(&self, login: &Creds) -> anyhow::Result<bool> {
        let options = options(Some(login), self.ca).name(format!("conductor/{}/try", self.id));
        match options.connect(&self.nats.servers).await {
            Ok(client) => {
                // It is closed, whatever becomes of the last word.
                let _ = client.drain().await;
                Ok(true)
            }
            Err(error) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    Ok(false)
                }
                _ => Err(error).context("connect to NATS with another login"),
            },
        }
    }
}

/// Of what a server says, in the log and in a worker's list: it may quote a subject that somebody made up.
const SHOWN: usize = 200;

/// Tells what the client of a connection reports.
fn report(part: Part, event: &async_nats::Event, refusals: &Refusals, lines: &Seldom) {
    let untold = match event {
        async_nats::Event::Connected => return tracing::info!("nats: connected"),
        // Others can cause these without end.
        async_nats::Event::ServerError(_) | async_nats::Event::SlowConsumer(_) => {
            lines.told(Instant::now())
        }
        _ => Some(0),
    };
    let refused = refusal(event).map(|refused| match refused {
        Refused::Publish(to) => Refused::Publish(said(&to, SHOWN)),
        Refused::Hear(from) => Refused::Hear(said(&from, SHOWN)),
    });
    let what = match refused {
        Some(Refused::Publish(to)) if part == Part::Front => {
            format!("somebody has asked for an answer to {to}, which is no inbox")
        }
        Some(refused) => {
            refusals.add(refused.clone());
            if let Some(untold) = untold {
                tracing::error!(untold, "nats: this worker lacks the {refused}");
            }
            return;
        }
        None => said(&event.to_string(), SHOWN),
    };
    if let Some(untold) = untold {
        tracing::warn!(untold, "nats: {what}");
    }
}

/// What was said last of servers that are away.
#[derive(Default)]
struct Away {
    tried: String,
    looks: u32,
}

impl Away {
    /// The same again only after so many looks.
    const AGAIN: u32 = 60;

    fn say(&mut self, tried: String) {
        self.looks += 1;
        if tried != self.tried || self.looks >= Self::AGAIN {
            tracing::warn!("no NATS server is reached: {tried}");
            *self = Self { tried, looks: 0 };
        }
    }
}

/// Says of each NATS server why it is not reached, which the client does not tell. Runs until the worker stops.
pub async fn watch(client: async_nats::Client, servers: Vec<String>) {
    let is_away = || client.connection_state() != State::Connected;
    let mut away = Away::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if !is_away() {
            away = Away::default();
            continue;
        }
        let tried = servers::tried(&servers).await;
        // It may have been reached meanwhile.
        if is_away() {
            away.say(tried);
        }
    }
}

/// Before the next server is tried. The client waits before each of them, so with three servers its own 4 s are 12 s in
/// which a worker does not notice that they are back. Workers are few: they do no harm by asking once a second.
fn reconnect_delay(attempt: usize) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(1);
    match u32::try_from(attempt).unwrap_or(u32::MAX) {
        0 | 1 => Duration::ZERO,
        n => FIRST.saturating_mul(2u32.saturating_pow(n - 2)).min(LIMIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_finds_any_of_three_restarted_servers_within_three_seconds() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempt in 0..1000 {
            let round = (attempt..attempt + 3).map(reconnect_delay);
            assert!(
                round.sum::<Duration>() <= Duration::from_secs(3),
                "{attempt}"
            );
        }
        assert!(
            reconnect_delay(usize::MAX) > Duration::ZERO,
            "it is no storm"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_has_ended_when_it_is_refused_at_each_try_for_half_a_minute() {
        use async_nats::{ClientError, Event};
        let failed = |text: &str| Event::ClientError(ClientError::Other(text.into()));
        let (refused, away) = (failed("authorization violation"), failed("IO error"));
        let (connected, lost) = (Event::Connected, Event::Disconnected);
        // An event in each second.
        let ended = async |events: &[&Event]| {
            let turned_away = TurnedAway::default();
            let mut ended = false;
            for event in events {
                tokio::time::advance(Duration::from_secs(1)).await;
                ended |= turned_away.for_good(event, Instant::now());
            }
            ended
        };
        let whole = vec![&refused; 31];
        assert!(ended(&whole).await);
        assert!(!ended(&whole[1..]).await, "a push of the account");
        for between in [&away, &connected] {
            let halves = [&whole[1..], &[between], &whole[1..]].concat();
            assert!(!ended(&halves).await, "{between}");
        }
        // Whatever else is said changes nothing.
        let noise = [&whole[1..], &[&lost], &whole[..1]].concat();
        assert!(ended(&noise).await);
    }

    #[test]
    fn a_worker_is_told_its_login_or_that_it_needs_none() {
        let why = |nats: Nats, i_know| {
            let login = Login::of(&nats, i_know);
            login
                .map(|login| assert!(login.is_none()))
                .map_err(|error| error.to_string())
        };
        let none = Some(Auth::None);
        let far = vec!["nats://10.0.0.1:4222".to_string()];
        let said = why(Nats::default(), true).unwrap_err();
        assert!(said.contains("ironbeat auth init"), "{said}");
        why(
            Nats {
                auth: none,
                ..Nats::default()
            },
            false,
        )
        .unwrap();
        let nats = Nats {
            auth: none,
            servers: far,
            ..Nats::default()
        };
        let said = why(nats.clone(), false).unwrap_err();
        assert!(
            said.contains("10.0.0.1") && said.contains("--i-know"),
            "{said}"
        );
        why(nats, true).unwrap();
        let both = Nats {
            auth: none,
            login: Some("/x".into()),
            ..Nats::default()
        };
        assert!(why(both, true).is_err());
    }
}
