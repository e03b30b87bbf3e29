//! A full-duplex connection over one HTTP/2 stream: like a WebSocket, but plain HTTP/2.
//!
//! [`connect`] on the client, and [`Listener::accept`] or [`accept()`] on the server, give a
//! [`Conn`]. It is an `AsyncRead + AsyncWrite` with real half-close, real backpressure and typed
//! resets. Many of them share one TCP connection.
//!
//! ```
//! use h2conn::tls::{ClientTls, Identity};
//! use h2conn::{Client, Listener};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The server: any address, and a certificate made on the spot.
//! let identity = Identity::self_signed(["localhost"])?;
//! let certificate = identity.certificate_pem();
//! let mut listener = Listener::builder().tls(identity).bind("localhost:0").await?;
//! let address = listener.local_addr().socket_addr().ok_or("TCP has a port")?;
//! let server = tokio::spawn(async move {
//!     let mut conn = listener.accept().await.ok_or("ended")?.accept()?;
//!     let mut message = String::new();
//!     conn.read_to_string(&mut message).await?;
//!     conn.write_all(message.to_uppercase().as_bytes()).await?;
//!     conn.close().await?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//!
//! // The client, which trusts that certificate.
//! let client = Client::builder().tls(ClientTls::new().root_certificates(certificate)).build()?;
//! let url = format!("https://localhost:{}/shout", address.port());
//! let (mut conn, response) = client.connect(&url).await?;
//! assert_eq!(response.status(), 200);
//! conn.write_all(b"hello").await?;
//! conn.shutdown().await?; // this side has said everything; the answer still comes
//! let mut answer = String::new();
//! conn.read_to_string(&mut answer).await?;
//! assert_eq!(answer, "HELLO");
//! # server.await?.map_err(|error| error.to_string())?;
//! # Ok(())
//! # }
//! ```
//!
//! # Before the process ends
//!
//! A write returns when its bytes are queued, and a dropped [`Conn`] is flushed by a task in the
//! background. A destructor cannot wait for that task, so await one of these before the process or
//! its runtime ends:
//!
//! * [`Conn::close`]: everything is sent, and both sides have ended.
//! * [`Client::close`] or [`Listener::drain`]: the same for all their connections, including
//!   dropped ones.
//!
//! # How a connection ends
//!
//! Only END_STREAM is read as end of file. A reset, a lost network or a broken peer is an error.
//! Reads return it after the bytes that came before it, and every further call returns it again. It
//! carries an [`Error`] ([`Error::from_io`]) with its [kind](ErrorKind), the peer's [`Reason`], and
//! whether to retry.
//!
//! # On the wire
//!
//! One request and one 200 response, whose bodies both stay open (RFC 9113 §8.1). The bodies are
//! the user's unchanged bytes. Any HTTP/2 client or server can be the other end.
//!
//! If a proxy forwards only CONNECT, [`ClientBuilder::protocol`] and [`ListenerBuilder::protocols`]
//! carry the same bytes on an extended CONNECT (RFC 8441). [`Conn::transport`] tells which form a
//! connection has.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `accept` | no | [`accept()`] in the handlers of hyper, or of any server with the bodies of `http-body` |
//! | `aws-lc-rs` | no | [`tls`], by rustls with aws-lc-rs |
//! | `axum` | no | `accept`, and [`axum::Accept`], an extractor |
//! | `doctor` | no | [`doctor::Doctor`], the server's end of `h2conn doctor`, at a path of your own server |
//! | `gob` | no | [`codec::Gob`] |
//! | `json` | yes | [`codec::Json`] |
//! | `leak-check` | no | [`testing::alive`] and [`testing::none_alive`]: counts what a test leaves over |
//! | `metrics` | no | counters and gauges for the `metrics` crate, and [`describe_metrics`] |
//! | `postcard` | no | [`codec::Postcard`] |
//! | `requests` | no | [`Client::send`]: ordinary requests beside connections; [`Client`] is a service of tower |
//! | `ring` | yes | [`tls`], by rustls with ring |
//! | `self-signed` | no | [`tls::Identity::self_signed`], where there is TLS |
//! | `serve` | no | `accept`, and [`serve()`]: a listener that serves a router, such as axum's, beside connections |
//! | `websocket` | no | `accept`, which takes WebSockets too, over HTTP/1.1 and HTTP/2: [`WebSockets`]; a listener that takes them: [`ListenerBuilder::websockets`]; a client that connects by one where HTTP/2 does not pass: [`Reach`] |

#[cfg(feature = "accept")]
mod accept;
mod alive;
#[cfg(feature = "axum")]
pub mod axum;
mod client;
pub mod codec;
mod config;
mod conn;
#[cfg(any(feature = "requests", feature = "serve"))]
mod content;
#[cfg(feature = "doctor")]
pub mod doctor;
mod error;
#[cfg(feature = "accept")]
mod hosted;
mod link;
mod listener;
mod observe;
mod pipe;
#[cfg(feature = "serve")]
pub mod serve;
mod sync;
pub mod testing;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub mod tls;
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
#[path = "tls/absent.rs"]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

#[doc(no_inline)]
pub use http;
#[doc(no_inline)]
pub use tokio_util;

#[cfg(feature = "accept")]
pub use accept::{AcceptError, Acceptor, AcceptorBuilder, AcceptorStats, accept};
#[cfg(feature = "websocket")]
pub use client::Reach;
#[cfg(feature = "requests")]
pub use client::ResponseBody;
pub use client::{
    Backoff, Client, ClientBuilder, ClientStats, Destination, LinkPolicy, LinkStats, OriginStats,
    RequestBuilder, connect,
};
pub use config::bearer_token;
pub use conn::{
    Addr, Conn, IntoDeadline, OnDrop, ReadHalf, ReuniteError, Stats, Transport, WriteHalf,
};
pub use error::{Error, ErrorKind, Reason, Result};
#[cfg(feature = "accept")]
pub use hosted::Body;
pub use listener::{Incoming, Listener, ListenerBuilder, ListenerHandle, ListenerStats};
#[cfg(feature = "metrics")]
pub use observe::describe_metrics;

#[cfg(feature = "serve")]
pub use serve::serve;
#[cfg(feature = "websocket")]
pub use websocket::WebSockets;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct GuideDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/formats.md")]
struct FormatsDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/operations.md")]
struct OperationsDoctests;

#[cfg(all(doctest, feature = "ring"))]
#[doc = include_str!("../docs/tls.md")]
struct TlsDoctests;
