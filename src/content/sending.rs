//! Content on its way to a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;

use super::{BoxError, fields};
use crate::conn::Stream;

/// A part of a body.
pub(crate) enum Piece {
    /// Bytes, never none.
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The pieces of a body, which must be as long as its head says.
pub(crate) struct Pieces {
    /// The bytes that the head promises and that are still to come.
    left: Option<u64>,
    /// Nothing more comes.
    is_over: bool,
}

impl Pieces {
    pub(crate) fn new(announced: Option<u64>) -> Pieces {
        Pieces { left: announced, is_over: false }
    }

    /// The next piece, or `None` after the last.
    ///
    /// # Errors
    ///
    /// The body's own error, or one that says that its length is wrong.
    pub(crate) fn poll_next<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
    ) -> Poll<Result<Option<Piece>, BoxError>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            if self.is_over {
                return Poll::Ready(match self.left {
                    Some(missing @ 1..) => Err(too_short(missing).into()),
                    _ => Ok(None),
                });
            }
            let frame = match ready!(body.as_mut().poll_frame(cx)) {
                None => {
                    self.is_over = true;
                    continue;
                }
                Some(frame) => frame.map_err(Into::into)?,
            };
            let data = match frame.into_data() {
                Ok(mut data) => data.copy_to_bytes(data.remaining()),
                Err(frame) => {
                    self.is_over = true;
                    let Ok(mut trailers) = frame.into_trailers() else { continue };
                    fields::remove_connection_specific(&mut trailers);
                    fields::trim(&mut trailers);
                    return Poll::Ready(Ok(Some(Piece::Trailers(trailers))));
                }
            };
            if let Some(promised) = &mut self.left {
                let Some(rest) = promised.checked_sub(data.len() as u64) else {
                    let message = "the body is longer than its content-length says \
                                   (RFC 9113 §8.1.1)";
                    return Poll::Ready(Err(message.into()));
                };
                *promised = rest;
            }
            self.is_over = body.is_end_stream();
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(Piece::Data(data))));
            }
        }
    }
}

pub(crate) fn too_short(missing: u64) -> String {
    format!("the body is {missing} bytes shorter than its content-length says (RFC 9113 §8.1.1)")
}

/// A body on its way to its stream.
pub(crate) struct Sending {
    pieces: Pieces,
    /// Bytes that wait for room.
    next: Option<Bytes>,
}

impl Sending {
    /// Sends `next`, and then the pieces that are left.
    pub(crate) fn new(pieces: Pieces, next: Option<Bytes>) -> Sending {
        Sending { pieces, next }
    }

    /// Moves content until it is complete. `tell`: the stream's mover hears of it. Before the head
    /// is given, it need not.
    ///
    /// # Errors
    ///
    /// The same as for [`Pieces::poll_next`]. A stream that takes no more is none.
    pub(crate) fn poll_move<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
        stream: &Stream,
        tell: bool,
    ) -> Poll<Result<(), BoxError>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            if let Some(bytes) = &mut self.next {
                // The end tells of the last bytes too.
                let written = match tell && !self.pieces.is_over {
                    true => stream.outbox.poll_write_chunk(cx, bytes),
                    false => stream.outbox.poll_put(cx, bytes),
                };
                if ready!(written).is_err() {
                    // The peer wants no more, or has gone.
                    return Poll::Ready(Ok(()));
                }
                self.next = None;
            }
            match ready!(self.pieces.poll_next(cx, body.as_mut()))? {
                Some(Piece::Data(bytes)) => self.next = Some(bytes),
                Some(Piece::Trailers(trailers)) => {
                    if let Some(exchange) = stream.exchange() {
                        exchange.set_trailers(trailers);
                    }
                }
                None => {
                    match tell {
                        true => stream.outbox.finish(),
                        false => stream.outbox.put_end(),
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
