//! Whether this worker has the kernel and the ramdisk that its machines boot, and can read its images; looked at again and again.
//! `http` serves them; `presence` tells the others.
use super::script::{KERNEL, RAMDISK};
use crate::config::Http;
use crate::records::presence::Presence;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that was put there counts after this long.
const LOOK: Duration = Duration::from_secs(5);

/// # Errors
/// When a folder is not there, or cannot be read: a mistake in the configuration, most likely.
pub fn check(http: &Http) -> anyhow::Result<()> {
    for (option, dir) in [
        ("http.boot_dir", &http.boot_dir),
        ("http.image_dir", &http.image_dir),
    ] {
        if let Some(why) = unreadable(dir) {
            anyhow::bail!("{option}: {why}");
        }
    }
    Ok(())
}

/// Why a folder cannot be read.
pub fn unreadable(dir: &Path) -> Option<String> {
    let error = std::fs::read_dir(dir).err()?;
    Some(format!("{}: {error}", dir.display()))
}

/// What cannot be read, and why.
pub fn lacking(boot_dir: &Path) -> Vec<String> {
    let lacks = |name| {
        let path = boot_dir.join(name);
        let read = std::fs::File::open(&path).and_then(|file| file.metadata());
        let why = match read {
            Ok(found) if !found.is_file() => "it is not a file".to_string(),
            Ok(found) if found.len() == 0 => "it is empty".to_string(),
            Ok(_) => return None,
            Err(error) => error.to_string(),
        };
        Some(format!("{}: {why}", path.display()))
    };
    [KERNEL, RAMDISK].into_iter().filter_map(lacks).collect()
}

/// Runs until the worker stops.
pub async fn watch(presence: Presence, boot_dir: PathBuf, image_dir: PathBuf) {
    let (mut known, mut no_images) = (Vec::new(), None);
    loop {
        let images = unreadable(&image_dir);
        if images != no_images {
            match &images {
                None => tracing::info!("images can be read again"),
                Some(why) => tracing::error!("no image can be served from this worker: {why}"),
            }
            presence.tell(|wrong| wrong.lacks_images.clone_from(&images));
            no_images = images;
        }
        let lacks = lacking(&boot_dir);
        if lacks != known {
            match lacks.is_empty() {
                true => tracing::info!("machines can boot a ramdisk from this worker"),
                false => tracing::error!(
                    "no machine can boot a ramdisk from this worker: {}",
                    lacks.join("; ")
                ),
            }
            presence.tell(|wrong| wrong.lacks.clone_from(&lacks));
            known = lacks;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_served_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unreadable(dir.path()), None);
        let gone = dir.path().join("gone");
        let why = unreadable(&gone).unwrap();
        assert!(why.contains("gone: No such file"), "{why}");
        let (kernel, ramdisk) = (dir.path().join(KERNEL), dir.path().join(RAMDISK));
        let lacks = || lacking(dir.path());
        let named = |path: &Path, why: &str| {
            let begin = format!("{}: ", path.display());
            let found = lacks().into_iter().find(|lack| lack.starts_with(&begin));
            assert!(
                found.is_some_and(|lack| lack.contains(why)),
                "{:?}",
                lacks()
            );
        };
        named(&kernel, "No such file");
        named(&ramdisk, "No such file");
        std::fs::create_dir(&kernel).unwrap();
        std::fs::write(&ramdisk, "").unwrap();
        named(&kernel, "not a file");
        named(&ramdisk, "empty");
        std::fs::remove_dir(&kernel).unwrap();
        std::fs::write(&kernel, "k").unwrap();
        std::fs::write(&ramdisk, "r").unwrap();
        assert_eq!(lacks(), Vec::<String>::new());
    }
}
