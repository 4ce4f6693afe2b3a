//! The command line as a program among others: a reader that has seen enough, a directory that is no site.
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn whoever_names_no_site_is_told_how() {
    let elsewhere = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ironbeat"))
        .args(["auth", "user", "list"])
        .env_remove("IRONBEAT_AUTH_DIR")
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--dir"), "{said}");
}

#[test]
fn a_closed_pipe_ends_it_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ironbeat"))
        .arg("decode")
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // What a shell reports of a program that SIGPIPE ended.
    assert_eq!(output.status.code(), Some(141));
}
