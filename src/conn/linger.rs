//! The bounded end of a stream that its user has let go. Everything is sent for as long as the peer
//! makes progress. After that the peer has a limited time to end its side.
//!
//! ```text
//! in use ─► flushing ─► draining: not told ─► asked ─► told ─► over
//!               └► stuck        (only where the carrier can ask)
//! ```
//!
//! This is the whole policy, under every carrier, and it is pure: time and facts go in, and a
//! [`Verdict`] comes out, which the mover of the stream carries out. [`Terms`] state what a carrier
//! can know of its peer, and the reason for a reset.

use std::time::Duration;

use tokio::time::Instant;

use super::Stream;
use crate::error::{Ending, Error, ErrorKind, Reason};

/// A connection that was let go is given up when the peer takes nothing for this long.
const STALL: Duration = Duration::from_secs(30);

/// The most bytes that a peer may send after it knows that no task reads them any more.
const MOST_DROPPED: usize = 1 << 20;

/// The same, for a peer that was told, and has not acknowledged it. The acknowledgement can be behind
/// all that the peer had sent before.
const MOST_UNAWARE: usize = 64 << 20;

/// A peer that has not ended its side by then is asked whether it has received the end of this
/// side. Nearly all peers end much earlier, and need no question.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much longer than its `limit` a peer may take that was asked, and need not be able to answer.
#[cfg(feature = "websocket")]
const UNANSWERED: Duration = Duration::from_secs(120);

/// How long the peer of a refused request may continue with it. No task wants its bytes.
const REFUSAL: Duration = Duration::from_secs(1);

/// The carrier's conditions for the end of each of its streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long the peer has to end its side: the `linger_timeout`.
    pub(crate) limit: Duration,
    pub(crate) delivery: Delivery,
    /// The reason for the reset when the peer has everything and did not end its side. After any
    /// reason but NO_ERROR, clients and proxies discard a server's complete answer (RFC 9113 §8.1).
    pub(crate) reset: Reason,
}

/// How a carrier learns that the peer has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The peer can be asked: its acknowledgement follows all bytes.
    Acknowledged,
    /// The peer was asked with its last bytes, and must answer, as every end of a WebSocket must. But it may
    /// leave that out once it has heard of the end.
    #[cfg(feature = "websocket")]
    Asked,
    /// A server underneath has taken everything. It reports nothing further.
    #[cfg(feature = "accept")]
    HandedOver,
}

/// The progress of a stream's sending.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The stream's own position.
    pub(crate) stream: u64,
    /// The position of the transport that all streams of the link share.
    pub(crate) transport: u64,
}

/// Facts about a stream that is ending.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Everything that was written is on the transport, and so is END_STREAM.
    pub(crate) sent: bool,
    pub(crate) progress: Progress,
    /// The stream waits for the shared transport, and not for a window of its own.
    pub(crate) waits_for_transport: bool,
    /// A task waits to learn that the peer has everything.
    pub(crate) awaited: bool,
    /// The request was refused.
    pub(crate) refused: bool,
}

/// The next thing that the mover of the stream must do.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Look again at this time, or when something has happened.
    Wait(Option<Instant>),
    /// Ask the peer whether it has received everything that was sent so far, and report this
    /// through [`Linger::asked`].
    Ask,
    /// Reset the stream with CANCEL: the peer takes none of the remaining bytes.
    Stuck(Ending),
    /// Reset the stream with this reason: the peer has everything, and its time to end its side is
    /// up.
    Over(Reason, Result<(), Error>),
}

/// The progress of one stream's end.
#[derive(Debug, Default)]
pub(crate) struct Linger(Stage);

#[derive(Debug, Default)]
enum Stage {
    /// Still in use.
    #[default]
    No,
    /// Everything written is being sent.
    Flushing {
        /// The progress at the last look.
        before: Progress,
        until: Instant,
        question: Question,
    },
    /// Everything is sent. The peer may finish its side.
    Draining {
        since: Instant,
        /// The peer's bytes that were dropped since everything was sent, or since the peer knows of
        /// the end.
        dropped: usize,
        told: Told,
    },
}

/// A peer that takes nothing is asked whether bytes are still in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    None,
    Asked(u64),
    Answered,
}

/// Whether the peer knows that this side has ended.
#[derive(Clone, Copy, Debug)]
enum Told {
    No,
    Asked {
        question: u64,
        at: Instant,
    },
    /// The peer's time runs from here.
    Yes(Instant),
}

/// How a stream has ended without a limit, if it has: both sides have ended, or this side has
/// failed and nothing is expected from the other.
pub(crate) fn ended(
    received_end: bool,
    sent: bool,
    closing: bool,
    failed: Result<(), Error>,
) -> Option<Result<(), Error>> {
    match failed {
        _ if received_end && sent => Some(Ok(())),
        Err(error) if received_end || closing => Some(Err(error)),
        _ => None,
    }
}

impl Facts {
    /// The facts of a stream that shares its transport with no other stream.
    pub(crate) fn of(stream: &Stream, position: u64) -> Facts {
        Facts {
            sent: stream.outbox.is_sent(),
            progress: Progress { stream: position, transport: 0 },
            waits_for_transport: false,
            awaited: stream.awaits_confirmation(),
            refused: stream.is_refused(),
        }
    }

    /// Whether bytes of the stream have gone since, or bytes of the transport that it waits for.
    fn have_moved(&self, before: Progress) -> bool {
        self.progress.stream > before.stream
            || (self.waits_for_transport && self.progress.transport > before.transport)
    }
}

impl Linger {
    /// Whether the end was examined before.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.0, Stage::No)
    }

    /// Counts received bytes that no task will read.
    pub(crate) fn dropped(&mut self, bytes: usize) {
        if let Stage::Draining { dropped, .. } = &mut self.0 {
            *dropped += bytes;
        }
    }

    /// Whether the peer has received everything that the stream sent, including its end.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.0, Stage::Draining { told: Told::Yes(_), .. })
    }

    /// Examines the end of a stream that its user has let go.
    pub(crate) fn look(&mut self, now: Instant, terms: &Terms, facts: Facts) -> Verdict {
        match &self.0 {
            Stage::No | Stage::Flushing { .. } if facts.sent => {
                let told = match terms.delivery {
                    Delivery::Acknowledged => Told::No,
                    #[cfg(feature = "websocket")]
                    Delivery::Asked => Told::No,
                    #[cfg(feature = "accept")]
                    Delivery::HandedOver => Told::Yes(now),
                };
                self.0 = Stage::Draining { since: now, dropped: 0, told };
            }
            Stage::No => self.flush(now, facts.progress),
            Stage::Flushing { .. } | Stage::Draining { .. } => {}
        }
        match self.0 {
            Stage::No => Verdict::Wait(None),
            Stage::Flushing { before, until, question } => {
                let asks = terms.delivery == Delivery::Acknowledged;
                match question {
                    Question::Asked(_) => return Verdict::Wait(None),
                    Question::None if now < until => return Verdict::Wait(Some(until)),
                    _ if facts.have_moved(before) => {
                        self.flush(now, facts.progress);
                        return Verdict::Wait(Some(now + STALL));
                    }
                    // The sent bytes may still be in transit, so that the peer has nothing to take.
                    Question::None if asks => return Verdict::Ask,
                    Question::None | Question::Answered => {}
                }
                Verdict::Stuck(Ending::Silent(Delivery::took_nothing().into()))
            }
            Stage::Draining { since, dropped, told } => {
                let flooded = dropped > MOST_DROPPED;
                let limit = if facts.refused { REFUSAL.min(terms.limit) } else { terms.limit };
                let until = match told {
                    Told::No => since + PATIENCE.min(limit),
                    // The peer need not confirm that it has received a refusal.
                    Told::Asked { at, .. } if facts.refused => at + terms.limit,
                    Told::Asked { .. } if dropped > MOST_UNAWARE => {
                        return Verdict::Over(terms.reset, Err(terms.far_too_much()));
                    }
                    #[cfg(feature = "websocket")]
                    Told::Asked { at, .. } if terms.delivery == Delivery::Asked => {
                        let until = at + limit + UNANSWERED;
                        if now >= until {
                            return Verdict::Over(terms.reset, Err(terms.unanswered()));
                        }
                        return Verdict::Wait(Some(until));
                    }
                    Told::Asked { .. } => return Verdict::Wait(None),
                    Told::Yes(since) => since + limit,
                };
                let told = !matches!(told, Told::No);
                if !flooded && now < until && (told || !facts.awaited) {
                    return Verdict::Wait(Some(until));
                }
                if !told {
                    return Verdict::Ask;
                }
                let error = match flooded {
                    true => terms.too_much(),
                    false => terms.too_late(),
                };
                Verdict::Over(terms.reset, if facts.refused { Ok(()) } else { Err(error) })
            }
        }
    }

    fn flush(&mut self, now: Instant, before: Progress) {
        self.0 = Stage::Flushing { before, until: now + STALL, question: Question::None };
    }

    /// The peer was asked the question with this number.
    pub(crate) fn asked(&mut self, now: Instant, number: u64) {
        match &mut self.0 {
            Stage::No => {}
            Stage::Flushing { question, .. } => *question = Question::Asked(number),
            Stage::Draining { told, .. } => *told = Told::Asked { question: number, at: now },
        }
    }

    /// The peer has answered the question with this number: it has received everything sent before
    /// it.
    pub(crate) fn answered(&mut self, now: Instant, number: u64) {
        match &mut self.0 {
            Stage::Flushing { question, .. } if *question == Question::Asked(number) => {
                *question = Question::Answered;
            }
            Stage::Draining { since, dropped, told } => match *told {
                Told::Asked { question, at } if question == number => {
                    // On a slow line the end has only just arrived.
                    *told = Told::Yes(if now - at < PATIENCE { *since } else { now });
                    *dropped = 0;
                }
                _ => {}
            },
            Stage::No | Stage::Flushing { .. } => {}
        }
    }
}

impl Delivery {
    fn took_nothing() -> String {
        let time = STALL.as_secs();
        format!("the peer took nothing for {time} s of what was still to be sent")
    }

    /// The beginning of a sentence about a peer that has received everything.
    fn has_everything(self) -> &'static str {
        match self {
            Delivery::Acknowledged => "the peer has acknowledged everything, and",
            #[cfg(feature = "websocket")]
            Delivery::Asked => "the peer has acknowledged everything, and",
            #[cfg(feature = "accept")]
            Delivery::HandedOver => "everything was handed on, and the peer",
        }
    }
}

impl Terms {
    fn too_late(&self) -> Error {
        let message = format!(
            "{} has not ended its side within {} s, the linger_timeout of this side",
            self.delivery.has_everything(),
            self.limit.as_secs_f32()
        );
        self.at_the_end(ErrorKind::TimedOut, message)
    }

    #[cfg(feature = "websocket")]
    fn unanswered(&self) -> Error {
        let message = format!(
            "the peer has neither answered a ping behind everything nor ended its side within {} s, the linger_timeout \
             of this side, and {} s more for a slow line",
            self.limit.as_secs_f32(),
            UNANSWERED.as_secs()
        );
        Error::new(ErrorKind::TimedOut, message).with_reason(self.reset)
    }

    fn far_too_much(&self) -> Error {
        let message = format!(
            "the peer has not acknowledged the end of this side, and goes on sending: more than {MOST_UNAWARE} bytes \
             have come since, which nobody reads"
        );
        Error::new(ErrorKind::Aborted, message).with_reason(self.reset)
    }

    fn too_much(&self) -> Error {
        let message = format!(
            "{} goes on sending: more than {MOST_DROPPED} bytes have come since, which nobody reads",
            self.delivery.has_everything()
        );
        self.at_the_end(ErrorKind::Aborted, message)
    }

    /// The error for a peer that has everything, as far as the carrier can know.
    fn at_the_end(&self, kind: ErrorKind, message: String) -> Error {
        let error = Error::new(kind, message).with_reason(self.reset);
        match self.delivery {
            Delivery::Acknowledged => error.delivered(),
            #[cfg(feature = "websocket")]
            Delivery::Asked => error.delivered(),
            #[cfg(feature = "accept")]
            Delivery::HandedOver => error,
        }
    }
}

#[cfg(test)]
mod tests;
