//! SETTINGS of this side (RFC 9113 §6.5.3): what is in force, what waits for its acknowledgement, and
//! what waits for that.
//!
//! One SETTINGS frame is on its way at a time. What changes meanwhile goes into the next.

use std::time::{Duration, Instant};

use super::{Connection, Inner};
use crate::settings::Settings;
use crate::stream::RecvHalf;
use crate::window::{self, Due};
use crate::{Config, ConnectionError, Reason, frame};

#[derive(Debug)]
pub(super) struct Ours {
    /// The values that the peer has acknowledged.
    acknowledged: Settings,
    /// The values that it has been sent since.
    sent: Option<Sent>,
    /// The values that it should know.
    wanted: Settings,
}

#[derive(Debug)]
struct Sent {
    settings: Settings,
    /// When it was handed out.
    at: Option<Instant>,
}

impl Ours {
    pub(super) fn new(config: &Config, is_server: bool) -> Ours {
        let wanted = Settings {
            header_table_size: config.header_table_size,
            // Only clients speak of push, and only servers of the streams that they take.
            enable_push: is_server,
            max_concurrent_streams: is_server.then_some(config.max_concurrent_streams),
            initial_window_size: config.stream_window,
            max_frame_size: config.max_frame_size,
            max_header_list_size: Some(config.max_header_list_size),
            enable_connect_protocol: is_server && config.extended_connect,
            no_rfc7540_priorities: true,
        };
        Ours { acknowledged: Settings::default(), sent: None, wanted }
    }

    pub(super) fn are_acknowledged(&self) -> bool {
        self.sent.is_none() && self.acknowledged == self.wanted
    }

    /// The longest payload that the peer may send by now.
    #[inline]
    pub(super) fn max_frame_size(&self) -> u32 {
        let acknowledged = self.acknowledged.max_frame_size;
        self.sent
            .as_ref()
            .map_or(acknowledged, |sent| sent.settings.max_frame_size.max(acknowledged))
    }

    /// An acknowledgement is due.
    pub(super) fn are_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// All that waits was handed out.
    #[inline]
    pub(super) fn handed_out(&mut self, now: Instant) {
        if let Some(sent) = &mut self.sent {
            sent.at.get_or_insert(now);
        }
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        self.sent.as_ref()?.at?.checked_add(timeout)
    }
}

impl Connection {
    /// Sets the window of all streams, in bytes: those that open from now on, and by the difference
    /// those that are open (RFC 9113 §6.9.2) and have no window of their own by
    /// [`set_stream_window`](Connection::set_stream_window). The peer hears of it by SETTINGS, one at a time.
    pub fn set_initial_window(&mut self, bytes: u32) {
        self.inner.ours.wanted.initial_window_size = bytes.min(window::MAX);
        self.inner.send_settings();
    }

    /// Sets the number of streams that a client may have open at once. More are refused from now on,
    /// also where the client has yet to hear of it, which can then try again (RFC 9113 §5.1.2).
    pub fn set_max_concurrent_streams(&mut self, streams: u32) {
        if self.inner.is_server {
            self.inner.config.max_concurrent_streams = streams;
            self.inner.ours.wanted.max_concurrent_streams = Some(streams);
            self.inner.send_settings();
        }
    }

    /// Sets the longest payload of a frame that the peer may send, in bytes: 16,384 to 2²⁴−1.
    pub fn set_max_frame_size(&mut self, bytes: u32) {
        let config = Config { max_frame_size: bytes, ..Config::default() }.in_range();
        self.inner.ours.wanted.max_frame_size = config.max_frame_size;
        self.inner.send_settings();
    }

    /// Sets the size of the table by which the peer may compress header fields, in bytes.
    pub fn set_header_table_size(&mut self, bytes: u32) {
        self.inner.ours.wanted.header_table_size = bytes;
        self.inner.send_settings();
    }
}

impl Inner {
    /// Sends what has changed, unless an acknowledgement is awaited.
    pub(super) fn send_settings(&mut self) {
        let most = self.largest_initial_window();
        let window = &mut self.ours.wanted.initial_window_size;
        *window = (*window).min(most);
        let Ours { acknowledged, sent, wanted } = &mut self.ours;
        if sent.is_some() || acknowledged == wanted || self.failed.is_some() {
            return;
        }
        frame::settings::write(wanted.changes_from(acknowledged), &mut self.output.bytes);
        *sent = Some(Sent { settings: *wanted, at: None });
        let (old, new) = (*acknowledged, *wanted);
        // A value that allows the peer more counts at once: it may use it before its acknowledgement is read.
        if new.initial_window_size > old.initial_window_size {
            self.shift_windows(old.initial_window_size, new.initial_window_size);
        }
        if new.header_table_size > old.header_table_size {
            self.decoder.set_limit(new.header_table_size);
        }
    }

    /// The initial window that lifts no stream's above 2³¹−1, which the peer would have to refuse
    /// (RFC 9113 §6.9.2).
    fn largest_initial_window(&self) -> u32 {
        let rooms = self.streams.iter().map(|stream| stream.recv_window.room());
        let room = rooms.min().unwrap_or(window::MAX);
        self.ours.acknowledged.initial_window_size.saturating_add(room).min(window::MAX)
    }

    /// The peer has acknowledged the SETTINGS on their way; `false` if there were none.
    ///
    /// A value that allows it less counts from here on.
    pub(super) fn settings_acknowledged(&mut self) -> bool {
        let Some(Sent { settings: new, .. }) = self.ours.sent.take() else { return false };
        let old = std::mem::replace(&mut self.ours.acknowledged, new);
        if new.initial_window_size < old.initial_window_size {
            self.shift_windows(old.initial_window_size, new.initial_window_size);
        }
        if new.header_table_size < old.header_table_size {
            self.decoder.set_limit(new.header_table_size);
        }
        self.send_settings();
        true
    }

    fn shift_windows(&mut self, old: u32, new: u32) {
        let by = i64::from(new) - i64::from(old);
        self.stream_window = new;
        let mut owing = Vec::new();
        for (slot, stream) in self.streams.iter_mut() {
            stream.recv_window.shift(by);
            let due = stream.recv_window.due();
            if due != Due::Nothing && stream.recv != RecvHalf::Ended {
                owing.push((slot, due));
            }
        }
        for (slot, due) in owing {
            self.list_update(slot, due);
        }
    }

    /// The time is up in which the peer had to acknowledge SETTINGS.
    pub(super) fn settings_timed_out(&self) -> ConnectionError {
        ConnectionError::new(
            Reason::SETTINGS_TIMEOUT,
            "no acknowledgement of SETTINGS has come in time, one was expected (RFC 9113 §6.5.3)",
        )
    }
}
