//! Which of a BMC's messages are new: sequence numbers may arrive late, but count once (IPMI 2.0 §6.12.13).
//! `session` and `v15` first check that a message is authentic.

/// How far a message may lag behind the newest one and still be taken (§6.12.13: at least 16 in RMCP+, 8 before).
const WIDTH: u32 = 32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    newest: u32,
    /// Bit n: `newest - n` was seen.
    seen: u32,
}

impl Window {
    /// Nothing seen yet; `first` is the first message's number.
    pub(crate) fn from(first: u32) -> Self {
        Self {
            newest: first.wrapping_sub(1),
            seen: 1,
        }
    }

    /// Within the window and not seen before; remembers it.
    pub(crate) fn take(&mut self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.newest);
        if ahead != 0 && ahead < 1 << 31 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = sequence;
            return true;
        }
        let behind = self.newest.wrapping_sub(sequence);
        let is_new = behind < WIDTH && self.seen & (1 << behind) == 0;
        if is_new {
            self.seen |= 1 << behind;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_counts_once_in_any_order_within_the_window() {
        for first in [1, 0xffff_fffe] {
            let mut window = Window::from(first);
            for (offset, is_new) in [
                (0, true),
                (0, false),
                (2, true),
                (1, true),
                (1, false),
                (99, true),
                (68, true),
                (67, false),
                (2, false),
            ] {
                let sequence = first.wrapping_add(offset);
                assert_eq!(window.take(sequence), is_new, "{first:#x} + {offset}");
            }
        }
    }
}
