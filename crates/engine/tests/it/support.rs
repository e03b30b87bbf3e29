//! Frames that are written and read without the engine, and an end that records its events.

use std::time::{Duration, Instant};

use h2conn_engine::{
    Config, Connection, ConnectionError, Reason, Settings, StreamError, StreamId, Visitor,
};
use http::{HeaderMap, Request, Response};

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `GET http://a/` and `POST http://a/` (RFC 7541, appendix A).
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
pub(crate) const POST: &[u8] = b"\x83\x86\x84\x01\x01a";
/// `:status: 200`.
pub(crate) const OK: &[u8] = b"\x88";
/// `x: y`, as trailers.
pub(crate) const TRAILERS: &[u8] = b"\x00\x01x\x01y";

pub(crate) const NO_ERROR: Reason = Reason::NO_ERROR;
pub(crate) const PROTOCOL_ERROR: Reason = Reason::PROTOCOL_ERROR;
pub(crate) const FLOW_CONTROL_ERROR: Reason = Reason::FLOW_CONTROL_ERROR;
pub(crate) const STREAM_CLOSED: Reason = Reason::STREAM_CLOSED;
pub(crate) const FRAME_SIZE_ERROR: Reason = Reason::FRAME_SIZE_ERROR;
pub(crate) const REFUSED_STREAM: Reason = Reason::REFUSED_STREAM;
pub(crate) const CANCEL: Reason = Reason::CANCEL;
pub(crate) const CALM: Reason = Reason::ENHANCE_YOUR_CALM;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [&[a, b, c, kind, flags, d, e, f, g], payload].concat()
}

pub(crate) fn open(stream: u32, end: bool) -> Vec<u8> {
    match end {
        true => frame(HEADERS, END_HEADERS | END_STREAM, stream, GET),
        false => frame(HEADERS, END_HEADERS, stream, POST),
    }
}

pub(crate) fn data(stream: u32, end: bool, content: &[u8]) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, content)
}

pub(crate) fn rst(stream: u32, reason: Reason) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.code().to_be_bytes())
}

pub(crate) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

pub(crate) fn go_away(last: u32, reason: Reason) -> Vec<u8> {
    let payload = [last.to_be_bytes(), reason.code().to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub(crate) fn id(stream: u32) -> StreamId {
    StreamId::new(stream).expect("a stream's number")
}

/// A frame that the engine has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// Cuts the engine's output into frames.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Raw> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = rest[..len].to_vec();
        frames.push(Raw { kind: head[3], flags: head[4], stream, payload });
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "half a frame was sent: {bytes:?}");
    frames
}

/// An event of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Request(u32, String, bool),
    Response(u32, u16, bool),
    Informational(u32, u16),
    /// Consecutive pieces are joined.
    Data(u32, Vec<u8>),
    Trailers(u32, usize),
    End(u32),
    Reset(u32, Reason),
    LateReset(u32, Reason),
    Broken(u32, Reason),
    NotProcessed(u32),
    Settings(Box<Settings>),
    Acknowledged,
    Pong([u8; 8]),
    GoAway(u32, Reason, Vec<u8>),
}

#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) heard: Vec<Heard>,
    pub(crate) requests: Vec<Request<()>>,
    pub(crate) errors: Vec<StreamError>,
}

impl Visitor for Ear {
    fn request(&mut self, id: StreamId, request: Request<()>, end: bool) {
        let what = format!("{} {}", request.method(), request.uri());
        self.heard.push(Heard::Request(id.get(), what, end));
        self.requests.push(request);
    }

    fn response(&mut self, id: StreamId, response: Response<()>, end: bool) {
        self.heard.push(Heard::Response(id.get(), response.status().as_u16(), end));
    }

    fn informational(&mut self, id: StreamId, response: Response<()>) {
        self.heard.push(Heard::Informational(id.get(), response.status().as_u16()));
    }

    fn data(&mut self, id: StreamId, content: &[u8]) {
        assert!(!content.is_empty(), "an empty piece means nothing");
        match self.heard.last_mut() {
            Some(Heard::Data(last, before)) if *last == id.get() => before.extend(content),
            _ => self.heard.push(Heard::Data(id.get(), content.to_vec())),
        }
    }

    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        self.heard.push(Heard::Trailers(id.get(), trailers.len()));
    }

    fn end(&mut self, id: StreamId) {
        self.heard.push(Heard::End(id.get()));
    }

    fn reset(&mut self, id: StreamId, reason: Reason) {
        self.heard.push(Heard::Reset(id.get(), reason));
    }

    fn late_reset(&mut self, id: StreamId, reason: Reason) {
        self.heard.push(Heard::LateReset(id.get(), reason));
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        self.heard.push(Heard::Broken(id.get(), error.reason()));
        self.errors.push(error.clone());
    }

    fn not_processed(&mut self, id: StreamId) {
        self.heard.push(Heard::NotProcessed(id.get()));
    }

    fn settings(&mut self, settings: &Settings) {
        self.heard.push(Heard::Settings(Box::new(*settings)));
    }

    fn settings_acknowledged(&mut self) {
        self.heard.push(Heard::Acknowledged);
    }

    fn pong(&mut self, payload: [u8; 8]) {
        self.heard.push(Heard::Pong(payload));
    }

    fn go_away(&mut self, last: Option<StreamId>, reason: Reason, debug: &[u8]) {
        let last = last.map_or(0, StreamId::get);
        self.heard.push(Heard::GoAway(last, reason, debug.to_vec()));
    }
}

/// An arbitrary time, because the engine only compares times.
pub(crate) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test says what time it is")]
    Instant::now()
}

/// One end, and its events.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) ear: Ear,
    pub(crate) now: Instant,
}

impl End {
    pub(crate) fn new(connection: Connection) -> End {
        End { connection, ear: Ear::default(), now: start() }
    }

    /// A server whose client has sent its preface and SETTINGS, and has acknowledged the server's.
    pub(crate) fn server() -> End {
        End::server_with(&Config::default())
    }

    pub(crate) fn server_with(config: &Config) -> End {
        let mut end = End::new(Connection::server(config));
        end.greet(PREFACE);
        end
    }

    /// A client whose server has sent its SETTINGS, and has acknowledged the client's.
    pub(crate) fn client() -> End {
        End::client_with(&Config::default())
    }

    pub(crate) fn client_with(config: &Config) -> End {
        let mut end = End::new(Connection::client(config));
        end.greet(b"");
        end
    }

    fn greet(&mut self, preface: &[u8]) {
        let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
        self.feed(&[preface, &settings].concat()).expect("a greeting");
        self.take();
        self.ear = Ear::default();
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.connection.receive(self.now, bytes, &mut self.ear)
    }

    /// Feeds bytes that must not end the connection.
    #[track_caller]
    pub(crate) fn ok(&mut self, bytes: &[u8]) -> &mut End {
        if let Err(error) = self.feed(bytes) {
            panic!("{error}");
        }
        self
    }

    /// Feeds bytes that must end the connection, and returns the code of the GOAWAY.
    #[track_caller]
    pub(crate) fn fails(&mut self, bytes: &[u8]) -> Reason {
        let error = self.feed(bytes).expect_err("the connection must end");
        let sent = frames(&self.take());
        let last = sent.last().expect("a GOAWAY is sent");
        assert_eq!((last.kind, last.number(4)), (GOAWAY, error.reason().code()), "{sent:?}");
        assert_eq!(self.feed(b"more").as_ref(), Err(&error), "it stays failed");
        error.reason()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.connection.transmit(self.now, &mut bytes);
        bytes
    }

    /// The frames that wait to be sent.
    pub(crate) fn sent(&mut self) -> Vec<Raw> {
        frames(&self.take())
    }

    /// The events since the last call.
    pub(crate) fn heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.ear.heard)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn request(&mut self, end: bool) -> StreamId {
        let request = Request::post("http://a/").body(()).expect("a request");
        let id = self.connection.open(&request, end).expect("a stream can be opened");
        self.take();
        id
    }

    pub(crate) fn answer(&mut self, stream: u32, end: bool) {
        self.connection.respond(id(stream), &Response::new(()), end).expect("an answer can go");
        self.take();
    }

    /// Sends content, as much as fits into one frame. Returns how much that was.
    pub(crate) fn send(&mut self, stream: u32, len: usize, end: bool) -> Option<usize> {
        self.take();
        self.connection.send_data(id(stream), len, end).map(|head| head.len)
    }
}
