//! The peer's doings, as the caller hears of them.

use http::{HeaderMap, Request, Response};

use crate::{Reason, Settings, StreamError, StreamId};

/// Hears what the peer does, in the order in which it did.
///
/// The engine calls it from within [`Connection::receive`](crate::Connection::receive), so it
/// cannot call the connection: it notes what must be done, and the caller does that afterwards. What
/// an event changes is already in force when its method is called.
///
/// After `reset`, `broken` or `not_processed`, nothing more is heard of a stream, and after the end of
/// both sides only `late_reset`.
pub trait Visitor {
    /// A server's client has opened a stream. If `end`, no content follows, and there is no call of
    /// [`end`](Visitor::end).
    fn request(&mut self, id: StreamId, request: Request<()>, end: bool) {
        let _ = (id, request, end);
    }

    /// A client's request is answered. If `end`, no content follows, and there is no call of
    /// [`end`](Visitor::end).
    fn response(&mut self, id: StreamId, response: Response<()>, end: bool) {
        let _ = (id, response, end);
    }

    /// An interim response (1xx) to a client's request; the response is still to come.
    fn informational(&mut self, id: StreamId, response: Response<()>) {
        let _ = (id, response);
    }

    /// Content, never empty, as a piece of the bytes that were given to `receive`. It takes of the
    /// windows until [`release_stream`](crate::Connection::release_stream) and
    /// [`release_connection`](crate::Connection::release_connection) are called.
    fn data(&mut self, id: StreamId, content: &[u8]);

    /// Trailers; [`end`](Visitor::end) follows at once.
    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        let _ = (id, trailers);
    }

    /// The peer has ended its side, after all content (END_STREAM).
    fn end(&mut self, id: StreamId);

    /// The peer has reset the stream (RST_STREAM).
    fn reset(&mut self, id: StreamId, reason: Reason);

    /// The peer has reset a stream that was over here because it had ended its own side: what it had
    /// not read when it did so, it has thrown away, although END_STREAM had been sent behind it. Of a
    /// stream that this side has reset, or that lived longer than thousands of others, this can be heard
    /// as well, so the caller ignores a stream that it does not look for.
    fn late_reset(&mut self, id: StreamId, reason: Reason) {
        let _ = (id, reason);
    }

    /// The peer has broken a rule on the stream, and the engine has reset it. A server hears this
    /// also of requests that it has never heard of, because they were malformed or too large.
    fn broken(&mut self, id: StreamId, error: &StreamError);

    /// The peer, a server, has not done anything for the stream, and will not: it is above the last
    /// one that its GOAWAY names, and may be tried again elsewhere (RFC 9113 §6.8).
    fn not_processed(&mut self, id: StreamId) {
        let _ = id;
    }

    /// The peer's SETTINGS have come; these are all of its values now.
    fn settings(&mut self, settings: &Settings) {
        let _ = settings;
    }

    /// The peer has acknowledged the last SETTINGS of this side.
    fn settings_acknowledged(&mut self) {}

    /// The peer has answered a PING with this payload, or sent such an answer unasked.
    fn pong(&mut self, payload: [u8; 8]) {
        let _ = payload;
    }

    /// The peer takes no more streams: none of those that this side opens above `last` is looked at,
    /// or none at all. `debug` is a text of the peer for people; anything can stand in it.
    fn go_away(&mut self, last: Option<StreamId>, reason: Reason, debug: &[u8]) {
        let _ = (last, reason, debug);
    }
}
