use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn link() -> Terms {
    Terms { limit: LIMIT, delivery: Delivery::Acknowledged, reset: Reason::CANCEL }
}

fn hosted() -> Terms {
    Terms { limit: LIMIT, delivery: Delivery::HandedOver, reset: Reason::NO_ERROR }
}

#[cfg(feature = "websocket")]
fn websocket() -> Terms {
    Terms { limit: LIMIT, delivery: Delivery::Asked, reset: Reason::NO_ERROR }
}

/// An event for a stream that is let go at 0 s.
#[derive(Clone, Copy)]
enum Step {
    /// The stream has come to the first position, and the transport to the second.
    Moves(u64, u64),
    /// Its own window is full.
    Blocked,
    Sent,
    Awaited,
    Refused,
    Dropped(usize),
    /// The peer answers the question with this number.
    Answer(u64),
    /// Looks after this many milliseconds, and expects this verdict.
    Look(u64, Said),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    /// Wait until this many milliseconds.
    Wait(u64),
    /// Until something happens.
    WaitForNews,
    /// Questions are numbered from 1.
    Ask,
    Stuck,
    Over(Reason, Option<ErrorKind>),
}

use Said::{Ask, Over, Stuck, Wait, WaitForNews};
use Step::{Answer, Awaited, Blocked, Dropped, Look, Moves, Refused, Sent};

fn play(terms: Terms, steps: &[Step]) -> Vec<String> {
    let start = Instant::now();
    let (mut linger, mut questions, mut texts) = (Linger::default(), 0, Vec::new());
    let mut facts = Facts { waits_for_transport: true, ..Facts::default() };
    let mut now = start;
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Moves(stream, transport) => facts.progress = Progress { stream, transport },
            Blocked => facts.waits_for_transport = false,
            Sent => facts.sent = true,
            Awaited => facts.awaited = true,
            Refused => facts.refused = true,
            Dropped(bytes) => linger.dropped(bytes),
            Answer(number) => linger.answered(now, number),
            Look(at, expected) => {
                now = start + Duration::from_millis(at);
                let said = match linger.look(now, &terms, facts) {
                    Verdict::Wait(None) => WaitForNews,
                    Verdict::Wait(Some(until)) => Wait((until - start).as_millis() as u64),
                    Verdict::Ask => {
                        questions += 1;
                        linger.asked(now, questions);
                        Ask
                    }
                    Verdict::Stuck(ending) => {
                        assert!(matches!(ending, Ending::Silent(_)));
                        texts.push(ending.to_string());
                        Stuck
                    }
                    Verdict::Over(reason, how) => {
                        texts.extend(how.as_ref().err().map(ToString::to_string));
                        if let Err(error) = &how {
                            let is_proven =
                                error.to_string().contains("has acknowledged everything");
                            assert_eq!(
                                (error.reason(), error.was_delivered()),
                                (Some(reason), is_proven)
                            );
                        }
                        Over(reason, how.err().map(|error| error.kind()))
                    }
                };
                assert_eq!(said, expected, "step {index}, at {at} ms");
            }
        }
    }
    texts
}

const CANCELLED: Said = Over(Reason::CANCEL, Some(ErrorKind::TimedOut));
const ENDED: Said = Over(Reason::NO_ERROR, Some(ErrorKind::TimedOut));

#[test]
fn a_flush_goes_on_for_as_long_as_the_peer_makes_progress() {
    for terms in [link(), hosted()] {
        play(
            terms,
            &[
                Look(0, Wait(30_000)),
                Moves(1, 0),
                Look(10_000, Wait(30_000)),
                Look(30_000, Wait(60_000)),
                Look(59_999, Wait(60_000)),
                Moves(2, 0),
                Look(60_000, Wait(90_000)),
            ],
        );
    }
}

#[test]
fn what_the_transport_takes_is_progress_of_those_who_wait_for_it_and_of_no_others() {
    play(link(), &[Look(0, Wait(30_000)), Moves(0, 1), Look(30_000, Wait(60_000))]);
    play(link(), &[Look(0, Wait(30_000)), Blocked, Moves(0, 1), Look(30_000, Ask)]);
}

#[test]
fn a_peer_that_takes_nothing_is_asked_before_it_is_given_up() {
    let stuck = play(
        link(),
        &[
            Look(0, Wait(30_000)),
            Look(30_000, Ask),
            Look(90_000, WaitForNews),
            Answer(2),
            Look(90_001, WaitForNews),
            Answer(1),
            Look(90_002, Stuck),
        ],
    );
    assert_eq!(stuck, ["the peer took nothing for 30 s of what was still to be sent"]);
    let moved = [
        Look(0, Wait(30_000)),
        Look(30_000, Ask),
        Moves(1, 0),
        Look(31_000, WaitForNews),
        Answer(1),
        Look(32_000, Wait(62_000)),
    ];
    play(link(), &moved);
}

#[test]
fn a_client_of_a_server_that_cannot_ask_is_given_up_at_once() {
    let stuck = play(hosted(), &[Look(0, Wait(30_000)), Look(30_000, Stuck)]);
    assert_eq!(stuck, ["the peer took nothing for 30 s of what was still to be sent"]);
}

#[test]
fn the_peer_has_its_time_from_the_end_or_from_when_it_has_heard_of_it() {
    let late = play(
        link(),
        &[
            Look(0, Wait(30_000)),
            Sent,
            Look(5_000, Wait(6_000)),
            Look(6_000, Ask),
            Look(6_500, WaitForNews),
            Answer(1),
            // The answer came within a second, so the peer had the end when this side sent it.
            Look(6_900, Wait(25_000)),
            Look(24_999, Wait(25_000)),
            Look(25_000, CANCELLED),
        ],
    );
    let text = "the peer has acknowledged everything, and has not ended its side within 20 s, the \
                linger_timeout of this side";
    assert_eq!(late, [text]);
    let slow = [
        Sent,
        Look(0, Wait(1_000)),
        Look(1_000, Ask),
        Look(50_000, WaitForNews),
        Answer(1),
        Look(50_000, Wait(70_000)),
        Look(70_000, CANCELLED),
    ];
    play(link(), &slow);
}

#[test]
fn where_nobody_can_ask_the_time_begins_with_the_handing_over() {
    let late = play(hosted(), &[Sent, Look(0, Wait(20_000)), Look(20_000, ENDED)]);
    let text = "everything was handed on, and the peer has not ended its side within \
                20 s, the linger_timeout of this side";
    assert_eq!(late, [text]);
}

#[cfg(feature = "websocket")]
#[test]
fn a_peer_that_need_not_answer_has_its_time_from_its_answer_or_two_minutes_more() {
    let asked = [Sent, Look(0, Wait(1_000)), Look(1_000, Ask), Look(50_000, Wait(141_000))];
    let slow = [&asked[..], &[Answer(1), Look(50_000, Wait(70_000)), Look(70_000, ENDED)]].concat();
    let late = play(websocket(), &slow);
    assert!(late[0].starts_with("the peer has acknowledged everything, and"), "{late:?}");
    let mute = play(websocket(), &[&asked[..], &[Look(141_000, ENDED)]].concat());
    let text = "the peer has neither answered a ping behind everything nor ended its side within \
                20 s, the linger_timeout of this side, and 120 s more for a slow line";
    assert_eq!(mute, [text]);
}

#[test]
fn a_user_who_waits_has_the_peer_asked_at_once() {
    play(link(), &[Awaited, Sent, Look(0, Ask), Answer(1), Look(10, Wait(20_000))]);
    play(link(), &[Sent, Look(0, Wait(1_000)), Awaited, Look(500, Ask)]);
    play(hosted(), &[Awaited, Sent, Look(0, Wait(20_000))]);
}

#[test]
fn only_bytes_that_come_after_the_peer_knows_of_the_end_count() {
    let more = MOST_DROPPED + 1;
    let flood = play(
        link(),
        &[
            Dropped(more),
            Sent,
            Look(0, Wait(1_000)),
            Dropped(more),
            Look(10, Ask),
            Dropped(more),
            Look(20, WaitForNews),
            Answer(1),
            Look(30, Wait(20_000)),
            Dropped(MOST_DROPPED),
            Look(40, Wait(20_000)),
            Dropped(1),
            Look(50, Over(Reason::CANCEL, Some(ErrorKind::Aborted))),
        ],
    );
    let text = "the peer has acknowledged everything, and goes on sending: more than 1048576 bytes \
                have come since, which nobody reads";
    assert_eq!(flood, [text]);
    let flood = play(
        hosted(),
        &[
            Dropped(more),
            Sent,
            Look(0, Wait(20_000)),
            Dropped(more),
            Look(10, Over(Reason::NO_ERROR, Some(ErrorKind::Aborted))),
        ],
    );
    let text = "everything was handed on, and the peer goes on sending: more than \
                1048576 bytes have come since, which nobody reads";
    assert_eq!(flood, [text]);
}

#[test]
fn a_refused_request_has_a_second_and_ends_well() {
    let steps = [
        Refused,
        Sent,
        Look(0, Wait(1_000)),
        Look(1_000, Ask),
        Answer(1),
        Look(1_000, Over(Reason::CANCEL, None)),
    ];
    assert!(play(link(), &steps).is_empty());
}

#[test]
fn an_answer_to_an_older_question_says_nothing_of_the_end() {
    play(
        link(),
        &[
            Look(0, Wait(30_000)),
            Look(30_000, Ask),
            Sent,
            Look(31_000, Wait(32_000)),
            Answer(1),
            Look(32_000, Ask),
            Answer(1),
            Look(33_000, WaitForNews),
            Answer(2),
            Look(33_000, Wait(53_000)),
        ],
    );
}

#[test]
fn both_ends_or_a_failure_with_nothing_to_wait_for_end_a_stream() {
    let failed = || Err(Error::new(ErrorKind::Reset, "failed"));
    let kind = |end: Option<Result<(), Error>>| end.map(|how| how.map_err(|error| error.kind()));
    for (received_end, sent, closing, failure, expected) in [
        (false, false, false, Ok(()), None),
        (false, true, true, Ok(()), None),
        (true, false, true, Ok(()), None),
        (true, true, false, Ok(()), Some(Ok(()))),
        (true, true, false, failed(), Some(Ok(()))),
        (true, false, false, failed(), Some(Err(ErrorKind::Reset))),
        (false, false, true, failed(), Some(Err(ErrorKind::Reset))),
        // The user may still read the received bytes.
        (false, false, false, failed(), None),
    ] {
        assert_eq!(kind(ended(received_end, sent, closing, failure)), expected);
    }
}
