//! The half of a stream that the peer sends.

use crate::Reason;

/// The peer's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecvHalf {
    /// A server has not answered yet.
    Head,
    /// The head has come, and content may follow.
    Body,
    /// END_STREAM has come.
    Ended,
}

/// A part of a stream that comes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// An interim response (1xx).
    Interim { end: bool },
    /// The response.
    Head { end: bool },
    /// Content.
    Data { end: bool },
    /// A field section after the head: trailers.
    Trailers { end: bool },
}

/// The reason why the peer may not send this here: the code that the RFC names, and a text.
pub(crate) type Refused = (Reason, &'static str);

impl RecvHalf {
    /// The state after this has come.
    ///
    /// # Errors
    ///
    /// A stream error (RFC 9113 §5.1, §8.1).
    #[inline]
    pub(crate) fn after(self, came: Came) -> Result<RecvHalf, Refused> {
        use RecvHalf::{Body, Ended, Head};
        let malformed = |what| Err((Reason::PROTOCOL_ERROR, what));
        match (self, came) {
            (Head, Came::Interim { end: false }) => Ok(Head),
            (Head, Came::Head { end: false }) | (Body, Came::Data { end: false }) => Ok(Body),
            (Head, Came::Head { end: true })
            | (Body, Came::Data { end: true } | Came::Trailers { end: true }) => Ok(Ended),
            (Head, Came::Interim { end: true }) => {
                malformed("an interim response with END_STREAM, expected none (RFC 9113 §8.1)")
            }
            (Head, Came::Data { .. } | Came::Trailers { .. }) => {
                malformed("DATA before the response, expected HEADERS (RFC 9113 §8.1)")
            }
            (Body, Came::Interim { .. } | Came::Head { .. } | Came::Trailers { end: false }) => {
                malformed(
                    "HEADERS without END_STREAM after the head, expected trailers with it (RFC 9113 §8.1)",
                )
            }
            (Ended, _) => Err((
                Reason::STREAM_CLOSED,
                "a frame after END_STREAM, expected WINDOW_UPDATE, PRIORITY or RST_STREAM (RFC 9113 §5.1)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(order: &[Came]) -> Result<RecvHalf, Reason> {
        let steps = order.iter().copied().try_fold(RecvHalf::Head, RecvHalf::after);
        steps.map_err(|(reason, _)| reason)
    }

    #[test]
    fn a_message_is_heads_then_data_then_trailers() {
        let (interim, head) = (Came::Interim { end: false }, Came::Head { end: false });
        let (data, trailers) = (Came::Data { end: false }, Came::Trailers { end: true });
        assert_eq!(end_of(&[interim, interim, head, data, trailers]), Ok(RecvHalf::Ended));
        for wrong in [
            &[data][..],
            &[interim, data],
            &[Came::Interim { end: true }],
            &[head, interim],
            &[head, head],
            &[head, data, Came::Trailers { end: false }],
        ] {
            assert_eq!(end_of(wrong), Err(Reason::PROTOCOL_ERROR), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_follows_an_end() {
        for last in
            [Came::Interim { end: false }, Came::Data { end: true }, Came::Trailers { end: true }]
        {
            assert_eq!(end_of(&[Came::Head { end: true }, last]), Err(Reason::STREAM_CLOSED));
        }
    }
}
