//! The protocol of a connection, which is the same in gob and in JSON.
//!
//! A client sends its name, a string. The server answers `"ok"`, or the reason for a refusal and
//! nothing more. From then on both send [`Post`]s, and the server sends those of all members. In
//! gob this is the protocol of the chat in Go's h2conn, and clients and servers of both programs
//! work together: gob skips the fields that one side lacks.

use gobwire::{GoTime, Gob, UNIX_TO_INTERNAL, Zone};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer to an accepted name.
pub const WELCOME: &str = "ok";

/// The answer to a name that a member has already. The chat in Go has the same.
pub const TAKEN: &str = "user already exists";

/// The author of posts that no member wrote.
pub const SYSTEM: &str = "System";

/// The most bytes that a name or a post may have on its way to the server, in either format.
pub const MAX_MESSAGE_SIZE: usize = 16 * 1024;

/// The most characters that clients let their users write in one post, so that it is never too
/// large.
pub const MAX_CHARS: usize = 2_000;

/// A post. The server takes only the message from a client's post, and fills in the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Gob, Serialize, Deserialize)]
#[serde(default, rename_all = "lowercase")]
pub struct Post {
    /// The author.
    #[gob(name = "User")]
    pub user: String,
    /// One line of text.
    #[gob(name = "Message")]
    pub message: String,
    /// The time at which the server got it. It is later than that of the post before.
    #[gob(name = "Time")]
    #[serde(with = "rfc3339")]
    pub time: GoTime,
    /// Whether it was posted before the reader came: a newcomer gets the last posts again.
    #[gob(name = "Earlier")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
    /// In the first post to a newcomer: the names of all members of the room.
    #[gob(name = "Here")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<String>,
    /// In a post of the system: the member who joins.
    #[gob(name = "Came")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub came: String,
    /// In a post of the system: the member who leaves.
    #[gob(name = "Went")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub went: String,
}

impl Post {
    /// A post by `user`.
    pub fn new(user: impl Into<String>, message: impl Into<String>) -> Post {
        Post { user: user.into(), message: message.into(), ..Post::default() }
    }

    /// A post of the system.
    pub fn system(message: impl Into<String>) -> Post {
        Post::new(SYSTEM, message)
    }

    /// The same post with this time.
    pub fn at(self, time: Timestamp) -> Post {
        Post { time: to_go(time), ..self }
    }

    /// The time of the post, or the beginning of 1970 if its time is invalid.
    pub fn timestamp(&self) -> Timestamp {
        from_go(self.time).unwrap_or_default()
    }
}

/// The character, or a space for one that could harm a reader's screen: characters that control a
/// terminal, break lines, or turn the direction of the text. The server applies this to all posts,
/// and clients do so again.
pub fn harmless(c: char) -> char {
    match c {
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    }
}

fn to_go(time: Timestamp) -> GoTime {
    // The nanoseconds of a time before 1970 count backwards here, but not in Go.
    let nanoseconds = time.subsec_nanosecond();
    let earlier = i64::from(nanoseconds < 0);
    GoTime::from_unix(
        time.as_second() - earlier,
        nanoseconds + 1_000_000_000 * earlier as i32,
        Zone::Utc,
    )
}

fn from_go(time: GoTime) -> Option<Timestamp> {
    let seconds = time.sec.checked_sub(UNIX_TO_INTERNAL)?;
    Timestamp::new(seconds, time.nsec).ok()
}

/// Times in JSON, in the format of RFC 3339.
mod rfc3339 {
    use gobwire::GoTime;
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &GoTime, to: S) -> Result<S::Ok, S::Error> {
        super::from_go(*time).unwrap_or_default().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GoTime, D::Error> {
        Timestamp::deserialize(from).map(super::to_go)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_in_go_and_here() {
        for text in
            ["2026-11-24T00:10:20.000000001Z", "1969-12-31T23:59:59.75Z", "0001-01-01T00:00:00Z"]
        {
            let time: Timestamp = text.parse().expect("a time");
            assert_eq!(Post::default().at(time).timestamp(), time);
        }
        assert_eq!(Post::default().time, to_go("0001-01-01T00:00:00Z".parse().expect("Go's zero")));
    }

    #[test]
    fn a_time_that_nobody_can_have_is_the_beginning_of_1970() {
        for sec in [i64::MIN, i64::MAX] {
            let time = GoTime { sec, nsec: i32::MAX, zone: Zone::Utc };
            assert_eq!(Post { time, ..Post::default() }.timestamp(), Timestamp::UNIX_EPOCH);
        }
    }
}
