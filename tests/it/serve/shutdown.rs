//! The end of a server in good order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::{any, get as on_get};
use futures_util::StreamExt;
use h2conn::axum::Accept;
use h2conn::http::Version;
use h2conn::{ErrorKind, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::{ask, get, h2_client};
use crate::support::{GRACE, Over, TestResult, check_echo, listen_with, noise, run, websocket};

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
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            h2conn::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
        let server = tokio::spawn(server.into_future());

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
        stop.send(()).ok().context("the server waits for it")?;

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
        server.await??;
        ensure!(TcpStream::connect(site.addr).await.is_err(), "the socket is closed");
        Ok(())
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
        let (listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = h2conn::serve(listener, app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .with_shutdown_timeout(Duration::from_millis(200));
        let server = tokio::spawn(server.into_future());
        let (conn, _) = site.client()?.connect(site.url("/live")).await?;
        let mut http1 = TcpStream::connect(site.addr).await?;
        http1.write_all(b"GET /forever HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        // Its request is being served.
        let h2 = h2_client(&site).await?;
        let asked = tokio::spawn(async move { ask(&h2, get("/forever")?, &[], None).await });
        tokio::task::yield_now().await;
        stop.send(()).ok().context("the server waits for it")?;
        let error = server.await?.err().context("its time is up")?;
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
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = h2conn::serve(listener, Router::new().route("/", live))
            .with_graceful_shutdown(async { drop(stopped.await) });
        let server = tokio::spawn(server.into_future());
        let mut socket = websocket::open(&site, Version::HTTP_11, "/").await?;
        stop.send(()).ok().context("the server waits for it")?;
        let mut heard = Vec::new();
        while let Some(message) = socket.next().await {
            // The client answers the close frame as it reads on.
            match message? {
                Message::Close(_) => {}
                message => heard.extend_from_slice(&message.into_data()),
            }
        }
        ensure!(heard == b"goodbye", "{heard:?}");
        drop(socket);
        server.await??;
        over.recv().await.context("it has ended in good order")
    })
}

/// Browsers open sockets before they need them.
#[test]
fn a_client_that_says_nothing_does_not_delay_the_end() -> TestResult {
    run(async {
        let hour = Duration::from_secs(3600);
        let builder = Listener::builder().handshake_timeout(hour);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = h2conn::serve(listener, Router::new())
            .with_graceful_shutdown(async { drop(stopped.await) })
            .with_shutdown_timeout(hour);
        let server = tokio::spawn(server.into_future());
        let mut silent = TcpStream::connect(site.addr).await?;
        // One that is served shows that the server has seen the other.
        let h2 = h2_client(&site).await?;
        ask(&h2, get("/")?, &[], None).await?;
        drop(h2);
        stop.send(()).ok().context("the server waits for it")?;
        server.await??;
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
