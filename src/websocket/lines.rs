//! A value in JSON for each text message: the lines of the stream.

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The bytes that the program has written, cut into text messages.
#[derive(Debug)]
pub(super) struct Lines {
    held: BytesMut,
    /// No line ends before this byte of `held`.
    searched: usize,
    /// Bytes of the longest line.
    most: usize,
    /// Where `held` ends in the outbox.
    taken: u64,
    /// The end of the stream is behind `held`.
    ended: bool,
}

/// A line that cannot become a text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    TooLong,
    NotText,
}

impl Lines {
    pub(super) fn new(most: usize) -> Lines {
        Lines { held: BytesMut::new(), searched: 0, most, taken: 0, ended: false }
    }

    /// Takes the bytes that follow, up to `position` in the outbox, with the end of the stream if `ended`.
    pub(super) fn push(&mut self, bytes: &[u8], position: u64, ended: bool) {
        self.held.extend_from_slice(bytes);
        self.taken = position;
        self.ended |= ended;
    }

    /// The position in the outbox up to which everything is in lines that were given out.
    pub(super) fn position(&self) -> u64 {
        self.taken - self.held.len() as u64 - u64::from(self.ended)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether the end of the stream is all that is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    /// Takes the next line that is whole, without its line feed. The last one may have none. Blank lines are no values,
    /// and are passed over.
    ///
    /// # Errors
    ///
    /// Why the line cannot be sent.
    pub(super) fn next(&mut self) -> Result<Option<Utf8Bytes>, Unsendable> {
        loop {
            let rest = &self.held[self.searched..];
            let end = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => self.searched + at,
                None if self.ended && !self.held.is_empty() => self.held.len(),
                None => {
                    self.searched = self.held.len();
                    if self.held.is_empty() {
                        // An idle connection keeps no buffer, which may have held a long line.
                        self.held = BytesMut::new();
                    }
                    let fits = self.held.len() <= self.most;
                    return if fits { Ok(None) } else { Err(Unsendable::TooLong) };
                }
            };
            if end > self.most {
                return Err(Unsendable::TooLong);
            }
            let line = self.held.split_to(end).freeze();
            // Its line feed, if it has one.
            self.held.advance(self.held.len().min(1));
            self.searched = 0;
            if !is_blank(&line) {
                return Utf8Bytes::try_from(line).map(Some).map_err(|_| Unsendable::NotText);
            }
        }
    }
}

impl Unsendable {
    /// The text for the client.
    pub(super) fn told(self) -> &'static str {
        match self {
            Unsendable::TooLong => "the server wrote a line that is too long",
            Unsendable::NotText => "the server wrote a line that is not UTF-8",
        }
    }

    /// The text for the program.
    pub(super) fn message(self) -> &'static str {
        match self {
            Unsendable::TooLong => {
                "a line that is longer than `WebSockets::max_message_size` was written to a WebSocket that sends each \
                 line as a message: raise the limit, or end each value with a line feed"
            }
            Unsendable::NotText => {
                "a line that is not UTF-8 was written to a WebSocket that sends each line as a text message: write \
                 JSON, or do not use `WebSockets::json_lines`"
            }
        }
    }
}

/// A text message as a line, with its line feed; nothing if it has no value in it. Line feeds become carriage returns:
/// both are white space between the tokens of a value, and JSON allows neither within a string.
pub(super) fn line_of(text: Utf8Bytes) -> Bytes {
    if is_blank(text.as_ref()) {
        return Bytes::new();
    }
    let in_one_line = text.bytes().map(|byte| if byte == b'\n' { b'\r' } else { byte });
    in_one_line.chain([b'\n']).collect()
}

/// White space of JSON (RFC 8259 §2).
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("each can be sent") {
            all.push(line.to_string());
        }
        all
    }

    #[test]
    fn each_line_is_a_message_however_the_writes_cut_it() {
        let written = "{\"a\":1}\n\n \r\n\"grüß\"\n[2,\r\n 3]\n4".as_bytes();
        for size in 1..=written.len() {
            let (mut lines, mut seen, mut position) = (Lines::new(100), Vec::new(), 0);
            for piece in written.chunks(size) {
                position += piece.len() as u64;
                lines.push(piece, position, false);
                seen.extend(all(&mut lines));
            }
            assert_eq!(lines.position(), written.len() as u64 - 1, "the 4 may go on");
            lines.push(&[], position + 1, true);
            assert!(!lines.is_at_end());
            seen.extend(all(&mut lines));
            assert_eq!(seen, ["{\"a\":1}", "\"grüß\"", "[2,\r", " 3]", "4"], "pieces of {size}");
            assert!(lines.is_at_end());
            assert_eq!(lines.position(), position, "the end itself is still to be sent");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let mut lines = Lines::new(5);
        lines.push(b"12345", 5, false);
        assert_eq!(all(&mut lines), [""; 0]);
        lines.push(b"\n123456", 12, false);
        assert_eq!(lines.next(), Ok(Some("12345".into())));
        assert_eq!(lines.next(), Err(Unsendable::TooLong), "known before its end");

        let mut lines = Lines::new(5);
        lines.push(b"123456\n", 7, false);
        assert_eq!(lines.next(), Err(Unsendable::TooLong));
    }

    #[test]
    fn a_line_that_is_no_utf8_is_refused() {
        let mut lines = Lines::new(5);
        lines.push(b"\"\xff\"\n", 4, false);
        assert_eq!(lines.next(), Err(Unsendable::NotText));
    }

    #[test]
    fn a_text_message_is_one_line() {
        let line = |text: &'static str| line_of(text.into());
        assert_eq!(line("{\"a\":1}"), "{\"a\":1}\n");
        assert_eq!(line("[1,\n2]\n"), "[1,\r2]\r\n");
        assert_eq!(line(""), "");
        assert_eq!(line(" \r\n\t"), "");
    }
}
