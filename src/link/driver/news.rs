//! The peer's news: the driver reads them, tells the streams at once, and then acts on them.

use std::task::Context;

use super::{Driver, QUOTA};
use crate::link::backlog::Line;
use crate::link::events::{Events, News, Room};
use crate::link::fault;
use crate::link::ping;
use crate::link::session::Read;
use crate::pipe::A_MESSAGE;

impl Driver {
    /// Reads received bytes, up to the quota of a turn.
    pub(super) fn read(&mut self, cx: &mut Context<'_>) {
        if self.waste.rests_until.is_some() {
            self.read_more = false;
            return;
        }
        let mut quota = QUOTA;
        if self.held > 0 && !self.takes_more() {
            self.tell_what_is_unread();
        }
        let link = self.windows.room_for_fields();
        let is_served = self.incoming.as_ref().is_some_and(Line::is_served);
        let failure = loop {
            let mut events = Events {
                is_client: self.is_client(),
                room: self.share.as_ref().map(|share| Room { share, link }),
                is_served,
                shared: &self.shared,
                streams: &mut self.streams,
                ids: &mut self.ids,
                news: &mut self.news,
            };
            match self.session.read(cx, &mut events) {
                Ok((Read::More, n)) if n < quota => quota -= n,
                Ok((read, _)) => {
                    self.read_more = read == Read::More;
                    break None;
                }
                Err(error) => {
                    self.read_more = false;
                    break Some(error);
                }
            }
        };
        self.act_upon_news();
        if self.end.is_some() {
            return;
        }
        if let Some(error) = failure {
            self.give_up(fault::violation(&error));
        } else if self.session.has_read_end() {
            self.transport_has_ended();
        }
    }

    fn act_upon_news(&mut self) {
        for pong in std::mem::take(&mut self.news.pongs) {
            self.session.acknowledged(pong);
            if let Some(time) = self.pinger.answered(pong) {
                self.has_measured(time);
            }
            if pong == ping::SHUTDOWN {
                self.shutdown.is_answered();
            }
        }
        if std::mem::take(&mut self.news.settings_acknowledged) {
            // The first SETTINGS give a round trip without an extra PING.
            self.shared.set_first_rtt(self.shared.began.elapsed());
        }
        if std::mem::take(&mut self.news.settings) {
            // They may have made the streams' windows smaller (RFC 9113 §6.9.2).
            self.tell_who_cannot_send();
        }
        let held = std::mem::take(&mut self.news.held);
        self.held += held;
        self.fed_bytes += held;
        let dropped = std::mem::take(&mut self.news.dropped);
        if dropped > 0 {
            self.session.http2().release_connection(dropped);
        }
        let News { arrivals, touched, .. } = &mut self.news;
        let (arrivals, mut touched) = (std::mem::take(arrivals), std::mem::take(touched));
        if !arrivals.is_empty() {
            self.news.arrivals_before = arrivals.len();
        }
        self.fed += touched.len() + arrivals.len();
        match touched[..] {
            [] => {}
            [key] if held <= A_MESSAGE => self.fed_alone = Some(key),
            [..] => self.fed_alone = None,
        }
        for arrival in arrivals {
            self.arrive(arrival);
        }
        for key in touched.drain(..) {
            if let Some(entry) = self.streams.get_mut(key) {
                entry.touched = false;
                entry.activity.came = Some(self.session.read_at());
                entry.activity.comes = false;
            }
            self.look_at(key);
        }
        self.news.touched = touched;
    }
}
