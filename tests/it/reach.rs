//! Clients that connect by a WebSocket, and that find out by themselves whether they must.

mod ends;
mod foreign;
mod ways;

use anyhow::Context;
use h2conn::{ClientBuilder, Conn, Reach};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::framework::Host;
use crate::support::{Over, Site, TestResult};

/// The servers that take WebSockets over HTTP/1.1.
const HOSTS: [Host; 3] = Host::OF_ACCEPT;

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
