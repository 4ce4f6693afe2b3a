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

/// Those that are here read their script, too.
#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_ironbeat"))
            .args(["completion", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shell}");
        for word in ["undeploy", "parallel", "boot-device", "sync-now"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let reads = Command::new(shell)
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut reads) = reads else { continue };
        reads
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let read = reads.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && said.is_empty(), "{shell}: {said}");
    }
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
