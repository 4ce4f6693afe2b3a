//! Finds out what time it is, before anything depends on it: asks the time servers that DHCP or the boot script named, else the
//! workers. It never goes behind the day on which this ramdisk was made, and never waits for ever.
//! The packets are read in `net::sntp`; what goes by the time is in `web::trust`.
use crate::clock::{Wall, day};
use crate::net::sntp;
use crate::web::http::{self, ByteRange, Floor, NEVER, Timeouts};
use crate::web::trust::Trust;
use crate::web::url::Url;
use crate::web::way::{Reach, Web};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// When this ramdisk was made, in seconds since 1970; `ironbeat-image` writes it.
const BUILT_FILE: &str = "etc/ironbeat/built";
/// A ramdisk is not used for longer, and certificates do not live longer. Later than that, a clock is wrong.
const YEARS: u64 = 20;
const YEAR_SECS: u64 = 365 * 86_400;
/// Connections wait for the first round at most this long.
pub const FIRST_ROUND: Duration = Duration::from_secs(8);
/// Until somebody has answered, all are asked again after this: the network may come up later than its address.
const ASK_AGAIN: Duration = Duration::from_secs(15);
const LIMITS: Timeouts<'static> = Timeouts {
    connect: Duration::from_secs(2),
    stall: Duration::from_secs(2),
    floor: Floor {
        bytes: 0,
        waiting: Duration::from_secs(60),
    },
    cancelled: &NEVER,
};

/// Who may know the time.
#[derive(Clone, Default)]
pub struct Sources {
    /// Names or addresses, in the order in which they are asked.
    pub ntp: Vec<String>,
    /// Base URLs.
    pub workers: Vec<Url>,
}

/// Between which times it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Since 1970.
    built: Duration,
}

impl Bounds {
    /// None: nobody knows when this agent was made, and any time may be the right one.
    pub fn of_ramdisk(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join(BUILT_FILE)).ok()?;
        Self::from_built(text.trim().parse().ok()?)
    }

    pub fn from_built(secs: u64) -> Option<Self> {
        let built = Duration::from_secs(secs);
        (secs < u64::from(u32::MAX) * 2).then_some(Self { built })
    }

    fn hold(self, time: Duration) -> bool {
        let until = self.built + Duration::from_secs(YEARS * YEAR_SECS);
        (self.built..until).contains(&time)
    }
}

/// Asks on a thread of its own until somebody has answered. The machine's clock is right at least as far as it can be without
/// them when this returns.
pub fn start(wall: &Arc<Wall>, bounds: Option<Bounds>, sources: Sources) {
    if let Some(bounds) = bounds.filter(|bounds| !bounds.hold(wall.now())) {
        let here = day(wall.now().as_secs());
        tracing::warn!(
            "the clock says {here}, which cannot be: it is not before {}, when this ramdisk was made",
            day(bounds.built.as_secs())
        );
        wall.set(bounds.built);
    }
    if sources.ntp.is_empty() && sources.workers.is_empty() {
        tracing::info!("nobody is named who knows the time (ib.ntp, ib.http)");
        wall.was_asked();
        return;
    }
    let (wall, again) = (wall.clone(), wall.clone());
    let work = move || {
        // What is asked without TLS needs nobody's trust.
        let web = Web::new(Arc::new(Trust::new(wall.clone())), None, &[]);
        let mut is_first = true;
        while !round(&wall, bounds, &sources, &web) {
            if std::mem::take(&mut is_first) {
                tracing::warn!("nobody says what time it is: going by this machine's clock");
            }
            wall.was_asked();
            std::thread::sleep(ASK_AGAIN);
        }
        wall.was_asked();
    };
    let name = "clock".to_string();
    if let Err(error) = std::thread::Builder::new().name(name).spawn(work) {
        tracing::error!(%error, "cannot ask for the time");
        again.was_asked();
    }
}

/// Asks each until one gives a time that can be. Whether one did.
fn round(wall: &Wall, bounds: Option<Bounds>, sources: &Sources, web: &Web) -> bool {
    let by_ntp = sources.ntp.iter().map(|server| {
        let asked = server.clone();
        (server.clone(), in_time(move || sntp::ask(&asked)))
    });
    let by_http = sources.workers.iter();
    let by_http = by_http.map(|worker| (worker.to_string(), date_of(worker, web)));
    // One after the other: the next is asked only if this one does not know.
    for (source, said) in by_ntp.chain(by_http) {
        match said {
            Ok(time) if bounds.is_some_and(|bounds| !bounds.hold(time)) => {
                let says = day(time.as_secs());
                tracing::warn!(source, "it says that it is {says}, which cannot be");
            }
            Ok(time) => {
                let was = wall.now();
                wall.set(time);
                let (off, is_behind) = match was.checked_sub(time) {
                    Some(ahead) => (ahead, false),
                    None => (time - was, true),
                };
                let by = if is_behind { "behind" } else { "ahead" };
                let (here, off_secs) = (day(time.as_secs()), off.as_secs());
                tracing::info!(
                    source,
                    off_secs,
                    "clock set: it is {here}, the clock was {by}"
                );
                return true;
            }
            Err(error) => tracing::info!(source, error, "it does not say what time it is"),
        }
    }
    false
}

/// Looking up a name may take as long as it likes.
fn in_time(
    ask: impl FnOnce() -> std::io::Result<Duration> + Send + 'static,
) -> Result<Duration, String> {
    const LIMIT: Duration = Duration::from_secs(4);
    let (tell, told) = mpsc::channel();
    let thread = std::thread::Builder::new().name("time server".into());
    let spawned = thread.spawn(move || drop(tell.send(ask())));
    spawned.map_err(|error| error.to_string())?;
    match told.recv_timeout(LIMIT) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// The `Date` of an answer, whatever it says.
fn date_of(worker: &Url, web: &Web) -> Result<Duration, String> {
    let url = worker.at("/healthz").map_err(|error| error.to_string())?;
    if url.is_secure() {
        // Its certificate cannot be judged before the time is known.
        return Err("it is asked over https, which needs the time".into());
    }
    let answer = http::get(web, &url, Reach::Anywhere, &ByteRange::default(), LIMITS);
    let (head, _) = answer.map_err(|error| error.to_string())?;
    head.date.ok_or_else(|| "its answer has no Date".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::testing::{Reply, Server};

    const BUILT: u64 = 1_796_000_000;

    /// Starts with this clock, and these dates of workers; the clock afterwards.
    fn set(clock: u64, dates: &[Option<&'static str>]) -> u64 {
        let kernel = Wall::default().now().as_secs() as i64;
        let wall = Arc::new(Wall::off_by(clock as i64 - kernel));
        let servers: Vec<Server> = dates
            .iter()
            .map(|date| {
                let date = *date;
                Server::start(move |_| match date {
                    Some(date) => Reply::status(404).with("Date", date),
                    None => Reply::status(200),
                })
            })
            .collect();
        let workers = servers
            .iter()
            .map(|server| Url::parse(&server.url("")).unwrap());
        let sources = Sources {
            ntp: vec![],
            workers: workers.collect(),
        };
        start(&wall, Bounds::from_built(BUILT), sources);
        wall.wait(Duration::from_secs(120));
        wall.now().as_secs()
    }

    fn check(clock: u64, dates: &[Option<&'static str>], expected: u64) {
        let now = set(clock, dates);
        assert!((expected..expected + 100).contains(&now), "{clock}: {now}");
    }

    const TRUE: Option<&str> = Some("Tue, 01 Dec 2026 12:00:00 GMT");
    const TRUE_SECS: u64 = 1_796_126_400;

    #[test]
    fn whatever_the_clock_said_it_is_set_by_the_first_who_knows() {
        for clock in [0, BUILT + 5, 4_102_444_799] {
            check(clock, &[TRUE], TRUE_SECS);
            check(clock, &[None, TRUE], TRUE_SECS);
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_not_believed() {
        let long_ago = Some("Thu, 01 Jan 1970 00:00:00 GMT");
        let far_off = Some("Thu, 31 Dec 2099 00:00:00 GMT");
        for lie in [long_ago, far_off] {
            check(BUILT + 500, &[lie, TRUE], TRUE_SECS);
            check(BUILT + 500, &[lie], BUILT + 500);
        }
    }

    #[test]
    fn without_anybody_who_knows_a_clock_that_cannot_be_right_says_when_the_ramdisk_was_made() {
        for clock in [0, 4_102_444_799] {
            check(clock, &[], BUILT);
            check(clock, &[None], BUILT);
        }
        check(BUILT + 500, &[], BUILT + 500);
    }

    #[test]
    fn a_time_server_that_is_away_stops_nobody() {
        let wall = Arc::new(Wall::off_by(0));
        let server = Server::start(|_| Reply::status(200).with("Date", TRUE.unwrap()));
        let sources = Sources {
            ntp: vec!["no-such-host.invalid".into()],
            workers: vec![Url::parse(&server.url("")).unwrap()],
        };
        start(&wall, None, sources);
        wall.wait(Duration::from_secs(120));
        assert!((TRUE_SECS..TRUE_SECS + 100).contains(&wall.now().as_secs()));
    }

    #[test]
    fn a_ramdisk_says_when_it_was_made() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Bounds::of_ramdisk(root.path()), None);
        fs::create_dir_all(root.path().join("etc/ironbeat")).unwrap();
        for (text, built) in [
            ("1796000000\n", Bounds::from_built(BUILT)),
            ("soon", None),
            ("99999999999999", None),
        ] {
            fs::write(root.path().join(BUILT_FILE), text).unwrap();
            assert_eq!(Bounds::of_ramdisk(root.path()), built, "{text}");
        }
    }
}
