//! A rescue system comes from a real web server, is unpacked into a directory, and starts there.
//! What an archive may hold is tested in `archive`; that people can log in, in the rack.
use super::*;
use crate::web::testing::{Reply, Server, web};
use ironbeat_common::image::{Checksum, Digest};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3Nz you@there";

/// An archive with this as its program.
fn packed(start: &str) -> Vec<u8> {
    packed_as(START, start)
}

fn packed_as(path: &str, start: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join(path);
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, start).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let script = "find . -mindepth 1 | sort | cpio -o -H newc --quiet";
    let cpio = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(cpio.status.success(), "{cpio:?}");
    zstd::bulk::compress(&cpio.stdout, 3).unwrap()
}

fn sha256(bytes: &[u8]) -> Checksum {
    Checksum::Sha256(Digest(Sha256::digest(bytes).into()))
}

fn rescue_with(served: Vec<u8>, checksum: Checksum, root: &TempDir) -> Result<Rescued, String> {
    let server = Server::start(move |request| Reply::object(&served, "one", request));
    let order = Rescue {
        urls: vec![server.url("/rescue.cpio.zst")],
        checksum,
        stall_secs: 60,
        password_hash: Some("$6$salt$hush".into()),
        ssh_keys: vec![KEY.into()],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ctx = StepContext {
        progress: &|_| {},
        cancelled: &AtomicBool::new(false),
        disks: &Vec::new,
        runtime: runtime.handle().clone(),
    };
    let addresses = vec!["192.0.2.7".into()];
    rescue(&order, &ctx, &web(), addresses, root.path()).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_archive_is_unpacked_the_login_is_let_in_and_its_program_says_how_it_is_known() {
    let root = tempfile::tempdir().unwrap();
    let archive = packed("#!/bin/sh\necho ssh-ed25519 AAAAhost\n");
    for _ in 0..2 {
        let checksum = sha256(&archive);
        let rescued = rescue_with(archive.clone(), checksum, &root).unwrap();
        assert_eq!(rescued.addresses, ["192.0.2.7"]);
        assert_eq!(rescued.said, "ssh-ed25519 AAAAhost");
        let read = |path| fs::read_to_string(root.path().join(path)).unwrap();
        let users = read("etc/passwd");
        let rescue = "rescue:$6$salt$hush:0:0:rescue:/root:/bin/sh";
        assert!(users.lines().any(|line| line == rescue), "{users}");
        assert!(users.contains("root:*:"), "root itself has no password");
        assert_eq!(read("root/.ssh/authorized_keys"), format!("{KEY}\n"));
        let mode = |path| fs::metadata(root.path().join(path)).unwrap().mode() & 0o777;
        assert_eq!(mode("etc/passwd"), 0o600);
        assert_eq!(mode("root/.ssh/authorized_keys"), 0o600);
    }
}

#[test]
fn what_is_not_the_archive_meant_is_not_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let archive = packed("#!/bin/sh\necho ssh-ed25519 AAAAhost\n");
    let error = rescue_with(archive, sha256(b"another"), &root).unwrap_err();
    assert!(error.contains("checksum is wrong"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_system_that_does_not_start_is_an_error_that_shows_no_hash() {
    let silent = packed("#!/bin/sh\nexit 1\n");
    let missing = packed_as("usr/bin/other", "");
    for (archive, why) in [
        (silent, "it printed no key"),
        (missing, "etc/ironbeat/rescue: No such file"),
        (b"garbage".to_vec(), "unpacking the rescue system"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let checksum = sha256(&archive);
        let error = rescue_with(archive, checksum, &root).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
