//! Where a worker has its master keys from: a file, a credential of systemd, a command; and how a new file is made.
//! `master` reads the lines.
use super::{MasterKey, MasterKeys};
use crate::config::{Encryption, Secrets};
use anyhow::{Context, bail, ensure};
use ironbeat_cli::auth::write_new;
use ironbeat_cli::private;
use ironbeat_core::text::said;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};
use zeroize::Zeroizing;

/// More than the most keys that make sense, with room for comments.
const MAX_BYTES: usize = 64 << 10;
/// A command may ask a key server that is a continent away.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Of what a command that failed said on standard error, read and shown.
const MAX_COMPLAINT_BYTES: u64 = 4096;
const SHOWN: usize = 200;
/// For the rest of it, when the command is over.
const COMPLAINT_TIME: Duration = Duration::from_secs(1);
/// Where systemd puts a unit's credentials, systemd.exec(5).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The master keys that the configuration names.
///
/// # Errors
/// When they are not there, others may read them, or a line is no key. No error quotes what was read.
pub async fn load(from: &Secrets) -> anyhow::Result<MasterKeys> {
    let (text, place) = match from {
        Secrets {
            encryption: Encryption::None,
            ..
        } => return Ok(MasterKeys::none()),
        Secrets {
            key_file: Some(path),
            ..
        } => (owned(path)?, path.display().to_string()),
        Secrets {
            key_credential: Some(name),
            ..
        } => {
            let dir = std::env::var_os(CREDENTIALS).with_context(|| {
                format!("read credential {name}: systemd gave none; say LoadCredential={name}:… in the worker's unit")
            })?;
            let path = PathBuf::from(dir).join(name);
            // systemd shows it to this unit alone; its mode says nothing, since it may have an access list.
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            (read(file, &path)?, path.display().to_string())
        }
        Secrets {
            key_command: Some(words),
            ..
        } => {
            let program = words.first().context("secrets.key_command is empty")?;
            (output(words).await?, format!("what {program} printed"))
        }
        Secrets { .. } => bail!("no secrets.key_file, and no other source of a master key"),
    };
    MasterKeys::parse(&text).with_context(|| format!("read master keys from {place}"))
}

/// A file that nobody else may read.
fn owned(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let file = File::open(path).with_context(|| {
        let path = path.display();
        format!("open the file of master keys {path}; `ironbeat auth new-key {path}` makes one for the first worker, and the others need a copy of it")
    })?;
    private::check(&file, path)?;
    read(file, path)
}

fn read(file: File, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    // All of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("read {}", path.display()))?;
    text(&bytes).with_context(|| format!("read {}", path.display()))
}

async fn output(words: &[String]) -> anyhow::Result<Zeroizing<String>> {
    let (program, arguments) = words.split_first().context("no program")?;
    let context = || format!("ask {program} for master keys");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(context)?;
    let out = child.stdout.take().with_context(context)?;
    let complaint = tokio::spawn(complaint(child.stderr.take().with_context(context)?));
    let work = async {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
        let mut out = out.take(MAX_BYTES as u64 + 1);
        out.read_to_end(&mut bytes).await?;
        drop(out);
        let status = child.wait().await?;
        if !status.success() {
            let said = tokio::time::timeout(COMPLAINT_TIME, complaint).await;
            let said = said.map(Result::unwrap_or_default).unwrap_or_default();
            bail!("it failed: {status}{said}");
        }
        text(&bytes)
    };
    match tokio::time::timeout(COMMAND_TIME, work).await {
        Ok(text) => text.with_context(context),
        Err(_) => {
            Err(anyhow::anyhow!("it ran for more than {COMMAND_TIME:?}")).with_context(context)
        }
    }
}

/// The beginning of what a command prints on standard error, as the end of a sentence. Nothing else of it gets anywhere.
async fn complaint(mut from: ChildStderr) -> String {
    let mut first = Vec::new();
    let beginning = (&mut from).take(MAX_COMPLAINT_BYTES);
    let _ = { beginning }.read_to_end(&mut first).await;
    // Whoever cannot print does not go on.
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    let words = String::from_utf8_lossy(&first);
    match words.trim_end() {
        "" => String::new(),
        words => format!(", and said {:?}", said(words, SHOWN)),
    }
}

fn text(bytes: &[u8]) -> anyhow::Result<Zeroizing<String>> {
    ensure!(
        bytes.len() <= MAX_BYTES,
        "it has more than {MAX_BYTES} bytes"
    );
    let text = std::str::from_utf8(bytes).ok().context("it is no text")?;
    Ok(Zeroizing::new(text.into()))
}

/// `ironbeat auth new-key`: a new master key in a new file, which its owner alone may read.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn new_key(path: &Path) -> anyhow::Result<()> {
    let key = MasterKey::generate();
    write_new(path, &key.line())?;
    eprintln!(
        "{key:?} is in {path}. Every worker needs this file; keep a copy where you keep no backup of the records: without it, \
         nobody can read their secrets.",
        path = path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn of_file(path: &Path) -> Secrets {
        Secrets {
            key_file: Some(path.into()),
            ..Secrets::default()
        }
    }

    fn of_command(script: &str) -> Secrets {
        Secrets {
            key_command: Some(["sh", "-c", script].map(String::from).into()),
            ..Secrets::default()
        }
    }

    async fn refused(from: &Secrets) -> String {
        format!("{:#}", load(from).await.unwrap_err())
    }

    #[tokio::test]
    async fn a_new_key_file_is_read_and_one_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let missing = refused(&of_file(&path)).await;
        assert!(missing.contains("ironbeat auth new-key"), "{missing}");
        new_key(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let keys = load(&of_file(&path)).await.unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(new_key(&path).is_err(), "it is never overwritten");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        for mode in [0o640, 0o604, 0o620, 0o610] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let why = refused(&of_file(&path)).await;
            assert!(why.contains("chmod 0600"), "{why}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert_eq!(load(&of_file(&path)).await.unwrap().ids(), keys.ids());
    }

    #[tokio::test]
    async fn a_file_with_a_bad_line_is_refused_without_a_word_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        new_key(&path).unwrap();
        for (more, expected) in [
            (&b"hush-4711\n"[..], "line 2 is no master key"),
            (b"\xff\xfe", "it is no text"),
            (&[b'#'; MAX_BYTES], "more than 65536 bytes"),
        ] {
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&good[..], more].concat()).unwrap();
            let why = refused(&of_file(&path)).await;
            assert!(why.contains(expected) && !why.contains("4711"), "{why}");
            std::fs::write(&path, good).unwrap();
        }
        std::fs::write(&path, "").unwrap();
        let why = refused(&of_file(&path)).await;
        assert!(why.contains("there is no master key in it"), "{why}");
    }

    #[tokio::test]
    async fn a_command_prints_the_key_or_says_why_not() {
        let key = MasterKey::generate();
        let line = key.line();
        let keys = load(&of_command(&format!("echo '{}'", line.trim()))).await;
        assert_eq!(keys.unwrap().ids(), [key.id()]);
        for (script, expected) in [
            ("exit 3", "exit status: 3"),
            (
                "printf 'sealed\\033[2J\\n' >&2; exit 3",
                "exit status: 3, and said \"sealed\u{fffd}[2J\"",
            ),
            (
                "yes why | head -c 1000000 >&2; exit 4",
                "exit status: 4, and said \"why",
            ),
            ("echo hush", "line 1 is no master key"),
            ("yes", "it failed"),
        ] {
            let why = refused(&of_command(script)).await;
            assert!(why.contains(expected) && !why.contains("hush"), "{why}");
            assert!(why.len() < 400, "{why}");
        }
        let none = Secrets {
            key_command: Some(vec!["/does/not/exist".into()]),
            ..Secrets::default()
        };
        let why = refused(&none).await;
        assert!(why.contains("ask /does/not/exist"), "{why}");
    }
}
