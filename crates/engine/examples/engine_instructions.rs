//! The work of the engine alone, for `valgrind --tool=callgrind` or `perf stat`: two engines in
//! memory. `engine_instructions trip N` sends 64 bytes there and back N times. `engine_instructions
//! open N` opens N streams, each with a request, a response and an end of both sides. The
//! difference between two values of N gives the cost without the start.

use std::time::Instant;

use h2conn_engine::{Config, Connection, Reason, StreamError, StreamId, Visitor};
use http::{Request, Response};

/// Counts events, so that nothing is optimized away.
#[derive(Default)]
struct Counter {
    requests: Vec<StreamId>,
    bytes: usize,
    ends: usize,
}

impl Visitor for Counter {
    fn request(&mut self, id: StreamId, _: Request<()>, _: bool) {
        self.requests.push(id);
    }

    fn data(&mut self, _: StreamId, content: &[u8]) {
        self.bytes += content.len();
    }

    fn end(&mut self, _: StreamId) {
        self.ends += 1;
    }

    fn reset(&mut self, id: StreamId, reason: Reason) {
        panic!("stream {id}: {reason}");
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        panic!("stream {id}: {error}");
    }
}

struct End {
    connection: Connection,
    counter: Counter,
    output: Vec<u8>,
}

impl End {
    fn new(connection: Connection) -> End {
        End { connection, counter: Counter::default(), output: Vec::with_capacity(1 << 16) }
    }

    fn give_to(&mut self, other: &mut End, now: Instant) {
        self.connection.transmit(now, &mut self.output);
        other.connection.receive(now, &self.output, &mut other.counter).expect("an honest peer");
        self.output.clear();
    }

    /// Sends the content of a message to the other end, whose user reads it at once.
    fn send(&mut self, other: &mut End, id: StreamId, content: &[u8], end: bool, now: Instant) {
        let head = self.connection.send_data(id, content.len(), end).expect("the window is open");
        self.output.extend_from_slice(&head.header);
        self.output.extend_from_slice(&content[..head.len]);
        other.connection.receive(now, &self.output, &mut other.counter).expect("an honest peer");
        self.output.clear();
        other.connection.release_stream(id, content.len());
        other.connection.release_connection(content.len());
        other.connection.transmit(now, &mut other.output);
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_else(|| "trip".into());
    let count: usize = words.next().and_then(|count| count.parse().ok()).unwrap_or(1_000);
    #[expect(clippy::disallowed_methods, reason = "a program says what time it is")]
    let now = Instant::now();
    let mut client = End::new(Connection::client(&Config::default()));
    let mut server = End::new(Connection::server(&Config::default()));
    for _ in 0..2 {
        client.give_to(&mut server, now);
        server.give_to(&mut client, now);
    }
    let request = Request::post("https://example.com/echo")
        .header("user-agent", "h2conn")
        .header("content-type", "application/octet-stream")
        .body(())
        .expect("a request");
    let response = Response::builder()
        .header("content-type", "application/octet-stream")
        .body(())
        .expect("a response");
    let open = |client: &mut End, server: &mut End| {
        let id = client.connection.open(&request, false).expect("a stream can be opened");
        client.give_to(server, now);
        let id = server.counter.requests.pop().filter(|got| *got == id).expect("it has come");
        server.connection.respond(id, &response, false).expect("an answer can go");
        server.give_to(client, now);
        id
    };
    match what.as_str() {
        "trip" => {
            let id = open(&mut client, &mut server);
            for _ in 0..count {
                client.send(&mut server, id, &[7; 64], false, now);
                server.send(&mut client, id, &[7; 64], false, now);
            }
        }
        "open" => {
            for _ in 0..count {
                let id = open(&mut client, &mut server);
                client.send(&mut server, id, b"", true, now);
                server.send(&mut client, id, b"", true, now);
            }
        }
        other => panic!("neither trip nor open: {other}"),
    }
    let (there, back) = (server.counter.bytes + server.counter.ends, client.counter.bytes);
    println!(
        "{what} × {count}: {there} there, {back} back, {} open",
        client.connection.open_streams()
    );
}
