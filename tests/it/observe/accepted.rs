//! Logs and metrics of connections that `accept` makes, in hyper and in axum: their spans, and the figures of every form.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use axum::{Extension, Router, routing::any};
use h2conn::axum::Accept;
use h2conn::http::{Method, Version};
use h2conn::{Acceptor, AcceptorStats, Conn, Listener, Reach, WebSockets};
use metrics_util::debugging::DebuggingRecorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::Instrument;

use super::log::Log;
use super::{counts, echo};
use crate::support::framework::{hand_out, hyper_server};
use crate::support::websocket::{BOTH, Socket, open, open_with, request, send, sender};
use crate::support::{Over, Site, TestResult, checked, listen_with, noise};

const EVIL: &str = "https://evil.example";

/// A stock hyper server with this acceptor that hands out its connections.
async fn hyper(acceptor: &Acceptor) -> TestResult<(Site, UnboundedReceiver<Conn>)> {
    let (handler, conns) = hand_out();
    Ok((hyper_server(Over::Cleartext, acceptor.clone(), handler).await?, conns))
}

/// An axum server whose handler says something of each request, of its connection, and of the connection later.
async fn talkative(acceptor: &Acceptor) -> TestResult<Site> {
    let handler = any(|accept: Accept| {
        let request = tracing::info_span!(target: "h2conn", "request", number = 7);
        async {
            tracing::info!(target: "h2conn", "to be accepted");
            accept.on_conn(|conn| async move {
                tracing::info!(target: "h2conn", "at the beginning");
                let _ = (&conn).read(&mut [0]).await;
                tracing::info!(target: "h2conn", "later on");
                let _ = conn.close().await;
            })
        }
        .instrument(request)
    });
    let app = Router::new().route("/live", handler).layer(Extension(acceptor.clone()));
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    tokio::spawn(axum::serve(socket, app).into_future());
    Ok(Site::cleartext(addr))
}

/// Has one connection, from its beginning to its end.
async fn have_one(site: &Site) -> TestResult {
    let client = site.client()?;
    let (mut conn, _) = client.connect(site.url("/live?secret")).await?;
    conn.write_all(b"x").await?;
    conn.close().await?;
    Ok(client.close().await?)
}

/// The names of the spans in which something was said, from the inside.
fn spans(log: &Log, message: &str) -> Vec<&'static str> {
    let said = log.said();
    let mut of_it =
        said.iter().filter(|said| said.message == message && said.of_link("side").is_empty());
    let said = of_it.next().unwrap_or_else(|| panic!("nobody has said {message:?}: {said:#?}"));
    said.span.iter().map(|(name, _)| *name).chain(said.around.iter().copied()).collect()
}

#[tokio::test]
async fn a_handler_of_on_conn_runs_in_the_span_of_its_conn_within_that_of_its_request() -> TestResult
{
    let log = Log::listen();
    checked(30, async { have_one(&talkative(&Acceptor::default()).await?).await }).await?;
    assert_eq!(spans(&log, "to be accepted"), ["request"]);
    for message in ["conn opened", "at the beginning", "later on", "conn ended"] {
        assert_eq!(spans(&log, message), ["h2conn.conn", "request"], "{message}");
    }
    let said = log.said();
    let later = said.iter().find(|said| said.message == "later on").context("it was said")?;
    for (field, value) in
        [("side", "accept"), ("form", "request"), ("method", "POST"), ("path", "/live")]
    {
        assert_eq!(later.of_span("h2conn.conn", field), value, "{field}");
    }
    assert!(later.span.iter().any(|(_, fields)| fields.contains_key("peer")), "{later:?}");
    assert!(!format!("{said:?}").contains("secret"), "a query can be a secret: {said:#?}");
    Ok(())
}

#[tokio::test]
async fn where_nobody_wants_the_span_of_conns_the_handler_keeps_that_of_its_request() -> TestResult
{
    let log = Log::listen_without("h2conn.conn");
    checked(30, async { have_one(&talkative(&Acceptor::default()).await?).await }).await?;
    for message in ["to be accepted", "conn opened", "at the beginning", "later on"] {
        assert_eq!(spans(&log, message), ["request"], "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn the_span_of_a_conn_is_not_entered_where_its_bytes_are_moved() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let site = hyper_server(Over::Cleartext, Acceptor::default(), crate::support::echo).await?;
        crate::support::check_echo(site.connect().await?, &noise(1 << 20, 1)).await
    })
    .await?;
    assert_eq!(spans(&log, "conn ended"), ["h2conn.conn"]);
    assert_eq!(log.entries("h2conn.conn"), 0);
    Ok(())
}

/// A WebSocket by each version of HTTP, with its server's end.
async fn websockets(
    site: &Site,
    conns: &mut UnboundedReceiver<Conn>,
) -> TestResult<Vec<(Socket, Conn)>> {
    let mut all = Vec::new();
    for by in BOTH {
        let socket = open(site, by, "/").await?;
        all.push((socket, conns.recv().await.context("the server has ended")?));
    }
    Ok(all)
}

/// Asks in each form for a connection of a page that may not have one.
async fn be_refused_in_each_form(site: &Site) -> TestResult {
    let client = site.client_builder().header("origin", EVIL).build()?;
    let error = client.connect(site.url("/")).await.err().context("another origin")?;
    ensure!(error.status().is_some_and(|status| status == 403), "{error}");
    for by in BOTH {
        let mut asked = request(site, by, "/")?;
        asked.headers_mut().insert("origin", EVIL.parse()?);
        let response = send(site, by, asked).await?;
        ensure!(response.status() == 403, "{by:?}: {}", response.status());
    }
    Ok(())
}

#[tokio::test]
async fn an_acceptor_counts_what_it_accepts_and_refuses_in_every_form() -> TestResult {
    checked(30, async {
        let acceptor = Acceptor::default();
        let (site, mut conns) = hyper(&acceptor).await?;
        ensure!(acceptor.stats() == AcceptorStats::default());
        let client = site.connect().await?;
        let server = conns.recv().await.context("the server has ended")?;
        let websockets = websockets(&site, &mut conns).await?;
        be_refused_in_each_form(&site).await?;
        let stats = acceptor.clone().stats();
        ensure!((stats.conns, stats.websockets) == (3, 2), "{stats:?}");
        ensure!((stats.accepted, stats.accepted_websockets) == (3, 2), "{stats:?}");
        ensure!(stats.rejected == 3, "{stats:?}");

        for (mut socket, conn) in websockets {
            socket.close(None).await?;
            conn.close().await?;
        }
        tokio::try_join!(client.close(), server.close())?;
        ensure!(acceptor.drain(std::time::Duration::from_secs(20)).await);
        let stats = acceptor.stats();
        ensure!((stats.conns, stats.websockets) == (0, 0), "{stats:?}");
        ensure!((stats.accepted, stats.accepted_websockets) == (3, 2), "{stats:?}");
        // Over and drained, it refuses whatever comes.
        ensure!(site.connect().await.is_err());
        ensure!(acceptor.stats().rejected == 4, "{:?}", acceptor.stats());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_listener_counts_what_was_accepted_and_what_was_refused_by_whomever() -> TestResult {
    checked(30, async {
        let builder = Listener::builder().methods([Method::POST]);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                match incoming.uri().path() {
                    "/reject" => incoming.reject(h2conn::http::StatusCode::FORBIDDEN),
                    "/refuse" => drop(incoming),
                    _ => drop(incoming.accept().map(|conn| tokio::spawn(echo(conn)))),
                }
            }
        });
        let client = site.client()?;
        client.connect(site.url("/")).await?.0.close().await?;
        ensure!(client.connect(site.url("/reject")).await.is_err());
        ensure!(client.connect(site.url("/refuse")).await.is_err());
        let putting = site.client_builder().method(Method::PUT).build()?;
        ensure!(putting.connect(site.url("/")).await.is_err());
        let foreign = site.client_builder().header("origin", EVIL).build()?;
        ensure!(foreign.connect(site.url("/")).await.is_err());
        let stats = handle.stats();
        ensure!((stats.accepted, stats.rejected) == (1, 3), "{stats:?}");
        handle.shut_down();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn metrics_count_conns_under_accept_by_their_form_and_by_how_they_ended() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let log = Log::listen();
    checked(30, async {
        let (site, mut conns) = hyper(&Acceptor::default()).await?;
        let (client, server) = (site.connect().await?, conns.recv().await.context("its end")?);
        tokio::try_join!(client.close(), server.close())?;
        for (mut socket, conn) in websockets(&site, &mut conns).await? {
            socket.close(None).await?;
            ensure!((&conn).read(&mut [0]).await? == 0);
            conn.close().await?;
        }
        for (socket, conn) in websockets(&site, &mut conns).await? {
            drop(socket);
            ensure!(conn.closed().await.is_err());
        }
        be_refused_in_each_form(&site).await
    })
    .await?;
    let counts = counts(recorder.snapshotter().snapshot());
    let of_side = counts.into_iter().filter(|(name, _)| name.contains("side=accept"));
    let mut expected = BTreeMap::new();
    for form in ["request", "websocket_http1", "websocket_http2"] {
        expected.insert(format!("h2conn_conns_open side=accept form={form}"), 0);
        let ended = |result| format!("h2conn_conns_total side=accept form={form} result={result}");
        expected.insert(ended("ok"), 1);
        expected.insert(ended("rejected"), 1);
        if form != "request" {
            expected.insert(ended("truncated"), 1);
        }
    }
    assert_eq!(of_side.collect::<BTreeMap<_, _>>(), expected);

    let forms = ["request", "websocket_http1", "websocket_http2"];
    assert_eq!(log.fields("conn rejected", "form"), forms);
    assert_eq!(log.fields("conn rejected", "status"), ["403"; 3]);
    assert!(log.fields("conn rejected", "error").iter().all(|error| error.contains(EVIL)));
    Ok(())
}

#[tokio::test]
async fn a_conn_by_extended_connect_is_counted_as_one_at_both_ends() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    checked(30, async {
        let builder = Listener::builder().protocols(["raw"]);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let client = site.client_builder().protocol("raw").build()?;
        let (conn, server) =
            tokio::join!(client.connect(site.url("/")), crate::support::accept(&mut listener));
        let (conn, server) = (conn?.0, server?);
        tokio::try_join!(conn.close(), server.close())?;
        Ok(())
    })
    .await?;
    let counts = counts(recorder.snapshotter().snapshot());
    for side in ["client", "server"] {
        let name = format!("h2conn_conns_total side={side} form=connect result=ok");
        assert_eq!(counts.get(&name), Some(&1), "{counts:?}");
    }
    Ok(())
}

/// A request that never becomes a connection is one of no span.
#[tokio::test]
async fn a_refusal_is_told_in_the_span_of_its_request() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let request = tracing::info_span!(target: "h2conn", "request");
        let acceptor = Acceptor::default();
        let asked = h2conn::http::Request::post("/x?secret").version(Version::HTTP_11);
        let asked = asked.body(http_body_util::Empty::<bytes::Bytes>::new())?;
        let refused = async { acceptor.accept(asked).err().map(|error| error.status()) };
        ensure!(refused.instrument(request).await.is_some_and(|status| status == 505));
        Ok(())
    })
    .await?;
    assert_eq!(spans(&log, "conn rejected"), ["request"]);
    assert_eq!(log.fields("conn rejected", "path"), ["/x"]);
    assert_eq!(log.fields("conn rejected", "status"), ["505"]);
    Ok(())
}

#[tokio::test]
async fn a_websocket_over_http2_at_a_listener_is_counted_once() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    checked(30, async {
        let builder = Listener::builder().websockets(WebSockets::new());
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let mut link = sender(&site).await?;
        let client = open_with(&mut link, &site, "/");
        let (client, server) = tokio::join!(client, crate::support::accept(&mut listener));
        let (mut client, server) = (client?, server?);
        client.close(None).await?;
        ensure!((&server).read(&mut [0]).await? == 0);
        server.close().await?;
        drop(client);
        let refused = open_with(&mut link, &site, "/");
        let dropped = async { listener.accept().await.map(drop) };
        let (refused, dropped) = tokio::join!(refused, dropped);
        ensure!(refused.is_err() && dropped.is_some());
        drop(listener);
        Ok(())
    })
    .await?;
    let counts = counts(recorder.snapshotter().snapshot());
    let conns = counts.into_iter().filter(|(name, _)| name.starts_with("h2conn_conns"));
    let expected = [
        ("h2conn_conns_open side=server form=connect", 0),
        ("h2conn_conns_open side=server form=websocket_http2", 0),
        ("h2conn_conns_total side=server form=connect result=rejected", 1),
        ("h2conn_conns_total side=server form=websocket_http2 result=ok", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(conns.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    Ok(())
}

#[tokio::test]
async fn a_websocket_over_http2_of_a_client_is_counted_once() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    checked(30, async {
        // It refuses the request by HTTP/2.
        let builder = Listener::builder().websockets(WebSockets::new()).methods([Method::PATCH]);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let client = site.client_builder().reach(Reach::Auto).build()?;
        let connecting = client.connect(site.url("/"));
        let (client_end, server_end) =
            tokio::join!(connecting, crate::support::accept(&mut listener));
        let ((client_end, _), server_end) = (client_end?, server_end?);
        let (one, two) = tokio::join!(client_end.close(), server_end.close());
        one?;
        two?;
        client.close().await?;
        drop(listener);
        Ok(())
    })
    .await?;
    let counts = counts(recorder.snapshotter().snapshot());
    let conns = counts.into_iter().filter(|(name, _)| {
        name.starts_with("h2conn_fallbacks") || name.contains("conns") && name.contains("client")
    });
    let expected = [
        ("h2conn_conns_open side=client form=connect", 0),
        ("h2conn_conns_open side=client form=request", 0),
        ("h2conn_conns_open side=client form=websocket_http2", 0),
        ("h2conn_conns_total side=client form=request result=rejected", 1),
        ("h2conn_conns_total side=client form=websocket_http2 result=ok", 1),
        ("h2conn_fallbacks_total ", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(conns.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    Ok(())
}
