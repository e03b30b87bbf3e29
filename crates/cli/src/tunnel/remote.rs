//! `forward -R`: has the server listen, and connects on this side.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use h2conn::tokio_util::codec::{FramedRead, LinesCodec};
use h2conn::{Addr, Conn, OnDrop};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::bind::LINE;
use super::pulse::{NOTHING, Pulse};
use super::spec::Forward;
use super::target::Target;
use super::{BOUND, Tunnel, explain, tcp};
use crate::places::{Line, Peer, Place, Places};
use crate::pump::{CutOnDrop, relay};
use crate::report::{About, say, shown, warn};

/// Serves the visitors of the server's listener, until the server ends it. The connections run in
/// `relays`, and each takes one of `places`. The server decides how many visitors come, and may be
/// hostile.
///
/// # Errors
///
/// If the server does not listen, and any error that ends the listener.
///
/// # Cancel safety
///
/// Dropping the future ends the listener. The connections continue.
pub(crate) async fn serve(
    tunnel: &Tunnel,
    forward: &Forward,
    places: &Places<Line>,
    relays: &mut JoinSet<()>,
) -> Result<(), h2conn::Error> {
    let path = format!("bind/{}", forward.bind.to_target().to_segments());
    let conn = Arc::new(tunnel.open(&path).await?);
    // This connection carries only a list, which may end anywhere.
    conn.on_drop(OnDrop::Finish);
    let head = conn.response().await?;
    let bound = head.headers().get(BOUND).and_then(|field| field.to_str().ok()).unwrap_or("?");
    say(format_args!("the server forwards {bound} to {}", forward.target));
    let mut lines = FramedRead::new(&*conn, LinesCodec::new_with_max_length(LINE));
    let mut pulse = Pulse::new(tunnel.idle_timeout);
    loop {
        tokio::select! {
            // A write error is ignored, because the reads fail with it too.
            () = pulse.due() => drop((&*conn).write_all(NOTHING).await),
            line = lines.next() => match line {
                // The server is still there.
                Some(Ok(line)) if line.is_empty() => {}
                Some(Ok(line)) => match Visitor::parse(&line, &forward.target) {
                    Ok(visitor) => match places.take(visitor.peer_of(forward)) {
                        Ok(place) => {
                            let (tunnel, control) = (tunnel.clone(), Arc::clone(&conn));
                            relays.spawn(async move {
                                visitor.welcome(tunnel, control, &place).await;
                            });
                        }
                        Err(full) => {
                            visitor.complain(full.knob(), format_args!("refused: {full}"));
                            // A write error is ignored, because the reads fail with it too.
                            let _ = visitor.turn_away(&conn).await;
                        }
                    },
                    Err(error) => warn(About::All, "visitor", format_args!("{error:#}")),
                },
                Some(Err(_)) | None => break,
            },
            Some(_) = relays.join_next() => {}
        }
    }
    conn.close().await
}

/// A visitor of the server's listener.
struct Visitor {
    id: String,
    peer: String,
    target: Target,
}

impl Visitor {
    fn parse(line: &str, target: &Target) -> Result<Visitor> {
        let Some((id, peer)) = line.split_once(' ') else {
            bail!("the server speaks of a visitor in a way that is not known: {line:?}");
        };
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("the server names a visitor {id:?}; expected hexadecimal digits");
        }
        Ok(Visitor { id: id.to_owned(), peer: peer.to_owned(), target: target.clone() })
    }

    /// The visitor's address, as the server reports it, tells it from others.
    fn peer_of(&self, forward: &Forward) -> Peer {
        let addr = self.peer.parse::<SocketAddr>().map_or(Addr::Other, Addr::from);
        Peer::of(forward.bind.ip, &addr)
    }

    async fn welcome(self, tunnel: Tunnel, control: Arc<Conn>, place: &Place<Line>) {
        if let Err(error) = self.visit(&tunnel, control, place).await {
            self.complain("visitor", format_args!("{}", shown(&error)));
        }
    }

    async fn visit(&self, tunnel: &Tunnel, control: Arc<Conn>, place: &Place<Line>) -> Result<()> {
        let dialled = tcp::dial(&self.target, place).await.context("cannot connect");
        if dialled.is_err() {
            self.turn_away(&control).await?;
        }
        let tcp = CutOnDrop::new(dialled?);
        let opened = tunnel.open(&format!("accepted/{}", self.id)).await;
        // The listener must be able to end before its visitors do.
        drop(control);
        let conn = opened.map_err(explain)?;
        Ok(relay(&conn, tcp, tunnel.idle_timeout).await?)
    }

    /// Has the server end this visit at once, instead of when its time is up.
    async fn turn_away(&self, mut control: &Conn) -> io::Result<()> {
        control.write_all(format!("{}\n", self.id).as_bytes()).await
    }

    fn complain(&self, kind: &'static str, why: fmt::Arguments<'_>) {
        warn(About::All, kind, format_args!("{} to {}: {why}", self.peer, self.target));
    }
}
