//! Slow lines, and every way to end a connection on one: all bytes and END_STREAM arrive, or the
//! sender learns that they may be lost. The sender never gets `Ok` for lost bytes.

mod deadlines;
mod every_end;
mod gone;
mod kernel;

use std::fmt::{Debug, Display};
use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{self, Network};
use h2conn::{Client, ClientBuilder, Conn, Listener, ListenerBuilder};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use crate::support::{Over, Site, TestResult, accept, listen_with};

/// The number of bytes that go over the line.
const BYTES: usize = 1_000_000;

/// 1 Mbit/s: the bytes take 8 seconds.
const MBIT: u32 = 125_000;

/// How much a socket of the network takes. The sender's kernel holds the rest.
const TAKEN: usize = 16 << 10;

/// More time than any test here takes.
const LONG: Duration = Duration::from_secs(300);

/// The end that sends the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

impl Sender {
    const BOTH: [Sender; 2] = [Sender::Client, Sender::Server];

    /// The sender's end of a connection, and the receiver's.
    fn ends<T>(self, client: T, server: T) -> (T, T) {
        match self {
            Sender::Client => (client, server),
            Sender::Server => (server, client),
        }
    }
}

/// Both ends, with a slow line between them.
struct Line {
    client: Client,
    listener: Listener,
    site: Site,
    network: Network,
}

/// One direction of this many bytes a second.
fn slow_line(bytes_per_second: u32) -> testing::Line {
    testing::Line::new().bytes_per_second(bytes_per_second).depth(TAKEN)
}

/// A network with this many bytes a second each way.
fn slow(bytes_per_second: u32) -> Network {
    let network = Network::new();
    network.set(slow_line(bytes_per_second));
    network
}

impl Line {
    async fn new(
        over: Over,
        network: Network,
        client_of: impl FnOnce(ClientBuilder) -> ClientBuilder,
        server: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
    ) -> TestResult<Line> {
        // Hundreds of lines begin at once, which can take a loaded machine long.
        let builder = Listener::builder().handshake_timeout(LONG).first_conn_timeout(None);
        let (listener, mut site) = listen_with(over, server(builder)).await?;
        site.addr = network.relay(site.addr).await?;
        let client = site.client_builder().connect_timeout(LONG).response_timeout(LONG);
        let client = client_of(client).build()?;
        Ok(Line { client, listener, site, network })
    }

    /// Opens a connection: the client's end, then the server's.
    async fn open(&mut self) -> TestResult<(Conn, Conn)> {
        let opened = self.client.connect(self.site.url("/"));
        let opened = async { Ok(opened.await?.0) };
        // If one of them fails, the other must not wait for ever.
        tokio::try_join!(opened, accept(&mut self.listener))
    }
}

/// The bytes that have arrived.
#[derive(Debug)]
struct Got {
    bytes: Vec<u8>,
    /// `Ok` means END_STREAM.
    end: io::Result<()>,
}

/// Reads to the end. Sends on `begun` when the first tenth of the bytes has arrived.
async fn receive(mut conn: &Conn, begun: oneshot::Sender<()>) -> Got {
    let mut bytes = Vec::new();
    let tenth = (&mut conn).take(BYTES as u64 / 10).read_to_end(&mut bytes).await;
    if let Err(error) = tenth {
        return Got { bytes, end: Err(error) };
    }
    // Most tests do not wait for this.
    let _ = begun.send(());
    let end = conn.read_to_end(&mut bytes).await.map(drop);
    Got { bytes, end }
}

/// The results that a sender got from its calls.
#[derive(Debug, Default)]
struct Told(Vec<(&'static str, Result<(), String>)>);

impl Told {
    /// Records the result of a call. Returns whether it was good.
    fn note<E: Display + Debug>(&mut self, call: &'static str, result: Result<(), E>) -> bool {
        let is_ok = result.is_ok();
        self.0.push((call, result.map_err(|error| format!("{error} ({error:?})"))));
        is_ok
    }

    /// Records the result of [`Listener::drain`] in the same way.
    fn note_drain(&mut self, all_ended: bool) {
        self.note("drain", all_ended.then_some(()).ok_or("false"));
    }

    fn says(&self, part: &str) -> bool {
        self.0.iter().any(|(_, result)| result.as_ref().is_err_and(|error| error.contains(part)))
    }

    fn is_good(&self) -> bool {
        self.0.iter().all(|(_, result)| result.is_ok())
    }
}

/// Checks the promise, whatever happens on the line: everything has arrived, or the sender knows
/// that it may not have. No receiver ever sees a false end.
fn check_promise(sent: &[u8], got: &Got, told: &Told) -> TestResult {
    let (len, end) = (got.bytes.len(), &got.end);
    ensure!(sent.starts_with(&got.bytes), "of {len} bytes some are not those that were sent");
    ensure!(end.is_err() || len == sent.len(), "END_STREAM after {len} of {} bytes", sent.len());
    ensure!(
        end.is_ok() || !told.is_good(),
        "LOST: {len} of {} bytes came, then {end:?}; the sender was told {told:?}",
        sent.len()
    );
    Ok(())
}

/// Checks the promise on a line that is only slow: everything arrives, and no call fails.
fn check_all_arrived(sent: &[u8], got: &Got, told: &Told) -> TestResult {
    check_promise(sent, got, told)?;
    let (len, end) = (got.bytes.len(), &got.end);
    ensure!(end.is_ok(), "{len} of {} bytes came, then {end:?}; told {told:?}", sent.len());
    ensure!(told.is_good(), "everything has arrived, and the sender was told {told:?}");
    Ok(())
}

/// The calls that a sender awaits before its process may exit. The other end remains as it is.
async fn end_within(
    sender: Sender,
    client: Client,
    listener: Listener,
    deadline: Duration,
    told: &mut Told,
) {
    match sender {
        Sender::Client if deadline == LONG => {
            told.note("Client::close", client.close().await);
        }
        Sender::Client => {
            told.note("Client::close_within", client.close_within(deadline).await);
        }
        Sender::Server => told.note_drain(listener.drain(deadline).await),
    }
}

/// Waits for cases that run at once, and names all cases that failed.
async fn all_pass(cases: Vec<(String, tokio::task::JoinHandle<TestResult>)>) -> TestResult {
    let mut failures = Vec::new();
    for (case, running) in cases {
        let passed = running.await.context("it panicked").and_then(|passed| passed);
        if let Err(error) = passed {
            failures.push(format!("{case}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
