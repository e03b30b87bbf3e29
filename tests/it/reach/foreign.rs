//! WebSockets to servers of another library: tungstenite's.

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::HeaderValue;
use h2conn::{ErrorKind, Reach, Reason, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::{Site, TestResult, ours, run, tcp_server, websocket};

type Socket = WebSocketStream<TcpStream>;

/// A server that chooses a subprotocol, and hands out its sockets.
async fn listen(
    chosen: Option<&'static str>,
) -> TestResult<(Site, mpsc::UnboundedReceiver<Socket>)> {
    let (sender, sockets) = mpsc::unbounded_channel();
    let addr = tcp_server(move |io| {
        let sender = sender.clone();
        async move {
            #[expect(clippy::result_large_err, reason = "tungstenite wants it")]
            let choose =
                move |request: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
                    let offered = &request.headers()["sec-websocket-protocol"];
                    let first =
                        offered.to_str().unwrap_or_default().split(", ").next().unwrap_or_default();
                    if let Some(chosen) = chosen {
                        let chosen = if chosen == "FIRST" { first } else { chosen };
                        let value = HeaderValue::from_str(chosen).expect("it came in a field");
                        answer.headers_mut().insert("sec-websocket-protocol", value);
                    }
                    Ok(answer)
                };
            let _ = sender.send(accept_hdr_async(io, choose).await?);
            Ok(())
        }
    })
    .await?;
    Ok((Site::cleartext(addr), sockets))
}

#[test]
fn plain_messages_carry_the_bytes_whatever_subprotocol_the_server_repeats() -> TestResult {
    run(async {
        for chosen in [None, Some("chat"), Some("own")] {
            let (site, mut sockets) = listen(chosen).await?;
            let client = site
                .client_builder()
                .reach(Reach::WebSocket)
                .websockets(WebSockets::new().text_messages(true).subprotocols(["chat"]))
                .header("sec-websocket-protocol", "own")
                .build()?;
            let (mut conn, answer) = client.connect(site.url("/")).await?;
            let seen = answer.headers().get("sec-websocket-protocol");
            ensure!(seen.map(HeaderValue::as_bytes) == chosen.map(str::as_bytes), "{seen:?}");
            let mut socket = sockets.recv().await.context("the server has ended")?;
            conn.write_all(b"from the client").await?;
            let message = socket.next().await.context("no message")??;
            ensure!(message == Message::binary(&b"from the client"[..]), "{message:?}");
            socket.send(Message::binary(&b"from the "[..])).await?;
            socket.send(Message::text("server")).await?;
            let mut heard = [0; 15];
            conn.read_exact(&mut heard).await?;
            ensure!(heard == *b"from the server");
            socket.close(None).await?;
            ensure!(conn.read(&mut [0]).await? == 0);
            conn.close().await?;
        }
        Ok(())
    })
}

/// Some servers choose the first subprotocol that they are offered, and know nothing of it.
#[test]
fn what_a_server_chooses_that_takes_the_first_is_plain() -> TestResult {
    run(async {
        for own in [None, Some("chat")] {
            let (site, mut sockets) = listen(Some("FIRST")).await?;
            let websockets = WebSockets::new().subprotocols(own);
            let client =
                site.client_builder().reach(Reach::WebSocket).websockets(websockets).build()?;
            let (mut conn, answer) = client.connect(site.url("/")).await?;
            let chosen = answer.headers()["sec-websocket-protocol"].to_str()?;
            ensure!(chosen == own.unwrap_or("h2conn.plain"), "{chosen}");
            let mut socket = sockets.recv().await.context("the server has ended")?;
            conn.write_all(b"as it is").await?;
            let message = socket.next().await.context("no message")??;
            ensure!(message == Message::binary(&b"as it is"[..]), "{message:?}");
        }
        Ok(())
    })
}

#[test]
fn lines_are_text_messages() -> TestResult {
    run(async {
        let (site, mut sockets) = listen(None).await?;
        let client = site
            .client_builder()
            .reach(Reach::WebSocket)
            .websockets(WebSockets::new().json_lines())
            .build()?;
        let mut conn = client.open(site.url("/")).await?;
        let mut socket = sockets.recv().await.context("the server has ended")?;
        conn.write_all(b"{\"a\":1}\n[2]\n").await?;
        for line in ["{\"a\":1}", "[2]"] {
            ensure!(socket.next().await.context("no message")?? == Message::text(line));
        }
        socket.send(Message::text("[3]")).await?;
        let mut heard = [0; 4];
        conn.read_exact(&mut heard).await?;
        ensure!(heard == *b"[3]\n");
        Ok(())
    })
}

#[test]
fn close_frames_are_ends_and_resets() -> TestResult {
    run(async {
        for (code, reason) in [
            (1000, None),
            (1001, None),
            (1011, Some(Reason::INTERNAL_ERROR)),
            (4008, Some(Reason::CANCEL)),
            (3999, Some(Reason::CANCEL)),
        ] {
            let (site, mut sockets) = listen(None).await?;
            let client = site.client_builder().reach(Reach::WebSocket).build()?;
            let (mut conn, _) = client.connect(site.url("/")).await?;
            let mut socket = sockets.recv().await.context("the server has ended")?;
            socket.send(Message::binary(&b"x"[..])).await?;
            let frame = CloseFrame { code: code.into(), reason: "because".into() };
            socket.close(Some(frame)).await?;
            let mut heard = Vec::new();
            let end = conn.read_to_end(&mut heard).await;
            ensure!(heard == b"x");
            match reason {
                None => ensure!(end.is_ok(), "{code}: {end:?}"),
                Some(reason) => {
                    let error = end.expect_err("it is a reset");
                    ensure!(ours(&error).reason() == Some(reason), "{code}: {error}");
                    let names = error.to_string().contains(&format!("{code}, \"because\""));
                    ensure!(names, "{code}: {error}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn this_sides_end_and_reset_are_close_frames() -> TestResult {
    run(async {
        for reset in [false, true] {
            let (site, mut sockets) = listen(None).await?;
            let client = site.client_builder().reach(Reach::WebSocket).build()?;
            let (mut conn, _) = client.connect(site.url("/")).await?;
            let mut socket = sockets.recv().await.context("the server has ended")?;
            conn.write_all(b"all").await?;
            conn.sent().await?;
            match reset {
                true => conn.reset(Reason::CANCEL),
                false => conn.shutdown().await?,
            }
            let message = socket.next().await.context("no message")??;
            ensure!(message == Message::Binary(Bytes::from_static(b"all")), "{message:?}");
            let Message::Close(Some(frame)) = websocket::next(&mut socket).await? else {
                anyhow::bail!("not closed");
            };
            ensure!(u16::from(frame.code) == if reset { 4008 } else { 1000 }, "{frame:?}");
        }
        Ok(())
    })
}

#[test]
fn a_wish_that_a_plain_websocket_cannot_fulfil_is_an_error() -> TestResult {
    run(async {
        let (site, _sockets) = listen(None).await?;
        let client = site.client_builder().reach(Reach::WebSocket).build()?;
        let asking = client.request(site.url("/")).without_content().connect();
        let error = asking.await.map(drop).expect_err("it has no half-close");
        ensure!(error.kind() == ErrorKind::Unsupported, "{error:?}");
        ensure!(error.to_string().contains("h2conn.v1"), "{error}");
        Ok(())
    })
}

/// Answers every request with these bytes.
async fn answer(mut io: TcpStream, bytes: &'static [u8]) -> TestResult {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    io.write_all(bytes).await?;
    io.shutdown().await?;
    io.read_to_end(&mut head).await?;
    Ok(())
}

#[test]
fn an_answer_that_is_no_websocket_is_explained() -> TestResult {
    run(async {
        for (bytes, kind, part) in [
            (&b"HTTP/1.1 404 Not Found\r\ncontent-length: 8\r\n\r\nno room\n"[..], ErrorKind::Rejected, "no room"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ErrorKind::Unsupported, "takes no WebSocket at this URL"),
            (
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                ErrorKind::Protocol,
                "sec-websocket-accept",
            ),
            (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", ErrorKind::Protocol, "upgrade"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ErrorKind::Protocol, "no HTTP/1.1"),
            (b"", ErrorKind::Truncated, "ended before"),
        ] {
            let addr = tcp_server(move |io| answer(io, bytes)).await?;
            let site = Site::cleartext(addr);
            let client = site.client_builder().reach(Reach::WebSocket).build()?;
            let error = client.connect(site.url("/")).await.map(drop).expect_err("no WebSocket");
            ensure!(error.kind() == kind, "{error:?}");
            ensure!(error.to_string().contains(part), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_server_that_sends_for_ever_and_never_reads_does_not_hold_the_client() -> TestResult {
    run(async {
        let (site, mut sockets) = listen(None).await?;
        let client = site
            .client_builder()
            .reach(Reach::WebSocket)
            .linger_timeout(std::time::Duration::from_millis(100))
            .build()?;
        let (mut conn, _) = client.connect(site.url("/")).await?;
        let mut socket = sockets.recv().await.context("the server has ended")?;
        let feeding = tokio::spawn(async move {
            while socket.send(Message::Binary(Bytes::from_static(&[7; 10_000]))).await.is_ok() {}
        });
        conn.write_all(b"enough").await?;
        conn.read_exact(&mut [0; 100_000]).await?;
        drop(conn);
        // It cannot know whether its bytes have arrived.
        let _ = client.close().await;
        feeding.await?;
        Ok(())
    })
}
