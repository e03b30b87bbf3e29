//! The limits of hyper, in the order of the list in the documentation of `accept`. If a test fails
//! here, hyper has changed, and that list must change too.
//!
//! The clock is paused: a second passes only when nothing else can happen. An event that does not
//! come within a second therefore never comes.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Acceptor, Client, Conn, ErrorKind, Listener, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::support::framework::{hand_out, hyper_accepts, hyper_over_memory, stock};
use crate::support::raw::{
    self, DATA, END_STREAM, Frame, GOAWAY, HEADERS, REQUEST, RST_STREAM, Raw,
};
use crate::support::{self, TestResult, check_echo, checked, echo, ours};

const SECONDS: u64 = 60;
const PIPE: usize = 1 << 20;
const KIB: usize = 1 << 10;
const FRAME: usize = 16 * KIB;
/// hyper's window for a stream, and for all streams of an HTTP/2 connection.
const WINDOW: usize = 1 << 20;
/// How many bytes our acceptor keeps for a reader.
const RECEIVE_BUFFER: usize = 256 * KIB;
const SEND_QUEUE: usize = 128 * KIB;
/// How many bytes an acceptor gives to hyper at once.
const RUN: usize = 64 * KIB;
/// More frames of one byte than the budget allows: half of hyper's window, at 255 bytes each.
const TINY: usize = 3_000;

/// Whether this would wait for ever.
async fn hangs(future: impl Future) -> bool {
    timeout(Duration::from_secs(1), future).await.is_err()
}

/// How many bytes a writer can write until it waits for ever, at most `enough`.
async fn taken(mut conn: &Conn, enough: usize) -> usize {
    let mut taken = 0;
    while taken < enough && !hangs(conn.write_all(&[7; KIB])).await {
        taken += KIB;
    }
    taken
}

/// Reads all that arrives, to the end.
fn read_on(conn: Conn) {
    tokio::spawn(async move { copy(&mut &conn, &mut sink()).await.map(|_| ()) });
}

/// Our client, with a stock hyper server at the other end.
async fn client_of_stock() -> TestResult<(Client, UnboundedReceiver<Conn>)> {
    let (io, conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
    Ok((Client::builder().build_over(io).await?, conns))
}

/// A connection of this client, and the server's end of it.
async fn open(client: &Client, conns: &mut UnboundedReceiver<Conn>) -> TestResult<(Conn, Conn)> {
    let conn = client.open("http://memory/").await?;
    Ok((conn, conns.recv().await.context("the server has ended")?))
}

/// A client whose frames the test writes. Its request on stream 1 has been answered.
async fn raw_client(io: DuplexStream) -> io::Result<Raw<DuplexStream>> {
    let mut raw = Raw::client(io).await?;
    raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
    raw.wait_for(HEADERS, 1).await?;
    Ok(raw)
}

/// Sends this many bytes on stream 1, in large frames.
async fn fill(raw: &mut Raw<DuplexStream>, bytes: usize) -> io::Result<()> {
    for _ in 0..bytes / FRAME {
        raw.send(DATA, 0, 1, &[7; FRAME]).await?;
    }
    Ok(())
}

/// A client fills a receive buffer on stream 1, then sends tiny frames. Returns the echo on stream
/// 3 after them, or the error that ended it.
async fn tiny_frames_beside_an_echo(
    io: DuplexStream,
    mut accept: impl AsyncFnMut() -> TestResult<Conn>,
) -> TestResult<Frame> {
    let mut raw = Raw::client(io).await?;
    raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
    let unread = accept().await?;
    raw.send(HEADERS, raw::END_HEADERS, 3, REQUEST).await?;
    let echoing = tokio::spawn(echo(accept().await?));
    raw.wait_for(HEADERS, 3).await?;
    fill(&mut raw, RECEIVE_BUFFER).await?;
    for _ in 0..TINY {
        // The connection may have ended.
        let _ = raw.send(DATA, 0, 1, &[7]).await;
    }
    let _ = raw.send(DATA, END_STREAM, 3, b"still there?").await;
    let heard = loop {
        let frame = raw.next().await?.context("no word of an end")?;
        if frame.kind == GOAWAY || (frame.kind == DATA && frame.stream == 3) {
            break frame;
        }
    };
    let mut got = Vec::new();
    if heard.kind == GOAWAY {
        let error = (&unread).read_to_end(&mut got).await.err().context("it was ended")?;
        ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error}");
        ensure!(echoing.await?.is_err(), "its sibling is ended too");
    } else {
        raw.send(DATA, END_STREAM, 1, &[]).await?;
        (&unread).read_to_end(&mut got).await?;
        ensure!(got.len() == RECEIVE_BUFFER + TINY, "{} bytes", got.len());
        echoing.await??;
    }
    Ok(heard)
}

#[tokio::test(start_paused = true)]
async fn tiny_frames_to_a_handler_that_does_not_read_end_the_http2_connection() -> TestResult {
    checked(SECONDS, async {
        let (io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
        let accept = async || conns.recv().await.context("the server has ended");
        let end = tiny_frames_beside_an_echo(io, accept).await?;
        ensure!(end.kind == GOAWAY, "{end:?}");
        ensure!(end.payload[4..8] == Reason::ENHANCE_YOUR_CALM.code().to_be_bytes());
        ensure!(&end.payload[8..] == b"too_many_data_frames", "{end:?}");

        // With h2's own default, the budget is half of the connection's window.
        let mut wide = stock();
        wide.http2().initial_connection_window_size(4 * WINDOW as u32);
        let (io, mut conns) = hyper_over_memory(PIPE, wide, Acceptor::default());
        let accept = async || conns.recv().await.context("the server has ended");
        let heard = tiny_frames_beside_an_echo(io, accept).await?;
        ensure!(heard.payload == b"still there?", "{heard:?}");

        // Our listener has no such budget.
        let (io, server) = duplex(PIPE);
        let mut listener = Listener::builder().build_over(server)?;
        let accept = async || support::accept(&mut listener).await;
        let heard = tiny_frames_beside_an_echo(io, accept).await?;
        ensure!(heard.payload == b"still there?", "{heard:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn tiny_frames_that_come_all_at_once_end_it_though_the_handler_reads() -> TestResult {
    checked(SECONDS, async {
        let (io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
        let mut raw = raw_client(io).await?;
        read_on(conns.recv().await.context("the server has ended")?);
        raw.io.write_all(&raw::frame(DATA, 0, 1, &[7]).repeat(TINY)).await?;
        let end = raw.wait_for(GOAWAY, 0).await?;
        ensure!(end.payload[4..8] == Reason::ENHANCE_YOUR_CALM.code().to_be_bytes());
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn tiny_writes_of_our_client_share_frames_and_leave_hyper_alive() -> TestResult {
    checked(SECONDS, async {
        let (client, mut conns) = client_of_stock().await?;
        let (mut conn, mut server) = open(&client, &mut conns).await?;
        let (sibling, other) = open(&client, &mut conns).await?;
        tokio::spawn(echo(other));
        conn.write_all(&[7; RECEIVE_BUFFER]).await?;
        for _ in 0..10 * TINY {
            conn.write_all(&[7]).await?;
        }
        check_echo(sibling, b"still there").await?;
        conn.shutdown().await?;
        let mut got = Vec::new();
        server.read_to_end(&mut got).await?;
        ensure!(got == [7; RECEIVE_BUFFER + 10 * TINY]);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn tiny_writes_of_our_client_that_each_leave_alone_end_it_too() -> TestResult {
    checked(SECONDS, async {
        let (client, mut conns) = client_of_stock().await?;
        let (mut conn, _unread) = open(&client, &mut conns).await?;
        conn.write_all(&[7; RECEIVE_BUFFER]).await?;
        for _ in 0..TINY {
            // The connection may have ended.
            let _ = conn.write(&[7]).await;
            let _ = conn.sent().await;
        }
        let error = conn.closed().await.err().context("it was ended")?;
        ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn sent_shutdown_and_close_return_before_the_transport_has_taken_the_bytes() -> TestResult {
    checked(SECONDS, async {
        const BYTES: usize = 30_000;
        const PIPE: usize = 1 << 10;
        let (io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
        let mut raw = Raw::client(io).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        raw.send(DATA, END_STREAM, 1, &[]).await?;
        let mut server = conns.recv().await.context("the server has ended")?;
        server.write_all(&[7; BYTES]).await?;
        server.sent().await?;
        server.shutdown().await?;
        server.close().await?;
        // All this time the pipe had room for 1 KiB, and was not read.
        drop(raw);

        // Our listener has really sent the bytes when it reports them as sent.
        let (io, server) = duplex(PIPE);
        let mut listener = Listener::builder().build_over(server)?;
        let mut raw = Raw::client(io).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        let mut server = support::accept(&mut listener).await?;
        server.write_all(&[7; BYTES]).await?;
        ensure!(hangs(server.sent()).await && hangs(server.shutdown()).await);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_reset_is_not_seen_by_a_writer_whose_reading_side_waits_for_nothing()
-> TestResult {
    checked(SECONDS, async {
        let (calm, no_error) = (Reason::ENHANCE_YOUR_CALM, Reason::NO_ERROR);
        let (reset, broken) = (io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe);
        for (unread, ended, reason, kind, seen) in [
            (0, false, calm, reset, Some(calm)),
            (0, false, no_error, broken, Some(no_error)),
            (0, true, calm, reset, None),
            // With the reason, this would be a broken pipe.
            (0, true, no_error, reset, None),
            (RECEIVE_BUFFER, false, calm, reset, None),
            (RECEIVE_BUFFER, false, no_error, reset, None),
        ] {
            let (io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
            let mut raw = raw_client(io).await?;
            let mut server = conns.recv().await.context("the server has ended")?;
            fill(&mut raw, unread).await?;
            if ended {
                raw.send(DATA, END_STREAM, 1, &[]).await?;
            }
            raw.send(RST_STREAM, 0, 1, &reason.code().to_be_bytes()).await?;
            let error = loop {
                if let Err(error) = server.write_all(b"x").await {
                    break error;
                }
                tokio::task::yield_now().await;
            };
            let what = format!("{reason} after {unread} bytes, ended: {ended}");
            ensure!(error.kind() == kind && ours(&error).reason() == seen, "{what}: {error}");
            // A reader that reads on finds the reason.
            let mut got = Vec::new();
            let error = server.read_to_end(&mut got).await.err();
            let read = error.as_ref().and_then(|error| ours(error).reason());
            ensure!(read == if ended { None } else { Some(reason) }, "{what}: {error:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_conn_that_is_not_read_holds_the_receive_buffer_and_the_servers_window() -> TestResult {
    checked(SECONDS, async {
        for (buffer, window) in [(64, 64), (256, 64), (16, 256), (256, 1024)] {
            let (buffer, window) = (buffer * KIB, window * KIB);
            let mut server = stock();
            server.http2().initial_stream_window_size(window as u32);
            let acceptor = Acceptor::builder().receive_buffer_size(buffer).build()?;
            let (io, mut conns) = hyper_over_memory(PIPE, server, acceptor);
            let client = Client::builder().build_over(io).await?;
            let (conn, _unread) = open(&client, &mut conns).await?;
            let held = taken(&conn, usize::MAX).await - SEND_QUEUE;
            let most = buffer + FRAME + window;
            ensure!((buffer.max(window)..=most).contains(&held), "{buffer}, {window}: {held}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_has_the_send_queue_and_hypers_own_held_for_it() -> TestResult {
    checked(SECONDS, async {
        for (queue, own) in [(64, 64), (256, 64), (16, 400), (256, 400)] {
            let (queue, own) = (queue * KIB, own * KIB);
            let mut server = stock();
            server.http2().max_send_buf_size(own);
            let acceptor = Acceptor::builder().send_queue_size(queue).build()?;
            let (io, mut conns) = hyper_over_memory(KIB, server, acceptor);
            let mut raw = Raw::client(io).await?;
            raw.send(raw::SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0]).await?;
            raw.send(raw::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
            let server = conns.recv().await.context("the server has ended")?;
            let held = taken(&server, usize::MAX).await;
            let least = queue + own;
            ensure!((least..=least + 2 * RUN).contains(&held), "{queue}, {own}: {held}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn two_stopped_readers_stop_their_siblings() -> TestResult {
    checked(SECONDS, async {
        const MUCH: usize = 8 << 20;
        let stopped = async |server, readers| {
            let (io, mut conns) = hyper_over_memory(PIPE, server, Acceptor::default());
            let client = Client::builder().build_over(io).await?;
            let mut unread = Vec::new();
            for _ in 0..readers {
                let (conn, server) = open(&client, &mut conns).await?;
                taken(&conn, usize::MAX).await;
                unread.push((conn, server));
            }
            let (sibling, server) = open(&client, &mut conns).await?;
            read_on(server);
            let before = taken(&sibling, MUCH).await;
            // A reader that continues, or ends, gives back the bytes that it held.
            unread.pop().context("a stopped reader")?.1.reset(Reason::CANCEL);
            let after = taken(&sibling, MUCH).await;
            ensure!(after >= MUCH, "{after}");
            TestResult::Ok(before)
        };
        let one = stopped(stock(), 1).await?;
        ensure!(one >= MUCH, "{one}");
        let two = stopped(stock(), 2).await?;
        ensure!(two == SEND_QUEUE, "{two}: only what waits on the client's own side");
        let mut wide = stock();
        wide.http2().initial_connection_window_size(4 * WINDOW as u32);
        let three = stopped(wide, 3).await?;
        ensure!(three >= MUCH, "{three}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn the_201st_conn_of_an_http2_connection_waits_for_one_to_end() -> TestResult {
    checked(SECONDS, async {
        let (client, mut conns) = client_of_stock().await?;
        let mut all = Vec::new();
        for _ in 0..200 {
            let (conn, server) = open(&client, &mut conns).await?;
            conn.response().await?;
            all.push((conn, server));
        }
        let mut last = pin!(client.connect("http://memory/"));
        ensure!(hangs(&mut last).await && conns.try_recv().is_err());
        let (conn, server) = all.pop().context("one of them")?;
        conn.reset(Reason::CANCEL);
        drop(server);
        let (_conn, _) = last.await?;
        read_on(conns.recv().await.context("the server has ended")?);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_ping_fails() -> TestResult {
    checked(SECONDS, async {
        let (client, mut conns) = client_of_stock().await?;
        let (_conn, server) = open(&client, &mut conns).await?;
        let error = server.ping().await.err().context("hyper gives no access to pings")?;
        ensure!(error.kind() == ErrorKind::Unsupported, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_graceful_shutdown_is_not_known_to_a_conn_and_waits_for_it() -> TestResult {
    checked(SECONDS, async {
        let (io, server) = duplex(PIPE);
        let (handler, mut conns) = hand_out();
        let (shut_down, told) = oneshot::channel::<()>();
        let (acceptor, handler) = (Acceptor::default(), Arc::new(handler));
        let mut serving = tokio::spawn(hyper_accepts(server, stock(), acceptor, handler, told));
        let client = Client::builder().build_over(io).await?;
        let (mut conn, mut server) = open(&client, &mut conns).await?;
        shut_down.send(()).ok().context("the server has ended")?;
        conn.draining().await;
        ensure!(hangs(server.draining()).await, "only its client is told");
        ensure!(hangs(&mut serving).await, "it waits");
        server.write_all(b"bye").await?;
        server.shutdown().await?;
        let mut got = String::new();
        conn.read_to_string(&mut got).await?;
        ensure!(got == "bye");
        ensure!(hangs(&mut serving).await, "for both ends");
        conn.shutdown().await?;
        server.closed().await?;
        serving.await??;
        Ok(())
    })
    .await
}
