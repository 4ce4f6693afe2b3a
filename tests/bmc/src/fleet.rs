//! Many simulated BMCs behind one UDP socket and one thread: address n of a range is BMC n.
//! Leaves the answer to a datagram to `bmc`.
use crate::bmc::{Bmc, Reply};
use crate::chassis::Chassis;
use crate::inband::{Answers, InBand, MachineLink};
use crate::settings::{Counters, Settings};
use crate::sys::Socket;
use crate::vm::Message;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Answers held back at the same time; more are lost, as in a full switch.
const MAX_DELAYED: usize = 200_000;
/// The loop looks at its stop flag at least this often.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// Where a fleet listens.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The address of BMC 0; the others follow. All of 127.0.0.0/8 is there on every host; for other ranges make the
    /// host take them, `ip route add local 10.88.0.0/16 dev lo`.
    pub first: Ipv4Addr,
    /// 0: any free one.
    pub port: u16,
    pub count: usize,
    /// Take datagrams of this network device only; for `lo` nobody outside can reach them.
    pub device: Option<String>,
    /// Chance is the same whenever this is.
    pub seed: u64,
}

impl FleetConfig {
    /// BMCs from 127.64.0.0 on, reachable from this host alone.
    pub fn loopback(count: usize, port: u16) -> Self {
        Self {
            first: Ipv4Addr::new(127, 64, 0, 0),
            port,
            count,
            device: Some("lo".into()),
            seed: 1,
        }
    }

    /// One BMC at 127.0.0.1.
    pub fn single(port: u16) -> Self {
        Self {
            first: Ipv4Addr::LOCALHOST,
            device: None,
            ..Self::loopback(1, port)
        }
    }
}

/// Running BMCs. They stop when this is dropped.
pub struct Fleet {
    in_band: Vec<InBand>,
    shared: Arc<Shared>,
    port: u16,
    count: usize,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fleet({} at {})", self.count, self.address(0))
    }
}

struct Shared {
    first: u32,
    begin: Instant,
    stop: AtomicBool,
    bmcs: Mutex<Vec<Bmc>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Bmc>> {
        // A test that panicked with the lock held has failed already.
        self.bmcs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl Fleet {
    /// Starts them; `settings` says what BMC n is like.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn start(config: &FleetConfig, settings: impl Fn(usize) -> Settings) -> io::Result<Self> {
        let bind = match config.count {
            1 => config.first,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let address = SocketAddrV4::new(bind, config.port);
        let socket = Socket::bind(address, config.device.as_deref())?;
        let port = socket.local_addr()?.port();
        #[expect(
            clippy::disallowed_methods,
            reason = "a BMC's clock starts at the host's time"
        )]
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as u32);
        let bmc = |n: usize| {
            let mut settings = settings(n);
            if settings.lan.address.is_unspecified() {
                settings.lan.address = nth(config.first, n);
            }
            if settings.lan.port == 0 {
                settings.lan.port = port;
            }
            Bmc::new(settings, config.seed.wrapping_add(n as u64), epoch)
        };
        let bmcs = (0..config.count).map(bmc).collect();
        let shared = Arc::new(Shared {
            first: u32::from(config.first),
            begin: Instant::now(),
            stop: AtomicBool::new(false),
            bmcs: Mutex::new(bmcs),
        });
        let thread = std::thread::Builder::new().name("bmc-sim".into()).spawn({
            let shared = Arc::clone(&shared);
            move || Loop::new(socket).run(&shared)
        })?;
        Ok(Self {
            in_band: Vec::new(),
            shared,
            port,
            count: config.count,
            thread: Some(thread),
        })
    }

    /// One BMC on a loopback port.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub fn single(port: u16, settings: Settings) -> io::Result<Self> {
        Self::start(&FleetConfig::single(port), |_| settings.clone())
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn address(&self, n: usize) -> SocketAddr {
        let ip = nth(Ipv4Addr::from(self.shared.first), n);
        SocketAddr::from((ip, self.port))
    }

    /// Gives BMC n a machine that somebody else owns.
    ///
    /// # Panics
    /// When there is no BMC n.
    pub fn attach(&self, n: usize, chassis: Box<dyn Chassis>) {
        self.with(n, |bmc, _| bmc.attach(chassis));
    }

    /// Lets the machine of BMC n reach it in band: QEMU with `-chardev socket,id=ipmi,host=…,port=…,reconnect=1`,
    /// `-device ipmi-bmc-extern,id=bmc,chardev=ipmi` and `-device isa-ipmi-kcs,bmc=bmc`. The machine can be told things
    /// through what is returned.
    ///
    /// # Errors
    /// When the listener cannot be served.
    pub fn serve_machine(&mut self, n: usize, listener: TcpListener) -> io::Result<MachineLink> {
        let link = MachineLink::default();
        let bmc = OneOf {
            shared: Arc::clone(&self.shared),
            n,
        };
        self.in_band
            .push(InBand::start(listener, link.clone(), bmc)?);
        Ok(link)
    }

    /// What all of them did.
    pub fn counters(&self) -> Counters {
        let bmcs = self.shared.lock();
        bmcs.iter()
            .fold(Counters::default(), |sum, bmc| sum.plus(bmc.counters()))
    }

    /// Looks at BMC n, or changes it; `now` is the time it lives in.
    ///
    /// # Panics
    /// When there is no BMC n.
    pub fn with<R>(&self, n: usize, look: impl FnOnce(&mut Bmc, Duration) -> R) -> R {
        let mut bmcs = self.shared.lock();
        look(&mut bmcs[n], self.shared.now())
    }

    /// The same for all of them, one after the other.
    pub fn each(&self, mut look: impl FnMut(usize, &mut Bmc)) {
        let mut bmcs = self.shared.lock();
        for (n, bmc) in bmcs.iter_mut().enumerate() {
            look(n, bmc);
        }
    }
}

fn nth(first: Ipv4Addr, n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first).wrapping_add(n as u32))
}

/// One BMC, for its machine.
struct OneOf {
    shared: Arc<Shared>,
    n: usize,
}

impl Answers for OneOf {
    fn answer(&self, message: &Message) -> Option<Vec<u8>> {
        let mut bmcs = self.shared.lock();
        let bmc = bmcs.get_mut(self.n)?;
        // Only unit 0 is there.
        match message.lun {
            0 => bmc.in_band(
                self.shared.now(),
                message.netfn,
                message.command,
                &message.data,
            ),
            _ => Some(vec![0xc2]),
        }
    }

    fn attention(&self) -> bool {
        self.shared.lock().get(self.n).is_some_and(Bmc::attention)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.in_band.clear();
        self.shared.stop.store(true, Ordering::Relaxed);
        // Any datagram wakes the loop; if it gets lost, MAX_WAIT does.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address(0));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Ordered by time, then by age.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    at: Duration,
    order: u64,
    from: u32,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

struct Loop {
    socket: Socket,
    delayed: BinaryHeap<Reverse<Delayed>>,
    order: u64,
    /// When each BMC wants to wake up.
    wakes: BTreeSet<(Duration, usize)>,
    replies: Vec<Reply>,
}

impl Loop {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            delayed: BinaryHeap::new(),
            order: 0,
            wakes: BTreeSet::new(),
            replies: Vec::new(),
        }
    }

    fn run(mut self, shared: &Shared) {
        while !shared.stop.load(Ordering::Relaxed) {
            let count = match self.socket.receive() {
                Ok(count) => count,
                Err(error) => {
                    eprintln!("bmc-sim: receive: {error}");
                    return;
                }
            };
            if count > 0 {
                self.take(count, shared);
            }
            let now = shared.now();
            self.wake(shared, now);
            self.send_due(now);
            if count == 0 {
                let next = [
                    self.delayed.peek().map(|delayed| delayed.0.at),
                    self.wakes.first().map(|(at, _)| *at),
                ];
                let next = next.into_iter().flatten().min();
                let wait = next.map_or(MAX_WAIT, |at| at.saturating_sub(now).min(MAX_WAIT));
                // An error here shows at the next receive.
                let _ = self.socket.wait(wait);
            }
        }
    }

    fn take(&mut self, count: usize, shared: &Shared) {
        let mut bmcs = shared.lock();
        for index in 0..count {
            let received = self.socket.received(index);
            let to = u32::from(received.to);
            let n = to.wrapping_sub(shared.first) as usize;
            let Some(bmc) = bmcs.get_mut(n) else {
                continue;
            };
            let now = shared.now();
            let peer = SocketAddr::V4(received.from);
            bmc.receive(now, peer, received.bytes, &mut self.replies);
            if let Some(at) = bmc.next_wake() {
                self.wakes.insert((at, n));
            }
            self.flush(to, now);
        }
    }

    fn wake(&mut self, shared: &Shared, now: Duration) {
        if self.wakes.first().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let mut bmcs = shared.lock();
        while let Some((at, n)) = self.wakes.pop_first() {
            if at > now {
                self.wakes.insert((at, n));
                return;
            }
            let Some(bmc) = bmcs.get_mut(n) else {
                continue;
            };
            bmc.wake(now, &mut self.replies);
            if let Some(next) = bmc.next_wake() {
                self.wakes
                    .insert((next.max(now + Duration::from_millis(1)), n));
            }
            self.flush(shared.first.wrapping_add(n as u32), now);
        }
    }

    /// Sends what a BMC has to say, or keeps it until it is time.
    fn flush(&mut self, from: u32, now: Duration) {
        let mut replies = std::mem::take(&mut self.replies);
        for reply in replies.drain(..) {
            let SocketAddr::V4(to) = reply.to else {
                continue;
            };
            if reply.at <= now {
                self.socket.send(&reply.bytes, Ipv4Addr::from(from), to);
            } else if self.delayed.len() < MAX_DELAYED {
                self.order += 1;
                self.delayed.push(Reverse(Delayed {
                    at: reply.at,
                    order: self.order,
                    from,
                    to,
                    bytes: reply.bytes,
                }));
            }
        }
        self.replies = replies;
    }

    fn send_due(&mut self, now: Duration) {
        while self
            .delayed
            .peek()
            .is_some_and(|delayed| delayed.0.at <= now)
        {
            if let Some(Reverse(due)) = self.delayed.pop() {
                self.socket
                    .send(&due.bytes, Ipv4Addr::from(due.from), due.to);
            }
        }
    }
}
