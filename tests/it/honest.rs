//! Traffic of honest peers that some HTTP/2 libraries handle badly: small frames, ends that arrive
//! together, full windows, streams that are reset while messages are on their way.

mod ends;
mod framework;
mod windows;

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::testing::Pair;
use h2conn::{Client, Conn, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::checked;
use crate::support::raw::{self, DATA, END_STREAM, HEADERS, REQUEST, Raw};

/// A cleartext listener, and its address.
async fn listen() -> Result<(Listener, String)> {
    let listener = Listener::builder().bind("127.0.0.1:0").await?;
    let address = listener.local_addr().to_string();
    Ok((listener, address))
}

/// Echoes until end of file, then ends its direction.
async fn echo(conn: Conn) -> io::Result<u64> {
    let (mut read, mut write) = conn.into_split();
    let copied = tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await?;
    Ok(copied)
}

#[tokio::test]
async fn ten_thousand_one_byte_frames_to_a_sleeping_reader_all_arrive() -> Result<()> {
    checked(60, async {
        let (mut listener, address) = listen().await?;
        let mut raw = Raw::client(TcpStream::connect(&address).await?).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        let sleeper = listener.accept().await.context("stream 1")?.accept()?;
        let reader = tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            let mut got = Vec::new();
            (&sleeper).read_to_end(&mut got).await?;
            io::Result::Ok(got)
        });
        raw.send(HEADERS, raw::END_HEADERS, 3, REQUEST).await?;
        let sibling = listener.accept().await.context("stream 3")?.accept()?;
        tokio::spawn(echo(sibling));

        let mut frames = Vec::new();
        for index in 0..10_000_u32 {
            frames.extend(raw::frame(DATA, 0, 1, &[index as u8]));
            if index % 1_000 == 999 {
                raw.io.write_all(&frames).await?;
                frames.clear();
                raw.send(DATA, 0, 3, b"still there?").await?;
                ensure!(raw.wait_for(DATA, 3).await?.payload == b"still there?");
            }
        }
        raw.send(DATA, END_STREAM, 1, &[]).await?;
        let expected: Vec<u8> = (0..10_000_u32).map(|index| index as u8).collect();
        ensure!(reader.await?? == expected);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn ten_thousand_one_byte_writes_do_not_kill_a_hyper_server_that_sleeps() -> Result<()> {
    use http_body_util::{BodyExt, Empty};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    checked(60, async {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let (sender, mut received) = tokio::sync::mpsc::channel(1);
        let server = tokio::spawn(async move {
            let (io, _) = socket.accept().await?;
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    tokio::spawn(async move {
                        sleep(Duration::from_secs(2)).await;
                        let body = request.into_body().collect().await.map(|body| body.to_bytes());
                        let _ = sender.send(body).await;
                    });
                    Ok::<_, hyper::Error>(hyper::Response::new(Empty::<Bytes>::new()))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(io), service).await?;
            Result::<()>::Ok(())
        });
        let client = Client::new()?;
        let mut conn = client.open(format!("http://{address}/")).await?;
        for index in 0..10_000_u32 {
            conn.write_all(&[index as u8]).await?;
        }
        conn.shutdown().await?;
        let body = received.recv().await.context("the handler ended")??;
        let expected: Vec<u8> = (0..10_000_u32).map(|index| index as u8).collect();
        ensure!(body == expected);
        drop((conn, client));
        server.await??;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_empty_data_frame_is_sent_but_the_one_that_ends_the_stream() -> Result<()> {
    checked(30, async {
        let (mut listener, address) = listen().await?;
        let mut raw = Raw::client(TcpStream::connect(&address).await?).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        let mut conn = listener.accept().await.context("a stream")?.accept()?;
        for round in 0..200_u8 {
            ensure!(conn.write(&[]).await? == 0);
            conn.write_chunk(bytes::Bytes::new()).await?;
            conn.flush().await?;
            if round % 50 == 0 {
                conn.write_all(&[round]).await?;
                conn.sent().await?;
            }
        }
        conn.shutdown().await?;
        let mut got: Vec<u8> = Vec::new();
        loop {
            let frame = raw.wait_for(DATA, 1).await?;
            ensure!(!frame.payload.is_empty() || frame.is_end(), "an empty frame");
            got.extend(&frame.payload);
            if frame.is_end() {
                break;
            }
        }
        ensure!(got == [0, 50, 100, 150]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_and_then_a_drop_loses_nothing_on_either_side() -> Result<()> {
    checked(60, async {
        let mut pair = Pair::new().await?;
        for round in 0..1_000_usize {
            let (client, server) = pair.open().await?;
            let (mut dropped, mut other) =
                if round % 2 == 0 { (client, server) } else { (server, client) };
            let message = vec![round as u8; 1 + round * 97 % 40_000];
            dropped.write_all(&message).await?;
            drop(dropped);
            let mut got = Vec::new();
            other.read_to_end(&mut got).await.with_context(|| format!("round {round}"))?;
            ensure!(got == message, "round {round}: {} of {} bytes", got.len(), message.len());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn streams_share_a_narrow_link_window_without_starving_each_other() -> Result<()> {
    checked(60, async {
        let (client_io, server_io) = duplex(16 << 10);
        let server = tokio::spawn(async move {
            // The smallest window that the protocol allows, for all streams together.
            let mut link = h2::server::Builder::new()
                .initial_connection_window_size(65_535)
                .initial_window_size(65_535)
                .handshake::<_, bytes::Bytes>(server_io)
                .await?;
            let mut bodies = JoinSet::new();
            while let Some(arrival) = link.accept().await {
                let (request, mut respond) = arrival?;
                bodies.spawn(async move {
                    respond.send_response(http::Response::new(()), true)?;
                    let mut body = request.into_body();
                    let mut total = 0;
                    while let Some(bytes) = body.data().await {
                        let len = bytes?.len();
                        total += len;
                        body.flow_control().release_capacity(len)?;
                    }
                    Ok::<_, h2::Error>(total)
                });
            }
            let totals = bodies.join_all().await;
            totals.into_iter().collect::<Result<Vec<_>, _>>()
        });
        let client = Client::builder().build_over(client_io).await?;
        let mut writers = JoinSet::new();
        for _ in 0..10 {
            let mut conn = client.open("http://raw/").await?;
            writers.spawn(async move {
                conn.write_all(&vec![7; 1 << 20]).await?;
                conn.shutdown().await
            });
        }
        for result in writers.join_all().await {
            result?;
        }
        drop(client);
        ensure!(server.await?? == [1 << 20; 10]);
        Ok(())
    })
    .await
}
