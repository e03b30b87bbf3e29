use std::sync::atomic::Ordering::SeqCst;
use std::task::Wake;

use bytes::Buf;
use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn outbox(capacity: usize) -> (Outbox, Arc<Count>) {
    let mover = Arc::new(Count::default());
    (Outbox::new(capacity, Arc::default(), Waker::from(Arc::clone(&mover))), mover)
}

fn write(outbox: &Outbox, bytes: &[u8]) -> Poll<Result<usize, Error>> {
    outbox.poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

fn sent(outbox: &Outbox, position: u64) -> Poll<Result<(), Error>> {
    outbox.poll_sent(&mut Context::from_waker(Waker::noop()), position)
}

fn drain(batch: &mut Batch) -> Vec<u8> {
    let n = batch.remaining();
    batch.copy_to_bytes(n).to_vec()
}

#[test]
fn a_full_queue_blocks_until_http2_lets_go() {
    let (outbox, mover) = outbox(8);
    assert!(matches!(write(&outbox, b"0123456789"), Poll::Ready(Ok(8))));
    assert!(write(&outbox, b"x").is_pending());
    let waiter = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&waiter));
    assert!(outbox.poll_write(&mut Context::from_waker(&waker), b"x").is_pending());
    let mut batch = outbox.take(100).batch.expect("bytes are queued");
    assert_eq!(outbox.settle(), 0);
    assert_eq!(waiter.0.load(SeqCst), 0, "taken is not yet let go");
    assert_eq!(drain(&mut batch), b"01234567");
    assert_eq!(outbox.settle(), 8);
    assert_eq!(waiter.0.load(SeqCst), 1);
    assert!(matches!(write(&outbox, b"x"), Poll::Ready(Ok(1))));
    assert_eq!(mover.0.load(SeqCst), 2, "woken when bytes meet an empty queue, not else");
}

#[test]
fn an_empty_write_takes_nothing_even_when_full() {
    let (outbox, mover) = outbox(1);
    assert!(matches!(write(&outbox, b""), Poll::Ready(Ok(0))));
    assert_eq!(mover.0.load(SeqCst), 0);
    assert!(matches!(write(&outbox, b"ab"), Poll::Ready(Ok(1))));
    assert!(matches!(write(&outbox, b""), Poll::Ready(Ok(0))));
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
    drop(first);
    assert_eq!(outbox.settle(), 3);
    drop(last);
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
    assert_eq!(mover.0.load(SeqCst), 1);
    let batch = outbox.take(0).batch.expect("the end");
    assert!(batch.is_end() && batch.remaining() == 0);
}

#[test]
fn a_failure_is_sticky_and_wakes_everyone() {
    let (outbox, _) = outbox(4);
    let _ = write(&outbox, b"abcd");
    let waiter = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&waiter));
    let mut cx = Context::from_waker(&waker);
    assert!(outbox.poll_write(&mut cx, b"x").is_pending());
    assert!(outbox.poll_sent(&mut cx, 4).is_pending());
    outbox.fail(Error::new(ErrorKind::Reset, "gone"));
    outbox.fail(Error::new(ErrorKind::Closed, "later"));
    assert_eq!(waiter.0.load(SeqCst), 2);
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
    let large = Bytes::from(vec![2; 100_000]);
    let address = large.as_ptr();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(outbox.poll_write_chunk(&mut cx, &large), Poll::Ready(Ok(()))));
    let batch = outbox.take(usize::MAX).batch.expect("bytes");
    let mut slices = [IoSlice::new(&[]); 16];
    let n = batch.chunks_vectored(&mut slices);
    assert!(n <= 3, "{n} slices for 64,000 bytes in small writes and one chunk");
    assert_eq!(slices[n - 1].as_ptr(), address);
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
                let whole = Bytes::from(bytes.clone());
                outbox.poll_write_chunk(&mut cx, &whole).map_ok(|()| bytes.len())
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
