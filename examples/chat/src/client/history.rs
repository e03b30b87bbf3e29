//! The posts so far, and the part of them that is on the screen.

use std::collections::VecDeque;
use std::ops::Range;

use jiff::Timestamp;

use super::text::{width, wrap};

/// How many entries are kept.
const MAX_ENTRIES: usize = 10_000;

/// The columns of a time and the space after it.
pub(crate) const TIME_WIDTH: usize = 6;

/// On narrower screens, the rows after an entry's first begin at the left.
const MIN_WIDTH_TO_INDENT: usize = 30;

/// An entry of the history.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) time: Timestamp,
    pub(crate) by: By,
    pub(crate) text: String,
}

/// The author of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    User(String),
    System,
    /// This program.
    Client,
}

impl Entry {
    /// The text between the time and the message.
    pub(crate) fn mark(&self) -> String {
        match &self.by {
            By::User(name) => format!("<{name}> "),
            By::System => "* ".to_owned(),
            By::Client => "- ".to_owned(),
        }
    }

    /// The column in which rows after the first begin.
    pub(crate) fn indent(columns: usize) -> usize {
        if columns < MIN_WIDTH_TO_INDENT { 0 } else { TIME_WIDTH }
    }

    fn rows(&self, columns: usize) -> Vec<Range<usize>> {
        let first = columns.saturating_sub(TIME_WIDTH + width(&self.mark()));
        wrap(&self.text, first, columns - Entry::indent(columns))
    }
}

/// A row of an entry, as it appears on the screen.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) is_first: bool,
    pub(crate) text: &'a str,
}

/// The entries, and the reader's position in them: at the end, which moves, or elsewhere.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    /// The number of earlier entries that are no longer kept.
    forgotten: u64,
    /// The last row on the screen, if the screen does not follow the end.
    bottom: Option<Place>,
    /// The columns and rows of the screen.
    size: (usize, usize),
}

/// A row of the entry with this number. Numbers count from the very first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    entry: u64,
    row: usize,
}

impl History {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        if self.entries.len() > MAX_ENTRIES {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    /// Sets the size of the screen. The row at the bottom stays there.
    pub(crate) fn resize(&mut self, columns: usize, rows: usize) {
        self.size = (columns, rows.max(1));
    }

    /// The rows on the screen, from the top.
    pub(crate) fn view(&self) -> Vec<Row<'_>> {
        let row = |(place, text): (Place, Range<usize>)| {
            let entry = self.entry(place.entry)?;
            Some(Row { entry, is_first: place.row == 0, text: &entry.text[text] })
        };
        self.shown().into_iter().filter_map(row).collect()
    }

    /// The number of entries that begin below the screen.
    pub(crate) fn below(&self) -> u64 {
        self.bottom.map_or(0, |bottom| self.end().saturating_sub(bottom.entry + 1))
    }

    pub(crate) fn scroll_up(&mut self, rows: usize) {
        let above = self.upwards(self.bottom()).take(rows + self.size.1);
        let places: Vec<_> = above.map(|(place, _)| place).collect();
        let rows = rows.min(places.len().saturating_sub(self.size.1));
        if rows > 0 {
            self.bottom = Some(places[rows]);
        }
    }

    pub(crate) fn scroll_down(&mut self, rows: usize) {
        if self.bottom.is_none() {
            return;
        }
        let Some((bottom, _)) = self.shown().pop() else { return };
        // Ask for two rows more, to see whether the end is reached.
        let below: Vec<_> = self.downwards(bottom).map(|(place, _)| place).take(rows + 2).collect();
        self.bottom = below.get(rows).copied().filter(|_| below.len() > rows + 1);
    }

    pub(crate) fn page_up(&mut self) {
        self.scroll_up((self.size.1 - 1).max(1));
    }

    pub(crate) fn page_down(&mut self) {
        self.scroll_down((self.size.1 - 1).max(1));
    }

    pub(crate) fn scroll_to_top(&mut self) {
        let first: Vec<_> = self.downwards(self.top()).take(self.size.1 + 1).collect();
        if first.len() > self.size.1 {
            self.bottom = Some(first[self.size.1 - 1].0);
        }
    }

    pub(crate) fn scroll_to_end(&mut self) {
        self.bottom = None;
    }

    /// The rows on the screen. It is full if there are enough rows.
    fn shown(&self) -> Vec<(Place, Range<usize>)> {
        let mut rows: Vec<_> = self.upwards(self.bottom()).take(self.size.1).collect();
        rows.reverse();
        if rows.len() < self.size.1 {
            rows = self.downwards(self.top()).take(self.size.1).collect();
        }
        rows
    }

    fn end(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(number.checked_sub(self.forgotten)? as usize)
    }

    fn top(&self) -> Place {
        Place { entry: self.forgotten, row: 0 }
    }

    fn bottom(&self) -> Place {
        self.bottom.unwrap_or(Place { entry: self.end().saturating_sub(1), row: usize::MAX })
    }

    /// The rows from this one, or from the last of its entry, up to the very first.
    fn upwards(&self, from: Place) -> impl Iterator<Item = (Place, Range<usize>)> {
        let entries = (self.forgotten..=from.entry).rev();
        entries.flat_map(move |entry| {
            let last = if entry == from.entry { from.row } else { usize::MAX };
            let mut rows = self.rows(entry);
            rows.truncate(last.saturating_add(1));
            rows.into_iter().enumerate().rev().map(move |(row, text)| (Place { entry, row }, text))
        })
    }

    /// The rows from this one, or from the last of its entry, down to the very last.
    fn downwards(&self, from: Place) -> impl Iterator<Item = (Place, Range<usize>)> {
        (from.entry.max(self.forgotten)..self.end()).flat_map(move |entry| {
            let rows = self.rows(entry);
            let first = if entry == from.entry { from.row.min(rows.len() - 1) } else { 0 };
            let rows = rows.into_iter().enumerate().skip(first);
            rows.map(move |(row, text)| (Place { entry, row }, text))
        })
    }

    fn rows(&self, entry: u64) -> Vec<Range<usize>> {
        self.entry(entry).map_or_else(Vec::new, |entry| entry.rows(self.size.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(history: &mut History, text: &str) {
        let entry = Entry { time: Timestamp::UNIX_EPOCH, by: By::System, text: text.to_owned() };
        history.push(entry);
    }

    /// Entries of two rows each, such as `1a` and `1b 1c`, on a screen with this many rows.
    fn history(entries: Range<usize>, rows: usize) -> History {
        let mut history = History::default();
        history.resize(10, rows);
        for n in entries {
            push(&mut history, &format!("{n}a {n}b {n}c"));
        }
        history
    }

    fn seen(history: &History) -> Vec<&str> {
        history.view().iter().map(|row| row.text).collect()
    }

    #[test]
    fn the_end_is_followed_until_the_reader_goes_up() {
        let mut history = history(1..4, 3);
        assert_eq!(seen(&history), ["2b 2c", "3a", "3b 3c"]);
        history.scroll_up(2);
        assert_eq!(seen(&history), ["1b 1c", "2a", "2b 2c"]);
        assert_eq!(history.below(), 1);
        push(&mut history, "new");
        assert_eq!(seen(&history), ["1b 1c", "2a", "2b 2c"]);
        assert_eq!(history.below(), 2);
        history.scroll_up(100);
        assert_eq!(seen(&history), ["1a", "1b 1c", "2a"]);
        history.scroll_down(4);
        assert_eq!(seen(&history), ["3a", "3b 3c", ""]);
        push(&mut history, "newer");
        assert_eq!(seen(&history), ["3a", "3b 3c", ""]);
        history.scroll_down(3);
        assert_eq!(seen(&history), ["new", "", "newer"]);
        push(&mut history, "newest");
        assert_eq!(seen(&history), ["newer", "", "newest"]);
        assert_eq!(history.below(), 0);
    }

    #[test]
    fn the_top_and_the_end_are_one_step_away() {
        let mut history = history(1..4, 3);
        history.scroll_to_top();
        assert_eq!(seen(&history), ["1a", "1b 1c", "2a"]);
        history.page_down();
        assert_eq!(seen(&history), ["2a", "2b 2c", "3a"]);
        history.scroll_to_end();
        history.page_up();
        assert_eq!(seen(&history), ["1b 1c", "2a", "2b 2c"]);
        // There is nowhere to go.
        history.resize(10, 9);
        history.scroll_to_end();
        history.scroll_to_top();
        history.scroll_up(1);
        assert_eq!(history.below(), 0);
        assert_eq!(seen(&history).len(), 6);
    }

    #[test]
    fn a_new_size_keeps_the_row_at_the_bottom() {
        let mut history = history(1..10, 4);
        history.scroll_up(7);
        assert_eq!(seen(&history), ["4b 4c", "5a", "5b 5c", "6a"]);
        history.resize(80, 2);
        assert_eq!(seen(&history), ["5a 5b 5c", "6a 6b 6c"]);
        // There are too few rows above, so rows below come up.
        history.resize(80, 8);
        assert_eq!(seen(&history)[0], "1a 1b 1c");
        assert_eq!(seen(&history).len(), 8);
        history.resize(0, 0);
        assert_eq!(seen(&history).len(), 1);
    }

    #[test]
    fn what_is_too_old_is_forgotten_under_the_reader_too() {
        let mut history = history(0..MAX_ENTRIES, 2);
        history.scroll_to_top();
        for n in 0..MAX_ENTRIES + 5 {
            push(&mut history, if n % 2 == 0 { "x" } else { "y" });
        }
        assert_eq!(history.entries.len(), MAX_ENTRIES);
        assert_eq!(seen(&history), ["y", "x"]);
        history.scroll_down(1);
        assert_eq!(seen(&history), ["x", "y"]);
    }

    #[test]
    fn an_empty_history_is_no_trouble() {
        let mut history = History::default();
        history.resize(0, 0);
        history.scroll_up(1);
        history.scroll_down(1);
        history.scroll_to_top();
        assert_eq!(history.view().len(), 0);
        assert_eq!(history.below(), 0);
    }
}
