//! A network between two ends, which a test can slow down, stop and cut.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::PIPE;

/// A network that a test can slow down, stop and cut, in memory or between a server on TCP and its clients.
///
/// Each direction is a [`Line`]: *up* goes from the client to the server, *down* goes back. A change applies at once, also to
/// the transports that are there. Each transport has its lines for itself: a rate is that of one transport.
///
/// Delays and rates are those of tokio's clock, so a test in memory that pauses it takes no time. Dropping the `Network`
/// cuts all of its transports.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use h2conn::testing::{Line, Network, pair_over};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = Network::new();
/// network.set(Line::new().delay(Duration::from_millis(20)));
/// let (near, far) = network.memory();
/// let (client, server) = pair_over(near, far).await?;
/// assert!(client.ping().await? >= Duration::from_millis(40));
///
/// network.cut();
/// assert!(server.closed().await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// Between a server and its clients, [`relay`](Network::relay) gives the address to connect to:
///
/// ```
/// use h2conn::testing::{Flow, Network};
/// use h2conn::{Client, Listener};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
/// # let server = listener.local_addr().socket_addr().ok_or("TCP has a port")?;
/// # tokio::spawn(async move { while let Some(incoming) = listener.accept().await { drop(incoming.accept()) } });
/// let network = Network::new();
/// let client = Client::builder().build()?;
/// let url = format!("http://{}/", network.relay(server).await?);
/// let (conn, _) = client.connect(&url).await?;
///
/// network.set(Flow::Stopped); // the server has vanished …
/// network.set(Flow::Open); // … and is back
/// network.reset(); // the connections of now are lost, and new ones can be made
/// assert!(conn.closed().await.is_err());
/// client.connect(&url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Network {
    state: watch::Sender<State>,
}

/// How one direction of a [`Network`] is. The setters may come in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    flow: Flow,
    delay: Duration,
    bytes_per_second: Option<u32>,
    depth: Option<usize>,
    until: Option<(u64, Flow)>,
}

/// The fate of the bytes on a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// Bytes go through.
    Open,
    /// No bytes are taken or passed on, and the ends stay open: they can write until the buffers are full.
    Stopped,
    /// All bytes are taken, and none are passed on, as on a network that has lost its other end.
    Swallowed,
    /// Both ends are closed, in both directions. TCP with bytes in transit may see a reset.
    Cut,
    /// Like [`Flow::Cut`], but with a reset if the ends use TCP.
    Reset,
}

/// The state of a network.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    up: Line,
    down: Line,
    /// How often the transports of the moment were ended.
    cuts: u64,
    resets: u64,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            flow: Flow::Open,
            delay: Duration::ZERO,
            bytes_per_second: None,
            depth: None,
            until: None,
        }
    }
}

impl From<Flow> for Line {
    fn from(flow: Flow) -> Line {
        Line::new().flow(flow)
    }
}

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The bytes on their way, by default.
const DEPTH: usize = 64 << 10;

impl Line {
    /// Makes a line on which every byte goes through at once.
    pub fn new() -> Line {
        Line::default()
    }

    /// Sets what becomes of the bytes. Default: [`Flow::Open`].
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }

    /// Sets the time that every byte takes, at most a year. A round trip takes that of both lines. Default: zero.
    pub fn delay(mut self, time: Duration) -> Self {
        self.delay = time.min(LONGEST);
        self
    }

    /// Sets the rate, at least 1. Default: no limit.
    pub fn bytes_per_second(mut self, bytes: u32) -> Self {
        self.bytes_per_second = Some(bytes.max(1));
        self
    }

    /// Sets how many bytes can be on their way, in addition to those in the buffers of the two ends. A line needs a depth of its
    /// rate times its delay. Default: 64 KiB.
    ///
    /// Over TCP, [`Network::relay`] bounds the receive buffers of its own sockets too, where a depth was set before.
    pub fn depth(mut self, bytes: usize) -> Self {
        self.depth = Some(bytes.max(1));
        self
    }

    /// Changes the flow after so many bytes of a transport have gone through. Default: never.
    pub fn after(mut self, bytes: u64, flow: Flow) -> Self {
        self.until = Some((bytes, flow));
        self
    }
}

impl Line {
    /// The flow after so many bytes.
    fn flow_after(&self, passed: u64) -> Flow {
        match self.until {
            Some((most, then))
                if passed >= most && !matches!(self.flow, Flow::Cut | Flow::Reset) =>
            {
                then
            }
            _ => self.flow,
        }
    }
}

impl Default for Network {
    fn default() -> Network {
        Network::new()
    }
}

impl Network {
    /// Makes a network on which every byte goes through at once.
    pub fn new() -> Network {
        Network { state: watch::Sender::default() }
    }

    /// Sets both directions.
    pub fn set(&self, line: impl Into<Line>) {
        let line = line.into();
        self.state.send_modify(|state| (state.up, state.down) = (line, line));
    }

    /// Sets the direction from the client to the server.
    pub fn set_up(&self, line: impl Into<Line>) {
        self.state.send_modify(|state| state.up = line.into());
    }

    /// Sets the direction from the server to the client.
    pub fn set_down(&self, line: impl Into<Line>) {
        self.state.send_modify(|state| state.down = line.into());
    }

    /// Closes the transports that there are now. New ones can be made. TCP with bytes in transit may see a reset.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// The same as [`cut`](Network::cut), with a reset where they use TCP.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// Makes a transport in memory: the client's end, then the server's. Each holds up to 64 KiB.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn memory(&self) -> (DuplexStream, DuplexStream) {
        let ((client, near), (far, server)) = (duplex(PIPE), duplex(PIPE));
        self.join(near, far);
        (client, server)
    }

    /// Joins two transports that the test brings, by a task that passes on what it reads: `client` leads to the client, and
    /// `server` to the server. A transport that buffers is flushed whenever no more bytes can be written to it at once.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn join<C, S>(&self, client: C, server: S)
    where
        C: AsyncRead + AsyncWrite + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let seen = Seen::new(self.state.subscribe());
        tokio::spawn(async move {
            // Each end sees how it went.
            let _ = relay(client, server, seen).await;
        });
    }

    /// Listens on a free port of this machine, connects each client to `server`, and returns the address for the clients. The port
    /// is closed when the `Network` is dropped.
    ///
    /// # Errors
    ///
    /// The error of the system, if it gives no socket.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub async fn relay(&self, server: SocketAddr) -> io::Result<SocketAddr> {
        let State { up, down, .. } = *self.state.borrow();
        let socket = TcpSocket::new_v4()?;
        bound(&socket, up)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(64)?;
        let addr = listener.local_addr()?;
        let (state, mut dropped) = (self.state.subscribe(), self.state.subscribe());
        tokio::spawn(async move {
            let mut links = JoinSet::new();
            let accepting = async {
                while let Ok((client, _)) = listener.accept().await {
                    links.spawn(carry(client, server, down, Seen::new(state.clone())));
                    while links.try_join_next().is_some() {}
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = dropped.wait_for(|_| false) => {}
            }
        });
        Ok(addr)
    }
}

/// The network as one transport sees it.
#[derive(Clone, Debug)]
struct Seen {
    state: watch::Receiver<State>,
    /// How often others had been cut and reset before.
    before: (u64, u64),
}

impl Seen {
    fn new(state: watch::Receiver<State>) -> Seen {
        let State { cuts, resets, .. } = *state.borrow();
        Seen { state, before: (cuts, resets) }
    }

    /// The line of this direction now.
    fn line(&mut self, line: fn(&State) -> Line) -> Line {
        let state = *self.state.borrow_and_update();
        let mut line = line(&state);
        if state.resets > self.before.1 {
            line.flow = Flow::Reset;
        } else if state.cuts > self.before.0 {
            line.flow = Flow::Cut;
        }
        line
    }
}

/// Bounds the receive buffer of a socket that takes in what goes over this line.
fn bound(socket: &TcpSocket, line: Line) -> io::Result<()> {
    match line.depth.map(u32::try_from) {
        Some(Ok(depth)) => socket.set_recv_buffer_size(depth),
        _ => Ok(()),
    }
}

/// Connects a client to a server, until both have ended or one is gone.
async fn carry(mut client: TcpStream, server: SocketAddr, down: Line, seen: Seen) {
    let connect = async {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        bound(&socket, down)?;
        socket.connect(server).await
    };
    let Ok(mut server) = connect.await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = relay(&mut client, &mut server, seen).await;
    if ended.is_err_and(|error| error.kind() != CUT) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// The error of a direction that was cut. Another error is that of an end, or of [`Flow::Reset`].
const CUT: io::ErrorKind = io::ErrorKind::UnexpectedEof;

/// Passes on the bytes between a client and a server, until both have ended or one is gone.
async fn relay<C, S>(client: C, server: S, seen: Seen) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let ((from_client, to_client), (from_server, to_server)) = (split(client), split(server));
    let up = pass(from_client, to_server, seen.clone(), |state| state.up);
    let down = pass(from_server, to_client, seen, |state| state.down);
    // An end that is gone early closes both.
    tokio::try_join!(up, down).map(drop)
}

/// Timers are accurate to a millisecond. The rate does not suffer from it.
const LATE: Duration = Duration::from_millis(2);

async fn pass<R, W>(
    mut from: R,
    mut to: W,
    mut seen: Seen,
    of: fn(&State) -> Line,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut queue: VecDeque<(Instant, Bytes)> = VecDeque::new();
    let (mut queued, mut ended, mut passed, mut unflushed) = (0, false, 0, false);
    let mut free = Instant::now();
    let mut buffer = vec![0; DEPTH];
    loop {
        let line @ Line { delay, bytes_per_second, depth, until, .. } = seen.line(of);
        let left = until.map_or(u64::MAX, |(most, _)| most.saturating_sub(passed));
        let flow = line.flow_after(passed);
        match flow {
            Flow::Cut => return Err(CUT.into()),
            Flow::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            Flow::Open | Flow::Stopped | Flow::Swallowed => {}
        }
        if ended && queue.is_empty() && flow == Flow::Open {
            to.shutdown().await?;
            return Ok(());
        }
        let room = match flow {
            Flow::Open => buffer.len().min(depth.unwrap_or(DEPTH).saturating_sub(queued)),
            Flow::Swallowed => buffer.len(),
            _ => 0,
        };
        let (due, most) = match (queue.front(), bytes_per_second) {
            (Some((due, _)), None) => (Some(*due), usize::MAX),
            (Some((due, _)), Some(rate)) => (Some(free.max(*due)), (rate as usize / 10).max(1)),
            (None, _) => (None, 0),
        };
        let most = if left == 0 { most } else { most.min(usize::try_from(left).unwrap_or(most)) };
        let piece = queue.front().map_or(&[][..], |(_, bytes)| &bytes[..bytes.len().min(most)]);
        let due = due.filter(|_| flow == Flow::Open);
        let write = async {
            if unflushed && flow == Flow::Open && due.is_none_or(|due| due > Instant::now()) {
                return to.flush().await.map(|()| None);
            }
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
            to.write(piece).await.map(Some)
        };
        tokio::select! {
            // A change comes before the bytes that follow it.
            biased;
            changed = seen.state.changed() => {
                if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            written = write => {
                let written = written?;
                unflushed = written.is_some();
                let n = written.unwrap_or(0);
                if let Some(rate) = bytes_per_second {
                    let time = Duration::from_secs_f64(n as f64 / f64::from(rate));
                    free = free.max(Instant::now() - LATE) + time;
                }
                (queued, passed) = (queued - n, passed + n as u64);
                if let Some((_, front)) = queue.front_mut() {
                    front.advance(n);
                    if front.is_empty() {
                        queue.pop_front();
                    }
                }
            }
            read = from.read(&mut buffer[..room]), if room > 0 && !ended => {
                let n = read?;
                ended = n == 0;
                // The change may have come since.
                if n > 0 && seen.line(of).flow_after(passed) != Flow::Swallowed {
                    queue.push_back((Instant::now() + delay, Bytes::copy_from_slice(&buffer[..n])));
                    queued += n;
                }
            }
        }
    }
}
