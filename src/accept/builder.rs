//! The knobs of an acceptor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Response, StatusCode};

use super::Acceptor;
use crate::config::{Config, Methods, Origins, check_time, parse_headers};
use crate::conn::{Addr, OnDrop, has_no_content};
use crate::error::{Error, ErrorKind, Result};
use crate::hosted::Limits;
use crate::pipe::Buffers;
#[cfg(feature = "websocket")]
use crate::websocket::WebSockets;

/// Bytes that wait for their reader, in addition to the server's own window. This is a quarter of
/// the default window of hyper's streams, so the server fills one part while the program reads
/// another.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Sets up an [`Acceptor`]. The setters cannot fail and may come in any order.
/// [`build`](AcceptorBuilder::build) checks the values.
#[derive(Clone, Debug, Default)]
pub struct AcceptorBuilder {
    pub(super) settings: Settings,
    headers: Vec<(String, String)>,
}

impl AcceptorBuilder {
    /// The same as [`ListenerBuilder::methods`](crate::ListenerBuilder::methods).
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.settings.methods = Methods::only(methods);
        self
    }

    /// Lets only pages of these origins connect, such as `https://example.com`. `null` stands for
    /// pages without an origin. `ws://` and `wss://` mean `http://` and `https://`, in the list and
    /// in a request, because some clients that are no browser send them. Default: the server's own
    /// origin, which is the host and port that the request was sent to.
    ///
    /// A browser lets any page send requests to any server, with that server's cookies, so a page
    /// of another site could act in its visitor's name. A request whose field `origin` is not
    /// allowed is answered with 403, whatever its form. So is a request with
    /// `sec-fetch-site: cross-site` and no origin. This comes before every other check: such a
    /// request gets 403 also where it has a wrong method, no body, or an invalid handshake, and
    /// while the acceptor drains. Requests without both fields, as programs send them, are always
    /// allowed. A browser leaves both out when it embeds something (`<img>`) from
    /// a cleartext server that is not on its own machine, so such a GET must change nothing.
    ///
    /// The default does not compare the scheme, because the scheme is not known behind a proxy: a
    /// page from `http://` may connect to the same host over `https://`, each at its default port.
    /// If a proxy passes on another host than the browser has asked for, every page looks foreign:
    /// list the origin then. A foreign name that is made to point to this server counts as the
    /// server's own too, so a service for this machine alone should list its origins.
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.origins = Origins::only(origins);
        self
    }

    /// Lets the pages of any origin connect. Browsers send this server's cookies along, so any page
    /// that your user visits can then act in that user's name.
    pub fn dangerous_any_origin(mut self) -> Self {
        self.settings.origins = Origins::Any;
        self
    }

    /// Requires a GET, or an OPTIONS, to have a body. One whose head has ended it is answered with 400 and a text that
    /// says how to connect. Default: on, also for `axum::Accept` on a route for `any` method.
    ///
    /// Browsers and curl send a GET without a body when somebody opens the URL, and a page that embeds the URL (`<img>`)
    /// makes them send one. Such a client can say nothing, and would wait for the end of the response. Switch this off
    /// where clients may connect by a plain GET only to listen, such as `curl -N URL`. A POST or PUT without a body is
    /// always accepted: it comes from a client that has shut its side down at once. WebSockets are not concerned.
    pub fn require_body(mut self, required: bool) -> Self {
        self.settings.require_body = required;
        self
    }

    /// The status of the response, a 2xx other than 204 and 205, which have no content. Default: 200.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.settings.status = status;
        self
    }

    /// Adds a header field to the response. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Bytes of a connection that may wait for their reader, in addition to the server's own
    /// window. Default: 256 KiB.
    pub fn receive_buffer_size(mut self, bytes: usize) -> Self {
        self.settings.receive_buffer = bytes;
        self
    }

    /// The same as [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size). The
    /// server holds more bytes in its own queue.
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.settings.send_queue = bytes;
        self
    }

    /// The same as [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout), but the
    /// time begins when the server has taken everything, because the server does not say what has
    /// arrived. The peer of a WebSocket has this time to answer the close frame from when it has answered
    /// the ping before that. If it never does, it has two minutes more.
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.settings.linger_timeout = time;
        self
    }

    /// The same as [`ListenerBuilder::on_drop`](crate::ListenerBuilder::on_drop).
    pub fn on_drop(mut self, action: OnDrop) -> Self {
        self.settings.reset_on_drop = action == OnDrop::Reset;
        self
    }

    /// Makes the acceptor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] names the knob whose value cannot be used.
    pub fn build(self) -> Result<Acceptor> {
        let wrong = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        let AcceptorBuilder { mut settings, headers } = self;
        settings.methods.check()?;
        settings.origins.check()?;
        if !settings.status.is_success() || has_no_content(settings.status) {
            return wrong(format!(
                "the status {} does not accept; use a 2xx with content",
                settings.status
            ));
        }
        if settings.receive_buffer == 0 {
            return wrong("receive_buffer_size is 0, and must be at least 1".to_owned());
        }
        if settings.send_queue == 0 {
            return wrong("send_queue_size is 0, and must be at least 1".to_owned());
        }
        check_time("linger_timeout", settings.linger_timeout)?;
        #[cfg(feature = "websocket")]
        if let Some(websockets) = &settings.websockets {
            websockets.check()?;
        }
        settings.headers = parse_headers(&headers)?;
        Ok(Acceptor { settings: Arc::new(settings), accepted: Arc::default() })
    }
}

/// The settings that every connection of an acceptor gets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) methods: Methods,
    pub(super) origins: Origins,
    pub(super) require_body: bool,
    status: StatusCode,
    headers: HeaderMap,
    pub(super) receive_buffer: usize,
    pub(super) send_queue: usize,
    pub(super) linger_timeout: Duration,
    pub(super) reset_on_drop: bool,
    /// `None` refuses WebSockets.
    #[cfg(feature = "websocket")]
    pub(super) websockets: Option<Arc<WebSockets>>,
    /// One store for all connections, because nothing shows which of them share an HTTP/2
    /// connection.
    pub(super) buffers: Arc<Buffers>,
}

impl Default for Settings {
    fn default() -> Settings {
        let Config { send_queue, linger_timeout, .. } = Config::default();
        Settings {
            methods: Methods::default(),
            origins: Origins::default(),
            require_body: true,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            receive_buffer: RECEIVE_BUFFER,
            send_queue,
            linger_timeout,
            reset_on_drop: false,
            #[cfg(feature = "websocket")]
            websockets: Some(Arc::default()),
            buffers: Arc::default(),
        }
    }
}

impl Settings {
    #[cfg(feature = "websocket")]
    pub(super) fn takes_websockets(&self) -> bool {
        self.websockets.is_some()
    }

    #[cfg(not(feature = "websocket"))]
    pub(super) fn takes_websockets(&self) -> bool {
        false
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { room: self.receive_buffer, linger: self.linger_timeout }
    }

    pub(super) fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

/// The client's address, if the server or the program has put a `SocketAddr` among the request's
/// extensions.
pub(super) fn peer_of(extensions: &Extensions) -> Addr {
    extensions.get::<SocketAddr>().map_or(Addr::Other, |addr| Addr::Ip(*addr))
}
