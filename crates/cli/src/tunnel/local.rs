//! `forward -L` and `-D`: listens on this side, and has the server connect.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::target::Target;
use super::{Tunnel, explain, socks};
use crate::places::{Peer, Place, Places};
use crate::pump::{CutOnDrop, Socket, relay};
use crate::report::{About, shown, warn};
use crate::signals::Interrupt;

/// The destination of a listener's connections.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Forward(Target),
    /// Each connection names its own destination through SOCKS5.
    Socks,
}

/// The pause after an error of `accept`, for example because there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener of this side.
pub(crate) struct Listening {
    pub(crate) tcp: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) purpose: Purpose,
    /// The places for connections of all listeners. A connection keeps its place to its end.
    pub(crate) places: Places,
}

impl Listening {
    /// Accepts connections until `interrupt`. Returns the connections that are then open; they
    /// continue.
    pub(crate) async fn serve(self, tunnel: Tunnel, interrupt: Interrupt) -> JoinSet<()> {
        let mut relays = JoinSet::new();
        loop {
            tokio::select! {
                () = interrupt.asked() => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok((tcp, peer)) => match self.place_for(peer) {
                        Some(place) => {
                            let (purpose, tunnel) = (self.purpose.clone(), tunnel.clone());
                            relays.spawn(async move {
                                let _place = place;
                                take_in(tcp, peer, purpose, tunnel).await;
                            });
                        }
                        // Its other side must not see an end.
                        None => tcp.cut(),
                    },
                    Err(error) => {
                        let failed = format!("cannot take in a connection: {error}");
                        warn(About::All, "accept", failed);
                        sleep(PAUSE).await;
                    }
                },
                Some(_) = relays.join_next() => {}
            }
        }
        relays
    }

    /// A place for a connection from this address. `None`, after a warning, if the connection must
    /// be reset.
    fn place_for(&self, peer: SocketAddr) -> Option<Place> {
        match self.places.take(Peer::of(self.addr.ip(), &peer.into())) {
            Ok(place) => Some(place),
            Err(full) => {
                let addr = self.addr;
                warn(peer, full.knob(), format_args!("{peer} to {addr} was reset: {full}"));
                None
            }
        }
    }
}

async fn take_in(tcp: TcpStream, peer: SocketAddr, purpose: Purpose, tunnel: Tunnel) {
    let result = match purpose {
        Purpose::Forward(target) => {
            forward(tcp, &target, &tunnel).await.with_context(|| format!("{peer} to {target}"))
        }
        Purpose::Socks => by_socks(tcp, peer, &tunnel).await,
    };
    if let Err(error) = result {
        warn(peer, "forward", shown(&error));
    }
}

async fn forward(tcp: TcpStream, target: &Target, tunnel: &Tunnel) -> Result<()> {
    // Even if there is no way to the target, the other side must see a reset and no end.
    let tcp = CutOnDrop::new(tcp);
    let conn = tunnel.to(target).await.map_err(explain)?;
    Ok(relay(&conn, tcp, tunnel.idle_timeout).await?)
}

async fn by_socks(tcp: TcpStream, peer: SocketAddr, tunnel: &Tunnel) -> Result<()> {
    let request = socks::Request::read(tcp).await.with_context(|| peer.to_string())?;
    let target = request.target.clone();
    let result = match tunnel.to(&target).await {
        Ok(conn) => {
            let tcp = CutOnDrop::new(request.accept().await?);
            relay(&conn, tcp, tunnel.idle_timeout).await.map_err(Into::into)
        }
        Err(error) => {
            // The client may already have gone.
            let _ = request.refuse(&error).await;
            Err(explain(error))
        }
    };
    result.with_context(|| format!("{peer} to {target}"))
}
