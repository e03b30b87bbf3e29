//! `Acceptor::drain`: an orderly end of a server that is not ours.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::routing::any;
use axum::{Extension, Router};
use futures_util::{SinkExt, StreamExt};
use h2conn::axum::Accept;
use h2conn::http::StatusCode;
use h2conn::{Acceptor, Client, Conn, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

use crate::support::framework::{hand_out, hyper_accepts, hyper_server, stock};
use crate::support::websocket::{self, BOTH, open, request, send};
use crate::support::{Over, Site, TestResult, run};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// A stock server with this acceptor, which hands out its connections.
async fn hyper(acceptor: &Acceptor) -> TestResult<(Site, mpsc::UnboundedReceiver<Conn>)> {
    let (handler, conns) = hand_out();
    Ok((hyper_server(Over::Cleartext, acceptor.clone(), handler).await?, conns))
}

/// The same server in axum.
async fn in_axum(acceptor: &Acceptor) -> TestResult<(Site, mpsc::UnboundedReceiver<Conn>)> {
    let (sender, conns) = mpsc::unbounded_channel();
    let handler = any(move |accept: Accept| async move {
        accept.on_conn(move |conn| async move { drop(sender.send(conn)) })
    });
    let app = Router::new().route("/", handler).layer(Extension(acceptor.clone()));
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    tokio::spawn(axum::serve(socket, app).into_future());
    Ok((Site::cleartext(addr), conns))
}

/// Both ends of a connection.
async fn connect(
    client: &Client,
    site: &Site,
    conns: &mut mpsc::UnboundedReceiver<Conn>,
) -> TestResult<(Conn, Conn)> {
    let (conn, _) = client.connect(site.url("/")).await?;
    Ok((conn, conns.recv().await.context("the server has ended")?))
}

#[test]
fn a_drain_tells_the_conns_waits_for_them_and_refuses_others() -> TestResult {
    run(async {
        for in_hyper in [true, false] {
            let acceptor = Acceptor::builder().build()?;
            let (site, mut conns) =
                if in_hyper { hyper(&acceptor).await? } else { in_axum(&acceptor).await? };
            let client = site.client()?;
            let (mut conn, mut server) = connect(&client, &site, &mut conns).await?;
            let clone = acceptor.clone();
            let drain = tokio::spawn(async move { clone.drain(LONG).await });
            server.draining().await;
            let error = client.connect(site.url("/")).await.err().context("it is draining")?;
            ensure!(error.kind() == ErrorKind::Rejected, "{error}");
            ensure!(error.status() == Some(StatusCode::SERVICE_UNAVAILABLE), "{error}");
            let fields = error.headers().context("the response has some")?;
            ensure!(fields.contains_key("retry-after"), "{fields:?}");
            ensure!(error.to_string().contains("shutting down"), "{error}");
            // Open connections go on as before.
            conn.write_all(b"how long").await?;
            conn.shutdown().await?;
            let mut said = String::new();
            server.read_to_string(&mut said).await?;
            ensure!(said == "how long" && !drain.is_finished());
            server.write_all(b"until now").await?;
            server.shutdown().await?;
            let mut said = String::new();
            conn.read_to_string(&mut said).await?;
            ensure!(said == "until now");
            ensure!(drain.await?, "all have ended by themselves");
            ensure!(acceptor.drain(LONG).await, "there is nothing to wait for");
        }
        Ok(())
    })
}

#[test]
fn what_is_left_after_the_deadline_is_reset_with_cancel() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().build()?;
        let (site, mut conns) = hyper(&acceptor).await?;
        let client = site.client()?;
        let (mut conn, mut server) = connect(&client, &site, &mut conns).await?;
        let (mut other, dropped) = connect(&client, &site, &mut conns).await?;
        drop(dropped);
        ensure!(other.read(&mut [0; 1]).await? == 0);
        other.close().await?;
        ensure!(!acceptor.drain(Duration::from_millis(100)).await, "one has not ended");
        let error = conn.read(&mut [0; 1]).await.err().context("it was reset")?;
        let error = crate::support::ours(&error);
        ensure!(error.reason() == Some(Reason::CANCEL), "{error}");
        let error = server.read(&mut [0; 1]).await.err().context("it was reset")?;
        ensure!(error.to_string().contains("its time is up"), "{error}");
        Ok(())
    })
}

#[test]
fn acceptors_are_drained_each_by_itself_and_clones_together() -> TestResult {
    run(async {
        let (one, other) = (Acceptor::default(), Acceptor::default());
        let (site, mut conns) = hyper(&other.clone()).await?;
        let client = site.client()?;
        let (conn, server) = connect(&client, &site, &mut conns).await?;
        ensure!(one.drain(LONG).await, "it has none");
        let (second, server_of_second) = connect(&client, &site, &mut conns).await?;
        let drain = tokio::spawn(async move { other.drain(LONG).await });
        server.draining().await;
        server_of_second.draining().await;
        for conn in [conn, server, second, server_of_second] {
            drop(conn);
        }
        ensure!(drain.await?);
        Ok(())
    })
}

#[test]
fn a_websocket_that_is_drained_is_closed_as_by_a_server_that_leaves() -> TestResult {
    run(async {
        for by in BOTH {
            let acceptor = Acceptor::builder().build()?;
            let (site, mut conns) = hyper(&acceptor).await?;
            let mut socket = open(&site, by, "/").await?;
            let mut server = conns.recv().await.context("the server has ended")?;
            let clone = acceptor.clone();
            let drain = tokio::spawn(async move { clone.drain(LONG).await });
            server.draining().await;
            let late = send(&site, by, request(&site, by, "/")?).await?;
            ensure!(late.status() == StatusCode::SERVICE_UNAVAILABLE, "{by:?}: {late:?}");
            socket.send(Message::Binary("hello".into())).await?;
            let mut said = [0; 5];
            server.read_exact(&mut said).await?;
            server.write_all(b"bye").await?;
            server.shutdown().await?;
            ensure!(socket.next().await.context("a message")?? == Message::Binary("bye".into()));
            let Message::Close(Some(frame)) = websocket::next(&mut socket).await? else {
                anyhow::bail!("no close frame over {by:?}");
            };
            ensure!(u16::from(frame.code) == 1001, "{by:?}: {frame:?}");
            ensure!(socket.next().await.is_none());
            drop(socket);
            ensure!(server.read(&mut [0; 1]).await? == 0, "the client has answered");
            ensure!(drain.await?, "{by:?}");
        }
        Ok(())
    })
}

#[test]
fn a_websocket_that_is_left_after_the_deadline_is_reset() -> TestResult {
    run(async {
        for by in BOTH {
            let acceptor = Acceptor::builder().build()?;
            let (site, mut conns) = hyper(&acceptor).await?;
            let mut socket = open(&site, by, "/").await?;
            let _server = conns.recv().await.context("the server has ended")?;
            let drain = tokio::spawn(async move { acceptor.drain(Duration::ZERO).await });
            let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
                anyhow::bail!("no close frame over {by:?}");
            };
            ensure!(u16::from(frame.code) == 4008, "{by:?}: {frame:?}");
            drop(socket);
            ensure!(!drain.await?, "{by:?}");
        }
        Ok(())
    })
}

#[test]
fn with_the_servers_own_shutdown_everything_ends_in_order() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().build()?;
        let (io, server_io) = duplex(64 << 10);
        let (shut_down, told) = oneshot::channel::<()>();
        // Well-behaved handlers: they finish when they are told to.
        let handler = |mut conn: Conn| async move {
            conn.draining().await;
            conn.write_all(b"the last words").await?;
            conn.shutdown().await?;
            conn.close().await?;
            Ok(())
        };
        let serving = tokio::spawn(hyper_accepts(
            server_io,
            stock(),
            acceptor.clone(),
            Arc::new(handler),
            told,
        ));
        let client = Client::builder().build_over(io).await?;
        let mut conns = Vec::new();
        for _ in 0..20 {
            conns.push(client.connect("http://memory/").await?.0);
        }
        shut_down.send(()).ok().context("the server has ended")?;
        let reading = tokio::spawn(async move {
            for mut conn in conns {
                let mut said = String::new();
                conn.read_to_string(&mut said).await?;
                ensure!(said == "the last words", "{said:?}");
                conn.close().await?;
            }
            Ok(())
        });
        ensure!(acceptor.drain(LONG).await);
        reading.await??;
        serving.await??;
        Ok(())
    })
}

#[test]
fn a_drain_that_is_dropped_leaves_the_conns_as_they_are() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().build()?;
        let (site, mut conns) = hyper(&acceptor).await?;
        let client = site.client()?;
        let (mut conn, mut server) = connect(&client, &site, &mut conns).await?;
        tokio::select! {
            biased;
            _ = acceptor.drain(LONG) => anyhow::bail!("one is open"),
            () = server.draining() => {}
            () = pending() => {}
        }
        conn.write_all(b"still here").await?;
        let mut said = [0; 10];
        server.read_exact(&mut said).await?;
        drop((conn, server));
        ensure!(acceptor.drain(LONG).await);
        Ok(())
    })
}
