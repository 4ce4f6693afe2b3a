//! Disk images for tests: those that are written byte by byte, and volumes that mtools make.
//! Only in tests.
use super::MIB;
pub use ironbeat_mutate::good::image::{ESP_KIND, LINUX_KIND, crc32, gpt, mbr, noise};
use std::fs;
use std::process::Command;

/// A FAT volume of 2 MiB with these empty files below `EFI`, made by mtools.
pub fn esp(files: &[&str]) -> Vec<u8> {
    let esp = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(esp.path(), vec![0; 2 * MIB as usize]).expect("room");
    let path = esp.path().to_str().expect("a plain name");
    let mtools = |program: &str, words: &[&str]| {
        let output = Command::new(program)
            .args(["-i", path])
            .args(words)
            .output()
            .expect("mtools are installed");
        assert!(
            output.status.success(),
            "{program} {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let geometry = ["-T", "4096", "-h", "16", "-s", "63", "-N", "1b0de110", "::"];
    mtools("mformat", &geometry);
    mtools("mmd", &["::/EFI"]);
    let mut folders: Vec<&str> = files
        .iter()
        .filter_map(|file| file.rsplit_once('/'))
        .map(|(folder, _)| folder)
        .collect();
    folders.sort();
    folders.dedup();
    folders
        .iter()
        .for_each(|folder| mtools("mmd", &[&format!("::/EFI/{folder}")]));
    files
        .iter()
        .for_each(|file| mtools("mcopy", &["/dev/null", &format!("::/EFI/{file}")]));
    fs::read(esp.path()).expect("it was written")
}
