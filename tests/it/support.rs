//! The helpers that the tests share: a watchdog, and servers of ours with clients that trust them.

pub(crate) mod browser;
pub(crate) mod curl;
pub(crate) mod faults;
pub(crate) mod foreign;
pub(crate) mod framework;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod scenarios;
pub(crate) mod script;
pub(crate) mod tools;
pub(crate) mod trickle;
pub(crate) mod websocket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use h2conn::testing::{self, Alive};
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, ClientBuilder, Conn, Error, Listener, ListenerBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use self::tools::skipped;

/// The result of a test: any error fails the test, and is printed with its whole chain.
pub(crate) type TestResult<T = ()> = anyhow::Result<T>;

/// No test takes this many seconds, unless it hangs.
const WATCHDOG: u64 = 30;

/// How long a Conn that a test has dropped waits for a peer that never ends its direction.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// How long it waits for a peer that will end its direction. This can take seconds on a loaded
/// machine.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long dropped objects may take to disappear: longer than a dropped Conn lingers.
const LEAVE: u64 = 20;

/// Runs a test on a runtime of its own, with a watchdog, and checks that nothing is left over.
pub(crate) fn run<T>(test: impl Future<Output = TestResult<T>>) -> TestResult<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("a runtime")?;
    let result = runtime.block_on(checked(WATCHDOG, test));
    let handle = runtime.handle().clone();
    // A background task that hangs must not make the test hang too.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let _entered = handle.enter();
    assert_eq!(testing::alive(), Alive::default(), "left over after the runtime itself");
    result
}

/// Runs a test with a watchdog. Fails if a link, stream, task or buffer still exists a while after
/// the test has ended.
#[track_caller]
pub(crate) fn checked<T, F>(seconds: u64, test: F) -> impl Future<Output = TestResult<T>>
where
    F: Future<Output = TestResult<T>>,
{
    let test = within(seconds, test);
    async {
        let result = test.await?;
        let leave = Duration::from_secs(LEAVE);
        let gone = tokio::time::timeout(leave, testing::none_alive()).await;
        gone.with_context(|| format!("left over after the test: {}", testing::alive()))?;
        Ok(result)
    }
}

/// Fails if `future` takes too long: `seconds` of a paused clock, or ten times as many of a real
/// one, because other processes can take most of the machine.
#[track_caller]
pub(crate) fn within<F: Future>(seconds: u64, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let limit = Duration::from_secs(seconds);
        let (began, mut future) = (std::time::Instant::now(), pin!(future));
        if let Ok(output) = tokio::time::timeout(limit, &mut future).await {
            return output;
        }
        let is_real = began.elapsed() >= limit;
        let more = if is_real { 9 * limit } else { Duration::ZERO };
        match tokio::time::timeout(more, future).await {
            Ok(output) => output,
            Err(_) => panic!("not done within {:?}: {place}", limit + more),
        }
    }
}

/// Whether tests with a long form run it, as CI asks for.
pub(crate) fn long() -> bool {
    std::env::var_os("H2CONN_LONG").is_some()
}

/// The protocol below HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Cleartext,
    Tls,
}

impl Over {
    pub(crate) const BOTH: [Over; 2] = [Over::Cleartext, Over::Tls];
}

/// The address of a server, ours or another one, and the means to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) addr: SocketAddr,
    /// The server's certificate in PEM, if it speaks TLS.
    pub(crate) certificate: Option<String>,
}

impl Site {
    pub(crate) fn cleartext(addr: SocketAddr) -> Site {
        Site { addr, certificate: None }
    }

    pub(crate) fn tls(addr: SocketAddr, identity: &Identity) -> Site {
        Site { addr, certificate: Some(identity.certificate_pem()) }
    }

    /// The URL of `path`, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.addr)
    }

    /// Sets up a client that trusts this server, and no other.
    pub(crate) fn client_builder(&self) -> ClientBuilder {
        let builder = Client::builder().linger_timeout(GRACE);
        match &self.certificate {
            Some(pem) => builder.tls(ClientTls::new().only_root_certificates(pem)),
            None => builder,
        }
    }

    pub(crate) fn client(&self) -> h2conn::Result<Client> {
        self.client_builder().build()
    }

    /// A connection from a client of its own.
    pub(crate) async fn connect(&self) -> h2conn::Result<Conn> {
        Ok(self.client()?.connect(self.url("/")).await?.0)
    }
}

/// A certificate for this machine, made on the spot.
pub(crate) fn identity() -> h2conn::Result<Identity> {
    Identity::self_signed(["localhost", "127.0.0.1"])
}

/// A listener of ours on a free port.
pub(crate) async fn listen(over: Over) -> h2conn::Result<(Listener, Site)> {
    // A busy machine may take longer than the default until a first connection is accepted.
    let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
    listen_with(over, builder).await
}

/// Like [`listen`], with options of the test's own.
pub(crate) async fn listen_with(
    over: Over,
    builder: ListenerBuilder,
) -> h2conn::Result<(Listener, Site)> {
    match over {
        Over::Cleartext => {
            let listener = builder.bind("127.0.0.1:0").await?;
            let site = Site::cleartext(port_of(&listener));
            Ok((listener, site))
        }
        Over::Tls => {
            let identity = identity()?;
            let listener = builder.tls(identity.clone()).bind("127.0.0.1:0").await?;
            let site = Site::tls(port_of(&listener), &identity);
            Ok((listener, site))
        }
    }
}

/// A listener on this address, as soon as its predecessor has left it.
pub(crate) async fn successor(addr: SocketAddr) -> TestResult<Listener> {
    loop {
        match Listener::builder().bind(addr).await {
            Ok(listener) => return Ok(listener),
            Err(error) if io_kind(&error) == io::ErrorKind::AddrInUse => {
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The address of a TCP listener.
pub(crate) fn port_of(listener: &Listener) -> SocketAddr {
    listener.local_addr().socket_addr().expect("it listens on TCP")
}

/// Both ends of a connection of ours: the client's, then the server's. The link outlives the
/// listener.
pub(crate) async fn pair(over: Over) -> TestResult<(Conn, Conn)> {
    let (mut listener, site) = listen(over).await?;
    // If one of them fails, the other must not wait for ever.
    let connected = async { Ok(site.connect().await?) };
    tokio::try_join!(connected, accept(&mut listener))
}

/// The next connection of a listener.
pub(crate) async fn accept(listener: &mut Listener) -> TestResult<Conn> {
    Ok(listener.accept().await.context("the listener has ended")?.accept()?)
}

/// Hands every connection of a listener to a task of its own.
pub(crate) fn serve<F, Fut>(mut listener: Listener, handler: F) -> JoinHandle<()>
where
    F: Fn(Conn) -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            if let Ok(conn) = incoming.accept() {
                tokio::spawn(handler(conn));
            }
        }
    })
}

/// An echo server of ours, which runs as long as the runtime.
pub(crate) async fn echo_server(over: Over) -> TestResult<Site> {
    let (listener, site) = listen(over).await?;
    serve(listener, echo);
    Ok(site)
}

/// Sends everything back, until the other end has ended its direction.
pub(crate) async fn echo(mut conn: Conn) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match conn.read(&mut buffer).await? {
            0 => return conn.shutdown().await,
            n => conn.write_all(&buffer[..n]).await?,
        }
    }
}

/// Sends `said` over a connection to an echo, and ends it in order. Checks that the same bytes come
/// back, and then the end.
pub(crate) async fn check_echo(conn: Conn, said: &[u8]) -> TestResult {
    let (mut reader, mut writer) = conn.into_split();
    let write = async {
        writer.write_all(said).await?;
        writer.shutdown().await
    };
    let mut heard = Vec::new();
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut heard));
    written.context("writing to an echo")?;
    read.context("reading from an echo")?;
    anyhow::ensure!(heard == said, "{} bytes went out, {} came back", said.len(), heard.len());
    Ok(())
}

/// The client's side of an exchange in which each answer must arrive before the next question is
/// sent.
pub(crate) async fn check_turns(site: &Site) -> TestResult {
    let mut conn = site.connect().await?;
    for turn in 0..50 {
        let said = format!("turn {turn}");
        conn.write_all(said.as_bytes()).await?;
        let mut heard = vec![0; said.len()];
        conn.read_exact(&mut heard).await?;
        anyhow::ensure!(heard == said.as_bytes(), "{heard:?}");
    }
    conn.close().await?;
    Ok(())
}

/// A hundred connections at once, over one link.
pub(crate) async fn check_many(site: &Site) -> TestResult {
    let client = site.client()?;
    let mut conns = JoinSet::new();
    for number in 0..100 {
        let (client, url) = (client.clone(), site.url("/echo"));
        conns.spawn(async move {
            let (conn, _) = client.connect(url).await?;
            let link = conn.local_addr().clone();
            check_echo(conn, &noise(5_000, number)).await?;
            TestResult::Ok(link)
        });
    }
    let mut links = Vec::new();
    while let Some(link) = conns.join_next().await {
        links.push(link??);
    }
    anyhow::ensure!(links.iter().all(|link| *link == links[0]), "one link for all: {links:?}");
    client.close().await?;
    Ok(())
}

/// Bytes that show where some were lost or moved. The same `seed` gives the same bytes.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs a peer of the test's own on a free port. `handler` gets each TCP connection.
pub(crate) async fn tcp_server<F, Fut>(handler: F) -> TestResult<SocketAddr>
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = TestResult> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            // Servers of small messages usually do this.
            let _ = stream.set_nodelay(true);
            let served = handler(stream);
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    eprintln!("a peer of the test's own: {error:#}");
                }
            });
        }
    });
    Ok(addr)
}

/// The kind of I/O error that this error becomes.
pub(crate) fn io_kind(error: &Error) -> io::ErrorKind {
    io::Error::from(error.clone()).kind()
}

/// The library's error in an I/O error.
#[track_caller]
pub(crate) fn ours(error: &io::Error) -> &Error {
    Error::from_io(error).unwrap_or_else(|| panic!("{error:?} carries no error of h2conn"))
}

/// An error with all errors below it, one per line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(below) = next {
        text.push_str(&format!("\n  caused by: {below}"));
        next = below.source();
    }
    text
}
