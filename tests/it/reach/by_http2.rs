//! WebSockets of a client over HTTP/2 (RFC 8441): where they are tried, what leads from them to HTTP/1.1, and how they
//! share a link.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{HeaderValue, Method, Response, StatusCode, Version, header};
use h2conn::testing::{Flow, Line, Network};
use h2conn::{
    Client, ClientBuilder, Conn, ErrorKind, LinkPolicy, Listener, ListenerBuilder, Reach, Reason,
    Transport, WebSockets,
};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;

use super::ways::{Answering, Behaviour, LONG, SHORT, Strange, accept, check, status};
use super::{client_by, pair_by, with_one};
use crate::node;
use crate::support::faults::{Fault, Faults};
use crate::support::framework::{Host, hand_out};
use crate::support::script::Script;
use crate::support::{
    GRACE, Over, Site, TestResult, accept as accept_one, listen_with, noise, ours, run, serve,
};

fn takes() -> Behaviour {
    Arc::new(|request| Box::pin(ready(Some(accept(request)))))
}

fn answers(code: u16) -> Behaviour {
    Arc::new(move |_| Box::pin(ready(status(code))))
}

fn resets(reason: h2::Reason) -> Behaviour {
    Arc::new(move |_| -> Answering {
        let mut answer = status(500);
        if let Some(answer) = &mut answer {
            answer.extensions_mut().insert(reason);
        }
        Box::pin(ready(answer))
    })
}

fn is_silent() -> Behaviour {
    Arc::new(|_| Box::pin(ready(None)))
}

#[test]
fn auto_takes_the_link_that_it_has_and_remembers_it() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for refuses in [true, false] {
                let strange = Strange::announcing(over, true, refuses, takes()).await?;
                let client = strange.client(if refuses { LONG } else { SHORT })?;
                let (conn, response) = client.connect(strange.site.url("/")).await?;
                ensure!(response.status() == 200, "{}", response.status());
                let link = conn.local_addr().clone();
                check(conn, &Transport::WebSocketHttp2).await?;
                ensure!(strange.all_counts() == [1, 1, 0], "{:?}", strange.all_counts());
                let conn = client.open(strange.site.url("/")).await?;
                ensure!(*conn.local_addr() == link, "another link");
                check(conn, &Transport::WebSocketHttp2).await?;
                ensure!(strange.all_counts() == [1, 2, 0], "{:?}", strange.all_counts());
                client.close().await?;
            }
        }
        Ok(())
    })
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
fn a_client_for_websockets_makes_no_link_of_its_own() -> TestResult {
    run(async {
        for policy in [None, Some(LinkPolicy::Exclusive)] {
            let site = Host::Listener.echo(Over::Tls).await?;
            let builder = site.client_builder();
            let client = match policy {
                None => builder.reach(Reach::WebSocket).build()?,
                // The link of the request is not shared.
                Some(policy) => {
                    client_by(Version::HTTP_2, &site, builder.link_policy(policy)).await?
                }
            };
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn an_answer_that_refuses_the_form_leads_to_http1_which_is_remembered() -> TestResult {
    run(async {
        let codes = [400, 404, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504, 505];
        for code in codes {
            let strange = Strange::announcing(Over::Tls, true, true, answers(code)).await?;
            let client = strange.client(LONG)?;
            let (conn, response) = client.connect(strange.site.url("/")).await?;
            ensure!(response.status() == 101, "{code}: {}", response.status());
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.all_counts() == [1, 1, 1], "{code}: {:?}", strange.all_counts());
            let conn = client.open(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.all_counts() == [1, 1, 2], "{code}: {:?}", strange.all_counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn an_answer_about_the_caller_is_the_error_at_once() -> TestResult {
    run(async {
        for code in [301, 401, 403, 429, 500] {
            let strange = Strange::announcing(Over::Cleartext, true, true, answers(code)).await?;
            let site = &strange.site;
            // The request by HTTP/2 is refused first.
            let client = client_by(Version::HTTP_2, site, site.client_builder()).await?;
            let error = client.connect(site.url("/")).await.map(drop).expect_err("it is refused");
            ensure!(error.status().is_some_and(|status| status == code), "{error}");
            ensure!(error.to_string().contains("CONNECT http://"), "{error}");
            ensure!(strange.all_counts() == [1, 1, 0], "{code}: {:?}", strange.all_counts());
        }
        Ok(())
    })
}

#[test]
fn a_server_that_resets_each_connect_is_reached_by_http1() -> TestResult {
    run(async {
        let reasons = [
            h2::Reason::PROTOCOL_ERROR,
            h2::Reason::INTERNAL_ERROR,
            h2::Reason::CANCEL,
            h2::Reason::REFUSED_STREAM,
            h2::Reason::HTTP_1_1_REQUIRED,
        ];
        for reason in reasons {
            let strange = Strange::announcing(Over::Cleartext, true, true, resets(reason)).await?;
            let client = strange.client(LONG)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            // A stream that was not looked at is tried again.
            let tries = if reason == h2::Reason::REFUSED_STREAM { 4 } else { 1 };
            ensure!(strange.all_counts() == [1, tries, 1], "{:?}", strange.all_counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_connect_without_an_answer_leads_to_http1_and_its_stream_is_taken_back() -> TestResult {
    run(async {
        let strange = Strange::announcing(Over::Tls, true, true, is_silent()).await?;
        let client = strange.client(SHORT)?;
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp1).await?;
        ensure!(strange.all_counts() == [1, 1, 1], "{:?}", strange.all_counts());
        // It waits for its streams.
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_connect_that_is_only_slow_is_waited_for_where_http1_is_refused() -> TestResult {
    run(async {
        let slow: Behaviour = Arc::new(|request| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some(accept(request))
            })
        });
        let strange = Strange::announcing(Over::Cleartext, false, true, slow).await?;
        let client = strange.client(SHORT)?;
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        ensure!(strange.all_counts() == [1, 1, 1], "{:?}", strange.all_counts());
        // Now it is known, and waited for alone.
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        ensure!(strange.all_counts() == [1, 2, 1], "{:?}", strange.all_counts());
        Ok(())
    })
}

#[test]
fn an_answer_that_opens_no_websocket_leads_to_http1() -> TestResult {
    run(async {
        let page: Behaviour = Arc::new(|_| {
            let page = Full::new(Bytes::from_static(b"<html>")).map_err(|never| match never {});
            let mut response = Response::new(page.boxed());
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("6"));
            Box::pin(ready(Some(response)))
        });
        let other: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            let chosen = HeaderValue::from_static("not-offered");
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
            Box::pin(ready(Some(response)))
        });
        let extends: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            let extension = HeaderValue::from_static("permessage-deflate");
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extension);
            Box::pin(ready(Some(response)))
        });
        for behaviour in [page, other, extends] {
            let strange = Strange::announcing(Over::Cleartext, true, true, behaviour).await?;
            let client = strange.client(LONG)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn where_no_way_works_the_error_names_each() -> TestResult {
    run(async {
        let strange = Strange::announcing(Over::Cleartext, false, true, answers(501)).await?;
        let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
        let text = error.map(drop).expect_err("it is refused").to_string();
        let parts = [
            "POST http://",
            "405 Method Not Allowed",
            "; and by a WebSocket: GET http://",
            "404 Not Found",
            "; and by a WebSocket over HTTP/2: CONNECT http://",
            "501 Not Implemented",
        ];
        let mut rest = text.as_str();
        for part in parts {
            rest = rest.split_once(part).with_context(|| format!("{part:?} in {text}"))?.1;
        }
        Ok(())
    })
}

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
        let (near, far) = tokio::join!(client.connect(url), accept_one(&mut listener));
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

#[test]
fn a_server_that_answers_no_more_is_given_up_and_its_way_forgotten() -> TestResult {
    run(async {
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let once: Behaviour = Arc::new(move |request| {
            let is_first = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            Box::pin(ready(is_first.then(|| accept(request))))
        });
        let strange = Strange::announcing(Over::Cleartext, true, true, once).await?;
        let client = strange
            .site
            .client_builder()
            .reach(Reach::WebSocket)
            .fallback_delay(SHORT)
            .response_timeout(Duration::from_millis(500));
        let client = client_by(Version::HTTP_2, &strange.site, client).await?;
        // The deadline of the first one is that of the test: it is answered at once.
        let (conn, _) =
            client.request(strange.site.url("/")).response_timeout(LONG).connect().await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        let error = client.connect(strange.site.url("/")).await.map(drop).expect_err("silence");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().starts_with("CONNECT http://"), "{error}");
        ensure!(!error.to_string().contains("Client::open"), "{error}");
        let (conn, _) =
            client.request(strange.site.url("/")).response_timeout(LONG).connect().await?;
        check(conn, &Transport::WebSocketHttp1).await
    })
}

#[test]
fn a_connect_that_is_dropped_leaves_nothing_open() -> TestResult {
    run(async {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let silent: Behaviour = Arc::new(move |request| {
            let _ = asked.send(request.into_body());
            Box::pin(ready(None))
        });
        let strange = Strange::announcing(Over::Cleartext, true, true, silent).await?;
        let client = strange.client(LONG)?;
        let connecting = client.connect(strange.site.url("/"));
        let body = tokio::select! {
            connected = connecting => anyhow::bail!("{connected:?}"),
            body = asks.recv() => body.context("a request")?,
        };
        // The server is told by a reset, which hyper takes for the end.
        let _ = body.collect().await;
        client.close().await?;
        ensure!(strange.all_counts() == [1, 1, 0], "{:?}", strange.all_counts());
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
    let (near, far) = tokio::join!(connecting, accept_one(&mut listener));
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
fn a_client_that_is_closed_resets_those_in_use_and_counts_each_once() -> TestResult {
    run(async {
        let (site, mut conns) = listener(Over::Cleartext, 100).await?;
        let builder = site.client_builder().linger_timeout(Duration::from_millis(100));
        let client = builder.reach(Reach::Auto).fallback_delay(LONG).build()?;
        let (conn, _) = client.connect(site.url("/")).await?;
        let mut server = conns.recv().await.context("the server has ended")?;
        let error = client.close().await.expect_err("one is in use");
        ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
        ensure!(conn.closed().await.is_err());

        let client = auto(&site)?;
        let (_conn, _) = client.connect(site.url("/")).await?;
        let error =
            client.close_within(Duration::from_millis(100)).await.expect_err("one is in use");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().contains("1 were still open"), "{error}");
        Ok(())
    })
}

#[test]
fn a_request_without_content_needs_a_server_that_speaks_the_subprotocol() -> TestResult {
    run(async {
        // An answer without the subprotocol, as of another library.
        let plain: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            response.headers_mut().remove(header::SEC_WEBSOCKET_PROTOCOL);
            Box::pin(ready(Some(response)))
        });
        let strange = Strange::announcing(Over::Cleartext, false, true, plain).await?;
        let client = strange.client(LONG)?;
        let asking = client.request(strange.site.url("/")).without_content().connect();
        let error = asking.await.map(drop).expect_err("its sides cannot end one by one");
        ensure!(error.to_string().contains("h2conn.v1"), "{error}");
        Ok(())
    })
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
