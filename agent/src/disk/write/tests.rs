//! Whole writes onto dirty disks from a real server, with everything that can go wrong.
//! Each stage alone is tested beside its own file.
use super::super::testing::image::{self, noise};
use super::super::testing::{
    Bench, LIMITS, MIB, TestDisk, gzip, order, run_alone, sha256, sha512, zstd,
};
use super::super::writer::TAIL_BYTES;
use super::write_image;
use crate::web::testing::{Reply, Server, web};
use ironbeat_common::heartbeat::Written;
use ironbeat_common::image::ImageFormat;
use ironbeat_common::order::{ConfigFile, WriteImage};
use std::process::Command;

const IMAGE_BYTES: u64 = 16 * MIB;
const DISK_BYTES: u64 = 32 * MIB;

fn config_drive() -> Vec<ConfigFile> {
    let file = |path: &str, content: &str| ConfigFile {
        path: path.to_owned(),
        content: content.to_owned(),
    };
    vec![
        file("openstack/latest/meta_data.json", r#"{"hostname": "n1"}"#),
        file("openstack/latest/user_data", "#cloud-config\n"),
    ]
}

fn run(bench: &Bench, order: &WriteImage) -> anyhow::Result<Written> {
    bench.run(|ctx| write_image(order, ctx, &web(), LIMITS))
}

/// Runs an order that must fail; returns the error text.
fn refusal(bench: &Bench, order: &WriteImage) -> String {
    let error = run(bench, order).expect_err("this must fail");
    format!("{error:#}")
}

/// The disk has the image's bytes from the end of its head to its own backup table.
fn assert_has(disk: &TestDisk, image: &[u8], sector: usize) {
    let content = disk.content();
    let head = 2 * sector + 128 * 128;
    let end = image.len() - head;
    let differs = (head..end).find(|at| content[*at] != image[*at]);
    assert_eq!(
        differs, None,
        "the disk differs from the image at this byte"
    );
    assert_eq!(content[..440], image[..440], "boot code");
}

fn assert_drive(disk: &TestDisk, at: u64) {
    let file = format!("{}@@{at}", disk.path());
    let mtype = |path: &str| {
        Command::new("mtype")
            .args(["-i", &file, path])
            .output()
            .expect("mtools are installed")
    };
    let output = mtype("::/openstack/latest/meta_data.json");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        r#"{"hostname": "n1"}"#,
        "{output:?}"
    );
}

#[test]
fn every_format_arrives_on_a_dirty_disk() {
    let image = image::gpt(IMAGE_BYTES, 512);
    for (format, served) in [
        (ImageFormat::Raw, image.clone()),
        (ImageFormat::Gzip, gzip(&image)),
        (ImageFormat::Zstd, zstd(&image)),
    ] {
        let disk = TestDisk::dirty(DISK_BYTES, 512);
        let server = Server::of(served.clone());
        let mut order = order(&disk, &[server.url("/image?secret=1")], format, &served);
        order.config_drive = config_drive();
        if format == ImageFormat::Gzip {
            order.checksum = sha512(&served);
        }
        let bench = Bench::new(&[&disk]);
        let written = run(&bench, &order).expect("nothing is wrong");
        assert_eq!((written.image_bytes, written.resumed), (IMAGE_BYTES, 0));
        assert_has(&disk, &image, 512);
        disk.assert_sgdisk_agrees();
        // 32 MiB less the backup table, less 1 MiB, down to the next whole MiB.
        assert_drive(&disk, DISK_BYTES - 2 * MIB);
        assert_eq!(server.seen()[0].target, "/image?secret=1");
        let backup = &disk.content()[IMAGE_BYTES as usize - 33 * 512..IMAGE_BYTES as usize];
        assert!(
            !backup.windows(8).any(|eight| eight == b"EFI PART"),
            "the image's own backup header is left"
        );
    }
}

/// An image that brings a config drive of its own, by the label of its file system alone.
#[test]
fn there_is_one_config_drive_however_the_image_was_made() {
    let mut image = image::gpt(IMAGE_BYTES, 512);
    let volume = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(volume.path(), vec![0; 2 * MIB as usize]).expect("room");
    let made = Command::new("mkfs.vfat")
        .args(["-n", "config-2"])
        .arg(volume.path())
        .output();
    assert!(made.expect("dosfstools are installed").status.success());
    let volume = std::fs::read(volume.path()).expect("it was made");
    image[MIB as usize..3 * MIB as usize].copy_from_slice(&volume);
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let server = Server::of(image.clone());
    let mut order = order(&disk, &[server.url("/")], ImageFormat::Raw, &image);
    order.config_drive = config_drive();
    run(&Bench::new(&[&disk]), &order).expect("nothing is wrong");
    assert_drive(&disk, MIB);
    disk.assert_sgdisk_agrees();
    let at_end = (DISK_BYTES - 2 * MIB) as usize;
    assert_ne!(disk.content()[at_end + 43..at_end + 51], *b"config-2");
}

#[test]
fn a_packed_image_that_says_it_is_too_large_is_refused_before_the_first_write() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let whole = zstd::bulk::compress(&image, 1).expect("a Vec takes any bytes");
    let skipped = [
        &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9],
        &whole[..],
    ]
    .concat();
    for served in [whole, skipped] {
        let disk = TestDisk::dirty(IMAGE_BYTES - MIB, 512);
        let server = Server::of(served.clone());
        let order = order(&disk, &[server.url("/")], ImageFormat::Zstd, &served);
        let error = refusal(&Bench::new(&[&disk]), &order);
        let words = "the image has 16777216 bytes unpacked";
        assert!(error.contains(words), "{error}");
        assert!(disk.is_untouched());
    }
}

#[test]
fn a_disk_with_sectors_of_4096_bytes_is_written() {
    let image = image::gpt(IMAGE_BYTES, 4096);
    let served = zstd(&image);
    let disk = TestDisk::dirty(DISK_BYTES, 4096);
    let server = Server::of(served.clone());
    let mut order = order(&disk, &[server.url("/i.zst")], ImageFormat::Zstd, &served);
    order.config_drive = config_drive();
    run(&Bench::new(&[&disk]), &order).expect("nothing is wrong");
    assert_has(&disk, &image, 4096);
    assert_drive(&disk, DISK_BYTES - 2 * MIB);
    if disk.is_block_device() {
        disk.assert_sgdisk_agrees();
    }
}

#[test]
fn an_image_for_other_sectors_is_refused_before_the_first_write() {
    for (image, disk_sector, words) in [
        (
            image::gpt(IMAGE_BYTES, 512),
            4096,
            "made for sectors of 512 bytes, the disk has 4096",
        ),
        (
            image::gpt(IMAGE_BYTES, 4096),
            512,
            "made for sectors of 4096 bytes, the disk has 512",
        ),
        (
            image::mbr(IMAGE_BYTES),
            4096,
            "counts sectors of 512 bytes; the disk has 4096",
        ),
    ] {
        let served = zstd(&image);
        let disk = TestDisk::dirty(DISK_BYTES, disk_sector);
        let server = Server::of(served.clone());
        let error = refusal(
            &Bench::new(&[&disk]),
            &order(&disk, &[server.url("/")], ImageFormat::Zstd, &served),
        );
        assert!(error.contains(words), "{error}");
        assert!(disk.is_untouched());
    }
}

#[test]
fn an_mbr_image_gets_its_config_drive_too() {
    let image = image::mbr(IMAGE_BYTES);
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let server = Server::of(image.clone());
    let mut order = order(&disk, &[server.url("/")], ImageFormat::Raw, &image);
    order.config_drive = config_drive();
    run(&Bench::new(&[&disk]), &order).expect("nothing is wrong");
    let content = disk.content();
    assert_eq!(content[..462], image[..462]);
    assert_eq!(content[512..IMAGE_BYTES as usize], image[512..]);
    assert_drive(&disk, DISK_BYTES - MIB);
}

#[test]
fn an_image_as_large_as_the_disk_is_written() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let disk = TestDisk::dirty(IMAGE_BYTES, 512);
    let server = Server::of(image.clone());
    run(
        &Bench::new(&[&disk]),
        &order(&disk, &[server.url("/")], ImageFormat::Raw, &image),
    )
    .expect("it just fits");
    assert_eq!(disk.content(), image, "not a byte had to be changed");
    disk.assert_sgdisk_agrees();
}

#[test]
fn an_image_larger_than_the_disk_is_refused() {
    let image = image::gpt(IMAGE_BYTES, 512);
    // Known from the length; known from the table; only known when the disk is full.
    let mut long_mbr = image::mbr(8 * MIB);
    long_mbr.resize(IMAGE_BYTES as usize, 7);
    for (format, served, words, untouched) in [
        (
            ImageFormat::Raw,
            image.clone(),
            "the image has 16777216 bytes",
            true,
        ),
        (
            ImageFormat::Zstd,
            zstd(&image),
            "partition 2 ends at byte 16777216, the disk has 12582912",
            true,
        ),
        (
            ImageFormat::Gzip,
            gzip(&image::mbr(IMAGE_BYTES)),
            "ends at byte 16777216, the disk has 12582912",
            true,
        ),
        (
            ImageFormat::Zstd,
            zstd(&long_mbr),
            "the image is larger than",
            false,
        ),
    ] {
        let disk = TestDisk::dirty(12 * MIB, 512);
        let server = Server::of(served.clone());
        let error = refusal(
            &Bench::new(&[&disk]),
            &order(&disk, &[server.url("/")], format, &served),
        );
        assert!(error.contains(words), "{error}");
        assert_eq!(disk.is_untouched(), untouched, "{words}");
        if !untouched {
            disk.assert_does_not_boot();
        }
    }
}

#[test]
fn a_wrong_checksum_leaves_nothing_that_boots() {
    let image = image::gpt(IMAGE_BYTES, 512);
    for (format, served) in [
        (ImageFormat::Raw, image.clone()),
        (ImageFormat::Zstd, zstd(&image)),
    ] {
        // The disk is exactly as large as the image: its backup GPT would be at the right place.
        let disk = TestDisk::dirty(IMAGE_BYTES, 512);
        let server = Server::of(served.clone());
        let mut order = order(&disk, &[server.url("/")], format, b"something else");
        order.config_drive = Vec::new();
        let error = refusal(&Bench::new(&[&disk]), &order);
        assert!(
            error.contains(&format!(
                "expected {}, got {}",
                order.checksum,
                sha256(&served)
            )),
            "{error}"
        );
        disk.assert_does_not_boot();
    }
}

/// What is no image of a disk is hashed to its end, since a wrong checksum explains it better; but it has to have one.
#[test]
fn a_server_that_does_not_end_is_given_up_after_as_much_as_the_disk_holds() {
    let endless = noise(40 * MIB as usize, 9);
    for (format, served) in [
        (ImageFormat::Raw, endless.clone()),
        (ImageFormat::Gzip, gzip(&endless)),
        (ImageFormat::Zstd, zstd(&endless)),
    ] {
        let disk = TestDisk::dirty(12 * MIB, 512);
        let sent = served.clone();
        let server = Server::start(move |request| Reply::object(&sent, "one", request).chunked());
        let error = refusal(
            &Bench::new(&[&disk]),
            &order(&disk, &[server.url("/")], format, &served),
        );
        assert!(error.contains("the image does not end"), "{error}");
        assert!(disk.is_untouched());
    }
}

#[test]
fn damage_is_distinguished_from_a_wrong_checksum() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let good = zstd(&image);
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let mut early = good.clone();
    early[2000] ^= 0x10;
    let cut = good[..good.len() - 5].to_vec();
    let mut tail = good.clone();
    tail.extend(b"and more");
    let gz = gzip(&image);
    let html = b"<html>not here</html>".repeat(100);
    let table = |at: usize| {
        let mut image = image.clone();
        image[at] ^= 1;
        image
    };
    let bare_mbr = {
        let mut image = image.clone();
        image[512..1024].fill(0);
        image
    };
    for (format, served, announced, words) in [
        (
            ImageFormat::Zstd,
            early,
            &good,
            "checksum is wrong: expected sha256:",
        ),
        (
            ImageFormat::Zstd,
            flipped.clone(),
            &good,
            "checksum is wrong: expected sha256:",
        ),
        (
            ImageFormat::Zstd,
            flipped.clone(),
            &flipped,
            "right checksum, but cannot be used: decoding the zstd image",
        ),
        (
            ImageFormat::Zstd,
            cut.clone(),
            &cut,
            "decoding the zstd image: incomplete frame",
        ),
        (
            ImageFormat::Zstd,
            tail.clone(),
            &tail,
            "decoding the zstd image",
        ),
        (
            ImageFormat::Gzip,
            gz[..gz.len() - 5].to_vec(),
            &gz,
            "checksum is wrong",
        ),
        (
            ImageFormat::Gzip,
            good.clone(),
            &good,
            "decoding the gzip image: invalid gzip header",
        ),
        (
            ImageFormat::Raw,
            html.clone(),
            &html,
            "the image has no partition table",
        ),
        (ImageFormat::Raw, html.clone(), &good, "checksum is wrong"),
        (
            ImageFormat::Raw,
            Vec::new(),
            &Vec::new(),
            "the image is empty",
        ),
        (
            ImageFormat::Raw,
            table(600),
            &table(600),
            "the checksum of the GPT's header is wrong",
        ),
        (
            ImageFormat::Raw,
            table(1100),
            &table(1100),
            "the checksum of the GPT's entries is wrong",
        ),
        (
            ImageFormat::Raw,
            bare_mbr.clone(),
            &bare_mbr,
            "protects a GPT that is not there",
        ),
    ] {
        let disk = TestDisk::dirty(DISK_BYTES, 512);
        let server = Server::of(served);
        let error = refusal(
            &Bench::new(&[&disk]),
            &order(&disk, &[server.url("/")], format, announced),
        );
        assert!(error.contains(words), "{words:?} is not in {error:?}");
        if !disk.is_untouched() {
            disk.assert_does_not_boot();
        }
    }
}

#[test]
fn a_missing_image_is_no_reason_to_touch_the_disk() {
    let server = Server::start(|_| Reply::status(404));
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let order = order(
        &disk,
        &[server.url("/gone?token=hidden")],
        ImageFormat::Raw,
        b"",
    );
    let error = refusal(&Bench::new(&[&disk]), &order);
    assert!(
        error.contains("/gone: HTTP status 404") && !error.contains("hidden"),
        "{error}"
    );
    assert!(disk.is_untouched());
}

#[test]
fn a_connection_cut_at_60_percent_goes_on_where_it_stopped() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let served = zstd(&image);
    let cut_at = served.len() * 6 / 10;
    let object = served.clone();
    let server = Server::start(move |request| {
        let reply = Reply::object(&object, "one", request);
        if request.number == 0 {
            reply.cut_at(cut_at)
        } else {
            reply
        }
    });
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let written = run(
        &Bench::new(&[&disk]),
        &order(&disk, &[server.url("/")], ImageFormat::Zstd, &served),
    );
    assert_eq!(written.expect("it goes on").resumed, 1);
    assert_has(&disk, &image, 512);
    disk.assert_sgdisk_agrees();
    let again = &server.seen()[1];
    assert_eq!(
        (again.range_from, again.if_range.as_deref()),
        (Some(cut_at), Some("\"one\""))
    );
}

#[test]
fn a_server_that_always_stops_at_60_percent_fails_the_write() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let cut_at = image.len() * 6 / 10;
    let object = image.clone();
    let server = Server::start(move |request| {
        Reply::object(&object, "one", request).cut_at(cut_at - request.range_from.unwrap_or(0))
    });
    let disk = TestDisk::dirty(IMAGE_BYTES, 512);
    let error = refusal(
        &Bench::new(&[&disk]),
        &order(&disk, &[server.url("/")], ImageFormat::Raw, &image),
    );
    assert!(
        error.contains(&format!("at byte {cut_at} of {}", image.len())),
        "{error}"
    );
    disk.assert_does_not_boot();
}

#[test]
fn cancelling_is_prompt_and_leaves_nothing_that_boots() {
    let image = image::gpt(IMAGE_BYTES, 512);
    for silent in [false, true] {
        let object = image.clone();
        let server = Server::start(move |request| {
            let reply = Reply::object(&object, "one", request);
            if silent {
                reply.silent_at(9 * MIB as usize)
            } else {
                reply
            }
        });
        let disk = TestDisk::dirty(DISK_BYTES, 512);
        let mut bench = Bench::new(&[&disk]);
        bench.cancel_at = Some(8 * MIB);
        // If the cancellation went unnoticed, the silent server would outlast the test.
        let limits = super::Limits {
            stall: std::time::Duration::from_secs(36_000),
            ..LIMITS
        };
        let order = order(&disk, &[server.url("/")], ImageFormat::Raw, &image);
        let error = bench
            .run(|ctx| write_image(&order, ctx, &web(), limits))
            .expect_err("it was cancelled");
        assert!(format!("{error:#}").contains("cancelled"), "{error:#}");
        disk.assert_does_not_boot();
    }
}

#[test]
fn progress_only_grows() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let server = Server::of(image.clone());
    let bench = Bench::new(&[&disk]);
    run(
        &bench,
        &order(&disk, &[server.url("/")], ImageFormat::Raw, &image),
    )
    .expect("nothing is wrong");
    let reports = bench.reports.into_inner().expect("nobody panicked");
    for pair in reports.windows(2) {
        assert!(
            pair[0].phase != pair[1].phase || pair[0].done <= pair[1].done,
            "{pair:?}"
        );
    }
    let mut phases: Vec<&str> = reports
        .iter()
        .map(|progress| progress.phase.as_str())
        .collect();
    phases.dedup();
    phases.retain(|phase| *phase != "write");
    assert_eq!(phases, ["download", "verify", "commit"]);
    let downloads: Vec<_> = reports
        .iter()
        .filter(|progress| progress.phase == "download")
        .collect();
    assert_eq!(
        downloads.last().map(|last| (last.done, last.total)),
        Some((IMAGE_BYTES, Some(IMAGE_BYTES)))
    );
}

#[test]
fn progress_has_what_troubles_the_download_until_it_goes_on() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let object = image.clone();
    let server = Server::start(move |request| match request.number {
        0 => Reply::status(502),
        _ => Reply::object(&object, "one", request),
    });
    let bench = Bench::new(&[&disk]);
    let order = order(&disk, &[server.url("/")], ImageFormat::Raw, &image);
    run(&bench, &order).expect("it is asked again");
    let reports = bench.reports.into_inner().expect("nobody panicked");
    let first = reports.first().expect("a report");
    let trouble = first.trouble.as_deref().expect("a trouble");
    assert_eq!(first.phase, "download");
    assert!(trouble.ends_with("HTTP status 502"), "{trouble}");
    assert!(reports[1..].iter().all(|report| report.trouble.is_none()));
}

/// An image may end before its last partition does; the rest of the partition must not keep the last owner's data.
#[test]
fn a_short_image_leaves_no_old_data_in_its_partitions() {
    let image = image::gpt(IMAGE_BYTES, 512);
    let short = &image[..8 * MIB as usize + 512];
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let server = Server::of(short.to_vec());
    run(
        &Bench::new(&[&disk]),
        &order(&disk, &[server.url("/")], ImageFormat::Raw, short),
    )
    .expect("nothing is wrong");
    let content = disk.content();
    assert_eq!(content[MIB as usize..short.len()], short[MIB as usize..]);
    assert!(
        content[short.len()..(IMAGE_BYTES - TAIL_BYTES) as usize]
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn an_image_smaller_than_its_head_is_written() {
    let image = image::mbr(8 * MIB);
    let tiny = &image[..100 * 512 + 100];
    let disk = TestDisk::dirty(DISK_BYTES, 512);
    let server = Server::of(tiny.to_vec());
    run(
        &Bench::new(&[&disk]),
        &order(&disk, &[server.url("/")], ImageFormat::Raw, tiny),
    )
    .expect("nothing is wrong");
    assert_eq!(disk.content()[..tiny.len()], *tiny);
    assert!(
        disk.content()[tiny.len()..8 * MIB as usize]
            .iter()
            .all(|byte| *byte == 0)
    );
}

/// Runs alone in its own process, whose memory can be measured.
#[test]
fn memory_does_not_grow_with_the_image() {
    const URL: &str = "IRONBEAT_TEST_MEMORY_URL";
    const BYTES: u64 = 192 * MIB;
    const MOST_KIB: u64 = 40 * 1024;
    let checksum = |served: &[u8]| sha256(served).to_string();
    if let Ok(url) = std::env::var(URL) {
        let (url, checksum) = url.split_once(' ').expect("both are given");
        let disk = TestDisk::sparse(BYTES, 512);
        let mut order = order(&disk, &[url.to_owned()], ImageFormat::Zstd, b"");
        order.checksum = checksum.parse().expect("it was printed by the other half");
        run(&Bench::new(&[&disk]), &order).expect("nothing is wrong");
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("Linux");
        let kib: u64 = peak
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number");
        assert!(kib < MOST_KIB, "{kib} KiB were used at the most");
        return;
    }
    let mut image = image::gpt(BYTES, 512);
    image[8 * MIB as usize..40 * MIB as usize].copy_from_slice(&noise(32 * MIB as usize, 9));
    let served = zstd(&image);
    let sum = checksum(&served);
    let server = Server::of(served);
    let given = format!("{} {sum}", server.url("/"));
    run_alone(
        module_path!(),
        "memory_does_not_grow_with_the_image",
        &[],
        URL,
        &given,
    );
}
