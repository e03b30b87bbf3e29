//! Users wake a driver while it works, goes to sleep, sleeps and ends, in every order. The driver
//! here has the real one's protocol without HTTP/2. loom reports work that it would leave undone in
//! its sleep as a deadlock.

use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake};

use bytes::Buf;
use loom::future::block_on;

use super::carrier::NO_KEY;
use super::desk::Desk;
use super::outcome::Last;
use super::*;
use crate::conn::Transport::Request;
use crate::error::Ending;
use crate::sync::model::{explore, spawn};
use crate::sync::{AtomicUsize, AtomicWaker, Mutex};

/// A stand-in for the socket. It wakes the driver through the link's signal, and is polled in every
/// turn.
#[derive(Debug, Default)]
struct Source(Mutex<(usize, Option<Waker>)>);

impl Source {
    fn add(&self) {
        let mut source = lock(&self.0);
        source.0 += 1;
        let waker = source.1.take();
        drop(source);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> usize {
        let mut source = lock(&self.0);
        source.1 = Some(cx.waker().clone());
        std::mem::take(&mut source.0)
    }
}

/// `Driver`, as far as its users can tell. It ends when it has seen everything that it expects:
/// bytes, commands, and events of its source.
struct Miniature {
    shared: Arc<Shared>,
    source: Arc<Source>,
    streams: Vec<Arc<Stream>>,
    turns: usize,
    expected: usize,
    seen: usize,
}

impl Miniature {
    /// `turns` is how many turns follow each other before the driver gives way.
    fn new(turns: usize, expected: usize) -> Miniature {
        let shared = Shared::alone();
        let source = Arc::default();
        Miniature { shared, source, streams: Vec::new(), turns, expected, seen: 0 }
    }

    /// The same as `Driver::open`.
    fn open(&mut self, stream: Arc<Stream>, carrier: &LinkCarrier) {
        let key = self.streams.len();
        self.streams.push(stream);
        carrier.set_key(key);
        self.look_at(key);
    }

    fn look_at(&mut self, key: usize) {
        let batch = self.streams[key].outbox.take(usize::MAX).batch;
        self.seen += batch.map_or(0, |batch| batch.remaining());
    }

    /// The same as `Driver::look_at_ready_streams`.
    fn look_at_ready_streams(&mut self) {
        let mut ready = Vec::new();
        self.shared.signal.take_ready(&mut ready);
        for key in ready {
            if key != NO_KEY {
                self.look_at(key);
            }
        }
    }

    /// The same as `Driver::turn`.
    fn turn(&mut self) {
        let asked = self.shared.take_asked();
        for command in asked.then(|| self.shared.take_commands()).into_iter().flatten() {
            match command {
                Command::Open(stream, carrier, _) => self.open(stream, &carrier),
                _ => self.seen += 1,
            }
        }
        self.seen += usize::from(self.shared.is_unused());
        self.look_at_ready_streams();
        self.shared.signal.clear();
        let waker = Waker::from(Arc::clone(&self.shared));
        self.seen += self.source.poll(&Context::from_waker(&waker));
        self.look_at_ready_streams();
    }
}

/// The same as `Driver`'s.
impl Future for Miniature {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = Arc::clone(&this.shared);
        shared.signal.begin(cx);
        for _ in 0..this.turns {
            this.turn();
            if this.seen >= this.expected {
                return Poll::Ready(());
            }
            if shared.sleep() {
                return Poll::Pending;
            }
        }
        shared.signal.give_way(cx);
        Poll::Pending
    }
}

impl Drop for Miniature {
    fn drop(&mut self) {
        self.shared.end(Last::good());
        self.shared.set_gone();
        self.shared.signal.close();
    }
}

fn request() -> request::Parts {
    http::Request::new(()).into_parts().0
}

async fn write(stream: &Stream, bytes: &[u8]) {
    let written = poll_fn(|cx| stream.outbox.poll_write(cx, bytes)).await;
    assert_eq!(written.expect("the stream is open"), bytes.len());
}

#[test]
fn a_driver_that_sleeps_has_done_all_that_was_asked() {
    for (turns, commands) in [(1, [1, 1]), (16, [1, 2])] {
        explore(move || {
            let driver = Miniature::new(turns, commands.iter().sum());
            let users = commands.map(|commands| {
                let shared = Arc::clone(&driver.shared);
                spawn(async move {
                    for _ in 0..commands {
                        shared.command(Command::ShutDown);
                    }
                })
            });
            block_on(driver);
            for user in users {
                user.join().expect("did not panic");
            }
        });
    }
}

#[test]
fn what_h2_says_hides_no_command_and_no_command_hides_what_h2_says() {
    for turns in [1, 16] {
        explore(move || {
            let driver = Miniature::new(turns, 2);
            let (shared, source) = (Arc::clone(&driver.shared), Arc::clone(&driver.source));
            let user = spawn(async move { shared.command(Command::ShutDown) });
            let transport = spawn(async move { source.add() });
            block_on(driver);
            user.join().expect("did not panic");
            transport.join().expect("did not panic");
        });
    }
}

#[test]
fn every_byte_of_every_stream_is_seen() {
    for (turns, writes) in [(1, [1, 1]), (16, [1, 2])] {
        explore(move || {
            let mut driver = Miniature::new(turns, writes.iter().sum());
            let users = writes.map(|writes| {
                let (stream, carrier) = driver.shared.stream(request(), Request, None);
                driver.open(Arc::clone(&stream), &carrier);
                spawn(async move {
                    for _ in 0..writes {
                        write(&stream, b"x").await;
                    }
                })
            });
            block_on(driver);
            for user in users {
                user.join().expect("did not panic");
            }
        });
    }
}

#[test]
fn what_is_written_while_a_stream_is_being_opened_is_seen() {
    for turns in [1, 16] {
        explore(move || {
            let driver = Miniature::new(turns, 2);
            let shared = Arc::clone(&driver.shared);
            let user = spawn(async move {
                let (stream, carrier) = shared.stream(request(), Request, None);
                shared.command(Command::Open(Arc::clone(&stream), carrier, None));
                write(&stream, b"x").await;
                write(&stream, b"y").await;
            });
            block_on(driver);
            user.join().expect("did not panic");
        });
    }
}

#[test]
fn a_driver_hears_that_its_last_handle_is_gone() {
    explore(|| {
        let driver = Miniature::new(16, 1);
        let link = Link::new(Arc::clone(&driver.shared));
        let user = spawn(async move { drop(link) });
        block_on(driver);
        user.join().expect("did not panic");
    });
}

#[test]
fn a_stream_that_is_opened_while_its_link_ends_is_told_and_so_is_who_waits_for_the_end() {
    explore(|| {
        let driver = Miniature::new(16, 1);
        let link = Link::new(Arc::clone(&driver.shared));
        let shared = Arc::downgrade(&driver.shared);
        let user = spawn(async move {
            let stream = link.open(request(), Request);
            let how = poll_fn(|cx| stream.poll_done(cx)).await;
            let _ = link.ended().await;
            how.map_err(|error| error.kind())
        });
        // The link ends at once, together with the streams that the driver has seen.
        driver.source.add();
        let ended = spawn(async move {
            let mut driver = driver;
            poll_fn(|cx| Pin::new(&mut driver).poll(cx)).await;
            driver.shared.end(Last::good());
            for stream in &driver.streams {
                stream.set_done(Err(Ending::Gone(None).read_error()));
            }
        });
        ended.join().expect("did not panic");
        assert!(user.join().expect("did not panic").is_err());
        assert!(shared.upgrade().is_none(), "the list of ready streams keeps nothing alive");
    });
}

#[test]
fn a_stream_that_is_woken_while_its_driver_goes_keeps_nothing_alive() {
    explore(|| {
        let shared = Shared::alone();
        let weak = Arc::downgrade(&shared);
        let carrier = LinkCarrier::new(&shared, None);
        let user = spawn(async move {
            carrier.wake_by_ref();
            carrier.wake();
        });
        shared.signal.close();
        drop(shared);
        user.join().expect("did not panic");
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_driver_that_finds_a_visitor_at_its_desk_is_woken_when_the_visitor_leaves() {
    explore(|| {
        let desk = Arc::new(Desk::new());
        let (task, left) = (Arc::new(AtomicWaker::new()), Arc::new(AtomicUsize::new(0)));
        desk.set(0_usize);
        let visitors = [(); 2].map(|()| {
            let (desk, task, left) = (Arc::clone(&desk), Arc::clone(&task), Arc::clone(&left));
            spawn(async move {
                let visit = |seen: &mut usize, _: &mut Context<'_>| {
                    *seen += 1;
                    // A socket wakes the driver in this way after a visitor has written to it.
                    task.wake();
                };
                if desk.visit(visit).is_none() {
                    left.fetch_add(1, SeqCst);
                    task.wake();
                }
            })
        });
        block_on(poll_fn(|cx| {
            task.register(cx.waker());
            desk.poll(cx, |seen, _| match *seen + left.load(SeqCst) {
                2 => Poll::Ready(()),
                _ => Poll::Pending,
            })
        }));
        for visitor in visitors {
            visitor.join().expect("the visitor ends");
        }
    });
}

#[test]
fn a_desk_that_is_cleared_takes_no_visits_and_ends_its_task() {
    explore(|| {
        let desk = Arc::new(Desk::new());
        desk.set(Arc::new(()));
        let visitor = {
            let desk = Arc::clone(&desk);
            spawn(async move { desk.visit(|driver: &mut Arc<()>, _| Arc::clone(driver)) })
        };
        desk.clear();
        block_on(poll_fn(|cx| desk.poll(cx, |_, _| Poll::Pending)));
        let visited = visitor.join().expect("the visitor ends");
        assert!(visited.is_none_or(|driver| Arc::strong_count(&driver) == 1));
    });
}
