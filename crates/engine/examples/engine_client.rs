//! A client over cleartext TCP, for tests of the engine against other servers. It sends all
//! requests at once, and reports the responses.
//!
//! `cargo run -p h2conn-engine --example engine_client -- 127.0.0.1:8080 / 3 1000000` posts a
//! megabyte to `/` three times. Without a number of bytes it sends GET requests. `--echo` checks
//! that the server sends back the same bytes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use h2conn_engine::{Config, Connection, Output, Reason, StreamError, StreamId, Visitor};
use http::{HeaderMap, Request, Response};

/// The most bytes of one write.
const BATCH: usize = 64 << 10;

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let mut words = words.into_iter();
    let address = words.next().ok_or("usage: client ADDRESS [PATH [REQUESTS [BYTES]]] [--echo]")?;
    let path = words.next().unwrap_or_else(|| "/".into());
    let requests = words.next().map_or(Ok(1), |number| number.parse())?;
    let bytes: Option<usize> = words.next().map(|number| number.parse()).transpose()?;

    let mut socket = TcpStream::connect(&address)?;
    socket.set_nodelay(true)?;
    let input = read_on(socket.try_clone()?);
    let mut connection = Connection::client(&Config::default());
    let mut exchange = Exchange::default();
    let mut waiting = requests;
    let uri = format!("http://{address}{path}");
    let mut output = Vec::new();
    loop {
        // Before the server's SETTINGS, its limit of streams is not known.
        while waiting > 0 && connection.has_peer_settings() {
            let builder =
                Request::builder().uri(&uri).method(if bytes.is_some() { "POST" } else { "GET" });
            match connection.open(&builder.body(())?, bytes.is_none()) {
                Ok(id) => exchange.opened(id, bytes, &mut connection),
                // The server takes no more streams at once.
                Err(_) if connection.open_streams() > 0 => break,
                Err(error) => return Err(error.into()),
            }
            waiting -= 1;
        }
        exchange.send(&mut connection, &mut output, &mut socket)?;
        if waiting == 0 && connection.open_streams() == 0 {
            break;
        }
        match input.recv_timeout(PATIENCE) {
            Ok(bytes) => {
                if let Err(error) = connection.receive(now(), &bytes, &mut exchange) {
                    connection.transmit(now(), &mut output);
                    socket.write_all(&output)?;
                    return Err(error.into());
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                connection.tick(now())?;
                return Err("the server is silent".into());
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the server has hung up".into()),
        }
        connection.release_connection(std::mem::take(&mut exchange.received));
    }
    connection.go_away(None, Reason::NO_ERROR, b"");
    connection.transmit(now(), &mut output);
    // The server may have hung up already.
    let _ = socket.write_all(&output);
    exchange.report(options.iter().any(|option| option == "--echo"), bytes)
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

/// All requests and their answers.
#[derive(Default)]
struct Exchange {
    streams: HashMap<StreamId, Stream>,
    /// Content that arrived since the connection's window was last given back.
    received: usize,
    failures: Vec<String>,
}

#[derive(Default)]
struct Stream {
    left: usize,
    sent: usize,
    status: u16,
    received: usize,
    /// All content so far equals the bytes that were sent.
    is_echo: bool,
    trailers: usize,
    ended: bool,
    /// Content that arrived since the stream's window was last given back.
    unreleased: usize,
}

/// One byte of the content of every request.
fn byte(position: usize) -> u8 {
    (position ^ (position >> 8)) as u8
}

impl Exchange {
    fn opened(&mut self, id: StreamId, bytes: Option<usize>, connection: &mut Connection) {
        let left = bytes.unwrap_or(0);
        self.streams.insert(id, Stream { left, is_echo: true, ..Stream::default() });
        match bytes {
            Some(0) => connection.want_send_end(id),
            Some(_) => connection.want_send(id),
            None => {}
        }
    }

    /// Writes everything that may be sent.
    fn send(
        &mut self,
        connection: &mut Connection,
        output: &mut Vec<u8>,
        socket: &mut TcpStream,
    ) -> io::Result<()> {
        for (id, stream) in &mut self.streams {
            connection.release_stream(*id, std::mem::take(&mut stream.unreleased));
        }
        loop {
            connection.transmit(now(), output);
            while output.len() < BATCH
                && let Some(id) = connection.next_to_send()
                && let Some(stream) = self.streams.get_mut(&id)
            {
                let Some(head) = connection.send_data(id, stream.left, true) else { continue };
                output.extend_from_slice(&head.header);
                output.extend((stream.sent..stream.sent + head.len).map(byte));
                stream.sent += head.len;
                stream.left -= head.len;
                if !head.end {
                    connection.want_send(id);
                }
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

    fn report(self, echo: bool, bytes: Option<usize>) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(failure) = self.failures.first() {
            return Err(failure.clone().into());
        }
        let streams = self.streams.len();
        let content: usize = self.streams.values().map(|stream| stream.received).sum();
        let trailers: usize = self.streams.values().map(|stream| stream.trailers).sum();
        let good = self.streams.values().filter(|stream| stream.status == 200 && stream.ended);
        let good = good.count();
        println!("{good} of {streams} answers are 200, {content} bytes, {trailers} trailers");
        if good < streams {
            return Err("not all answers are 200 and whole".into());
        }
        let is_whole = |stream: &Stream| stream.is_echo && Some(stream.received) == bytes;
        if echo && !self.streams.values().all(is_whole) {
            return Err("what came back is not what was sent".into());
        }
        Ok(())
    }
}

impl Visitor for Exchange {
    fn response(&mut self, id: StreamId, response: Response<()>, end: bool) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.status = response.status().as_u16();
            stream.ended = end;
        }
    }

    fn data(&mut self, id: StreamId, content: &[u8]) {
        self.received += content.len();
        if let Some(stream) = self.streams.get_mut(&id) {
            let expected = (stream.received..).map(byte);
            stream.is_echo &= content.iter().zip(expected).all(|(got, sent)| *got == sent);
            stream.received += content.len();
            stream.unreleased += content.len();
        }
    }

    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.trailers = trailers.len();
        }
    }

    fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ended = true;
        }
    }

    fn reset(&mut self, id: StreamId, reason: Reason) {
        // With this reason a server may say, after its answer, that it does not need the rest of
        // the request.
        let answered = self.streams.get(&id).is_some_and(|stream| stream.ended);
        if reason != Reason::NO_ERROR || !answered {
            self.failures.push(format!("stream {id} was reset: {reason}"));
        }
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        self.failures.push(format!("stream {id}: {error}"));
    }

    fn not_processed(&mut self, id: StreamId) {
        self.failures.push(format!("stream {id} was not processed"));
    }
}

/// The engine has no clock, and its lints forbid one.
fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a program says what time it is")]
    Instant::now()
}
