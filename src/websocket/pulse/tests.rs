//! The clock of a WebSocket, by paused time.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn kept_alive(gives_signs: bool) -> Pulse {
    Pulse::new(Some(KeepAlive::default()), None, gives_signs)
}

async fn next(pulse: &mut Pulse) -> Due {
    poll_fn(|cx| pulse.poll(cx).map_or(Poll::Pending, Poll::Ready)).await
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_then_given_up() {
    let (began, mut pulse) = (Instant::now(), kept_alive(true));
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    assert_eq!(began.elapsed().as_secs(), 30);
    let Due::Silent(text) = next(&mut pulse).await else { panic!("it is not silent") };
    assert_eq!(began.elapsed().as_secs(), 45);
    assert!(text.contains("45.0 s"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_byte_and_a_full_transport_that_takes_some_are_signs_of_life() {
    let mut pulse = kept_alive(true);
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    advance(10 * SECOND).await;
    // A part of a message.
    pulse.look(1, 0, false, false);
    let since = Instant::now();
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    assert_eq!(since.elapsed().as_secs(), 30);
    pulse.look(1, 10, true, true);
    advance(10 * SECOND).await;
    pulse.look(1, 20, false, true);
    let since = Instant::now();
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    assert!(matches!(next(&mut pulse).await, Due::Silent(_)));
    assert_eq!(since.elapsed().as_secs(), 45);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_buffer_takes_are_no_sign_of_life_until_all_have_left() {
    let (began, mut pulse) = (Instant::now(), kept_alive(true));
    pulse.look(0, 10, false, true);
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    pulse.look(0, 20, false, true);
    assert!(matches!(next(&mut pulse).await, Due::Silent(_)));
    assert_eq!(began.elapsed().as_secs(), 45);
    pulse.look(0, 20, false, false);
    assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
    assert_eq!(began.elapsed().as_secs(), 45 + 30);
}

#[tokio::test(start_paused = true)]
async fn a_ping_behind_much_data_has_more_time_where_no_signs_are_given() {
    for (gives_signs, seconds) in [(true, 45), (false, 45 + 128)] {
        let (began, mut pulse) = (Instant::now(), kept_alive(gives_signs));
        pulse.look(0, 1 << 20, false, false);
        assert!(matches!(next(&mut pulse).await, Due::Ping(_)));
        assert!(matches!(next(&mut pulse).await, Due::Silent(_)));
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_receives_or_cannot_read_says_that_it_is_there() {
    let (began, mut pulse) = (Instant::now(), Pulse::new(None, None, true));
    pulse.received();
    assert_eq!(next(&mut pulse).await, Due::Sign(true));
    assert_eq!(began.elapsed(), SIGN);
    pulse.cannot_read();
    assert_eq!(next(&mut pulse).await, Due::Sign(false));
    // Something else that it sends says nothing of it.
    pulse.received();
    pulse.look(0, 1, false, false);
    assert_eq!(next(&mut pulse).await, Due::Sign(true));
}

#[tokio::test(start_paused = true)]
async fn the_room_for_large_messages_is_kept_while_they_come() {
    let (began, mut pulse) = (Instant::now(), Pulse::new(None, None, true));
    pulse.keep_room();
    advance(ROOM - SECOND).await;
    pulse.keep_room();
    assert_eq!(next(&mut pulse).await, Due::Room);
    assert_eq!(began.elapsed(), 2 * ROOM - SECOND);
    assert_eq!(pulse.room, None);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_takes_longer_to_answer_than_a_ping() {
    let (began, mut pulse) = (Instant::now(), kept_alive(false));
    pulse.close();
    let Due::Silent(text) = next(&mut pulse).await else { panic!("it is not silent") };
    assert_eq!(began.elapsed().as_secs(), 45 + 120);
    assert!(text.contains("told the end"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_owes_a_proof_must_make_progress() {
    let mut pulse = Pulse::new(None, None, true);
    let (payload, number) = pulse.ask_for_proof();
    for _ in 0..5 {
        advance(20 * SECOND).await;
        pulse.progress();
    }
    let since = Instant::now();
    assert_eq!(next(&mut pulse).await, Due::Stuck);
    assert_eq!(since.elapsed(), STALL);
    assert_eq!(pulse.answered(&payload), Some(number));
    let mut poll = poll_fn(|cx| Poll::Ready(pulse.poll(cx)));
    assert_eq!((&mut poll).await, None);
}

#[tokio::test(start_paused = true)]
async fn callers_share_a_ping_and_a_pong_answers_all_before_it() {
    let mut pulse = Pulse::new(None, None, false);
    let (first, answer) = oneshot::channel();
    let payload = pulse.ask(vec![first]).expect("none is in flight");
    let (second, another) = oneshot::channel();
    assert_eq!(pulse.ask(vec![second]), None);
    advance(Duration::from_millis(20)).await;
    assert_eq!(pulse.answered(b"something else"), None);
    assert_eq!(pulse.answered(&77_u64.to_be_bytes()), None);
    let (_, number) = pulse.ask_for_proof();
    let later = pulse.ping(Vec::new());
    assert_eq!(pulse.answered(&later), Some(number));
    assert_eq!(pulse.answered(&later), None);
    for answer in [answer, another] {
        assert_eq!(answer.await.map(|time| time.as_millis()), Ok(20));
    }
    let (third, answer) = oneshot::channel();
    assert!(pulse.ask(vec![third]).is_some_and(|next| next != payload));
    pulse.end();
    assert!(answer.await.is_err());
}
