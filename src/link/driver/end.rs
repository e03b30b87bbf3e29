//! How a link ends: by itself, through its handles, because its peer breaks the rules, or with its
//! runtime.

use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;

use super::{CUT_SHORT, Driver, PARTING};
use crate::conn::runtime_is_gone;
use crate::error::{Ending, Error, Reason};
use crate::link::entry::Head;
use crate::link::outcome::given_up;
use crate::link::{fault, unsent};

impl Driver {
    /// Resets live streams, so that each stream's peer learns why, and then says goodbye.
    pub(super) fn abort(&mut self, why: &'static str) {
        for (_, entry) in &mut self.streams {
            if !entry.over {
                let reason = entry.reason_to_give_up();
                let mut ending = Ending::Local(reason, why.into());
                if entry.linger.is_told() {
                    ending = Ending::Failed(ending.write_error().delivered());
                }
                entry.reset(&mut self.session, reason, &ending);
                self.cut += 1;
            }
        }
        self.say_goodbye(Reason::NO_ERROR, "");
        self.give_up(Ending::Local(Reason::CANCEL, why.into()));
    }

    /// Makes room for another client. The last words are sent as far as the transport takes them at
    /// once.
    pub(super) fn evict(&mut self) {
        if !self.first.was_accepted && self.end.is_none() {
            self.is_evicted = true;
            let text =
                "the server has all the links that it takes, and nothing was accepted on this one";
            self.say_goodbye(Reason::NO_ERROR, text);
            self.give_up(Ending::Gone(None));
        }
    }

    /// Says the last word. Streams that the peer opens later are not looked at.
    pub(super) fn say_goodbye(&mut self, reason: Reason, text: &str) {
        let last = self.session.state().last_peer_stream();
        self.session.go_away(last, reason, text);
        self.session.must_part();
    }

    /// Nothing more can be read from the transport. The transport's error comes before the streams'
    /// errors.
    pub(super) fn transport_has_ended(&mut self) {
        let has_settings = self.session.state().has_peer_settings();
        let failure = self.session.take_read_error();
        if failure.is_none() {
            self.session.must_part();
        }
        let explained = failure.as_ref().and_then(|error| Error::from_io(error)).cloned();
        let first = self.session.first_bytes();
        let ending = match (explained, self.session.write_error()) {
            // The transport knows the cause better than HTTP/2, above all for TLS.
            (Some(error), _) if !has_settings => Ending::Failed(error),
            _ if !has_settings && !first.is_empty() && self.is_client() => fault::not_http2(first),
            (_, Some(error)) if failure.is_none() && !self.streams.is_empty() => {
                Ending::Gone(Some(error))
            }
            _ => Ending::Gone(failure.or_else(|| fault::farewell(self.news.goaway.as_ref()))),
        };
        self.set_end(ending);
    }

    /// Ends the link from now on. Everything that its end teaches takes effect before any stream's
    /// user learns of it and connects again.
    pub(super) fn set_end(&mut self, ending: Ending) {
        let ending = self.with_the_peers_reason(ending);
        self.shared.set_going_away();
        // On a listener, a client's complaint is over with its link.
        if self.is_client()
            && is_about_pings(&ending)
            && self.config.pace.slow_down(self.first_pace)
            && let Some(interval) = self.interval()
        {
            let info = &self.shared.info;
            info.observed.pings_slowed(&info.peer, interval);
        }
        self.end = Some(ending);
    }

    /// A transport can fail before the driver has looked at the GOAWAY that explains it.
    fn with_the_peers_reason(&self, end: Ending) -> Ending {
        match (&end, &self.news.goaway) {
            (Ending::Gone(_), Some(goaway)) if goaway.reason != Reason::NO_ERROR => {
                Ending::GoAway(goaway.reason, goaway.text.as_str().into())
            }
            _ => end,
        }
    }

    /// Ends the link without waiting for the peer.
    pub(super) fn give_up(&mut self, ending: Ending) {
        if self.end.is_none() {
            self.set_end(ending);
        }
    }

    /// Sends HTTP/2's last output, as far as the transport takes it, and fails the remaining
    /// streams with the link's reason.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        self.session.collect();
        self.session.flush(cx);
        let ending = self.end.clone().unwrap_or(Ending::Gone(None));
        // A link that has left in good order has written everything first.
        let in_order = self.ended_well && !self.session.has_read_end();
        let moved = self.moved();
        let cut_before = self.cut;
        let is_unknown = self.has_heard_nothing() && matches!(ending, Ending::Gone(_));
        self.shared.unheard.store(is_unknown, SeqCst);
        for (_, entry) in &mut self.streams {
            // The user of a refused request gets the part of the answer that has come.
            if entry.over || entry.finish_rejection() {
                continue;
            }
            if in_order {
                entry.settle(&moved);
            }
            if entry.received_end && !entry.stream.outbox.has_unsent_bytes() {
                // At most the peer lacks our END_STREAM, and it has gone.
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
                match is_unknown && entry.stream.request.uri.scheme() == Some(&Scheme::HTTP) {
                    true => entry.cut_with(&ending, MAYBE_TLS),
                    false => entry.cut(&ending),
                }
                self.cut += 1;
            }
            if matches!(entry.head, Head::Unanswered)
                && !entry.stream.was_answered()
                && !entry.stream.inbox.is_complete()
                && entry.stream.exchange().is_none()
            {
                // The request cannot be accepted any more. It must not hold bytes that no longer
                // count.
                entry.stream.inbox.abort(ending.read_error());
            }
        }
        let established = self.session.state().has_peer_settings();
        self.shared.info.observed.closed(&ending, self.cut, established);
        let are_left = self.has_owing_streams();
        self.streams.clear();
        self.incoming = None;
        self.share = None;
        let time = match ending {
            _ if self.is_evicted => Duration::ZERO,
            _ if self.is_hurried => CUT_SHORT,
            Ending::Local(..) => CUT_SHORT,
            _ => PARTING,
        };
        let last = self.last(ending, self.cut == cut_before, are_left);
        self.shared.end(last);
        self.parting = Some(Box::pin(tokio::time::sleep(time)));
    }

    /// Whether a client has not received a byte.
    fn has_heard_nothing(&self) -> bool {
        self.is_client() && self.moved().received == 0
    }

    /// Stays until the peer has ended the transport too. Closing a socket with unread bytes resets
    /// it, and loses its unsent bytes.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let late = self.parting.as_mut().is_none_or(|time| time.as_mut().poll(cx).is_ready());
        if !late && self.session.poll_parted(cx).is_pending() {
            return Poll::Pending;
        }
        self.shared.set_gone();
        Poll::Ready(())
    }

    /// Ends the link of a peer that causes answers and does not read them.
    pub(super) fn check_peer(&mut self) {
        if self.end.is_none() && self.session.is_overflowing() {
            let why = "answers pile up that are not read";
            self.say_goodbye(Reason::ENHANCE_YOUR_CALM, why);
            self.give_up(Ending::Violation(Reason::ENHANCE_YOUR_CALM, why.into()));
        }
    }
}

/// The note for a server that ends the transport and says nothing. A server with TLS may do so at the first bytes of
/// HTTP/2.
pub(in crate::link) const MAYBE_TLS: &str =
    "; it sent nothing: check that an HTTP/2 server listens there (for one with TLS use https://)";

/// Whether the peer has ended the link because it got too many PINGs. The text is that of gRPC's
/// servers.
fn is_about_pings(ending: &Ending) -> bool {
    let calm = Reason::ENHANCE_YOUR_CALM;
    matches!(ending, Ending::GoAway(reason, text) if *reason == calm && text.contains("too_many_pings"))
}

/// The text for a handshake that did not end.
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
        let last = self.last(ending, false, self.has_owing_streams());
        self.shared.end(last);
        self.shared.set_gone();
        self.shared.signal.close();
    }
}
