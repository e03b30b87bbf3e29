//! The bounded end of a stream that its user has let go: everything is sent for as long as the peer
//! makes progress, then the peer has its time to end its side.
//!
//! ```text
//! in use ─► flushing ─► draining: not told ─► asked ─► told ─► over
//!               └► stuck        (only where the carrier can ask)
//! ```
//!
//! This is the whole policy, under every carrier, and it is pure: time and facts go in, and a
//! [`Verdict`] comes out, which the mover of the stream carries out. What a carrier can know of its
//! peer, and what it resets with, stand in its [`Terms`].

use std::time::Duration;

use tokio::time::Instant;

use super::Stream;
use crate::error::{Ending, Error, ErrorKind, Reason};

/// A connection that was let go is given up when the peer takes nothing for this long.
const STALL: Duration = Duration::from_secs(30);

/// Bytes that a peer may go on sending after it knows that nobody reads them any more.
const MOST_DROPPED: usize = 1 << 20;

/// A peer that has not ended its side by then is asked whether it has got the end of ours. Nearly all
/// have ended it long before, and need no question.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the peer of a refused request may go on with it: nobody wants to have it.
const REFUSAL: Duration = Duration::from_secs(1);

/// The terms that a carrier brings to every end on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long the peer has to end its side: the `linger_timeout`.
    pub(crate) limit: Duration,
    pub(crate) delivery: Delivery,
    /// The reason for the reset of a stream whose peer has everything, and did not end its side. After any reason
    /// but NO_ERROR, clients and proxies throw away what they hold of a server's complete answer
    /// (RFC 9113 §8.1).
    pub(crate) reset: Reason,
}

/// By what a carrier knows that the peer has got everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The peer can be asked: its acknowledgement follows all bytes.
    Acknowledged,
    /// A server that is not ours has taken everything, and tells no more.
    #[cfg(feature = "accept")]
    HandedOver,
}

/// How far the sending of a stream has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Of the stream itself.
    pub(crate) stream: u64,
    /// Of the transport that all streams of its link share.
    pub(crate) transport: u64,
}

/// Facts about a stream, while it ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Everything that was written is on the transport, and so is END_STREAM.
    pub(crate) sent: bool,
    pub(crate) progress: Progress,
    /// The stream waits for the transport with the others, and not for a window of its own.
    pub(crate) waits_for_transport: bool,
    /// Somebody waits to hear that the peer has got everything.
    pub(crate) awaited: bool,
    /// The request was refused.
    pub(crate) refused: bool,
}

/// The next thing that the mover of the stream must do.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Look again at this time, or when something has happened.
    Wait(Option<Instant>),
    /// Ask the peer whether it has got what was sent so far, and say so by [`Linger::asked`].
    Ask,
    /// Reset the stream with CANCEL: the peer takes nothing of what is still to be sent.
    Stuck(Ending),
    /// Reset the stream with this reason: the peer has got everything, and had its time to end its side.
    Over(Reason, Result<(), Error>),
}

/// How far the end of one stream has come.
#[derive(Debug, Default)]
pub(crate) struct Linger(Stage);

#[derive(Debug, Default)]
enum Stage {
    /// Still in use.
    #[default]
    No,
    /// Everything written is being sent.
    Flushing {
        /// How far it had come at the last look.
        before: Progress,
        until: Instant,
        question: Question,
    },
    /// Everything is sent, and the peer may finish its side.
    Draining {
        since: Instant,
        /// Bytes of the peer that were dropped, since then or since it knows of the end.
        dropped: usize,
        told: Told,
    },
}

/// A peer that takes nothing is asked whether anything is still on its way.
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
    /// Its time runs since then.
    Yes(Instant),
}

/// How a stream has ended without a limit, once it has: both sides have ended, or this side has
/// failed and nothing is awaited of the other.
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
    /// The facts of a stream that shares its way with no other.
    pub(crate) fn of(stream: &Stream, position: u64) -> Facts {
        Facts {
            sent: stream.outbox.is_sent(),
            progress: Progress { stream: position, transport: 0 },
            waits_for_transport: false,
            awaited: stream.awaits_confirmation(),
            refused: stream.is_refused(),
        }
    }

    /// Whether something of the stream has gone since, or something of the transport that it waits for.
    fn have_moved(&self, before: Progress) -> bool {
        self.progress.stream > before.stream
            || (self.waits_for_transport && self.progress.transport > before.transport)
    }
}

impl Linger {
    /// Bytes that nobody will read have arrived.
    pub(crate) fn dropped(&mut self, bytes: usize) {
        if let Stage::Draining { dropped, .. } = &mut self.0 {
            *dropped += bytes;
        }
    }

    /// Whether the peer has got everything that the stream sent, its end included.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.0, Stage::Draining { told: Told::Yes(_), .. })
    }

    /// Looks at the end of a stream that its user has let go.
    pub(crate) fn look(&mut self, now: Instant, terms: &Terms, facts: Facts) -> Verdict {
        match &self.0 {
            Stage::No | Stage::Flushing { .. } if facts.sent => {
                let told = match terms.delivery {
                    Delivery::Acknowledged => Told::No,
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
                    // The bytes that were sent may still be on their way, and the peer have nothing
                    // to take.
                    Question::None if asks => return Verdict::Ask,
                    Question::None | Question::Answered => {}
                }
                Verdict::Stuck(Ending::Silent(terms.delivery.took_nothing().into()))
            }
            Stage::Draining { since, dropped, told } => {
                let flooded = dropped > MOST_DROPPED;
                let limit = if facts.refused { REFUSAL.min(terms.limit) } else { terms.limit };
                let until = match told {
                    Told::No => since + PATIENCE.min(limit),
                    // Of a refusal the peer need not say that it has it.
                    Told::Asked { at, .. } if facts.refused => at + terms.limit,
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

    /// The peer has been asked, by the question with this number.
    pub(crate) fn asked(&mut self, now: Instant, number: u64) {
        match &mut self.0 {
            Stage::No => {}
            Stage::Flushing { question, .. } => *question = Question::Asked(number),
            Stage::Draining { told, .. } => *told = Told::Asked { question: number, at: now },
        }
    }

    /// The peer has answered the question with this number: it has got all that was sent before.
    pub(crate) fn answered(&mut self, now: Instant, number: u64) {
        match &mut self.0 {
            Stage::Flushing { question, .. } if *question == Question::Asked(number) => {
                *question = Question::Answered;
            }
            Stage::Draining { since, dropped, told } => match *told {
                Told::Asked { question, at } if question == number => {
                    // On a slow line the end has only just come there.
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
    fn took_nothing(self) -> String {
        let who = match self {
            Delivery::Acknowledged => "peer",
            #[cfg(feature = "accept")]
            Delivery::HandedOver => "client",
        };
        let time = STALL.as_secs();
        format!("the {who} took nothing for {time} s of what was still to be sent")
    }

    /// The beginning of a sentence about a peer that has got everything.
    fn has_everything(self) -> &'static str {
        match self {
            Delivery::Acknowledged => "the peer has acknowledged everything, and",
            #[cfg(feature = "accept")]
            Delivery::HandedOver => "everything was handed to the server, and the client",
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
        Error::new(ErrorKind::TimedOut, message).with_reason(self.reset)
    }

    fn too_much(&self) -> Error {
        let message = format!(
            "{} goes on sending: more than {MOST_DROPPED} bytes have come since, which nobody reads",
            self.delivery.has_everything()
        );
        Error::new(ErrorKind::Aborted, message).with_reason(self.reset)
    }
}

#[cfg(test)]
mod tests;
