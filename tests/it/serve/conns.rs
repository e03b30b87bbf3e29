//! Connections beside ordinary requests, with what stands between the server and `accept`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::routing::{any, get};
use axum::{Extension, Router};
use bytes::Bytes;
use h2conn::axum::Accept;
use h2conn::http::{Method, Request, StatusCode, Version};
use h2conn::{Acceptor, Conn, Listener, OnDrop, Reason, WebSockets};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{ask, check_messages, h2_client, served, served_with};
use crate::support::websocket;
use crate::support::{GRACE, Over, TestResult, check_echo, echo, listen_with, noise, ours, run};

/// More than any window on the path.
const MUCH: usize = 3 << 20;

async fn to_its_end(conn: Conn) {
    // The test checks the client's side.
    let _ = echo(conn).await;
}

fn live() -> axum::routing::MethodRouter {
    any(|accept: Accept| async { accept.on_conn(to_its_end) })
}

#[test]
fn conns_and_ordinary_requests_share_a_link() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let app = Router::new().route("/", get(|| async { "the API" })).route("/live", live());
            let site = served(over, app).await?;
            let client = site.client()?;
            let (conn, _) = client.connect(site.url("/live")).await?;
            ensure!(conn.ping().await? > Duration::ZERO);
            let error = client.connect(site.url("/nowhere")).await.err();
            ensure!(error.context("no such route")?.status() == Some(StatusCode::NOT_FOUND));
            check_echo(conn, &noise(MUCH, 1)).await?;
            let h2 = h2_client(&site).await?;
            let heard = ask(&h2, super::get("/")?, &[], None).await?;
            ensure!(heard.body == b"the API", "{heard:?}");
            let request = Request::post("http://127.0.0.1/live").body(())?;
            let content = noise(MUCH, 2);
            let heard = ask(&h2, request, &[&content], None).await?;
            ensure!(heard.body == content, "{} bytes", heard.body.len());
        }
        Ok(())
    })
}

/// Hands out the connections of a route.
fn handing_out() -> (axum::routing::MethodRouter, mpsc::UnboundedReceiver<Conn>) {
    let (sender, conns) = mpsc::unbounded_channel();
    let route = any(move |accept: Accept| {
        let sender = sender.clone();
        async move {
            accept.on_conn(move |conn| async move {
                let _ = sender.send(conn);
            })
        }
    });
    (route, conns)
}

#[test]
fn a_conn_shows_the_request_as_the_program_has_passed_it_on() -> TestResult {
    run(async {
        let (route, mut conns) = handing_out();
        let inner = Router::new().route("/live", route);
        let add = from_fn(|mut request: AxumRequest, next: Next| async {
            request.headers_mut().insert("x-added", "1".parse().expect("a value"));
            request.headers_mut().remove("x-secret");
            next.run(request).await
        });
        let site = served(Over::Cleartext, Router::new().nest("/api", inner).layer(add)).await?;
        let client = site.client()?;
        let request = client.request(site.url("/api/live?a=b")).header("x-secret", "x");
        let (conn, _) = request.connect().await?;
        let server = conns.recv().await.context("a connection")?;
        ensure!(server.uri().path_and_query().map(|path| path.as_str()) == Some("/live?a=b"));
        ensure!(
            server.headers().contains_key("x-added") && !server.headers().contains_key("x-secret")
        );
        ensure!(*server.method() == Method::POST);
        ensure!(server.peer_addr() == conn.local_addr() && server.local_addr() == conn.peer_addr());
        ensure!(server.response().await?.status() == StatusCode::OK);
        Ok(())
    })
}

#[test]
fn middleware_that_reads_or_replaces_the_body_loses_nothing() -> TestResult {
    run(async {
        // Reads the first frame, and gives it back in front of the others.
        let peek = from_fn(|request: AxumRequest, next: Next| async {
            let (parts, mut body) = request.into_parts();
            let first = body.frame().await.expect("a frame").expect("content");
            let first = first.into_data().expect("content");
            let rest = futures_util::stream::unfold(body, |mut body| async {
                let frame = body.frame().await?;
                Some((frame.map(|frame| frame.into_data().expect("content")), body))
            });
            let first = futures_util::stream::iter([Ok::<_, axum::Error>(first)]);
            let all = futures_util::StreamExt::chain(first, rest);
            next.run(AxumRequest::from_parts(parts, Body::from_stream(all))).await
        });
        let app = Router::new().route("/", live()).layer(peek);
        let site = served(Over::Cleartext, app).await?;
        let client = site.client()?;
        let mut conn = client.open(site.url("/")).await?;
        conn.write_all(b"first").await?;
        let mut heard = [0; 5];
        conn.read_exact(&mut heard).await?;
        ensure!(&heard == b"first");
        check_echo(conn, &noise(MUCH, 3)).await
    })
}

#[test]
fn an_answer_in_place_of_accepts_fails_the_conn_and_is_heard() -> TestResult {
    run(async {
        let (route, mut conns) = handing_out();
        let replace = from_fn(|request: AxumRequest, next: Next| async {
            drop(next.run(request).await);
            StatusCode::IM_A_TEAPOT
        });
        let site = served(Over::Cleartext, Router::new().route("/", route).layer(replace)).await?;
        let error = site.connect().await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::IM_A_TEAPOT), "{error}");
        let mut conn = conns.recv().await.context("a connection")?;
        let error = conn.write_all(b"x").await.err().context("nobody hears it")?;
        ensure!(error.to_string().contains("418"), "{error}");
        let _ = conn.closed().await;
        Ok(())
    })
}

/// A layer that answers in place of a handler has the last word, whatever it says.
#[test]
fn an_answer_of_200_in_place_of_accepts_leaves_no_conn_alive() -> TestResult {
    run(async {
        let (route, mut conns) = handing_out();
        let replace = from_fn(|request: AxumRequest, next: Next| async {
            drop(next.run(request).await);
            "please log in"
        });
        let site = served(Over::Cleartext, Router::new().route("/", route).layer(replace)).await?;
        let error = site.connect().await.err().context("it is no connection")?;
        ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error}");
        let conn = conns.recv().await.context("a connection")?;
        ensure!(conn.closed().await.is_err());
        Ok(())
    })
}

/// A compression, which wraps the body of each response and says so.
#[test]
fn a_layer_that_encodes_responses_does_not_label_a_conn() -> TestResult {
    run(async {
        let encode = from_fn(|request: AxumRequest, next: Next| async {
            let mut response = next.run(request).await;
            response.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
            response
        });
        let app = Router::new().route("/", live()).layer(encode);
        let site = served(Over::Cleartext, app).await?;
        let (conn, response) = site.client()?.connect(site.url("/")).await?;
        ensure!(!response.headers().contains_key("content-encoding"), "{response:?}");
        check_echo(conn, b"hello").await
    })
}

#[test]
fn a_layer_that_drops_the_body_gives_the_conn_another() -> TestResult {
    run(async {
        let replace = from_fn(|request: AxumRequest, next: Next| async {
            let (parts, body) = request.into_parts();
            drop(body);
            let other = Body::new(Full::new(Bytes::from_static(b"another")));
            next.run(AxumRequest::from_parts(parts, other)).await
        });
        let app = Router::new().route("/", live()).layer(replace);
        let site = served(Over::Cleartext, app).await?;
        let mut conn = site.client()?.open(site.url("/")).await?;
        let mut heard = String::new();
        conn.read_to_string(&mut heard).await?;
        ensure!(heard == "another", "{heard:?}");
        Ok(())
    })
}

#[test]
fn bytes_that_came_before_the_client_left_are_read_though_the_handler_has_not_answered()
-> TestResult {
    run(async {
        let (sender, mut conns) = mpsc::unbounded_channel();
        let app = Router::new().route(
            "/",
            any(move |accept: Accept| {
                let sender = sender.clone();
                async move {
                    let (conn, response) = accept.accept();
                    sender.send(conn).expect("the test listens");
                    std::future::pending::<()>().await;
                    response
                }
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let mut client = h2_client(&site).await?;
        let request = Request::post("http://127.0.0.1/").body(())?;
        let (response, mut stream) = client.send_request(request, false)?;
        stream.send_data(Bytes::from_static(b"last words"), true)?;
        let mut conn = conns.recv().await.context("a connection")?;
        let mut heard = [0; 10];
        conn.read_exact(&mut heard[..4]).await?;
        drop((response, stream, client));
        // The client resets the stream when its handles are dropped.
        ensure!(conn.closed().await.is_err());
        conn.read_exact(&mut heard[4..]).await?;
        ensure!(&heard == b"last words", "{heard:?}");
        Ok(())
    })
}

#[test]
fn a_conn_whose_first_bytes_somebody_else_has_read_hears_of_the_shutdown_too() -> TestResult {
    run(async {
        let peek = from_fn(|request: AxumRequest, next: Next| async {
            let (parts, mut body) = request.into_parts();
            body.frame().await.expect("a frame").expect("content");
            next.run(AxumRequest::from_parts(parts, body)).await
        });
        let route = any(|accept: Accept| async {
            accept.on_conn(|conn| async move {
                conn.draining().await;
                let _ = conn.close().await;
            })
        });
        let app = Router::new().route("/", route).layer(peek);
        let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving =
            h2conn::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
        let serving = tokio::spawn(serving.into_future());
        let mut conn = site.client()?.open(site.url("/")).await?;
        conn.write_all(b"first").await?;
        ensure!(conn.response().await?.status() == StatusCode::OK);
        stop.send(()).ok().context("the server waits for it")?;
        conn.read_to_end(&mut Vec::new()).await?;
        conn.close().await?;
        serving.await??;
        Ok(())
    })
}

#[test]
fn a_handler_that_panics_after_accepting_fails_the_conn() -> TestResult {
    run(async {
        let (sender, mut conns) = mpsc::unbounded_channel();
        let app = Router::new().route(
            "/",
            any(move |accept: Accept| {
                let sender = sender.clone();
                async move {
                    let (conn, _response) = accept.accept();
                    sender.send(conn).expect("the test listens");
                    panic!("on purpose") as ()
                }
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let error = site.connect().await.err().context("no answer")?;
        ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error}");
        let conn = conns.recv().await.context("a connection")?;
        ensure!(conn.closed().await.is_err());
        Ok(())
    })
}

#[test]
fn an_acceptors_settings_count_and_it_can_be_drained() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().header("x-live", "1").on_drop(OnDrop::Reset).build()?;
        let (route, mut conns) = handing_out();
        let app = Router::new().route("/", route).layer(Extension(acceptor.clone()));
        let site = served(Over::Cleartext, app).await?;
        let (client, response) = site.client()?.connect(site.url("/")).await?;
        ensure!(response.headers().contains_key("x-live"));
        let server = conns.recv().await.context("a connection")?;
        drop(server);
        let error = (&client).read_to_end(&mut Vec::new()).await.err().context("a reset")?;
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");

        let client = site.connect().await?;
        let server = conns.recv().await.context("a connection")?;
        ensure!(acceptor.stats().conns == 1, "{:?}", acceptor.stats());
        let handled = tokio::spawn(async move {
            server.draining().await;
            server.close().await
        });
        let drained = tokio::spawn(async move { acceptor.drain(Duration::from_secs(20)).await });
        let mut all = Vec::new();
        (&client).read_to_end(&mut all).await?;
        client.close().await?;
        handled.await??;
        ensure!(drained.await?, "it ended by itself");
        Ok(())
    })
}

#[test]
fn a_websocket_over_http_2_is_a_conn_where_the_listener_offers_it() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().websockets(WebSockets::new()).build()?;
        let app = Router::new().route("/", live()).layer(Extension(acceptor.clone()));
        let builder = Listener::builder().protocols(["websocket"]);
        let site = served_with(Over::Cleartext, builder, app).await?;
        let mut socket = websocket::open(&site, Version::HTTP_2, "/").await?;
        check_messages(&mut socket).await?;
        ensure!(acceptor.stats().websockets == 1, "{:?}", acceptor.stats());
        Ok(())
    })
}

#[test]
fn the_content_of_a_request_that_became_a_conn_is_not_read_twice() -> TestResult {
    run(async {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let app = Router::new().route(
            "/",
            any(move |request: AxumRequest| {
                let sender = sender.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let again = AxumRequest::from_parts(parts.clone(), Body::empty());
                    let (conn, response) = h2conn::accept(again).expect("it can be accepted");
                    tokio::spawn(to_its_end(conn));
                    sender.send(body.collect().await.is_err()).expect("the test listens");
                    response.map(Body::new)
                }
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        check_echo(site.client()?.open(site.url("/")).await?, b"hello").await?;
        ensure!(seen.recv().await.context("a result")?, "the body is an error");
        Ok(())
    })
}

/// Small frames, as of somebody who types, end a connection under hyper.
#[test]
fn frames_of_one_byte_do_no_harm() -> TestResult {
    run(async {
        let (route, mut conns) = handing_out();
        let site = served(Over::Cleartext, Router::new().route("/", route)).await?;
        let mut client = h2_client(&site).await?;
        let request = Request::post("http://127.0.0.1/").body(())?;
        let (response, mut stream) = client.send_request(request, false)?;
        let _response = response.await?;
        let server = Arc::new(conns.recv().await.context("a connection")?);
        for _ in 0..20_000 {
            stream.send_data(Bytes::from_static(b"x"), false)?;
        }
        let mut all = vec![0; 20_000];
        (&*server).read_exact(&mut all).await?;
        ensure!(all.iter().all(|byte| *byte == b'x'));
        Ok(())
    })
}
