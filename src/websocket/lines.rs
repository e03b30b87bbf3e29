//! A text message for each line of the stream: with a value in JSON, or with any text.

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The longest frame. A longer line is a message of several frames (RFC 6455 §5.4), so that neither
/// this side nor tungstenite's buffer has to hold it whole.
const FRAGMENT: usize = 64 << 10;

/// The meaning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A value in JSON. White space alone is none.
    Json,
    /// Any text, which may be empty.
    Text,
}

impl Line {
    /// Whether a line of this text is left out.
    fn skips(self, text: &[u8]) -> bool {
        self == Line::Json && is_blank(text)
    }
}

/// The bytes that the program has written, cut into text messages.
#[derive(Debug)]
pub(super) struct Lines {
    line: Line,
    held: BytesMut,
    /// No line ends before this byte of `held`.
    searched: usize,
    /// Bytes of the present line that were given out, or left out.
    given: usize,
    /// A frame of the present line was given out.
    begun: bool,
    /// Bytes of the longest line.
    most: usize,
    /// Where `held` ends in the outbox.
    taken: u64,
    /// The end of the stream is behind `held`.
    ended: bool,
}

/// A text message, or a fragment of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    text: Bytes,
    is_first: bool,
    is_last: bool,
}

impl From<Piece> for Message {
    fn from(Piece { text, is_first, is_last }: Piece) -> Message {
        let kind = if is_first { Data::Text } else { Data::Continue };
        Message::Frame(Frame::message(text, OpCode::Data(kind), is_last))
    }
}

/// A line that cannot become a text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    TooLong,
    NotText,
}

impl Lines {
    pub(super) fn new(line: Line, most: usize) -> Lines {
        Lines {
            line,
            held: BytesMut::new(),
            searched: 0,
            given: 0,
            begun: false,
            most,
            taken: 0,
            ended: false,
        }
    }

    /// Takes the bytes that follow, up to `position` in the outbox, with the end of the stream if `ended`.
    pub(super) fn push(&mut self, bytes: &[u8], position: u64, ended: bool) {
        self.held.extend_from_slice(bytes);
        self.taken = position;
        self.ended |= ended;
    }

    /// The position in the outbox up to which everything is in lines that were given out.
    pub(super) fn position(&self) -> u64 {
        self.taken - (self.given + self.held.len()) as u64 - u64::from(self.ended)
    }

    /// Whether no line was begun.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.given == 0
    }

    /// Whether the end of the stream is all that is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// Takes the next line that is whole, without its line feed, or a part of a long one. The last
    /// line may have no line feed.
    ///
    /// # Errors
    ///
    /// Why the line cannot be sent.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Unsendable> {
        loop {
            let rest = &self.held[self.searched..];
            let feed = rest.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
            let is_whole = feed.is_some() || (self.ended && !self.is_empty());
            let end = feed.unwrap_or(self.held.len());
            self.searched = end;
            if self.given + end > self.most {
                return Err(Unsendable::TooLong);
            }
            if end > FRAGMENT || (end == FRAGMENT && !is_whole) {
                let text = self.split_fragment()?;
                self.given += text.len();
                self.searched -= text.len();
                // White space before a value means nothing, and might be a blank line.
                if self.begun || !self.line.skips(&text) {
                    let is_first = !std::mem::replace(&mut self.begun, true);
                    return Ok(Some(Piece { text, is_first, is_last: false }));
                }
                continue;
            }
            if !is_whole {
                if self.held.is_empty() {
                    // An idle connection keeps no buffer.
                    self.held = BytesMut::new();
                }
                return Ok(None);
            }
            let text = self.held.split_to(end).freeze();
            // Its line feed, if it has one.
            self.held.advance(self.held.len().min(1));
            (self.searched, self.given) = (0, 0);
            let is_first = !std::mem::take(&mut self.begun);
            if !is_first || !self.line.skips(&text) {
                let text = Utf8Bytes::try_from(text).map_err(|_| Unsendable::NotText)?;
                return Ok(Some(Piece { text: text.into(), is_first, is_last: true }));
            }
        }
    }

    /// Splits off as much as fits into a frame, and ends between characters.
    fn split_fragment(&mut self) -> Result<Bytes, Unsendable> {
        let end = match str::from_utf8(&self.held[..FRAGMENT]) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Unsendable::NotText),
        };
        Ok(self.held.split_to(end).freeze())
    }
}

impl Unsendable {
    /// The text for the peer.
    pub(super) fn told(self) -> &'static str {
        match self {
            Unsendable::TooLong => "this side wrote a line that is too long",
            Unsendable::NotText => "this side wrote a line that is not UTF-8",
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
                 text, or send bytes (without `WebSockets::json_lines` and `WebSockets::text_lines`)"
            }
        }
    }
}

/// A text message as a line, with its line feed. A blank one has no value in JSON, and is nothing; line feeds in one with a
/// value become carriage returns: both are white space between the tokens of a value, and JSON allows neither within a
/// string.
pub(super) fn line_of(line: Line, text: Utf8Bytes) -> Bytes {
    if line.skips(text.as_ref()) {
        return Bytes::new();
    }
    let is_json = line == Line::Json;
    let in_one_line = text.bytes().map(|byte| if is_json && byte == b'\n' { b'\r' } else { byte });
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
        while let Some(piece) = lines.next().expect("each can be sent") {
            assert!(piece.is_first && piece.is_last, "{piece:?}");
            all.push(String::from_utf8(piece.text.into()).expect("each is text"));
        }
        all
    }

    #[test]
    fn each_line_is_a_message_however_the_writes_cut_it() {
        let written = "{\"a\":1}\n\n \r\n\"grüß\"\n[2,\r\n 3]\n4".as_bytes();
        for size in 1..=written.len() {
            let (mut lines, mut seen, mut position) = (Lines::new(Line::Json, 100), Vec::new(), 0);
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
    fn any_text_is_a_line_and_blank_lines_are_messages() {
        let mut lines = Lines::new(Line::Text, 100);
        lines.push(b"a\n\n \n\nlast", 11, true);
        assert_eq!(all(&mut lines), ["a", "", " ", "", "last"]);
        assert!(lines.is_at_end());
        for (text, line) in [("", "\n"), ("a\nb", "a\nb\n")] {
            assert_eq!(line_of(Line::Text, text.into()), line);
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let mut lines = Lines::new(Line::Json, 5);
        lines.push(b"12345", 5, false);
        assert_eq!(all(&mut lines), [""; 0]);
        lines.push(b"\n123456", 12, false);
        let text = lines.next().map(|piece| piece.map(|piece| piece.text));
        assert_eq!(text, Ok(Some("12345".into())));
        assert_eq!(lines.next(), Err(Unsendable::TooLong), "known before its end");

        let mut lines = Lines::new(Line::Json, 5);
        lines.push(b"123456\n", 7, false);
        assert_eq!(lines.next(), Err(Unsendable::TooLong));
    }

    #[test]
    fn a_line_that_is_no_utf8_is_refused() {
        let mut lines = Lines::new(Line::Json, 5);
        lines.push(b"\"\xff\"\n", 4, false);
        assert_eq!(lines.next(), Err(Unsendable::NotText));

        let mut lines = Lines::new(Line::Json, 1 << 20);
        let mut long = vec![b'x'; 2 * FRAGMENT];
        long[100] = 0xff;
        lines.push(&long, long.len() as u64, false);
        assert_eq!(lines.next(), Err(Unsendable::NotText), "known before its end");
    }

    /// Writes in runs as long as those of the outbox. Returns the messages, the frames of the
    /// longest one, and the most bytes for which there was memory.
    fn write(text: &str, ended: bool) -> (Vec<String>, usize, usize) {
        let (mut lines, mut position, mut held) = (Lines::new(Line::Json, 1 << 30), 0, 0);
        let (mut messages, mut frames, mut most_frames) = (Vec::new(), 0, 0);
        let mut runs = text.as_bytes().chunks(64 << 10).peekable();
        while let Some(run) = runs.next() {
            let last = runs.peek().is_none();
            position += run.len() as u64 + u64::from(last && ended);
            lines.push(run, position, last && ended);
            held = held.max(lines.held.capacity());
            while let Some(piece) = lines.next().expect("it can be sent") {
                assert!(piece.text.len() <= FRAGMENT && piece.is_first == (frames == 0));
                if piece.is_first {
                    messages.push(String::new());
                }
                let message = messages.last_mut().expect("it has a first frame");
                message
                    .push_str(str::from_utf8(&piece.text).expect("frames end between characters"));
                frames += 1;
                most_frames = most_frames.max(frames);
                if piece.is_last {
                    frames = 0;
                }
            }
        }
        assert_eq!(lines.is_at_end(), ended);
        assert_eq!(position - lines.position(), u64::from(ended), "all was given out");
        (messages, most_frames, held)
    }

    #[test]
    fn memory_is_bounded_whatever_the_length_of_a_line() {
        // Characters of three bytes, so that few frames end where a run ends.
        for chars in [1_000, 100_000, 10_000_000] {
            let line = "€".repeat(chars);
            for (feed, ended) in [("\n", false), ("\n", true), ("", true)] {
                let (messages, frames, held) = write(&format!("{line}{feed}"), ended);
                assert!(messages == [line.as_str()], "{} messages", messages.len());
                assert!(
                    frames >= line.len() / FRAGMENT,
                    "{frames} frames for {} bytes",
                    line.len()
                );
                assert!(held <= 4 * FRAGMENT, "{held} bytes held of {}", line.len());
            }
        }
    }

    #[test]
    fn a_line_of_whole_frames_ends_with_its_last_byte_or_with_an_empty_frame() {
        for (bytes, frames) in [(FRAGMENT - 1, 1), (FRAGMENT, 1), (2 * FRAGMENT, 2)] {
            let line = "x".repeat(bytes);
            let (messages, seen, _) = write(&format!("{line}\n{line}\n"), false);
            assert!(messages == [line.as_str(), &line], "{} messages", messages.len());
            assert!((frames..=frames + 1).contains(&seen), "{bytes} bytes: {seen} frames");
        }
    }

    #[test]
    fn long_blank_lines_are_no_messages_and_white_space_before_a_value_may_be_left_out() {
        let blank = " ".repeat(3 * FRAGMENT);
        let (messages, _, held) = write(&format!("{blank}\n{blank}\n1\n{blank}2\n"), false);
        let told: Vec<_> = messages.iter().map(|message| message.trim_start()).collect();
        assert_eq!(told, ["1", "2"]);
        assert!(held <= 4 * FRAGMENT, "{held}");
        assert_eq!(write(&blank, true).0, [""; 0]);
    }

    #[test]
    fn a_text_message_is_one_line() {
        let line = |text: &'static str| line_of(Line::Json, text.into());
        assert_eq!(line("{\"a\":1}"), "{\"a\":1}\n");
        assert_eq!(line("[1,\n2]\n"), "[1,\r2]\r\n");
        assert_eq!(line(""), "");
        assert_eq!(line(" \r\n\t"), "");
    }
}
