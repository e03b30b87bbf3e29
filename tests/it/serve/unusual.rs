//! Clients that go, handlers that fail, and what HTTP/2 asks of a server beside the answer.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as AxumRequest};
use axum::routing::{any, get as on_get};
use bytes::Bytes;
use h2conn::http::{HeaderMap, Request, Response, StatusCode};
use h2conn::serve::ConnInfo;
use h2conn::{Listener, Reason};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::{ask, get, h2_client, served};
use crate::support::{Over, TestResult, listen, listen_with, run};

/// Counts down when it is dropped.
struct Here(Arc<AtomicUsize>, mpsc::UnboundedSender<()>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
        let _ = self.1.send(());
    }
}

#[test]
fn a_client_that_resets_its_request_ends_the_handlers_work() -> TestResult {
    run(async {
        let (began, mut begun) = mpsc::unbounded_channel();
        let (ended, mut over) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let app = Router::new().route(
            "/",
            any(move || {
                counted.fetch_add(1, SeqCst);
                let here = Here(Arc::clone(&counted), ended.clone());
                let began = began.clone();
                async move {
                    began.send(()).expect("the test listens");
                    pending::<()>().await;
                    drop(here);
                }
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let mut client = h2_client(&site).await?;
        let (response, mut stream) = client.send_request(get("/")?, false)?;
        begun.recv().await.context("the handler has begun")?;
        ensure!(count.load(SeqCst) == 1);
        stream.send_reset(h2::Reason::CANCEL);
        over.recv().await.context("the handler was dropped")?;
        ensure!(count.load(SeqCst) == 0);
        drop((response, stream));
        // A client that vanishes ends it too.
        let io = tokio::net::TcpStream::connect(site.addr).await?;
        let (mut vanishing, connection) = h2::client::handshake(io).await?;
        let connection = tokio::spawn(connection);
        let _asked = vanishing.send_request(get("/")?, true)?;
        begun.recv().await.context("the handler has begun")?;
        connection.abort();
        over.recv().await.context("the handler was dropped")
    })
}

#[test]
fn a_client_for_whom_there_is_nothing_has_no_more_time_than_at_every_listener() -> TestResult {
    run(async {
        let builder = Listener::builder().first_conn_timeout(Duration::from_millis(100));
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        tokio::spawn(async move { h2conn::serve(listener, Router::new()).await });
        let io = tokio::net::TcpStream::connect(site.addr).await?;
        let (h2, connection) = h2::client::handshake(io).await?;
        let connection = tokio::spawn(connection);
        let heard = ask(&h2, get("/nowhere")?, &[], None).await?;
        ensure!(heard.head.is_some_and(|head| head.status() == StatusCode::NOT_FOUND));
        // The client holds its link, and the server ends it.
        connection.await??;
        drop(h2);
        Ok(())
    })
}

#[test]
fn a_body_that_nobody_hears_is_dropped() -> TestResult {
    run(async {
        let (ended, mut over) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let app = Router::new().route(
            "/",
            on_get(move || {
                counted.fetch_add(1, SeqCst);
                let here = Here(Arc::clone(&counted), ended.clone());
                async move {
                    let frames = futures_util::stream::unfold(here, |here| async {
                        let frame = Frame::data(Bytes::from_static(b"more"));
                        tokio::task::yield_now().await;
                        Some((Ok::<_, std::io::Error>(frame), here))
                    });
                    Body::new(StreamBody::new(frames))
                }
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let mut client = h2_client(&site).await?;
        let (response, stream) = client.send_request(get("/")?, true)?;
        let mut body = response.await?.into_body();
        let first = body.data().await.context("content")??;
        ensure!(first.starts_with(b"more"));
        // The window is full, and the handler waits for room.
        drop((body, stream));
        over.recv().await.context("the body was dropped")
    })
}

#[test]
fn a_panic_is_a_500_or_a_reset_and_never_the_end_of_the_link() -> TestResult {
    run(async {
        let app = Router::new()
            .route("/", on_get(|| async { "here" }))
            .route("/head", any(|| async { panic!("on purpose") as () }))
            .route(
                "/body",
                on_get(|| async {
                    let frames = futures_util::stream::unfold(0, |n| async move {
                        assert!(n < 2, "on purpose");
                        tokio::task::yield_now().await;
                        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from("x"))), n + 1))
                    });
                    Body::new(StreamBody::new(frames))
                }),
            );
        let site = served(Over::Cleartext, app).await?;
        let client = h2_client(&site).await?;
        for content in [&[][..], &[&b"content"[..]]] {
            let request = Request::post("http://127.0.0.1/head").body(())?;
            let heard = ask(&client, request, content, None).await?;
            let head = heard.head.context("a head")?;
            ensure!(head.status() == StatusCode::INTERNAL_SERVER_ERROR, "{head:?}");
            ensure!(head.headers().contains_key("date") && heard.body.is_empty());
        }
        let heard = ask(&client, get("/body")?, &[], None).await?;
        ensure!(heard.reset == Some(h2::Reason::INTERNAL_ERROR), "{heard:?}");
        let heard = ask(&client, get("/")?, &[], None).await?;
        ensure!(heard.body == b"here", "the link lives: {heard:?}");
        Ok(())
    })
}

#[test]
fn a_response_that_breaks_its_promise_is_reset() -> TestResult {
    run(async {
        let answer = |length: &'static str, content: &'static str| {
            on_get(move || async move {
                let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from(content)))];
                let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
                Response::builder().header("content-length", length).body(body).expect("it is one")
            })
        };
        let app = Router::new()
            .route("/short", answer("9", "content"))
            .route("/long", answer("3", "content"))
            .route("/right", answer("7", "content"))
            .route("/101", on_get(|| async { StatusCode::SWITCHING_PROTOCOLS }));
        let site = served(Over::Cleartext, app).await?;
        let client = h2_client(&site).await?;
        for path in ["/short", "/long", "/101"] {
            let heard = ask(&client, get(path)?, &[], None).await?;
            ensure!(heard.reset == Some(h2::Reason::INTERNAL_ERROR), "{path}: {heard:?}");
        }
        ensure!(ask(&client, get("/right")?, &[], None).await?.body == b"content");
        Ok(())
    })
}

/// The end of another connection says nothing about this one, whatever its reason.
#[test]
fn a_backends_reason_is_not_passed_on_as_our_own() -> TestResult {
    run(async {
        let (mut backend, behind) = listen(Over::Cleartext).await?;
        tokio::spawn(async move {
            for reason in [Reason::NO_ERROR, Reason::REFUSED_STREAM] {
                let conn = backend.accept().await.expect("a request").accept().expect("a client");
                (&conn).write_all(b"a part").await.expect("the client is there");
                conn.sent().await.expect("the client is there");
                conn.reset(reason);
            }
        });
        let client = behind.client()?;
        let url = behind.url("/");
        let app = Router::new().route(
            "/",
            on_get(move || async move {
                let (conn, _) = client.connect(&url).await.expect("the backend is there");
                let chunks = futures_util::stream::unfold(conn, |conn| async {
                    let chunk = conn.read_chunk().await.transpose()?;
                    Some((chunk.map(Frame::data), conn))
                });
                Body::new(StreamBody::new(Box::pin(chunks)))
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let h2 = h2_client(&site).await?;
        for _ in 0..2 {
            let heard = ask(&h2, get("/")?, &[], None).await?;
            ensure!(heard.reset == Some(h2::Reason::INTERNAL_ERROR), "{heard:?}");
        }
        Ok(())
    })
}

#[test]
fn trailers_that_the_client_does_not_take_end_the_request_and_no_other() -> TestResult {
    run(async {
        let app = Router::new().route("/", on_get(|| async { "here" })).route(
            "/trailers",
            on_get(|| async {
                let mut trailers = HeaderMap::new();
                trailers.insert("x", "v".repeat(1_000).parse().expect("a value"));
                let frames =
                    [Frame::data(Bytes::from_static(b"content")), Frame::trailers(trailers)];
                let frames = frames.map(Ok::<_, std::io::Error>);
                Body::new(StreamBody::new(futures_util::stream::iter(frames)))
            }),
        );
        let (listener, site) = listen(Over::Cleartext).await?;
        let handle = listener.handle();
        tokio::spawn(async move { h2conn::serve(listener, app).await });
        let io = tokio::net::TcpStream::connect(site.addr).await?;
        let mut builder = h2::client::Builder::new();
        let (h2, connection) = builder.max_header_list_size(500).handshake(io).await?;
        tokio::spawn(connection);
        let heard = ask(&h2, get("/trailers")?, &[], None).await?;
        ensure!(heard.reset == Some(h2::Reason::INTERNAL_ERROR), "{heard:?}");
        let heard = ask(&h2, get("/")?, &[], None).await?;
        ensure!(heard.body == b"here", "{heard:?}");
        while handle.stats().conns > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })
}

#[test]
fn cookies_are_joined_and_the_client_is_known() -> TestResult {
    run(async {
        let app = Router::new().route(
            "/",
            any(|ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>, request: AxumRequest| async move {
                let info = request.extensions().get::<ConnInfo>().expect("it is always there");
                assert_eq!(info.peer_addr().socket_addr(), Some(peer));
                assert!(info.peer_certificates().is_empty());
                let cookies = request.headers().get_all("cookie").iter();
                cookies.map(|cookie| cookie.to_str().expect("text")).collect::<Vec<_>>().join("|")
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let client = h2_client(&site).await?;
        let mut request = get("/")?;
        for crumb in ["a=1", "b=2", "c=3"] {
            request.headers_mut().append("cookie", crumb.parse()?);
        }
        let heard = ask(&client, request, &[], None).await?;
        ensure!(heard.body == b"a=1; b=2; c=3", "{heard:?}");
        Ok(())
    })
}

#[test]
fn a_client_that_expects_100_gets_it_when_the_body_is_read_and_not_before() -> TestResult {
    run(async {
        let app = Router::new()
            .route("/read", any(|body: Bytes| async move { body }))
            .route("/refuse", any(|| async { StatusCode::FORBIDDEN }));
        let site = served(Over::Cleartext, app).await?;
        let mut client = h2_client(&site).await?;
        for (path, told) in [("/read", Some(StatusCode::CONTINUE)), ("/refuse", None)] {
            let mut request = Request::post(format!("http://127.0.0.1{path}")).body(())?;
            request.headers_mut().insert("expect", "100-continue".parse()?);
            let (mut response, mut stream) = client.send_request(request, false)?;
            let interim = poll_fn(|cx| response.poll_informational(cx)).await.transpose()?;
            ensure!(interim.map(|head| head.status()) == told, "{path}");
            if told.is_some() {
                stream.send_data(Bytes::from_static(b"content"), true)?;
                let mut body = response.await?.into_body();
                ensure!(body.data().await.context("an echo")?? == "content");
            } else {
                ensure!(response.await?.status() == StatusCode::FORBIDDEN);
            }
        }
        Ok(())
    })
}

#[test]
fn an_early_answer_is_complete_and_the_rest_of_the_request_is_not_wanted() -> TestResult {
    run(async {
        let app = Router::new().route("/", any(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "no") }));
        let site = served(Over::Cleartext, app).await?;
        let mut client = h2_client(&site).await?;
        let request = Request::post("http://127.0.0.1/").body(())?;
        let (response, mut stream) = client.send_request(request, false)?;
        stream.send_data(Bytes::from_static(b"the beginning"), false)?;
        let response = response.await?;
        ensure!(response.status() == StatusCode::PAYLOAD_TOO_LARGE);
        let mut body = response.into_body();
        ensure!(body.data().await.context("a text")?? == "no" && body.data().await.is_none());
        // The client does not end its side, and is told that nobody listens: with no error, or it
        // would throw the answer away (RFC 9113 §8.1).
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await?;
        ensure!(reset == h2::Reason::NO_ERROR, "{reset}");
        Ok(())
    })
}

#[test]
fn a_request_of_which_nothing_is_read_holds_no_more_than_its_window() -> TestResult {
    run(async {
        const WINDOW: usize = 1 << 20;
        let read: &'static Notify = Box::leak(Box::default());
        let app = Router::new().route(
            "/",
            any(|request: AxumRequest| async {
                read.notified().await;
                let body = request.into_body().collect().await.expect("content");
                body.to_bytes().len().to_string()
            }),
        );
        let site = served(Over::Cleartext, app).await?;
        let conn = Arc::new(site.client()?.open(site.url("/")).await?);
        let writer = Arc::clone(&conn);
        let writing = tokio::spawn(async move {
            (&*writer).write_all(&[7; 3 * WINDOW]).await?;
            (&*writer).shutdown().await
        });
        while conn.stats().bytes_sent < WINDOW as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Whatever could still go goes before this is answered.
        conn.ping().await?;
        ensure!(conn.stats().bytes_sent == WINDOW as u64, "{:?}", conn.stats());
        read.notify_one();
        let mut told = String::new();
        (&*conn).read_to_string(&mut told).await?;
        ensure!(told == (3 * WINDOW).to_string(), "{told}");
        writing.await??;
        Ok(())
    })
}
