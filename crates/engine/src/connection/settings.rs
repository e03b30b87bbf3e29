//! SETTINGS of this side (RFC 9113 §6.5.3): the values in force, the values that wait for an
//! acknowledgement, and the values that wait behind those.
//!
//! One SETTINGS frame is in transit at a time. Changes meanwhile go into the next one.

use std::time::{Duration, Instant};

use super::{Connection, Inner};
use crate::settings::{Setting, Settings};
use crate::stream::RecvHalf;
use crate::window::{self, Due};
use crate::{Config, ConnectionError, Reason, frame};

#[derive(Debug)]
pub(super) struct Ours {
    /// The values that the peer has acknowledged.
    acknowledged: Settings,
    /// The values that were sent since.
    sent: Option<Sent>,
    /// The values that the peer should know.
    wanted: Settings,
}

#[derive(Debug)]
struct Sent {
    settings: Settings,
    /// When the frame was handed out.
    at: Option<Instant>,
}

impl Ours {
    pub(super) fn new(config: &Config, is_server: bool) -> Ours {
        let wanted = Settings {
            header_table_size: config.header_table_size,
            // Only clients state whether they accept push, and only servers limit the streams that
            // they accept.
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

    /// SETTINGS were sent, and their acknowledgement is due.
    pub(super) fn are_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Everything that waited was handed out.
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
    /// Sets the window of all streams, in bytes. It applies to streams that open from now on. Open
    /// streams change by the difference (RFC 9113 §6.9.2), except those with a window of their own
    /// from [`set_stream_window`](Connection::set_stream_window). The peer learns it through
    /// SETTINGS, one frame at a time.
    pub fn set_initial_window(&mut self, bytes: u32) {
        self.inner.ours.wanted.initial_window_size = bytes.min(window::MAX);
        self.inner.send_settings();
    }

    /// Sets the number of streams that a client may have open at once. Further streams are refused
    /// from now on, even before the client knows of the change. The client may then try again
    /// (RFC 9113 §5.1.2).
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

    /// Sets the size of the table that the peer may use to compress header fields, in bytes.
    pub fn set_header_table_size(&mut self, bytes: u32) {
        self.inner.ours.wanted.header_table_size = bytes;
        self.inner.send_settings();
    }

    /// Sends SETTINGS that change nothing, unless an acknowledgement of SETTINGS is awaited anyway. The
    /// acknowledgement, which is due within [`Config::settings_timeout`], makes a peer that holds
    /// output back send it. One value is repeated, because some peers count SETTINGS without values as
    /// abuse.
    pub fn request_settings_acknowledgement(&mut self) {
        if self.inner.ours.are_sent() || self.inner.failed.is_some() {
            return;
        }
        let Ours { acknowledged, wanted, .. } = &self.inner.ours;
        let same = Setting::InitialWindowSize(wanted.initial_window_size);
        let repeated = (acknowledged == wanted).then_some(same);
        self.inner.write_settings(repeated);
    }
}

impl Inner {
    /// Sends the changed values, unless an acknowledgement is awaited.
    pub(super) fn send_settings(&mut self) {
        let most = self.largest_initial_window();
        let window = &mut self.ours.wanted.initial_window_size;
        *window = (*window).min(most);
        let Ours { acknowledged, sent, wanted } = &self.ours;
        if sent.is_none() && acknowledged != wanted && self.failed.is_none() {
            self.write_settings(None);
        }
    }

    /// Sends the values that have changed, and one that may not have.
    fn write_settings(&mut self, repeated: Option<Setting>) {
        let Ours { acknowledged, sent, wanted } = &mut self.ours;
        let settings = wanted.changes_from(acknowledged).chain(repeated);
        frame::settings::write(settings, &mut self.output.bytes);
        *sent = Some(Sent { settings: *wanted, at: None });
        let (old, new) = (*acknowledged, *wanted);
        // A value that allows the peer more counts at once, because it may use it before we read
        // the acknowledgement.
        if new.initial_window_size > old.initial_window_size {
            self.shift_windows(old.initial_window_size, new.initial_window_size);
        }
        if new.header_table_size > old.header_table_size {
            self.decoder.set_limit(new.header_table_size);
        }
    }

    /// The largest initial window that raises no stream's window above 2³¹−1. The peer would have
    /// to refuse a larger one (RFC 9113 §6.9.2).
    fn largest_initial_window(&self) -> u32 {
        let rooms = self.streams.iter().map(|stream| stream.recv_window.room());
        let room = rooms.min().unwrap_or(window::MAX);
        self.ours.acknowledged.initial_window_size.saturating_add(room).min(window::MAX)
    }

    /// The peer has acknowledged the SETTINGS in transit. `false` if there were none.
    ///
    /// A value that allows the peer less counts from here on.
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

    /// The error when the peer has not acknowledged SETTINGS in time.
    pub(super) fn settings_timed_out(&self) -> ConnectionError {
        ConnectionError::new(
            Reason::SETTINGS_TIMEOUT,
            "no acknowledgement of SETTINGS has come in time, one was expected (RFC 9113 §6.5.3)",
        )
    }
}
