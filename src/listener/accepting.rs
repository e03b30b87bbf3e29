//! Taking in sockets, even while the system is short of file descriptors.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};

use super::handshake::Server;
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

/// A socket that clients connect to.
pub(super) trait Accept: Send + Sync + 'static {
    type Io: Socket + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Addr, Addr)>> + Send;
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
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Io, Addr, Addr)> {
        let (stream, peer) = tokio::net::UnixListener::accept(self).await?;
        let local = stream.local_addr().map_or(Addr::Other, Addr::from);
        Ok((stream, local, Addr::from(peer)))
    }
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

    async fn accept_from(self: &Arc<Self>, socket: &impl Accept) {
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
                Ok((io, local, peer)) => Arc::clone(self).take_in(io, local, peer),
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
