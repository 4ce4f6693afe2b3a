//! The machine's end of simulated BMCs: a TCP port per BMC, to which QEMU's `ipmi-bmc-extern` connects.
//! Leaves the bytes to `vm`, and the answers to the BMC.
use crate::sys;
use crate::vm::{Capabilities, Decoder, Frame, Message, Order};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread looks at its stop flag, and whether the machine should pay attention, at least this often.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The connection of one BMC with its machine, for whoever wants to tell the machine something. Clones are the same one.
#[derive(Clone, Default)]
pub struct MachineLink(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stream: Option<TcpStream>,
    /// None until it has said what it can do.
    capabilities: Option<Capabilities>,
}

impl MachineLink {
    /// A machine is there, and ready.
    pub fn is_connected(&self) -> bool {
        self.lock().capabilities.is_some()
    }

    /// Tells the machine what to do. False: it is not there, or cannot do it.
    pub fn order(&self, order: Order) -> bool {
        let mut state = self.lock();
        let can = state.capabilities.is_some_and(|known| known.can(order));
        can && state.write(&order.bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = self
            .stream
            .as_mut()
            .is_some_and(|stream| stream.write_all(bytes).is_ok());
        if !written {
            *self = Self::default();
        }
        written
    }
}

/// A BMC's answer to a message (completion code and data; none: it is dead), and whether something waits for the machine.
pub(crate) trait Answers: Send + 'static {
    fn answer(&self, message: &Message) -> Option<Vec<u8>>;
    fn attention(&self) -> bool;
}

/// Serves one BMC's machine until dropped.
pub(crate) struct InBand {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl InBand {
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        listener: TcpListener,
        link: MachineLink,
        bmc: impl Answers,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("bmc-in-band".into());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut serving = Serving {
                    link,
                    machine: None,
                    bmc,
                    told: false,
                };
                while !stop.load(Ordering::Relaxed) {
                    serving.turn(&listener);
                }
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for InBand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving<B> {
    link: MachineLink,
    machine: Option<(TcpStream, Decoder)>,
    bmc: B,
    /// Whether the machine was told to pay attention.
    told: bool,
}

impl<B> Drop for Serving<B> {
    fn drop(&mut self) {
        *self.link.lock() = State::default();
    }
}

impl<B: Answers> Serving<B> {
    fn turn(&mut self, listener: &TcpListener) {
        let machine = self.machine.as_ref().map(|(stream, _)| stream.as_fd());
        let descriptors: Vec<_> = [Some(listener.as_fd()), machine]
            .into_iter()
            .flatten()
            .collect();
        // An error here shows when they are read.
        let _ = sys::wait(&descriptors, MAX_WAIT);
        if let Ok((stream, _)) = listener.accept() {
            self.connect(stream);
        }
        if self.read().is_err() {
            self.disconnect();
        }
        let attention = self.bmc.attention();
        // QEMU drops what comes in one piece behind an order, so this is the last of a turn.
        if attention != self.told && self.link.order(Order::Attention(attention)) {
            self.told = attention;
        }
    }

    /// A machine that was restarted replaces the one before.
    fn connect(&mut self, stream: TcpStream) {
        self.disconnect();
        // Answers are far smaller than a socket's buffer: a machine that has no room for one does not read.
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.try_clone());
        if let Ok(writer) = ready {
            self.link.lock().stream = Some(writer);
            self.machine = Some((stream, Decoder::default()));
        }
    }

    fn disconnect(&mut self) {
        self.machine = None;
        self.told = false;
        *self.link.lock() = State::default();
    }

    /// Answers what has come.
    fn read(&mut self) -> io::Result<()> {
        let Some((stream, decoder)) = &mut self.machine else {
            return Ok(());
        };
        let mut buffer = [0; 1024];
        let length = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let frames: Vec<_> = buffer[..length]
            .iter()
            .filter_map(|byte| decoder.take(*byte))
            .collect();
        for frame in frames {
            match frame {
                Frame::Message(message) => {
                    // Not under the link's lock: the BMC may want to tell the machine something.
                    if let Some(answer) = self.bmc.answer(&message) {
                        self.link.lock().write(&message.answer(&answer));
                    }
                }
                Frame::Capabilities(capabilities) => {
                    self.link.lock().capabilities = Some(capabilities);
                }
                Frame::Version(_) | Frame::Reset => {}
            }
        }
        Ok(())
    }
}
