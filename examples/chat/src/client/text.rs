//! Text from others on a terminal: it cannot control the terminal, and it is as wide as it looks.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::post::{MAX_CHARS, harmless};

/// Honest servers accept no posts longer than that, but a server may send one.
const MAX_SHOWN_CHARS: usize = 4 * MAX_CHARS;

/// The text as one line of harmless characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_SHOWN_CHARS).map(harmless).collect();
    if line.len() < text.len() && text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// The number of columns that the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// The text without its first columns.
pub(crate) fn skip_columns(text: &str, columns: usize) -> &str {
    let mut skipped = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        if skipped >= columns {
            return &text[at..];
        }
        skipped += grapheme.width();
    }
    ""
}

/// Breaks a text into rows. The first row is `first` columns wide, and the others are `rest` wide,
/// which is no less. It breaks at spaces, on both sides of wide characters, and within a word only
/// if the word is longer than a row. A character that is wider than a row gets a row of its own.
pub(crate) fn wrap(text: &str, first: usize, rest: usize) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    let (mut start, mut used, mut room) = (0, 0, first);
    // The positions at which the row could end, and the next one begin.
    let mut gap = None;
    for (at, grapheme) in text.grapheme_indices(true) {
        let (columns, next) = (grapheme.width(), at + grapheme.len());
        if grapheme == " " {
            gap = Some((at, next));
            used += columns;
            continue;
        }
        if columns > 1 && at > start {
            gap = gap.filter(|(_, next)| *next == at).or(Some((at, at)));
        }
        while used + columns > room {
            let (end, begin) = match gap.take() {
                Some(gap) => gap,
                None if rows.is_empty() && first < rest => (start, start),
                None if at > start => (at, at),
                None => break,
            };
            rows.push(start..end);
            (start, room) = (begin, rest);
            used = width(&text[start..at]);
        }
        used += columns;
        if columns > 1 {
            gap = Some((next, next));
        }
    }
    rows.push(start..text.len());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, first: usize, rest: usize) -> Vec<&str> {
        wrap(text, first, rest).into_iter().map(|row| &text[row]).collect()
    }

    #[test]
    fn words_stay_whole_where_they_fit() {
        assert_eq!(rows("", 5, 5), [""]);
        assert_eq!(rows("one two three", 7, 7), ["one two", "three"]);
        assert_eq!(rows("one two three", 8, 8), ["one two", "three"]);
        assert_eq!(rows("one two three", 2, 9), ["", "one two", "three"]);
        assert_eq!(rows("a    b", 2, 2), ["a   ", "b"]);
        assert_eq!(rows("incomprehensible", 6, 6), ["incomp", "rehens", "ible"]);
        assert_eq!(rows("an incomprehensible", 6, 6), ["an", "incomp", "rehens", "ible"]);
    }

    #[test]
    fn wide_characters_take_two_columns_and_break_anywhere() {
        assert_eq!(rows("日本語 text", 5, 5), ["日本", "語", "text"]);
        assert_eq!(rows("a日本", 2, 2), ["a", "日", "本"]);
        assert_eq!(rows("日本", 1, 1), ["日", "本"]);
        assert_eq!(rows("日 本", 2, 2), ["日", "本"]);
        assert_eq!(rows("日本", 0, 0), ["日", "本"]);
    }

    #[test]
    fn what_is_one_character_to_the_reader_stays_one() {
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(width(family), 2);
        assert_eq!(rows(&format!("{family}{family}"), 3, 3), [family, family]);
        let accents = "e\u{301}e\u{301}e\u{301}";
        assert_eq!(width(accents), 3);
        assert_eq!(rows(accents, 2, 2), ["e\u{301}e\u{301}", "e\u{301}"]);
    }

    #[test]
    fn no_row_is_wider_than_it_may_be_and_no_word_is_lost() {
        let text = "日本語 and é, 👩\u{200d}👩\u{200d}👧 or  plain-text https://example.org/ x";
        for rest in 2..40 {
            for first in 0..=rest {
                let rows = rows(text, first, rest);
                let limits = std::iter::once(first).chain(std::iter::repeat(rest));
                for (row, limit) in rows.iter().zip(limits) {
                    let cells = width(row.trim_end());
                    assert!(cells <= limit.max(2), "{row:?} is {cells} wide, not {limit}");
                }
                let kept: String = rows.concat().split_whitespace().collect();
                assert_eq!(kept, text.split_whitespace().collect::<String>());
            }
        }
    }

    #[test]
    fn nothing_controls_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2J\r\n\u{9b}31m\u{202e}b\u{7f}"), "a [2J   31m b ");
        assert_eq!(one_line("日本語"), "日本語");
        assert_eq!(one_line(&"x".repeat(100_000)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
