//! A stream that fails when nothing has moved for a while, in either direction, or when its reader is too slow.
//! The caller decides what is moved, how long is too long, and how slow is too slow.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How much a reader has to take in the time for which it makes us wait. What we cannot send any faster is not held
/// against it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub bytes: u64,
    pub waiting: Duration,
}

pub(super) struct Idle<S> {
    stream: S,
    silence: Duration,
    alarm: Pin<Box<Sleep>>,
    /// The alarm is set for the current silence; a byte that moves ends it.
    silent: bool,
    reader: Reader,
}

/// The account of a reader, begun anew each time it has taken enough.
struct Reader {
    floor: Floor,
    taken: u64,
    waited: Duration,
    /// Since when it makes us wait.
    since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Reader {
    fn took(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        if self.taken >= self.floor.bytes {
            (self.taken, self.waited) = (0, Duration::ZERO);
        }
    }

    fn waits(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            let left = self.floor.waiting.saturating_sub(self.waited);
            self.alarm.as_mut().reset(now + left);
        }
        ready!(self.alarm.as_mut().poll(cx));
        let (taken, secs) = (self.taken, self.floor.waiting.as_secs());
        let what = format!("the reader took {taken} bytes in {secs} s");
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what))
    }
}

impl<S> Idle<S> {
    pub(super) fn new(stream: S, silence: Duration, floor: Floor) -> Self {
        let alarm = || Box::pin(tokio::time::sleep(silence));
        Self {
            stream,
            silence,
            alarm: alarm(),
            silent: false,
            reader: Reader {
                floor,
                taken: 0,
                waited: Duration::ZERO,
                since: None,
                alarm: alarm(),
            },
        }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &poll {
            Poll::Ready(Ok(bytes)) => self.reader.took(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if let Poll::Ready(slow) = self.reader.waits(cx) {
                    return Poll::Ready(Err(slow));
                }
            }
        }
        self.bounded(cx, poll)
    }

    /// Passes on what the stream said, or fails after too long a silence.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.silent = false;
            return poll;
        }
        if !self.silent {
            self.silent = true;
            self.alarm.as_mut().reset(Instant::now() + self.silence);
        }
        ready!(self.alarm.as_mut().poll(cx));
        let what = format!("nothing moved for {} s", self.silence.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.bounded(cx, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Moves no byte, so it neither begins nor ends a silence.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ANY: Floor = Floor {
        bytes: 0,
        waiting: Duration::from_secs(3600),
    };

    #[tokio::test(start_paused = true)]
    async fn a_reader_below_the_floor_is_cut_however_steady_it_is() {
        let floor = Floor {
            bytes: 1000,
            waiting: Duration::from_secs(60),
        };
        // In ten seconds each: silence is never reached.
        for (each, cut) in [(250, false), (100, true)] {
            let (near, mut far) = tokio::io::duplex(each);
            let mut near = Idle::new(near, Duration::from_secs(30), floor);
            let reading = tokio::spawn(async move {
                let mut piece = vec![0; each];
                while far.read_exact(&mut piece).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
            let written = near.write_all(&vec![0; 40 * each]).await;
            let error = written.map_err(|error| error.to_string());
            match cut {
                false => assert_eq!(error, Ok(())),
                true => assert!(error.unwrap_err().contains("bytes in 60 s")),
            }
            drop(near);
            reading.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_sender_is_slow_with_is_not_held_against_the_reader() {
        let floor = Floor {
            bytes: 1000,
            waiting: Duration::from_secs(60),
        };
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Idle::new(near, Duration::from_secs(30), floor);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            near.write_all(b"x").await.unwrap();
            far.read_exact(&mut [0]).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_byte() {
        let silence = Duration::from_secs(30);
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Idle::new(near, silence, ANY);
        let mut byte = [0];
        for _ in 0..5 {
            tokio::time::sleep(silence - Duration::from_secs(1)).await;
            far.write_all(b"x").await.unwrap();
            near.read_exact(&mut byte).await.unwrap();
        }
        let begin = Instant::now();
        let error = near.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(
            (error.kind(), begin.elapsed()),
            (io::ErrorKind::TimedOut, silence)
        );
        // A peer that takes nothing is as silent as one that sends nothing.
        let begin = Instant::now();
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(
            (error.kind(), begin.elapsed()),
            (io::ErrorKind::TimedOut, silence)
        );
    }
}
