//! From an accepted socket to a link: TLS, a look at what the client speaks, HTTP/2.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Links;
use crate::alive::{Counted, Kind};
use crate::config::Config;
use crate::conn::{Addr, LinkInfo, Offer};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Link, PREFACE, Transport};
use crate::tls::Acceptor;

/// How long accepting rests after the system has refused a socket, for want of file descriptors
/// for instance.
const REST: Duration = Duration::from_millis(100);

/// What a client that speaks HTTP/1 may send before its answer.
const HTTP1_HEAD: usize = 16 << 10;

/// A socket that clients come in by.
pub(super) trait Accept: Send + 'static {
    type Io: Transport + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Addr, Addr)>> + Send;
}

impl Accept for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Io, Addr, Addr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Small messages are not to wait for each other; a socket that refuses is slower, no more.
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

/// What the listener's background tasks share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) tls: Option<Acceptor>,
    pub(super) config: Config,
    pub(super) sender: mpsc::Sender<Offer>,
    pub(super) links: Arc<Links>,
}

impl Server {
    /// Accepts for as long as somebody listens.
    pub(super) async fn run<A: Accept>(self: Arc<Self>, socket: A) {
        while !self.sender.is_closed() {
            match socket.accept().await {
                Ok((io, local, peer)) => Arc::clone(&self).take_in(io, local, peer),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept; trying again in {REST:?}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Makes a link of a client's transport, in the background.
    pub(super) fn take_in<T: Transport + 'static>(self: Arc<Self>, io: T, local: Addr, peer: Addr) {
        tokio::spawn(async move { self.welcome(io, local, peer).await });
    }

    async fn welcome<T: Transport + 'static>(&self, io: T, local: Addr, peer: Addr) {
        let _counted = Counted::new(Kind::Task);
        let info = LinkInfo { local, peer: peer.clone(), peer_certificates: Vec::new() };
        let limit = self.config.handshake_timeout;
        // The task stays as long as the link; what only the handshake needs does not.
        let handshake = Box::pin(self.handshake(io, info));
        let link = match timeout(limit, handshake).await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no link");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "no link: the handshake took longer than {limit:?}");
                return;
            }
        };
        self.links.keep(link).await;
    }

    async fn handshake<T: Transport + 'static>(&self, io: T, mut info: LinkInfo) -> Result<Link> {
        match &self.tls {
            None => self.http2(io, info).await,
            Some(tls) => {
                let (stream, session) = tls.accept(io).await?;
                info.peer_certificates = session.peer_certificates;
                self.http2(stream, info).await
            }
        }
    }

    async fn http2<T: Transport + 'static>(&self, mut io: T, info: LinkInfo) -> Result<Link> {
        let first = match read_preface(&mut io).await? {
            Spoken::Http2(first) => first,
            Spoken::Other(seen) => return Err(send_away(io, seen).await),
        };
        let io = Box::new(io);
        let link = Link::server(io, first.freeze(), info, &self.config, self.sender.clone()).await;
        link.map_err(|event| event.read_error())
    }
}

/// Failures of one client's socket, which say nothing of the next.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}

/// What a client begins with.
enum Spoken {
    Http2(BytesMut),
    Other(BytesMut),
}

/// Reads until it is clear whether the client speaks HTTP/2 (RFC 9113 §3.4).
async fn read_preface(io: &mut (impl AsyncRead + Unpin)) -> Result<Spoken> {
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

/// Tells a client that speaks something else so, in its own language, and gives the error to log.
async fn send_away<T: Transport>(mut io: T, mut seen: BytesMut) -> Error {
    const TLS_HANDSHAKE: u8 = 0x16;
    /// A fatal alert, `unexpected_message` (RFC 8446 §6).
    const TLS_ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 10];

    /// In the first line of a request (RFC 9112 §3).
    const HTTP1: &[u8] = b" HTTP/1.";

    let may_be_http1 = |seen: &[u8]| seen.first().is_some_and(u8::is_ascii_uppercase);
    let unsupported = |message: String| Error::new(ErrorKind::Unsupported, message);
    if seen.first() == Some(&TLS_HANDSHAKE) {
        farewell(&mut io, &TLS_ALERT).await;
        return unsupported("the client speaks TLS, and this port does not".to_owned());
    }
    while may_be_http1(&seen) && !seen.contains(&b'\n') && seen.len() < HTTP1_HEAD {
        match io.read_buf(&mut seen).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let line = seen[..].split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    if !may_be_http1(&seen) || !line.windows(HTTP1.len()).any(|part| part == HTTP1) {
        let first = seen[..seen.len().min(32)].escape_ascii().to_string();
        farewell(&mut io, &[]).await;
        return unsupported(format!(
            "the client does not speak HTTP/2: its first bytes are \"{first}\""
        ));
    }
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") && seen.len() < HTTP1_HEAD {
        match io.read_buf(&mut seen).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let text = "This is an h2conn server. A full-duplex connection needs HTTP/2, and this request \
                came by HTTP/1. Over TLS, offer \"h2\" in ALPN; without TLS, begin with HTTP/2 \
                right away (curl: --http2-prior-knowledge).\n";
    let answer = format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    farewell(&mut io, answer.as_bytes()).await;
    let text = String::from_utf8_lossy(&seen);
    unsupported(format!("the client speaks HTTP/1: {:?}", text.lines().next().unwrap_or("")))
}

/// Says a last word, and stays until the client has heard it: a socket that is closed with bytes
/// unread is reset, and the word lost.
async fn farewell(io: &mut (impl Transport + ?Sized), word: &[u8]) {
    let said = async {
        io.write_all(word).await?;
        io.shutdown().await?;
        let mut rest = [0; 4096];
        while io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // A client that keeps talking is not listened to for long.
    let _ = timeout(Duration::from_secs(1), said).await;
}
