//! The memory of a link: its windows, its share in the listener's memory, and the streams that must
//! make room.

use std::fmt;

use super::Driver;
use super::wide::measure_reads;
use crate::error::{Ending, Reason};
use crate::link::budget::Share;
use crate::link::entry::Entry;
use crate::observe;

impl Driver {
    /// Keeps the bytes that the peer may send within the link's memory.
    pub(super) fn adjust_windows(&mut self) {
        self.windows.set_open(self.streams.len());
        self.widen_streams();
        self.measure();
        if let Some(window) = self.windows.wanted_link_window(self.held) {
            self.session.http2().set_connection_window(window);
        }
        self.fit_wide_streams();
        if let Some(window) = self.windows.wanted_stream_window()
            && self.session.state().are_settings_acknowledged()
        {
            self.session.http2().set_initial_window(window);
            self.windows.set_stream_window(window);
            for (_, entry) in &self.streams {
                if !entry.over && !entry.is_wide {
                    entry.stream.inbox.set_threshold(window as usize / 4);
                }
            }
        }
        if self.is_over_its_memory() {
            self.release_all();
        }
        if self.is_over_its_memory() {
            let memory = self.windows.memory();
            let all = format_args!(
                "whose connections hold all of the {memory} bytes that they may together"
            );
            let unread = |entry: &Entry| entry.stream.inbox.len() + entry.carrier.ridden();
            self.reset_the_hoarder(unread, all);
        }
        self.keep_to_the_share();
    }

    /// Whether the link holds more than it may by itself. Windows bound the unread bytes, and not
    /// those of WebSockets, which may take as much as header fields.
    fn is_over_its_memory(&self) -> bool {
        let ridden = self.share.as_ref().map_or(0, Share::ridden);
        self.windows.is_over(self.held) || ridden > self.windows.room_for_fields()
    }

    /// Begins to measure the windows' need, if a measurement can have an effect and the peer knows
    /// the present windows.
    fn measure(&mut self) {
        let largest = self.windows.stream().max(self.windows.wide());
        let is_useful = self.windows.can_grow() || self.windows.can_widen(self.wide.len());
        if self.probe.is_due(largest, is_useful)
            && self.session.state().are_settings_acknowledged()
            && self.send_ping()
        {
            self.probe.begin();
        }
    }

    /// Gives back the windows of bytes that a stream's user has read.
    pub(super) fn release(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let released = entry.release(&mut self.session);
        self.held -= released;
        measure_reads(&mut self.probe, &self.windows, &self.wide, entry, released);
    }

    /// Keeps to the memory that the links of the listener may hold together.
    fn keep_to_the_share(&mut self) {
        let conns = self.streams.len();
        let Some(share) = &mut self.share else { return };
        if !share.update(self.held, conns) && share.takes_more() && !share.is_asked() {
            return;
        }
        self.tell_what_is_unread();
        while let Some(share) = &mut self.share
            && share.must_hold_less()
        {
            let cap = share.cap();
            let before = self.holds();
            let all = format_args!(
                "and all links of the listener hold the {cap} bytes that they may together"
            );
            self.reset_the_hoarder(Entry::holds, all);
            if self.holds() >= before {
                return;
            }
            self.tell_what_is_unread();
        }
    }

    /// Reports only bytes that users have not read to the other links.
    pub(super) fn tell_what_is_unread(&mut self) {
        self.release_all();
        if let Some(share) = &mut self.share {
            share.update(self.held, self.streams.len());
            share.answer();
        }
    }

    /// Whether there is memory for one more stream of the peer, as far as is known.
    pub(super) fn takes_more(&self) -> bool {
        self.share.as_ref().is_none_or(Share::takes_more)
    }

    /// Bytes that the link's streams hold: unread ones, and header fields.
    fn holds(&self) -> usize {
        self.held + self.share.as_ref().map_or(0, Share::of_streams)
    }

    /// Gives back the windows of all bytes that users have read. This usually waits until it is
    /// worth a frame. But now little is left, and no stream may be reset for bytes that its user
    /// has already read.
    fn release_all(&mut self) {
        for (_, entry) in &mut self.streams {
            let released = entry.release(&mut self.session);
            self.held -= released;
            measure_reads(&mut self.probe, &self.windows, &self.wide, entry, released);
        }
    }

    /// Resets the stream that holds most, by this measure.
    fn reset_the_hoarder(&mut self, holds: impl Fn(&Entry) -> usize, all: fmt::Arguments<'_>) {
        let most = self.streams.iter_mut().max_by_key(|(_, entry)| holds(entry));
        let Some((key, entry)) = most.filter(|(_, entry)| holds(entry) > 0) else { return };
        let unread = entry.stream.inbox.len() + entry.carrier.ridden();
        let fields = entry.carrier.fields();
        let message = match fields > unread {
            false => format!(
                "reset here: {unread} bytes of it lie unread, the most of its link, {all}; read \
                 faster, or allow more memory"
            ),
            true => format!(
                "reset here: its header fields take {fields} bytes, the most of its link, {all}; send \
                 fewer, or allow more memory"
            ),
        };
        observe::hoarder_reset(&entry.stream.link.peer, &message);
        let ending = Ending::Local(Reason::ENHANCE_YOUR_CALM, message.into());
        entry.stream.inbox.abort(ending.read_error());
        entry.carrier.give_back();
        if !entry.over {
            entry.reset(&mut self.session, Reason::ENHANCE_YOUR_CALM, &ending);
        }
        self.look_at(key);
    }
}
