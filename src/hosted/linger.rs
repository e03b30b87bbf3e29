//! The end of a connection on another server, or of a WebSocket: `conn::linger`, with the clock of its task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Duration, Instant, Sleep, sleep_until};

use crate::conn::{self, Delivery, Facts, Stream, Terms, Verdict, Wish, ended};
use crate::error::{Ending, Error, Reason};

pub(crate) struct Linger {
    terms: Terms,
    end: conn::Linger,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The result of the end so far.
pub(crate) enum Lingering {
    GoesOn,
    /// Both sides have ended, or their time is up. If it is, the peer must be told this reason.
    Over(
        #[cfg_attr(not(feature = "websocket"), expect(dead_code, reason = "servers are not told"))]
        Option<Reason>,
        Result<(), Error>,
    ),
    /// The peer takes none of the bytes that are still to be sent.
    Stuck(Ending),
    /// The peer must be asked whether it has everything: [`Linger::asked`].
    Ask,
}

impl Linger {
    pub(crate) fn new(limit: Duration) -> Linger {
        let terms = Terms { limit, delivery: Delivery::HandedOver, reset: Reason::NO_ERROR };
        Linger { terms, end: conn::Linger::default(), timer: None }
    }

    /// The same, where the peer can be asked whether it has everything.
    #[cfg(feature = "websocket")]
    pub(crate) fn acknowledged(limit: Duration, reset: Reason) -> Linger {
        let terms = Terms { limit, delivery: Delivery::Acknowledged, reset };
        Linger { terms, end: conn::Linger::default(), timer: None }
    }

    /// The same, for a peer that was asked with its last bytes, and may not answer.
    #[cfg(feature = "websocket")]
    pub(crate) fn asked_at_the_end(limit: Duration) -> Linger {
        let terms = Terms { limit, delivery: Delivery::Asked, reset: Reason::NO_ERROR };
        Linger { terms, end: conn::Linger::default(), timer: None }
    }

    /// Whether the peer has received everything, as far as it can be known.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_told(&self) -> bool {
        self.end.is_told()
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn asked(&mut self, number: u64) {
        self.end.asked(Instant::now(), number);
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn answered(&mut self, number: u64) {
        self.end.answered(Instant::now(), number);
    }

    /// Counts received bytes that no task will read.
    pub(crate) fn dropped(&mut self, bytes: usize) {
        self.end.dropped(bytes);
    }

    /// Checks whether the stream has ended, and checks the clock if its user has let it go.
    /// `position` grows with the bytes that the client's side takes.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        received_end: bool,
        position: u64,
    ) -> Lingering {
        let (sent, failed) = (stream.outbox.is_sent(), stream.outbox.check());
        // Read this last: a failure that is the user's reset must be seen as a reset, of which the
        // task is about to be told.
        let closing = stream.wish() == Wish::Close;
        if let Some(how) = ended(received_end, sent, closing, failed) {
            return Lingering::Over(None, how);
        }
        if !closing {
            return Lingering::GoesOn;
        }
        loop {
            match self.end.look(Instant::now(), &self.terms, Facts::of(stream, position)) {
                Verdict::Stuck(ending) => return Lingering::Stuck(ending),
                Verdict::Over(reason, how) => return Lingering::Over(Some(reason), how),
                Verdict::Ask if sent => return Lingering::Ask,
                // A question would wait behind the bytes that the peer does not take.
                Verdict::Ask => {
                    self.end.asked(Instant::now(), 0);
                    self.end.answered(Instant::now(), 0);
                }
                Verdict::Wait(None) => return Lingering::GoesOn,
                Verdict::Wait(Some(until)) if self.wait(cx, until).is_pending() => {
                    return Lingering::GoesOn;
                }
                Verdict::Wait(Some(_)) => {}
            }
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}
