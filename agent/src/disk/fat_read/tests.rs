//! Volumes of every kind that mtools made, and mutated ones.
//! Finding a boot loader in them is tested in `efi`.
use super::Fat;
use crate::disk::fat::Volume;
use ironbeat_mutate::mutants;
use std::io;
use std::process::Command;

/// A volume of this many KiB with `/EFI/Vendor with a long name/…` and two hundred other files.
fn volume(kib: &str, options: &[&str]) -> Vec<u8> {
    let place = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = place.path().to_str().expect("a plain name");
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program)
            .args(words)
            .output()
            .expect("it is installed");
        assert!(
            output.status.success(),
            "{program} {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(
        "mkfs.vfat",
        &[
            &["-C", "-n", "ESP"],
            options,
            &[&format!("{path}.fat"), kib],
        ]
        .concat(),
    );
    let path = format!("{path}.fat");
    run(
        "mmd",
        &[
            "-i",
            &path,
            "::/EFI",
            "::/EFI/Vendor with a long name",
            "::/EFI/BOOT",
        ],
    );
    run(
        "mcopy",
        &["-i", &path, "/dev/null", "::/EFI/BOOT/BOOTX64.EFI"],
    );
    run(
        "mcopy",
        &[
            "-i",
            &path,
            "/dev/null",
            "::/EFI/Vendor with a long name/no short name.efi",
        ],
    );
    let (folder, many) = (tempfile::tempdir().expect("a temporary folder"), 200);
    let names: Vec<String> = (0..many)
        .map(|n| format!("{}/file number {n}", folder.path().display()))
        .collect();
    names
        .iter()
        .for_each(|name| std::fs::write(name, "").expect("room"));
    let mut words = vec!["-i", &path];
    words.extend(names.iter().map(String::as_str));
    words.push("::/EFI/BOOT");
    run("mcopy", &words);
    let bytes = std::fs::read(&path).expect("it was made");
    std::fs::remove_file(&path).expect("it was made");
    bytes
}

fn reader(volume: &[u8]) -> impl Fn(u64, usize) -> io::Result<Vec<u8>> {
    move |at, count| {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let end = at.checked_add(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        volume
            .get(at..end)
            .map(<[u8]>::to_vec)
            .ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

#[test]
fn volumes_of_every_kind_are_read() {
    for (kib, options) in [
        ("1440", &["-F", "12"][..]),
        ("16384", &["-F", "16", "-s", "2"]),
        ("65536", &["-F", "32", "-s", "1"]),
        ("65536", &["-F", "12", "-S", "4096", "-s", "8"]),
    ] {
        let volume = volume(kib, options);
        let read = reader(&volume);
        let fat = Fat::open(&read).expect("it is good");
        let root = fat.root().expect("it can be read");
        assert_eq!(
            root.iter()
                .map(|entry| (entry.name.as_str(), entry.is_folder))
                .collect::<Vec<_>>(),
            [("EFI", true)]
        );
        let efi = fat.folder(&root[0]).expect("it can be read");
        let names: Vec<&str> = efi.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["Vendor with a long name", "BOOT"], "{options:?}");
        assert_eq!(
            fat.folder(&efi[0]).expect("it can be read")[0].name,
            "no short name.efi"
        );
        let boot = fat.folder(&efi[1]).expect("it can be read");
        assert_eq!((boot.len(), boot[0].name.as_str()), (201, "BOOTX64.EFI"));
        assert!((0..200).all(|n| {
            boot.iter()
                .any(|entry| entry.name == format!("file number {n}"))
        }));
    }
}

#[test]
fn our_own_volumes_are_read() {
    let files: Vec<_> = [("a/b/größer und länger.json", &b"{}"[..]), ("a/c", b"")].to_vec();
    let volume = Volume {
        label: b"x          ",
        id: 1,
        sector: 512,
        files,
    }
    .bytes()
    .expect("it is good");
    let read = reader(&volume);
    let fat = Fat::open(&read).expect("it is good");
    let a = fat
        .folder(&fat.root().expect("it can be read")[0])
        .expect("it can be read");
    assert_eq!(
        a.iter()
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>(),
        ["b", "c"]
    );
    assert_eq!(
        fat.folder(&a[0]).expect("it can be read")[0].name,
        "größer und länger.json"
    );
}

#[test]
fn mutated_volumes_do_not_panic() {
    let files: Vec<_> = [
        ("EFI/debian/one long name.efi", &b"{}"[..]),
        ("EFI/boot/c", b""),
    ]
    .to_vec();
    let good = Volume {
        label: b"x          ",
        id: 1,
        sector: 512,
        files,
    }
    .bytes()
    .expect("it is good");
    let walk = |volume: &[u8]| {
        let read = reader(volume);
        let Ok(fat) = Fat::open(&read) else { return };
        for entry in fat.root().unwrap_or_default() {
            let inside = fat.folder(&entry).unwrap_or_default();
            inside.iter().for_each(|entry| drop(fat.folder(entry)));
        }
    };
    // The boot sector; then tables and folders, a folder that contains itself among them.
    mutants(&good[..512], 3_000, |boot| {
        let mut volume = good.clone();
        let count = boot.len().min(512);
        volume[..count].copy_from_slice(&boot[..count]);
        walk(&volume);
    });
    mutants(&good[512..], 3_000, |rest| {
        walk(&[&good[..512], rest].concat())
    });
}

#[test]
fn other_things_are_refused() {
    for bytes in [vec![0; 512], vec![0xff; 512], vec![]] {
        assert!(Fat::open(&reader(&bytes)).is_err());
    }
}
