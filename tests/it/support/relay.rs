//! A network between two ends, which a test can slow down, stop and cut.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::TestResult;

/// The behaviour of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    pub(crate) flow: Flow,
    /// The delay of every byte.
    pub(crate) delay: Duration,
    /// `None` means as fast as possible.
    pub(crate) bytes_per_second: Option<u32>,
    /// The bytes that are on their way, in addition to those in the buffers of the two ends.
    pub(crate) depth: usize,
    /// After this many bytes, the flow changes to this one.
    pub(crate) until: Option<(u64, Flow)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Bytes go through.
    Open,
    /// No bytes are taken or passed on, and the ends stay open: they can write until the buffers
    /// are full.
    Stopped,
    /// All bytes are taken, and none are passed on.
    Swallowed,
    /// Both ends are closed, in both directions.
    Cut,
    /// Like [`Flow::Cut`], but with a reset if the ends use TCP.
    Reset,
}

/// The behaviour of both directions: from the client and to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Network {
    pub(crate) up: Way,
    pub(crate) down: Way,
}

impl Default for Way {
    fn default() -> Way {
        Way {
            flow: Flow::Open,
            delay: Duration::ZERO,
            bytes_per_second: None,
            depth: 64 << 10,
            until: None,
        }
    }
}

impl Network {
    /// The same in both directions.
    pub(crate) fn both(way: Way) -> Network {
        Network { up: way, down: way }
    }

    /// The same flow in both directions. The defaults apply otherwise.
    pub(crate) fn all(flow: Flow) -> Network {
        Network::both(Way { flow, ..Way::default() })
    }
}

/// Relays bytes between a TCP server and its clients, until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The address for clients.
    pub(crate) addr: SocketAddr,
    network: watch::Sender<Network>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> TestResult<Relay> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        Relay::new(server, socket, Network::default(), TcpSocket::new_v4)
    }

    /// A network whose own sockets take only a few bytes from the start. All other bytes wait in
    /// the buffer of the end that sends them.
    pub(crate) async fn narrow(
        server: SocketAddr,
        network: Network,
        taken: u32,
    ) -> TestResult<Relay> {
        let socket = move || {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(taken)?;
            io::Result::Ok(socket)
        };
        let listener = socket()?;
        listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Relay::new(server, listener.listen(64)?, network, socket)
    }

    fn new(
        server: SocketAddr,
        socket: TcpListener,
        network: Network,
        own: impl Fn() -> io::Result<TcpSocket> + Send + 'static,
    ) -> TestResult<Relay> {
        let addr = socket.local_addr()?;
        let (network, seen) = watch::channel(network);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((client, _)) = socket.accept().await {
                let (seen, own) = (seen.clone(), own());
                links.spawn(async move {
                    let Ok(own) = own else { return };
                    let (mut client, Ok(mut server)) = (client, own.connect(server).await) else {
                        return;
                    };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let ended = relay(&mut client, &mut server, seen).await;
                    if ended.is_err_and(|error| error.kind() != CUT) {
                        let _ = (client.set_zero_linger(), server.set_zero_linger());
                    }
                });
            }
        });
        Ok(Relay { addr, network, _tasks: tasks })
    }

    /// Changes the network from now on, also for existing links.
    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

/// The error of a direction that was cut. Other errors come from an end, or from [`Flow::Reset`].
const CUT: io::ErrorKind = io::ErrorKind::UnexpectedEof;

/// Relays bytes between a client and a server, until both have ended or one has gone.
pub(crate) async fn relay<C, S>(
    client: C,
    server: S,
    network: watch::Receiver<Network>,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let ((from_client, to_client), (from_server, to_server)) = (split(client), split(server));
    let up = pass(from_client, to_server, network.clone(), |network| network.up);
    let down = pass(from_server, to_client, network, |network| network.down);
    // An end that goes early closes both directions.
    tokio::try_join!(up, down).map(drop)
}

/// Timers are precise to a millisecond. The rate does not suffer from this.
const LATE: Duration = Duration::from_millis(2);

async fn pass<R, W>(
    mut from: R,
    mut to: W,
    mut network: watch::Receiver<Network>,
    way: fn(&Network) -> Way,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut queue: VecDeque<(Instant, Bytes)> = VecDeque::new();
    let (mut queued, mut ended, mut passed) = (0, false, 0);
    let mut free = Instant::now();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Way { flow, delay, bytes_per_second, depth, until } = way(&network.borrow_and_update());
        let left = until.map_or(u64::MAX, |(most, _)| most.saturating_sub(passed));
        let flow = until.filter(|_| left == 0).map_or(flow, |(_, then)| then);
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
            Flow::Open => buffer.len().min(depth.saturating_sub(queued)),
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
        let write = async {
            match due {
                Some(due) if flow == Flow::Open => sleep_until(due).await,
                _ => pending().await,
            }
            to.write(piece).await
        };
        tokio::select! {
            changed = network.changed() => {
                if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            read = from.read(&mut buffer[..room]), if room > 0 && !ended => {
                let n = read?;
                ended = n == 0;
                if n > 0 && flow == Flow::Open {
                    queue.push_back((Instant::now() + delay, Bytes::copy_from_slice(&buffer[..n])));
                    queued += n;
                }
            }
            written = write => {
                let n = written?;
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
        }
    }
}
