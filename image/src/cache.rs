//! A cache directory that several commands use at once: one of them builds, the others wait; an entry is whole or absent.
//! Leaves names, and building, to the callers.
use crate::error::{Result, file};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The directory `name` in `cache`; `build` fills it if it is not there yet.
pub fn entry(cache: &Path, name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let whole = cache.join(name);
    if whole.exists() {
        return Ok(whole);
    }
    fs::create_dir_all(cache).map_err(file("make", cache))?;
    let lock_path = cache.join("lock");
    let lock = File::create(&lock_path).map_err(file("make", &lock_path))?;
    // The kernel gives it back when its holder dies; nobody waits for a dead builder.
    lock.lock().map_err(file("lock", &lock_path))?;
    if whole.exists() {
        return Ok(whole);
    }
    let part = cache.join(format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).map_err(file("remove", &part))?;
    }
    fs::create_dir(&part).map_err(file("make", &part))?;
    build(&part)?;
    fs::rename(&part, &whole).map_err(file("move into place", &part))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn many_ask_and_one_builds() {
        let cache = tempfile::tempdir().unwrap();
        let built = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let dir = entry(cache.path(), "it", |dir| {
                        built.fetch_add(1, Ordering::Relaxed);
                        fs::write(dir.join("file"), "content").map_err(file("write", dir))
                    });
                    assert_eq!(
                        fs::read(dir.unwrap().join("file")).unwrap(),
                        b"content",
                        "nobody sees a half-built one"
                    );
                });
            }
        });
        assert_eq!(built.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_entry_is_absent_and_is_built_again() {
        let cache = tempfile::tempdir().unwrap();
        let failed = entry(cache.path(), "it", |dir| {
            fs::write(dir.join("half"), "").map_err(file("write", dir))?;
            Err(Error::Unfit("broke".into()))
        });
        assert_eq!(failed.unwrap_err().to_string(), "broke");
        let dir = entry(cache.path(), "it", |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }
}
