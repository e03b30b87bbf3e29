//! The user's tasks and the mover meet at the queues in every order. loom reports a task that waits
//! for an event that has already happened as a deadlock.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Wake, Waker};

use bytes::{Buf, Bytes};
use loom::future::block_on;

use super::buffers::BUFFER;
use super::{Buffers, Inbox, Mover, Outbox};
use crate::error::{Error, ErrorKind};
use crate::sync::model::{Bell, explore, spawn};

impl Mover for Bell {
    fn written(self: Arc<Self>) {
        self.wake();
    }

    fn read(self: Arc<Self>) {
        self.wake();
    }
}

fn outbox(capacity: usize) -> (Arc<Outbox>, Arc<Bell>, Arc<Buffers>) {
    let (bell, buffers): (Arc<Bell>, Arc<Buffers>) = Default::default();
    let outbox = Outbox::new(capacity, Arc::clone(&buffers), Arc::clone(&bell) as _);
    (Arc::new(outbox), bell, buffers)
}

fn inbox() -> (Arc<Inbox>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    (Arc::new(Inbox::new(Arc::default(), Arc::clone(&bell) as _)), bell)
}

fn gone() -> Error {
    Error::new(ErrorKind::Reset, "gone")
}

type Result<T> = std::result::Result<T, ErrorKind>;

async fn write(outbox: &Outbox, bytes: &[u8]) -> Result<usize> {
    poll_fn(|cx| outbox.poll_write(cx, bytes)).await.map_err(|error| error.kind())
}

async fn sent(outbox: &Outbox, position: u64) -> Result<()> {
    poll_fn(|cx| outbox.poll_sent(cx, position)).await.map_err(|error| error.kind())
}

async fn read(inbox: &Inbox) -> Result<Option<Bytes>> {
    poll_fn(|cx| inbox.poll_chunk(cx)).await.map_err(|error| error.kind())
}

/// Sends everything until the end, like a driver whose transport takes everything.
async fn send_all(outbox: &Outbox, bell: &Bell) -> Vec<u8> {
    let mut got = Vec::new();
    while !outbox.is_sent() {
        bell.rung().await;
        if let Some(mut batch) = outbox.take(usize::MAX).batch {
            let n = batch.remaining();
            got.extend(batch.copy_to_bytes(n));
            got.extend(batch.is_end().then_some(b'.'));
        }
        outbox.mark_sent(outbox.settle());
    }
    got
}

#[test]
fn a_writer_gets_the_room_that_it_waits_for_and_its_flush_ends() {
    explore(|| {
        let (outbox, bell, _) = outbox(1);
        let user = spawn({
            let outbox = Arc::clone(&outbox);
            async move {
                for byte in [b"a", b"b"] {
                    assert_eq!(write(&outbox, byte).await, Ok(1));
                }
                outbox.finish();
                let flush = sent(&outbox, outbox.position()).await;
                assert!(outbox.is_sent());
                flush
            }
        });
        assert_eq!(block_on(send_all(&outbox, &bell)), b"ab.");
        assert_eq!(user.join().expect("did not panic"), Ok(()));
    });
}

#[test]
fn every_task_that_waits_for_its_bytes_to_be_sent_is_told() {
    explore(|| {
        let (outbox, bell, _) = outbox(8);
        block_on(write(&outbox, b"x")).expect("there is room");
        let users = [(); 2].map(|()| {
            let outbox = Arc::clone(&outbox);
            spawn(async move { sent(&outbox, outbox.position()).await })
        });
        block_on(bell.rung());
        drop(outbox.take(usize::MAX));
        outbox.mark_sent(outbox.settle());
        for user in users {
            assert_eq!(user.join().expect("did not panic"), Ok(()));
        }
    });
}

#[test]
fn a_flush_waits_for_all_that_was_accepted_before_it_and_for_nothing_else() {
    explore(|| {
        let (outbox, bell, _) = outbox(8);
        let user = spawn({
            let outbox = Arc::clone(&outbox);
            async move {
                write(&outbox, b"ab").await?;
                let position = outbox.position();
                write(&outbox, b"c").await?;
                sent(&outbox, position).await?;
                assert!(outbox.settle_up_to(|_| 0));
                Ok(())
            }
        });
        block_on(async {
            bell.rung().await;
            let mut batch = outbox.take(2).batch.expect("the mover is woken by bytes");
            // The first byte has left, and HTTP/2 still has the second.
            batch.advance(1);
            outbox.mark_sent(outbox.settle());
            batch.advance(1);
            outbox.mark_sent(outbox.settle());
        });
        let how: Result<()> = user.join().expect("did not panic");
        assert_eq!(how, Ok(()));
    });
}

#[test]
fn nobody_waits_for_a_queue_that_has_failed() {
    explore(|| {
        let (outbox, ..) = outbox(1);
        let writer = spawn({
            let outbox = Arc::clone(&outbox);
            async move {
                write(&outbox, b"a").await?;
                write(&outbox, b"b").await
            }
        });
        let flusher = spawn({
            let outbox = Arc::clone(&outbox);
            async move { sent(&outbox, 1).await }
        });
        outbox.fail(gone());
        assert_eq!(writer.join().expect("did not panic"), Err(ErrorKind::Reset));
        assert_eq!(flusher.join().expect("did not panic"), Err(ErrorKind::Reset));
        assert!(outbox.take(usize::MAX).batch.is_none());
    });
}

#[test]
fn a_writer_that_waits_hears_of_the_shutdown() {
    explore(|| {
        let (outbox, ..) = outbox(1);
        block_on(write(&outbox, b"a")).expect("there is room");
        let writer = spawn({
            let outbox = Arc::clone(&outbox);
            async move { write(&outbox, b"b").await }
        });
        outbox.finish();
        assert_eq!(writer.join().expect("did not panic"), Err(ErrorKind::Closed));
    });
}

#[test]
fn the_end_is_taken_once_and_after_every_byte_that_was_accepted() {
    explore(|| {
        let (outbox, bell, _) = outbox(1);
        let writer = spawn({
            let outbox = Arc::clone(&outbox);
            async move { [write(&outbox, b"a").await, write(&outbox, b"b").await] }
        });
        let closer = spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.finish() }
        });
        let got = block_on(send_all(&outbox, &bell));
        closer.join().expect("did not panic");
        let expected: &[u8] = match writer.join().expect("did not panic") {
            [Ok(1), Ok(1)] => b"ab.",
            [Ok(1), Err(ErrorKind::Closed)] => b"a.",
            [Err(ErrorKind::Closed), Err(ErrorKind::Closed)] => b".",
            other => panic!("{other:?}"),
        };
        assert_eq!(got, expected);
    });
}

#[test]
fn a_reader_gets_what_comes_and_the_end_after_it() {
    explore(|| {
        let (inbox, _) = inbox();
        let got_all = Arc::new(Bell::default());
        let reader = spawn({
            let (inbox, got_all) = (Arc::clone(&inbox), Waker::from(Arc::clone(&got_all)));
            async move {
                let mut got = Vec::new();
                while let Some(bytes) = read(&inbox).await? {
                    got.extend(bytes);
                    if got == b"ab" {
                        got_all.wake_by_ref();
                    }
                }
                Ok(got)
            }
        });
        inbox.push(b"a");
        inbox.push(b"b");
        block_on(got_all.rung());
        inbox.finish(Ok(()));
        let got: Result<Vec<u8>> = reader.join().expect("did not panic");
        assert_eq!(got, Ok(b"ab".to_vec()));
    });
}

#[test]
fn every_reader_hears_of_an_abort_and_all_the_window_is_given_back() {
    explore(|| {
        let (inbox, bell) = inbox();
        let readers = [(); 2].map(|()| {
            let inbox = Arc::clone(&inbox);
            spawn(async move { while read(&inbox).await.is_ok() {} })
        });
        inbox.push(b"abc");
        inbox.abort(gone());
        inbox.push(b"d");
        let mut released = inbox.take_consumed();
        block_on(async {
            while released < 4 {
                bell.rung().await;
                released += inbox.take_consumed();
            }
        });
        for reader in readers {
            reader.join().expect("did not panic");
        }
        assert_eq!((released, inbox.len()), (4, 0));
    });
}

#[test]
fn the_mover_hears_of_everything_that_is_read_even_while_the_threshold_is_lowered() {
    explore(|| {
        let (inbox, bell) = inbox();
        inbox.set_threshold(4);
        // One full buffer, and a second one.
        inbox.push(&[0; BUFFER]);
        inbox.push(b"abc");
        let reader = spawn({
            let inbox = Arc::clone(&inbox);
            async move { (read(&inbox).await.is_ok(), read(&inbox).await.is_ok()) }
        });
        block_on(async {
            bell.rung().await;
            let mut released = inbox.take_consumed();
            // The stream is over, so its unread bytes are reported when the last of them has been
            // read.
            inbox.set_threshold(BUFFER + 3 - released);
            while released < BUFFER + 3 {
                bell.rung().await;
                released += inbox.take_consumed();
            }
        });
        assert_eq!(reader.join().expect("did not panic"), (true, true));
        assert_eq!(inbox.take_consumed(), 0);
    });
}

#[test]
fn what_comes_while_the_reader_goes_is_given_back() {
    let ways: [fn(&Inbox) -> bool; 2] = [Inbox::discard, |inbox| {
        inbox.abort(gone());
        true
    }];
    for way in ways {
        explore(move || {
            let (inbox, bell) = inbox();
            inbox.set_threshold(1 << 20);
            let user = spawn({
                let inbox = Arc::clone(&inbox);
                async move { way(&inbox) }
            });
            let mut released = 0;
            for _ in 0..2 {
                inbox.push(b"ab");
                released += inbox.take_consumed();
            }
            block_on(async {
                while released < 4 {
                    bell.rung().await;
                    released += inbox.take_consumed();
                }
            });
            user.join().expect("did not panic");
        });
    }
}
