//! Whether the kernel could unpack all of the ramdisk: with too little memory it starts the agent from what there was room for.
//! What is in the ramdisk is the image's business.
use std::fs;
use std::path::Path;

/// One of the first files of the ramdisk, which says how much memory the rest needs, in MiB; and its last.
const FIRST: &str = "etc/ironbeat/memory-mib";
const LAST: &str = "var/ironbeat/complete";

/// What is missing, and what would help; none: all of it is there, or it is another's ramdisk.
pub fn is_incomplete(root: &Path) -> Option<String> {
    let needed = fs::read_to_string(root.join(FIRST)).ok()?;
    if root.join(LAST).exists() {
        return None;
    }
    let has = total_mib(root).map_or_else(String::new, |mib| format!("of {mib} MiB usable "));
    Some(format!(
        "the ramdisk is incomplete: the kernel could not unpack it into this machine's memory {has}and drivers are missing; \
         it needs a machine with {} MiB",
        needed.trim()
    ))
}

fn total_mib(root: &Path) -> Option<u64> {
    total_mib_of(&fs::read_to_string(root.join("proc/meminfo")).ok()?)
}

/// `meminfo`: the text of `/proc/meminfo`.
pub(crate) fn total_mib_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramdisk_that_was_cut_short_says_what_it_needs() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put(
            "proc/meminfo",
            "MemTotal:         100352 kB\nMemFree: 1 kB\n",
        );
        assert_eq!(is_incomplete(root.path()), None, "another's ramdisk");
        put(FIRST, "160\n");
        let words = is_incomplete(root.path()).unwrap();
        assert!(words.contains("of 98 MiB usable"), "{words}");
        assert!(
            words.ends_with("it needs a machine with 160 MiB"),
            "{words}"
        );
        put(LAST, "");
        assert_eq!(is_incomplete(root.path()), None);
    }
}
