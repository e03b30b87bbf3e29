//! The end of a server in good order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get as on_get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use h2conn::axum::Accept;
use h2conn::http::{Request, Version};
use h2conn::{ErrorKind, Listener};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::{Stoppable, ask, get, h2_client};
use crate::support::raw::{self, END_HEADERS, END_STREAM, Raw};
use crate::support::{GRACE, Over, TestResult, check_echo, listen_with, noise, run, websocket};

/// All that a WebSocket says, up to its end. The client answers the close frame as it reads on.
async fn hear(socket: &mut websocket::Socket) -> TestResult<Vec<u8>> {
    let mut heard = Vec::new();
    while let Some(message) = socket.next().await {
        match message? {
            Message::Close(_) | Message::Ping(_) => {}
            message => heard.extend_from_slice(&message.into_data()),
        }
    }
    Ok(heard)
}

#[test]
fn a_shutdown_lets_requests_and_conns_end() -> TestResult {
    run(async {
        let (began, mut begun) = mpsc::unbounded_channel();
        let go: &'static Notify = Box::leak(Box::default());
        let slow = on_get(move || {
            began.send(()).expect("the test listens");
            async {
                go.notified().await;
                "done"
            }
        });
        let live = any(|accept: Accept| async {
            accept.on_conn(|conn| async move {
                conn.draining().await;
                (&conn).write_all(b"goodbye").await.expect("the client listens");
                conn.close().await.expect("the client ends");
            })
        });
        let app = Router::new().route("/slow", slow).route("/live", live);
        let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
        let server = Stoppable::start(builder, app, None).await?;
        let site = server.site.clone();

        let (conn, _) = site.client()?.connect(site.url("/live")).await?;
        let h2 = h2_client(&site).await?;
        let mut asked = JoinSet::new();
        for _ in 0..20 {
            let h2 = h2.clone();
            asked.spawn(async move { ask(&h2, get("/slow")?, &[], None).await });
        }
        let mut http1 = TcpStream::connect(site.addr).await?;
        http1.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        for _ in 0..21 {
            begun.recv().await.context("a request")?;
        }
        let mut idle = TcpStream::connect(site.addr).await?;
        idle.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        idle.read_exact(&mut [0; 12]).await?;
        let ended = server.stop();

        let mut heard = String::new();
        (&conn).read_to_string(&mut heard).await?;
        ensure!(heard == "goodbye");
        conn.close().await?;
        // A client that does nothing is let go.
        idle.read_to_end(&mut Vec::new()).await?;
        for _ in 0..21 {
            go.notify_one();
            tokio::task::yield_now().await;
        }
        let answering = async {
            while !asked.is_empty() {
                go.notify_one();
                tokio::time::sleep(Duration::from_millis(10)).await;
                while let Some(heard) = asked.try_join_next() {
                    let heard = heard??;
                    ensure!(heard.body == b"done", "{heard:?}");
                }
            }
            Ok(())
        };
        answering.await?;
        let mut answer = String::new();
        let reading = http1.read_to_string(&mut answer);
        let going = async {
            loop {
                go.notify_one();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            read = reading => { read?; }
            () = going => {}
        }
        ensure!(answer.ends_with("done"), "{answer}");
        drop(h2);
        ended.await??;
        ensure!(TcpStream::connect(site.addr).await.is_err(), "the socket is closed");
        Ok(())
    })
}

#[test]
fn nothing_fails_when_a_server_with_a_crowd_ends() -> TestResult {
    const CONNS: usize = 500;
    const REQUESTS: usize = 200;
    const WEBSOCKETS: usize = 20;
    run(async {
        let (began, mut begun) = mpsc::unbounded_channel();
        let slow = any({
            let began = began.clone();
            move |request: Request<Body>| {
                let began = began.clone();
                async move {
                    began.send(()).expect("the test listens");
                    // The content ends when the test has seen the server begin to end.
                    request.into_body().collect().await.expect("all of it comes").to_bytes()
                }
            }
        });
        let live = any(move |accept: Accept| {
            let began = began.clone();
            async move {
                accept.on_conn(|conn| async move {
                    began.send(()).expect("the test listens");
                    conn.draining().await;
                    (&conn).write_all(b"goodbye").await.expect("the client listens");
                    conn.close().await.expect("the client ends");
                })
            }
        });
        let app = Router::new().route("/slow", slow).route("/live", live);
        let builder = Listener::builder().linger_timeout(GRACE).protocols(["websocket"]);
        let server = Stoppable::start(builder, app, None).await?;
        let site = server.site.clone();

        let client = site.client()?;
        let mut left = JoinSet::new();
        for _ in 0..CONNS {
            let (conn, _) = client.connect(site.url("/live")).await?;
            left.spawn(async move {
                let mut heard = String::new();
                (&conn).read_to_string(&mut heard).await?;
                ensure!(heard == "goodbye", "{heard:?}");
                Ok(conn.close().await?)
            });
        }
        let go_on = Arc::new(Semaphore::new(0));
        for number in 0..REQUESTS {
            let (client, go_on) = (client.clone(), Arc::clone(&go_on));
            let content = noise(10_000, number as u64);
            let (first, rest) = (content[..100].to_vec(), content[100..].to_vec());
            let chunks = stream::iter([first]).chain(stream::once(async move {
                let _ = go_on.acquire().await;
                rest
            }));
            let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))));
            let body = StreamBody::new(Box::pin(frames));
            let request = Request::post(site.url("/slow")).body(body)?;
            left.spawn(async move {
                let heard = client.send(request).await?.into_body().collect().await?.to_bytes();
                ensure!(heard == content, "{} bytes", heard.len());
                Ok(())
            });
        }
        for number in 0..WEBSOCKETS {
            let by = if number % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
            let mut socket = websocket::open(&site, by, "/live").await?;
            left.spawn(async move {
                let heard = hear(&mut socket).await?;
                ensure!(heard == b"goodbye", "{heard:?}");
                Ok(())
            });
        }
        for _ in 0..CONNS + REQUESTS + WEBSOCKETS {
            begun.recv().await.context("a handler")?;
        }
        let ended = server.stop();
        for _ in 0..CONNS + WEBSOCKETS {
            left.join_next().await.context("a Conn or a WebSocket")???;
        }
        ensure!(!ended.is_finished(), "it waits for the requests");
        go_on.close();
        while let Some(outcome) = left.join_next().await {
            outcome??;
        }
        client.close().await?;
        Ok(ended.await??)
    })
}

#[test]
fn what_is_left_when_the_time_is_up_is_reset_and_the_server_says_so() -> TestResult {
    run(async {
        let live = any(|accept: Accept| async {
            accept.on_conn(|conn| async move { drop(conn.closed().await) })
        });
        let forever = on_get(|| async { std::future::pending::<()>().await });
        let app = Router::new().route("/live", live).route("/forever", forever);
        let limit = Some(Duration::from_millis(200));
        let server = Stoppable::start(Listener::builder(), app, limit).await?;
        let site = server.site.clone();
        let (conn, _) = site.client()?.connect(site.url("/live")).await?;
        let mut http1 = TcpStream::connect(site.addr).await?;
        http1.write_all(b"GET /forever HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        // Its request is being served.
        let h2 = h2_client(&site).await?;
        let asked = tokio::spawn(async move { ask(&h2, get("/forever")?, &[], None).await });
        tokio::task::yield_now().await;
        let error = server.stop().await?.err().context("its time is up")?;
        ensure!(error.kind() == ErrorKind::TimedOut, "{error}");
        ensure!(error.to_string().contains("within 0.2 s"), "{error}");
        ensure!(conn.closed().await.is_err());
        let mut rest = Vec::new();
        // It is closed or reset.
        let _ = http1.read_to_end(&mut rest).await;
        ensure!(rest.is_empty(), "{rest:?}");
        let heard = asked.await?;
        ensure!(heard.is_err() || heard.is_ok_and(|heard| heard.reset.is_some()));
        Ok(())
    })
}

#[test]
fn answers_that_were_not_acknowledged_in_time_are_told() -> TestResult {
    run(async {
        let app = Router::new().route("/", any(|| async { noise(40_000, 1) }));
        let limit = Some(Duration::from_millis(200));
        let server = Stoppable::start(Listener::builder(), app, limit).await?;
        let mut client = Raw::client(TcpStream::connect(server.site.addr).await?).await?;
        client.send(raw::HEADERS, END_HEADERS | END_STREAM, 1, &raw::request("/")).await?;
        while !client.wait_for(raw::DATA, 1).await?.is_end() {}
        // The answer is complete, and the client reads no more, so that it acknowledges nothing.
        let error = server.stop().await?.err().context("its client has not said what it has")?;
        ensure!(error.kind() == ErrorKind::TimedOut, "{error}");
        Ok(())
    })
}

#[test]
fn a_websocket_over_http_1_hears_of_the_end_and_is_waited_for() -> TestResult {
    run(async {
        let (ended, mut over) = mpsc::unbounded_channel();
        let live = any(move |accept: Accept| {
            let ended = ended.clone();
            async move {
                accept.on_conn(|conn| async move {
                    conn.draining().await;
                    (&conn).write_all(b"goodbye").await.expect("the client listens");
                    conn.close().await.expect("the client ends");
                    ended.send(()).expect("the test listens");
                })
            }
        });
        let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
        let server = Stoppable::start(builder, Router::new().route("/", live), None).await?;
        let site = server.site.clone();
        let mut socket = websocket::open(&site, Version::HTTP_11, "/").await?;
        let ended = server.stop();
        let heard = hear(&mut socket).await?;
        ensure!(heard == b"goodbye", "{heard:?}");
        drop(socket);
        ended.await??;
        over.recv().await.context("it has ended in good order")
    })
}

/// Browsers open sockets before they need them.
#[test]
fn a_client_that_says_nothing_does_not_delay_the_end() -> TestResult {
    run(async {
        let hour = Duration::from_secs(3600);
        let builder = Listener::builder().handshake_timeout(hour);
        let server = Stoppable::start(builder, Router::new(), Some(hour)).await?;
        let site = server.site.clone();
        let mut silent = TcpStream::connect(site.addr).await?;
        // One that is served shows that the server has seen the other.
        let h2 = h2_client(&site).await?;
        ask(&h2, get("/")?, &[], None).await?;
        drop(h2);
        server.stop().await??;
        drop(silent.shutdown().await);
        Ok(())
    })
}

#[test]
fn a_server_that_has_ended_keeps_nothing_of_its_router() -> TestResult {
    run(async {
        let (listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        let (handle, kept) = (listener.handle(), Arc::new(()));
        let (weak, state) = (Arc::downgrade(&kept), (handle.clone(), kept));
        let figures = on_get(move || {
            let (handle, _kept) = &state;
            let links = handle.stats().links;
            async move { links.to_string() }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = h2conn::serve(listener, Router::new().route("/", figures))
            .with_graceful_shutdown(async { drop(stopped.await) });
        let server = tokio::spawn(server.into_future());
        let h2 = h2_client(&site).await?;
        let heard = ask(&h2, get("/")?, &[], None).await?;
        ensure!(heard.body == b"1", "{heard:?}");
        drop(h2);
        stop.send(()).ok().context("the server waits for it")?;
        server.await??;
        while weak.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ensure!(handle.stats().links == 0);
        Ok(())
    })
}

#[test]
fn a_server_that_is_dropped_finishes_what_it_has_begun() -> TestResult {
    run(async {
        let live = any(|accept: Accept| async {
            accept.on_conn(|conn| async move { drop(crate::support::echo(conn).await) })
        });
        let (listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        let server =
            tokio::spawn(h2conn::serve(listener, Router::new().route("/", live)).into_future());
        let conn = site.connect().await?;
        server.abort();
        let _ = server.await;
        check_echo(conn, &noise(1 << 20, 5)).await
    })
}
