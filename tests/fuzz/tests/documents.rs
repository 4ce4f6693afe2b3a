//! Writes the table of targets in docs/security.md and the list of cargo-fuzz's programs, or compares them with what is there.
use ironbeat_document as document;
use ironbeat_fuzz::all;
use std::path::Path;

#[test]
fn the_table_of_targets_is_written_from_them() {
    let row = |target: &ironbeat_fuzz::Target| {
        let file = format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), target.file);
        assert!(Path::new(&file).is_file(), "{file} of {}", target.name);
        let name = format!("`{}`", target.name);
        vec![target.what.into(), format!("`{}`", target.file), name]
    };
    let rows: Vec<_> = all().iter().map(row).collect();
    let table = document::table(&["what", "read in", "target"], &rows);
    document::holds("docs/security.md", "targets", &table).unwrap();
}

#[test]
fn cargo_fuzz_has_a_program_for_each_target() {
    let mut text = String::from(include_str!("manifest.toml"));
    for target in all() {
        text += &format!(
            "\n[[bin]]\nname = \"{}\"\npath = \"fuzz_targets/target.rs\"\ntest = false\ndoc = false\nbench = false\n",
            target.name
        );
    }
    document::is("tests/fuzz/fuzz/Cargo.toml", &text).unwrap();
}
