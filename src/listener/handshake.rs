//! From an accepted socket to a link: TLS, detection of the client's protocol, HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::Shared;
#[cfg(any(feature = "serve", feature = "websocket"))]
use super::http1::{Http1Server, NewClient};
use super::limits::{Admission, MAX_LINKS, Refusal, Slot};
use super::refusal;
#[cfg(any(feature = "serve", feature = "websocket"))]
use super::refusal::FirstLine;
#[cfg(feature = "websocket")]
use super::{http1::asks_for_websocket, websocket};
use crate::alive::{Counted, Kind};
use crate::config::{Config, Origins};
use crate::conn::{Addr, LinkInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Entrance, Link, PREFACE, Socket};
use crate::observe::{self, Side};
use crate::tls::Acceptor;
#[cfg(feature = "websocket")]
use crate::websocket::WebSockets;

/// The time for the TLS and the first bytes of a client that is over a cap.
const REFUSAL: Duration = Duration::from_secs(3);

/// The time for the last word to such a client, and its end. There are few places for them.
const LAST_WORD: Duration = Duration::from_secs(6);

/// The state that the listener's background tasks share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) tls: Option<Acceptor>,
    pub(super) config: Config,
    pub(super) entrance: Entrance,
    pub(super) shared: Arc<Shared>,
    /// For requests over HTTP/1 that never come to the listener.
    pub(super) origins: Origins,
    #[cfg(feature = "websocket")]
    pub(super) websockets: Option<Arc<WebSockets>>,
}

impl Server {
    pub(super) fn new(
        tls: Option<Acceptor>,
        config: Config,
        entrance: Entrance,
        shared: &Arc<Shared>,
        origins: &Origins,
    ) -> Server {
        Server {
            tls,
            config,
            entrance,
            shared: Arc::clone(shared),
            origins: origins.clone(),
            #[cfg(feature = "websocket")]
            websockets: None,
        }
    }

    /// Turns a client's transport into a link, or refuses it, in the background.
    pub(super) fn take_in<T: Socket + 'static>(self: Arc<Self>, io: T, local: Addr, peer: Addr) {
        match self.shared.limits.admit(&peer) {
            Admission::Welcome(slot) => {
                tokio::spawn(async move { self.welcome(io, local, peer, slot).await });
            }
            Admission::Refused(refusal) => {
                observe::refused(refusal.cap.name(), &peer);
                tokio::spawn(async move { self.refuse(io, refusal).await });
            }
            Admission::Ignored(cap) => observe::refused(cap.name(), &peer),
        }
    }

    /// Tells a client that it is over a cap.
    async fn refuse<T: Socket + 'static>(&self, io: T, refusal: Refusal) {
        let _counted = Counted::new(Kind::Task);
        let seen = async {
            match &self.tls {
                None => refusal::over_cap(io, refusal.cap).await,
                Some(tls) => refusal::over_cap(tls.accept(io).await?.0, refusal.cap).await,
            }
        };
        // A client that says nothing gets no answer.
        let limit = REFUSAL.min(self.config.handshake_timeout);
        if let Ok(Ok(refused)) = timeout(limit, Box::pin(seen)).await {
            refused.tell(LAST_WORD.min(self.config.linger_timeout)).await;
        }
    }

    async fn welcome<T>(self: &Arc<Self>, io: T, local: Addr, peer: Addr, mut slot: Slot)
    where
        T: Socket + 'static,
    {
        let _counted = Counted::new(Kind::Task);
        let info = LinkInfo::new(Side::Server, local, peer.clone());
        let limit = self.config.handshake_timeout;
        // The task stays as long as the link. The handshake's memory must not, so box its future.
        let handshake = Box::pin(self.handshake(io, info));
        let outcome = tokio::select! {
            biased;
            () = slot.must_leave() => return observe::refused(MAX_LINKS, &peer),
            outcome = timeout(limit, handshake) => outcome,
        };
        let link = match outcome {
            Ok(Ok(Client::Http2(link))) => link,
            #[cfg(any(feature = "serve", feature = "websocket"))]
            Ok(Ok(Client::Http1(server, client))) => {
                return self.shared.serve_http1(&*server, *client, slot).await;
            }
            Ok(Ok(Client::Refused(refused))) => {
                observe::handshake_failed(Side::Server, &peer, &refused.error);
                let told = Box::pin(refused.tell(self.config.linger_timeout));
                tokio::select! {
                    biased;
                    () = slot.must_leave() => observe::refused(MAX_LINKS, &peer),
                    () = told => {}
                }
                return;
            }
            Ok(Err(error)) => {
                observe::handshake_failed(Side::Server, &peer, &error);
                return;
            }
            Err(_) => {
                let message = format!("the handshake took longer than {limit:?}");
                let error = Error::new(ErrorKind::TimedOut, message);
                observe::handshake_failed(Side::Server, &peer, &error);
                return;
            }
        };
        self.shared.links.keep(link, &mut slot).await;
    }

    async fn handshake<T: Socket + 'static>(
        self: &Arc<Self>,
        io: T,
        mut info: LinkInfo,
    ) -> Result<Client> {
        match &self.tls {
            None => self.http2(io, info).await,
            Some(tls) => {
                let (stream, session) = tls.accept(io).await?;
                info.peer_certificates = session.peer_certificates;
                info.observed.set_tls();
                self.http2(stream, info).await
            }
        }
    }

    async fn http2<T: Socket + 'static>(
        self: &Arc<Self>,
        mut io: T,
        info: LinkInfo,
    ) -> Result<Client> {
        let first = match read_preface(&mut io).await? {
            Spoken::Http2(first) => first,
            Spoken::Other(seen) => return self.another_protocol(io, seen, info).await,
        };
        let io = Box::new(io);
        let (first, Shared { budget, .. }) = (first.freeze(), &*self.shared);
        let link = Link::server(io, first, info, &self.config, &self.entrance, budget);
        Ok(Client::Http2(link))
    }

    #[cfg(not(any(feature = "serve", feature = "websocket")))]
    async fn another_protocol<T: Socket + 'static>(
        self: &Arc<Self>,
        io: T,
        seen: BytesMut,
        _: LinkInfo,
    ) -> Result<Client> {
        Ok(Client::Refused(refusal::not_http2(io, seen, &self.origins).await))
    }

    #[cfg(any(feature = "serve", feature = "websocket"))]
    async fn another_protocol<T: Socket + 'static>(
        self: &Arc<Self>,
        mut io: T,
        mut seen: BytesMut,
        info: LinkInfo,
    ) -> Result<Client> {
        let server = match refusal::first_line(&mut io, &mut seen).await {
            FirstLine::Http1 => self.http1_server(&mut io, &mut seen).await,
            FirstLine::OtherVersion | FirstLine::Other => None,
        };
        let Some(server) = server else {
            return Ok(Client::Refused(refusal::not_http2(io, seen, &self.origins).await));
        };
        let client = NewClient {
            io: Box::new(io),
            seen: seen.freeze(),
            info: Arc::new(info),
            head_timeout: self.config.handshake_timeout,
            max_head: self.config.max_header_list_size as usize,
            linger: self.config.linger_timeout,
            quiet: crate::conn::Quiet::new(&self.config),
        };
        Ok(Client::Http1(server, Box::new(client)))
    }
}

#[cfg(any(feature = "serve", feature = "websocket"))]
impl Server {
    /// The server for a client that speaks HTTP/1, if there is one.
    async fn http1_server(
        self: &Arc<Self>,
        io: &mut impl Socket,
        seen: &mut BytesMut,
    ) -> Option<Arc<dyn Http1Server>> {
        if let Some(server) = self.shared.http1.server().await {
            return Some(server);
        }
        self.reception(io, seen).await
    }

    #[cfg(not(feature = "websocket"))]
    async fn reception(
        self: &Arc<Self>,
        _: &mut impl Socket,
        _: &mut BytesMut,
    ) -> Option<Arc<dyn Http1Server>> {
        None
    }

    /// The server for a client that asks for a WebSocket, where they are taken.
    #[cfg(feature = "websocket")]
    async fn reception(
        self: &Arc<Self>,
        io: &mut impl Socket,
        seen: &mut BytesMut,
    ) -> Option<Arc<dyn Http1Server>> {
        let websockets = self.websockets.as_ref()?;
        refusal::read_head(io, seen).await;
        asks_for_websocket(seen)
            .then(|| Arc::new(websocket::Reception::new(self, websockets)) as Arc<dyn Http1Server>)
    }
}

/// A client whose handshakes are complete.
enum Client {
    Http2(Link),
    Refused(refusal::Refused),
    #[cfg(any(feature = "serve", feature = "websocket"))]
    Http1(Arc<dyn Http1Server>, Box<NewClient>),
}

/// The protocol that a client begins with.
pub(super) enum Spoken {
    Http2(BytesMut),
    Other(BytesMut),
}

/// Reads until it is clear whether the client speaks HTTP/2 (RFC 9113 §3.4).
pub(super) async fn read_preface(io: &mut (impl AsyncRead + Unpin)) -> Result<Spoken> {
    let mut seen = BytesMut::new();
    loop {
        if seen.len() >= PREFACE.len() && seen.starts_with(PREFACE) {
            return Ok(Spoken::Http2(seen));
        }
        if !PREFACE.starts_with(&seen[..seen.len().min(PREFACE.len())]) {
            return Ok(Spoken::Other(seen));
        }
        let lost = |error| {
            let message = "the client's transport failed before it spoke HTTP/2";
            Error::new(ErrorKind::Truncated, message).with_source(error)
        };
        if io.read_buf(&mut seen).await.map_err(lost)? == 0 {
            let message = format!("the client left after {} bytes, before HTTP/2", seen.len());
            return Err(Error::new(ErrorKind::Truncated, message));
        }
    }
}
