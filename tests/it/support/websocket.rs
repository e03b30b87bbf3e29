//! WebSocket clients that are not of this library: tungstenite over HTTP/1.1, and over HTTP/2 with
//! hyper's client.

use anyhow::Context;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use h2conn::OnDrop;
use h2conn::http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use super::foreign::{Io, tls_to};
use super::{Site, TestResult, tcp_server};

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The two versions of HTTP that can carry a WebSocket.
pub(crate) const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A valid request for a WebSocket at `path`.
pub(crate) fn request(site: &Site, by: Version, path: &str) -> TestResult<Request<Empty<Bytes>>> {
    let request = Request::builder().header("sec-websocket-version", "13");
    let request = if by == Version::HTTP_2 {
        request
            .method(Method::CONNECT)
            .uri(site.url(path))
            .extension(Protocol::from_static("websocket"))
    } else {
        request
            .uri(path)
            .header("host", site.addr.to_string())
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    Ok(request.body(Empty::new())?)
}

/// Sends a request over a transport of its own.
pub(crate) async fn send(
    site: &Site,
    by: Version,
    request: Request<Empty<Bytes>>,
) -> TestResult<Response<Incoming>> {
    let alpn = if by == Version::HTTP_2 { "h2" } else { "http/1.1" };
    let io: Box<dyn Io> = match site.certificate {
        None => Box::new(TcpStream::connect(site.addr).await?),
        Some(_) => Box::new(tls_to(site, &[alpn]).await?),
    };
    send_over(io, by, request).await
}

async fn send_over(
    io: impl Io,
    by: Version,
    request: Request<Empty<Bytes>>,
) -> TestResult<Response<Incoming>> {
    let io = TokioIo::new(io);
    if by == Version::HTTP_2 {
        let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut send, connection) = client.handshake(io).await?;
        tokio::spawn(connection);
        // The server's SETTINGS allow extended CONNECT, but may not have arrived yet.
        send.ready().await?;
        Ok(send.send_request(request).await?)
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(send.send_request(request).await?)
    }
}

/// Opens a WebSocket at `path`.
pub(crate) async fn open(site: &Site, by: Version, path: &str) -> TestResult<Socket> {
    opened(send(site, by, request(site, by, path)?).await?).await
}

/// A link for many WebSockets over HTTP/2.
pub(crate) async fn sender(site: &Site) -> TestResult<SendRequest<Empty<Bytes>>> {
    let io = TokioIo::new(TcpStream::connect(site.addr).await?);
    let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut send, connection) = client.handshake(io).await?;
    tokio::spawn(connection);
    // The server's SETTINGS allow extended CONNECT, but may not have arrived yet.
    send.ready().await?;
    Ok(send)
}

/// Opens a WebSocket at `path` on a link.
pub(crate) async fn open_with(
    send: &mut SendRequest<Empty<Bytes>>,
    site: &Site,
    path: &str,
) -> TestResult<Socket> {
    opened(send.send_request(request(site, Version::HTTP_2, path)?).await?).await
}

/// Opens a WebSocket over a transport that the test provides.
pub(crate) async fn open_over(io: impl Io, by: Version) -> TestResult<Socket> {
    let nowhere = Site::cleartext(([127, 0, 0, 1], 80).into());
    opened(send_over(io, by, request(&nowhere, by, "/")?).await?).await
}

async fn opened(response: Response<Incoming>) -> TestResult<Socket> {
    let expected = [StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS];
    if !expected.contains(&response.status()) {
        anyhow::bail!("{}", told(response).await?);
    }
    upgraded(response, Role::Client).await
}

/// The WebSocket that a response has opened. With the server's role, it sends frames that no client
/// may send.
pub(crate) async fn upgraded(response: Response<Incoming>, role: Role) -> TestResult<Socket> {
    let io = hyper::upgrade::on(response).await.context("the WebSocket's transport")?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(io), role, None).await)
}

/// The text of a refusal: its status, and its message.
pub(crate) async fn told(response: Response<Incoming>) -> TestResult<String> {
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok(format!("{} {}", status.as_str(), std::str::from_utf8(&text)?))
}

/// A proxy in front of a server, which takes WebSockets over HTTP/1.1 and passes each on by an extended CONNECT (RFC 8441
/// §5), on a link of its own.
pub(crate) async fn translated(site: Site) -> TestResult<Site> {
    let addr = tcp_server(move |io| translate(io, site.clone())).await?;
    Ok(Site::cleartext(addr))
}

async fn translate(mut io: TcpStream, to: Site) -> TestResult {
    let client = to.client_builder().protocol("websocket").build()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let path = head.split(' ').nth(1).context("a path")?;
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let (mut key, mut request) = (None, client.request(to.url(path)));
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "sec-websocket-key" => key = Some(value),
            "host" | "connection" | "upgrade" => {}
            _ => request = request.header(name, value),
        }
    }
    let (mut conn, response) = request.connect().await?;
    conn.on_drop(OnDrop::Reset);
    let mut answer =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            .to_owned();
    let accept = derive_accept_key(key.context("a key")?.as_bytes());
    answer += &format!("sec-websocket-accept: {accept}\r\n");
    if let Some(chosen) = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL) {
        answer += &format!("sec-websocket-protocol: {}\r\n", chosen.to_str()?);
    }
    io.write_all((answer + "\r\n").as_bytes()).await?;
    copy_bidirectional(&mut io, &mut conn).await?;
    conn.close().await?;
    Ok(())
}

/// The next message. Pings, which the client answers by itself, may come before it.
pub(crate) async fn next(
    socket: &mut (impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin),
) -> TestResult<Message> {
    loop {
        match socket.next().await.context("the WebSocket has ended")?? {
            Message::Ping(_) => {}
            message => return Ok(message),
        }
    }
}
