//! Aligned buffers, and the bounded pipe that hands them from one stage to the next and back.
//! What they hold is left to the stages.
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes. `O_DIRECT` wants memory, offset and length aligned to the logical sector, which is at most this.
pub const ALIGN: usize = 4096;
/// Bytes. Large enough that a synchronous direct write is cheap per byte, small enough for the processor's caches.
pub const BUFFER_BYTES: usize = 1 << 20;

/// [`BUFFER_BYTES`] of memory that starts at a multiple of [`ALIGN`], filled from the front.
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Self {
            memory,
            start,
            len: 0,
        }
    }
    pub fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
    /// The free part. Call [`Buffer::advance`] with the number of bytes used.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.len..self.start + BUFFER_BYTES]
    }
    pub fn advance(&mut self, bytes: usize) {
        assert!(
            bytes <= BUFFER_BYTES - self.len,
            "more was put into a buffer than it holds"
        );
        self.len += bytes;
    }
    pub fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn clear(&mut self) {
        self.len = 0;
    }
    /// Takes as much of `bytes` as fits and returns how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room().len());
        self.room()[..count].copy_from_slice(&bytes[..count]);
        self.advance(count);
        count
    }
    /// Fills up with zeros to a multiple of `unit`, which divides [`BUFFER_BYTES`].
    pub fn pad(&mut self, unit: usize) {
        let missing = self.len.next_multiple_of(unit) - self.len;
        self.room()[..missing].fill(0);
        self.advance(missing);
    }
}

/// The stage at the other end has stopped and knows why.
#[derive(Debug)]
pub struct Gone;

enum Item {
    Data(Buffer),
    End,
}

/// The end of a pipe that fills buffers.
pub struct Filler {
    spare: Receiver<Buffer>,
    full: SyncSender<Item>,
}

/// The end of a pipe that empties buffers.
pub struct Drain {
    full: Receiver<Item>,
    spare: Sender<Buffer>,
}

/// A pipe of `count` buffers, which bounds the memory between two stages.
pub fn pipe(count: usize) -> (Filler, Drain) {
    let (give, spare) = channel();
    let (send, full) = sync_channel(count);
    for _ in 0..count {
        give.send(Buffer::new())
            .expect("the receiver is in this function");
    }
    (Filler { spare, full: send }, Drain { full, spare: give })
}

impl Filler {
    /// An empty buffer; waits for one.
    pub fn spare(&self) -> Result<Buffer, Gone> {
        self.spare.recv().map_err(|_| Gone)
    }
    pub fn send(&self, buffer: Buffer) -> Result<(), Gone> {
        self.full.send(Item::Data(buffer)).map_err(|_| Gone)
    }
    /// Marks the end. A filler dropped without it has failed.
    pub fn end(&self) -> Result<(), Gone> {
        self.full.send(Item::End).map_err(|_| Gone)
    }
}

impl Drain {
    /// The next full buffer, or none after the last; waits for it.
    pub fn next(&self) -> Result<Option<Buffer>, Gone> {
        match self.full.recv() {
            Ok(Item::Data(buffer)) => Ok(Some(buffer)),
            Ok(Item::End) => Ok(None),
            Err(_) => Err(Gone),
        }
    }
    pub fn give_back(&self, mut buffer: Buffer) {
        buffer.clear();
        // The filler may be gone: then the buffer is not needed.
        let _ = self.spare.send(buffer);
    }
}
