//! A client and a server whose bytes travel in pieces, compared with plain counters. After each
//! step the credit must balance to the byte, and at the end every byte must have arrived.

mod app;
mod wire;

use std::time::{Duration, Instant};

use app::App;
use h2conn_engine::{Config, Connection, Output, Reason, StreamId};
use http::{HeaderMap, HeaderValue, Request, Response};
use wire::Wire;

/// The settings of both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_data_frame_size: u32,
    pub(crate) max_concurrent_streams: u32,
}

/// A step of one end. The stream is picked among those that the end knows, modulo their number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// A client opens a stream, or a server answers one.
    Head {
        pick: u8,
        end: bool,
    },
    Inform {
        pick: u8,
    },
    Write {
        pick: u8,
        len: u16,
    },
    /// The side ends after all its written bytes, with or without trailers.
    Finish {
        pick: u8,
        trailers: bool,
    },
    /// This many frames are sent, each in its turn.
    Pump {
        frames: u8,
    },
    /// This many bytes that are on their way arrive at the other end.
    Deliver {
        len: u16,
    },
    Release {
        pick: u8,
        len: u16,
    },
    Reset {
        pick: u8,
    },
    /// A frame is requested and then taken back.
    Withdraw {
        pick: u8,
    },
    StreamWindow {
        pick: u8,
        bytes: u32,
    },
    ConnectionWindow {
        bytes: u32,
    },
    InitialWindow {
        bytes: u32,
    },
    MaxStreams {
        streams: u8,
    },
    TableSize {
        bytes: u16,
    },
    Urgency {
        pick: u8,
        urgency: u8,
    },
    Ping,
    SettingsAcknowledgement,
    GoAway {
        graceful: bool,
    },
    Pass {
        millis: u16,
    },
}

/// One end, the counters of its user, and its bytes on their way.
struct Side {
    connection: Connection,
    app: App,
    wire: Wire,
}

struct World {
    sides: [Side; 2],
    now: Instant,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Performs operations, starting at the time `now`, each at the client (0) or the server (1).
/// Checks after each.
///
/// # Panics
///
/// If any check fails.
pub(crate) fn run(now: Instant, setting: &Setting, operations: &[(usize, Operation)]) {
    let mut world = World::new(now, setting);
    world.check();
    for (at, operation) in operations {
        world.act(at % 2, *operation);
        world.check();
    }
    world.finish();
}

impl World {
    fn new(now: Instant, setting: &Setting) -> World {
        let config = Config {
            stream_window: setting.stream_window,
            connection_window: setting.connection_window,
            max_data_frame_size: setting.max_data_frame_size,
            max_concurrent_streams: setting.max_concurrent_streams,
            ..Config::default()
        };
        let side = |connection, at| Side { connection, app: App::new(at), wire: Wire::new(at) };
        let sides =
            [side(Connection::client(&config), CLIENT), side(Connection::server(&config), SERVER)];
        World { sides, now }
    }

    fn act(&mut self, at: usize, operation: Operation) {
        let Side { connection, app, .. } = &mut self.sides[at];
        match operation {
            Operation::Head { end, .. } if at == CLIENT => {
                let request = Request::post("http://a/").header("x", app.next_value());
                let request = request.body(()).expect("a request");
                if let Ok(id) = connection.open(&request, end) {
                    app.opened(id, end);
                }
            }
            Operation::Head { pick, end } => {
                let Some(id) = app.pick(pick) else { return };
                let response = Response::builder().header("y", app.next_value()).body(());
                let result = connection.respond(id, &response.expect("a response"), end);
                app.answered(id, end, result.is_ok());
            }
            Operation::Inform { pick } => {
                let Some(id) = app.pick(pick) else { return };
                let response = Response::builder().status(103).body(()).expect("a response");
                let _ = connection.inform(id, &response);
            }
            Operation::Write { pick, len } => {
                if let Some(id) = app.write(pick, len.into()) {
                    connection.want_send(id);
                }
            }
            Operation::Finish { pick, trailers } => {
                if let Some(id) = app.finish(pick, trailers) {
                    connection.want_send_end(id);
                }
            }
            Operation::Pump { frames } => self.pump(at, frames.into()),
            Operation::Deliver { len } => self.deliver(at, len.into()),
            Operation::Release { pick, len } => {
                let Some(id) = app.pick_any(pick) else { return };
                let len = app.release(id, len.into());
                connection.release_stream(id, len);
                connection.release_connection(len);
            }
            Operation::Reset { pick } => {
                let Some(id) = app.pick(pick) else { return };
                connection.reset(id, Reason::CANCEL);
                app.reset_here(id);
            }
            Operation::Withdraw { pick } => {
                let Some(id) = app.pick(pick) else { return };
                self.sides[at].transmit(self.now);
                let Side { connection, app, .. } = &mut self.sides[at];
                let before = connection.connection_capacity();
                if let Some(head) = connection.send_data(id, 1_000, pick % 2 == 0) {
                    connection.withdraw(id, head, Reason::CANCEL);
                    assert_eq!(connection.connection_capacity(), before);
                    app.reset_here(id);
                }
            }
            Operation::StreamWindow { pick, bytes } => {
                if let Some(id) = app.pick(pick) {
                    connection.set_stream_window(id, bytes);
                }
            }
            Operation::ConnectionWindow { bytes } => connection.set_connection_window(bytes),
            Operation::InitialWindow { bytes } => connection.set_initial_window(bytes),
            Operation::MaxStreams { streams } => {
                connection.set_max_concurrent_streams(streams.into());
            }
            Operation::TableSize { bytes } => connection.set_header_table_size(bytes.into()),
            Operation::Urgency { pick, urgency } => {
                if let Some(id) = app.pick(pick) {
                    connection.set_urgency(id, urgency);
                }
            }
            Operation::Ping => connection.ping([7; 8]),
            Operation::SettingsAcknowledgement => connection.request_settings_acknowledgement(),
            Operation::GoAway { graceful } => {
                let last = match graceful {
                    true => Some(StreamId::MAX),
                    false => connection.last_peer_stream(),
                };
                connection.go_away(last, Reason::NO_ERROR, b"");
            }
            Operation::Pass { millis } => {
                self.now += Duration::from_millis(u64::from(millis) % 20);
            }
        }
    }

    /// Sends frames of the streams whose turn it is. Every third frame is sent in two steps.
    fn pump(&mut self, at: usize, frames: usize) {
        for number in 0..frames {
            let now = self.now;
            let side = &mut self.sides[at];
            side.transmit(now);
            let Side { connection, app, wire } = side;
            let Some(id) = connection.next_to_send() else { return };
            let (queued, finish, trailers) = app.to_send(id);
            if queued == 0 && trailers {
                let value = HeaderValue::from_static("v");
                let trailers = HeaderMap::from_iter([(http::header::ETAG, value)]);
                let result = connection.trailers(id, &trailers);
                app.sent_trailers(id, result.is_ok());
                side.transmit(now);
                continue;
            }
            let end = finish && !trailers;
            let first = if number % 3 == 2 { queued.div_ceil(2) } else { queued };
            let Some(mut head) = connection.send_data(id, first, end && first == queued) else {
                continue;
            };
            if first < queued && head.len == first {
                connection.extend_data(id, &mut head, queued - first, end);
            }
            assert!(head.len <= queued && head.len <= 64 << 10);
            wire.send(&head.header, &app.content(id, head.len));
            app.sent(id, head.len, head.end);
            match app.to_send(id) {
                (0, false, _) => {}
                (0, true, _) if !head.end => connection.want_send_end(id),
                (1.., _, _) => connection.want_send(id),
                _ => {}
            }
        }
    }

    fn deliver(&mut self, from: usize, len: usize) {
        let now = self.now;
        self.sides[from].transmit(now);
        let bytes = self.sides[from].wire.take(len);
        let Side { connection, app, .. } = &mut self.sides[1 - from];
        connection.receive(now, &bytes, app).expect("both ends are honest");
    }

    /// Checks the invariants, which must hold after each step.
    fn check(&mut self) {
        for side in &mut self.sides {
            side.transmit(self.now);
        }
        for at in [CLIENT, SERVER] {
            let (sender, receiver) = (&self.sides[at], &self.sides[1 - at]);
            let (wire, back) = (&sender.wire, &receiver.wire);
            // Credit is with the sender, on its way in DATA, or on its way back.
            let capacity = sender.connection.connection_capacity() as i64;
            let credit = receiver.connection.connection_credit();
            assert_eq!(
                capacity + wire.content(0) + back.credit(0),
                credit,
                "the connection's ledger"
            );
            let shift = receiver.wire.window_counted_by(&sender.wire);
            for id in sender.app.known() {
                if !receiver.app.is_live(id) || !sender.app.is_live(id) || wire.is_closing(id) {
                    continue;
                }
                let capacity = sender.connection.stream_capacity(id);
                let sum = capacity + wire.content(id.get()) + back.credit(id.get()) + shift;
                let credit = receiver.connection.stream_credit(id);
                assert_eq!(sum, credit, "the ledger of stream {id}, shifted by {shift}");
            }
            // Content that neither user holds is the rest of a frame that has begun.
            let unreleased = receiver.app.unreleased() + wire.rest_of_begun();
            assert_eq!(receiver.connection.unreleased(), unreleased, "what is received is counted");
            // Nothing is kept, except at most the beginning of one small frame.
            assert!(receiver.connection.held() <= 1 << 10, "{}", receiver.connection.held());
            assert_eq!(receiver.connection.is_between_frames(), wire.is_between_frames());
        }
    }

    /// Ends all streams. Everything must arrive, and all credit must return.
    fn finish(&mut self) {
        for at in [SERVER, CLIENT] {
            let streams: Vec<StreamId> = self.sides[at].app.known().collect();
            for id in streams {
                self.end(at, id);
            }
        }
        let mut idle = 0;
        while idle < 3 {
            let mut moved = false;
            for at in [CLIENT, SERVER] {
                let fresh: Vec<StreamId> = self.sides[at].app.take_fresh();
                for id in fresh {
                    self.end(at, id);
                    moved = true;
                }
                self.pump(at, 1_000);
                let len = self.sides[at].wire.len();
                moved |= len > 0;
                self.deliver(at, len);
                self.check();
                let Side { connection, app, .. } = &mut self.sides[1 - at];
                for id in app.known().collect::<Vec<_>>() {
                    let len = app.release(id, usize::MAX);
                    connection.release_stream(id, len);
                    connection.release_connection(len);
                }
            }
            idle = if moved { 0 } else { idle + 1 };
        }
        let [client, server] = &self.sides;
        for at in [CLIENT, SERVER] {
            let (sender, receiver) = (&self.sides[at], &self.sides[1 - at]);
            sender.app.all_arrived_at(&receiver.app);
            assert_eq!(sender.connection.open_streams(), 0, "streams are left: {:?}", sender.app);
            assert_eq!(sender.connection.unreleased(), 0);
            assert_ne!(sender.connection.output(), Output::Now);
        }
        assert!(client.wire.is_between_frames() && server.wire.is_between_frames());
    }

    /// Ends one side of a stream, with some content that may need credit from the peer.
    fn end(&mut self, at: usize, id: StreamId) {
        let Side { connection, app, .. } = &mut self.sides[at];
        if !app.is_live(id) {
            return;
        }
        if at == SERVER && !app.is_answered(id) {
            let result = connection.respond(id, &Response::new(()), false);
            app.answered(id, false, result.is_ok());
        }
        // A peer that has chosen a window of 0 opens it now.
        self.sides[1 - at].open_windows(id);
        let Side { connection, app, .. } = &mut self.sides[at];
        app.finish_one(id);
        match app.to_send(id) {
            (0, true, _) => connection.want_send_end(id),
            (1.., _, _) => connection.want_send(id),
            _ => {}
        }
    }
}

impl Side {
    fn transmit(&mut self, now: Instant) {
        let mut bytes = Vec::new();
        self.connection.transmit(now, &mut bytes);
        // A step can cause no more output than this.
        assert!(bytes.len() <= 300 << 10);
        self.wire.append(&bytes);
    }

    fn open_windows(&mut self, id: StreamId) {
        self.connection.set_connection_window(1 << 20);
        self.connection.set_stream_window(id, 1 << 20);
        self.connection.set_initial_window(1 << 20);
    }
}
