//! Makes the ramdisk a system that people can log in to: fetches it, checks it, unpacks it, lets them in, starts it.
//! What that system is, is the archive's business: its program [`START`] starts it, and prints how it is known.
pub mod archive;

use crate::context::StepContext;
use crate::disk::fetch::{Download, Limits, Snag};
use crate::disk::hash::Hasher;
use crate::web::way::Web;
use anyhow::{Context, bail};
use ironbeat_common::heartbeat::{Progress, Rescued};
use ironbeat_common::order::Rescue;
use std::ffi::CString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr;
use std::time::Duration;

/// In the archive: starts what lets people in, leaves it running, and prints its public keys, a line each.
const START: &str = "etc/ironbeat/rescue";
/// Of an archive as it is served. It lies in memory, which a machine with 1 GiB has for it.
const MAX_ARCHIVE: usize = 256 << 20;
/// Of what [`START`] prints.
const MAX_SAID: u64 = 4096;

/// Blocks until people can log in below `root`, or nobody will. A second time does no harm.
///
/// # Errors
/// The archive cannot be had, is damaged, or does not start; in words.
pub fn rescue(
    order: &Rescue,
    ctx: &StepContext<'_>,
    web: &Web,
    addresses: Vec<String>,
    root: &Path,
) -> anyhow::Result<Rescued> {
    let packed = fetch(order, ctx, web)?;
    (ctx.progress)(progress("unpack", 0, None));
    let unpacked = zstd::stream::read::Decoder::with_buffer(packed.as_slice())?;
    archive::unpack(unpacked, root).context("unpacking the rescue system")?;
    drop(packed);
    let_in(order, root).context("letting people in")?;
    (ctx.progress)(progress("start", 0, None));
    let said = start(root)?;
    Ok(Rescued { addresses, said })
}

fn progress(phase: &str, done: u64, total: Option<u64>) -> Progress {
    Progress {
        phase: phase.into(),
        done,
        total,
        trouble: None,
    }
}

fn fetch(order: &Rescue, ctx: &StepContext<'_>, web: &Web) -> anyhow::Result<Vec<u8>> {
    let on_snag = |snag| {
        let (done, total, why) = match snag {
            Snag::InLine { waited } => (waited.as_secs(), None, None),
            Snag::Broken {
                position,
                total,
                why,
            } => (position, total, Some(why)),
        };
        (ctx.progress)(Progress {
            trouble: why,
            ..progress("download", done, total)
        });
    };
    let limits = Limits::within(Duration::from_secs(order.stall_secs.into()));
    let mut download = Download::open(web, &order.urls, limits, ctx.cancelled, &on_snag)?;
    let mut hasher = Hasher::new(&order.checksum);
    let mut packed = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = download.read(&mut buffer)?;
        if count == 0 {
            hasher.check(&order.checksum)?;
            return Ok(packed);
        }
        hasher.update(&buffer[..count]);
        packed.extend_from_slice(&buffer[..count]);
        if packed.len() > MAX_ARCHIVE {
            bail!("the rescue system has more than {MAX_ARCHIVE} bytes");
        }
        (ctx.progress)(progress("download", download.position(), download.total()));
    }
}

/// The files by which a login is judged, as Debian has them. `rescue` is root by another name, as in Ironic.
fn let_in(login: &Rescue, root: &Path) -> anyhow::Result<()> {
    let hash = login.password_hash.as_deref().unwrap_or("*");
    let users = format!("root:*:0:0:root:/root:/bin/sh\nrescue:{hash}:0:0:rescue:/root:/bin/sh\n");
    let keys: String = login.ssh_keys.iter().flat_map(|key| [key, "\n"]).collect();
    for dir in ["etc", "root", "root/.ssh"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
    }
    for (path, content) in [
        ("etc/passwd", users.as_str()),
        ("etc/group", "root:x:0:\n"),
        ("etc/shells", "/bin/sh\n"),
        ("root/.ssh/authorized_keys", keys.as_str()),
    ] {
        let path = root.join(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path);
        let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// What it prints until it has closed its output. Nobody learns how it ended: the kernel reaps what PID 1 starts.
fn start(root: &Path) -> anyhow::Result<String> {
    let program = root.join(START);
    let starting = || format!("starting {}", program.display());
    let (stdout, writer) = io::pipe().with_context(starting)?;
    spawn(&program, &writer).with_context(starting)?;
    drop(writer);
    let mut said = Vec::new();
    let read = stdout.take(MAX_SAID).read_to_end(&mut said);
    read.with_context(starting)?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.is_empty() {
        bail!(
            "the rescue system did not start: it printed no key (the machine's console says why)"
        );
    }
    Ok(said)
}

/// Without arguments and environment. `std::process` would be a hundredth of the agent.
fn spawn(program: &Path, stdout: &PipeWriter) -> io::Result<()> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let argv = [path.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    let mut actions = MaybeUninit::uninit();
    let mut pid = 0;
    // SAFETY: posix_spawn(3). `actions` is used from its initialisation to its end; `argv` and the environment end with null, and what
    // they lead to lives on until the call returns.
    let result = unsafe {
        libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
        libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), stdout.as_raw_fd(), 1);
        let result = libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            actions.as_ptr(),
            ptr::null(),
            argv.as_ptr(),
            environment.as_ptr(),
        );
        libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        result
    };
    match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests;
