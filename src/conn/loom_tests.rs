//! A user's tasks and the mover meet in every order. loom reports a task that waits for an event
//! that has already happened as a deadlock.

use std::task::{Wake, Waker};

use loom::future::block_on;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::*;
use crate::observe::Side;
use crate::sync::model::{Bell, explore, spawn};

/// As a carrier, a bell knows no link.
impl Carrier for Bell {
    fn changed(self: Arc<Self>) {
        self.wake();
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        Err(Error::new(ErrorKind::Unsupported, "there is no link"))
    }

    fn draining(&self) -> watch::Receiver<bool> {
        watch::Sender::new(false).subscribe()
    }
}

/// A stream whose outbox takes one byte, and the bell of its mover.
fn stream() -> (Arc<Stream>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let link = LinkInfo::new(Side::Client, Addr::Other, Addr::Other);
    let request = http::Request::new(()).into_parts().0;
    let carrier = Arc::clone(&bell) as Arc<dyn Carrier>;
    let (transport, link) = (Transport::Request, Arc::new(link));
    let stream = Stream::new(request, transport, link, carrier, 1, Arc::default());
    (Arc::new(stream), bell)
}

fn kind<T>(result: Result<T>) -> std::result::Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

#[test]
fn a_deadline_that_has_passed_takes_hold_of_a_read_that_begins_to_wait() {
    explore(|| {
        let (stream, _) = stream();
        let (read, _write) = Conn::new(Arc::clone(&stream)).into_split();
        let read = Arc::new(read);
        let reader = spawn({
            let read = Arc::clone(&read);
            async move { kind(read.read_chunk().await) }
        });
        read.set_read_deadline(Some(Instant::now()));
        assert_eq!(reader.join().expect("did not panic"), Err(ErrorKind::TimedOut));
    });
}

#[test]
fn a_deadline_that_passes_takes_hold_of_a_read_that_begins_to_wait() {
    explore(|| {
        let mut clock = tokio::runtime::Builder::new_current_thread();
        let clock = clock.enable_time().start_paused(true).build().expect("a clock needs nothing");
        let _entered = clock.enter();
        let (stream, _) = stream();
        let (read, _write) = Conn::new(Arc::clone(&stream)).into_split();
        let read = Arc::new(read);
        let reader = spawn({
            let read = Arc::clone(&read);
            async move { kind(read.read_chunk().await) }
        });
        read.set_read_deadline(Some(Instant::now() + Duration::from_millis(1)));
        // loom has no clock. Taking a lock lets the reader run first.
        assert_eq!(stream.inbox.len(), 0);
        clock.block_on(tokio::time::advance(Duration::from_millis(2)));
        assert_eq!(reader.join().expect("did not panic"), Err(ErrorKind::TimedOut));
    });
}

#[test]
fn a_deadline_that_has_passed_takes_hold_of_a_write_and_of_a_flush() {
    explore(|| {
        let (stream, _) = stream();
        let (_read, write) = Conn::new(Arc::clone(&stream)).into_split();
        let write = Arc::new(write);
        block_on(write.write_chunk(Bytes::from_static(b"x"))).expect("there is room");
        let writer = spawn({
            let write = Arc::clone(&write);
            async move { kind(write.write_chunk(Bytes::from_static(b"y")).await) }
        });
        let flusher = spawn({
            let write = Arc::clone(&write);
            async move { kind(write.sent().await) }
        });
        write.set_write_deadline(Some(Instant::now()));
        assert_eq!(writer.join().expect("did not panic"), Err(ErrorKind::TimedOut));
        assert_eq!(flusher.join().expect("did not panic"), Err(ErrorKind::TimedOut));
    });
}

#[test]
fn with_its_deadline_cleared_a_read_goes_on_and_loses_nothing() {
    explore(|| {
        let (stream, _) = stream();
        let (read, _write) = Conn::new(Arc::clone(&stream)).into_split();
        let (read, cleared) = (Arc::new(read), Arc::new(Bell::default()));
        let reader = spawn({
            let (read, cleared) = (Arc::clone(&read), Arc::clone(&cleared));
            async move {
                match kind(read.read_chunk().await) {
                    Err(ErrorKind::TimedOut) => {
                        cleared.rung().await;
                        kind(read.read_chunk().await)
                    }
                    other => other,
                }
            }
        });
        read.set_read_deadline(Some(Instant::now()));
        stream.inbox.push(b"x");
        read.set_read_deadline(None);
        Waker::from(cleared).wake();
        let got = reader.join().expect("did not panic");
        assert_eq!(got, Ok(Some(Bytes::from_static(b"x"))));
    });
}

#[test]
fn every_task_that_waits_for_the_answer_or_the_end_is_told() {
    explore(|| {
        let (stream, _) = stream();
        let answered = spawn({
            let stream = Arc::clone(&stream);
            async move { kind(poll_fn(|cx| stream.poll_answer(cx)).await).map(|head| head.status) }
        });
        let done = spawn({
            let stream = Arc::clone(&stream);
            async move { kind(poll_fn(|cx| stream.poll_done(cx)).await) }
        });
        stream.set_answer(Ok(Response::new(()).into_parts().0));
        stream.set_done(Ok(()));
        assert_eq!(answered.join().expect("did not panic"), Ok(http::StatusCode::OK));
        assert_eq!(done.join().expect("did not panic"), Ok(()));
    });
}

#[test]
fn the_mover_hears_that_both_halves_are_gone_whichever_goes_last() {
    explore(|| {
        let (stream, bell) = stream();
        let (read, write) = Conn::new(Arc::clone(&stream)).into_split();
        let reader = spawn(async move { drop(read) });
        let writer = spawn(async move { drop(write) });
        block_on(async {
            while stream.wish() != Wish::Close || stream.outbox.pending() != (0, true) {
                bell.rung().await;
            }
        });
        reader.join().expect("did not panic");
        writer.join().expect("did not panic");
    });
}
