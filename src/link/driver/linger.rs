//! The bounded end of a stream that its user has let go: everything is sent, then the peer has its
//! time to end its side.

use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::config::{LINGER_BYTES, LINGER_STALL};
use crate::conn::Wish;
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::link::entry::{Draining, Entry, Flushing, Head, Linger, Told};
use crate::link::outcome::given_up;
use crate::link::peer::Peer;

/// A peer that has not ended its side by then is asked by a PING whether it has got the end of ours.
/// Nearly all have ended it long before, and need no PING.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the peer of a refused request may go on with it: nobody wants to have it.
const REFUSAL: Duration = Duration::from_secs(1);

impl Driver {
    /// Sees to a stream's end: what is still awaited, and its removal when nothing is.
    pub(super) fn finish_up(&mut self, key: usize, wish: Wish) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let sent = entry.stream.outbox.is_sent();
        if !entry.over && entry.received_end && sent {
            entry.end(Ok(()));
        }
        if !entry.over && wish == Wish::Close && !matches!(entry.head, Head::Rejected(..)) {
            self.linger(key, sent);
        }
        if self.streams.get(key).is_some_and(Entry::is_finished) {
            self.remove(key);
        }
    }

    fn linger(&mut self, key: usize, sent: bool) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        match &mut entry.linger {
            Linger::No | Linger::Flushing(_) if sent => {
                let awaited = entry.stream.awaits_confirmation();
                entry.linger = Linger::Draining(Draining::new(Instant::now()));
                match awaited {
                    true => self.ask_for_the_end(key),
                    false => self.set_timer(key, PATIENCE.min(self.config.linger_timeout)),
                }
            }
            Linger::No => self.flush_on(key),
            Linger::Flushing(_) => {}
            Linger::Draining(draining) if draining.dropped <= LINGER_BYTES => {}
            Linger::Draining(Draining { told: Told::No, .. }) => self.ask_for_the_end(key),
            Linger::Draining(Draining { told: Told::Asked { .. }, .. }) => {}
            Linger::Draining(Draining { told: Told::Yes, .. }) => {
                let message = format!(
                    "the peer has acknowledged everything, and goes on sending: more than \
                     {LINGER_BYTES} bytes have come since, which nobody reads"
                );
                self.give_up_on_the_peer(key, Error::new(ErrorKind::Aborted, message));
            }
        }
    }

    /// Looks again at a stream that has something to send, after a while.
    fn flush_on(&mut self, key: usize) {
        let taken = self.reading.taken;
        let Some(entry) = self.streams.get_mut(key) else { return };
        let position = entry.stream.outbox.settle();
        entry.linger = Linger::Flushing(Flushing { position, taken, asked: None });
        self.set_timer(key, LINGER_STALL);
    }

    /// Asks the peer whether it has got the end of a stream.
    fn ask_for_the_end(&mut self, key: usize) {
        let ping = self.confirm_lingering(key);
        if let Some(entry) = self.streams.get_mut(key)
            && let Linger::Draining(draining) = &mut entry.linger
        {
            draining.told = Told::Asked { ping, at: Instant::now() };
        }
    }

    /// The timer of a stream has fired.
    pub(super) fn time_is_up(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.timer = None;
        if entry.finish_rejection() {
            return self.look_at(key);
        }
        let linger = entry.linger;
        match linger {
            Linger::No => {}
            Linger::Flushing(flushing) if self.has_moved(key, flushing) => self.flush_on(key),
            Linger::Flushing(flushing) => {
                // The bytes that were sent may still be on their way, and the peer have nothing to take.
                let ping = self.confirm_lingering(key);
                if let Some(entry) = self.streams.get_mut(key) {
                    entry.linger = Linger::Flushing(Flushing { asked: Some(ping), ..flushing });
                }
            }
            Linger::Draining(Draining { told: Told::No, .. }) => self.ask_for_the_end(key),
            Linger::Draining(Draining { told: Told::Asked { .. }, .. }) => {}
            Linger::Draining(Draining { told: Told::Yes, .. }) => {
                let message = format!(
                    "the peer has acknowledged everything, and has not ended its side within {} s, \
                     the linger_timeout of this side",
                    self.config.linger_timeout.as_secs_f32()
                );
                self.give_up_on_the_peer(key, Error::new(ErrorKind::TimedOut, message));
            }
        }
        self.look_at(key);
    }

    /// The peer has acknowledged a PING behind what the stream had sent.
    pub(super) fn lingering_is_confirmed(&mut self, key: usize, ping: u64) {
        let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else { return };
        match &mut entry.linger {
            Linger::Draining(draining) => {
                let Told::Asked { ping: of, at } = draining.told else { return };
                if of != ping {
                    return;
                }
                draining.told = Told::Yes;
                draining.dropped = 0;
                let limit = match entry.stream.is_refused() {
                    true => REFUSAL.min(self.config.linger_timeout),
                    false => self.config.linger_timeout,
                };
                // On a slow line the end has only just come there.
                let since = if at.elapsed() < PATIENCE { draining.since } else { Instant::now() };
                self.set_timer(key, (since + limit).saturating_duration_since(Instant::now()));
            }
            Linger::Flushing(flushing) if flushing.asked == Some(ping) => {
                let flushing = *flushing;
                if self.has_moved(key, flushing) {
                    return self.flush_on(key);
                }
                let message = format!(
                    "the peer took nothing for {} s of what was still to be sent",
                    LINGER_STALL.as_secs()
                );
                self.give_up_bytes(key, &Ending::Silent(message.into()));
            }
            Linger::No | Linger::Flushing(_) => {}
        }
    }

    /// Resets a stream that may still have something to send. Of one that nobody holds, the link's end
    /// tells: its user would otherwise take the loss for success.
    pub(super) fn give_up_bytes(&mut self, key: usize, ending: &Ending) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.loses_unseen() {
            self.lost.get_or_insert_with(|| given_up(ending));
        }
        entry.reset(Reason::CANCEL, ending);
        self.look_at(key);
    }

    /// Whether something of the stream has been sent since, or the transport, which it waits for with
    /// the others, has taken something.
    fn has_moved(&self, key: usize, since: Flushing) -> bool {
        self.streams.get(key).is_some_and(|entry| {
            let waits_for_transport = !entry.send_state.blocked;
            entry.stream.outbox.settle() > since.position
                || (waits_for_transport && self.reading.taken > since.taken)
        })
    }

    /// Everything of ours has arrived, and the peer had its time to end its side. A server's answer is
    /// complete, and NO_ERROR says that no more of the request is wanted (RFC 9113 §8.1): after any other
    /// reason clients and proxies throw away what they hold of the answer.
    fn give_up_on_the_peer(&mut self, key: usize, error: Error) {
        let reason = match self.peer {
            Peer::Client { .. } => Reason::CANCEL,
            Peer::Server { .. } => Reason::NO_ERROR,
        };
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.send_reset(reason);
        entry.give_up_on_an_answer();
        let is_refused = entry.stream.is_refused();
        entry.end(if is_refused { Ok(()) } else { Err(error.with_reason(reason)) });
    }

    /// Ends the streams that are still in use: those that have sent their END_STREAM as if their users
    /// had let them go, the rest with a reset.
    pub(super) fn end_use(&mut self) {
        let ending =
            Ending::Local(Reason::CANCEL, "the client was closed, and its time is up".into());
        let keys: Vec<usize> = self.streams.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else {
                continue;
            };
            if !matches!(entry.stream.wish(), Wish::Live | Wish::WriteOnly) {
                continue;
            }
            if entry.stream.outbox.is_finishing() {
                entry.stream.close();
            } else {
                entry.reset(Reason::CANCEL, &ending);
                self.cut += 1;
                self.cut_in_use += 1;
            }
            self.look_at(key);
        }
    }
}
