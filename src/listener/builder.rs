//! The knobs of a listener.

mod bind;

#[cfg(feature = "websocket")]
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::descriptors::max_links;
use crate::config::{Config, Methods, Origins, Protocols};
use crate::conn::OnDrop;
use crate::tls::ServerTls;
#[cfg(feature = "websocket")]
use crate::websocket::WebSockets;

/// Connections that may wait to be accepted, over all links. Further requests are refused with
/// `REFUSED_STREAM`, so that clients know that they may try again. One link can have half of them.
pub(super) const BACKLOG: usize = 8192;

/// Sets up a [`Listener`](crate::Listener). The setters cannot fail and may come in any order. Binding checks the
/// values.
#[derive(Clone, Debug)]
pub struct ListenerBuilder {
    tls: Option<ServerTls>,
    methods: Methods,
    protocols: Protocols,
    origins: Origins,
    #[cfg(feature = "websocket")]
    pub(super) websockets: Option<Arc<WebSockets>>,
    pub(super) config: Config,
}

/// 3 minutes, twice the time that clients keep an unused link. So the client usually closes first,
/// and a vanished client does not keep its socket here.
const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// The same time as for the handshakes: a client connects because it wants to open a connection.
const FIRST_CONN_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for ListenerBuilder {
    fn default() -> ListenerBuilder {
        ListenerBuilder {
            tls: None,
            methods: Methods::default(),
            protocols: Protocols::default(),
            origins: Origins::default(),
            #[cfg(feature = "websocket")]
            websockets: None,
            config: Config {
                link_idle_timeout: Some(LINK_IDLE_TIMEOUT),
                first_conn_timeout: Some(FIRST_CONN_TIMEOUT),
                max_links: max_links(),
                ..Config::default()
            },
        }
    }
}

impl ListenerBuilder {
    /// Speaks TLS, with this identity or configuration. Default: cleartext HTTP/2.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Accepts only these methods. Other methods are answered with 405. Default: all but CONNECT,
    /// HEAD and TRACE (curl sends PUT, the Go library POST).
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Methods::only(methods);
        self
    }

    /// Also accepts extended CONNECT (RFC 8441 §4) with these values of `:protocol`, whatever
    /// [`methods`](ListenerBuilder::methods) says, and offers it in the SETTINGS. Other values are
    /// answered with 501 (RFC 9220 §3). A CONNECT without `:protocol` stays refused. Default: none,
    /// and no offer.
    ///
    /// The names are tokens (RFC 9110 §5.6.2), whose case does not matter. [`Incoming::transport`]
    /// tells such a request from others. The stream carries the written bytes unchanged.
    ///
    /// The offer contains no names. A browser that sees it sends its WebSockets to this port over
    /// HTTP/2, where they are answered with 501 unless the listener takes them (`websockets`). Under
    /// `h2conn::serve` they go to the service, whose `accept` takes them: so `["websocket"]` gives
    /// pages one HTTP/2 connection for all their WebSockets and requests.
    ///
    /// [`Incoming::transport`]: crate::Incoming::transport
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.protocols = Protocols::only(names);
        self
    }

    /// Lets pages of these origins connect. Default: those of the host and port that the request
    /// was sent to. A request with another `origin`, or with `sec-fetch-site: cross-site` and no
    /// origin, gets the answer 403, whatever else is wrong. Programs send neither field. Details:
    /// [`AcceptorBuilder::origins`](crate::AcceptorBuilder::origins) (feature `accept`).
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = Origins::only(origins);
        self
    }

    /// Lets the pages of any origin connect. Browsers send this server's cookies along, so any page
    /// that your user visits can then act in that user's name.
    pub fn dangerous_any_origin(mut self) -> Self {
        self.origins = Origins::Any;
        self
    }

    /// How long a client may take for TLS and the first bytes of HTTP/2, and then again for its
    /// SETTINGS. Default: 10 seconds.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.config.handshake_timeout = limit;
        self
    }

    /// How long a client has, from the beginning of its link, until one of its connections is
    /// accepted. After this time, a link without an accepted connection and without a request that
    /// waits for its answer is ended with GOAWAY (RFC 9113 §6.8), as after the
    /// [`link_idle_timeout`](ListenerBuilder::link_idle_timeout). Default: 10 seconds. `None` is no
    /// limit.
    ///
    /// Without this limit a client whose requests are all refused could hold its link, and links
    /// are limited.
    pub fn first_conn_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.first_conn_timeout = limit.into();
        self
    }

    /// Links that may be open at once, including sockets in their handshakes. Default: half of the
    /// file descriptors that the process may have when the builder is made (`ulimit -n`), at most
    /// 10,000.
    ///
    /// Each link takes a descriptor. The other half is for the files and sockets that the program
    /// itself opens. If descriptors run out all the same, accepting rests, and clients wait in the
    /// system's queue. A program that raises its limit must do so before it makes the builder.
    ///
    /// A client is a stranger until something on its link was accepted. When all links are taken,
    /// the listener sends away the oldest stranger of the address that has most strangers. It does
    /// so at once for a client of another address, and after a second for a client of the same
    /// address (GOAWAY; the stranger may try again). A client that is not a stranger keeps its
    /// link.
    ///
    /// Every other client over the cap is told after its handshake that it may try again: by a
    /// GOAWAY, or by 503 if it speaks HTTP/1. At most 64 clients at a time are told so, each within
    /// 3 seconds. The sockets of further clients are closed at once.
    pub fn max_links(mut self, links: usize) -> Self {
        self.config.max_links = links;
        self
    }

    /// Links that one IP address may have open at once. For IPv6, the addresses of one /64 count
    /// together. Clients over the cap are refused as those over
    /// [`max_links`](ListenerBuilder::max_links). Default: `None`, no separate cap.
    ///
    /// This keeps one client from taking all of `max_links`. Behind a proxy all clients have the
    /// proxy's address, and behind a NAT many clients have the same. So set it only where clients
    /// connect directly, and well above the need of the largest office behind one address.
    pub fn max_links_per_addr(mut self, links: impl Into<Option<usize>>) -> Self {
        self.config.max_links_per_addr = links.into();
        self
    }

    /// Bytes that all links together may hold: unread bytes, and for each request that is waiting
    /// or held 5 KiB and its header fields (their size, and 224 bytes for each). The bytes of a
    /// WebSocket's message that comes count too. Default: 1 GiB, enough for 200,000 connections. At
    /// least 256 KiB.
    ///
    /// Above this limit, a link that holds more than its fair share (the limit divided by the
    /// number of links) resets its connection that holds most, with `ENHANCE_YOUR_CALM`. From 7/8
    /// of the limit on, requests on links that hold more than 7/8 of their fair share are refused
    /// with `REFUSED_STREAM`, which tells the client that it may try again. Other links are not
    /// affected.
    ///
    /// A listener takes at most the sum of these bytes:
    ///
    /// * 2 × `max_memory`, or 2 × [`max_link_memory`](ListenerBuilder::max_link_memory) for each
    ///   link where that is less. The factor is 2, because buffers are larger than their content.
    /// * Half as much for bytes that wait to be sent, or as much where there are WebSockets: their
    ///   frames wait too. When it is short, writers wait sooner: see
    ///   [`send_queue_size`](ListenerBuilder::send_queue_size).
    /// * For each connection 12 KiB, and for a WebSocket 64 KiB.
    /// * For each link 2 MiB: at most 64 KiB of data that wait for the socket, 320 KiB that go out
    ///   with them, and the buffers of HTTP/2 and TLS.
    ///
    /// When the link of an accepted connection ends, that connection's unread bytes are no longer
    /// counted. The program must read or drop them.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.config.max_memory = bytes;
        self
    }

    /// How long a link with an open connection may receive no byte before the listener sends a PING
    /// (RFC 9113 §6.7) to ask whether the client is still there. `None` never asks. Default: 30
    /// seconds. More than 0, at most a day.
    ///
    /// If no byte at all comes within the
    /// [`keep_alive_timeout`](ListenerBuilder::keep_alive_timeout) after the PING, the listener
    /// gives the link up, and all connections on it fail with
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). A busy link costs nothing. A quiet link
    /// costs 17 bytes each way an interval.
    pub fn keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.keep_alive_interval = interval.into();
        self
    }

    /// How long the client may stay silent after the PING of the
    /// [`keep_alive_interval`](ListenerBuilder::keep_alive_interval). Default: 15 seconds, so the
    /// listener notices a vanished client 45 seconds after its last byte. More than 0, at most a
    /// day.
    ///
    /// Any received byte is a sign of life, and so is a full transport that takes bytes again. A
    /// slow transfer in either direction is not cut off.
    pub fn keep_alive_timeout(mut self, limit: Duration) -> Self {
        self.config.keep_alive_timeout = limit;
        self
    }

    /// Whether the listener also sends PINGs while no connection is open on a link. Default: no.
    /// The [`link_idle_timeout`](ListenerBuilder::link_idle_timeout) then ends the link of a client
    /// that has vanished without a connection.
    pub fn keep_alive_while_idle(mut self, ping: bool) -> Self {
        self.config.keep_alive_while_idle = ping;
        self
    }

    /// The same as [`ClientBuilder::idle_timeout`](crate::ClientBuilder::idle_timeout). A request
    /// that is not yet accepted is a connection, too. A connection whose answer is complete is reset
    /// with `NO_ERROR`, so that the client keeps the answer.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = limit.into();
        self
    }

    /// The same as [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout). It is also
    /// the time for the end of a client that speaks HTTP/1, once it has its last answer or a refusal.
    /// Until then bytes that it still sends are dropped, so that it does not lose the answer to a
    /// request that it has not sent in full (RFC 9112 §9.6). Such a client is given up earlier if it is
    /// silent for a sixth of the time (5 seconds), or sends 256 MiB. Such a sixth is also the longest
    /// pause in the answer to a client that has ended its side first.
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// The same as [`ClientBuilder::stall_timeout`](crate::ClientBuilder::stall_timeout).
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.stall_timeout = limit.into();
        self
    }

    /// Connections that one client may have open on a link, `SETTINGS_MAX_CONCURRENT_STREAMS`
    /// (RFC 9113 §6.5.2). Further requests are refused with `REFUSED_STREAM`. Default: 4096.
    pub fn max_conns_per_link(mut self, conns: u32) -> Self {
        self.config.max_conns = conns;
        self
    }

    /// How old a link may get, give or take a tenth. After that its client is told to go elsewhere
    /// (GOAWAY, RFC 9113 §6.8), and the link ends after its last connection.
    /// [`Conn::draining`](crate::Conn::draining) tells the connections. Default: `None`, for ever.
    /// An age spreads long-lived clients over servers that were added, and costs a handshake each
    /// time.
    pub fn max_link_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.max_link_age = age.into();
        self
    }

    /// How long a link without connections is kept for the client's next connection. After that the
    /// client is told that the link ends (GOAWAY, RFC 9113 §6.8). Default: 3 minutes. `None` keeps
    /// links for ever, even those of clients that have vanished.
    pub fn link_idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.config.link_idle_timeout = time.into();
        self
    }

    /// The effect of dropping a connection without a shutdown. Default: [`OnDrop::Finish`]. See
    /// [`Conn::on_drop`](crate::Conn::on_drop).
    pub fn on_drop(mut self, action: OnDrop) -> Self {
        self.config.reset_on_drop = action == OnDrop::Reset;
        self
    }

    /// The same as
    /// [`ClientBuilder::initial_window_size`](crate::ClientBuilder::initial_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_window_size`](crate::ClientBuilder::max_window_size).
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_link_memory`](crate::ClientBuilder::max_link_memory).
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// The same as [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size). In
    /// addition the bytes that wait on all links have half of
    /// [`max_memory`](ListenerBuilder::max_memory), which the links share as the connections of a link
    /// share theirs.
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }
}
