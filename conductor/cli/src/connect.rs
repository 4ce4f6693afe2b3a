//! How a command finds NATS and says who it is; and how it hears at once that it may not, or not any more.
//! `client` asks workers; the worker's own login is in the conductor.
use crate::private;
use crate::servers;
use anyhow::{Context, bail, ensure};
use clap::Args;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::refused::Refused;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Subjects remembered; a command asks for a few.
const MAX_REFUSED: usize = 64;
const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";
/// What everybody is told who asks for no login.
pub const NO_AUTH: &str = "auth = none: whoever reaches these NATS servers commands every machine and reads every password";

/// Where to find the workers, as whom, and how to print replies.
#[derive(Args)]
pub struct Connect {
    /// NATS servers, separated by commas.
    #[arg(
        long,
        env = "IRONBEAT_NATS",
        default_value = "nats://127.0.0.1:4222",
        global = true,
        value_delimiter = ','
    )]
    nats: Vec<String>,
    /// Subject prefix.
    #[arg(long, env = "IRONBEAT_PREFIX", default_value = ironbeat_common::subject::DEFAULT_PREFIX, global = true)]
    prefix: String,
    /// Your login, as `ironbeat auth user add` made it; default: ~/.config/ironbeat/creds.
    #[arg(long, env = "IRONBEAT_CREDS", global = true, value_name = "FILE")]
    creds: Option<PathBuf>,
    /// Certificate of the CA of the NATS servers; default: ~/.config/ironbeat/ca.pem if it is there.
    #[arg(long, env = "IRONBEAT_CA", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// No login: for a lab on loopback. Also IRONBEAT_AUTH=none.
    #[arg(long, global = true)]
    no_auth: bool,
    /// As --no-auth.
    #[arg(long = "auth", env = "IRONBEAT_AUTH", global = true, hide = true, value_parser = ["none"])]
    auth: Option<String>,
    /// With no login, on other addresses than loopback too.
    #[arg(long, global = true)]
    i_know: bool,
    /// Print replies as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// The NATS client connects again by itself.
    Lost,
    /// The servers do not take the login any more; this stays.
    Ended,
}

impl Link {
    fn after(self, event: &async_nats::Event) -> Self {
        use async_nats::{Event, ServerError};
        match event {
            _ if self == Self::Ended => self,
            Event::Connected => Self::Up,
            Event::Disconnected => Self::Lost,
            Event::ServerError(ServerError::Other(text)) if is_end_of_login(text) => Self::Ended,
            event if is_turned_away(event) => Self::Ended,
            _ => self,
        }
    }
}

/// What the client says when a server has refused the login while it connects again.
pub fn is_turned_away(event: &async_nats::Event) -> bool {
    use async_nats::{ClientError, ConnectErrorKind, Event};
    match event {
        Event::ClientError(ClientError::Other(text)) => {
            *text == ConnectErrorKind::AuthorizationViolation.to_string()
        }
        _ => false,
    }
}

/// nats-server's last words to a login that was revoked, or whose time is over, or its account's (`server/errors.go`,
/// `server/accounts.go`).
fn is_end_of_login(error: &str) -> bool {
    let error = error.to_lowercase();
    ["authentication revoked", "authentication expired"]
        .iter()
        .any(|words| error.contains(words))
}

/// A connection, and what servers have refused to it.
pub struct Connected {
    pub nats: async_nats::Client,
    pub refused: watch::Receiver<Vec<Refused>>,
    pub link: watch::Receiver<Link>,
    /// `anna, observer`.
    pub who: String,
    /// The public key that signed the login, and so may vouch for workers. None: there is no login, and nobody to believe.
    pub believed: Option<String>,
    /// The public key of the login; without one, a name of this run.
    pub asker: String,
}

impl Connect {
    pub fn servers(&self) -> &[String] {
        &self.nats
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn i_know(&self) -> bool {
        self.i_know
    }

    /// # Errors
    /// When there is no login, or no server takes it.
    pub async fn open(&self) -> anyhow::Result<Connected> {
        self.open_as(self.login()?).await
    }

    /// With another login than the person's own.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn open_as(&self, creds: Option<Creds>) -> anyhow::Result<Connected> {
        let (say, refused) = watch::channel(vec![]);
        let (say_link, link) = watch::channel(Link::Up);
        let options = options(creds.as_ref(), self.ca().as_deref());
        let options = options.name("ironbeat/cli").event_callback(move |event| {
            say_link.send_if_modified(|link| {
                let before = std::mem::replace(link, link.after(&event));
                before != *link
            });
            let heard = refusal(&event);
            if let Some(heard) = heard {
                say.send_modify(|all: &mut Vec<_>| {
                    if all.len() < MAX_REFUSED {
                        all.push(heard);
                    }
                });
            }
            async {}
        });
        let who = creds.as_ref().map_or("nobody".into(), Creds::who);
        let nats = match options.connect(&self.nats).await {
            Ok(nats) => nats,
            Err(error) if error.kind() == async_nats::ConnectErrorKind::AuthorizationViolation => {
                let servers: Vec<String> = self.nats.iter().map(|it| servers::plain(it)).collect();
                let servers = servers.join(", ");
                bail!(
                    "the NATS servers at {servers} do not take this login ({who}): it was revoked, its time is over, or it is of another site"
                )
            }
            Err(error) => {
                let tried = servers::tried(&self.nats).await;
                return Err(error).context(format!("connect to NATS at {tried}"));
            }
        };
        let believed = creds.as_ref().map(Creds::issuer);
        let believed = believed.transpose().context("read the login")?;
        let asker = match &creds {
            Some(creds) => creds.key.public_key(),
            None => uuid::Uuid::new_v4().simple().to_string(),
        };
        Ok(Connected {
            nats,
            refused,
            link,
            who,
            believed,
            asker,
        })
    }

    fn login(&self) -> anyhow::Result<Option<Creds>> {
        if self.no_auth || self.auth.is_some() && self.creds.is_none() {
            may_do_without(&self.nats, self.i_know)?;
            let red = std::io::stderr().is_terminal();
            let (on, off) = if red { (RED, PLAIN) } else { ("", "") };
            eprintln!("{on}{NO_AUTH}{off}");
            return Ok(None);
        }
        let usual = home().map(|home| home.join("creds"));
        let usual = usual.filter(|path| path.exists());
        let Some(path) = self.creds.clone().or(usual) else {
            bail!(
                "no login: give --creds FILE, or put it at ~/.config/ironbeat/creds; `ironbeat auth user add` makes one, and \
                 `ironbeat auth init` the first. For a lab on loopback without logins: --no-auth"
            )
        };
        read_creds(&path).map(Some)
    }

    fn ca(&self) -> Option<PathBuf> {
        let usual = home().map(|home| home.join("ca.pem"));
        self.ca.clone().or(usual.filter(|path| path.exists()))
    }
}

fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(".config/ironbeat"))
}

/// # Errors
/// When it cannot be read, others may read it, or it is no login; nothing of it is quoted.
pub fn read_creds(path: &Path) -> anyhow::Result<Creds> {
    let text = private::read(path).context("read the login")?;
    Creds::parse(&text).with_context(|| format!("understand the login {}", path.display()))
}

/// # Errors
/// When a server is on another machine, perhaps, and nobody said that this is known.
pub fn may_do_without(servers: &[String], i_know: bool) -> anyhow::Result<()> {
    let far = servers.iter().find(|server| !is_loopback(server));
    if let Some(far) = far {
        ensure!(
            i_know,
            "{} is not on loopback, and without logins whoever reaches it commands every machine: run `ironbeat auth init`, \
             or say --i-know",
            servers::plain(far)
        );
    }
    Ok(())
}

fn is_loopback(server: &str) -> bool {
    let Ok(server) = server.parse::<async_nats::ServerAddr>() else {
        return false;
    };
    let host = server.host().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// What every connection of ours has in common. With a CA, a server that offers no TLS is none of ours.
pub fn options(creds: Option<&Creds>, ca: Option<&Path>) -> async_nats::ConnectOptions {
    let mut options = async_nats::ConnectOptions::new();
    if let Some(creds) = creds {
        let key = std::sync::Arc::new(creds.key.clone());
        options = options
            .jwt(creds.jwt.clone(), move |nonce| {
                let signed = key.sign(&nonce).map_err(async_nats::AuthError::new);
                async move { signed }
            })
            .custom_inbox_prefix(creds.inbox());
    }
    match ca {
        Some(ca) => options
            .add_root_certificates(ca.to_path_buf())
            .require_tls(true),
        None => options,
    }
}

/// What a server has refused, if this is what it says.
pub fn refusal(event: &async_nats::Event) -> Option<Refused> {
    match event {
        async_nats::Event::ServerError(async_nats::ServerError::Other(text)) => {
            Refused::parse(text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_login_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("ironbeat-creds-{}", std::process::id()));
        let site = ironbeat_auth::site::Site::new("ib.v1");
        let creds = site
            .login(
                ironbeat_auth::roles::Role::Observer,
                "otto",
                1_700_000_000,
                None,
            )
            .unwrap();
        std::fs::write(&path, creds.text().unwrap()).unwrap();
        for (mode, good) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read_creds(&path) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => {
                    let why = format!("{error:#}");
                    assert!(!good && why.contains("run `chmod 0600"), "{mode:o}: {why}");
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_login_that_has_ended_is_told_from_a_lost_connection() {
        use async_nats::{ClientError, Event, ServerError};
        let said = |text: &str| Event::ServerError(ServerError::Other(text.into()));
        let failed = |text: &str| Event::ClientError(ClientError::Other(text.into()));
        let check = |events: &[Event], expected: Link| {
            let link = events.iter().fold(Link::Up, Link::after);
            assert_eq!(link, expected, "{events:?}");
        };
        check(&[Event::Connected], Link::Up);
        check(&[Event::Disconnected, failed("IO error")], Link::Lost);
        check(&[Event::Disconnected, Event::Connected], Link::Up);
        check(&[said("maximum connections exceeded")], Link::Up);
        check(
            &[Event::Disconnected, failed("authorization violation")],
            Link::Ended,
        );
        for words in [
            "User Authentication Revoked",
            "User Authentication Expired",
            "Account Authentication Expired",
        ] {
            check(&[said(words), Event::Disconnected], Link::Ended);
        }
    }

    #[test]
    fn without_logins_a_server_must_be_on_this_machine() {
        let check = |server: &str, good: bool| {
            assert_eq!(
                may_do_without(&[server.into()], false).is_ok(),
                good,
                "{server}"
            );
            assert!(may_do_without(&[server.into()], true).is_ok(), "{server}");
        };
        for good in [
            "nats://127.0.0.1:4222",
            "127.0.0.9",
            "localhost:4222",
            "tls://[::1]:4222",
        ] {
            check(good, true);
        }
        for bad in [
            "nats://10.0.0.1:4222",
            "nats://localhost.example.org",
            "127.0.0.1.example.org",
            "[::]:4222",
            "0.0.0.0",
            "",
        ] {
            check(bad, false);
        }
        let two = ["127.0.0.1".into(), "10.0.0.1".into()];
        assert!(may_do_without(&two, false).is_err());
    }
}
