//! The stage between download and disk: gzip and zstd streams decoded into aligned buffers.
//! Raw images skip it; connecting the stages is left to `write`.
use super::buffer::{Buffer, Drain, Filler};
use super::stage::Stop;
use flate2::bufread::MultiGzDecoder;
use ironbeat_common::image::ImageFormat;
use std::io::{self, BufRead, Read};

/// Largest zstd window, as a power of two in bytes: 128 MiB, as plain `zstd -d` accepts. It takes this machine's memory.
const MAX_WINDOW_LOG: u32 = 27;

/// Decodes all that comes in, every gzip member and every zstd frame of it.
pub fn decode(format: ImageFormat, input: &Drain, output: &Filler) -> Result<(), Stop> {
    let input = Input {
        drain: input,
        current: None,
        at: 0,
        ended: false,
    };
    match format {
        ImageFormat::Raw => copy(input, output),
        ImageFormat::Gzip => copy(MultiGzDecoder::new(input), output),
        ImageFormat::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(|e| damaged("zstd", e))?;
            decoder
                .window_log_max(MAX_WINDOW_LOG)
                .map_err(|e| damaged("zstd", e))?;
            copy(decoder, output)
        }
    }
    .map_err(|stop| match stop {
        Stop::Damaged(e) => Stop::Damaged(e.context(match format {
            ImageFormat::Raw => "reading the image",
            ImageFormat::Gzip => "decoding the gzip image",
            ImageFormat::Zstd => "decoding the zstd image",
        })),
        other => other,
    })
}

/// What the first frame says that it has unpacked; others may follow it. Frames for other programs are skipped, which pzstd
/// begins with (RFC 8878 section 3.1.2).
pub fn zstd_bytes(mut head: &[u8]) -> Option<u64> {
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = head {
        let length = u32::from_le_bytes([*a, *b, *c, *d]);
        head = rest.get(usize::try_from(length).ok()?..)?;
    }
    zstd::zstd_safe::get_frame_content_size(head).ok().flatten()
}

fn copy(mut decoder: impl Read, output: &Filler) -> Result<(), Stop> {
    let mut buffer = output.spare()?;
    loop {
        match decoder.read(buffer.room()) {
            Ok(0) => break,
            Ok(count) => buffer.advance(count),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Stop::Neighbour),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Stop::Damaged(e.into())),
        }
        if buffer.is_full() {
            output.send(buffer)?;
            buffer = output.spare()?;
        }
    }
    if !buffer.is_empty() {
        output.send(buffer)?;
    }
    Ok(output.end()?)
}

fn damaged(what: &'static str, e: io::Error) -> Stop {
    Stop::Damaged(anyhow::Error::from(e).context(what))
}

/// The pipe as a reader for the decoders, without another copy.
struct Input<'a> {
    drain: &'a Drain,
    current: Option<Buffer>,
    at: usize,
    ended: bool,
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended
            && self
                .current
                .as_ref()
                .is_none_or(|buffer| self.at == buffer.filled().len())
        {
            if let Some(old) = self.current.take() {
                self.drain.give_back(old);
            }
            // A stopped download is not the end of the image: BrokenPipe carries that through the decoder.
            self.current = self.drain.next().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.ended = self.current.is_none();
            self.at = 0;
        }
        Ok(self
            .current
            .as_ref()
            .map_or(&[], |buffer| &buffer.filled()[self.at..]))
    }
    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
