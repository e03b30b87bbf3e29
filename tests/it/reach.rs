//! Clients that connect by a WebSocket, and that find out by themselves whether they must.

mod by_http2;
mod closing;
mod ends;
mod foreign;
mod shared_link;
mod silence;
mod strange;
mod ways;

use std::future::ready;
use std::sync::Mutex;

use anyhow::Context;
use bytes::Bytes;
use h2conn::http::{Method, Request, Version};
use h2conn::testing::Network;
use h2conn::{Acceptor, Client, ClientBuilder, Conn, Reach};
use http_body_util::Empty;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::framework::{Host, hyper_over_memory, stock};
use crate::support::{Over, Site, TestResult};

/// The servers that take WebSockets, and the version of HTTP by which the client goes. The last one is behind a proxy.
const HOSTS: [(Host, Version); 9] = [
    (Host::Listener, Version::HTTP_11),
    (Host::Listener, Version::HTTP_2),
    (Host::Hyper, Version::HTTP_11),
    (Host::Hyper, Version::HTTP_2),
    (Host::Axum, Version::HTTP_11),
    (Host::Axum, Version::HTTP_2),
    (Host::Served, Version::HTTP_11),
    (Host::Served, Version::HTTP_2),
    (Host::Translated, Version::HTTP_11),
];

/// Sets up a client that connects by WebSockets only.
fn by_websocket(site: &Site) -> ClientBuilder {
    site.client_builder().reach(Reach::WebSocket)
}

/// A client that connects by WebSockets of this version of HTTP only. For HTTP/2 it has a link, whose server has refused a
/// request.
async fn client_by(version: Version, site: &Site, builder: ClientBuilder) -> TestResult<Client> {
    let client = builder.reach(Reach::WebSocket).build()?;
    if version == Version::HTTP_2 {
        let request = Request::builder().method(Method::HEAD).uri(site.url("/"));
        let refused = client.send(request.body(Empty::<Bytes>::new())?).await?;
        anyhow::ensure!(!refused.status().is_success(), "{}", refused.status());
    }
    Ok(client)
}

/// Both ends of a connection over a WebSocket between two ends of this library: the client's, then the server's.
pub(crate) async fn pair(host: Host, over: Over) -> TestResult<(Conn, Conn)> {
    pair_by((host, Version::HTTP_11), over).await
}

/// The same, over this version of HTTP.
pub(crate) async fn pair_by(
    (host, version): (Host, Version),
    over: Over,
) -> TestResult<(Conn, Conn)> {
    let (site, mut conns) = host.listen(over).await?;
    let client = client_by(version, &site, site.client_builder()).await?;
    let (client, _) = client.connect(site.url("/")).await?;
    Ok((client, conns.recv().await.context("the server has ended")?))
}

async fn next(
    client: ClientBuilder,
    site: &Site,
    conns: &mut UnboundedReceiver<Conn>,
) -> TestResult<(Conn, Conn)> {
    let (client, _) = client.build()?.connect(site.url("/")).await?;
    Ok((client, conns.recv().await.context("the server has ended")?))
}

/// Both ends of a connection in memory, over this network, for tests in which the clock stands: they take no time.
async fn in_memory(network: &Network, builder: ClientBuilder) -> TestResult<(Conn, Conn)> {
    let (_, client, server) = client_in_memory(network, builder).await?;
    Ok((client, server))
}

/// A client that has one transport.
fn with_one(builder: ClientBuilder, transport: DuplexStream) -> ClientBuilder {
    let transport = Mutex::new(Some(transport));
    builder.connector(move |_| {
        let transport = transport.lock().expect("nothing panics with it").take();
        ready(transport.ok_or_else(|| std::io::Error::other("there is only one")))
    })
}

async fn client_in_memory(
    network: &Network,
    builder: ClientBuilder,
) -> TestResult<(Client, Conn, Conn)> {
    let (server_end, mut conns) = hyper_over_memory(64 << 10, stock(), Acceptor::default());
    let (client_end, near) = duplex(64 << 10);
    network.join(near, server_end);
    let client = with_one(builder.reach(Reach::WebSocket), client_end).build()?;
    let (conn, _) = client.connect("http://memory/").await?;
    Ok((client, conn, conns.recv().await.context("the server has ended")?))
}
