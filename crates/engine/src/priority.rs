//! Priorities (RFC 9218): the `priority` field, and what PRIORITY_UPDATE says in its place.

mod dictionary;

use dictionary::{Dictionary, Value};
use http::HeaderMap;

/// How soon a stream's content is wanted (RFC 9218 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Priority {
    urgency: u8,
    incremental: bool,
}

impl Priority {
    /// The least urgent level.
    pub const MAX_URGENCY: u8 = 7;

    /// `urgency` from 0, the most urgent, to 7; more counts as 7. Not incremental.
    pub const fn new(urgency: u8) -> Priority {
        let urgency = if urgency > Priority::MAX_URGENCY { Priority::MAX_URGENCY } else { urgency };
        Priority { urgency, incremental: false }
    }

    /// Whether its content is of use before all of it is there.
    #[must_use]
    pub const fn incremental(self, incremental: bool) -> Priority {
        Priority { incremental, ..self }
    }

    /// From 0, the most urgent, to 7. By default 3.
    pub const fn urgency(self) -> u8 {
        self.urgency
    }

    /// Whether its content is of use before all of it is there. By default it is not.
    pub const fn is_incremental(self) -> bool {
        self.incremental
    }

    /// Reads a field's value. Members that are unknown or out of their range are ignored; `None` if
    /// it is no dictionary at all, which counts as if the field were not there (RFC 9218 §4).
    pub fn parse(value: &[u8]) -> Option<Priority> {
        let mut priority = Priority::default();
        for member in Dictionary::new(value) {
            let (key, value) = member.ok()?;
            // Of members with one name the last counts, even if it is of no use (RFC 8941 §3.2).
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

    /// What the `priority` field of a head says; the default without one, or if it says nothing
    /// that can be understood.
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
