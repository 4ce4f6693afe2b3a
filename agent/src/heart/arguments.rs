//! The arguments that a loader could not put on the kernel's command line, from a worker: GRUB, as Debian signs it, loads files by
//! TFTP alone, and a ticket is made when it is asked for.
//! What the words mean is in `init::cmdline`.
use super::link::{RETRY_FIRST, RETRY_LIMIT};
use super::{authority, set_clock};
use crate::init::cmdline::{self, Settings};
use crate::random;
use crate::web::document;
use crate::web::trust::Trust;
use crate::web::url::Url;
use crate::web::way::Web;
use anyhow::{Context, bail, ensure};
use ironbeat_common::id::Mac;
use ironbeat_common::login::ARGUMENTS_PATH;
use std::sync::Arc;

/// A kernel takes 2 KiB.
const MAX_BYTES: usize = 8 * 1024;
/// How often it goes round all workers, some two minutes in all, before it ends, which reboots the machine: that gives BMC,
/// firmware and boot order their chance again, as a boot script does.
const ROUNDS: u32 = 10;

/// The settings of the command line `line`, and what it leaves to its workers. Blocks until one has answered. `over_tls`: where
/// they are asked if they answer over TLS alone, since the answer has the ticket.
///
/// # Errors
/// When no worker lets this machine boot the ramdisk.
pub fn complete(
    settings: Settings,
    line: &str,
    trust: &Arc<Trust>,
    workers: &[Url],
    over_tls: &[Url],
) -> anyhow::Result<Settings> {
    if !settings.nats.is_empty() {
        return Ok(settings);
    }
    let mac = settings
        .booted
        .context("the kernel's command line does not say which NIC was booted from (ib.mac)")?;
    let web = Web::new(trust.clone(), None, workers);
    let asked = match over_tls {
        [] => workers,
        over_tls => {
            if let Some(site) = authority::of_site(&web, workers, settings.ca.as_ref())? {
                trust.believe(site);
            }
            trust.wall().wait(set_clock::FIRST_ROUND);
            over_tls
        }
    };
    for round in 0..ROUNDS {
        if let Some(settings) = ask_each(&web, asked, mac, line) {
            return Ok(settings);
        }
        std::thread::sleep(random::back_off(RETRY_FIRST, round, RETRY_LIMIT));
    }
    bail!("no worker gave this machine the arguments of a ramdisk in {ROUNDS} rounds")
}

fn ask_each(web: &Web, workers: &[Url], mac: Mac, line: &str) -> Option<Settings> {
    for worker in workers {
        match ask(web, worker, mac, line) {
            Ok(settings) => {
                tracing::info!(%worker, "got the arguments that the command line leaves out");
                return Some(settings);
            }
            Err(error) => tracing::warn!("asking for arguments: {error:#}"),
        }
    }
    None
}

fn ask(web: &Web, worker: &Url, mac: Mac, line: &str) -> anyhow::Result<Settings> {
    let url = worker.at(&format!("{ARGUMENTS_PATH}/{}", mac.hex()))?;
    let words = document::get(web, &url, MAX_BYTES)?;
    // The last word of a kind counts.
    let settings = cmdline::parse(&format!("{line} {}", String::from_utf8_lossy(&words)));
    ensure!(
        !settings.nats.is_empty(),
        "GET {url}: the answer names no NATS server"
    );
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::testing::{Reply, Server, web};
    use data_encoding::HEXLOWER;
    use ironbeat_common::login::CA_PATH;
    use ironbeat_rack::certificates;
    use sha2::{Digest, Sha256};

    const MAC: &str = "52:54:00:77:00:01";
    const LINE: &str = "quiet ib.mac=52:54:00:77:00:01 ib.log=debug ib.http=http://w1:8081";

    fn server(words: &'static str) -> Server {
        Server::start(move |request| {
            assert_eq!(request.target, "/v1/arguments/525400770001");
            Reply::object(words.as_bytes(), "one", request)
        })
    }

    #[test]
    fn the_command_line_is_completed_by_the_first_worker_that_can() {
        let long: &'static str = "ib.nats=nats://n:4222 ".repeat(500).leak();
        let servers = [
            Server::start(|_| Reply::status(503)),
            server("ib.login=a.b.c"),
            server(long),
            server(
                "ib.nats=nats://n:4222 ib.prefix=lab.v1 ib.http=http://w2:8081 ib.login=a.b.c\n",
            ),
            server("ib.nats=nats://other:4222"),
        ];
        let urls = servers.iter().map(|it| Url::parse(&it.url("")).unwrap());
        let urls: Vec<Url> = urls.collect();
        let mac = MAC.parse().unwrap();
        for (url, said) in urls.iter().zip([
            "HTTP status 503",
            "the answer names no NATS server",
            "it is too long",
        ]) {
            let error = format!("{:#}", ask(&web(), url, mac, LINE).unwrap_err());
            assert!(error.contains(said) && !error.contains("a.b.c"), "{error}");
        }
        let settings = ask_each(&web(), &urls, mac, LINE).unwrap();
        assert_eq!(settings.nats, ["nats://n:4222"]);
        assert_eq!(settings.prefix, "lab.v1");
        assert_eq!(settings.workers, ["http://w2:8081"]);
        assert_eq!((settings.booted, settings.debug), (Some(mac), true));
        assert_eq!(settings.login.unwrap().reveal(), "a.b.c");
        assert!(servers[4].seen().is_empty(), "one answer is one ticket");
        assert!(ask_each(&web(), &urls[..3], mac, LINE).is_none());
    }

    #[test]
    fn over_tls_they_are_had_from_a_worker_whom_the_named_ca_vouches_for() {
        let authority = certificates::Authority::new();
        let pem = authority.pem();
        let named = HEXLOWER.encode(&Sha256::digest(&pem));
        let by_http = Server::start(move |request| {
            assert_eq!(request.target, CA_PATH);
            Reply::object(pem.as_bytes(), "one", request)
        });
        let secure = |authority: &certificates::Authority| {
            let shown = authority.certify(&["127.0.0.1"], certificates::GOOD);
            Server::secure(&shown, |request| {
                let words = b"ib.nats=nats://n:4222 ib.ticket=SUx";
                Reply::object(words, "one", request)
            })
        };
        let (stranger, ours) = (secure(&certificates::Authority::new()), secure(&authority));
        let url = |server: &Server| Url::parse(&server.url("")).unwrap();
        let line = format!("{LINE} ib.ca=sha256:{named}");
        let trust = Arc::<Trust>::default();
        trust.wall().was_asked();
        let completed = complete(
            cmdline::parse(&line),
            &line,
            &trust,
            &[url(&by_http)],
            &[url(&stranger), url(&ours)],
        );
        assert_eq!(completed.unwrap().nats, ["nats://n:4222"]);
        assert!(stranger.seen().is_empty(), "no word is said to it");
        assert_eq!(ours.seen().len(), 1);
    }

    #[test]
    fn a_command_line_that_says_all_asks_nobody_and_one_without_a_nic_cannot() {
        let whole = format!("{LINE} ib.nats=nats://n:4222");
        let settings = cmdline::parse(&whole);
        let trust = Arc::default();
        let completed = complete(settings.clone(), &whole, &trust, &[], &[]);
        assert_eq!(completed.unwrap(), settings);
        let error =
            complete(cmdline::parse("ib.http=http://w1"), "", &trust, &[], &[]).unwrap_err();
        assert!(error.to_string().contains("ib.mac"), "{error}");
    }
}
