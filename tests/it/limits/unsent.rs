//! The memory of a listener whose handlers write to peers that read nothing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2conn::http::{Request, Version, header};
use h2conn::{Listener, WebSockets};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Filled, Memory, tell_memory};
use crate::support::process;
use crate::support::{Over, Site, TestResult, listen_with, run, serve};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const LINKS: usize = 3;
const CONNS: usize = 1_000;
const LINK_MEMORY: usize = 16 * MIB;
const MEMORY: usize = 40 * MIB;

/// Bytes that the server's connections have taken from their handlers.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Not a real test, but the server of the tests below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_writes_without_end() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    let builder = Listener::builder()
        .keep_alive_interval(None)
        .max_memory(MEMORY)
        .max_link_memory(LINK_MEMORY as u32)
        .websockets(WebSockets::new());
    let (listener, site) = listen_with(Over::Cleartext, builder).await?;
    let handle = listener.handle();
    static CHUNK: [u8; 16 * KIB] = [7; 16 * KIB];
    serve(listener, |mut conn| async move {
        loop {
            match conn.write(&CHUNK).await {
                Ok(n) => WRITTEN.fetch_add(n, SeqCst),
                Err(_) => return Ok(()),
            };
        }
    });
    tell_memory(&site, &handle, |_| WRITTEN.load(SeqCst)).await
}

/// How a client asks for its connections.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Plain,
    WebSocket,
}

impl Ask {
    fn request(self) -> TestResult<Request<()>> {
        Ok(match self {
            Ask::Plain => Request::post("http://x/").body(())?,
            Ask::WebSocket => Request::connect("http://x/")
                .version(Version::HTTP_2)
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .extension(Protocol::from_static("websocket"))
                .body(())?,
        })
    }
}

/// A client with connections of which it reads none.
struct Lazy {
    send: SendRequest<Bytes>,
    unread: Vec<RecvStream>,
    /// The request bodies, whose ends would be the connections' ends.
    _open: Vec<h2::SendStream<Bytes>>,
    _driver: JoinSet<TestResult>,
}

impl Lazy {
    async fn new(site: &Site) -> TestResult<Lazy> {
        let io = TcpStream::connect(site.addr).await?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1_000)
            .initial_connection_window_size(1 << 30)
            .handshake(io)
            .await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { Ok(connection.await?) });
        Ok(Lazy { send, unread: Vec::new(), _open: Vec::new(), _driver: driver })
    }

    async fn open(&mut self, ask: Ask) -> TestResult {
        while matches!(ask, Ask::WebSocket) && !self.send.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut send = self.send.clone().ready().await?;
        let (response, body) = send.send_request(ask.request()?, false)?;
        let response = response.await?;
        ensure!(response.status() == 200, "{response:?}");
        self.unread.push(response.into_body());
        self._open.push(body);
        Ok(())
    }

    /// Reads so many bytes of the connection that was opened last.
    async fn read_last(&mut self, bytes: usize) -> TestResult {
        let body = self.unread.last_mut().context("a connection")?;
        let mut read = 0;
        while read < bytes {
            let data = body.data().await.context("an end")??;
            read += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        Ok(())
    }
}

/// Fills a server by connections of one kind. Each of them takes at most `each` bytes of the
/// server's memory, beside what the links and the listener have for all.
fn fill(ask: Ask, each: usize) -> TestResult {
    const SERVER: &str = "limits::unsent::a_server_that_writes_without_end";
    run(async {
        let (mut server, site) = Filled::start(SERVER).await?;
        let before = server.ask().await?.now;
        let mut clients = Vec::new();
        for _ in 0..LINKS {
            let mut client = Lazy::new(&site).await?;
            for _ in 0..CONNS {
                client.open(ask).await?;
            }
            clients.push(client);
        }
        let Memory { most, bytes, conns, .. } = server.settled().await?;
        ensure!(conns == LINKS * CONNS, "{conns}");
        let bound = (MEMORY / 2 + LINKS * CONNS * each + LINKS * 2 * MIB) / KIB;
        let took = most - before;
        eprintln!("{ask:?}: {bytes} bytes were taken; {took} KiB, {bound} KiB documented");
        ensure!(bytes > MEMORY / 4, "the memory is not used: {bytes} bytes");
        ensure!(took < bound, "{took} KiB, {bound} KiB documented");
        for client in &mut clients {
            // Also one that came when others had taken everything.
            client.read_last(2 * MIB).await?;
        }
        // A newcomer finds room for a whole queue, because no client may take more than it leaves.
        let mut newcomer = Lazy::new(&site).await?;
        let before = server.settled().await?.bytes;
        newcomer.open(ask).await?;
        let taken = server.settled().await?.bytes - before;
        ensure!(taken > 64 * KIB, "{taken} bytes of it");
        newcomer.read_last(2 * MIB).await?;
        // Nothing is held for clients that have gone.
        drop(clients);
        newcomer.read_last(2 * MIB).await?;
        drop(newcomer);
        server.end().await
    })
}

#[test]
fn peers_that_read_nothing_fill_no_more_than_the_memory_for_it() -> TestResult {
    fill(Ask::Plain, 12 * KIB)
}

#[test]
fn peers_that_read_nothing_of_their_websockets_fill_no_more() -> TestResult {
    fill(Ask::WebSocket, 64 * KIB)
}
