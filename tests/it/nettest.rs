//! The cases of Go's `golang.org/x/net/nettest.TestConn`, which check whether this is really a
//! connection.
//!
//! Each case runs on a new pair, in both directions, on both kinds of runtime, three times. With
//! `H2CONN_LONG` it runs twenty times, and with `H2CONN_ROUNDS` as often as that variable says.

mod cases;

use std::future::Future;
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use h2conn::http::Version;
use h2conn::testing::pair;
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Conn, Listener, ReadHalf, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::extended_connect::connect_pair;
use crate::reach;
use crate::support::framework::Host;
use crate::support::{Over, checked, long};

/// The operations that the cases need. Several tasks use one connection at once.
trait Duplex: Send + Sync + 'static {
    fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;
    fn close(&self) -> impl Future<Output = h2conn::Result<()>> + Send;
    fn set_read_deadline(&self, deadline: Option<Instant>);
    fn set_write_deadline(&self, deadline: Option<Instant>);
    fn addresses(&self) -> String;

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.set_read_deadline(deadline);
        self.set_write_deadline(deadline);
    }
}

impl Duplex for Conn {
    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(&mut &*self, buf).await
    }

    async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        AsyncWriteExt::write(&mut &*self, buf).await
    }

    async fn close(&self) -> h2conn::Result<()> {
        Conn::close(self).await
    }

    fn set_read_deadline(&self, deadline: Option<Instant>) {
        Conn::set_read_deadline(self, deadline);
    }

    fn set_write_deadline(&self, deadline: Option<Instant>) {
        Conn::set_write_deadline(self, deadline);
    }

    fn addresses(&self) -> String {
        format!("{} {}", self.local_addr(), self.peer_addr())
    }
}

/// The two halves of a Conn.
struct Split(ReadHalf, WriteHalf);

impl Duplex for Split {
    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(&mut &self.0, buf).await
    }

    async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        AsyncWriteExt::write(&mut &self.1, buf).await
    }

    async fn close(&self) -> h2conn::Result<()> {
        self.1.close().await
    }

    fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.0.set_read_deadline(deadline);
    }

    fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.1.set_write_deadline(deadline);
    }

    fn addresses(&self) -> String {
        format!("{:?} {:?}", self.0, self.1)
    }
}

/// Makes a pair of connected ends.
async fn over_tcp(tls: bool) -> Result<(Conn, Conn)> {
    let identity = Identity::self_signed(["localhost"])?;
    let trust = ClientTls::new().only_root_certificates(identity.certificate_pem());
    let builder = Listener::builder();
    let builder = if tls { builder.tls(identity) } else { builder };
    let mut listener = builder.bind("127.0.0.1:0").await?;
    let port = listener.local_addr().socket_addr().context("TCP")?.port();
    let scheme = if tls { "https" } else { "http" };
    let client = Client::builder().tls(trust).build()?;
    let client = client.open(format!("{scheme}://localhost:{port}/")).await?;
    let server = listener.accept().await.context("a request")?.accept()?;
    Ok((client, server))
}

#[cfg(unix)]
async fn over_unix() -> Result<(Conn, Conn)> {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("h2conn-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
    let path = std::env::temp_dir().join(name);
    let mut listener = Listener::builder().bind_unix(&path).await?;
    let client = Client::builder().unix_socket(&path).build()?;
    let client = client.open("http://localhost/").await?;
    let server = listener.accept().await.context("a request")?.accept()?;
    Ok((client, server))
}

/// A WebSocket over HTTP/2 between two ends of this library, on a link that the client has.
async fn on_a_link(host: Host, over: Over) -> Result<(Conn, Conn)> {
    reach::pair_by((host, Version::HTTP_2), over).await
}

/// A WebSocket between two ends of this library.
async fn by_websocket(host: Host, over: Over) -> Result<(Conn, Conn)> {
    reach::pair(host, over).await
}

fn split((client, server): (Conn, Conn)) -> (Split, Split) {
    let ((a, b), (c, d)) = (client.into_split(), server.into_split());
    (Split(a, b), Split(c, d))
}

/// How often each case is run.
fn rounds() -> Result<usize> {
    match std::env::var("H2CONN_ROUNDS") {
        Ok(rounds) => rounds.parse().context("H2CONN_ROUNDS is the number of rounds"),
        Err(_) => Ok(if long() { 20 } else { 3 }),
    }
}

/// Runs a case as often as `rounds` says.
fn run<C, M, F>(make: impl Fn() -> M, case: impl Fn(Arc<C>, Arc<C>) -> F) -> Result<()>
where
    C: Duplex,
    M: Future<Output = Result<(C, C)>>,
    F: Future<Output = Result<()>>,
{
    let rounds = rounds()?;
    for multi in [false, true] {
        let mut builder = match multi {
            false => tokio::runtime::Builder::new_current_thread(),
            true => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().build()?;
        for round in 0..rounds {
            for swapped in [false, true] {
                let result = runtime.block_on(checked(60, async {
                    let (client, server) = make().await?;
                    let (client, server) = (Arc::new(client), Arc::new(server));
                    let (c1, c2) = if swapped { (server, client) } else { (client, server) };
                    case(Arc::clone(&c1), Arc::clone(&c2)).await?;
                    let _ = tokio::join!(c1.close(), c2.close());
                    anyhow::Ok(())
                }));
                result.with_context(|| {
                    let first = if swapped { "server" } else { "client" };
                    format!("round {round}, {first} first, multi-thread {multi}")
                })?;
            }
        }
    }
    Ok(())
}

macro_rules! cases {
    ($($case:ident)*) => {
        mod cleartext { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::over_tcp(false), super::cases::$case)
            }
        )* }
        mod tls { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::over_tcp(true), super::cases::$case)
            }
        )* }
        mod hyper_cleartext { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Hyper.pair(super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod hyper_tls { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Hyper.pair(super::Over::Tls), super::cases::$case)
            }
        )* }
        mod axum_cleartext { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Axum.pair(super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod axum_tls { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Axum.pair(super::Over::Tls), super::cases::$case)
            }
        )* }
        mod served_cleartext { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Served.pair(super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod served_tls { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::Host::Served.pair(super::Over::Tls), super::cases::$case)
            }
        )* }
        mod extended_connect { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::connect_pair(super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod websocket_cleartext { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::by_websocket(super::Host::Served, super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod websocket_tls { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::by_websocket(super::Host::Served, super::Over::Tls), super::cases::$case)
            }
        )* }
        mod websocket_at_listener { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::by_websocket(super::Host::Listener, super::Over::Tls), super::cases::$case)
            }
        )* }
        mod websocket_by_http2 { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::by_websocket(super::Host::Translated, super::Over::Tls), super::cases::$case)
            }
        )* }
        mod websocket_on_a_link_of_ours { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::on_a_link(super::Host::Listener, super::Over::Tls), super::cases::$case)
            }
        )* }
        mod websocket_on_a_served_link { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::on_a_link(super::Host::Served, super::Over::Cleartext), super::cases::$case)
            }
        )* }
        mod websocket_on_a_link_of_hyper { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| super::on_a_link(super::Host::Hyper, super::Over::Tls), super::cases::$case)
            }
        )* }
        mod memory { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| async { Ok(super::pair().await?) }, super::cases::$case)
            }
        )* }
        mod halves { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(|| async { Ok(super::split(super::pair().await?)) }, super::cases::$case)
            }
        )* }
        #[cfg(unix)]
        mod unix { $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::run(super::over_unix, super::cases::$case)
            }
        )* }
    };
}

cases! {
    basic_io
    ping_pong
    racy_read
    racy_write
    read_timeout
    write_timeout
    past_timeout
    present_timeout
    future_timeout
    close_timeout
    concurrent_methods
}
