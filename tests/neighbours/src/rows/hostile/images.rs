//! An image server that lies: the agent's own code fetches and writes what a real deploy orders, onto a disk of the run.
//! Mirrors, resumed transfers and ranges are tried with the agent.
use crate::book::{Book, Got};
use crate::jobs::{self, Writing};
use crate::lab::{Lab, NODES};
use anyhow::{Context, Result, ensure};
use ironbeat_agent::context::StepContext;
use ironbeat_agent::heart::perform::{Authority, perform};
use ironbeat_agent::web::way::Web;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::{Retry, Status, StepError};
use ironbeat_common::inventory::{Disk, Inventory};
use ironbeat_common::order::Order;
use ironbeat_rack::layout::GATEWAY;
use ironbeat_rack::ports::PortLease;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NODE: u8 = 3;
const DISK_BYTES: u64 = 64 << 20;
const SECTOR: u32 = 512;
const IMAGE_BYTES: usize = 2 << 20;
/// What a lie may cost the agent: its buffers, and the window of a decoder.
const MOST_MEMORY: u64 = 192 << 20;
/// Of headers; what the kernels of both ends hold is part of it.
const MOST_HEADERS: u64 = 32 << 20;
const MOST_TIME: Duration = Duration::from_secs(60);

/// How it answers: the path, and where to write.
type Answer = dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(port: u16, answer: Arc<Answer>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let answer = Arc::clone(&answer);
                // A client may go away at any time.
                std::thread::spawn(move || drop(serve(stream, &*answer)));
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    // A worker asks by HEAD whether an image is there; to whoever comes for it, it is elsewhere.
    let path = match path.strip_prefix("/sly-") {
        Some(_) if first.starts_with("HEAD") => "/good.raw".into(),
        Some(rest) => format!("/{rest}"),
        None => path,
    };
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    answer(&path, &mut stream)
}

fn whole(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

fn chunk(stream: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
    stream.write_all(piece)?;
    stream.write_all(b"\r\n")
}

/// An address of this machine's own wire, as clouds serve credentials on.
const LINK_LOCAL: &str = "169.254.77.77";
/// An address of this machine that is not loopback.
const OWN: IpAddr = IpAddr::V4(GATEWAY);

/// A disk that is a file.
struct Loop {
    device: String,
}

impl Loop {
    fn attach(file: &Path) -> Result<Self> {
        let made = std::fs::File::create(file).context("make a disk")?;
        made.set_len(DISK_BYTES)?;
        let mut losetup = Command::new("losetup");
        losetup
            .args(["--find", "--show", "--sector-size", &SECTOR.to_string()])
            .arg(file);
        let said = crate::site::said(losetup)?;
        ensure!(said.ok, "losetup: {}", said.err);
        Ok(Self {
            device: said.out.trim().into(),
        })
    }

    fn inventory(&self) -> Disk {
        Disk {
            name: self.device.clone(),
            size_bytes: DISK_BYTES,
            logical_sector_bytes: SECTOR,
            ..Disk::default()
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .args(["--detach", &self.device])
            .status();
    }
}

/// A number of /proc/self/status, in bytes.
fn memory(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Does what the agent is told, on the run's disk; what came of it, and what it took of memory.
fn does(writing: &Writing, disk: &Loop) -> (Result<(), String>, u64, Duration) {
    let mut order = writing.order.clone();
    let there = disk.inventory();
    order.disk = DiskIdentity {
        serial: None,
        wwn: None,
        size_bytes: DISK_BYTES,
        name: there.name.clone(),
    };
    order.neutralise = vec![];
    let cancelled = Arc::new(AtomicBool::new(false));
    let (late, done) = (Arc::clone(&cancelled), Arc::new(AtomicBool::new(false)));
    let is_done = Arc::clone(&done);
    let begin = Instant::now();
    let guard = std::thread::spawn(move || {
        while !is_done.load(Ordering::Relaxed) {
            if begin.elapsed() > MOST_TIME {
                late.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    // The peak begins anew (proc(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = memory("VmRSS:");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let result = match runtime {
        Ok(runtime) => {
            let context = StepContext {
                progress: &|_| {},
                cancelled: &cancelled,
                disks: &|| vec![there.clone()],
                runtime: runtime.handle().clone(),
            };
            let inspect = |_: Duration, _: &StepContext<'_>| Inventory::default();
            let done = perform(
                &Order::WriteImage(order),
                &context,
                Authority::Full,
                &inspect,
                &Web::new(Arc::default(), None, &[]),
            );
            done.map(drop).map_err(|error| format!("{error:#}"))
        }
        Err(error) => Err(error.to_string()),
    };
    let took = begin.elapsed();
    done.store(true, Ordering::Relaxed);
    let _ = guard.join();
    (result, memory("VmHWM:").saturating_sub(before), took)
}

/// A gzip member of this.
fn packed(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = gzip.spawn().context("run gzip")?;
    let mut input = child.stdin.take().context("gzip reads")?;
    let feeding = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output()?;
    let fed = feeding.join();
    fed.map_err(|_| anyhow::anyhow!("feeding gzip panicked"))??;
    Ok(output.stdout)
}

/// Reports the step's failure as the agent does; the line of `explain` about it.
fn fails(lab: &mut Lab, writing: Writing, why: &str) -> Result<Option<String>> {
    let Writing {
        agent,
        mut wire,
        step,
        ..
    } = writing;
    let error = StepError {
        what: why.into(),
        retry: Retry::Useless,
    };
    jobs::says(&agent, &mut wire, Status::Failed { step, error })?;
    let name = NODES[usize::from(NODE) - 1];
    lab.is(name, "deploy failed")?;
    match why.rsplit(": ").next() {
        Some(words) if !words.is_empty() => lab.explained(name, words),
        _ => Ok(None),
    }
}

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    let dir = lab.site.programs.dir.clone();
    let mut image: Vec<u8> = (0..IMAGE_BYTES).map(|n| (n % 251) as u8 | 1).collect();
    // One partition, in the second MiB; an image of a disk has a table.
    image[..SECTOR as usize].fill(0);
    image[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let sum = format!(
        "sha256:{}",
        data_encoding::HEXLOWER.encode(&Sha256::digest(&image))
    );
    let headers: Arc<AtomicU64> = Arc::default();
    let (counted, good) = (Arc::clone(&headers), image.clone());
    let (first, bomb) = (packed(image.clone())?, packed(vec![0; 16 << 20])?);
    let secret: Arc<AtomicU64> = Arc::default();
    let hits = Arc::clone(&secret);
    let moved =
        |to: String| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let port = PortLease::take()?.keep();
    let answer = move |path: &str, stream: &mut TcpStream| -> std::io::Result<()> {
        match path {
            "/good.raw" => whole(stream, &good),
            "/moved.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /good.raw\r\nContent-Length: 0\r\n\r\n"),
            "/headers.raw" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                let line = format!("X-More: {}\r\n", "a".repeat(1000));
                loop {
                    stream.write_all(line.as_bytes())?;
                    counted.fetch_add(line.len() as u64, Ordering::Relaxed);
                }
            }
            "/line.raw" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-More: ")?;
                loop {
                    stream.write_all(&[b'a'; 1000])?;
                    counted.fetch_add(1000, Ordering::Relaxed);
                }
            }
            "/bomb.gz" | "/empty.gz" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                let first = (path == "/bomb.gz").then_some(&first);
                first.into_iter().chain(std::iter::repeat(&bomb)).try_for_each(|piece| chunk(stream, piece))
            }
            "/near.raw" => stream.write_all(moved(format!("http://127.0.0.1:{port}/secret.raw")).as_bytes()),
            "/name.raw" => stream.write_all(moved(format!("http://localhost:{port}/secret.raw")).as_bytes()),
            "/mapped.raw" => stream.write_all(moved(format!("http://[::ffff:127.0.0.1]:{port}/secret.raw")).as_bytes()),
            "/any.raw" => stream.write_all(moved(format!("http://0.0.0.0:{port}/secret.raw")).as_bytes()),
            "/link.raw" => stream.write_all(moved(format!("http://{LINK_LOCAL}:{port}/secret.raw")).as_bytes()),
            "/secret.raw" => {
                hits.fetch_add(1, Ordering::Relaxed);
                whole(stream, &good)
            }
            // A frame that asks for a window of 2 TiB (RFC 8878 §3.1.1.1.2).
            "/window.zst" => whole(stream, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00]),
            "/endless.raw" | "/noise.raw" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                let piece = vec![0x55; 65_536];
                let first = (path == "/endless.raw").then_some(&good);
                first.into_iter().chain(std::iter::repeat(&piece)).try_for_each(|piece| chunk(stream, piece))
            }
            "/huge.raw" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nx"),
            "/round.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /round.raw\r\nContent-Length: 0\r\n\r\n"),
            "/other.raw" => {
                let mut other = good.clone();
                other[IMAGE_BYTES / 2] ^= 1;
                whole(stream, &other)
            }
            "/file.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/shadow\r\nContent-Length: 0\r\n\r\n"),
            "/gopher.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: gopher://127.0.0.1:22/\r\nContent-Length: 0\r\n\r\n"),
            "/user.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://root:x@127.0.0.1/\r\nContent-Length: 0\r\n\r\n"),
            "/split.raw" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /x\rHost:y\r\nContent-Length: 0\r\n\r\n"),
            _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }
    };
    let server = Server::start(port, Arc::new(answer))?;
    let disk = Loop::attach(&dir.join("disk"))?;
    jobs::is_available(lab, NODE)?;
    let url = |path: &str| format!("http://{}/{path}", server.address);
    // The worker looks whether an image is there, before a machine boots for it.
    let deploy = |lab: &mut Lab, url: &str| {
        let deploy = [
            "node",
            "deploy",
            NODES[usize::from(NODE) - 1],
            "--image",
            url,
            "--checksum",
            &sum,
        ];
        lab.site.try_cli("admin", &deploy)
    };
    let begun = |lab: &mut Lab| -> Result<Writing> {
        lab.is(NODES[usize::from(NODE) - 1], "wait call-back")?;
        let ticket = lab.ticket(NODE)?;
        jobs::writes(lab, NODE, &ticket)
    };
    let good = deploy(lab, &url("moved.raw"))
        .and_then(|_| begun(lab))
        .and_then(|writing| {
            let (done, memory, _) = does(&writing, &disk);
            done.map_err(anyhow::Error::msg)?;
            ensure!(
                memory < MOST_MEMORY,
                "an honest image takes {memory} bytes of memory"
            );
            let on_disk = std::fs::read(dir.join("disk"))?;
            // The table is another: the config drive is in it.
            let half = IMAGE_BYTES / 2;
            ensure!(
                on_disk[half..IMAGE_BYTES] == image[half..],
                "it is not what was served"
            );
            ensure!(on_disk[510..512] == image[510..512], "it does not boot");
            Ok(())
        });
    let (control, ()) = book.control("an honest image, after a redirect, is on the disk", good)?;
    jobs::undeploys(lab, NODE)?;
    let mut lies = vec![
        ("headers.raw", "headers without end"),
        (
            "bomb.gz",
            "a gzip bomb without end, which begins as an image",
        ),
        ("window.zst", "a zstd frame with a window of terabytes"),
        ("noise.raw", "noise without end"),
        ("huge.raw", "an image of 16 EiB"),
        ("round.raw", "redirects in a circle"),
        ("other.raw", "an image with one bit turned"),
        ("file.raw", "a redirect to a file"),
    ];
    if !lab.short {
        lies.extend([
            ("line.raw", "one header without end"),
            ("empty.gz", "a gzip bomb without end"),
            ("endless.raw", "an image without end"),
            ("gopher.raw", "a redirect to another protocol"),
            ("user.raw", "a redirect with a name and a password"),
            ("split.raw", "a redirect with a line break in it"),
        ]);
    }
    for (path, tries) in lies {
        headers.store(0, Ordering::Relaxed);
        let said = deploy(lab, &url(path))?;
        let took = headers.swap(0, Ordering::Relaxed);
        if path == "headers.raw" || path == "line.raw" {
            let got = (took > MOST_HEADERS).then(|| format!("{took} bytes of headers taken"));
            let words = said.out.clone() + &said.err;
            let told = words
                .lines()
                .find(|line| line.contains("image"))
                .map(|line| format!("ironbeat: {line}"));
            book.attempt(
                &control,
                &format!("{tries}, to the worker"),
                Got::of(got),
                told,
            );
        }
        if !said.ok {
            ensure!(
                said.err.contains(path),
                "{path}: refused for another reason: {}",
                said.err
            );
            let told = said
                .err
                .lines()
                .next()
                .map(|line| format!("ironbeat: {line}"));
            book.attempt(
                &control,
                &format!("{tries}, to the worker"),
                Got::Refused,
                told,
            );
            continue;
        }
        let writing = begun(lab)?;
        // Of the honest image, which would be taken for this one.
        std::fs::File::options()
            .write(true)
            .open(dir.join("disk"))?
            .sync_all()?;
        let wiped = Command::new("blkdiscard")
            .args(["--force", "--zeroout", &disk.device])
            .stderr(Stdio::null())
            .status();
        ensure!(
            wiped.is_ok_and(|it| it.success()),
            "blkdiscard: the disk is not empty"
        );
        let (done, memory, took) = does(&writing, &disk);
        let sent = headers.load(Ordering::Relaxed);
        let first = std::fs::read(dir.join("disk"))?;
        let got = match &done {
            Ok(()) => Some("an image on the disk".to_string()),
            Err(_) if took > MOST_TIME => Some(format!("the agent for {took:?}")),
            Err(_) if memory > MOST_MEMORY => Some(format!("{memory} bytes of memory")),
            Err(_) if sent > MOST_HEADERS => Some(format!("{sent} bytes of headers taken")),
            Err(_) if first[510..512] == [0x55, 0xaa] => Some("a disk that boots".into()),
            Err(_) => None,
        };
        let why = done.err().unwrap_or_default();
        let seen = fails(lab, writing, &why)?;
        book.attempt(&control, tries, Got::of(got), seen);
        jobs::undeploys(lab, NODE)?;
    }
    // Where the worker is sent to. The operator may name such an address.
    lab.netns
        .ip(&[format!("address replace {LINK_LOCAL}/32 dev lo")])?;
    secret.store(0, Ordering::Relaxed);
    let named = deploy(lab, &format!("http://{LINK_LOCAL}:{port}/secret.raw")).and_then(|said| {
        ensure!(
            said.ok && secret.load(Ordering::Relaxed) > 0,
            "the worker does not ask there: {}",
            said.err
        );
        Ok(())
    });
    let (control, ()) = book.control("the operator names a link-local address", named)?;
    lab.is(NODES[usize::from(NODE) - 1], "wait call-back")?;
    jobs::undeploys(lab, NODE)?;
    for (path, tries) in [
        ("near.raw", "a redirect to a loopback address"),
        ("name.raw", "a redirect to localhost"),
        ("mapped.raw", "a redirect to a loopback address in IPv6"),
        ("any.raw", "a redirect to 0.0.0.0"),
        ("link.raw", "a redirect to a link-local address"),
    ] {
        secret.store(0, Ordering::Relaxed);
        let said = deploy(lab, &format!("http://{OWN}:{port}/{path}"))?;
        ensure!(
            said.ok || said.err.contains(path),
            "{path}: refused for another reason: {}",
            said.err
        );
        let hits = secret.load(Ordering::Relaxed);
        let got = (hits > 0).then(|| format!("{hits} requests of the worker there"));
        let words = said.out.clone() + &said.err;
        let told = words
            .lines()
            .find(|line| line.contains("redirected"))
            .map(|line| format!("ironbeat: {line}"));
        book.attempt(
            &control,
            &format!("{tries}, to the worker"),
            Got::of(got),
            told,
        );
        if said.ok {
            lab.is(NODES[usize::from(NODE) - 1], "wait call-back")?;
            jobs::undeploys(lab, NODE)?;
        }
    }
    // And where the agent is sent to, when the worker saw nothing wrong.
    for (path, tries) in [
        (
            "sly-near.raw",
            "a redirect to a loopback address, after an honest HEAD",
        ),
        (
            "sly-link.raw",
            "a redirect to a link-local address, after an honest HEAD",
        ),
    ] {
        let said = deploy(lab, &format!("http://{OWN}:{port}/{path}"))?;
        ensure!(said.ok, "{path}: the worker sees through it: {}", said.err);
        let writing = begun(lab)?;
        secret.store(0, Ordering::Relaxed);
        let (done, _, _) = does(&writing, &disk);
        let hits = secret.load(Ordering::Relaxed);
        let got = (hits > 0).then(|| format!("{hits} requests of the agent there"));
        let why = done.err().unwrap_or_default();
        let seen = fails(lab, writing, &why)?;
        book.attempt(&control, tries, Got::of(got), seen);
        jobs::undeploys(lab, NODE)?;
    }
    Ok(())
}
