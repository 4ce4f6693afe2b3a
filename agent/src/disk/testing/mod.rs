//! What the tests of `disk` share: disks (loop devices where they can be had), images, a context.
//! The tests themselves are in `<module>/tests.rs`.
pub mod image;

use super::device::Device;
use super::fetch::Limits;
use super::target;
use crate::context::StepContext;
use crate::web::testing::NO_FLOOR;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::image::{Checksum, Digest, ImageFormat};
use ironbeat_common::inventory::Disk;
use ironbeat_common::order::WriteImage;
use sha2::Digest as _;
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const MIB: u64 = 1 << 20;

/// Pauses are negligible and stalls are noticed quickly: many tries fit into a short test.
pub const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(600),
    floor: NO_FLOOR,
    patience: Duration::from_millis(60),
    pause: Duration::from_millis(1),
    resumes: 50,
    turn: Duration::from_millis(1),
    queue: Duration::from_millis(60),
};

/// A disk full of 0xFF: a loop device over a temporary file, or that file itself where loop devices cannot be had.
pub struct TestDisk {
    file: tempfile::NamedTempFile,
    device: Option<String>,
    bytes: u64,
    sector: u32,
}

impl TestDisk {
    pub fn dirty(bytes: u64, sector: u32) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), vec![0xff; bytes as usize]).expect("room for a test disk");
        Self::attach(file, sector)
    }

    /// Full of zeros, and it takes no room until it is written.
    pub fn sparse(bytes: u64, sector: u32) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(bytes).expect("any size will do");
        Self::attach(file, sector)
    }

    fn attach(file: tempfile::NamedTempFile, sector: u32) -> Self {
        let mut losetup = Command::new("losetup");
        losetup
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .arg(file.path());
        // Two tests may get the same free device; the loser asks again.
        let tries = (0..20).map(|_| losetup.output());
        let attached = tries.flatten().find(|output| output.status.success());
        let device =
            attached.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let bytes = fs::metadata(file.path()).expect("it exists").len();
        Self {
            file,
            device,
            bytes,
            sector,
        }
    }

    pub fn path(&self) -> &str {
        self.device
            .as_deref()
            .unwrap_or_else(|| self.file.path().to_str().expect("a plain name"))
    }
    pub fn is_block_device(&self) -> bool {
        self.device.is_some()
    }

    pub fn inventory(&self) -> Disk {
        Disk {
            name: self.path().to_owned(),
            size_bytes: self.bytes,
            logical_sector_bytes: self.sector,
            serial: Some(format!("TEST-{}", self.path().replace('/', "-"))),
            ..Disk::default()
        }
    }
    pub fn identity(&self) -> DiskIdentity {
        DiskIdentity::of(&self.inventory())
    }

    /// As a step would open it.
    pub fn open(&self) -> Device {
        target::open(&self.identity(), &[self.inventory()]).expect("it is free")
    }

    pub fn content(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the disk can be read")
    }
    pub fn put(&self, content: &[u8], at: usize) {
        let mut all = self.content();
        all[at..at + content.len()].copy_from_slice(content);
        fs::write(self.path(), all).expect("the disk can be written");
    }
    /// The same, without a copy of the rest.
    pub fn overwrite(&self, content: &[u8], at: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.path());
        let wrote = file.and_then(|file| file.write_all_at(content, at));
        wrote.expect("the disk can be written");
    }
    /// From here on nothing can be read any more, if this is a loop device: its file ends here.
    pub fn fail_from(&self, bytes: u64) {
        let cut = self.file.as_file().set_len(bytes);
        cut.expect("a file can be cut");
    }
    pub fn is_untouched(&self) -> bool {
        self.content().iter().all(|byte| *byte == 0xff)
    }

    /// Neither BIOS nor UEFI finds anything to start: no boot signature, no GPT, no backup GPT.
    pub fn assert_does_not_boot(&self) {
        let content = self.content();
        let sector = self.sector as usize;
        assert_ne!(content[510..512], [0x55, 0xaa], "there is a boot sector");
        assert!(
            content[..sector].iter().all(|byte| *byte == 0),
            "the first sector is not empty"
        );
        for at in [sector, content.len() - sector] {
            assert!(
                !content[at..].starts_with(b"EFI PART"),
                "there is a GPT header at {at}"
            );
        }
    }

    /// What this system's GPT tools say about the table.
    pub fn assert_sgdisk_agrees(&self) {
        let output = Command::new("sgdisk")
            .args(["-v", self.path()])
            .output()
            .expect("gdisk is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("No problems found"),
            "sgdisk -v: {text}"
        );
        assert!(
            !text.to_lowercase().contains("warning"),
            "sgdisk -v: {text}"
        );
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            // The device goes with its last user; nothing can be done about an error here.
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

/// A step's context, and the progress reported through it.
pub struct Bench {
    pub disks: Vec<Disk>,
    pub reports: Mutex<Vec<Progress>>,
    pub cancelled: AtomicBool,
    /// Sets `cancelled` once this many bytes of the download are reported.
    pub cancel_at: Option<u64>,
}

impl Bench {
    pub fn new(disks: &[&TestDisk]) -> Self {
        let disks = disks.iter().map(|disk| disk.inventory()).collect();
        Self {
            disks,
            reports: Mutex::default(),
            cancelled: AtomicBool::new(false),
            cancel_at: None,
        }
    }

    pub fn run<T>(&self, step: impl FnOnce(&StepContext<'_>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let progress = |progress: Progress| {
            if self
                .cancel_at
                .is_some_and(|at| progress.phase == "download" && progress.done >= at)
            {
                self.cancelled.store(true, Ordering::Relaxed);
            }
            self.reports.lock().expect("nobody panicked").push(progress);
        };
        let disks = || self.disks.clone();
        step(&StepContext {
            progress: &progress,
            cancelled: &self.cancelled,
            disks: &disks,
            runtime: runtime.handle().clone(),
        })
    }
}

pub fn sha256(bytes: &[u8]) -> Checksum {
    Checksum::Sha256(Digest(sha2::Sha256::digest(bytes).into()))
}

pub fn sha512(bytes: &[u8]) -> Checksum {
    Checksum::Sha512(Digest(sha2::Sha512::digest(bytes).into()))
}

pub fn order(disk: &TestDisk, urls: &[String], format: ImageFormat, served: &[u8]) -> WriteImage {
    WriteImage {
        disk: disk.identity(),
        urls: urls.to_vec(),
        format,
        checksum: sha256(served),
        config_drive: Vec::new(),
        stall_secs: 600,
        neutralise: Vec::new(),
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes any bytes");
    encoder.finish().expect("a Vec takes any bytes")
}

/// With the content's checksum at the end of the frame, as the command line tool makes it.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("a level that exists");
    encoder
        .include_checksum(true)
        .expect("an option that exists");
    encoder.write_all(bytes).expect("a Vec takes any bytes");
    encoder.finish().expect("a Vec takes any bytes")
}

/// Runs one test of this program again in its own process behind `prefix`. With `variable` set it does its work there; the
/// calling test only watches.
pub fn run_alone(module: &str, test: &str, prefix: &[&str], variable: &str, value: &str) {
    let program = std::env::current_exe().expect("this test runs");
    let program = program.to_str().expect("a plain name");
    let (_, path) = module.split_once("::").expect("a crate and its modules");
    let test = format!("{path}::{test}");
    let words = [prefix, &[program, &test, "--exact", "--nocapture"]].concat();
    let output = Command::new(words[0])
        .args(&words[1..])
        .env(variable, value)
        .output();
    let output = output.expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let done = output.status.success() && text.contains("1 passed");
    assert!(done, "{text}{}", String::from_utf8_lossy(&output.stderr));
}
