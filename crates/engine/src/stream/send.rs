//! The half of a stream that this side sends.

/// This side's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendHalf {
    /// A server has not answered yet.
    Head,
    /// The head is sent, and content may follow.
    Body,
    /// END_STREAM is sent.
    Ended,
}

/// A part of a stream that this side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// An interim response (1xx).
    Interim,
    /// The response.
    Head { end: bool },
    /// Content.
    Data { end: bool },
    /// Trailers, which end the side.
    Trailers,
}

impl SendHalf {
    /// The state after this is sent. `None` if it must not be sent in this state (RFC 9113 §8.1).
    #[inline]
    pub(crate) fn after(self, go: Go) -> Option<SendHalf> {
        use SendHalf::{Body, Ended, Head};
        match (self, go) {
            (Head, Go::Interim) => Some(Head),
            (Head, Go::Head { end: false }) | (Body, Go::Data { end: false }) => Some(Body),
            (Head, Go::Head { end: true }) | (Body, Go::Data { end: true } | Go::Trailers) => {
                Some(Ended)
            }
            (Head, Go::Data { .. } | Go::Trailers)
            | (Body, Go::Interim | Go::Head { .. })
            | (Ended, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_heads_then_data_then_trailers() {
        let order = [Go::Interim, Go::Head { end: false }, Go::Data { end: false }, Go::Trailers];
        let end = order.into_iter().try_fold(SendHalf::Head, SendHalf::after);
        assert_eq!(end, Some(SendHalf::Ended));
        for wrong in [
            [Go::Data { end: false }, Go::Head { end: false }],
            [Go::Head { end: false }, Go::Interim],
            [Go::Head { end: false }, Go::Head { end: true }],
            [Go::Head { end: true }, Go::Data { end: true }],
            [Go::Head { end: true }, Go::Trailers],
            [Go::Trailers, Go::Trailers],
        ] {
            let end = wrong.into_iter().try_fold(SendHalf::Head, SendHalf::after);
            assert_eq!(end, None, "{wrong:?}");
        }
    }
}
