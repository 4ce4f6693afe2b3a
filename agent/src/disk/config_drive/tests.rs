//! Config drives as other programs read them.
//! Their place on the disk is tested in `layout` and `write`.
use super::super::testing::MIB;
use super::build;
use ironbeat_common::order::ConfigFile;
use std::process::Command;

fn file(path: &str, content: &str) -> ConfigFile {
    ConfigFile {
        path: path.to_owned(),
        content: content.to_owned(),
    }
}

/// What a program prints about the volume; it must accept it.
fn ask(volume: &[u8], program: &[&str]) -> String {
    let place = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(place.path(), volume).expect("room");
    let path = place.path().to_str().expect("a plain name");
    let words: Vec<String> = program[1..]
        .iter()
        .map(|word| word.replace("VOLUME", path))
        .collect();
    let output = Command::new(program[0])
        .args(&words)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn other_programs_read_a_config_drive() {
    let files = [
        file("openstack/latest/meta_data.json", "{\"hostname\": \"n1\"}"),
        file("openstack/latest/user_data", &"x".repeat(100_000)),
        file(
            "openstack/content/A rather long name, with Spaces.and.dots",
            "y",
        ),
        file("ec2/latest/meta-data.json", ""),
        file("leer/größe", "ä"),
    ];
    for sector in [512, 4096] {
        let volume = build(&files, sector)
            .expect("it is good")
            .expect("there are files");
        assert_eq!((volume.len() as u64) % MIB, 0);
        ask(&volume, &["fsck.vfat", "-n", "VOLUME"]);
        let blkid = ask(&volume, &["blkid", "-p", "-o", "export", "VOLUME"]);
        assert!(
            blkid.contains("LABEL=config-2\n") && blkid.contains("TYPE=vfat\n"),
            "{blkid}"
        );
        for file in &files {
            let name = format!("::/{}", file.path);
            if sector == 512 && name.is_ascii() {
                assert_eq!(
                    ask(&volume, &["mtype", "-i", "VOLUME", &name]),
                    file.content
                );
            }
        }
        if sector == 512 {
            let list = ask(&volume, &["mdir", "-i", "VOLUME", "-/", "-b", "::/"]);
            assert!(
                list.contains("::/openstack/content/A rather long name, with Spaces.and.dots\n"),
                "{list}"
            );
        }
        assert!(
            build(&files, sector).expect("as before") == Some(volume),
            "not the same bytes"
        );
    }
}

#[test]
fn without_files_there_is_no_config_drive() {
    assert_eq!(build(&[], 512).expect("nothing to do"), None);
}

#[test]
fn as_many_and_as_large_files_as_allowed_fit() {
    let many: Vec<_> = (0..1024)
        .map(|n| {
            file(
                &format!("d{n}/a rather long name for file {n}"),
                &"z".repeat(500),
            )
        })
        .collect();
    let in_one: Vec<_> = (0..1024)
        .map(|n| file(&format!("d/{}{n}", "n".repeat(240)), ""))
        .collect();
    let large = [file("f", &"z".repeat(512 * 1024))];
    for sector in [512, 4096] {
        for files in [&many, &in_one, &large[..]] {
            let volume = build(files, sector)
                .expect("it is good")
                .expect("there are files");
            assert!(volume.len() as u64 <= 18 * MIB);
            ask(&volume, &["fsck.vfat", "-n", "VOLUME"]);
        }
    }
}

#[test]
fn bad_files_are_refused() {
    let check = |files: &[ConfigFile], words: &str| {
        let error = format!("{:#}", build(files, 512).expect_err("this must be refused"));
        assert!(error.contains(words), "{error}");
    };
    let long = "n".repeat(256);
    for path in [
        "",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "a:b",
        "a\\b",
        "a\nb",
        "a. ",
        &long,
    ] {
        check(&[file(path, "")], "is not a relative path of names");
    }
    check(
        &[file("Same", "1"), file("same", "2")],
        "\"same\" occurs twice",
    );
    check(&[file("A/x", "1"), file("a/y", "2")], "\"a\" occurs twice");
    check(&[file("a", ""), file("a/b", "")], "\"a\" occurs twice");
    check(&[file("a/b", ""), file("a", "")], "\"a\" occurs twice");
    check(
        &[file("a", &"z".repeat(512 * 1024 + 1))],
        "at most 1024 and 524288",
    );
    check(
        &(0..1025)
            .map(|n| file(&n.to_string(), ""))
            .collect::<Vec<_>>(),
        "at most 1024 and 524288",
    );
    let deep: Vec<_> = (0..1000)
        .map(|n| file(&format!("{n}/a/b/c/d/e"), "1"))
        .collect();
    check(&deep, "more files and folders than the volume can have");
}
