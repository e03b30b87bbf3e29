//! Knowledge of streams that are over, in bounded memory: one word a stream, for the last 4,096 of
//! each end.

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The peer has sent END_STREAM. An honest peer sends nothing more.
    Ended = 1,
    /// The peer has reset it. An honest peer sends nothing more.
    ResetByPeer = 2,
    /// This side has reset it. Frames may still be in transit.
    ResetHere = 3,
}

/// Knowledge of a stream that is not open, and whose identifier is not above the highest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is over.
    Closed(Closed),
    /// It may have been over for long, or was skipped.
    Forgotten,
    /// It was skipped: a higher stream was opened first (RFC 9113 §5.1.1).
    Skipped,
}

/// The most streams that are remembered.
const MOST: usize = 4_096;

/// The initial room, in streams.
const FIRST: usize = 64;

/// The streams of one end that are over. A stream's place is its number modulo the size.
#[derive(Debug, Default)]
pub(crate) struct ClosedStreams {
    /// `number << 2 | how`. 0 if nothing is known.
    words: Vec<u32>,
    /// The highest stream, plus one, that had to be forgotten.
    forgotten: u32,
}

impl ClosedStreams {
    /// Records that the stream is over, or has ended differently from what was known.
    pub(crate) fn insert(&mut self, id: u32, how: Closed) {
        let number = id >> 1;
        if self.words.is_empty() {
            self.words.resize(FIRST, 0);
        }
        let word = number << 2 | how as u32;
        loop {
            let len = self.words.len();
            let place = &mut self.words[(word >> 2) as usize & (len - 1)];
            if *place == 0 || *place >> 2 == word >> 2 {
                *place = word;
                return;
            }
            if len == MOST {
                let (older, newer) = ((*place).min(word), (*place).max(word));
                *place = newer;
                self.forgotten = self.forgotten.max((older >> 2) + 1);
                return;
            }
            let larger = vec![0; self.words.len() * 2];
            for word in std::mem::replace(&mut self.words, larger) {
                if word != 0 {
                    // No two of them shared a place before, so none do now.
                    let mask = self.words.len() - 1;
                    self.words[(word >> 2) as usize & mask] = word;
                }
            }
        }
    }

    /// How a stream ended, as far as that is known.
    pub(crate) fn get(&self, id: u32) -> Known {
        let number = id >> 1;
        let word = match self.words.is_empty() {
            true => 0,
            false => self.words[number as usize & (self.words.len() - 1)],
        };
        match (word >> 2 == number, word & 3) {
            (true, 1) => Known::Closed(Closed::Ended),
            (true, 2) => Known::Closed(Closed::ResetByPeer),
            (true, 3) => Known::Closed(Closed::ResetHere),
            _ if number < self.forgotten => Known::Forgotten,
            _ => Known::Skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_known_and_what_was_passed_over_is_told_from_it() {
        let mut closed = ClosedStreams::default();
        assert_eq!(closed.get(1), Known::Skipped);
        closed.insert(1, Closed::Ended);
        closed.insert(5, Closed::ResetByPeer);
        closed.insert(7, Closed::ResetHere);
        assert_eq!(closed.get(1), Known::Closed(Closed::Ended));
        assert_eq!(closed.get(3), Known::Skipped);
        assert_eq!(closed.get(5), Known::Closed(Closed::ResetByPeer));
        assert_eq!(closed.get(7), Known::Closed(Closed::ResetHere));
        closed.insert(7, Closed::Ended);
        assert_eq!(closed.get(7), Known::Closed(Closed::Ended));
    }

    #[test]
    fn the_last_thousands_are_known_in_bounded_memory() {
        let mut closed = ClosedStreams::default();
        for number in 0..100_000_u32 {
            if number % 3 != 0 {
                closed.insert(2 * number + 1, Closed::ResetHere);
            }
        }
        assert_eq!(closed.words.len(), MOST);
        for number in 100_000 - MOST as u32..100_000 {
            let known = closed.get(2 * number + 1);
            match number % 3 {
                // The place may still belong to an older stream.
                0 => assert_ne!(known, Known::Closed(Closed::ResetHere), "{number}"),
                _ => assert_eq!(known, Known::Closed(Closed::ResetHere), "{number}"),
            }
        }
        assert_eq!(closed.get(1_001), Known::Forgotten);
    }

    #[test]
    fn a_stream_that_lived_long_does_not_displace_newer_ones() {
        let mut closed = ClosedStreams::default();
        for number in 1..=4_096_u32 {
            closed.insert(2 * number + 1, Closed::Ended);
        }
        closed.insert(1, Closed::ResetHere);
        assert_eq!(closed.get(2 * 4_096 + 1), Known::Closed(Closed::Ended));
        assert_eq!(closed.get(1), Known::Forgotten);
    }

    #[test]
    fn few_streams_take_little() {
        let mut closed = ClosedStreams::default();
        for number in 0..64_u32 {
            closed.insert(2 * number + 1, Closed::Ended);
        }
        assert_eq!(closed.words.len(), FIRST);
    }
}
