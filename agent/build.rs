//! Tells the linker what the ramdisk's agent does without: unwinding tables (it aborts) and unpacked relocations.
//! Every other build of this crate, tests included, is left alone.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=ramdisk.ld");
    let is = |name: &str, part: &str| {
        std::env::var(name).is_ok_and(|value| value.split(',').any(|word| word == part))
    };
    // The profile `agent` is the only one that builds for size, and the only one that aborts.
    let for_ramdisk = is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_FEATURE", "crt-static");
    if for_ramdisk && is("CARGO_CFG_TARGET_OS", "linux") {
        let script = format!(
            "{}/ramdisk.ld",
            std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")
        );
        for argument in [
            "--no-eh-frame-hdr",
            "-z,pack-relative-relocs",
            &format!("-T,{script}"),
        ] {
            println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
        }
    }
}
