//! The peer's actions, as the caller receives them.

use http::{HeaderMap, Request, Response};

use crate::{Reason, Settings, StreamError, StreamId};

/// Receives the peer's actions, in their order.
///
/// The engine calls it from within [`Connection::receive`](crate::Connection::receive), so it
/// cannot call the connection. It records the necessary work, and the caller does the work
/// afterwards. An event's changes are already in force when its method is called.
///
/// After `reset`, `broken` or `not_processed`, no more calls come for a stream. After the end of
/// both sides only `late_reset` can come.
pub trait Visitor {
    /// A server's client has opened a stream. If `end`, no content follows, and
    /// [`end`](Visitor::end) is not called.
    fn request(&mut self, id: StreamId, request: Request<()>, end: bool) {
        let _ = (id, request, end);
    }

    /// A client's request is answered. If `end`, no content follows, and [`end`](Visitor::end) is
    /// not called.
    fn response(&mut self, id: StreamId, response: Response<()>, end: bool) {
        let _ = (id, response, end);
    }

    /// An interim response (1xx) to a client's request. The response must still come.
    fn informational(&mut self, id: StreamId, response: Response<()>) {
        let _ = (id, response);
    }

    /// Content, never empty, as a piece of the bytes that were given to `receive`. It uses up the
    /// windows until [`release_stream`](crate::Connection::release_stream) and
    /// [`release_connection`](crate::Connection::release_connection) are called.
    fn data(&mut self, id: StreamId, content: &[u8]);

    /// Trailers. A call of [`end`](Visitor::end) follows at once.
    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        let _ = (id, trailers);
    }

    /// The peer has ended its side, after all content (END_STREAM).
    fn end(&mut self, id: StreamId);

    /// The peer has reset the stream (RST_STREAM).
    fn reset(&mut self, id: StreamId, reason: Reason);

    /// The peer has reset a stream that was over here because the peer had ended its own side.
    /// Bytes that the peer had not read by then are lost, although END_STREAM had been sent after
    /// them. This call can also come for a stream that this side has reset, or that lived longer
    /// than thousands of others. So the caller must ignore streams that it does not look for.
    fn late_reset(&mut self, id: StreamId, reason: Reason) {
        let _ = (id, reason);
    }

    /// The peer has broken a rule on the stream, and the engine has reset it. On a server this can
    /// also concern a request that was never reported, because it was malformed or too large.
    fn broken(&mut self, id: StreamId, error: &StreamError);

    /// The peer, a server, has not processed the stream, and will not. The stream is above the last
    /// one that its GOAWAY names, and may be tried again elsewhere (RFC 9113 §6.8).
    fn not_processed(&mut self, id: StreamId) {
        let _ = id;
    }

    /// The peer's SETTINGS have come. These are all its present values.
    fn settings(&mut self, settings: &Settings) {
        let _ = settings;
    }

    /// The peer has acknowledged the last SETTINGS of this side.
    fn settings_acknowledged(&mut self) {}

    /// The peer has answered a PING with this payload, or has sent such an answer without a PING.
    fn pong(&mut self, payload: [u8; 8]) {
        let _ = payload;
    }

    /// The peer accepts no more streams: none of this side's streams above `last`, or none at all.
    /// `debug` is the peer's text for people, with arbitrary content.
    fn go_away(&mut self, last: Option<StreamId>, reason: Reason, debug: &[u8]) {
        let _ = (last, reason, debug);
    }
}
