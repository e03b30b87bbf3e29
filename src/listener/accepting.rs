//! Taking in sockets, even while the system is short of file descriptors.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "serve")]
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};

use super::handshake::Server;
#[cfg(feature = "serve")]
use crate::config::Config;
use crate::conn::Addr;
use crate::link::Socket;
use crate::observe;

/// How long accepting rests after the system has refused a socket, for example for lack of file
/// descriptors.
const REST: Duration = Duration::from_millis(100);

/// Accepting counts as working again when it has not failed for this long. While each freed
/// descriptor goes to the next client, accepting works and fails in turns, which is a single
/// outage.
const CALM: Duration = Duration::from_secs(1);

/// How often the system asks a client that may have vanished.
#[cfg(feature = "serve")]
const PROBES: u32 = 3;

/// When the system asks a client whether it is still there, because HTTP/1 has no PING. The PINGs of
/// a link come earlier, so the system asks nothing of a link that has some.
#[cfg(feature = "serve")]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// How long a client may say nothing.
    limit: Duration,
    /// The time between two questions.
    interval: Duration,
}

#[cfg(feature = "serve")]
impl Silence {
    /// `None` without keep-alive: then nobody is asked.
    fn of(config: &Config) -> Option<Silence> {
        let timeout = config.keep_alive_timeout;
        let limit = config.keep_alive_interval? + timeout;
        // Systems count in seconds.
        Some(Silence { limit, interval: (timeout / PROBES).max(Duration::from_secs(1)) })
    }
}

/// A socket that clients connect to.
pub(super) trait Accept: Send + Sync + 'static {
    type Io: Socket + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Addr, Addr)>> + Send;

    /// Lets the system ask clients that say nothing whether they are still there.
    #[cfg(feature = "serve")]
    fn probe(io: &Self::Io, silence: &Silence);
}

impl Accept for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Io, Addr, Addr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Do not delay small messages (Nagle). A socket that refuses the option is only slower.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().map_or(Addr::Other, Addr::Ip);
        Ok((stream, local, Addr::Ip(peer)))
    }

    #[cfg(feature = "serve")]
    fn probe(io: &Self::Io, silence: &Silence) {
        let alive = TcpKeepalive::new().with_time(silence.limit).with_interval(silence.interval);
        // If the system refuses, its own times count: on Linux two hours.
        let _ = SockRef::from(io).set_tcp_keepalive(&alive.with_retries(PROBES));
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Io, Addr, Addr)> {
        let (stream, peer) = tokio::net::UnixListener::accept(self).await?;
        let local = stream.local_addr().map_or(Addr::Other, Addr::from);
        Ok((stream, local, Addr::from(peer)))
    }

    /// The system tells of the end of the client's process at once.
    #[cfg(feature = "serve")]
    fn probe(_: &Self::Io, _: &Silence) {}
}

impl Server {
    /// Accepts until the listener is gone. The socket is closed when this ends.
    pub(super) async fn run<A: Accept>(self: Arc<Self>, socket: A) {
        let mut stopping = self.shared.links.stopping();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.entrance.closed() => {}
            () = self.accept_from(&socket) => {}
        }
    }

    async fn accept_from<A: Accept>(self: &Arc<Self>, socket: &A) {
        let mut outage: Option<Outage> = None;
        loop {
            let accepted = match &outage {
                None => socket.accept().await,
                Some(Outage { failed, last }) => {
                    let calm = *last + CALM;
                    let accepted = timeout_at(calm, socket.accept()).await;
                    if Instant::now() >= calm {
                        observe::accepting_again(*failed);
                        outage = None;
                    }
                    let Ok(accepted) = accepted else { continue };
                    accepted
                }
            };
            match accepted {
                Ok((io, local, peer)) => {
                    #[cfg(feature = "serve")]
                    if let Some(silence) = Silence::of(&self.config)
                        && self.shared.http1.may_serve()
                    {
                        A::probe(&io, &silence);
                    }
                    Arc::clone(self).take_in(io, local, peer);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    self.shared.limits.note_accept_error();
                    observe::accept_failed(&error, REST, outage.is_none());
                    let failed = outage.map_or(0, |outage| outage.failed) + 1;
                    sleep(REST).await;
                    outage = Some(Outage { failed, last: Instant::now() });
                }
            }
        }
    }
}

/// A period in which accepting has failed, and may fail again.
struct Outage {
    failed: u64,
    last: Instant,
}

/// Whether the error belongs to one client's socket, and says nothing about the next.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}

#[cfg(all(test, feature = "serve"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_clients_that_say_nothing() {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = socket.local_addr().expect("an address");
        let (client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(addr), Accept::accept(&socket));
        let (io, ..) = accepted.expect("a client");
        let silence = Silence::of(&Config::default()).expect("PINGs are sent");
        let seconds = Duration::from_secs;
        assert_eq!(silence, Silence { limit: seconds(45), interval: seconds(5) });
        assert!(!SockRef::from(&io).keepalive().expect("an option"));
        <TcpListener as Accept>::probe(&io, &silence);
        assert!(SockRef::from(&io).keepalive().expect("an option"));
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&io);
            assert_eq!(socket.tcp_keepalive_time().expect("an option"), seconds(45));
            assert_eq!(socket.tcp_keepalive_interval().expect("an option"), seconds(5));
            assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 3);
        }
        drop(client);
        let quiet = Config { keep_alive_interval: None, ..Config::default() };
        assert_eq!(Silence::of(&quiet), None);
    }
}
