//! Proofs of what the peer's HTTP/2 has received: PINGs, each behind the bytes written before it.
//!
//! The kernel takes bytes long before the peer has them, and drops them when a socket is closed
//! while the peer still sends. The acknowledgement of a PING (RFC 9113 §6.7) proves that the peer
//! has read everything before it.

use std::collections::VecDeque;

/// The beginning of these PINGs' payloads. A number follows.
const MARK: [u8; 4] = *b"h2cn";

/// The most such PINGs in flight. Further callers share the next PING.
const MOST: usize = 4;

/// The importance of some bytes for the users of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::link) enum Carried {
    /// They concern only the link.
    #[default]
    Nothing,
    /// They contain ends of streams, and nothing else of them.
    Ends,
    /// They contain heads or bytes of users.
    Bytes,
}

/// The PINGs in flight, and the progress of their acknowledgements. Positions count the bytes that
/// HTTP/2 has handed out.
#[derive(Debug, Default)]
pub(super) struct Confirm {
    /// The number of PINGs that were sent, which is also the number of the last.
    sent: u64,
    /// The number of the last PING that was acknowledged.
    acked: u64,
    /// The positions of the PINGs in flight, in the order of their numbers.
    behind: VecDeque<u64>,
    /// The position of the last PING that was acknowledged.
    confirmed: u64,
    /// The end of the last frame whose loss would concern a stream.
    owed: u64,
    /// The end of the last such frame that is more than the end of a stream.
    owed_bytes: u64,
    /// The position of writing when the last stream was over that the peer must receive in full.
    whole: u64,
    /// Another PING must be sent as soon as possible.
    wanted: bool,
}

impl Confirm {
    /// The number of the PING whose acknowledgement proves that the peer has everything owed to it.
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

    /// Requests another PING, whatever is owed.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// The number of the next PING.
    pub(super) fn next_number(&self) -> u64 {
        self.sent + 1
    }

    /// The payload of the PING that must be sent now, behind everything written up to `position`.
    pub(super) fn next(&mut self, position: u64) -> Option<[u8; 8]> {
        if !self.wanted || self.behind.len() == MOST {
            return None;
        }
        self.wanted = false;
        self.sent += 1;
        self.behind.push_back(position);
        Some(payload(self.sent))
    }

    /// A PING with this payload was acknowledged. This acknowledges all earlier PINGs too, because
    /// peers answer in order.
    pub(super) fn acknowledged(&mut self, pong: [u8; 8]) {
        let answered = (self.acked + 1..=self.sent).find(|number| payload(*number) == pong);
        while answered.is_some_and(|number| self.acked < number)
            && let Some(behind) = self.behind.pop_front()
        {
            self.acked += 1;
            self.confirmed = behind;
        }
    }

    /// A write that ends at `position` carries this content of streams.
    pub(super) fn owe(&mut self, position: u64, carried: Carried) {
        if carried >= Carried::Ends {
            self.owed = position;
        }
        if carried == Carried::Bytes {
            self.owed_bytes = position;
        }
    }

    /// A stream is over that the peer must receive in full, and all its bytes are before this
    /// position.
    pub(super) fn must_be_whole(&mut self, position: u64) {
        self.whole = position;
    }

    /// The number of the last PING that was acknowledged.
    pub(super) fn last(&self) -> u64 {
        self.acked
    }

    /// Whether the peer may lack a part of a stream that it must receive in full. `are_left` says
    /// that some of these streams are not over. Otherwise bytes that were sent after the last of
    /// them was over do not count.
    pub(super) fn owes(&self, are_left: bool) -> bool {
        self.confirmed < self.up_to(self.owed, are_left)
    }

    /// Whether the missing part may be more than the ends of streams.
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
