//! Tries the closure on small tables, and the removal of signatures on damaged ones.
//! Real kernels are tried in `tests/boot/ramdisk.rs`.
use super::*;

fn tables() -> Tables {
    Tables {
        dep: "k/net/virtio_net.ko: k/net/net_failover.ko k/core/failover.ko k/virtio/virtio.ko\n\
              k/net/net_failover.ko: k/core/failover.ko\nk/core/failover.ko:\nk/virtio/virtio.ko:\n\
              k/fs/ext4.ko: k/fs/jbd2.ko\nk/fs/jbd2.ko:\nk/crypto/crc32c-intel.ko:\n\
              k/a.ko: \nk/b.ko:\nk/other.ko:\n"
            .into(),
        alias: "# Aliases\nalias virtio:d00000001v* virtio_net\nalias fs-ext4 ext4\nalias crypto-crc32c crc32c-intel\n\
                alias pci:v*d* other\nalias crc32c crc32c-intel\n"
            .into(),
        softdep: "# Soft\nsoftdep ext4 pre: crc32c absent post: other\nsoftdep a pre: b\nsoftdep b pre: a\n\
                  softdep other pre: a\n"
            .into(),
        builtin: "kernel/fs/nvme.ko\nkernel/drivers/built-in.ko\n".into(),
    }
}

fn check(names: &[&str], files: &[&str], unknown: &[&str]) -> Closure {
    let closure = close(&tables(), names);
    let found: Vec<&str> = closure.files.keys().map(String::as_str).collect();
    assert_eq!(found, files, "{names:?}");
    assert_eq!(closure.unknown, unknown, "{names:?}");
    closure
}

#[test]
fn a_module_brings_the_modules_it_needs() {
    let net = ["failover", "net_failover", "virtio", "virtio_net"];
    check(&["virtio_net"], &net, &[]);
    check(&["virtio_net", "virtio", "failover"], &net, &[]);
    check(&["virtio", "virtio_net"], &net, &[]);
    // Soft needs too, as far as they are there, by whatever name; what comes after is not needed.
    check(&["ext4"], &["crc32c_intel", "ext4", "jbd2"], &[]);
    check(&["a"], &["a", "b"], &[]);
    check(
        &["nvme", "built_in", "nosuch", "a"],
        &["a", "b"],
        &["nosuch"],
    );
    check(&[], &[], &[]);
}

#[test]
fn the_index_speaks_of_what_is_there() {
    let closure = check(&["ext4"], &["crc32c_intel", "ext4", "jbd2"], &[]);
    let [dep, alias, softdep] = closure.index;
    assert_eq!(
        dep,
        (
            "modules.dep",
            "k/fs/ext4.ko: k/fs/jbd2.ko\nk/fs/jbd2.ko:\nk/crypto/crc32c-intel.ko:\n".into()
        )
    );
    assert_eq!(
        alias,
        (
            "modules.alias",
            "alias fs-ext4 ext4\nalias crypto-crc32c crc32c-intel\nalias crc32c crc32c-intel\n"
                .into()
        )
    );
    assert_eq!(
        softdep,
        ("modules.softdep", "softdep ext4 pre: crc32c_intel\n".into())
    );
}

#[test]
fn a_signature_is_cut_off_and_nothing_else() {
    let signed = |module: &[u8], signature: &[u8], claimed: u32| {
        let description = [&[0, 0, 2, 0, 0, 0, 0, 0][..], &claimed.to_be_bytes()].concat();
        [
            module,
            signature,
            &description,
            b"~Module signature appended~\n",
        ]
        .concat()
    };
    let whole = signed(b"ELF code", b"PKCS7", 5);
    assert_eq!(unsigned(&whole), b"ELF code");
    assert_eq!(unsigned(b"ELF code"), b"ELF code");
    assert_eq!(unsigned(b""), b"");
    assert_eq!(
        unsigned(&whole[..whole.len() - 1]),
        &whole[..whole.len() - 1]
    );
    for claimed in [14, u32::MAX] {
        let damaged = signed(b"ELF code", b"PKCS7", claimed);
        assert_eq!(unsigned(&damaged), damaged, "claims {claimed} bytes");
    }
    let short = b"\x05~Module signature appended~\n";
    assert_eq!(unsigned(short), short);
}
