//! The traps of h2 (T1 to T10 of `docs/architecture.md`), each provoked.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::testing::{Pair, pair_over};
use h2conn::{Client, Conn, Error, ErrorKind, Listener, Reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::raw::{self, DATA, END_STREAM, HEADERS, OK, REQUEST, RST_STREAM, Raw};
use crate::support::{long, within};

/// A cleartext listener, and its address.
async fn listen() -> Result<(Listener, String)> {
    let listener = Listener::builder().bind("127.0.0.1:0").await?;
    let address = listener.local_addr().to_string();
    Ok((listener, address))
}

/// Echoes until end of file, then ends its side.
async fn echo(conn: Conn) -> io::Result<u64> {
    let (mut read, mut write) = conn.into_split();
    let copied = tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await?;
    Ok(copied)
}

#[tokio::test]
async fn t1_ten_thousand_one_byte_frames_to_a_sleeping_reader_all_arrive() -> Result<()> {
    within(60, async {
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
async fn t1_ten_thousand_one_byte_writes_do_not_kill_a_hyper_server_that_sleeps() -> Result<()> {
    use http_body_util::{BodyExt, Empty};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    within(60, async {
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
async fn t2_no_empty_data_frame_is_sent_but_the_one_that_ends_the_stream() -> Result<()> {
    within(30, async {
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
async fn t3_a_write_and_then_a_drop_loses_nothing_on_either_side() -> Result<()> {
    within(60, async {
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
async fn t5_streams_share_a_narrow_link_window_without_starving_each_other() -> Result<()> {
    within(60, async {
        let (client_io, server_io) = duplex(16 << 10);
        let server = tokio::spawn(async move {
            // The smallest window that the protocol has, for all streams together.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t6_an_unread_conn_neither_slows_nor_starves_its_sibling() -> Result<()> {
    const SIBLING: u64 = 64 << 20;
    within(60, async {
        let mut pair = Pair::new().await?;
        let (hoarder_in, _hoarder) = pair.open().await?;
        let stuffing = tokio::spawn(async move {
            let mut stuffed = 0;
            while (&hoarder_in).write_all(&[1; 4096]).await.is_ok() {
                stuffed += 4096;
                STUFFED.store(stuffed, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let (mut client, server) = pair.open().await?;
        let reader =
            tokio::spawn(
                async move { tokio::io::copy(&mut &server, &mut tokio::io::sink()).await },
            );
        let chunk = vec![2; 64 << 10];
        for _ in 0..SIBLING / chunk.len() as u64 {
            client.write_all(&chunk).await?;
        }
        client.shutdown().await?;
        let stuffed = STUFFED.load(std::sync::atomic::Ordering::SeqCst);
        ensure!(reader.await?? == SIBLING);
        // The reader's window, the writer's queue, and one write that is waiting.
        ensure!(stuffed <= (1 << 20) + (256 << 10) + 4096, "{stuffed} bytes were taken");
        stuffing.abort();
        Ok(())
    })
    .await
}

static STUFFED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[tokio::test]
async fn t6_past_the_links_memory_the_conn_that_hoards_most_is_reset() -> Result<()> {
    within(60, async {
        let mut listener = Listener::builder().max_link_memory(1 << 20).bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let client = Client::new()?;
        let mut unread = Vec::new();
        let mut conns = Vec::new();
        for _ in 0..4 {
            let conn = client.open(&url).await?;
            unread.push(listener.accept().await.context("a conn")?.accept()?);
            conn.response().await?;
            // While it is alone, the first may fill all that is there.
            while conns.is_empty() {
                let step = Duration::from_millis(200);
                if tokio::time::timeout(step, (&conn).write_all(&[0; 4096])).await.is_err() {
                    break;
                }
            }
            conns.push(conn);
        }
        // The smaller windows are in force once their SETTINGS are acknowledged.
        conns[0].ping().await?;
        unread[0].ping().await?;
        let mut stuffers = JoinSet::new();
        for (index, conn) in conns.into_iter().enumerate() {
            stuffers.spawn(async move {
                loop {
                    if let Err(error) = (&conn).write_all(&[0; 4096]).await {
                        return (index, error);
                    }
                }
            });
        }
        let (index, error) = stuffers.join_next().await.context("somebody is reset")??;
        ensure!(index == 0, "{index} was reset, and not the first");
        let error = Error::from_io(&error).context("one of ours")?;
        ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error}");
        let here = (&unread[0]).read(&mut [0; 1]).await.err().context("it was reset")?;
        let here = Error::from_io(&here).context("one of ours")?;
        ensure!(here.kind() == ErrorKind::Aborted, "{here}");
        ensure!(here.to_string().contains("unread"), "{here}");
        // The others are untouched.
        for conn in &mut unread[1..] {
            conn.read_exact(&mut [0; 1000]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t8_bulk_both_ways_with_pings_and_settings_over_a_narrow_pipe_never_stops() -> Result<()> {
    let time = Duration::from_secs(if long() { 60 } else { 5 });
    within(time.as_secs() + 60, async move {
        let (client, server) = duplex(16 << 10);
        let mut pair = Pair::over(client, server).await?;
        let (client, server) = pair.open().await?;
        let (client, server) = (std::sync::Arc::new(client), std::sync::Arc::new(server));
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for conn in [&client, &server] {
            let (writer, reader, pinger) = (conn.clone(), conn.clone(), conn.clone());
            tasks.spawn(async move {
                let mut sent = 0_u64;
                while Instant::now() < end {
                    (&*writer).write_all(&[5; 64 << 10]).await?;
                    sent += 64 << 10;
                }
                (&*writer).shutdown().await?;
                Ok::<_, anyhow::Error>(("wrote", sent))
            });
            tasks.spawn(async move {
                let read = tokio::io::copy(&mut &*reader, &mut tokio::io::sink()).await?;
                Ok(("read", read))
            });
            tasks.spawn(async move {
                let mut pings = 0;
                while Instant::now() < end {
                    pinger.ping().await?;
                    pings += 1;
                    // As often as keep-alive at its most eager, and below what counts as a flood.
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(("pinged", pings))
            });
        }
        // Conns that come and go change INITIAL_WINDOW_SIZE, by SETTINGS from both ends.
        let mut rounds = 0;
        while Instant::now() < end {
            let mut crowd = Vec::new();
            for _ in 0..100 {
                crowd.push(pair.open().await?);
            }
            rounds += 1;
        }
        let (mut read, mut wrote) = (0, 0);
        for result in tasks.join_all().await {
            match result? {
                ("read", n) => read += n,
                ("wrote", n) => wrote += n,
                (_, pings) => ensure!(pings > time.as_secs(), "{pings} pings"),
            }
        }
        ensure!(read == wrote, "{read} of {wrote} bytes");
        ensure!(rounds > 2 && wrote > time.as_secs() << 20, "{rounds} rounds, {wrote} bytes");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn t9_data_its_end_and_the_end_of_the_transport_in_one_read_is_a_clean_end() -> Result<()> {
    within(30, async {
        for len in [0, 1, 300, 16_384] {
            let (client_io, server_io) = duplex(1 << 20);
            let server = tokio::spawn(async move {
                let mut raw = Raw::server(server_io).await?;
                raw.wait_for(HEADERS, 1).await?;
                let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
                all.extend(raw::frame(DATA, END_STREAM, 1, &vec![9; len]));
                raw.io.write_all(&all).await
            });
            let client = Client::builder().build_over(client_io).await?;
            let mut conn = client.open("http://raw/").await?;
            server.await??;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await.with_context(|| format!("{len} bytes"))?;
            ensure!(got == vec![9; len]);
            ensure!(conn.read(&mut [0; 1]).await? == 0, "the end stays");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn t9_the_end_of_the_transport_without_end_stream_is_no_end_of_file() -> Result<()> {
    within(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let server = tokio::spawn(async move {
            let mut raw = Raw::server(server_io).await?;
            raw.wait_for(HEADERS, 1).await?;
            let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
            all.extend(raw::frame(DATA, 0, 1, b"half a mess"));
            raw.io.write_all(&all).await
        });
        let client = Client::builder().build_over(client_io).await?;
        let mut conn = client.open("http://raw/").await?;
        server.await??;
        let mut got = Vec::new();
        let error = conn.read_to_end(&mut got).await.err().context("it was cut")?;
        ensure!(got == b"half a mess");
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        let error = conn.write_all(b"x").await.err().context("it was cut")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_two_thousand_aborted_conns_with_messages_in_flight_leave_the_link_alive() -> Result<()>
{
    within(60, async {
        let mut pair = Pair::new().await?;
        let (mut first, mut last) = pair.open().await?;
        for round in 0..2_000 {
            let (client, server) = pair.open().await?;
            let (aborted, other) = if round % 2 == 0 { (client, server) } else { (server, client) };
            (&other).write_all(b"8 bytes!").await?;
            aborted.reset(Reason::CANCEL);
            // More for a stream that the other end has already forgotten.
            let _ = (&other).write_all(b"8 bytes!").await;
        }
        first.write_all(b"alive").await?;
        last.read_exact(&mut [0; 5]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn t10_frames_for_streams_that_were_reset_here_do_not_end_the_link() -> Result<()> {
    within(60, async {
        let (mut listener, address) = listen().await?;
        let mut raw = Raw::client(TcpStream::connect(&address).await?).await?;
        for index in 0..2_000 {
            let stream = index * 2 + 1;
            raw.send(HEADERS, raw::END_HEADERS, stream, REQUEST).await?;
            listener.accept().await.context("a stream")?.accept()?.reset(Reason::CANCEL);
            for _ in 0..3 {
                raw.send(DATA, 0, stream, b"8 bytes!").await?;
            }
        }
        raw.send(HEADERS, raw::END_HEADERS, 4_001, REQUEST).await?;
        tokio::spawn(echo(listener.accept().await.context("the last stream")?.accept()?));
        raw.send(DATA, END_STREAM, 4_001, b"alive").await?;
        ensure!(raw.wait_for(DATA, 4_001).await?.payload == b"alive");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reset_after_the_end_of_the_stream_leaves_the_end_of_file() -> Result<()> {
    within(30, async {
        for (reason, kind) in [
            (Reason::NO_ERROR, io::ErrorKind::BrokenPipe),
            (Reason::CANCEL, io::ErrorKind::ConnectionReset),
        ] {
            let (client_io, server_io) = duplex(1 << 20);
            let server = tokio::spawn(async move {
                let mut raw = Raw::server(server_io).await?;
                raw.wait_for(HEADERS, 1).await?;
                let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
                all.extend(raw::frame(DATA, END_STREAM, 1, b"all"));
                all.extend(raw::frame(RST_STREAM, 0, 1, &reason.code().to_be_bytes()));
                raw.io.write_all(&all).await?;
                while raw.next().await?.is_some() {}
                io::Result::Ok(())
            });
            let client = Client::builder().build_over(client_io).await?;
            let mut conn = client.open("http://raw/").await?;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await?;
            ensure!(got == b"all");
            let error = loop {
                if let Err(error) = conn.write_all(b"x").await {
                    break error;
                }
                tokio::task::yield_now().await;
            };
            ensure!(error.kind() == kind, "{reason}: {error}");
            ensure!(conn.read(&mut [0; 1]).await? == 0, "the end stays");
            drop((conn, client));
            server.await??;
        }
        Ok(())
    })
    .await
}

/// A transport that gives and takes a few bytes a call.
struct Trickle<T>(T, usize);

impl<T: AsyncRead + Unpin> AsyncRead for Trickle<T> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let mut bytes = vec![0; self.1.min(buf.remaining())];
        let mut small = tokio::io::ReadBuf::new(&mut bytes);
        let poll = std::pin::Pin::new(&mut self.0).poll_read(cx, &mut small);
        buf.put_slice(small.filled());
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Trickle<T> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let n = self.1.min(buf.len());
        std::pin::Pin::new(&mut self.0).poll_write(cx, &buf[..n])
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_transport_that_moves_a_few_bytes_a_call_changes_nothing() -> Result<()> {
    within(60, async {
        for step in [1, 7, 1000] {
            let (client, server) = duplex(4096);
            let (mut client, server) =
                pair_over(Trickle(client, step), Trickle(server, step)).await?;
            let echoing = tokio::spawn(echo(server));
            let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
            let (mut read, mut write) = tokio::io::split(&mut client);
            let mut got = Vec::new();
            let (wrote, read) = tokio::join!(
                async {
                    write.write_all(&sent).await?;
                    write.shutdown().await
                },
                read.read_to_end(&mut got),
            );
            wrote?;
            read?;
            ensure!(got == sent, "{step} bytes a call");
            ensure!(echoing.await?? == 100_000);
        }
        Ok(())
    })
    .await
}
