//! The bytes of a connection as messages, both ways.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::lines::{Line, Lines, Unsendable, line_of};
use super::marks::Mark;
use crate::pipe::Outbox;

/// Which messages carry the bytes of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Messages {
    /// Binary messages, which may be cut anywhere; from the peer also text messages, if `text`.
    Bytes { text: bool },
    /// Text messages, one for each line of at most `most` bytes.
    Lines { line: Line, most: usize },
    /// Binary messages with a mark: the subprotocol of this library.
    Marked,
}

/// The longest message with a mark that each end must take.
pub(crate) const LONGEST_MARKED: usize = MOST + 1;

/// The most bytes of a message with a mark. A slow line must carry one within some seconds, because the other end says only
/// of whole messages that it has received them.
const MOST_MARKED: usize = 16 << 10;

impl Messages {
    /// Whether each side can end, or reset, without the other.
    pub(crate) fn are_marked(self) -> bool {
        matches!(self, Messages::Marked)
    }

    /// The meaning of the peer's binary message.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub(super) fn of_binary(self, bytes: Bytes) -> Result<Mark, &'static str> {
        match self {
            Messages::Bytes { .. } | Messages::Lines { line: Line::Text, .. } => {
                Ok(Mark::Data(bytes))
            }
            Messages::Marked => Mark::of(bytes),
            Messages::Lines { line: Line::Json, .. } => {
                Err("binary messages are not taken here, only text with a JSON value in each")
            }
        }
    }

    /// The meaning of the peer's text message.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub(super) fn of_text(self, text: Utf8Bytes) -> Result<Mark, &'static str> {
        match self {
            Messages::Bytes { text: true } => Ok(Mark::Data(text.into())),
            Messages::Bytes { text: false } | Messages::Marked => {
                Err("text messages are not taken here, only binary ones")
            }
            Messages::Lines { line, .. } => Ok(Mark::Data(line_of(line, text))),
        }
    }
}

/// The most bytes of one message, where the end of a message has no meaning.
const MOST: usize = 64 << 10;

/// The bytes that the program writes, as messages.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The lines, where each is a message.
    lines: Option<Lines>,
    /// Each message has a mark.
    marked: bool,
    /// Up to here the outbox is in messages that were given out.
    position: u64,
}

/// The next thing that goes to the peer. Both can be missing: another call may then give more.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub(super) message: Option<Message>,
    pub(super) end: bool,
}

impl Outgoing {
    pub(super) fn new(messages: Messages) -> Outgoing {
        let lines = match messages {
            Messages::Lines { line, most } => Some(Lines::new(line, most)),
            Messages::Bytes { .. } | Messages::Marked => None,
        };
        Outgoing { lines, marked: messages.are_marked(), position: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next thing to send; `None` if there is nothing.
    ///
    /// # Errors
    ///
    /// Why what the program has written cannot be sent.
    pub(super) fn next(&mut self, outbox: &Outbox) -> Result<Option<Next>, Unsendable> {
        if let Some(lines) = &mut self.lines {
            let line = lines.next()?;
            self.position = lines.position();
            if let Some(line) = line {
                return Ok(Some(Next { message: Some(line.into()), end: false }));
            }
            if lines.is_at_end() {
                self.position += 1;
                return Ok(Some(Next { message: None, end: true }));
            }
        }
        let run = outbox.take_run(if self.marked { MOST_MARKED } else { MOST });
        let idle = run.bytes.is_none() && !run.end;
        if idle {
            return Ok(None);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(run.bytes.as_deref().unwrap_or_default(), run.position, run.end);
            return Ok(Some(Next::default()));
        }
        self.position = run.position;
        let message = run.bytes.map(|bytes| match self.marked {
            true => Mark::Data(bytes).message(),
            false => Message::Binary(bytes),
        });
        Ok(Some(Next { message, end: run.end }))
    }

    /// Takes the end of a stream of which nothing more can be sent. `false` if some of it is lost by that.
    pub(super) fn take_end(&mut self, outbox: &Outbox) -> bool {
        let run = outbox.take_run(1);
        let has_line = self.lines.as_ref().is_some_and(|lines| !lines.is_empty());
        if run.bytes.is_some() || has_line {
            return false;
        }
        self.position = run.position.max(self.position);
        true
    }
}
