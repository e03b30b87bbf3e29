//! WebSockets as connections: the bytes that they move, and their ends. The clients are those of
//! tungstenite, over HTTP/1.1 and over HTTP/2.

mod ends;
mod faults;
mod lines;
mod listener;
mod memory;
mod requests;

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::{Method, StatusCode, Version};
use h2conn::{Acceptor, Conn, Transport, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::framework::{
    axum_server, hyper_listen, hyper_over_memory, hyper_server, stock,
};
use crate::support::websocket::{BOTH, Socket, open, open_over};
use crate::support::{Over, Site, TestResult, checked, echo, noise, run};

/// More than any buffer on the path.
const MUCH: usize = 5 << 20;

/// Both ends of a WebSocket that a hyper server has accepted.
async fn pair(by: Version) -> TestResult<(Socket, Conn)> {
    let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
    next(&site, &mut conns, by).await
}

async fn next(
    site: &Site,
    conns: &mut UnboundedReceiver<Conn>,
    by: Version,
) -> TestResult<(Socket, Conn)> {
    let socket = open(site, by, "/").await?;
    Ok((socket, conns.recv().await.context("the server has ended")?))
}

/// Both ends, with settings of the test's own.
async fn pair_with(by: Version, websockets: WebSockets) -> TestResult<(Socket, Conn)> {
    let acceptor = Acceptor::builder().websockets(websockets).build()?;
    let (sender, mut conns) = tokio::sync::mpsc::unbounded_channel();
    let site = hyper_server(Over::Cleartext, acceptor, move |conn| {
        let _ = sender.send(conn);
        std::future::ready(Ok(()))
    })
    .await?;
    next(&site, &mut conns, by).await
}

/// The close frame with which a server ends its direction. All bytes before it go to `heard`.
async fn read_to_close(socket: &mut Socket, heard: &mut Vec<u8>) -> TestResult<CloseFrame> {
    loop {
        match socket.next().await.context("no close frame has come")?? {
            Message::Binary(bytes) => heard.extend_from_slice(&bytes),
            Message::Close(frame) => return frame.context("a close frame without a status"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => anyhow::bail!("not expected: {other:?}"),
        }
    }
}

/// Sends `said` in messages of changing size while they are echoed, and closes when all bytes are
/// back.
async fn check_echo(socket: Socket, said: &[u8]) -> TestResult {
    let (mut sink, mut stream) = socket.split();
    let write = async {
        let (mut rest, mut size) = (said, 1);
        while !rest.is_empty() {
            let (message, left) = rest.split_at(rest.len().min(size));
            sink.send(Message::Binary(Bytes::copy_from_slice(message))).await?;
            (rest, size) = (left, (size * 3 + 1) % 100_000);
        }
        TestResult::Ok(())
    };
    let read = async {
        let mut heard = Vec::new();
        while heard.len() < said.len() {
            match stream.next().await.context("it has ended")?? {
                Message::Binary(bytes) => heard.extend_from_slice(&bytes),
                other => anyhow::bail!("not expected: {other:?}"),
            }
        }
        Ok(heard)
    };
    let (written, heard) = tokio::join!(write, read);
    written?;
    ensure!(heard? == said, "not what was sent");
    let mut socket = sink.reunite(stream)?;
    socket.close(None).await?;
    let answer = socket.next().await.transpose()?;
    ensure!(answer == Some(Message::Close(None)), "{answer:?}");
    ensure!(socket.next().await.transpose()?.is_none(), "the transport ends");
    Ok(())
}

#[test]
fn bytes_go_both_ways_under_hyper_and_axum() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let hyper = hyper_server(over, Acceptor::default(), echo).await?;
            // The test checks the client's side.
            let axum = axum_server(over, |conn| async { drop(echo(conn).await) }).await?;
            for by in BOTH {
                for site in [&hyper, &axum] {
                    let socket = open(site, by, "/echo").await?;
                    let checked = check_echo(socket, &noise(MUCH, 1)).await;
                    checked.with_context(|| format!("{by:?} over {over:?}"))?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_conn_knows_what_it_rides_on() -> TestResult {
    run(async {
        let (_client, conn) = pair(Version::HTTP_11).await?;
        ensure!(*conn.transport() == Transport::WebSocketHttp1);
        ensure!(*conn.method() == Method::GET && conn.uri().path() == "/");
        ensure!(conn.response().await?.status() == StatusCode::SWITCHING_PROTOCOLS);

        let (_client, conn) = pair(Version::HTTP_2).await?;
        ensure!(*conn.transport() == Transport::WebSocketHttp2);
        ensure!(*conn.method() == Method::CONNECT && conn.uri().path() == "/");
        ensure!(conn.response().await?.status() == StatusCode::OK);

        let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
        let client = site.connect().await?;
        let conn = conns.recv().await.context("the server has ended")?;
        ensure!(*conn.transport() == Transport::Request);
        ensure!(*client.transport() == Transport::Request);
        Ok(())
    })
}

/// One thread, so that a whole burst is written, or has arrived, before any of it is moved.
#[tokio::test]
async fn small_writes_share_messages() -> TestResult {
    checked(30, async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            for _ in 0..1000 {
                conn.write_all(b"0123456789").await?;
            }
            conn.shutdown().await?;
            let (mut messages, mut bytes) = (0, 0);
            while let Message::Binary(message) = client.next().await.context("its end")?? {
                messages += 1;
                bytes += message.len();
            }
            ensure!(bytes == 10_000);
            ensure!(messages < 50, "{messages} messages for 1,000 small writes");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_burst_is_moved_whole() -> TestResult {
    checked(30, async {
        for by in BOTH {
            let acceptor = Acceptor::builder().send_queue_size(2 << 20).build()?;
            let (io, mut conns) = hyper_over_memory(8 << 20, stock(), acceptor);
            let mut client = open_over(io, by).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            for _ in 0..1000 {
                client.feed(Message::binary(&b"x"[..])).await?;
            }
            client.flush().await?;
            conn.read_exact(&mut [0; 1000]).await?;

            // Each of these chunks is a message.
            for _ in 0..200 {
                conn.write_chunk(vec![7; 5000].into()).await?;
            }
            for _ in 0..200 {
                let message = client.next().await.context("its end")??;
                ensure!(message.len() == 5000, "{} bytes", message.len());
            }
        }
        Ok(())
    })
    .await
}

#[test]
fn what_the_transport_has_not_taken_is_not_said_to_be_sent() -> TestResult {
    run(async {
        let (io, mut conns) = hyper_over_memory(1 << 10, stock(), Acceptor::default());
        let mut client = open_over(io, Version::HTTP_11).await?;
        let mut conn = conns.recv().await.context("the server has ended")?;
        conn.write_all(&[7; 10_000]).await?;
        let mut sent = std::pin::pin!(conn.sent());
        let time = Duration::from_millis(200);
        ensure!(timeout(time, &mut sent).await.is_err(), "1 KiB has been taken at most");
        let read = async { TestResult::Ok(client.next().await.context("its end")??.len()) };
        let (sent, read) = tokio::join!(sent, read);
        sent?;
        ensure!(read? == 10_000);
        Ok(())
    })
}

#[test]
fn empty_messages_and_pongs_mean_nothing_and_pings_are_answered() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            client.send(Message::Binary(Bytes::new())).await?;
            client.send(Message::Pong(Bytes::from_static(b"nobody asked"))).await?;
            client.send(Message::Ping(Bytes::from_static(b"there?"))).await?;
            client.send(Message::Binary(Bytes::from_static(b"bytes"))).await?;
            let mut heard = [0; 5];
            conn.read_exact(&mut heard).await?;
            ensure!(heard == *b"bytes");
            let answer = client.next().await.context("it has ended")??;
            ensure!(answer == Message::Pong(Bytes::from_static(b"there?")), "{answer:?}");
        }
        Ok(())
    })
}

#[test]
fn text_messages_are_bytes_where_they_are_allowed() -> TestResult {
    run(async {
        for by in BOTH {
            let allowed = WebSockets::new().text_messages(true);
            let (mut client, mut conn) = pair_with(by, allowed).await?;
            client.send(Message::text("grüß ")).await?;
            client.send(Message::binary(&b"dich"[..])).await?;
            client.close(None).await?;
            let mut heard = String::new();
            conn.read_to_string(&mut heard).await?;
            ensure!(heard == "grüß dich", "{heard:?}");
        }
        Ok(())
    })
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_loses_nothing() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            let said = noise(8 << 20, 2);
            let pieces: Vec<_> = said.chunks(50_000).map(Bytes::copy_from_slice).collect();
            let mut writer = tokio::spawn(async move {
                for piece in pieces {
                    client.send(Message::Binary(piece)).await?;
                }
                client.close(None).await?;
                TestResult::Ok(client)
            });
            let time = Duration::from_millis(300);
            ensure!(timeout(time, &mut writer).await.is_err(), "{by:?}: all of it was taken");
            let mut heard = Vec::new();
            conn.read_to_end(&mut heard).await?;
            writer.await??;
            ensure!(heard == said, "{by:?}: {} of {} bytes", heard.len(), said.len());
        }
        Ok(())
    })
}

#[test]
fn bulk_both_ways_with_pings_between_does_not_lock_up() -> TestResult {
    run(async {
        for by in BOTH {
            let (client, conn) = pair(by).await?;
            let (mut reader, mut writer) = conn.into_split();
            let (mut sink, mut stream) = client.split();
            let said = noise(MUCH, 3);
            let piece = Bytes::from(said.clone());
            let up = async {
                for at in (0..MUCH).step_by(10_000) {
                    let end = MUCH.min(at + 10_000);
                    sink.send(Message::Binary(piece.slice(at..end))).await?;
                    sink.send(Message::Ping(Bytes::new())).await?;
                }
                TestResult::Ok(())
            };
            let down = async {
                let mut heard = Vec::new();
                while heard.len() < MUCH {
                    if let Message::Binary(bytes) = stream.next().await.context("its end")?? {
                        heard.extend_from_slice(&bytes);
                    }
                }
                TestResult::Ok(heard)
            };
            let mut received = vec![0; MUCH];
            let (up, down, written, read) =
                tokio::join!(up, down, writer.write_all(&said), reader.read_exact(&mut received));
            up?;
            written?;
            read?;
            ensure!(received == said && down? == said, "{by:?}");
        }
        Ok(())
    })
}
