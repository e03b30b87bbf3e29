//! A server over cleartext TCP that sends everything back, for tests of the engine against other
//! clients: `cargo run -p h2conn-engine --example engine_server -- 127.0.0.1:8080`, and then `curl
//! --http2-prior-knowledge -d hello http://127.0.0.1:8080/`.
//!
//! There are two threads for each connection: one reads, and the other does everything else.
//! Content is kept until it has been sent back, and only then its windows are given back. A client
//! that does not read therefore cannot make the server hold more than the windows.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use h2conn_engine::{
    Config, Connection, ConnectionError, Output, Reason, StreamError, StreamId, Visitor,
};
use http::{HeaderMap, Request, Response};

/// The answer to a request without content.
const GREETING: &[u8] = b"This server sends back what it gets.\n";

/// The most bytes of one write.
const BATCH: usize = 256 << 10;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(move || {
            if let Err(error) = serve(socket) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Speaks HTTP/2 with one client, until the client hangs up.
fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let config = Config { extended_connect: true, ..Config::default() };
    let mut connection = Connection::server(&config);
    let mut streams = Streams::default();
    let input = read_on(socket.try_clone()?);
    let mut output = Vec::new();
    loop {
        send(&mut connection, &mut streams, &mut output, &mut socket)?;
        let wait = connection.deadline().map(|at| at.saturating_duration_since(now()));
        let failed = match input.recv_timeout(wait.unwrap_or(Duration::from_secs(3_600))) {
            Ok(bytes) => connection.receive(now(), &bytes, &mut streams),
            Err(RecvTimeoutError::Timeout) => connection.tick(now()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if let Err(error) = failed {
            return give_up(&error, &mut connection, &mut socket, &input);
        }
        streams.act(&mut connection);
    }
}

/// The bytes of the socket. A thread reads them, so that two ends which both write never wait for
/// each other. Flow control limits the bytes in the channel.
fn read_on(mut socket: TcpStream) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 128 << 10];
        while let Ok(len @ 1..) = socket.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes everything that may be sent.
fn send(
    connection: &mut Connection,
    streams: &mut Streams,
    output: &mut Vec<u8>,
    socket: &mut TcpStream,
) -> io::Result<()> {
    loop {
        connection.transmit(now(), output);
        while output.len() < BATCH
            && let Some(id) = connection.next_to_send()
        {
            streams.send(connection, id, output);
        }
        if output.is_empty() {
            return Ok(());
        }
        socket.write_all(output)?;
        output.clear();
        if !connection.has_turns() && connection.output() == Output::Nothing {
            return Ok(());
        }
    }
}

/// Tells the client the error, and gives it a moment to read that.
fn give_up(
    error: &ConnectionError,
    connection: &mut Connection,
    socket: &mut TcpStream,
    input: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut output = Vec::new();
    connection.transmit(now(), &mut output);
    // The client may have hung up.
    let _ = socket.write_all(&output).and_then(|()| socket.shutdown(Shutdown::Write));
    while input.recv_timeout(Duration::from_millis(500)).is_ok() {}
    let _ = socket.shutdown(Shutdown::Both);
    Err(io::Error::other(error.to_string()))
}

/// The streams of a connection.
#[derive(Default)]
struct Streams {
    open: HashMap<StreamId, Stream>,
    /// Streams with events of the client that have yet to be handled.
    opened: Vec<StreamId>,
    touched: Vec<StreamId>,
    /// Content of streams that ended before it was sent back.
    dropped: usize,
}

#[derive(Default)]
struct Stream {
    /// Content that has yet to be sent, and how much of it was sent.
    content: Vec<u8>,
    sent: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// The content came from the client, so it occupies the windows.
    is_echo: bool,
}

impl Streams {
    /// Answers requests, and asks for turns to send.
    fn act(&mut self, connection: &mut Connection) {
        connection.release_connection(std::mem::take(&mut self.dropped));
        for id in self.opened.drain(..) {
            // This fails if the client has reset the stream in the meantime.
            let _ = connection.respond(id, &Response::new(()), false);
        }
        for id in self.touched.drain(..) {
            let Some(stream) = self.open.get(&id) else { continue };
            if stream.sent < stream.content.len() {
                connection.want_send(id);
            } else if stream.ended {
                connection.want_send_end(id);
            }
        }
    }

    /// Drops a stream that has ended early.
    fn drop(&mut self, id: StreamId) {
        if let Some(stream) = self.open.remove(&id).filter(|stream| stream.is_echo) {
            self.dropped += stream.content.len() - stream.sent;
        }
    }

    /// Sends one frame of a stream whose turn it is.
    fn send(&mut self, connection: &mut Connection, id: StreamId, output: &mut Vec<u8>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let rest = &stream.content[stream.sent..];
        if rest.is_empty()
            && let Some(trailers) = &stream.trailers
        {
            let _ = connection.trailers(id, trailers);
            connection.transmit(now(), output);
            self.open.remove(&id);
            return;
        }
        let end = stream.ended && stream.trailers.is_none();
        let Some(head) = connection.send_data(id, rest.len(), end) else { return };
        output.extend_from_slice(&head.header);
        output.extend_from_slice(&rest[..head.len]);
        stream.sent += head.len;
        if stream.is_echo {
            connection.release_stream(id, head.len);
            connection.release_connection(head.len);
        }
        if head.end {
            self.open.remove(&id);
            return;
        }
        if stream.sent < stream.content.len() {
            connection.want_send(id);
            return;
        }
        stream.content.clear();
        stream.sent = 0;
        if stream.ended {
            connection.want_send_end(id);
        }
        // Credit that could wait is sent too.
        connection.transmit(now(), output);
    }
}

impl Visitor for Streams {
    fn request(&mut self, id: StreamId, _: Request<()>, end: bool) {
        let content = if end { GREETING.to_vec() } else { Vec::new() };
        let stream = Stream { content, ended: end, is_echo: !end, ..Stream::default() };
        self.open.insert(id, stream);
        self.opened.push(id);
        self.touched.push(id);
    }

    fn data(&mut self, id: StreamId, content: &[u8]) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.content.extend_from_slice(content);
            self.touched.push(id);
        }
    }

    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.trailers = Some(trailers);
        }
    }

    fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.ended = true;
            self.touched.push(id);
        }
    }

    fn reset(&mut self, id: StreamId, _: Reason) {
        self.drop(id);
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        eprintln!("stream {id}: {error}");
        self.drop(id);
    }
}

/// The engine has no clock, and its lints forbid one.
fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a program says what time it is")]
    Instant::now()
}
