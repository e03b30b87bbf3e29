//! How a link ends: by itself, by its handles, by a peer that breaks the rules, by its runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{CUT_SHORT, Driver, PARTING};
use crate::conn::runtime_is_gone;
use crate::error::{Ending, Error, Reason};
use crate::link::entry::Head;
use crate::link::outcome::given_up;
use crate::link::peer::Peer;
use crate::link::wire::Reading;
use crate::link::{fault, unsent};
use crate::observe::Cause;

impl Driver {
    /// Resets what lives, so that each stream's peer learns why, and then says goodbye.
    pub(super) fn abort(&mut self, reason: Reason, why: &'static str) {
        let ending = Ending::Local(reason, why.into());
        for (_, entry) in &mut self.streams {
            if !entry.over {
                entry.reset(reason, &ending);
                self.cut += 1;
            }
        }
        self.let_h2_speak();
        self.peer.abort(h2::Reason::NO_ERROR);
        self.give_up(ending);
    }

    /// Has h2 write what it was told, for a link that is about to end.
    fn let_h2_speak(&mut self) {
        if self.end.is_none() && !self.is_over {
            let waker = self.waker.clone();
            let _ = self.peer.poll(&mut Context::from_waker(&waker), &mut self.arrivals);
        }
    }

    /// h2 says that the link is over. Where that is no failure, the link stays until its peer has got
    /// everything.
    pub(super) fn end_of_h2(&mut self, result: Result<(), h2::Error>) {
        let reading = self.gauge.read();
        match result {
            Ok(()) if !reading.read_end && !reading.broken => self.begin_to_leave(),
            result => self.end_of_link(result),
        }
    }

    /// The link has ended: its reason comes before what the streams will say (T9).
    pub(super) fn end_of_link(&mut self, result: Result<(), h2::Error>) {
        let reading = self.gauge.read();
        let failure = self.gauge.take_read_error();
        self.ended_well = result.is_ok();
        let explained = failure.as_ref().and_then(Error::from_io);
        let end = match (explained, self.gauge.write_error()) {
            // The transport knows better than h2 what went wrong: TLS, most of all.
            (Some(error), _) if !reading.seen_settings => Ending::Failed(error.clone()),
            (_, Some(error)) if result.is_ok() && !self.streams.is_empty() => {
                Ending::Gone(Some(Arc::new(error)))
            }
            _ => match fault::link_end(result, &self.gauge.first_bytes(), reading.seen_settings) {
                Ending::Gone(None) => Ending::Gone(fault::farewell(&self.gauge.goaway_text())),
                ending => ending,
            },
        };
        self.set_end(end);
    }

    /// From now on the link has ended. What its end teaches is in force before any user hears of it,
    /// from a stream, and connects again.
    pub(super) fn set_end(&mut self, ending: Ending) {
        let ending = self.with_the_peers_reason(ending);
        self.shared.set_going_away();
        // A complaint of a listener's client is over with its link.
        if matches!(self.peer, Peer::Client { .. })
            && is_about_pings(&ending)
            && self.config.pace.slow_down(self.first_pace)
            && let Some(interval) = self.interval()
        {
            let info = &self.shared.info;
            info.observed.pings_slowed(&info.peer, interval);
        }
        self.end = Some(ending);
    }

    /// A transport can fail before h2 has come to tell of the GOAWAY that explains it.
    fn with_the_peers_reason(&self, end: Ending) -> Ending {
        match (&end, self.gauge.goaway_error()) {
            (Ending::Gone(_), Some(code)) => {
                let text = self.gauge.goaway_text();
                Ending::GoAway(Reason::from_code(code), text.into())
            }
            _ => end,
        }
    }

    /// Ends the link without waiting for the peer; what h2 has to say is said if it can be.
    pub(super) fn give_up(&mut self, ending: Ending) {
        if self.end.is_none() {
            self.let_h2_speak();
            let waker = self.waker.clone();
            self.gauge.drive(&mut Context::from_waker(&waker));
            self.set_end(ending);
        }
    }

    /// Hands on what has arrived, and fails what is left with the link's reason.
    pub(super) fn finish(&mut self) {
        let ending = self.end.clone().unwrap_or(Ending::Gone(None));
        let mut cx = Context::from_waker(Waker::noop());
        // Where h2 has ended the link by itself, it has written everything first. Otherwise what it
        // still had is dropped, and nobody knows how much that was.
        let in_order = self.ended_well && !self.reading.read_end;
        let Reading { accepted, flushed, .. } = self.reading;
        let cut_before = self.cut;
        for (_, entry) in &mut self.streams {
            let was_over = entry.over;
            entry.receive(&mut cx, Some(&ending), true);
            if entry.over {
                self.cut += usize::from(!was_over && entry.is_cut);
                continue;
            }
            if in_order {
                entry.settle(accepted, flushed);
            }
            if entry.received_end && !entry.stream.outbox.has_unsent_bytes() {
                // At the most it is our END_STREAM that the peer has not got, and it has gone.
                let error = ending.write_error();
                let finishing = entry.stream.outbox.is_finishing();
                entry.stream.outbox.fail(error.clone());
                entry.end(if finishing { Ok(()) } else { Err(error) });
                self.cut += usize::from(!finishing);
            } else if self.shared.is_established() && matches!(entry.head, Head::Unsent(_)) {
                entry.cut(&Ending::NotProcessed(unsent(&ending)));
            } else {
                if entry.loses_unseen() {
                    self.lost.get_or_insert_with(|| given_up(&ending));
                }
                entry.cut(&ending);
                self.cut += 1;
            }
            if matches!(entry.head, Head::Unanswered(_))
                && !entry.stream.was_answered()
                && !entry.stream.inbox.is_complete()
            {
                // Nobody can accept it any more; it is not to hold what is counted no longer.
                entry.stream.inbox.abort(ending.read_error());
            }
        }
        self.shared.info.observed.closed(&ending, self.cut, self.reading.seen_settings);
        self.streams.clear();
        self.incoming = None;
        self.share = None;
        let time = if matches!(ending, Ending::Local(..)) { CUT_SHORT } else { PARTING };
        let last = self.last(ending, self.cut == cut_before);
        self.shared.end(last);
        self.parting = Some(Box::pin(tokio::time::sleep(time)));
    }

    /// Stays until the peer has ended the transport too. A socket that is closed with bytes unread
    /// is reset, and what it still had to send is lost.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let late = self.parting.as_mut().is_none_or(|time| time.as_mut().poll(cx).is_ready());
        if !late && self.gauge.poll_parted(cx).is_pending() {
            return Poll::Pending;
        }
        self.shared.set_gone();
        Poll::Ready(())
    }

    /// Takes in the peer's words about the link, which must be in force before the user of any stream hears
    /// what else it has said.
    pub(super) fn learn(&mut self) {
        if self.reading.seen_settings {
            self.shared.set_established();
        }
        if self.reading.seen_goaway {
            self.shared.info.observed.retired(Cause::GoAway);
            self.shared.set_going_away();
        }
        self.note_limit();
    }

    /// Ends the link of a peer that breaks the rules that are ours.
    pub(super) fn check_peer(&mut self) {
        let why = match (self.reading.abuse, self.reading.overflowing) {
            (Some(what), _) => format!("too many {what}"),
            (None, true) => "answers pile up that are not read".to_owned(),
            (None, false) => return,
        };
        if self.end.is_none() {
            self.gauge.say_goodbye(Reason::ENHANCE_YOUR_CALM.code(), &why);
            self.peer.abort(h2::Reason::ENHANCE_YOUR_CALM);
            self.give_up(Ending::Violation(Reason::ENHANCE_YOUR_CALM, why.into()));
        }
    }
}

/// Whether the peer has ended the link because it was asked too often whether it lives; the text is
/// what gRPC's servers say.
fn is_about_pings(ending: &Ending) -> bool {
    let calm = Reason::ENHANCE_YOUR_CALM;
    matches!(ending, Ending::GoAway(reason, text) if *reason == calm && text.contains("too_many_pings"))
}

/// Says what came of a handshake that did not end.
pub(super) fn silence(first: &[u8], time: Duration) -> String {
    let seen = match first.len() {
        0 => "nothing at all".to_owned(),
        n => format!("{n} bytes, and no SETTINGS frame among them"),
    };
    format!(
        "no HTTP/2 handshake: the peer took the connection and sent {seen} within {} s; check that \
         an HTTP/2 server listens there (for one with TLS use https://)",
        time.as_secs_f32()
    )
}

/// A driver that ends before its link, with its runtime or by a panic, fails all its streams.
impl Drop for Driver {
    fn drop(&mut self) {
        let ending = Ending::Failed(runtime_is_gone());
        for (_, entry) in &mut self.streams {
            if !entry.over {
                entry.cut(&ending);
                self.cut += 1;
            }
        }
        self.shared.info.observed.closed(&ending, self.cut, true);
        let last = self.last(ending, false);
        self.shared.end(last);
        self.shared.set_gone();
        self.shared.signal.close();
    }
}
