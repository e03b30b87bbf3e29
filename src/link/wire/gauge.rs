//! The driver's end of the wire.

use std::collections::{HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Inner, QUOTA, SPILL_LIMIT, copy_error};
use crate::sync::{Mutex, lock};

/// A PING (RFC 9113 §6.7) with a payload that is not h2's.
const NUDGE: &[u8] = b"\0\0\x08\x06\0\0\0\0\0h2conn\0\0";

/// The type of a GOAWAY frame.
const GOAWAY: u8 = 0x7;

/// The driver's end of the wire.
pub(crate) struct Gauge(Arc<Mutex<Inner>>);

/// What the driver reads off the wire after a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Bytes h2 has written, ever.
    pub(crate) accepted: u64,
    /// Bytes the transport has taken and flushed, ever.
    pub(crate) flushed: u64,
    /// Bytes the transport has taken, ever, flushed or not.
    pub(crate) taken: u64,
    /// Bytes that have come from the peer, ever.
    pub(crate) received: u64,
    /// The transport's end has been read.
    pub(crate) read_end: bool,
    /// The number of the last PING of [`Gauge::ask`] that was acknowledged.
    pub(crate) confirmed: u64,
    /// The peer may not have got something of a stream yet.
    pub(crate) owes: bool,
    /// That may be more than the ends of streams.
    pub(crate) owes_bytes: bool,
    /// Small frames took most of this turn: there may be many more of them, and others wait.
    pub(crate) crowded: bool,
    /// The peer does not read, and too much waits for it.
    pub(crate) overflowing: bool,
    /// The transport takes no more. What it still gives may say why.
    pub(crate) broken: bool,
    /// What the peer floods this side with.
    pub(crate) abuse: Option<&'static str>,
    pub(crate) seen_settings: bool,
    pub(crate) has_settings: bool,
    pub(crate) seen_goaway: bool,
    pub(crate) settings_acks: u64,
}

impl Reading {
    /// Bytes that wait for the transport.
    pub(crate) fn backlog(&self) -> usize {
        (self.accepted - self.flushed) as usize
    }
}

/// The resets that the driver asks of h2, for its users and for itself, until h2's next turn: the
/// streams and the codes.
#[derive(Clone, Debug, Default)]
pub(crate) struct WantedResets(Arc<Mutex<HashSet<(u32, u32)>>>);

impl WantedResets {
    pub(crate) fn note(&self, stream: u32, code: u32) {
        lock(&self.0).insert((stream, code));
    }
}

impl Gauge {
    pub(super) fn new(inner: Arc<Mutex<Inner>>) -> Gauge {
        Gauge(inner)
    }

    /// A new turn: what was handed up before has been dealt with.
    pub(crate) fn begin_turn(&self) {
        let mut inner = lock(&self.0);
        inner.quota = QUOTA;
        inner.small_cost = 0;
        inner.delivered = false;
    }

    /// Goes on writing what the transport did not take at once, and reads off the state.
    pub(crate) fn drive(&self, cx: &mut Context<'_>) -> Reading {
        let mut inner = lock(&self.0);
        inner.is_driven = true;
        inner.ping();
        inner.drive(cx);
        // Whatever was asked of h2 before its turn it has written, and the wire has taken.
        let wanted = std::mem::take(&mut *lock(&inner.wanted_resets.0));
        inner.sent_log.settle(&wanted);
        let requests = inner.sent_log.take_headers();
        inner.log.asked(requests);
        drop(inner);
        self.read()
    }

    /// Where resets are noted that are no answer to what the peer has done.
    pub(crate) fn wanted_resets(&self) -> WantedResets {
        lock(&self.0).wanted_resets.clone()
    }

    /// Says goodbye in h2's place, with a text that h2 has no room for (RFC 9113 §6.8), unless a
    /// frame of h2's is not complete. What h2 writes from now on is dropped.
    pub(crate) fn say_goodbye(&self, reason: u32, text: &str) {
        let mut inner = lock(&self.0);
        if inner.said_goodbye || !inner.between_frames {
            return;
        }
        let mut frame = (8 + text.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend(inner.log.last_stream().to_be_bytes());
        frame.extend(reason.to_be_bytes());
        frame.extend(text.as_bytes());
        inner.put(&frame);
        inner.said_goodbye = true;
    }

    /// The present state.
    pub(crate) fn read(&self) -> Reading {
        let inner = lock(&self.0);
        Reading {
            accepted: inner.accepted,
            flushed: inner.flushed,
            taken: inner.accepted - inner.spill.len() as u64,
            received: inner.received,
            read_end: inner.read_end,
            confirmed: inner.confirm.last(),
            owes: inner.confirm.owes(),
            owes_bytes: inner.confirm.owes_bytes(),
            crowded: inner.small_cost > QUOTA / 2,
            overflowing: inner.spill.len() > SPILL_LIMIT,
            broken: inner.broken.is_some(),
            abuse: inner.log.abuse().or(inner.sent_log.abuse()),
            seen_settings: inner.log.seen_settings(),
            has_settings: inner.log.has_settings(),
            seen_goaway: inner.log.seen_goaway(),
            settings_acks: inner.log.settings_acks(),
        }
    }

    /// Sends a PING past h2, which has one at a time, and ignores the answer to this one. Nothing is
    /// sent while h2 is within a frame.
    pub(crate) fn nudge(&self, cx: &mut Context<'_>) {
        let mut inner = lock(&self.0);
        if inner.between_frames {
            inner.write(cx, &[IoSlice::new(NUDGE)]);
            inner.drive(cx);
        }
    }

    /// Wants to know that the peer has got all that was written so far: gives the number of the PING
    /// whose acknowledgement says so. It is sent by the next [`Gauge::drive`].
    pub(crate) fn ask(&self) -> u64 {
        lock(&self.0).confirm.ask()
    }

    /// As [`Gauge::ask`], for everything that was written, whether it is owed or not.
    pub(crate) fn ask_behind_all(&self) -> u64 {
        let mut inner = lock(&self.0);
        inner.confirm.want();
        let number = inner.confirm.next_number();
        inner.ping();
        number
    }

    /// As [`Gauge::ask`], and puts the PING at once behind what HTTP/2 has just written.
    pub(crate) fn ask_now(&self) -> u64 {
        let mut inner = lock(&self.0);
        let number = inner.confirm.ask();
        inner.ping();
        number
    }

    /// Reads on after HTTP/2 has ended.
    pub(crate) fn read_on(&self, cx: &mut Context<'_>) {
        lock(&self.0).read_on(cx);
    }

    /// The code that the peer has reset this stream with, if it was an error's and not long ago.
    pub(crate) fn reset_of(&self, stream: u32) -> Option<u32> {
        lock(&self.0).log.reset_of(stream)
    }

    /// All that [`Gauge::reset_of`] knows.
    pub(crate) fn take_resets(&self) -> VecDeque<(u32, u32)> {
        lock(&self.0).log.take_resets()
    }

    /// The first bytes that the peer sent.
    pub(crate) fn first_bytes(&self) -> Vec<u8> {
        lock(&self.0).first.clone()
    }

    /// The code of the peer's GOAWAY, if it was an error's.
    pub(crate) fn goaway_error(&self) -> Option<u32> {
        lock(&self.0).log.goaway_error()
    }

    /// What the peer has said in its GOAWAY.
    pub(crate) fn goaway_text(&self) -> String {
        lock(&self.0).log.goaway_text()
    }

    /// Ready once the peer has ended the transport too, or this side has not: there is nothing to
    /// wait for. What still comes is dropped.
    pub(crate) fn poll_parted(&self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.0).poll_parted(cx)
    }

    /// Why the transport gives no more, if it has failed.
    pub(crate) fn take_read_error(&self) -> Option<io::Error> {
        lock(&self.0).failed.take()
    }

    /// Why the transport takes no more, if so.
    pub(crate) fn write_error(&self) -> Option<io::Error> {
        lock(&self.0).broken.as_ref().map(copy_error)
    }
}
