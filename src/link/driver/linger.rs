//! Carries out the policy of `conn::linger` for the end of a stream that its user has let go.

use tokio::time::Instant;

use super::Driver;
use super::streams::note_what_is_owed;
use crate::conn::{Delivery, Facts, Progress, Terms, Verdict, Wish, ended};
use crate::error::{Ending, Reason};
use crate::link::entry::Head;
use crate::link::outcome::{TIME_IS_UP, given_up};

impl Driver {
    /// Handles a stream's end: the remaining waits, and its removal after them.
    pub(super) fn finish_up(&mut self, key: usize, wish: Wish) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if !entry.over {
            let sent = !entry.sends && entry.stream.outbox.is_sent();
            let closing = wish == Wish::Close && !matches!(entry.head, Head::Rejected(..));
            // A failure has ended the entry already.
            if let Some(how) = ended(entry.received_end, sent, closing, Ok(())) {
                entry.end(how);
            } else if closing {
                self.linger(key);
            }
        }
        if self.streams.get(key).is_none_or(|entry| !entry.over) {
            return;
        }
        self.withdraw(key);
        let Some(entry) = self.streams.get_mut(key) else { return };
        note_what_is_owed(entry, &mut self.session);
        if entry.is_finished() {
            self.remove(key);
        }
    }

    fn linger(&mut self, key: usize) {
        let (now, terms) = (Instant::now(), self.terms());
        let transport = self.moved().taken;
        while let Some(entry) = self.streams.get_mut(key) {
            let stream = entry.stream.outbox.settle();
            let facts = Facts {
                progress: Progress { stream, transport },
                waits_for_transport: !entry.send_state.blocked,
                ..Facts::of(&entry.stream, stream)
            };
            match entry.linger.look(now, &terms, facts) {
                Verdict::Wait(Some(until)) => return self.set_timer(key, until),
                Verdict::Wait(None) => return,
                Verdict::Ask => {
                    let ping = self.confirm_lingering(key);
                    if let Some(entry) = self.streams.get_mut(key) {
                        entry.linger.asked(now, ping);
                    }
                }
                Verdict::Stuck(ending) => return self.give_up_bytes(key, &ending),
                Verdict::Over(reason, how) => {
                    entry.send_reset(&mut self.session, reason);
                    entry.give_up_on_an_answer();
                    return entry.end(how);
                }
            }
        }
    }

    fn terms(&self) -> Terms {
        let reset = if self.is_client() { Reason::CANCEL } else { Reason::NO_ERROR };
        let limit = self.config.linger_timeout;
        Terms { limit, delivery: Delivery::Acknowledged, reset }
    }

    /// The timer of a stream has fired.
    pub(super) fn time_is_up(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.timer = None;
        entry.finish_rejection();
        self.look_at(key);
    }

    /// The peer has acknowledged a PING behind the bytes that the stream had sent.
    pub(super) fn lingering_is_confirmed(&mut self, key: usize, ping: u64) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.linger.answered(Instant::now(), ping);
        let wish = entry.stream.wish();
        self.finish_up(key, wish);
    }

    /// Resets a stream that may still have bytes to send. If no caller holds the stream, the link's
    /// end reports this, because otherwise the loss would look like success.
    pub(super) fn give_up_bytes(&mut self, key: usize, ending: &Ending) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.loses_unseen() {
            self.lost.get_or_insert_with(|| given_up(ending));
        }
        entry.reset(&mut self.session, entry.reason_to_give_up(), ending);
        self.look_at(key);
    }

    /// Ends the streams that are still in use. A stream that has sent its END_STREAM ends as if its
    /// user had let it go. A WebSocket ends the stream that it rides on. The others are reset.
    pub(super) fn end_use(&mut self) {
        let ending = Ending::Local(Reason::CANCEL, TIME_IS_UP.into());
        let keys: Vec<usize> = self.streams.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else {
                continue;
            };
            let is_in_use = matches!(entry.stream.wish(), Wish::Live | Wish::WriteOnly);
            if !is_in_use || entry.stream.is_left_to_rider() {
                continue;
            }
            // An ordinary request has usually sent all, and is in use until its response has ended.
            if entry.stream.outbox.is_finishing() && !entry.stream.is_ordinary() {
                entry.stream.close();
            } else {
                entry.reset(&mut self.session, Reason::CANCEL, &ending);
                self.cut += 1;
                self.cut_in_use += 1;
            }
            self.look_at(key);
        }
    }
}
