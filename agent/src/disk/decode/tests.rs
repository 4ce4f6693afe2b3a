//! Streams as tools make them, and damaged ones.
//! Whole writes of such streams are tested in `write`.
use super::super::testing::image::noise;
use super::super::testing::{gzip, zstd};
use super::{Stop, decode};
use crate::disk::buffer::{BUFFER_BYTES, pipe};
use ironbeat_common::image::ImageFormat;
use ironbeat_mutate::mutants;
use std::thread;

/// Sends `served` in pieces through the stage; what came out, or why it stopped.
fn run(format: ImageFormat, served: &[u8], piece: usize) -> Result<Vec<u8>, Stop> {
    let (filler, input) = pipe(2);
    let (output, drain) = pipe(2);
    thread::scope(|scope| {
        let stage = scope.spawn(move || decode(format, &input, &output));
        scope.spawn(move || {
            for piece in served.chunks(piece) {
                let Ok(mut buffer) = filler.spare() else {
                    return;
                };
                buffer.append(piece);
                if filler.send(buffer).is_err() {
                    return;
                }
            }
            let _ = filler.end();
        });
        let mut out = Vec::new();
        while let Ok(Some(buffer)) = drain.next() {
            out.extend_from_slice(buffer.filled());
            drain.give_back(buffer);
        }
        stage.join().expect("it does not panic").map(|()| out)
    })
}

fn check_refused(format: ImageFormat, served: &[u8], words: &str) {
    match run(format, served, BUFFER_BYTES) {
        Err(Stop::Damaged(e)) => assert!(format!("{e:#}").contains(words), "{e:#}"),
        other => panic!("{:?}", other.map(|out| out.len())),
    }
}

#[test]
fn streams_in_pieces_of_any_size_are_decoded() {
    let content = [noise(1_500_000, 1), vec![0; 3_000_000], noise(10, 2)].concat();
    let (first, second) = content.split_at(2_000_001);
    // A zstd frame that decoders skip, of four bytes.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    for piece in [1000, 65_537, BUFFER_BYTES] {
        for (format, served) in [
            (ImageFormat::Raw, content.clone()),
            (
                ImageFormat::Gzip,
                [gzip(first), gzip(b""), gzip(second)].concat(),
            ),
            (
                ImageFormat::Zstd,
                [
                    zstd(first),
                    skipped.to_vec(),
                    zstd(second),
                    skipped.to_vec(),
                ]
                .concat(),
            ),
        ] {
            let out = run(format, &served, piece).expect("it is good");
            assert!(out == content, "{format:?} in pieces of {piece}");
        }
    }
}

#[test]
fn what_is_not_whole_is_refused() {
    let content = noise(100_000, 1);
    let (gz, zst) = (gzip(&content), zstd(&content));
    check_refused(
        ImageFormat::Gzip,
        &gz[..gz.len() - 1],
        "decoding the gzip image",
    );
    check_refused(ImageFormat::Gzip, &gz[..5], "decoding the gzip image");
    check_refused(ImageFormat::Zstd, &zst[..zst.len() - 1], "incomplete frame");
    check_refused(ImageFormat::Zstd, &zst[..3], "decoding the zstd image");
    check_refused(
        ImageFormat::Zstd,
        &[&zst[..], &zst[..9]].concat(),
        "incomplete frame",
    );
    check_refused(
        ImageFormat::Gzip,
        &[&gz[..], b"trailing"].concat(),
        "decoding the gzip image",
    );
    check_refused(ImageFormat::Gzip, &zst, "invalid gzip header");
    check_refused(ImageFormat::Zstd, &gz, "decoding the zstd image");
}

/// RFC 8878 §3.1.1.1.2: the window descriptor's upper five bits count from 1 KiB.
#[test]
fn a_zstd_window_larger_than_agreed_is_refused() {
    let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
    assert_eq!(
        run(ImageFormat::Zstd, &frame(27), 100)
            .expect("an empty frame")
            .len(),
        0
    );
    check_refused(ImageFormat::Zstd, &frame(28), "decoding the zstd image");
}

#[test]
fn a_stage_whose_neighbour_stops_stops_too() {
    let (filler, input) = pipe(2);
    let (output, drain) = pipe(2);
    drop(filler);
    assert!(matches!(
        decode(ImageFormat::Zstd, &input, &output),
        Err(Stop::Neighbour)
    ));
    drop(output);
    assert!(drain.next().is_err());
}

#[test]
fn mutated_streams_do_not_panic() {
    let content = [
        vec![0; 2000],
        noise(300, 1),
        b"again and again and again".repeat(20),
    ]
    .concat();
    mutants(&gzip(&content), 300, |bytes| {
        drop(run(ImageFormat::Gzip, bytes, 4096))
    });
    mutants(&zstd(&content), 300, |bytes| {
        drop(run(ImageFormat::Zstd, bytes, 4096))
    });
}
