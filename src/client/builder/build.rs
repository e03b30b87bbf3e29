//! From the knobs to a client: the checks, and the ways to a server.

use std::sync::{Arc, OnceLock};

use http::{HeaderValue, Method, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ClientBuilder;
use crate::client::dial::Dialer;
use crate::client::policy::Rules;
use crate::client::pool::{Pool, Slot};
#[cfg(feature = "websocket")]
use crate::client::reach::Reach;
#[cfg(feature = "websocket")]
use crate::client::websocket::Sockets;
use crate::client::{Client, Inner};
#[cfg(feature = "websocket")]
use crate::config::check_time;
use crate::config::{Methods, check_protocol, parse_headers};
use crate::conn::{Addr, LinkInfo, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::link::Link;
use crate::observe::Side;

impl ClientBuilder {
    /// Makes the client.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names the knob whose value
    /// cannot be used.
    pub fn build(self) -> Result<Client> {
        self.finish(None)
    }

    /// Makes a client that speaks HTTP/2 over `io`, the program's own transport. Every connection
    /// goes over it, whatever host its URL names. No TLS is added.
    ///
    /// The client cannot replace the transport, so it keeps the link however long it is idle and
    /// however old it gets. When `io` ends, the client is of no more use. When the server takes no
    /// more streams, connecting waits until another connection ends, up to the
    /// [`connect_timeout`](ClientBuilder::connect_timeout).
    ///
    /// # Errors
    ///
    /// The same as for [`build`](ClientBuilder::build).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `io`.
    pub async fn build_over<T>(mut self, io: T) -> Result<Client>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.config.check()?;
        self.config.link_idle_timeout = None;
        self.config.max_link_age = None;
        self.config.pace = Arc::default();
        let info = LinkInfo::new(Side::Client, Addr::Other, Addr::Other);
        let slot = Slot::for_one_link();
        let (link, _) = Link::client(Box::new(io), info, &self.config, slot.places());
        slot.put(link);
        self.finish(Some(slot))
    }

    fn finish(self, only: Option<Arc<Slot>>) -> Result<Client> {
        self.check_ways()?;
        #[cfg(feature = "websocket")]
        self.check_reach(only.is_some())?;
        let (method, transport) = opening(self.method, self.protocol)?;
        self.config.check()?;
        self.rules.check()?;
        let rules = Rules { patience: self.connect_timeout / 2, ..self.rules };
        let tls_connector = match &self.tls {
            Some(tls) => OnceLock::from(tls.build()?),
            None => OnceLock::new(),
        };
        let dialer = Dialer {
            config: self.config,
            tls: self.tls.unwrap_or_default(),
            tls_connector,
            unix_socket: self.unix_socket,
            connector: self.connector,
            hosts: self.hosts,
        };
        let mut headers = parse_headers(&self.headers)?;
        let agent = HeaderValue::from_static(concat!("h2conn/", env!("CARGO_PKG_VERSION")));
        headers.entry(header::USER_AGENT).or_insert(agent);
        let inner = Inner {
            method,
            transport,
            headers,
            headers_with: self.headers_with,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            dialer,
            pool: Pool::new(rules, only),
            #[cfg(feature = "websocket")]
            reach: self.reach,
            #[cfg(feature = "websocket")]
            fallback_delay: self.fallback_delay,
            #[cfg(feature = "websocket")]
            sockets: Sockets::new(self.websockets),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// Checks the settings of WebSockets. `given` says whether the client has been given its transport.
    #[cfg(feature = "websocket")]
    fn check_reach(&self, given: bool) -> Result<()> {
        self.websockets.check()?;
        check_time("fallback_delay", self.fallback_delay)?;
        let other = match (self.reach, &self.protocol) {
            (Reach::Http2, _) => return Ok(()),
            (reach, Some(_)) => format!(
                "reach is {reach:?}, and protocol asks for extended CONNECT; set one of the two"
            ),
            (reach, None) if given => format!(
                "reach is {reach:?}, but a client over a given transport makes no others; give it a connector instead"
            ),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidInput, other))
    }

    /// Checks that one way to a server is set, and that the way uses every setting.
    fn check_ways(&self) -> Result<()> {
        let other = match (&self.connector, &self.unix_socket) {
            (None, None) => return self.hosts.check(),
            (Some(_), Some(_)) => "connector is set together with unix_socket",
            (Some(_), None) if !self.hosts.is_empty() => "connector is set together with resolve",
            (None, Some(_)) if !self.hosts.is_empty() => "unix_socket is set together with resolve",
            _ => return Ok(()),
        };
        let message = format!("{other}, which would have no effect; set one of the two");
        Err(Error::new(ErrorKind::InvalidInput, message))
    }
}

/// The method and the transport of a request.
pub(in crate::client) fn opening(
    method: Option<Method>,
    protocol: Option<String>,
) -> Result<(Method, Transport)> {
    match (method, protocol) {
        (method, None) => {
            let method = method.unwrap_or(Method::POST);
            Methods::only([method.clone()]).check()?;
            Ok((method, Transport::Request))
        }
        (None, Some(protocol)) => {
            check_protocol(&protocol)?;
            Ok((Method::CONNECT, Transport::ExtendedConnect(protocol.into())))
        }
        (Some(method), Some(protocol)) => {
            let message = format!(
                "method is {method} and protocol is {protocol:?}, which asks for CONNECT; set one \
                 of the two"
            );
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}
