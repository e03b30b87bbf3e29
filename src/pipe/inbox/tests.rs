use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::sync::Woken;

fn inbox() -> (Inbox, Arc<Woken>) {
    let mover = Arc::new(Woken::default());
    (Inbox::new(Arc::default(), Arc::clone(&mover) as _), mover)
}

fn read(inbox: &Inbox, most: usize) -> Poll<Result<Vec<u8>, Error>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = vec![0; most];
    let mut buf = ReadBuf::new(&mut bytes);
    inbox.poll_read(&mut cx, &mut buf).map_ok(|()| buf.filled().to_vec())
}

#[test]
fn bytes_come_before_the_end_and_the_end_stays() {
    let (inbox, _) = inbox();
    assert!(read(&inbox, 4).is_pending());
    inbox.push(b"hello");
    inbox.finish(Err(Error::new(ErrorKind::Reset, "gone")));
    inbox.finish(Ok(()));
    assert!(matches!(read(&inbox, 4), Poll::Ready(Ok(b)) if b == b"hell"));
    assert!(matches!(read(&inbox, 4), Poll::Ready(Ok(b)) if b == b"o"));
    for _ in 0..3 {
        assert!(matches!(read(&inbox, 4), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Reset));
    }
}

#[test]
fn an_empty_buffer_reads_nothing_and_is_no_end() {
    let (inbox, _) = inbox();
    assert!(matches!(read(&inbox, 0), Poll::Ready(Ok(b)) if b.is_empty()));
}

#[test]
fn all_readers_are_woken_by_bytes_and_by_the_end() {
    let (inbox, _) = inbox();
    let readers: Vec<_> = (0..3).map(|_| Woken::new()).collect();
    for wake in 1..=2 {
        for (_, waker) in &readers {
            let mut buf = [0; 1];
            let mut buf = ReadBuf::new(&mut buf);
            let poll = inbox.poll_read(&mut Context::from_waker(waker), &mut buf);
            assert!(poll.is_pending());
        }
        match wake {
            1 => {
                inbox.push(b"x");
                assert!(matches!(read(&inbox, 1), Poll::Ready(Ok(_))));
            }
            _ => inbox.finish(Ok(())),
        }
        assert!(readers.iter().all(|(reader, _)| reader.count() == wake));
    }
}

#[test]
fn readers_can_be_woken_to_look_at_something_else() {
    let (inbox, _) = inbox();
    let (reader, waker) = Woken::new();
    assert!(inbox.poll_chunk(&mut Context::from_waker(&waker)).is_pending());
    inbox.wake_readers();
    inbox.wake_readers();
    assert_eq!(reader.count(), 1);
    assert!(read(&inbox, 1).is_pending(), "nothing has come");
}

#[test]
fn it_is_complete_with_its_end_and_not_with_an_error() {
    let (whole, _) = inbox();
    whole.push(b"x");
    assert!(!whole.is_complete());
    whole.finish(Ok(()));
    assert!(whole.is_complete());
    let (cut, _) = inbox();
    cut.finish(Err(Error::new(ErrorKind::Reset, "gone")));
    assert!(!cut.is_complete());
}

#[test]
fn the_mover_is_woken_at_the_threshold_and_told_every_byte_once() {
    let (inbox, mover) = inbox();
    inbox.set_threshold(4);
    inbox.push(b"abcdefgh");
    let _ = read(&inbox, 3);
    assert_eq!(mover.count(), 0);
    let _ = read(&inbox, 1);
    assert_eq!(mover.count(), 1);
    assert_eq!((inbox.take_consumed(), inbox.take_consumed()), (4, 0));
    inbox.discard();
    assert_eq!(inbox.take_consumed(), 4);
    inbox.push(b"ij");
    assert_eq!((inbox.len(), inbox.take_consumed()), (0, 2));
}

#[test]
fn an_abort_drops_the_bytes_and_gives_their_window_back() {
    let (inbox, mover) = inbox();
    inbox.push(b"abc");
    inbox.abort(Error::new(ErrorKind::Aborted, "closed here"));
    assert!(matches!(read(&inbox, 9), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Aborted));
    assert_eq!((inbox.take_consumed(), mover.count()), (3, 1));
}

#[test]
fn small_chunks_share_runs_of_up_to_64_kib() {
    let (inbox, _) = inbox();
    for _ in 0..5 {
        inbox.push(&vec![1; 16 << 10]);
    }
    assert_eq!(inbox.len(), 80 << 10);
    let mut cx = Context::from_waker(Waker::noop());
    for expected in [64 << 10, 16 << 10] {
        let Poll::Ready(Ok(Some(run))) = inbox.poll_chunk(&mut cx) else { panic!("no run") };
        assert_eq!(run.len(), expected);
    }
    assert_eq!(inbox.len(), 0);
}

/// The memory of the queue's buffers, and whether each is a recycled one.
fn memory(inbox: &Inbox) -> (usize, Vec<bool>) {
    let state = lock(&inbox.state);
    let capacities = state.chunks.iter().map(|chunk| match chunk {
        Chunk::Own { buffer, .. } => buffer.capacity(),
        Chunk::Shared(bytes) => bytes.len(),
    });
    let capacities: Vec<_> = capacities.collect();
    (capacities.iter().sum(), capacities.iter().map(|capacity| *capacity == BUFFER).collect())
}

#[test]
fn an_idle_queue_keeps_little_memory_and_does_not_allocate_for_each_message() {
    let (inbox, _) = inbox();
    for _ in 0..3 {
        inbox.push(&[1; 100]);
        let _ = read(&inbox, 100);
        assert!((100..=IDLE).contains(&memory(&inbox).0), "{:?}", memory(&inbox));
    }
    inbox.push(&vec![1; 30_000]);
    let _ = read(&inbox, 30_000);
    assert_eq!(memory(&inbox).0, 0);
    assert!(matches!(read(&inbox, 1), Poll::Pending));
}

#[test]
fn large_chunks_go_into_recycled_buffers_and_small_ones_into_one_that_fits() {
    let (inbox, _) = inbox();
    for byte in 0..10 {
        inbox.push(&[byte]);
    }
    assert_eq!(memory(&inbox).1, [false]);
    inbox.push(&vec![7; BUFFER]);
    assert_eq!(memory(&inbox).1, [true, false], "what had come goes with it");
    let mut all: Vec<u8> = (0..10).collect();
    all.extend([7; BUFFER]);
    assert!(matches!(read(&inbox, 2 * BUFFER), Poll::Ready(Ok(bytes)) if bytes == all));
    assert!(memory(&inbox).0 <= IDLE, "the large one is the link's again");
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        sizes in proptest::collection::vec(0_usize..100_000, 0..20),
        reads in proptest::collection::vec(1_usize..150_000, 1..20),
    ) {
        let (inbox, _) = inbox();
        let mut sent = Vec::new();
        for (index, size) in sizes.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|at| (at ^ index) as u8).collect();
            sent.extend_from_slice(&bytes);
            inbox.push(&bytes);
            prop_assert!(memory(&inbox).0 <= 2 * sent.len().max(IDLE), "{:?}", memory(&inbox));
        }
        inbox.finish(Ok(()));
        let mut got = Vec::new();
        for most in reads.iter().cycle() {
            let Poll::Ready(Ok(bytes)) = read(&inbox, *most) else { panic!("blocked") };
            if bytes.is_empty() {
                break;
            }
            got.extend_from_slice(&bytes);
        }
        prop_assert!(got == sent);
        prop_assert_eq!(inbox.take_consumed(), sent.len());
    }
}
