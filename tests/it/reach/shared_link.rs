//! WebSockets of a client over HTTP/2 (RFC 8441) on their link: with other requests, when the link is full, drained or
//! lost, and when the client is closed.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::http::{Method, StatusCode, Version};
use h2conn::testing::{Flow, Line, Network};
use h2conn::{
    Client, ClientBuilder, Conn, ErrorKind, Listener, ListenerBuilder, Reach, Reason, Transport,
    WebSockets,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;

use super::strange::{LONG, check};
use super::{client_by, pair_by, with_one};
use crate::node;
use crate::support::faults::{Fault, Faults};
use crate::support::framework::{Host, hand_out};
use crate::support::script::Script;
use crate::support::{GRACE, Over, Site, TestResult, accept, listen_with, noise, ours, run, serve};

/// A listener that refuses all but WebSockets.
fn builder(most: u32) -> ListenerBuilder {
    let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
    let builder = builder.websockets(WebSockets::new()).methods([Method::PATCH]);
    builder.max_conns_per_link(most)
}

/// The same, which hands out its connections.
async fn listener(over: Over, most: u32) -> TestResult<(Site, mpsc::UnboundedReceiver<Conn>)> {
    let (listener, site) = listen_with(over, builder(most)).await?;
    let (handler, conns) = hand_out();
    serve(listener, handler);
    Ok((site, conns))
}

fn auto(site: &Site) -> h2conn::Result<Client> {
    site.client_builder().reach(Reach::Auto).fallback_delay(LONG).build()
}

#[test]
fn many_share_a_link_with_other_requests() -> TestResult {
    run(async {
        for host in Host::ALL {
            let site = host.echo(Over::Tls).await?;
            let client = client_by(Version::HTTP_2, &site, site.client_builder()).await?;
            let connecting = (0..50).map(|_| client.connect(site.url("/")));
            let conns = futures_util::future::try_join_all(connecting).await?;
            let stats = client.stats();
            ensure!(stats.websockets == 50 && stats.dials == 1, "{stats:?}");
            ensure!(stats.origins.iter().all(|origin| origin.conns() == 50), "{stats:?}");
            let echoes = conns.into_iter().zip(0..).map(|((conn, _), seed)| async move {
                check(conn, &Transport::WebSocketHttp2).await.with_context(|| format!("{seed}"))
            });
            futures_util::future::try_join_all(echoes).await?;
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_full_link_gets_another_beside_it() -> TestResult {
    run(async {
        let (site, mut conns) = listener(Over::Cleartext, 2).await?;
        let client = auto(&site)?;
        let mut ends = Vec::new();
        for _ in 0..5 {
            let (conn, _) = client.connect(site.url("/")).await?;
            ensure!(*conn.transport() == Transport::WebSocketHttp2, "{}", conn.transport());
            ends.push((conn, conns.recv().await.context("the server has ended")?));
        }
        let stats = client.stats();
        ensure!(stats.origins[0].links.len() == 3 && stats.websockets == 5, "{stats:?}");
        for (client, server) in ends {
            let (one, two) = tokio::join!(client.close(), server.close());
            one?;
            two?;
        }
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_drain_is_told_and_both_sides_finish() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Tls, builder(100)).await?;
        let client = auto(&site)?;
        let url = site.url("/");
        let (near, far) = tokio::join!(client.connect(url), accept(&mut listener));
        let ((mut near, _), mut far) = (near?, far?);
        let draining = tokio::spawn(listener.drain(Duration::from_secs(60)));
        tokio::join!(near.draining(), far.draining());
        // Both sides finish their work.
        near.write_all(b"the last").await?;
        near.shutdown().await?;
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last");
        far.close().await?;
        ensure!(near.read(&mut [0]).await? == 0);
        near.close().await?;
        client.close().await?;
        ensure!(draining.await?, "it has not ended by itself");
        Ok(())
    })
}

#[test]
fn the_end_of_the_link_is_the_error_of_its_websockets() -> TestResult {
    run(async {
        let (site, mut conns) = listener(Over::Cleartext, 100).await?;
        let relay = Faults::before(site.addr, Duration::from_secs(60), 1).await?;
        let near = Site::cleartext(relay.addr);
        let client = auto(&near)?;
        let (mut conn, _) = client.connect(near.url("/")).await?;
        let _server = conns.recv().await.context("the server has ended")?;
        relay.happen(Fault::Reset, Duration::ZERO).await;
        let error = conn.read(&mut [0]).await.expect_err("the link is gone");
        ensure!(ours(&error).kind() == ErrorKind::Truncated, "{error:?}");
        ensure!(conn.write_all(&[0; 1 << 20]).await.is_err());
        // The way is still known, and needs another link.
        let stats = client.stats();
        ensure!(stats.dials == 1, "{stats:?}");
        let error = client.connect(near.url("/")).await.map(drop);
        ensure!(client.stats().dials == 2, "{error:?}");
        Ok(())
    })
}

/// A client over this network, and both ends of a WebSocket on its link, for tests in which the clock stands.
async fn in_memory(network: &Network, client: ClientBuilder) -> TestResult<(Client, Conn, Conn)> {
    let ((client_end, near), (far, server_end)) = (duplex(64 << 10), duplex(64 << 10));
    network.join(near, far);
    let mut listener = builder(100).build_over(server_end)?;
    let client = with_one(client.reach(Reach::Auto), client_end).build()?;
    let connecting = client.connect("http://memory/");
    let (near, far) = tokio::join!(connecting, accept(&mut listener));
    tokio::spawn(async move { while listener.accept().await.is_some() {} });
    let (near, _) = near?;
    ensure!(*near.transport() == Transport::WebSocketHttp2, "{}", near.transport());
    Ok((client, near, far?))
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_dropped_connection_are_delivered_after_the_linger_of_its_client() -> TestResult
{
    let network = Network::new();
    let builder = Client::builder().linger_timeout(Duration::from_secs(1));
    let (client, mut conn, mut server) = in_memory(&network, builder).await?;
    // It takes half a minute.
    network.set(Line::new().bytes_per_second(10_000).depth(16 << 10));
    let said = noise(300_000, 9);
    conn.write_all(&said[..100_000]).await?;
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await?;
        server.close().await?;
        TestResult::Ok(heard)
    });
    conn.write_all(&said[100_000..]).await?;
    drop(conn);
    client.close().await?;
    ensure!(reading.await?? == said);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_link_that_dies_behind_a_confirmed_end_has_lost_nothing() -> TestResult {
    let network = Network::new();
    let (client, mut conn, server) = in_memory(&network, Client::builder()).await?;
    conn.write_all(b"all that there is").await?;
    let (one, two) = tokio::join!(conn.close(), server.close());
    one?;
    two?;
    // Keep-alive finds out that the link is dead, which has the end of the stream to send.
    network.set(Flow::Swallowed);
    tokio::time::sleep(Duration::from_secs(300)).await;
    ensure!(client.stats().origins.iter().all(|origin| origin.links.is_empty()));
    client.close().await?;
    Ok(())
}

#[test]
fn a_reset_by_the_stream_itself_keeps_its_reason() -> TestResult {
    run(async {
        let (client, server) = pair_by((Host::Listener, Version::HTTP_2), Over::Tls).await?;
        server.reset(Reason::from_code(77));
        let error = client.closed().await.expect_err("it was reset");
        ensure!(error.reason() == Some(Reason::from_code(77)), "{error:?}");
        ensure!(error.is_by_peer());
        Ok(())
    })
}

#[test]
fn a_server_of_node_over_http2_echoes() -> TestResult {
    run(async {
        if !node::is_here().await? {
            return Ok(());
        }
        let path = "websocket/node/over-http2.mjs";
        let script = Script { interpreter: "node".into(), path };
        let (_process, site) = script.serve(Over::Cleartext).await?;
        let client = auto(&site)?;
        let (mut conn, response) = client.connect(site.url("/")).await?;
        ensure!(response.status() == StatusCode::OK, "{response:?}");
        ensure!(*conn.transport() == Transport::WebSocketHttp2, "{}", conn.transport());
        for size in [1, 125, 126, 65_535, 65_536, 300_000] {
            let said = noise(size, 4);
            let mut heard = vec![0; size];
            let reading = async { (&conn).read_exact(&mut heard).await };
            let (written, read) = tokio::join!(async { (&conn).write_all(&said).await }, reading);
            written?;
            read?;
            ensure!(heard == said, "{size}");
        }
        conn.ping().await?;
        // It answers the close frame, which is the end of both sides.
        conn.shutdown().await?;
        ensure!(conn.read(&mut [0]).await? == 0);
        conn.close().await?;
        // Others share the link.
        let connecting = (0..20).map(|_| client.connect(site.url("/")));
        for (conn, _) in futures_util::future::try_join_all(connecting).await? {
            ensure!(*conn.transport() == Transport::WebSocketHttp2, "{}", conn.transport());
            conn.close().await?;
        }
        ensure!(client.stats().dials == 1, "{:?}", client.stats());
        client.close().await?;
        Ok(())
    })
}
