//! How this side leaves a link in good order: the transport stays until the peer has everything.
//!
//! Bytes that the kernel has taken have not yet reached the peer. They are lost if the socket is
//! closed while the peer still sends, and one WINDOW_UPDATE is enough. So a PING follows the last
//! byte, and the link stays until the PING is acknowledged, for as long as the peer shows life
//! (keep-alive). A slow peer has no limit, a silent peer has one.

use std::task::Context;
use std::time::Duration;

use h2conn_engine::StreamId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Driver, GOODBYE, LEAST_GOODBYE, Timer};
use crate::error::{Ending, Reason, Result};
use crate::link::carrier::Proof;
use crate::link::outcome::{Last, first_reset, reset_in_use, unconfirmed, was_reset};
use crate::link::{Command, fault, ping};
use crate::sync::lock;

/// With fewer waiters, the driver does not look for those that nobody needs any more.
pub(super) const MANY_WAITERS: usize = 128;

/// A caller that waits until the peer has received everything sent so far.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The number of the PING whose acknowledgement shows it.
    ping: u64,
    who: Who,
}

#[derive(Debug)]
enum Who {
    /// The user of a stream.
    User(Proof, oneshot::Sender<Result<()>>),
    /// A stream that its user has let go.
    Stream(usize),
}

/// How far a server has come in saying that it takes no more streams (RFC 9113 §6.8). It still
/// takes streams that its client opens before it has heard of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    #[default]
    No,
    /// The client was asked, through a PING, to say when it has heard of it.
    Asked,
    /// The client has heard of it.
    Answered,
    /// The GOAWAY with the last accepted stream was sent.
    Named,
}

impl Shutdown {
    pub(super) fn is_answered(&mut self) {
        if *self == Shutdown::Asked {
            *self = Shutdown::Answered;
        }
    }
}

impl Driver {
    pub(super) fn shut_down(&mut self) {
        if !self.closing {
            self.closing = true;
            self.shared.set_draining();
            self.watch_peer();
            self.stop_opening();
            // A timer may have caused this, and only the next turn writes the GOAWAY.
            self.shared.ask();
        }
    }

    /// Says that no stream will follow. Requests that wait for their turn, or for which a lease
    /// exists, go first. Many servers hang up when they get a client's last word, so it waits until
    /// the server has everything else. A server's last word tells its client to go, and is sent at
    /// once.
    pub(super) fn stop_opening(&mut self) {
        if !self.closing || self.is_over || self.end.is_some() {
            return;
        }
        if !self.unsent.is_empty() || !self.has_all_leases() {
            return;
        }
        match self.is_client() {
            false => self.stop_accepting(),
            true if self.streams.iter().any(|(_, entry)| !entry.over) => {}
            true => {
                self.let_go_of_unread();
                lock(&self.shared.waits_since).get_or_insert_with(Instant::now);
                if self.owes() {
                    self.ask_peer();
                } else {
                    self.session.go_away(None, Reason::NO_ERROR, "");
                    self.begin_to_leave();
                }
            }
        }
    }

    /// Removes streams that are over, and whose users have bytes left to read. The bytes stay, and no
    /// window matters any more.
    fn let_go_of_unread(&mut self) {
        let keys: Vec<usize> = self.streams.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// A server takes the streams that its client opens before it has heard that no more are taken.
    fn stop_accepting(&mut self) {
        if self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Asked;
            self.session.go_away(Some(StreamId::MAX), Reason::NO_ERROR, "");
            self.session.http2().ping(ping::SHUTDOWN);
            self.timers.insert(Timer::Shutdown, self.goodbye());
        }
        if self.shutdown == Shutdown::Answered {
            self.shutdown = Shutdown::Named;
            let last = self.session.state().last_peer_stream();
            self.session.go_away(last, Reason::NO_ERROR, "");
        }
        if self.shutdown == Shutdown::Named && self.streams.is_empty() {
            self.begin_to_leave();
        }
    }

    /// Whether a caller waits until the peer has received something, or would wait if the caller
    /// knew.
    pub(super) fn owes(&self) -> bool {
        self.session.owes(self.has_owing_streams()) || !self.waiters.is_empty()
    }

    /// Whether there are streams that the peer must receive in full.
    pub(super) fn has_owing_streams(&self) -> bool {
        self.streams.iter().any(|(_, entry)| entry.id.is_some() && !entry.owes_nothing)
    }

    /// Whether the link has nothing to do except wait until the peer has received everything.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_over || (self.closing && self.streams.is_empty())
    }

    /// Asks the peer, through a PING, to confirm everything written so far. Returns the PING's
    /// number.
    fn ask_peer(&mut self) -> u64 {
        let ping = self.session.ask();
        if ping > self.asked {
            self.asked = ping;
            // The next turn sends it.
            self.shared.ask();
        }
        ping
    }

    /// A user wants to know when the peer has received all of a stream.
    pub(super) fn confirm(&mut self, proof: Proof, answer: oneshot::Sender<Result<()>>) {
        let _ = self.wait_for_confirmation(Who::User(proof, answer));
    }

    /// The same as [`Driver::confirm`], for a stream that no caller holds any more.
    pub(super) fn confirm_lingering(&mut self, key: usize) -> u64 {
        self.wait_for_confirmation(Who::Stream(key))
    }

    fn wait_for_confirmation(&mut self, who: Who) -> u64 {
        let ping = self.ask_peer();
        if self.waiters.len() >= self.many_waiters.max(2 * self.streams.len()) {
            self.forget_waiters();
            self.many_waiters = MANY_WAITERS.max(2 * self.waiters.len());
        }
        self.waiters.push(Waiter { ping, who });
        self.watch_peer();
        if ping <= self.session.confirmed() {
            // The next turn reports it.
            self.shared.ask();
        }
        ping
    }

    /// Removes waiters that nobody asks for any more.
    fn forget_waiters(&mut self) {
        let streams = &self.streams;
        self.waiters.retain(|waiter| match &waiter.who {
            Who::User(_, answer) => !answer.is_closed(),
            Who::Stream(key) => streams.get(*key).is_some_and(|entry| !entry.over),
        });
    }

    /// Tells the callers whose bytes the peer has received by now.
    pub(super) fn answer_waiters(&mut self) {
        let confirmed = self.session.confirmed();
        if self.closing && confirmed != std::mem::replace(&mut self.answered, confirmed) {
            // The link may have waited for this, to say goodbye.
            self.shared.ask();
        }
        // Later waiters never wait for an earlier PING.
        let come = self.waiters.partition_point(|waiter| waiter.ping <= confirmed);
        if come == 0 {
            return;
        }
        for waiter in self.waiters.drain(..come).collect::<Vec<_>>() {
            match waiter.who {
                Who::User(proof, answer) => {
                    let reset = first_reset(&self.news.resets, proof.stream);
                    let _ = answer.send(reset.map_or(Ok(()), was_reset));
                }
                Who::Stream(key) => self.lingering_is_confirmed(key, waiter.ping),
            }
        }
    }

    /// The last word was said in good order. Now the link only waits until the peer has it.
    fn begin_to_leave(&mut self) {
        self.is_over = true;
        self.session.must_part();
        self.farewell = self.session.ask_behind_all();
        self.shared.set_going_away();
        self.watch_peer();
    }

    /// After the last word: waits until everything is written and the peer has it.
    pub(super) fn leave(&mut self) {
        if !self.is_over || self.end.is_some() || self.session.is_broken() {
            // If the transport is broken, a timer gives the peer's reason time to arrive.
            return;
        }
        if self.session.confirmed() >= self.farewell {
            self.ended_well = true;
            self.set_end(Ending::Gone(fault::farewell(self.news.goaway.as_ref())));
        }
    }

    /// The client's time to say that it has heard of the end is up. A stream that it still opens is
    /// not processed, and the client is told so.
    pub(super) fn shutdown_time_is_up(&mut self) {
        self.is_hurried |= self.shutdown == Shutdown::Asked;
        self.shutdown.is_answered();
        self.stop_opening();
    }

    /// Whether only refusals are owed to a server's client.
    pub(super) fn owes_refusals_only(&self) -> bool {
        !self.is_client() && !self.first.was_accepted
    }

    /// How long the peer has to say that it has heard of the end, if nothing is owed to it.
    pub(super) fn goodbye(&self) -> Duration {
        let trip = lock(&self.shared.rtt).unwrap_or_default();
        (4 * trip).clamp(LEAST_GOODBYE, GOODBYE)
    }

    /// The time of a link that leaves and owes nothing is up.
    pub(super) fn stop_leaving(&mut self) {
        self.ended_well = self.is_over;
        if !self.is_over {
            // A request in transit may be sent again by its client.
            self.is_hurried = true;
            self.say_goodbye(Reason::NO_ERROR, "");
        }
        self.give_up(Ending::Gone(None));
    }

    /// The knowledge of what the peer has received, now that the link has ended. `spares` says that
    /// the end has cut no stream. `are_left` says that there were streams which the peer must
    /// receive in full. A peer that has acknowledged every byte, and has ended its side of all
    /// streams, may hang up when it gets this side's last end, without a further acknowledgement.
    pub(super) fn last(&mut self, ending: Ending, spares: bool, are_left: bool) -> Last {
        let owes_bytes = self.lost.is_some() || self.session.owes_bytes(are_left);
        let lost = self.lost.take();
        let outcome_of = |are_left: bool| {
            let owes = self.session.owes(are_left);
            let hung_up = spares && !self.session.owes_bytes(are_left) && lost.is_none();
            match (self.cut_in_use, &lost) {
                (0, Some(lost)) => Err(lost.clone()),
                (0, None) if owes && !(hung_up && matches!(ending, Ending::Gone(_))) => {
                    Err(unconfirmed(&ending))
                }
                (0, None) => Ok(()),
                (n, _) => Err(reset_in_use(n)),
            }
        };
        // `close` asks about one stream, whose bytes are not counted separately.
        let (outcome, everything) = (outcome_of(are_left), outcome_of(true));
        for waiter in std::mem::take(&mut self.waiters) {
            if let Who::User(proof, answer) = waiter.who {
                // They get the same answer as later callers.
                self.shared.command(Command::Confirm(proof, answer));
            }
        }
        let (confirmed, resets) = (self.session.confirmed(), std::mem::take(&mut self.news.resets));
        Last { ending, outcome, everything, owes_bytes, confirmed, resets }
    }

    /// Puts a PING behind the bytes of streams, and then sends their ends.
    pub(super) fn send_ends(&mut self, cx: &mut Context<'_>) {
        for key in std::mem::take(&mut self.ends) {
            let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else {
                continue;
            };
            entry.send_state.end_may_go = true;
            entry.carrier.set_ping(self.session.ask_now());
            entry.send(cx, &mut self.session, 0);
        }
    }
}
