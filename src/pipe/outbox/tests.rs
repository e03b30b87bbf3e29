use std::sync::atomic::Ordering::SeqCst;
use std::task::{Wake, Waker};

use bytes::Buf;
use proptest::prelude::*;

use super::*;
use crate::pipe::buffers::Batch;
use crate::sync::{AtomicUsize, Woken};

/// A mover that counts its calls, also for the tests of the inbox.
impl Mover for Woken {
    fn written(self: Arc<Self>) {
        self.wake();
    }

    fn read(self: Arc<Self>) {
        self.wake();
    }
}

fn outbox(capacity: usize) -> (Outbox, Arc<Woken>) {
    let mover = Arc::new(Woken::default());
    (Outbox::new(capacity, Arc::default(), Arc::clone(&mover) as _), mover)
}

fn write(outbox: &Outbox, bytes: &[u8]) -> Poll<Result<usize, Error>> {
    outbox.poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

fn sent(outbox: &Outbox, position: u64) -> Poll<Result<(), Error>> {
    outbox.poll_sent(&mut Context::from_waker(Waker::noop()), position)
}

/// Whether everything that was taken is on the transport.
fn is_taken_sent(outbox: &Outbox) -> bool {
    outbox.settle_up_to(|_| 0)
}

fn drain(batch: &mut Batch<'_>) -> Vec<u8> {
    let n = batch.remaining();
    batch.copy_to_bytes(n).to_vec()
}

#[test]
fn a_full_queue_blocks_until_its_bytes_are_taken() {
    let (outbox, mover) = outbox(8);
    assert!(matches!(write(&outbox, b"0123456789"), Poll::Ready(Ok(8))));
    assert!(write(&outbox, b"x").is_pending());
    let (waiter, waker) = Woken::new();
    assert!(outbox.poll_write(&mut Context::from_waker(&waker), b"x").is_pending());
    let mut batch = outbox.take(100).batch.expect("bytes are queued");
    assert_eq!(drain(&mut batch), b"01234567");
    assert_eq!(waiter.count(), 0, "not before the mover has seen to its bytes");
    assert_eq!(outbox.settle(), 8);
    assert_eq!(waiter.count(), 1);
    assert!(matches!(write(&outbox, b"x"), Poll::Ready(Ok(1))));
    assert_eq!(mover.count(), 2, "woken when bytes meet an empty queue, not else");
}

#[test]
fn an_empty_write_takes_nothing_even_when_full() {
    let (outbox, mover) = outbox(1);
    assert!(matches!(write(&outbox, b""), Poll::Ready(Ok(0))));
    assert_eq!(mover.count(), 0);
    assert!(matches!(write(&outbox, b"ab"), Poll::Ready(Ok(1))));
    assert!(matches!(write(&outbox, b""), Poll::Ready(Ok(0))));
}

#[test]
fn slices_are_taken_in_order_and_no_more_of_them_than_there_is_room() {
    let (outbox, _) = outbox(7);
    let slices = [b"abc", b"def", b"ghi"].map(|slice| IoSlice::new(slice));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(outbox.poll_write_vectored(&mut cx, &slices), Poll::Ready(Ok(7))));
    let mut batch = outbox.take(100).batch.expect("bytes are queued");
    assert_eq!(drain(&mut batch), b"abcdefg");
}

#[test]
fn a_small_chunk_is_not_copied_when_nothing_waits_and_no_large_buffer_follows_it() {
    let (outbox, _) = outbox(1 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = Bytes::from(vec![1; 64]);
    let address = first.as_ptr();
    assert!(matches!(outbox.poll_write_chunk(&mut cx, &mut first), Poll::Ready(Ok(()))));
    let mut second = Bytes::from(vec![2; 64]);
    assert!(matches!(outbox.poll_write_chunk(&mut cx, &mut second), Poll::Ready(Ok(()))));
    assert!(matches!(write(&outbox, &[3; 64]), Poll::Ready(Ok(64))));
    let own = match lock(&outbox.state).chunks.back_mut() {
        Some(Chunk::Own { buffer, .. }) => buffer.capacity(),
        other => panic!("{other:?}"),
    };
    assert!(own <= SMALL, "{own} bytes for two messages of 64");
    let batch = outbox.take(usize::MAX).batch.expect("bytes");
    let mut slices = [IoSlice::new(&[]); 4];
    assert_eq!(batch.chunks_vectored(&mut slices), 2);
    assert_eq!((slices[0].as_ptr(), slices[1].len()), (address, 128));
}

#[test]
fn a_chunk_wakes_the_mover_when_it_meets_an_empty_queue() {
    let (outbox, mover) = outbox(100);
    let mut cx = Context::from_waker(Waker::noop());
    for (size, woken) in [(10, 1), (10, 1)] {
        let mut chunk = Bytes::from(vec![1; size]);
        assert!(matches!(outbox.poll_write_chunk(&mut cx, &mut chunk), Poll::Ready(Ok(()))));
        assert_eq!(mover.count(), woken);
    }
    assert_eq!(outbox.position(), 20);
}

#[test]
fn the_end_goes_with_the_last_bytes_and_is_counted_like_one() {
    let (outbox, _) = outbox(100);
    assert!(matches!(write(&outbox, b"abcd"), Poll::Ready(Ok(4))));
    outbox.finish();
    assert!(matches!(write(&outbox, b"e"), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Closed));
    assert_eq!(outbox.position(), 5);
    let first = outbox.take(3);
    assert_eq!((first.left, first.batch.as_ref().map(Batch::is_end)), (1, Some(false)));
    let last = outbox.take(3);
    assert_eq!((last.left, last.batch.as_ref().map(Batch::is_end)), (0, Some(true)));
    assert!(outbox.take(3).batch.is_none());
    assert_eq!(outbox.settle(), 5);
    assert!(sent(&outbox, 5).is_pending());
    assert!(!outbox.is_sent());
    outbox.mark_sent(4);
    assert!(!outbox.has_unsent_bytes());
    assert!(matches!(sent(&outbox, 4), Poll::Ready(Ok(()))));
    assert!(sent(&outbox, 5).is_pending());
    outbox.mark_sent(5);
    assert!(matches!(sent(&outbox, 5), Poll::Ready(Ok(()))) && outbox.is_sent());
}

#[test]
fn the_end_of_nothing_is_a_batch_without_bytes() {
    let (outbox, mover) = outbox(100);
    assert!(outbox.take(100).batch.is_none());
    outbox.finish();
    outbox.finish();
    assert_eq!(mover.count(), 1);
    let batch = outbox.take(0).batch.expect("the end");
    assert!(batch.is_end() && batch.remaining() == 0);
}

#[test]
fn a_shutdown_after_a_close_does_not_change_what_writes_fail_with() {
    let (outbox, _) = outbox(8);
    let kind = || match write(&outbox, b"x") {
        Poll::Ready(Err(error)) => Some(error.kind()),
        _ => None,
    };
    outbox.finish();
    assert_eq!(kind(), Some(ErrorKind::Closed));
    outbox.finish_with(Error::new(ErrorKind::Aborted, "closed here"));
    assert_eq!(kind(), Some(ErrorKind::Aborted));
    outbox.finish();
    assert_eq!(kind(), Some(ErrorKind::Aborted));
}

#[test]
fn a_failure_is_sticky_and_wakes_everyone() {
    let (outbox, _) = outbox(4);
    let _ = write(&outbox, b"abcd");
    let (waiter, waker) = Woken::new();
    let mut cx = Context::from_waker(&waker);
    assert!(outbox.poll_write(&mut cx, b"x").is_pending());
    assert!(outbox.poll_sent(&mut cx, 4).is_pending());
    outbox.fail(Error::new(ErrorKind::Reset, "gone"));
    outbox.fail(Error::new(ErrorKind::Closed, "later"));
    assert_eq!(waiter.count(), 2);
    for _ in 0..2 {
        assert!(
            matches!(write(&outbox, b"x"), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Reset)
        );
        assert!(matches!(sent(&outbox, 4), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Reset));
    }
    assert!(outbox.take(9).batch.is_none());
}

#[test]
fn small_writes_share_a_buffer_and_a_large_chunk_is_not_copied() {
    let (outbox, _) = outbox(1 << 20);
    for _ in 0..1000 {
        let _ = write(&outbox, &[1; 64]);
    }
    let mut large = Bytes::from(vec![2; 100_000]);
    let address = large.as_ptr();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(outbox.poll_write_chunk(&mut cx, &mut large), Poll::Ready(Ok(()))));
    let batch = outbox.take(usize::MAX).batch.expect("bytes");
    let mut slices = [IoSlice::new(&[]); 16];
    let n = batch.chunks_vectored(&mut slices);
    assert!(n <= 3, "{n} slices for 64,000 bytes in small writes and one chunk");
    assert_eq!(slices[n - 1].as_ptr(), address);
}

#[test]
fn a_run_says_where_it_ends_and_is_sent_when_its_taker_says_so() {
    let (outbox, _) = outbox(100_000);
    assert!(outbox.take_run(10).bytes.is_none());
    let large = vec![5; 70_000];
    assert!(matches!(write(&outbox, &large), Poll::Ready(Ok(70_000))));
    let (waiter, waker) = Woken::new();
    let mut cx = Context::from_waker(&waker);
    assert!(outbox.poll_sent(&mut cx, 70_000).is_pending());

    let run = outbox.take_run(usize::MAX);
    let first = run.bytes.expect("bytes are queued");
    assert_eq!((first.len(), run.end), (BUFFER, false), "the first buffer, whole");
    assert!(sent(&outbox, BUFFER as u64).is_pending());
    outbox.mark_sent(run.position);
    assert_eq!(waiter.count(), 1, "to look again");
    assert!(matches!(sent(&outbox, BUFFER as u64), Poll::Ready(Ok(()))));
    assert!(sent(&outbox, 70_000).is_pending());

    outbox.finish();
    let run = outbox.take_run(100);
    assert_eq!((run.bytes.map(|bytes| bytes.len()), run.end), (Some(100), false));
    let run = outbox.take_run(usize::MAX);
    assert_eq!((run.bytes.map(|bytes| bytes.len()), run.end), (Some(4_364), true));
    assert!(!outbox.is_sent());
    outbox.mark_sent(run.position);
    assert!(outbox.is_sent() && is_taken_sent(&outbox));
    assert!(matches!(sent(&outbox, outbox.position()), Poll::Ready(Ok(()))), "with the end");
    let run = outbox.take_run(usize::MAX);
    assert!(run.bytes.is_none() && !run.end, "the end is given once");
}

#[test]
fn a_run_makes_room_for_writers_and_there_is_none_after_a_failure() {
    let (outbox, _) = outbox(4);
    let _ = write(&outbox, b"abcd");
    let (waiter, waker) = Woken::new();
    assert!(outbox.poll_write(&mut Context::from_waker(&waker), b"x").is_pending());
    let run = outbox.take_run(9);
    assert_eq!(run.bytes.as_deref(), Some(&b"abcd"[..]));
    assert_eq!(waiter.count(), 1);
    assert!(matches!(write(&outbox, b"efgh"), Poll::Ready(Ok(4))));
    outbox.fail(Error::new(ErrorKind::Reset, "gone"));
    outbox.finish();
    let run = outbox.take_run(9);
    assert!(run.bytes.is_none() && !run.end);
}

#[test]
fn those_who_wait_can_be_woken_to_look_at_something_else() {
    let (outbox, _) = outbox(1);
    let _ = write(&outbox, b"a");
    let [(writer, to_writer), (flusher, to_flusher)] = [Woken::new(), Woken::new()];
    assert!(outbox.poll_write(&mut Context::from_waker(&to_writer), b"x").is_pending());
    assert!(outbox.poll_sent(&mut Context::from_waker(&to_flusher), 1).is_pending());
    outbox.wake_writers();
    outbox.wake_writers();
    assert_eq!((writer.count(), flusher.count()), (1, 1));
}

#[test]
fn what_waits_and_what_is_left_is_told() {
    let (outbox, _) = outbox(10);
    assert_eq!(outbox.pending(), (0, false));
    assert!(outbox.check().is_ok() && !outbox.is_finishing() && !outbox.is_sent());
    let _ = write(&outbox, b"abc");
    assert!(outbox.has_unsent_bytes() && is_taken_sent(&outbox));
    outbox.finish();
    assert_eq!((outbox.pending(), outbox.is_finishing()), ((3, true), true));
    let batch = outbox.take(9).batch.expect("bytes and the end");
    assert_eq!(outbox.pending(), (0, false), "the end is taken");
    assert!(!is_taken_sent(&outbox));
    drop(batch);
    outbox.mark_sent(outbox.settle());
    outbox.mark_sent(1);
    assert!(outbox.is_sent() && !outbox.has_unsent_bytes(), "a position never goes back");
    outbox.fail(Error::new(ErrorKind::Reset, "gone"));
    assert!(outbox.check().is_err());
    assert!(matches!(sent(&outbox, 4), Poll::Ready(Ok(()))), "what was sent, was sent");
}

#[test]
fn writers_are_woken_when_a_third_of_the_room_is_free() {
    let (outbox, _) = outbox(9);
    let _ = write(&outbox, b"123456789");
    let (waiter, waker) = Woken::new();
    assert!(outbox.poll_write(&mut Context::from_waker(&waker), b"x").is_pending());
    drop(outbox.take(2).batch);
    outbox.settle();
    assert_eq!(waiter.count(), 0);
    drop(outbox.take(1).batch);
    outbox.settle();
    assert_eq!(waiter.count(), 1);
}

proptest! {
    #[test]
    fn what_is_written_is_taken(
        writes in proptest::collection::vec((0_usize..90_000, any::<bool>()), 0..20),
        takes in proptest::collection::vec(1_usize..100_000, 1..10),
    ) {
        let (outbox, _) = outbox(200_000);
        let (mut written, mut got) = (Vec::new(), Vec::new());
        let mut takes = takes.iter().cycle();
        for (size, chunk) in writes {
            let bytes: Vec<u8> = (0..size).map(|at| (at ^ size) as u8).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let accepted = if chunk {
                let mut whole = Bytes::from(bytes.clone());
                outbox.poll_write_chunk(&mut cx, &mut whole).map_ok(|()| bytes.len())
            } else {
                outbox.poll_write(&mut cx, &bytes)
            };
            match accepted {
                Poll::Ready(Ok(n)) => written.extend_from_slice(&bytes[..n]),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => {
                    let most = *takes.next().expect("endless");
                    let mut taken = outbox.take(most).batch.expect("it is full");
                    prop_assert!(taken.remaining() <= most);
                    got.extend(drain(&mut taken));
                }
            }
        }
        outbox.finish();
        while let Some(mut batch) = outbox.take(*takes.next().expect("endless")).batch {
            got.extend(drain(&mut batch));
        }
        prop_assert!(got == written);
        prop_assert_eq!(outbox.settle(), written.len() as u64 + 1);
    }
}

/// A mover whose transport takes up to `room` bytes at once.
#[derive(Debug, Default)]
struct Straight {
    room: AtomicUsize,
    outbox: Mutex<Option<Arc<Outbox>>>,
    taken: Mutex<Vec<u8>>,
}

impl Mover for Straight {
    fn written(self: Arc<Self>) {}

    fn write_through(self: Arc<Self>, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room.load(SeqCst));
        let passes = lock(&self.outbox).as_ref().is_some_and(|outbox| outbox.pass(n));
        let n = if passes { n } else { 0 };
        lock(&self.taken).extend_from_slice(&bytes[..n]);
        n
    }

    fn read(self: Arc<Self>) {}
}

#[test]
fn many_bytes_go_past_a_queue_that_is_empty_and_stay_in_order() {
    let mover = Arc::new(Straight::default());
    let outbox = Arc::new(Outbox::new(1 << 20, Arc::default(), Arc::clone(&mover) as _));
    *lock(&mover.outbox) = Some(Arc::clone(&outbox));
    let bytes: Vec<u8> = (0..LARGE + 100).map(|n| n as u8).collect();
    let written = |bytes: &[u8]| match write(&outbox, bytes) {
        Poll::Ready(Ok(n)) => n,
        other => panic!("{other:?}"),
    };

    mover.room.store(LARGE, SeqCst);
    assert_eq!(written(&bytes), LARGE, "as many as the transport takes");
    assert_eq!((outbox.position(), outbox.pending()), (LARGE as u64, (0, false)));
    assert!(outbox.has_unsent_bytes() && !is_taken_sent(&outbox));
    outbox.mark_sent(LARGE as u64);
    assert_eq!(outbox.progress(), (LARGE as u64, LARGE as u64));

    assert_eq!(written(&bytes[..LARGE - 1]), LARGE - 1);
    assert_eq!(outbox.pending().0, LARGE - 1, "few are queued, to be gathered");
    assert_eq!(written(&bytes), bytes.len());
    assert_eq!(outbox.pending().0, LARGE - 1 + bytes.len(), "behind what is queued");
    assert_eq!(lock(&mover.taken)[..], bytes[..LARGE]);
    drop(outbox.take(usize::MAX));

    mover.room.store(0, SeqCst);
    assert_eq!(written(&bytes), bytes.len());
    assert_eq!(outbox.pending().0, bytes.len(), "the transport takes none");
    drop(outbox.take(usize::MAX));

    mover.room.store(usize::MAX, SeqCst);
    outbox.finish();
    let refused = write(&outbox, &bytes);
    assert!(matches!(refused, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Closed));
    assert!(!outbox.pass(1), "nothing follows the end");
    *lock(&mover.outbox) = None;
}
