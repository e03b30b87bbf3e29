//! Clients that break off, do not read or read slowly, and responses that never reach them.

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::{Request, Response, StatusCode, Version};
use h2conn::{Acceptor, Conn, ErrorKind, Reason};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::foreign::Io;
use crate::support::framework::{hyper_listen, hyper_over, hyper_over_memory, stock};
use crate::support::websocket::{BOTH, open_over};
use crate::support::{Over, TestResult, checked, io_kind, run};

const PIPE: usize = 64 << 10;
const HOUR: Duration = Duration::from_secs(3600);

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const PING: u8 = 0x89;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A short frame of a client, with a mask that changes nothing.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

/// Reads the head of a response.
async fn head(io: &mut (impl AsyncRead + Unpin)) -> TestResult<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

#[test]
fn a_client_that_does_not_read_its_pongs_is_not_read_any_more() -> TestResult {
    run(async {
        for by in BOTH {
            let (io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
            let mut client = open_over(io, by).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            let mut sent = 0;
            // 13 MB, of which the pipe, the windows and the limit of pongs take less than 4.
            let flood = async {
                while sent < 100_000 {
                    for _ in 0..100 {
                        client.feed(Message::Ping(Bytes::from_static(&[7; 125]))).await?;
                    }
                    client.flush().await?;
                    sent += 100;
                }
                TestResult::Ok(())
            };
            let stopped = timeout(Duration::from_secs(3), flood).await;
            ensure!(stopped.is_err(), "{by:?}: {sent} pings were taken");
            ensure!(sent < 30_000, "{by:?}: {sent} pings were taken");

            // The connection goes on once the client reads.
            let (mut sink, mut stream) = client.split();
            let write = sink.send(Message::binary(&b"after all"[..]));
            let read = async { while let Some(Ok(_)) = stream.next().await {} };
            let mut heard = [0; 9];
            tokio::select! {
                (written, read) = async { tokio::join!(write, conn.read_exact(&mut heard)) } => {
                    written?;
                    read?;
                }
                _ = read => anyhow::bail!("{by:?}: it has ended"),
            }
            ensure!(heard == *b"after all");
        }
        Ok(())
    })
}

/// The pings of a client that never reads do not keep its connection alive, also where the transport has
/// a buffer of its own, as TLS has.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_its_pongs_is_given_up_as_a_silent_one_is() -> TestResult {
    checked(3600, async {
        for (by, is_buffered) in BOTH.into_iter().flat_map(|by| [(by, false), (by, true)]) {
            let (io, far) = duplex(PIPE);
            let far: Box<dyn Io> = match is_buffered {
                true => Box::new(BufWriter::with_capacity(64 << 10, far)),
                false => Box::new(far),
            };
            let mut conns = hyper_over(far, stock(), Acceptor::default());
            let mut client = open_over(io, by).await?;
            let conn = conns.recv().await.context("the server has ended")?;
            let flood = async {
                loop {
                    client.feed(Message::Ping(Bytes::from_static(&[7; 125]))).await?;
                }
                #[expect(unreachable_code, reason = "it gives the block its type")]
                TestResult::Ok(())
            };
            let began = Instant::now();
            let error = tokio::select! {
                ended = conn.closed() => ended.err().context("a good end")?,
                flooded = flood => return flooded,
            };
            ensure!(error.kind() == ErrorKind::TimedOut, "{by:?}: {error:?}");
            ensure!(error.to_string().contains("none of its pongs"), "{by:?}: {error}");
            let waited = began.elapsed().as_secs();
            ensure!((44..=76).contains(&waited), "{by:?}: {waited} s");
        }
        Ok(())
    })
    .await
}

/// A server whose handler keeps its response, or returns another one.
fn forgetful(keeps: bool) -> (DuplexStream, UnboundedReceiver<Conn>) {
    let (client, io) = duplex(PIPE);
    let (sender, conns) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let accepts = service_fn(move |request: Request<Incoming>| {
            let (conn, response) = h2conn::accept(request).expect("it is a WebSocket");
            let _ = sender.send(conn);
            async move {
                if keeps {
                    pending::<()>().await;
                }
                drop(response);
                let mut refusal = Response::new(Empty::<Bytes>::new());
                *refusal.status_mut() = StatusCode::FORBIDDEN;
                Ok::<_, Infallible>(refusal)
            }
        });
        // The test checks the client's side.
        let _ = stock().serve_connection_with_upgrades(TokioIo::new(io), accepts).await;
    });
    (client, conns)
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_dropped_fails_the_conn_whatever_is_answered_instead() -> TestResult {
    checked(30, async {
        // The second value makes hyper hand over the transport anyway.
        for connection in ["upgrade", "close, upgrade"] {
            let (mut io, mut conns) = forgetful(false);
            let request =
                REQUEST.replace("connection: upgrade", &format!("connection: {connection}"));
            io.write_all(request.as_bytes()).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            ensure!(head(&mut io).await?.starts_with("HTTP/1.1 403"));
            let _ = io.write_all(&frame(BINARY, b"hello")).await;
            let read = timeout(HOUR, conn.read(&mut [0; 5])).await.context(connection)?;
            let error = read.expect_err("there is no transport");
            ensure!(error.kind() == UnexpectedEof, "{connection}: {error}");
            ensure!(error.to_string().contains("the response was dropped"), "{error}");
            let error = timeout(HOUR, conn.closed()).await?.expect_err("there is no transport");
            ensure!(io_kind(&error) == UnexpectedEof, "{error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_conn_whose_response_is_held_back_can_be_closed_and_reset() -> TestResult {
    checked(4000, async {
        let (mut io, mut conns) = forgetful(true);
        io.write_all(REQUEST.as_bytes()).await?;
        let mut conn = conns.recv().await.context("the server has ended")?;
        conn.write_all(b"never to be read").await?;
        let begun = tokio::time::Instant::now();
        let error = timeout(HOUR, conn.close()).await?.expect_err("it could not be sent");
        ensure!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        ensure!([ConnectionAborted, std::io::ErrorKind::TimedOut].contains(&io_kind(&error)));

        let (mut io, mut conns) = forgetful(true);
        io.write_all(REQUEST.as_bytes()).await?;
        let conn = conns.recv().await.context("the server has ended")?;
        conn.reset(Reason::CANCEL);
        let error =
            timeout(Duration::from_secs(1), conn.closed()).await?.expect_err("it was reset");
        ensure!(io_kind(&error) == ConnectionAborted, "{error}");
        Ok(())
    })
    .await
}

#[test]
fn what_has_come_is_read_whole_after_a_write_that_failed() -> TestResult {
    run(async {
        // All of it has arrived before the client goes.
        let (io, mut conns) = hyper_over_memory(1 << 20, stock(), Acceptor::default());
        let mut client = open_over(io, Version::HTTP_11).await?;
        let mut conn = conns.recv().await.context("the server has ended")?;
        for _ in 0..4 {
            client.send(Message::Binary(vec![7; 130_000].into())).await?;
        }
        client.send(Message::Close(None)).await?;
        drop(client);
        conn.write_all(b"x").await?;
        let error = io_kind(&conn.sent().await.expect_err("nobody is there"));
        ensure!(error == BrokenPipe, "{error}");
        ensure!(conn.closed().await.is_err());
        let mut heard = Vec::new();
        conn.read_to_end(&mut heard).await?;
        ensure!(heard.len() == 520_000, "{} bytes", heard.len());
        Ok(())
    })
}

#[test]
fn a_pong_that_cannot_be_sent_costs_nothing_of_what_has_come() -> TestResult {
    run(async {
        let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
        for _ in 0..20 {
            let mut io = TcpStream::connect(site.addr).await?;
            io.write_all(REQUEST.as_bytes()).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            head(&mut io).await?;
            // Bytes that the client has not read when it goes make the system reset the socket.
            conn.write_all(b"unread").await?;
            conn.sent().await?;
            io.peek(&mut [0]).await?;
            let all = [frame(PING, b""), frame(BINARY, b"all of it"), frame(CLOSE, b"")].concat();
            io.write_all(&all).await?;
            drop(io);
            let mut heard = Vec::new();
            conn.read_to_end(&mut heard).await?;
            ensure!(heard == b"all of it", "{heard:?}");
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_everything() -> TestResult {
    checked(300, async {
        const SIZE: usize = 60 << 10;
        let (mut io, mut conns) = hyper_over_memory(1 << 10, stock(), Acceptor::default());
        io.write_all(REQUEST.as_bytes()).await?;
        let mut conn = conns.recv().await.context("the server has ended")?;
        head(&mut io).await?;
        let slow = tokio::spawn(async move {
            let (mut total, mut piece) = (0, vec![0; 1 << 10]);
            while let Ok(n @ 1..) = io.read(&mut piece).await {
                total += n;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            total
        });
        conn.write_all(&vec![7; SIZE]).await?;
        // The client does not answer the close frame, so this side cannot know what has arrived.
        let error = conn.close().await.err().context("it was not answered")?;
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        let total = slow.await?;
        ensure!(total > SIZE, "{total} bytes, with the heads of the frames");
        Ok(())
    })
    .await
}

#[test]
fn a_status_that_must_not_be_sent_is_no_good_end() -> TestResult {
    run(async {
        for finished in [false, true] {
            let (mut io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
            io.write_all(REQUEST.as_bytes()).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            head(&mut io).await?;
            if finished {
                conn.shutdown().await?;
            }
            io.write_all(&frame(CLOSE, &1005_u16.to_be_bytes())).await?;
            let error = conn.read(&mut [0]).await.expect_err("RFC 6455 §7.4.1");
            ensure!(error.kind() == ConnectionReset, "{error}");
        }
        Ok(())
    })
}
