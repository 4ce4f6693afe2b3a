//! A machine's serial console through its BMC, as something to read from and write to (IPMI 2.0 §15, §24.1 to §24.4).
//! It has a session of its own, so that commands do not wait for it; `sol` numbers packets, `watch` says when it ends.
use crate::bmc::Bmc;
use crate::clock;
use crate::config::Protocol;
use crate::error::{CompletionCode, Error, ErrorKind};
use crate::link::{Failed, Link};
use crate::message::{APP, Request};
use crate::received::Incoming;
use crate::sol::Sol;
use crate::watch::{Next, Watch};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const ATTEMPT: &str = "serial console";
/// Bytes that the reader may lag behind; beyond that the BMC has to wait.
const BUFFER: usize = 16 * 1024;
/// Requests of the handle that may wait for the task.
const CONTROLS: usize = 8;
/// Payload type "SOL", first instance.
const PAYLOAD: [u8; 2] = [0x01, 0x01];
/// Encrypted and authenticated; serial alerts fail while it is active (table 24-2).
const PROTECTED: u8 = 0xc0;
const ALREADY_ACTIVE: u8 = 0x80;

enum Control {
    Break,
    Close,
}

/// An open console. Dropping it ends it.
pub struct Console {
    stream: DuplexStream,
    control: mpsc::Sender<Control>,
    task: JoinHandle<Result<(), Error>>,
}

impl Drop for Console {
    fn drop(&mut self) {
        // The task sees the end of the stream and closes, within a bounded time.
        let _ = self.control.try_send(Control::Close);
    }
}

impl Console {
    /// A break, which Linux reads as "magic SysRq".
    ///
    /// # Errors
    /// When the console is gone.
    pub async fn send_break(&self) -> io::Result<()> {
        self.control
            .send(Control::Break)
            .await
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Ends the console. `Ok`: it worked until now.
    ///
    /// # Errors
    /// Why it ended earlier: the BMC gave it to somebody else, or fell silent.
    pub async fn close(mut self) -> Result<(), Error> {
        let _ = self.control.send(Control::Close).await;
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl AsyncRead for Console {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Console {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Bmc {
    /// Attaches to the serial console. `take_over`: even if somebody else has it; otherwise that is an error.
    ///
    /// # Errors
    /// `Busy` when somebody else has it, and whatever else prevents an answer.
    pub async fn console(&self, take_over: bool) -> Result<Console, Error> {
        let fail = |failed: Failed| self.failed(ATTEMPT, failed);
        if self.config().protocol != Protocol::RmcpPlus {
            let kind = ErrorKind::Unsupported("IPMI 1.5 has no serial console");
            return Err(self.error(ATTEMPT, kind));
        }
        let mut link = self.another_link();
        let room = activate(&mut link, take_over).await.map_err(fail)?;
        let (stream, inner) = tokio::io::duplex(BUFFER);
        let (control, controls) = mpsc::channel(CONTROLS);
        let bmc = self.clone();
        let task = tokio::spawn(async move {
            let begin = clock::now();
            let session = Attached {
                link,
                sol: Sol::new(room),
                watch: Watch::begin(begin),
                begin,
            };
            session
                .run(inner, controls)
                .await
                .map_err(|kind| bmc.error(ATTEMPT, kind))
        });
        Ok(Console {
            stream,
            control,
            task,
        })
    }

    /// Ends the console session, whoever has it (§24.2).
    ///
    /// # Errors
    /// Whatever prevents an answer. It is no error if there is no console session.
    pub async fn end_console(&self) -> Result<(), Error> {
        match self.command("end the serial console", deactivate()).await {
            // 80h: it is not active.
            Err(error) if error.completion().is_some_and(|c| c.0 == 0x80) => Ok(()),
            result => result.map(drop),
        }
    }
}

fn deactivate() -> Request {
    Request::new(APP, 0x49, &[PAYLOAD[0], PAYLOAD[1], 0, 0, 0, 0])
}

/// Opens a session and activates the payload in it. Returns how many bytes the BMC takes at once.
async fn activate(link: &mut Link, take_over: bool) -> Result<u16, Failed> {
    // Must not be executed twice: the second would find the payload of the first active.
    let request = Request::once(APP, 0x48, &[PAYLOAD[0], PAYLOAD[1], PROTECTED, 0, 0, 0]);
    let mut response = link.run(&request, None).await?;
    if response.completion == ALREADY_ACTIVE && take_over {
        link.run(&deactivate(), None).await?;
        response = link.run(&request, None).await?;
    }
    match response.completion {
        0 => {}
        ALREADY_ACTIVE => return Err(ErrorKind::Busy.into()),
        0x81 => return Err(ErrorKind::Unsupported("serial over LAN is switched off").into()),
        0x83 | 0x84 => {
            return Err(ErrorKind::Unsupported("it offers no encrypted console").into());
        }
        code => return Err(ErrorKind::Completion(CompletionCode(code)).into()),
    }
    // Auxiliary data (4), inbound size, outbound size, port (table 24-2).
    let Some([_, _, _, _, low, high, ..]) = response.data.get(..6) else {
        return Err(ErrorKind::Malformed("a payload activation cut short").into());
    };
    Ok(u16::from_le_bytes([*low, *high]))
}

/// Get Payload Instance Info (§24.5): which session has the console.
const INSTANCE_INFO: u8 = 0x4b;

struct Attached {
    link: Link,
    sol: Sol,
    watch: Watch,
    begin: Instant,
}

impl Attached {
    async fn run(
        mut self,
        stream: DuplexStream,
        mut controls: mpsc::Receiver<Control>,
    ) -> Result<(), ErrorKind> {
        let result = self.pump(stream, &mut controls).await;
        // Somebody else's console is not ours to end.
        if result != Err(ErrorKind::ConsoleTaken) {
            let _ = self.link.exchange(&deactivate(), None, 2).await;
        }
        self.link.close().await;
        result
    }

    async fn pump(
        &mut self,
        stream: DuplexStream,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<(), ErrorKind> {
        let (mut typed, mut shown) = tokio::io::split(stream);
        let mut buffer = [0; 256];
        loop {
            while let Some(packet) = self.sol.poll(clock::now() - self.begin) {
                self.link.session()?.send_sol(&packet).await?;
            }
            let mut wake = match self.watch.next(&self.sol, clock::now()) {
                Next::Over(result) => return result,
                Next::Ask => {
                    let request = Request::new(APP, INSTANCE_INFO, &PAYLOAD);
                    self.link.session()?.post(&request).await?;
                    self.watch.asked(clock::now());
                    continue;
                }
                Next::Wait(until) => until,
            };
            if let Some(due) = self.sol.next_timeout() {
                wake = wake.min(self.begin + due);
            }
            let room = self.sol.room().min(buffer.len());
            tokio::select! {
                incoming = self.link.session()?.incoming() => self.receive(incoming?, clock::now())?,
                count = typed.read(&mut buffer[..room]), if room > 0 && !self.watch.is_closing() => {
                    match count {
                        Ok(0) | Err(_) => self.watch.close(clock::now()),
                        Ok(count) => self.sol.type_in(&buffer[..count]),
                    }
                }
                count = shown.write(self.sol.received()), if !self.sol.received().is_empty() => {
                    match count {
                        // The reader is gone.
                        Ok(0) | Err(_) => return Ok(()),
                        Ok(count) => self.sol.delivered(count),
                    }
                }
                control = controls.recv() => match control {
                    Some(Control::Break) => self.sol.send_break(),
                    Some(Control::Close) => self.watch.close(clock::now()),
                    // The handle is gone, and with it the other end of the stream.
                    None => return Ok(()),
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn receive(&mut self, incoming: Incoming, now: Instant) -> Result<(), ErrorKind> {
        match incoming {
            Incoming::Sol(packet) => self.sol.receive(&packet, now - self.begin),
            Incoming::Ipmi(response) => {
                let is_info = response.command == INSTANCE_INFO && response.completion == 0;
                if let (true, Some(owner)) = (is_info, response.data.first_chunk()) {
                    self.watch.owned_by(*owner)?;
                }
            }
        }
        self.watch.heard(now);
        Ok(())
    }
}
