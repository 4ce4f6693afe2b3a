//! A stream that fails when nothing has moved for a while, in either direction.
//! The caller decides what is moved, and how long is too long.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(super) struct Idle<S> {
    stream: S,
    silence: Duration,
    alarm: Pin<Box<Sleep>>,
    /// The alarm is set for the current silence; a byte that moves ends it.
    silent: bool,
}

impl<S> Idle<S> {
    pub(super) fn new(stream: S, silence: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(silence));
        Self {
            stream,
            silence,
            alarm,
            silent: false,
        }
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
        this.bounded(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.bounded(cx, poll)
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

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_byte() {
        let silence = Duration::from_secs(30);
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Idle::new(near, silence);
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
