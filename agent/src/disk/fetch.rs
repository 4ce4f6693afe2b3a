//! Downloads one object from several mirrors: a broken transfer resumes where it stopped, at the same mirror or the next.
//! Checking the bytes is left to `write`.
use crate::context::MayPass;
use crate::web::http::{self, Body, ByteRange, Floor, Head, Timeouts};
use crate::web::url::Url;
use crate::web::way::{Reach, Web};
use anyhow::{Context, anyhow, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MAX_REDIRECTS: usize = 5;

/// When to stop trying.
#[derive(Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// Without a single byte: then the connection counts as broken.
    pub stall: Duration,
    /// Slower than this counts as broken too.
    pub floor: Floor,
    /// From the first failure in a row, without a new byte from any mirror.
    pub patience: Duration,
    /// Pause after the first round without a new byte; doubled after each further one.
    pub pause: Duration,
    /// Resumed transfers in total: bounds a server that cuts every connection after a few bytes.
    pub resumes: u32,
    /// The longest wait at once for servers that are busy and say when to ask again.
    pub turn: Duration,
    /// All such waits together.
    pub queue: Duration,
}

impl Limits {
    /// For a step that counts as hung after `hung` without a new byte: it gives up by itself before that, and can say why.
    /// A last silence before the first failure and after the last pause are part of it.
    pub fn within(hung: Duration) -> Self {
        let stall = Duration::from_secs(20);
        Self {
            connect: Duration::from_secs(5),
            stall,
            // 1 KiB/s: a worker lets nobody be slower than it is told to, but others' servers may send for ever.
            floor: Floor {
                bytes: 60 * 1024,
                waiting: Duration::from_secs(60),
            },
            patience: hung.saturating_sub(3 * stall).max(hung / 2),
            pause: Duration::from_millis(500),
            resumes: 256,
            turn: Duration::from_secs(30),
            // The step's budget ends before.
            queue: Duration::from_secs(24 * 3600),
        }
    }
}

struct Mirror {
    url: Url,
    /// ETag or else Last-Modified of what was read there first.
    version: Option<String>,
    /// Why it is no longer tried.
    ruled_out: Option<Final>,
    /// It is full, and may be asked again then.
    busy_until: Option<Instant>,
}

/// Why a request failed: worth a retry, or final for this mirror.
enum Refusal {
    Transient(anyhow::Error),
    /// No failure: the server is well, and says when it may have a place.
    Busy(Duration),
    Final(Final),
}

/// This download gets no more of the object here.
struct Final {
    error: anyhow::Error,
    /// There is another object now: a new download would get that one.
    changed: bool,
}

fn final_refusal(error: anyhow::Error) -> Refusal {
    let changed = false;
    Refusal::Final(Final { error, changed })
}

/// What keeps a download from its next byte.
pub enum Snag {
    /// It begins to wait for its turn, and has waited for so long before.
    InLine { waited: Duration },
    /// A transfer broke at this byte, or none began: why.
    Broken {
        position: u64,
        total: Option<u64>,
        why: String,
    },
}

/// Hears of each.
pub type OnSnag<'a> = &'a dyn Fn(Snag);

/// Characters of why a transfer broke.
const MAX_WHY: usize = 300;

pub struct Download<'a> {
    web: &'a Web,
    mirrors: Vec<Mirror>,
    current: usize,
    limits: Limits,
    cancelled: &'a AtomicBool,
    on_snag: OnSnag<'a>,
    /// For its turn, in all.
    waited: Duration,
    body: Option<Body<'a>>,
    position: u64,
    total: Option<u64>,
    resumed: u32,
    /// In a row, without a new byte.
    failures: u32,
    failing_since: Option<Instant>,
}

impl<'a> Download<'a> {
    /// Finds a mirror that answers; afterwards the size is known if the server gave it.
    pub fn open(
        web: &'a Web,
        urls: &[String],
        limits: Limits,
        cancelled: &'a AtomicBool,
        on_snag: OnSnag<'a>,
    ) -> anyhow::Result<Self> {
        let mirror = |text: &String| {
            let url =
                Url::parse(text).with_context(|| format!("image URL {}", without_query(text)))?;
            Ok(Mirror {
                url,
                version: None,
                ruled_out: None,
                busy_until: None,
            })
        };
        let mirrors = urls
            .iter()
            .map(mirror)
            .collect::<anyhow::Result<Vec<_>>>()?;
        if mirrors.is_empty() {
            bail!("the order names no image URL");
        }
        let mut download = Self {
            web,
            mirrors,
            current: 0,
            limits,
            cancelled,
            on_snag,
            waited: Duration::ZERO,
            body: None,
            position: 0,
            total: None,
            resumed: 0,
            failures: 0,
            failing_since: None,
        };
        download.connect(None)?;
        Ok(download)
    }

    /// Size of the object, in bytes.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
    /// How often a broken transfer was resumed.
    pub fn resumed(&self) -> u32 {
        self.resumed
    }
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads on, resuming broken transfers; 0 only at the end of the object.
    pub fn read(&mut self, out: &mut [u8]) -> anyhow::Result<usize> {
        loop {
            let Some(body) = &mut self.body else {
                bail!("the download is over");
            };
            match body.read(out) {
                Ok(0) if self.total.is_none_or(|total| total == self.position) => return Ok(0),
                Ok(0) => {
                    let broken = anyhow!("the transfer ended at byte {}", self.position);
                    self.connect(Some(broken))?;
                }
                Ok(count) => {
                    self.position += count as u64;
                    (self.failures, self.failing_since) = (0, None);
                    return Ok(count);
                }
                Err(e) => self.connect(Some(e.into()))?,
            }
        }
    }

    /// Gets a body that continues at `position`; `broken` is the error that ended the last one.
    fn connect(&mut self, broken: Option<anyhow::Error>) -> anyhow::Result<()> {
        self.body = None;
        let mut last = broken;
        loop {
            if let Some(error) = last.take() {
                self.give_up_or_wait(error)?;
            }
            if self.position > 0 && self.resumed >= self.limits.resumes {
                let broke = format!("{} broke off {} times", self.describe(), self.resumed);
                return Err(anyhow::Error::msg(MayPass(broke)));
            }
            match self.request() {
                Ok(body) => {
                    self.body = Some(body);
                    self.resumed += u32::from(self.position > 0);
                    return Ok(());
                }
                Err(Refusal::Transient(error)) => last = Some(error),
                Err(Refusal::Busy(after)) => self.queue(after)?,
                Err(Refusal::Final(refusal)) => {
                    self.mirrors[self.current].ruled_out = Some(refusal);
                    self.next_mirror()?;
                }
            }
            if self.cancelled.load(Ordering::Relaxed) {
                bail!("cancelled at {}", self.describe());
            }
        }
    }

    fn give_up_or_wait(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            bail!("cancelled at {}", self.describe());
        }
        let why = format!("{error:#}");
        tracing::warn!(image = %self.mirrors[self.current].url, position = self.position, error = why, "broken transfer");
        (self.on_snag)(Snag::Broken {
            position: self.position,
            total: self.total,
            why: why.chars().take(MAX_WHY).collect(),
        });
        let live = self
            .mirrors
            .iter()
            .filter(|mirror| mirror.ruled_out.is_none())
            .count()
            .max(1) as u32;
        self.failures += 1;
        let rounds = self.failures / live;
        let failing = self
            .failing_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        if failing >= self.limits.patience {
            let (what, tries) = (self.describe(), self.failures);
            let tried = format!("{what}, tried {tries} times in {} s", failing.as_secs());
            return Err(error.context(MayPass(tried)));
        }
        if self.failures.is_multiple_of(live) {
            self.wait(self.limits.pause.saturating_mul(1 << (rounds - 1).min(4)));
        }
        self.next_mirror()
    }

    /// Asks the next mirror, or waits until the first of them may have a place.
    fn queue(&mut self, after: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        // Whoever says "at once" is asked again a little later all the same.
        let after = after.max(self.limits.pause).min(self.limits.turn);
        self.mirrors[self.current].busy_until = Some(now + after);
        // It answers, so it is not failing.
        (self.failures, self.failing_since) = (0, None);
        let live = || self.mirrors.iter().filter(|m| m.ruled_out.is_none());
        let first = live().map(|mirror| mirror.busy_until.unwrap_or(now)).min();
        let pause = first.map_or(after, |first| first.saturating_duration_since(now));
        if !pause.is_zero() {
            if self.waited >= self.limits.queue {
                let (what, secs) = (self.describe(), self.waited.as_secs());
                let busy = format!("{what}: all servers were busy for {secs} s");
                return Err(anyhow::Error::msg(MayPass(busy)));
            }
            self.waited += pause;
            let waited = self.waited;
            (self.on_snag)(Snag::InLine { waited });
            self.wait(pause);
        }
        self.next_mirror()
    }

    fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.cancelled.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn next_mirror(&mut self) -> anyhow::Result<()> {
        let (count, now) = (self.mirrors.len(), Instant::now());
        // In turn, but those that are full only when nobody else is left.
        let next = (1..=count)
            .map(|step| (self.current + step) % count)
            .filter(|&i| self.mirrors[i].ruled_out.is_none())
            .min_by_key(|&i| self.mirrors[i].busy_until.filter(|until| *until > now));
        if let Some(next) = next {
            self.current = next;
            return Ok(());
        }
        let refusals = || self.mirrors.iter().flat_map(|mirror| &mirror.ruled_out);
        let reasons: Vec<String> = refusals()
            .map(|refusal| format!("{:#}", refusal.error))
            .collect();
        let reasons = reasons.join("; ");
        match refusals().any(|refusal| refusal.changed) {
            true => Err(anyhow::Error::msg(MayPass(reasons))),
            false => bail!("{reasons}"),
        }
    }

    fn describe(&self) -> String {
        let total = self
            .total
            .map_or_else(String::new, |total| format!(" of {total}"));
        format!(
            "download of {} at byte {}{total}",
            self.mirrors[self.current].url, self.position
        )
    }

    /// One try at the current mirror, redirects followed.
    fn request(&mut self) -> Result<Body<'a>, Refusal> {
        let first = self.mirrors[self.current].url.clone();
        let (mut url, mut reach) = (first.clone(), Reach::Anywhere);
        for hop in 0..=MAX_REDIRECTS {
            let timeouts = Timeouts {
                connect: self.limits.connect,
                stall: self.limits.stall,
                floor: self.limits.floor,
                cancelled: self.cancelled,
            };
            let version = self.mirrors[self.current].version.as_deref();
            // A weak tag or a date promises nothing about single bytes: compare it, but do not send it (RFC 9110 §13.1.5).
            let strong = version.filter(|version| self.position > 0 && version.starts_with('"'));
            let answer = http::get(
                self.web,
                &url,
                reach,
                &ByteRange {
                    from: self.position,
                    if_range: strong,
                },
                timeouts,
            );
            let (head, body) = match answer {
                Ok(answer) => answer,
                Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(final_refusal(anyhow!(e).context(format!("GET {url}"))));
                }
                Err(e) => return Err(Refusal::Transient(anyhow!(e).context(format!("GET {url}")))),
            };
            let status = head.status;
            match status {
                200 | 206 => return self.accept(&url, head, body),
                301 | 302 | 303 | 307 | 308 => {
                    let Some(location) = head.location else {
                        return Err(final_refusal(anyhow!(
                            "GET {url}: HTTP status {status} without a Location"
                        )));
                    };
                    if hop == 0 {
                        reach = Reach::after(body.address());
                    }
                    let next = url.join(&location);
                    url = next.map_err(|e| {
                        final_refusal(anyhow!(e).context(format!("GET {url} was redirected")))
                    })?;
                }
                429 | 503 if head.retry_after.is_some() => {
                    let secs = head.retry_after.unwrap_or_default();
                    tracing::info!(image = %url, secs, "the server is busy");
                    return Err(Refusal::Busy(Duration::from_secs(secs)));
                }
                408 | 425 | 429 | 500.. => {
                    return Err(Refusal::Transient(anyhow!(
                        "GET {url}: HTTP status {status}"
                    )));
                }
                _ => return Err(final_refusal(anyhow!("GET {url}: HTTP status {status}"))),
            }
        }
        Err(final_refusal(anyhow!(
            "GET {first}: more than {MAX_REDIRECTS} redirects"
        )))
    }

    /// Checks that the answer continues the same object at the right byte. Some servers ignore `Range` or `If-Range`, and a
    /// changed object is sent from its start, so version and size are compared here.
    fn accept(&mut self, url: &Url, head: Head, mut body: Body<'a>) -> Result<Body<'a>, Refusal> {
        let refuse = |why: String| Err(final_refusal(anyhow!("GET {url}: {why}")));
        let has_changed = |why: String| {
            let (error, changed) = (anyhow!("GET {url}: {why}"), true);
            Err(Refusal::Final(Final { error, changed }))
        };
        let version = head.etag.or(head.last_modified);
        let mirror = &mut self.mirrors[self.current];
        if self.position > 0 && mirror.version.is_some() && mirror.version != version {
            return has_changed(format!(
                "the image changed while it was read (at byte {})",
                self.position
            ));
        }
        mirror.version = version;
        let total = match (head.status, head.content_range) {
            (206, Some((first, last, total))) => {
                if first != self.position || total.is_some_and(|total| last + 1 != total) {
                    return refuse(format!(
                        "asked for the bytes from {}, was sent {first} to {last}",
                        self.position
                    ));
                }
                if head.length.is_some_and(|length| length != last - first + 1) {
                    return refuse("Content-Length and Content-Range disagree".to_owned());
                }
                total.or(Some(last + 1))
            }
            (206, None) => return refuse("a partial answer without Content-Range".to_owned()),
            _ => head.length,
        };
        if let (Some(before), Some(now)) = (self.total, total)
            && before != now
        {
            return has_changed(format!(
                "the image has {now} bytes here, but {before} where the download began"
            ));
        }
        if head.status == 200 {
            self.skip(&mut body)
                .map_err(|e| Refusal::Transient(e.context(format!("GET {url}"))))?;
        }
        self.total = self.total.or(total);
        Ok(body)
    }

    /// Skips to `position` on a server that cannot start there.
    fn skip(&self, body: &mut Body<'a>) -> anyhow::Result<()> {
        let mut left = self.position;
        let mut waste = vec![0; 64 * 1024];
        while left > 0 {
            let wanted = waste.len().min(left.try_into().unwrap_or(usize::MAX));
            let count = body.read(&mut waste[..wanted])?;
            if count == 0 {
                bail!("the transfer ended at byte {}", self.position - left);
            }
            left -= count as u64;
        }
        Ok(())
    }
}

fn without_query(text: &str) -> &str {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    if text.contains('@') {
        "(with credentials)"
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
