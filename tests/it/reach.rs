//! Clients that connect by a WebSocket, and that find out by themselves whether they must.

mod closing;
mod ends;
mod foreign;
mod silence;
mod ways;

use std::future::ready;
use std::sync::Mutex;

use anyhow::Context;
use h2conn::testing::Network;
use h2conn::{Acceptor, Client, ClientBuilder, Conn, Reach};
use tokio::io::duplex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::framework::{Host, hyper_over_memory, stock};
use crate::support::{Over, Site, TestResult};

/// The servers that take WebSockets over HTTP/1.1, the last one behind a proxy.
const HOSTS: [Host; 5] = [Host::Listener, Host::Hyper, Host::Axum, Host::Served, Host::Translated];

/// Sets up a client that connects by WebSockets only.
fn by_websocket(site: &Site) -> ClientBuilder {
    site.client_builder().reach(Reach::WebSocket)
}

/// Both ends of a connection over a WebSocket between two ends of this library: the client's, then the server's.
pub(crate) async fn pair(host: Host, over: Over) -> TestResult<(Conn, Conn)> {
    let (site, mut conns) = host.listen(over).await?;
    next(by_websocket(&site), &site, &mut conns).await
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

async fn client_in_memory(
    network: &Network,
    builder: ClientBuilder,
) -> TestResult<(Client, Conn, Conn)> {
    let (server_end, mut conns) = hyper_over_memory(64 << 10, stock(), Acceptor::default());
    let (client_end, near) = duplex(64 << 10);
    network.join(near, server_end);
    let transport = Mutex::new(Some(client_end));
    let client = builder
        .reach(Reach::WebSocket)
        .connector(move |_| {
            let transport = transport.lock().expect("nothing panics with it").take();
            ready(transport.ok_or_else(|| std::io::Error::other("there is only one")))
        })
        .build()?;
    let (conn, _) = client.connect("http://memory/").await?;
    Ok((client, conn, conns.recv().await.context("the server has ended")?))
}
