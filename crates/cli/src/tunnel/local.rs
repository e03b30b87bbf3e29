//! `forward -L` and `-D`: listens on this side, and has the server connect.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::target::Target;
use super::{Tunnel, explain, socks};
use crate::pump::{CutOnDrop, relay};
use crate::report::{About, warn};
use crate::signals::Interrupt;

/// Where the connections go that a listener gets.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Forward(Target),
    /// Where each says by SOCKS5.
    Socks,
}

/// A rest for a system that has no more file descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes in connections until `interrupt`. Gives those that there are then: they go on.
pub(crate) async fn serve(
    listener: TcpListener,
    purpose: Purpose,
    tunnel: Tunnel,
    interrupt: Interrupt,
) -> JoinSet<()> {
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            () = interrupt.asked() => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    relays.spawn(take_in(tcp, peer, purpose.clone(), tunnel.clone()));
                }
                Err(error) => {
                    warn(About::All, "accept", format_args!("cannot take in a connection: {error}"));
                    sleep(PAUSE).await;
                }
            },
            Some(_) = relays.join_next() => {}
        }
    }
    relays
}

async fn take_in(tcp: TcpStream, peer: SocketAddr, purpose: Purpose, tunnel: Tunnel) {
    let result = match purpose {
        Purpose::Forward(target) => {
            forward(tcp, &target, &tunnel).await.with_context(|| format!("{peer} to {target}"))
        }
        Purpose::Socks => by_socks(tcp, peer, &tunnel).await,
    };
    if let Err(error) = result {
        warn(peer, "forward", format_args!("{error:#}"));
    }
}

async fn forward(tcp: TcpStream, target: &Target, tunnel: &Tunnel) -> Result<()> {
    // Without a way, too, its other side must not see an end.
    let tcp = CutOnDrop::new(tcp);
    let conn = tunnel.to(target).await.map_err(explain)?;
    Ok(relay(&conn, tcp).await?)
}

async fn by_socks(tcp: TcpStream, peer: SocketAddr, tunnel: &Tunnel) -> Result<()> {
    let request = socks::Request::read(tcp).await.with_context(|| peer.to_string())?;
    let target = request.target.clone();
    let result = match tunnel.to(&target).await {
        Ok(conn) => relay(&conn, CutOnDrop::new(request.accept().await?)).await.map_err(Into::into),
        Err(error) => {
            // It can have gone already.
            let _ = request.refuse(&error).await;
            Err(explain(error))
        }
    };
    result.with_context(|| format!("{peer} to {target}"))
}
