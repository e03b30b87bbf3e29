use super::*;

pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let mut bytes = vec![(len >> 16) as u8, (len >> 8) as u8, len as u8, kind, flags];
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

#[test]
fn frames_are_seen_wherever_the_bytes_are_cut() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, &[0; 18]));
    bytes.extend(frame(0, 0, &[9; 3]));
    bytes.extend(frame(0, 0, &[9; 70_000]));
    bytes.extend(frame(0, 1, &[]));
    bytes.extend(frame(7, 0, b"12345678too many"));
    for cut in [1, 2, 7, 9, 1000, bytes.len()] {
        let mut log = FrameLog::new(true);
        for piece in bytes.chunks(cut) {
            log.feed(piece);
        }
        assert_eq!((log.frames, log.tiny()), (5, 1), "cut at {cut}");
        assert!(log.seen_settings() && log.seen_goaway() && log.abuse().is_none());
        assert_eq!(log.goaway_text(), "too many");
        assert_eq!(log.goaway_error(), Some(u32::from_be_bytes(*b"5678")));
        log.feed(&frame(7, 0, &[b'x'; 1000]));
        assert_eq!(log.goaway_text(), "x".repeat(256));
        log.feed(&frame(7, 0, &[0; 8]));
        assert_eq!((log.goaway_text(), log.goaway_error()), (String::new(), None));
    }
}

#[test]
fn pongs_pings_and_resets_are_read_wherever_the_bytes_are_cut() {
    let mut bytes = frame(6, 1, b"pong one");
    bytes.extend(frame(6, 0, b"asked\0\0\0"));
    bytes.extend(frame(3, 0, &[0; 4]));
    bytes.extend(frame(0, 0, &frame(3, 0, &8_u32.to_be_bytes())));
    bytes.extend(frame(6, 1, b"pong two"));
    for cut in 1..bytes.len() {
        let mut log = FrameLog::new(false);
        log.answer_pings();
        for piece in bytes.chunks(cut) {
            log.feed(piece);
        }
        let pongs: Vec<_> = log.pongs().collect();
        assert_eq!(pongs, [*b"pong one", *b"pong two"], "cut at {cut}");
        assert_eq!((log.pongs().count(), log.take_pings()), (0, vec![*b"asked\0\0\0"]));
        assert_eq!(log.reset_of(1), None, "NO_ERROR is none, nor is a payload a frame");
        log.feed(&frame(3, 0, &8_u32.to_be_bytes()));
        assert_eq!((log.reset_of(1), log.reset_of(3)), (None, None), "the first counts");
        let mut other = FrameLog::new(false);
        other.feed(&frame(3, 0, &8_u32.to_be_bytes()));
        other.feed(&frame(3, 0, &[0; 4]));
        assert_eq!(other.reset_of(1), Some(8));
    }
}

#[test]
fn only_so_many_resets_are_remembered() {
    let mut log = FrameLog::new(false);
    for _ in 0..3 * RESETS {
        log.feed(&frame(3, 0, &8_u32.to_be_bytes()));
    }
    assert_eq!(log.take_resets().len(), RESETS);
}

#[test]
fn settings_are_there_with_their_last_byte() {
    for payload in [&[][..], &[0; 6], &[0; 18]] {
        let mut log = FrameLog::new(false);
        log.feed(&frame(4, 1, &[]));
        assert!(log.seen_settings() && !log.has_settings(), "an acknowledgement is none");
        let settings = frame(4, 0, payload);
        let (last, before) = settings.split_last().expect("a frame is not empty");
        for byte in before {
            log.feed(&[*byte]);
            assert!(!log.has_settings());
        }
        log.feed(&[*last]);
        assert!(log.has_settings());
        log.feed(&frame(0, 0, &[9; 3]));
        assert!(log.has_settings());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_noticed_and_the_same_number_over_time_is_not() {
    let ping = frame(6, 0, &[0; 8]);
    let mut flood = FrameLog::new(false);
    for _ in 0..10_001 {
        flood.feed(&ping);
    }
    assert_eq!(flood.abuse(), Some("PING frames"));
    let mut slow = FrameLog::new(false);
    for _ in 0..100_000 {
        slow.feed(&ping);
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(slow.abuse(), None);
    let mut busy = FrameLog::new(false);
    for _ in 0..100_000 {
        busy.asked(1);
        busy.feed(&ping);
    }
    assert_eq!(busy.abuse(), None, "one behind each request is honest");
}

#[test]
fn acknowledgements_are_not_counted_and_window_updates_go_with_what_was_sent() {
    let mut log = FrameLog::new(false);
    for _ in 0..100_000 {
        log.feed(&frame(6, 1, &[0; 8]));
        log.sent(1);
        log.feed(&frame(8, 0, &[0; 4]));
        log.feed(&frame(8, 0, &[0; 4]));
    }
    assert_eq!(log.abuse(), None);
}

#[test]
fn answers_that_are_due_are_no_flood_and_others_are() {
    let mut log = FrameLog::new(false);
    log.asked(10_000);
    let answer = frame(1, 4, &[0x88]);
    for _ in 0..20_000 {
        log.feed(&answer);
    }
    assert_eq!(log.abuse(), None);
    for _ in 0..1_001 {
        log.feed(&answer);
    }
    assert_eq!(log.abuse(), Some("HEADERS frames"));
    let mut log = FrameLog::new(true);
    log.feed(PREFACE);
    for _ in 0..100_000 {
        log.feed(&answer);
    }
    assert_eq!(log.abuse(), None, "a client may open streams");
    assert_eq!(log.last_stream(), 1);
}
