//! Priorities (RFC 9218): the `priority` field, and PRIORITY_UPDATE in its place.

mod dictionary;

use dictionary::{Dictionary, Value};
use http::HeaderMap;

/// The urgency of a stream's content (RFC 9218 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Priority {
    urgency: u8,
    incremental: bool,
}

impl Priority {
    /// The least urgent level.
    pub const MAX_URGENCY: u8 = 7;

    /// `urgency` is from 0, the most urgent, to 7. A larger value counts as 7. Not incremental.
    pub const fn new(urgency: u8) -> Priority {
        let urgency = if urgency > Priority::MAX_URGENCY { Priority::MAX_URGENCY } else { urgency };
        Priority { urgency, incremental: false }
    }

    /// Sets whether its content is useful before all of it has come.
    #[must_use]
    pub const fn incremental(self, incremental: bool) -> Priority {
        Priority { incremental, ..self }
    }

    /// The urgency, from 0, the most urgent, to 7. Default: 3.
    pub const fn urgency(self) -> u8 {
        self.urgency
    }

    /// Whether its content is useful before all of it has come. Default: no.
    pub const fn is_incremental(self) -> bool {
        self.incremental
    }

    /// Reads a field's value. Unknown members and members out of range are ignored. Returns `None`
    /// if the value is no dictionary, which counts as if the field were absent (RFC 9218 §4).
    pub fn parse(value: &[u8]) -> Option<Priority> {
        let mut priority = Priority::default();
        for member in Dictionary::new(value) {
            let (key, value) = member.ok()?;
            // Of several members with one name the last counts, even if it cannot be used
            // (RFC 8941 §3.2).
            match (key, value) {
                (b"u", Value::Integer(urgency @ 0..=7)) => priority.urgency = urgency as u8,
                (b"u", _) => priority.urgency = Priority::default().urgency,
                (b"i", Value::Boolean(incremental)) => priority.incremental = incremental,
                (b"i", _) => priority.incremental = Priority::default().incremental,
                _ => {}
            }
        }
        Some(priority)
    }

    /// The priority in the `priority` field of a head. The default if there is no field or its
    /// value is not understood.
    pub fn from_headers(headers: &HeaderMap) -> Priority {
        let mut values = headers.get_all("priority").iter();
        let (Some(first), second) = (values.next(), values.next()) else {
            return Priority::default();
        };
        let Some(second) = second else {
            return Priority::parse(first.as_bytes()).unwrap_or_default();
        };
        let mut joined = [first.as_bytes(), second.as_bytes()].join(&b","[..]);
        for value in values {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        Priority::parse(&joined).unwrap_or_default()
    }

    /// The field's value.
    pub(crate) fn field_value(self) -> &'static str {
        const PLAIN: [&str; 8] = ["u=0", "u=1", "u=2", "u=3", "u=4", "u=5", "u=6", "u=7"];
        const INCREMENTAL: [&str; 8] =
            ["u=0, i", "u=1, i", "u=2, i", "u=3, i", "u=4, i", "u=5, i", "u=6, i", "u=7, i"];
        let values = if self.incremental { INCREMENTAL } else { PLAIN };
        values[usize::from(self.urgency & Priority::MAX_URGENCY)]
    }
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::new(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<(u8, bool)> {
        let priority = Priority::parse(value.as_bytes())?;
        Some((priority.urgency(), priority.is_incremental()))
    }

    #[test]
    fn values_that_rfc_9218_has() {
        for (value, priority) in [
            ("", (3, false)),
            ("u=0", (0, false)),
            ("u=7", (7, false)),
            ("i", (3, true)),
            ("i=?1", (3, true)),
            ("i=?0", (3, false)),
            ("u=5, i", (5, true)),
            ("i,u=5", (5, true)),
            ("  u=5 \t,\t i  ", (5, true)),
        ] {
            assert_eq!(parsed(value), Some(priority), "{value:?}");
        }
    }

    #[test]
    fn members_out_of_their_range_or_unknown_are_ignored() {
        for value in ["u=8", "u=-1", "u=1.5", "u=\"1\"", "u=one", "u", "u=(1)", "u=:MQ==:", "u=?1"]
        {
            assert_eq!(parsed(&format!("{value}, i")), Some((3, true)), "{value:?}");
        }
        for value in ["i=1", "i=\"\"", "i=true", "i=()"] {
            assert_eq!(parsed(&format!("u=1, {value}")), Some((1, false)), "{value:?}");
        }
        let unknown =
            r#"a, b=1;x;y="z";*=?0, c=(1 "t" u;v  :aGk=: ), u=2, d="\\\"", e=-0.125, f=a:/b"#;
        assert_eq!(parsed(unknown), Some((2, false)));
    }

    #[test]
    fn parameters_do_not_matter() {
        assert_eq!(parsed("u=1;x=2, i;y"), Some((1, true)));
    }

    #[test]
    fn the_last_member_of_one_name_counts() {
        assert_eq!(parsed("u=1, i, u=2, i=?0"), Some((2, false)));
        assert_eq!(parsed("u=1, u=9"), Some((3, false)));
    }

    #[test]
    fn what_is_no_dictionary_is_no_priority() {
        for value in [
            "u=1,",
            ",",
            "u=",
            "u=1 i",
            "U=1",
            "u=1,,i",
            "=1",
            "\tu=1",
            "u =1",
            "u= 1",
            "1",
            "u=\"",
            "u=\"\u{e9}\"",
            "u=\"\\x\"",
            "u=(1",
            "u=(1,2)",
            "u=(1\"a\")",
            "u=:a",
            "u=:?:",
            "i=?2",
            "i=?",
            "u=1.",
            "u=1.2345",
            "u=-",
            "u=1234567890123456",
            "u=1234567890123.1",
            "u=1;",
            "u=1;A",
            "u=1;a=",
            "u=1\0",
            "é",
        ] {
            assert_eq!(parsed(value), None, "{value:?}");
        }
    }

    #[test]
    fn a_field_in_several_lines_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(Priority::from_headers(&headers), Priority::default());
        for value in ["u=1", "i", "u=2"] {
            headers.append("priority", http::HeaderValue::from_static(value));
        }
        assert_eq!(Priority::from_headers(&headers), Priority::new(2).incremental(true));
        headers.append("priority", http::HeaderValue::from_static(","));
        assert_eq!(Priority::from_headers(&headers), Priority::default());
    }

    #[test]
    fn every_priority_is_written_as_it_is_read() {
        for urgency in 0..=7 {
            for incremental in [false, true] {
                let priority = Priority::new(urgency).incremental(incremental);
                assert_eq!(Priority::parse(priority.field_value().as_bytes()), Some(priority));
            }
        }
        assert_eq!(Priority::new(200).urgency(), 7);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read(value in "[ui=?10-9.,;()\"\\\\: a-c\t]{0,40}") {
            if let Some(priority) = Priority::parse(value.as_bytes()) {
                assert!(priority.urgency() <= 7);
            }
        }
    }
}
