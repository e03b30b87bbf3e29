//! Finds the frames in a peer's bytes, however they are cut.
//!
//! The payload of DATA is handed on piece by piece, as it comes, and is never copied. Every other
//! payload is borrowed from the input if it is there completely. Otherwise it is collected, at most
//! one frame of it. A field block of several frames is collected too, up to a limit.

mod block;
mod payload;
#[cfg(test)]
mod tests;
mod transcript;

use block::Block;
use payload::Payload;
pub use transcript::Transcript;

use crate::ConnectionError;
use crate::frame::{
    Flags, Frame, Head, Kind, PREFACE, data, go_away, headers, ping, priority, priority_update,
    push_promise, rst_stream, settings, window_update,
};

/// Cuts a peer's bytes into frames.
///
/// Do not use it after an error.
#[derive(Debug)]
pub(crate) struct Deframer {
    /// Whether this side is a server, so that the peer is a client.
    server: bool,
    max_frame_size: u32,
    /// Whether no head has come yet.
    fresh: bool,
    state: State,
    /// The first bytes of a head that is not yet complete.
    head: [u8; Head::LEN],
    head_len: usize,
    payload: Payload,
    block: Block,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// This many bytes of the preface have come.
    Preface(usize),
    Head,
    Data(data::Incoming),
    Payload(Head),
    /// This many bytes of a payload of an unknown type have not come yet.
    Skip(u32),
}

impl Deframer {
    /// A server expects a preface before the first frame. `max_frame_size` is the value that this
    /// side has announced, in bytes. `max_block` limits a field block in its form on the wire, with
    /// padding and priorities.
    pub(crate) fn new(expect_preface: bool, max_frame_size: u32, max_block: usize) -> Deframer {
        Deframer {
            server: expect_preface,
            max_frame_size,
            fresh: true,
            state: if expect_preface { State::Preface(0) } else { State::Head },
            head: [0; Head::LEN],
            head_len: 0,
            payload: Payload::default(),
            block: Block::new(max_block),
        }
    }

    /// Sets the most bytes of a payload, for frames that begin from now on.
    pub(crate) fn set_max_frame_size(&mut self, max_frame_size: u32) {
        self.max_frame_size = max_frame_size;
    }

    /// Whether no preface, frame or field block is half-received.
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head) && self.head_len == 0 && !self.block.is_open()
    }

    /// The number of bytes that are allocated here.
    pub(crate) fn held(&self) -> usize {
        self.payload.held() + self.block.held()
    }

    /// Gives back the room of bytes that were handed on, because nothing may come for long.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.payload.release();
        self.block.release();
    }

    /// The next frame, or piece of one. `None` when the whole input is taken.
    ///
    /// # Errors
    ///
    /// Faults that end the connection. A fault that only ends a stream comes as [`Frame::Broken`],
    /// or with the frame as [`Headers::fault`](crate::frame::Headers).
    pub(crate) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'a>>, ConnectionError> {
        self.block.release();
        let (head, borrowed) = loop {
            match &mut self.state {
                State::Preface(matched) => {
                    *matched = preface(*matched, input)?;
                    if *matched < PREFACE.len() {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Head => {
                    self.payload.release();
                    let Some(head) = self.next_head(input)? else { return Ok(None) };
                    self.state = self.begin(head)?;
                    return Ok(Some(Frame::Head(head)));
                }
                State::Data(data) => {
                    let piece = data.next(input)?;
                    if data.is_over() {
                        self.state = State::Head;
                    }
                    return Ok(piece.map(Frame::Data));
                }
                State::Skip(left) => {
                    data::take(left, input);
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Payload(head) => {
                    let head = *head;
                    let borrowed = self.payload.borrow(head.len as usize, input);
                    if borrowed.is_none() && !self.payload.collect(head.len as usize, input) {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    if block::is_unfinished(head) {
                        self.block.add(head, borrowed.unwrap_or(self.payload.bytes()))?;
                    } else {
                        break (head, borrowed);
                    }
                }
            }
        };
        let payload = borrowed.unwrap_or(self.payload.bytes());
        read(head, payload, &mut self.block, self.server).map(Some)
    }

    /// Takes the nine bytes of a head.
    #[inline]
    fn next_head(&mut self, input: &mut &[u8]) -> Result<Option<Head>, ConnectionError> {
        if self.fresh && !self.server {
            self.check_first_bytes(input)?;
        }
        if self.head_len == 0
            && let Some((head, rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Ok(Some(Head::read(head)));
        }
        let space = &mut self.head[self.head_len..];
        let (taken, rest) = input.split_at(input.len().min(space.len()));
        space[..taken.len()].copy_from_slice(taken);
        *input = rest;
        self.head_len += taken.len();
        if self.head_len < Head::LEN {
            return Ok(None);
        }
        self.head_len = 0;
        Ok(Some(Head::read(&self.head)))
    }

    /// Checks the type of a server's first frame as soon as it has come. A TLS alert is shorter
    /// than a head, and a server of HTTP/1.1 answers in text.
    fn check_first_bytes(&self, input: &[u8]) -> Result<(), ConnectionError> {
        const KIND: usize = 3;
        let Some(kind) = KIND.checked_sub(self.head_len).and_then(|at| input.get(at)) else {
            return Ok(());
        };
        if *kind == Kind::SETTINGS.0 {
            return Ok(());
        }
        Err(ConnectionError::not_http2(
            &[&self.head[..self.head_len], input].concat(),
            "the first bytes are not those of HTTP/2, a SETTINGS frame was expected \
             (RFC 9113 §3.4)",
        ))
    }

    /// Checks a head, and returns the state that follows it.
    #[inline]
    fn begin(&mut self, head: Head) -> Result<State, ConnectionError> {
        if self.fresh {
            check_first_frame(head)?;
            self.fresh = false;
        }
        if head.len > self.max_frame_size {
            return Err(too_long(head, self.max_frame_size));
        }
        self.block.check(head)?;
        match head.kind {
            Kind::DATA => return Ok(State::Data(data::check(head)?)),
            Kind::HEADERS => headers::check(head).map(drop)?,
            Kind::PRIORITY => priority::check(head).map(drop)?,
            Kind::RST_STREAM => rst_stream::check(head).map(drop)?,
            Kind::SETTINGS => settings::check(head)?,
            Kind::PUSH_PROMISE => return Err(push_promise::refuse(head, self.server)),
            Kind::PING => ping::check(head)?,
            Kind::GOAWAY => go_away::check(head)?,
            Kind::WINDOW_UPDATE => window_update::check(head)?,
            // The block has checked it.
            Kind::CONTINUATION => {}
            Kind::PRIORITY_UPDATE => priority_update::check(head, !self.server)?,
            _ => return Ok(State::Skip(head.len)),
        }
        Ok(State::Payload(head))
    }
}

/// Reads a whole payload.
fn read<'a>(
    head: Head,
    payload: &'a [u8],
    block: &'a mut Block,
    server: bool,
) -> Result<Frame<'a>, ConnectionError> {
    match head.kind {
        Kind::PRIORITY => priority::read(head, payload),
        Kind::RST_STREAM => rst_stream::read(head, payload),
        Kind::SETTINGS => settings::read(head, payload, !server),
        Kind::PING => ping::read(head, payload),
        Kind::GOAWAY => go_away::read(head, payload),
        Kind::WINDOW_UPDATE => window_update::read(head, payload),
        Kind::PRIORITY_UPDATE => priority_update::read(head, payload),
        // Only HEADERS and CONTINUATION are left among the types whose payload is read as a whole.
        _ => block.finish(head, payload).map(Frame::Headers),
    }
}

fn check_first_frame(head: Head) -> Result<(), ConnectionError> {
    if head.kind == Kind::SETTINGS && !head.flags.has(Flags::ACK) {
        return Ok(());
    }
    let ack = if head.kind == Kind::SETTINGS { " with ACK" } else { "" };
    Err(ConnectionError::protocol(format!(
        "the first frame is {}{ack}, SETTINGS was expected (RFC 9113 §3.4)",
        head.kind
    )))
}

/// The error for too long a frame. It ends the connection even for DATA, where RFC 9113 §4.2 would
/// allow to end only the stream: a peer must not gain by ignoring SETTINGS.
#[cold]
fn too_long(head: Head, max: u32) -> ConnectionError {
    let Head { kind, len, stream, .. } = head;
    ConnectionError::frame_size(format!(
        "a {kind} frame of {len} bytes on stream {stream}, at most {max} were expected \
         (RFC 9113 §4.2)"
    ))
}

/// Compares the preface from where it stopped, and returns how much of it has come.
fn preface(matched: usize, input: &mut &[u8]) -> Result<usize, ConnectionError> {
    let expected = &PREFACE[matched..];
    let len = input.len().min(expected.len());
    if input[..len] != expected[..len] {
        return Err(ConnectionError::not_http2(
            &[&PREFACE[..matched], input].concat(),
            "the first bytes are not those of HTTP/2, the client's connection preface was \
             expected (RFC 9113 §3.4)",
        ));
    }
    *input = &input[len..];
    Ok(matched + len)
}
