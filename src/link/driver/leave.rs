//! How a link leaves in good order: its transport stays until the peer has got everything.
//!
//! Bytes that the kernel has taken are not yet with the peer, and are lost when the socket is closed while the
//! peer still sends: a WINDOW_UPDATE is enough. So there is a PING behind the last byte, and the link
//! stays until the PING is acknowledged, for as long as the peer shows life (keep-alive). Slowness is
//! not bounded, silence is.

use std::task::Context;
use std::time::Duration;

use h2conn_engine::StreamId;
use tokio::sync::oneshot;

use super::{Driver, GOODBYE, LEAST_GOODBYE, Timer};
use crate::error::{Ending, Reason, Result};
use crate::link::carrier::Proof;
use crate::link::outcome::{Last, first_reset, reset_in_use, unconfirmed, was_reset};
use crate::link::{Command, fault, ping};
use crate::sync::lock;

/// Somebody who waits for the peer to have got what was sent so far.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The number of the PING that says so.
    ping: u64,
    who: Who,
}

#[derive(Debug)]
enum Who {
    /// The user of a stream.
    User(Proof, oneshot::Sender<Result<()>>),
    /// A stream whose user has let it go.
    Stream(usize),
}

/// How far a server has come in saying that it takes no more streams (RFC 9113 §6.8): those that its client
/// opens until it has heard of that are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    #[default]
    No,
    /// The client is asked, by a PING, to say when it has heard of it.
    Asked,
    /// It has heard of it.
    Answered,
    /// The last stream is named that is taken.
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
            self.shared.set_going_away();
            self.watch_peer();
            self.stop_opening();
            // A timer may be the reason, and the GOAWAY is written in the next turn.
            self.shared.ask();
        }
    }

    /// Says that no stream will follow. Requests that wait for their turn, or that somebody has a
    /// place for, go first. A client's last word, upon which many servers hang up, waits until the
    /// server has everything else; a server's is what tells its client to go, and comes at once.
    pub(super) fn stop_opening(&mut self) {
        if !self.closing || self.is_over || self.end.is_some() {
            return;
        }
        if !self.unsent.is_empty() || !self.has_all_leases() {
            return;
        }
        match self.is_client() {
            false => self.stop_accepting(),
            true if !self.streams.is_empty() => {}
            true if self.owes() => {
                self.ask_peer();
            }
            true => {
                self.session.go_away(None, Reason::NO_ERROR, "");
                self.begin_to_leave();
            }
        }
    }

    /// A server takes the streams that were opened until its client has heard that no more are taken.
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

    /// Whether somebody waits for the peer to have got something, or would if they knew.
    pub(super) fn owes(&self) -> bool {
        self.session.owes(self.has_owing_streams()) || !self.waiters.is_empty()
    }

    /// Whether there are streams that the peer must have whole.
    pub(super) fn has_owing_streams(&self) -> bool {
        self.streams.iter().any(|(_, entry)| entry.id.is_some() && !entry.owes_nothing)
    }

    /// Whether the link has nothing left to do but to see that the peer has got everything.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_over || (self.closing && self.streams.is_empty())
    }

    /// Asks the peer, by a PING, for everything that was written so far; gives the PING's number.
    fn ask_peer(&mut self) -> u64 {
        let ping = self.session.ask();
        if ping > self.asked {
            self.asked = ping;
            // The next turn sends it.
            self.shared.ask();
        }
        ping
    }

    /// A user wants to know that the peer has got all of a stream.
    pub(super) fn confirm(&mut self, proof: Proof, answer: oneshot::Sender<Result<()>>) {
        let _ = self.wait_for_confirmation(Who::User(proof, answer));
    }

    /// As [`Driver::confirm`], for a stream that nobody holds any more.
    pub(super) fn confirm_lingering(&mut self, key: usize) -> u64 {
        self.wait_for_confirmation(Who::Stream(key))
    }

    fn wait_for_confirmation(&mut self, who: Who) -> u64 {
        let ping = self.ask_peer();
        self.waiters.push(Waiter { ping, who });
        self.watch_peer();
        if ping <= self.session.confirmed() {
            // The next turn tells.
            self.shared.ask();
        }
        ping
    }

    /// Tells those who wait for what the peer has got by now.
    pub(super) fn answer_waiters(&mut self) {
        let confirmed = self.session.confirmed();
        if self.closing && confirmed != std::mem::replace(&mut self.answered, confirmed) {
            // The link may have waited for that, to say goodbye.
            self.shared.ask();
        }
        if self.waiters.iter().all(|waiter| waiter.ping > confirmed) {
            return;
        }
        let come = self.waiters.extract_if(.., |waiter| waiter.ping <= confirmed);
        for waiter in come.collect::<Vec<_>>() {
            match waiter.who {
                Who::User(proof, answer) => {
                    let reset = first_reset(&self.news.resets, proof.stream);
                    let _ = answer.send(reset.map_or(Ok(()), was_reset));
                }
                Who::Stream(key) => self.lingering_is_confirmed(key, waiter.ping),
            }
        }
    }

    /// The last word is said in good order, and nothing is left but to see that the peer has it.
    fn begin_to_leave(&mut self) {
        self.is_over = true;
        self.session.must_part();
        self.farewell = self.session.ask_behind_all();
        self.shared.set_going_away();
        self.watch_peer();
    }

    /// Once all is said: waits until everything is written, and the peer has it.
    pub(super) fn leave(&mut self) {
        if !self.is_over || self.end.is_some() || self.session.is_broken() {
            // Where the transport is broken, a timer gives the peer's reason time to come.
            return;
        }
        if self.session.confirmed() >= self.farewell {
            self.ended_well = true;
            self.set_end(Ending::Gone(fault::farewell(self.news.goaway.as_ref())));
        }
    }

    /// The client has had its time to say that it has heard of the end. A stream that it opens yet is not processed, and
    /// it hears so.
    pub(super) fn shutdown_time_is_up(&mut self) {
        self.is_hurried |= self.shutdown == Shutdown::Asked;
        self.shutdown.is_answered();
        self.stop_opening();
    }

    /// Whether all that is owed to a server's client is refusals.
    pub(super) fn owes_refusals_only(&self) -> bool {
        !self.is_client() && !self.first.was_accepted
    }

    /// How long the peer has to say that it has heard of the end, where nothing is owed to it.
    pub(super) fn goodbye(&self) -> Duration {
        let trip = lock(&self.shared.rtt).unwrap_or_default();
        (4 * trip).clamp(LEAST_GOODBYE, GOODBYE)
    }

    /// The time of a link that leaves and owes nothing is up.
    pub(super) fn stop_leaving(&mut self) {
        self.ended_well = self.is_over;
        if !self.is_over {
            // A request that is on its way may be sent again.
            self.is_hurried = true;
            self.say_goodbye(Reason::NO_ERROR, "");
        }
        self.give_up(Ending::Gone(None));
    }

    /// The link has ended: the knowledge of what the peer has got. `spares` says that the end has cut no
    /// stream, `are_left` that there were some which the peer must have whole. A peer that has acknowledged
    /// every byte, and has ended its side of all streams, may then hang up upon the last end of this side,
    /// and acknowledges no more.
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
        // `close` asks about one stream, whose bytes nobody has counted apart.
        let (outcome, everything) = (outcome_of(are_left), outcome_of(true));
        for waiter in std::mem::take(&mut self.waiters) {
            if let Who::User(proof, answer) = waiter.who {
                // As those are answered who ask from now on.
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
