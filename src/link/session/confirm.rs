//! Proofs of what the peer's HTTP/2 has got: PINGs, each behind what was written before it.
//!
//! The kernel takes bytes long before the peer has them, and drops them when a socket is closed while
//! the peer still sends. The acknowledgement of a PING (RFC 9113 §6.7) says that everything before
//! it has been read.

use std::collections::VecDeque;

/// The beginning of the payloads of these PINGs; a number follows.
const MARK: [u8; 4] = *b"h2cn";

/// More of them on their way would be noise: whoever asks then shares the next.
const MOST: usize = 4;

/// The worth of some bytes to the users of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::link) enum Carried {
    /// They are about the link.
    #[default]
    Nothing,
    /// The ends of streams, and nothing else.
    Ends,
    /// Heads or bytes of users.
    Bytes,
}

/// The PINGs on their way, and how far their acknowledgements have come. Positions count the bytes that
/// HTTP/2 has handed out.
#[derive(Debug, Default)]
pub(super) struct Confirm {
    /// How many have been sent, which is the number of the last one.
    sent: u64,
    /// The number of the last that was acknowledged.
    acked: u64,
    /// The positions of the PINGs on their way, in the order of their numbers.
    behind: VecDeque<u64>,
    /// The position of the last PING that was acknowledged.
    confirmed: u64,
    /// Where the last frame ends whose loss would concern a stream.
    owed: u64,
    /// Where the last of those ends that is more than the end of a stream.
    owed_bytes: u64,
    /// How far writing had come when the last stream was over that the peer must have whole.
    whole: u64,
    /// Another must be sent as soon as it may.
    wanted: bool,
}

impl Confirm {
    /// The number of the PING whose acknowledgement says that the peer has all that is owed to it.
    pub(super) fn ask(&mut self) -> u64 {
        if self.confirmed >= self.owed {
            return self.acked;
        }
        if self.behind.back().is_some_and(|behind| *behind >= self.owed) {
            return self.sent;
        }
        self.wanted = true;
        self.sent + 1
    }

    /// Another PING must be sent, whatever is owed.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// The number of the next.
    pub(super) fn next_number(&self) -> u64 {
        self.sent + 1
    }

    /// The payload of the PING that must be sent now, behind all that was written up to `position`.
    pub(super) fn next(&mut self, position: u64) -> Option<[u8; 8]> {
        if !self.wanted || self.behind.len() == MOST {
            return None;
        }
        self.wanted = false;
        self.sent += 1;
        self.behind.push_back(position);
        Some(payload(self.sent))
    }

    /// A PING with this payload was acknowledged, and with it all that were sent before: peers answer in
    /// order.
    pub(super) fn acknowledged(&mut self, pong: [u8; 8]) {
        let answered = (self.acked + 1..=self.sent).find(|number| payload(*number) == pong);
        while answered.is_some_and(|number| self.acked < number)
            && let Some(behind) = self.behind.pop_front()
        {
            self.acked += 1;
            self.confirmed = behind;
        }
    }

    /// A write that ends at `position` carries this of streams.
    pub(super) fn owe(&mut self, position: u64, carried: Carried) {
        if carried >= Carried::Ends {
            self.owed = position;
        }
        if carried == Carried::Bytes {
            self.owed_bytes = position;
        }
    }

    /// A stream is over that the peer must have whole, and no byte of it comes behind this position.
    pub(super) fn must_be_whole(&mut self, position: u64) {
        self.whole = position;
    }

    /// The number of the last PING that was acknowledged.
    pub(super) fn last(&self) -> u64 {
        self.acked
    }

    /// Whether the peer may not have got something of a stream that it must have whole. `are_left` says that some of
    /// those are not over; otherwise what was sent after the last of them was over does not count.
    pub(super) fn owes(&self, are_left: bool) -> bool {
        self.confirmed < self.up_to(self.owed, are_left)
    }

    /// Whether that may be more than the ends of streams.
    pub(super) fn owes_bytes(&self, are_left: bool) -> bool {
        self.confirmed < self.up_to(self.owed_bytes, are_left)
    }

    fn up_to(&self, owed: u64, are_left: bool) -> u64 {
        if are_left { owed } else { owed.min(self.whole) }
    }
}

fn payload(number: u64) -> [u8; 8] {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&MARK);
    payload[4..].copy_from_slice(&(number as u32).to_be_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_confirms_what_was_written_before_it_and_no_more() {
        let mut confirm = Confirm::default();
        assert_eq!(confirm.ask(), 0, "nothing is owed yet");
        assert_eq!(confirm.next(0), None);
        confirm.owe(100, Carried::Bytes);
        assert!(confirm.owes(true));
        assert_eq!(confirm.ask(), 1);
        let first = confirm.next(120).expect("it was asked for");
        assert_eq!(confirm.next(120), None, "nobody has asked again");
        assert_eq!(confirm.ask(), 1, "the one on its way is behind all that is owed");
        confirm.owe(200, Carried::Ends);
        assert_eq!(confirm.ask(), 2);
        let second = confirm.next(200).expect("it was asked for");
        confirm.acknowledged(*b"h2conn\0\0");
        assert_eq!(confirm.last(), 0, "another's payload says nothing");
        assert!(confirm.owes_bytes(true));
        confirm.acknowledged(first);
        assert_eq!((confirm.last(), confirm.owes(true)), (1, true));
        assert!(!confirm.owes_bytes(true), "it is an end that is owed still");
        confirm.acknowledged(first);
        confirm.acknowledged(second);
        assert_eq!((confirm.last(), confirm.owes(true)), (2, false));
        assert_eq!(confirm.ask(), 2, "nothing is owed any more");
    }

    #[test]
    fn only_so_many_pings_are_on_their_way_and_an_answer_counts_for_those_before_it() {
        let mut confirm = Confirm::default();
        let mut pings = Vec::new();
        for position in 1..10 {
            confirm.owe(position, Carried::Bytes);
            confirm.ask();
            pings.extend(confirm.next(position));
        }
        assert_eq!(pings.len(), MOST);
        let number = confirm.ask();
        assert_eq!(number, MOST as u64 + 1);
        confirm.acknowledged(pings[MOST - 1]);
        assert_eq!((confirm.last(), confirm.owes(true)), (MOST as u64, true));
        let last = confirm.next(9).expect("there is room again");
        confirm.acknowledged(last);
        assert_eq!((confirm.last(), confirm.owes(true)), (number, false));
    }

    #[test]
    fn nothing_is_owed_of_streams_that_were_reset_once_they_are_over() {
        let mut confirm = Confirm::default();
        confirm.owe(100, Carried::Bytes);
        confirm.must_be_whole(100);
        confirm.owe(200, Carried::Bytes);
        confirm.owe(210, Carried::Ends);
        assert!(confirm.owes(false), "the first hundred");
        assert_eq!(confirm.ask(), 1);
        let ping = confirm.next(150).expect("it was asked for");
        confirm.acknowledged(ping);
        assert!(confirm.owes(true) && confirm.owes_bytes(true));
        assert!(!confirm.owes(false) && !confirm.owes_bytes(false));
        confirm.must_be_whole(210);
        assert!(confirm.owes(false) && confirm.owes_bytes(false));
    }
}
