//! From an origin to a link: addresses, sockets, TLS, HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use http::Version;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::connector::{Destination, TransportFn};
use super::hosts::Hosts;
use super::pool::Terms;
use super::target::{Origin, Target};
use crate::config::Config;
use crate::conn::{Addr, LinkInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Lease, Link, Socket};
use crate::observe::Side;
use crate::tls::{ClientTls, Connector};

/// How long one address is tried alone before the next is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The progress of an attempt, for the error when its time is up.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    const RESOLVING: u8 = 1;
    const CONNECTING: u8 = 2;
    const TLS: u8 = 3;
    const CONNECTOR: u8 = 4;

    fn reach(&self, step: u8) {
        self.0.store(step, Relaxed);
    }

    /// Whether an attempt was begun.
    pub(super) fn is_begun(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    /// The step that was being waited for, and advice on it.
    pub(super) fn waited_for(&self) -> &'static str {
        match self.0.load(Relaxed) {
            Progress::CONNECTING => {
                "the server does not answer TCP; check the address, and that nothing on the way \
                 drops packets without a word"
            }
            Progress::TLS => {
                "TCP is connected, but the server does not answer the TLS handshake; check that a \
                 TLS server listens there (for one without TLS use http://)"
            }
            Progress::CONNECTOR => {
                "the connector that the program has given the client is not done; check what it \
                 waits for"
            }
            _ => "the name of the host is not resolved; check the network's DNS",
        }
    }
}

#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) config: Config,
    pub(super) tls: ClientTls,
    /// Made at first use. Reading the platform's roots takes time, and fails on a machine that has
    /// none.
    pub(super) tls_connector: OnceLock<Connector>,
    /// A Unix domain socket that is used for every URL.
    pub(super) unix_socket: Option<PathBuf>,
    /// The program's own function that makes a transport.
    pub(super) connector: Option<TransportFn>,
    pub(super) hosts: Hosts,
}

impl Dialer {
    /// Where a connection to `target` goes.
    pub(super) fn destination(&self, target: &Target) -> String {
        match &self.unix_socket {
            Some(path) => format!("unix:{}", path.display()),
            None => target.origin().authority(),
        }
    }

    /// Makes a link.
    pub(super) async fn dial(
        &self,
        target: &Target,
        what: String,
        progress: &Progress,
        terms: Terms,
    ) -> Result<(Link, Lease)> {
        let (io, info) = self.transport(target, &what, progress, Version::HTTP_2).await?;
        let config = Config { pace: terms.pace, ..self.config.clone() };
        Ok(Link::client(io, info, &config, terms.places))
    }

    /// Makes a transport for this version of HTTP, with TLS where the target needs it.
    pub(super) async fn transport(
        &self,
        target: &Target,
        what: &str,
        progress: &Progress,
        version: Version,
    ) -> Result<(Box<dyn Socket>, LinkInfo)> {
        progress.reach(Progress::RESOLVING);
        let origin = target.origin();
        if origin.tls {
            // Report a TLS setup that cannot work before any server is contacted.
            self.tls_connector()?;
        }
        #[cfg(unix)]
        if let Some(path) = &self.unix_socket {
            let stream = tokio::net::UnixStream::connect(path).await.map_err(|error| {
                let path = path.display();
                let message =
                    format!("{what}: cannot connect to the socket {path}{}", socket_advice(&error));
                Error::new(ErrorKind::Connect, message).with_source(error)
            })?;
            progress.reach(Progress::TLS);
            let local = stream.local_addr().map_or(Addr::Other, Addr::from);
            let peer = stream.peer_addr().map_or(Addr::Other, Addr::from);
            let info = LinkInfo::new(Side::Client, local, peer);
            return self.secure(origin, stream, info, what, version).await;
        }
        if let Some(connector) = &self.connector {
            progress.reach(Progress::CONNECTOR);
            let destination = Destination::from(origin);
            let connected = connector.connect(destination.clone()).await;
            let io = connected.map_err(|error| {
                let message = format!("{what}: the client's connector cannot reach {destination}");
                Error::new(ErrorKind::Connect, message).with_source(error)
            })?;
            progress.reach(Progress::TLS);
            let info = LinkInfo::new(Side::Client, Addr::Other, Addr::Other);
            return self.secure(origin, io, info, what, version).await;
        }
        let stream = self.connect_tcp(origin, what, progress).await?;
        progress.reach(Progress::TLS);
        // Do not delay small messages (Nagle). A socket that refuses the option is only slower.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().map_or(Addr::Other, Addr::Ip);
        let peer = stream.peer_addr().map_or(Addr::Other, Addr::Ip);
        let info = LinkInfo::new(Side::Client, local, peer);
        self.secure(origin, stream, info, what, version).await
    }

    async fn secure<T: Socket + 'static>(
        &self,
        origin: &Origin,
        io: T,
        mut info: LinkInfo,
        what: &str,
        version: Version,
    ) -> Result<(Box<dyn Socket>, LinkInfo)> {
        if !origin.tls {
            return Ok((Box::new(io), info));
        }
        let handshake = self.tls_connector()?.connect(version, &origin.host, io).await;
        let (stream, session) = handshake.map_err(|error| error.during(what))?;
        info.peer_certificates = session.peer_certificates;
        info.observed.set_tls();
        Ok((Box::new(stream), info))
    }

    fn tls_connector(&self) -> Result<&Connector> {
        match self.tls_connector.get() {
            Some(connector) => Ok(connector),
            None => {
                let connector = self.tls.build()?;
                Ok(self.tls_connector.get_or_init(|| connector))
            }
        }
    }

    /// Connects to the first of the host's addresses that answers.
    async fn connect_tcp(
        &self,
        origin: &Origin,
        what: &str,
        progress: &Progress,
    ) -> Result<TcpStream> {
        let addresses = match self.hosts.of(origin) {
            Some(addresses) => addresses,
            None => look_up(origin, what).await?,
        };
        progress.reach(Progress::CONNECTING);
        let tried = match addresses.as_slice() {
            [one] => one.to_string(),
            all => format!("{} ({} addresses)", origin.authority(), all.len()),
        };
        first_to_answer(addresses).await.map_err(|error| {
            let message = format!("{what}: cannot connect to {tried}{}", advice(&error));
            Error::new(ErrorKind::Connect, message).with_source(error)
        })
    }
}

/// Asks the system's resolver.
async fn look_up(origin: &Origin, what: &str) -> Result<Vec<SocketAddr>> {
    let host = origin.host.as_str();
    let unknown = |source: Option<io::Error>| {
        let message = format!(
            "{what}: no address is known for the host {host:?}; check its spelling, and that name \
             resolution works here"
        );
        let source = match source {
            Some(error) => io::Error::new(io::ErrorKind::NotFound, error),
            None => io::ErrorKind::NotFound.into(),
        };
        Error::new(ErrorKind::Connect, message).with_source(source)
    };
    let addresses: Vec<SocketAddr> = match lookup_host((host, origin.port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(unknown(Some(error))),
    };
    match addresses.is_empty() {
        true => Err(unknown(None)),
        false => Ok(addresses),
    }
}

/// Tries the addresses in order, and starts the next after a short wait.
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let next = addresses.next();
        let waiting = next.is_some();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(error) => last = error.into(),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting => {}
        }
    }
}

/// Advice for a failure to connect to a Unix domain socket.
#[cfg(unix)]
fn socket_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ": the file is there, but nothing listens on it; check that the server runs"
        }
        io::ErrorKind::NotFound => ": there is no such file; check the path, and the server",
        io::ErrorKind::PermissionDenied => ": permission was denied; check the file's rights",
        _ => "",
    }
}

/// Advice for a failure to connect over TCP.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ": nothing listens there; check that the server runs, and the port"
        }
        io::ErrorKind::PermissionDenied => {
            ": permission was denied; check the rights, or the firewall"
        }
        _ => "; check the address, and the network on the way",
    }
}
