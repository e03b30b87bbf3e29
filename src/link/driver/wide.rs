//! Wide streams: those with a window of their own, because their users read so fast.

use super::Driver;
use crate::link::bandwidth::Probe;
use crate::link::entry::Entry;
use crate::link::window::{Room, Windows};

#[derive(Debug, Default)]
pub(super) struct Wide {
    keys: Vec<usize>,
    /// A sample has ended. It may show streams that their windows hold back.
    sample_ended: bool,
    /// Streams have come, or gone, since the room was last divided.
    has_new: bool,
    has_changed: bool,
    /// The room that was divided.
    room: Room,
    /// Some peers may still send more than the window.
    is_tight: bool,
    /// Space for a division.
    promised: Vec<u32>,
}

impl Wide {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn remove(&mut self, key: usize) {
        self.keys.retain(|wide| *wide != key);
        self.has_changed = true;
    }

    /// Requests a look at all streams, because a sample has ended.
    pub(super) fn note_sample(&mut self) {
        self.sample_ended = true;
    }
}

impl Driver {
    /// Widens the streams that the last sample shows to be held back by their windows.
    pub(super) fn widen_streams(&mut self) {
        if !std::mem::take(&mut self.wide.sample_ended) {
            return;
        }
        for (key, entry) in &mut self.streams {
            if !self.windows.can_widen(self.wide.len()) {
                break;
            }
            if !entry.is_wide
                && !entry.over
                && self.probe.holds_back(&entry.part, self.windows.stream())
            {
                entry.is_wide = true;
                self.wide.keys.push(key);
                self.wide.has_new = true;
                self.probe.has_widened();
            }
        }
    }

    /// Gives the wide streams the windows that they may have by now.
    pub(super) fn fit_wide_streams(&mut self) {
        let room = self.windows.room();
        let has_new = std::mem::take(&mut self.wide.has_new);
        let has_changed = std::mem::take(&mut self.wide.has_changed) || has_new;
        if !has_changed && !self.wide.is_tight && self.wide.room == room {
            return;
        }
        self.wide.room = room;
        let promised = self.wide.keys.iter().filter_map(|key| {
            let entry = self.streams.get(*key)?;
            let credit = entry.id.map_or(0, |id| self.session.state().stream_credit(id).max(0));
            Some(u32::try_from(credit + entry.held as i64).unwrap_or(u32::MAX))
        });
        self.wide.promised.clear();
        self.wide.promised.extend(promised);
        let division = room.divide(&mut self.wide.promised);
        self.wide.is_tight = division.is_tight;
        self.windows.set_missing(division.missing);
        let (old, window) = (self.windows.wide(), division.window);
        if self.wide.keys.is_empty() {
            return self.windows.set_wide_window(0);
        }
        // Small rises are not worth a frame for each of them.
        if !has_new && window >= old && window < old.saturating_add(old / 8) {
            return;
        }
        self.windows.set_wide_window(window);
        for key in &self.wide.keys {
            let Some(entry) = self.streams.get(*key).filter(|entry| !entry.over) else { continue };
            entry.stream.inbox.set_threshold(window as usize / 4);
            if let Some(id) = entry.id {
                self.session.http2().set_stream_window(id, window);
            }
        }
    }
}

/// Counts bytes that a stream's user has read, for the measurement of the windows.
pub(super) fn measure_reads(
    probe: &mut Probe,
    windows: &Windows,
    wide: &Wide,
    entry: &mut Entry,
    bytes: usize,
) {
    let window = if entry.is_wide { windows.wide() } else { windows.stream() };
    let could_be_wide = !entry.is_wide;
    probe.count(&mut entry.part, bytes, window, || could_be_wide && windows.can_widen(wide.len()));
}
