//! Transports that the program makes when the client asks for one.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use super::target::Origin;
use crate::link::Socket;

/// The destination of a transport that
/// [`ClientBuilder::connector`](crate::ClientBuilder::connector) must make.
///
/// Displayed as `host:port`, with brackets around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    origin: Origin,
}

impl Destination {
    /// The URL's host: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// The URL's port, or that of its scheme.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// Whether the client itself speaks TLS over the transport.
    pub fn is_tls(&self) -> bool {
        self.origin.tls
    }
}

impl From<&Origin> for Destination {
    fn from(origin: &Origin) -> Destination {
        Destination { origin: origin.clone() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin.authority())
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Socket>>> + Send>>;

/// The program's function that makes transports.
#[derive(Clone)]
pub(super) struct TransportFn(Arc<dyn Fn(Destination) -> Connecting + Send + Sync>);

impl TransportFn {
    pub(super) fn new<F, Fut, T>(connect: F) -> TransportFn
    where
        F: Fn(Destination) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + Send + 'static,
        T: Socket + 'static,
    {
        TransportFn(Arc::new(move |destination| {
            let connecting = connect(destination);
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Socket>) })
        }))
    }

    pub(super) async fn connect(&self, destination: Destination) -> io::Result<Box<dyn Socket>> {
        (self.0)(destination).await
    }
}

impl fmt::Debug for TransportFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportFn(..)")
    }
}
