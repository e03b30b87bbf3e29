//! WebSockets over HTTP/2 at a listener (RFC 8441 §5): what differs from those over HTTP/1.1.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::{HeaderValue, Response, StatusCode, Version, header};
use h2conn::{
    Conn, ErrorKind, Incoming, Listener, ListenerBuilder, OnDrop, Reason, Transport, WebSockets,
};
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::super::{check_echo, read_to_close};
use super::{builder, until};
use crate::support::browser::browser_scripts;
use crate::support::websocket::{Socket, open_with, request, send, sender, told};
use crate::support::{
    Over, Site, TestResult, accept, checked, echo, listen_with, noise, ours, run, serve,
};

/// A client with one link to a listener.
struct Page {
    listener: Listener,
    site: Site,
    link: SendRequest<Empty<Bytes>>,
}

impl Page {
    async fn new(builder: ListenerBuilder) -> TestResult<Page> {
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let link = sender(&site).await?;
        Ok(Page { listener, site, link })
    }

    /// Opens a WebSocket on the link: the client's end, then the listener's.
    async fn open(&mut self) -> TestResult<(Socket, Conn)> {
        let client = open_with(&mut self.link, &self.site, "/");
        let (client, server) = tokio::join!(client, accept(&mut self.listener));
        Ok((client?, server?))
    }

    /// The listener's end of a request that waits, and the client's outcome.
    async fn ask(
        &mut self,
    ) -> TestResult<(Incoming, impl Future<Output = TestResult<Socket>> + use<>)> {
        let (mut link, site) = (self.link.clone(), self.site.clone());
        let asking = tokio::spawn(async move { open_with(&mut link, &site, "/").await });
        let incoming = self.listener.accept().await.context("a request")?;
        Ok((incoming, async { asking.await? }))
    }
}

#[test]
fn a_thousand_of_them_share_a_link() -> TestResult {
    const MANY: usize = 1000;
    run(async {
        // Those whose turn is far off answer no pings.
        let mut page = Page::new(builder().keep_alive_interval(None)).await?;
        let mut echoes = JoinSet::new();
        let mut sockets = Vec::new();
        for _ in 0..MANY {
            let (client, server) = page.open().await?;
            ensure!(*server.transport() == Transport::WebSocketHttp2);
            echoes.spawn(echo(server));
            sockets.push(client);
        }
        until(&page.listener, |stats| (stats.links, stats.conns) == (1, MANY)).await;
        ensure!(page.listener.stats().accepted == MANY as u64);
        for (number, client) in sockets.iter_mut().enumerate() {
            client.send(Message::binary(number.to_string())).await?;
        }
        for (number, client) in sockets.iter_mut().enumerate() {
            let heard = client.next().await.context("an echo")??;
            ensure!(heard == Message::binary(number.to_string()), "{number}: {heard:?}");
        }
        for mut client in sockets {
            client.close(None).await?;
            let heard = client.next().await.context("a close frame")??;
            ensure!(heard == Message::Close(None), "{heard:?}");
        }
        while let Some(echoed) = echoes.join_next().await {
            echoed??;
        }
        until(&page.listener, |stats| stats.conns == 0 && stats.request_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn one_whose_user_does_not_read_stops_itself_and_no_other() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (mut lazy, unread) = page.open().await?;
        let sent = Arc::new(AtomicUsize::new(0));
        let filling = tokio::spawn({
            let sent = Arc::clone(&sent);
            async move {
                let message = Bytes::from(noise(50_000, 1));
                while lazy.send(Message::Binary(message.clone())).await.is_ok() {
                    sent.fetch_add(message.len(), SeqCst);
                }
            }
        });
        // The WebSocket's buffer and its stream's window are full.
        until(&page.listener, |stats| stats.unread_bytes + stats.request_bytes > 1 << 20).await;
        let (client, server) = page.open().await?;
        let echoing = tokio::spawn(echo(server));
        check_echo(client, &noise(3 << 20, 2)).await?;
        echoing.await??;
        ensure!(!filling.is_finished(), "its client waits for a window");
        let sent = sent.load(SeqCst);
        ensure!(sent < 8 << 20, "{sent} bytes were taken");
        unread.reset(Reason::CANCEL);
        filling.await?;
        Ok(())
    })
}

#[test]
fn a_close_frame_or_a_reset_ends_one_and_the_link_goes_on() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        // The client's end.
        let (mut client, mut server) = page.open().await?;
        client.send(Message::binary(&b"all"[..])).await?;
        client.close(None).await?;
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"all");
        server.close().await?;
        drop(client);
        // The program's.
        let (mut client, mut server) = page.open().await?;
        server.write_all(b"all").await?;
        drop(server);
        let mut heard = Vec::new();
        let end = read_to_close(&mut client, &mut heard).await?;
        ensure!(u16::from(end.code) == 1000 && heard == b"all", "{end:?}");
        drop(client);
        // A reset of either side.
        let (mut client, server) = page.open().await?;
        server.reset(Reason::from_code(77));
        let end = read_to_close(&mut client, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 4077, "{end:?}");
        drop(client);
        let (client, server) = page.open().await?;
        drop(client);
        let error = server.closed().await.expect_err("there was no close frame");
        ensure!(error.is_by_peer(), "{error:?}");
        ensure!(page.listener.stats().links == 1);
        until(&page.listener, |stats| stats.conns == 0).await;
        Ok(())
    })
}

#[test]
fn one_that_is_over_counts_until_the_program_drops_it() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (client, server) = page.open().await?;
        drop(client);
        ensure!(server.closed().await.is_err());
        until(&page.listener, |stats| stats.conns == 0).await;
        let stats = page.listener.stats();
        ensure!(stats.links == 1 && stats.request_bytes > 5000, "{stats:?}");
        drop(server);
        until(&page.listener, |stats| stats.request_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn a_listener_whose_connections_reset_on_drop_still_ends_a_whole_one_in_order() -> TestResult {
    run(async {
        let mut page = Page::new(builder().on_drop(OnDrop::Reset)).await?;
        let (mut client, server) = page.open().await?;
        drop(server);
        let end = read_to_close(&mut client, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 4008, "{end:?}");
        let (mut client, mut server) = page.open().await?;
        server.write_all(b"all").await?;
        server.shutdown().await?;
        drop(server);
        let mut heard = Vec::new();
        let end = read_to_close(&mut client, &mut heard).await?;
        ensure!(u16::from(end.code) == 1000 && heard == b"all", "{end:?}");
        ensure!(client.next().await.transpose()?.is_none(), "the stream ends in order");
        Ok(())
    })
}

#[test]
fn an_invalid_request_is_answered_and_counted_and_the_program_does_not_see_it() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_with(over, builder()).await?;
            let handle = listener.handle();
            serve(listener, echo);
            let ask = async |change: fn(&mut h2conn::http::Request<Empty<Bytes>>)| {
                let mut wanted = request(&site, Version::HTTP_2, "/")?;
                change(&mut wanted);
                send(&site, Version::HTTP_2, wanted).await
            };
            let version = header::SEC_WEBSOCKET_VERSION;
            let wrong = ask(|request| {
                let wrong = HeaderValue::from_static("8");
                request.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, wrong);
            })
            .await?;
            ensure!(wrong.headers()[&version] == "13");
            let expected = "400 a WebSocket needs sec-websocket-version: 13\n";
            ensure!(told(wrong).await? == expected);
            let without = ask(|request| {
                request.headers_mut().remove(header::SEC_WEBSOCKET_VERSION);
            });
            ensure!(told(without.await?).await? == expected);
            let foreign = ask(|request| {
                request.headers_mut().clear();
                let page = HeaderValue::from_static("https://elsewhere.example");
                request.headers_mut().insert(header::ORIGIN, page);
            });
            let answer = told(foreign.await?).await?;
            ensure!(answer.starts_with("403 pages of the origin"), "{answer}");
            let other = ask(|request| {
                request.extensions_mut().insert(Protocol::from_static("connect-udp"));
            });
            let answer = told(other.await?).await?;
            ensure!(answer.starts_with("501 ") && answer.contains("use one of: websocket"));
            let stats = handle.stats();
            ensure!((stats.accepted, stats.rejected) == (0, 4), "{stats:?}");
        }
        Ok(())
    })
}

#[test]
fn a_dropped_request_is_answered_503_and_one_that_nobody_has_seen_is_refused() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (mut link, wanted) = (page.link.clone(), request(&page.site, Version::HTTP_2, "/")?);
        let asking = tokio::spawn(async move { link.send_request(wanted).await });
        drop(page.listener.accept().await.context("a request")?);
        let response = asking.await??;
        ensure!(response.status() == StatusCode::SERVICE_UNAVAILABLE);
        ensure!(response.headers()[header::RETRY_AFTER] == "1");
        let text = told(response).await?;
        ensure!(text == "503 the server has not taken the connection; try again\n", "{text}");
        until(&page.listener, |stats| stats.conns == 0).await;
        let (mut link, wanted) = (page.link.clone(), request(&page.site, Version::HTTP_2, "/")?);
        let asking = tokio::spawn(async move { link.send_request(wanted).await });
        until(&page.listener, |stats| stats.conns == 1).await;
        drop(page.listener);
        let error = asking.await?.expect_err("nobody takes it");
        let source = std::error::Error::source(&error).context("HTTP/2 says why")?;
        ensure!(source.to_string().contains("refused"), "{source}");
        Ok(())
    })
}

#[test]
fn one_can_be_accepted_outside_of_the_runtime() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (incoming, asking) = page.ask().await?;
        let server = std::thread::spawn(move || incoming.accept()).join();
        let server = server.map_err(|_| anyhow::anyhow!("it panicked"))??;
        tokio::spawn(echo(server));
        check_echo(asking.await?, &noise(100_000, 1)).await
    })
}

#[test]
fn websockets_come_before_a_protocol_of_the_same_name() -> TestResult {
    run(async {
        for (builder, form) in [
            (builder().protocols(["websocket", "raw"]), Transport::WebSocketHttp2),
            (
                Listener::builder().protocols(["websocket"]),
                Transport::ExtendedConnect("websocket".into()),
            ),
        ] {
            let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
            let client = site.client_builder().protocol("websocket").build()?;
            let asked = client.request(site.url("/")).header("sec-websocket-version", "13");
            let (asked, server) = tokio::join!(asked.connect(), accept(&mut listener));
            let (mut client, mut server) = (asked?.0, server?);
            ensure!(*server.transport() == form);
            // A frame of one byte, with a mask that changes nothing.
            let frame = [0x82, 0x81, 0, 0, 0, 0, b'x'];
            client.write_all(&frame).await?;
            let mut first = [0];
            server.read_exact(&mut first).await?;
            let expected = if form == Transport::WebSocketHttp2 { b'x' } else { frame[0] };
            ensure!(first[0] == expected, "{first:?}");
        }
        let settings = WebSockets::new().max_message_size(0);
        ensure!(Listener::builder().websockets(settings).bind("127.0.0.1:0").await.is_err());
        Ok(())
    })
}

#[test]
fn a_drain_tells_them_and_waits_for_them_and_not_for_those_that_nobody_has_seen() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (mut first, mut server) = page.open().await?;
        let (mut second, other) = page.open().await?;
        let (mut link, site) = (page.link.clone(), page.site.clone());
        let waiting = tokio::spawn(async move { open_with(&mut link, &site, "/").await });
        until(&page.listener, |stats| stats.conns == 3).await;
        let handle = page.listener.handle();
        let drain = tokio::spawn(page.listener.drain(Duration::from_secs(600)));
        tokio::join!(server.draining(), other.draining());
        ensure!(waiting.await?.is_err(), "nobody takes it");
        drop(other);
        let end = read_to_close(&mut second, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 1001, "{end:?}");
        while second.next().await.transpose()?.is_some() {}
        drop(second);
        first.send(Message::binary(&b"the last"[..])).await?;
        first.close(None).await?;
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last" && handle.stats().conns > 0 && !drain.is_finished());
        drop(server);
        while first.next().await.transpose()?.is_some() {}
        drop(first);
        ensure!(drain.await?, "all have ended by themselves");
        Ok(())
    })
}

#[test]
fn a_drain_whose_time_is_up_resets_them() -> TestResult {
    run(async {
        let mut page = Page::new(builder()).await?;
        let (mut client, mut server) = page.open().await?;
        ensure!(!page.listener.drain(Duration::ZERO).await, "one was left");
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error:?}");
        ensure!(error.to_string().contains("its time is up"), "{error}");
        ensure!(client.next().await.context("an end")?.is_err(), "there is no close frame");
        Ok(())
    })
}

#[test]
fn the_reason_of_a_reset_of_the_stream_is_told_behind_the_bytes_before_it() -> TestResult {
    run(async {
        let builder = builder();
        let (mut listener, site) = listen_with(Over::Tls, builder).await?;
        let client = site.client_builder().protocol("websocket").build()?;
        let asked = client.request(site.url("/")).header("sec-websocket-version", "13");
        let (asked, server) = tokio::join!(asked.connect(), accept(&mut listener));
        let (mut client, mut server) = (asked?.0, server?);
        client.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await?;
        client.sent().await?;
        server.read_exact(&mut [0]).await?;
        client.reset(Reason::CONNECT_ERROR);
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).kind() == ErrorKind::Reset, "{error:?}");
        ensure!(ours(&error).reason() == Some(Reason::CONNECT_ERROR), "{error:?}");
        Ok(())
    })
}

/// A page of a plain listener, which also echoes its WebSockets. `interop/browser/echo.mjs` drives it, and finds in
/// Chromium's own log by which version of HTTP they came.
async fn browse(flag: &str, form: Transport) -> TestResult {
    let Some(scripts) = browser_scripts().await? else { return Ok(()) };
    checked(600, async {
        let (mut listener, site) = listen_with(Over::Tls, builder()).await?;
        let (forms, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                if *incoming.transport() == Transport::Request {
                    let mut page =
                        Response::new(include_str!("../../../../examples/browser/src/page.html"));
                    let html = HeaderValue::from_static("text/html; charset=utf-8");
                    page.headers_mut().insert(header::CONTENT_TYPE, html);
                    incoming.reject_with(page);
                    continue;
                }
                let _ = forms.send(incoming.transport().clone());
                if let Ok(conn) = incoming.accept() {
                    tokio::spawn(echo(conn));
                }
            }
        });
        let mut command = Command::new("node");
        let url = format!("https://localhost:{}/", site.addr.port());
        command.arg(scripts.join("echo.mjs")).args([flag, &url]).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serving.abort();
        let mut all = Vec::new();
        while let Some(form) = seen.recv().await {
            all.push(form);
        }
        ensure!(all == vec![form; 4], "{all:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_opens_them_on_the_link_of_its_page() -> TestResult {
    browse("--http2", Transport::WebSocketHttp2).await
}
