//! WebSockets at a listener: what its program sees of a request, and the listener's limits and ends.

use std::future::IntoFuture;
use std::io::ErrorKind::ConnectionReset;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::http::{HeaderValue, Method, Response, StatusCode, Version, header};
use h2conn::{
    ErrorKind, Incoming, Listener, ListenerBuilder, Reach, Reason, Transport, WebSockets,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::{check_echo, read_to_close};
use crate::support::websocket::{self, Socket, open, request, send, told};
use crate::support::{
    GRACE, Over, Site, TestResult, accept, echo, listen_with, noise, ours, run, serve, tcp_server,
    within,
};

fn builder() -> ListenerBuilder {
    Listener::builder().websockets(WebSockets::new()).linger_timeout(GRACE)
}

/// A client that asks for a WebSocket, and the listener's end of the request.
async fn asked(
    listener: &mut Listener,
    site: &Site,
    path: &'static str,
) -> TestResult<(JoinHandle<TestResult<Socket>>, Incoming)> {
    let client = site.clone();
    let client = tokio::spawn(async move { open(&client, Version::HTTP_11, path).await });
    Ok((client, listener.accept().await.context("a request")?))
}

/// Waits until the listener's figures satisfy `good`. The tests' watchdog limits the wait.
async fn until(listener: &Listener, good: impl Fn(&h2conn::ListenerStats) -> bool) {
    while !good(&listener.stats()) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_foreign_client_is_served_beside_http2_on_one_port() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_with(over, builder()).await?;
            serve(listener, echo);
            let socket = open(&site, Version::HTTP_11, "/").await?;
            let by_http2 = site.connect().await?;
            check_echo(socket, &noise(3 << 20, 5)).await?;
            crate::support::check_echo(by_http2, b"by HTTP/2").await?;
        }
        Ok(())
    })
}

#[test]
fn the_program_sees_the_request_and_its_client_the_answer() -> TestResult {
    run(async {
        for over in Over::BOTH {
            // Methods do not concern WebSockets.
            let (mut listener, site) = listen_with(over, builder().methods([Method::POST])).await?;
            let mut wanted = request(&site, Version::HTTP_11, "/a%20b?c=d")?;
            wanted.headers_mut().insert("x-name", HeaderValue::from_static("value"));
            let asking = tokio::spawn({
                let site = site.clone();
                async move { send(&site, Version::HTTP_11, wanted).await }
            });
            let incoming = listener.accept().await.context("a request")?;
            ensure!(*incoming.transport() == Transport::WebSocketHttp1);
            ensure!(incoming.method() == Method::GET);
            let uri = incoming.uri().to_string();
            ensure!(uri == site.url("/a%20b?c=d"), "{uri}");
            ensure!(incoming.headers()["x-name"] == "value");
            ensure!(incoming.peer_addr().socket_addr().is_some());
            ensure!(incoming.local_addr().socket_addr() == Some(site.addr));
            let stats = listener.stats();
            ensure!(
                (stats.links, stats.conns) == (1, 1) && stats.request_bytes > 5000,
                "{stats:?}"
            );
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::ACCEPTED;
            answer.headers_mut().insert("x-answer", HeaderValue::from_static("here"));
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
            let conn = incoming.accept_with(answer)?;
            // At once, and as it is sent.
            let told = conn.response().await?;
            ensure!(told.status() == StatusCode::SWITCHING_PROTOCOLS);
            ensure!(told.headers()["x-answer"] == "here");
            let response = asking.await??;
            ensure!(response.headers()[header::CONNECTION] == "upgrade");
            ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS);
            ensure!(response.headers()["x-answer"] == "here");
            ensure!(!response.headers().contains_key(header::CONTENT_LENGTH));
            ensure!(*conn.transport() == Transport::WebSocketHttp1);
            drop(response);
            until(&listener, |stats| stats.conns == 0).await;
            ensure!(listener.stats().accepted == 1);
            drop(conn);
            until(&listener, |stats| stats.request_bytes == 0 && stats.links == 0).await;
        }
        Ok(())
    })
}

#[test]
fn a_refusal_reaches_the_client_whole() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let long = "why ".repeat(200_000);
        for text in ["no", "", &long] {
            let refused = tokio::spawn({
                let site = site.clone();
                let wanted = request(&site, Version::HTTP_11, "/")?;
                async move { send(&site, Version::HTTP_11, wanted).await }
            });
            let mut answer = Response::new(text.to_owned());
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
            let asked = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, asked);
            listener.accept().await.context("a request")?.reject_with(answer);
            let response = refused.await??;
            ensure!(response.headers()[header::WWW_AUTHENTICATE] == "Bearer");
            let heard = told(response).await?;
            ensure!(heard == format!("401 {text}"), "{} bytes", heard.len());
        }
        let (refused, incoming) = asked(&mut listener, &site, "/").await?;
        incoming.reject(StatusCode::NOT_FOUND);
        let error = refused.await?.expect_err("it was refused");
        ensure!(error.to_string() == "404 404 Not Found\n", "{error}");
        let (dropped, incoming) = asked(&mut listener, &site, "/").await?;
        drop(incoming);
        let error = dropped.await?.expect_err("it was dropped").to_string();
        ensure!(error == "503 the server has not taken the connection; try again\n", "{error}");
        until(&listener, |stats| stats.links == 0 && stats.conns == 0).await;
        let stats = listener.stats();
        ensure!((stats.accepted, stats.rejected, stats.request_bytes) == (0, 4, 0), "{stats:?}");
        Ok(())
    })
}

#[test]
fn what_is_no_valid_request_does_not_reach_the_program() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let page = HeaderValue::from_static("https://elsewhere.example");
        let mut answers = Vec::new();
        for change in 0..6 {
            let mut wanted = request(&site, Version::HTTP_11, "/")?;
            let headers = wanted.headers_mut();
            match change {
                0 => drop(headers.insert("sec-websocket-key", HeaderValue::from_static("short"))),
                1 => drop(headers.insert("sec-websocket-version", HeaderValue::from_static("8"))),
                2 => *wanted.method_mut() = Method::POST,
                3 => *wanted.version_mut() = Version::HTTP_10,
                // Before the handshake, whatever is wrong with it.
                4 => {
                    headers.remove("sec-websocket-key");
                    headers.insert(header::ORIGIN, page.clone());
                }
                _ => drop(headers.insert(header::UPGRADE, HeaderValue::from_static("h2c"))),
            }
            answers.push(told(send(&site, Version::HTTP_11, wanted).await?).await?);
        }
        let expected = [
            "400 a WebSocket needs one field sec-websocket-key",
            "426 a WebSocket needs sec-websocket-version: 13",
            "405 ",
            "505 a WebSocket needs HTTP/1.1",
            "403 pages of the origin \"https://elsewhere.example\"",
            "505 This is an h2conn server",
        ];
        let mut other = request(&site, Version::HTTP_11, "/")?;
        other.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("8"));
        let response = send(&site, Version::HTTP_11, other).await?;
        let options = response.headers().get_all(header::CONNECTION).iter();
        let options = options.map(|value| value.to_str()).collect::<Result<Vec<_>, _>>()?;
        ensure!(options.join(", ") == "upgrade, close", "{options:?}");
        for (answer, expected) in answers.iter().zip(expected) {
            ensure!(answer.starts_with(expected), "{answer}");
        }
        // A page of the same origin is admitted.
        let mut wanted = request(&site, Version::HTTP_11, "/")?;
        let here = HeaderValue::try_from(format!("http://{}", site.addr))?;
        wanted.headers_mut().insert(header::ORIGIN, here);
        let admitted = tokio::spawn({
            let site = site.clone();
            async move { send(&site, Version::HTTP_11, wanted).await }
        });
        let conn = accept(&mut listener).await?;
        ensure!(admitted.await??.status() == StatusCode::SWITCHING_PROTOCOLS);
        let stats = listener.stats();
        // Those of HTTP/1.1 that ask for no WebSocket are not counted.
        ensure!((stats.accepted, stats.rejected) == (1, 6), "{stats:?}");
        drop(conn);
        Ok(())
    })
}

#[test]
fn a_client_that_leaves_before_the_answer_leaves_nothing() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        for is_seen in [false, true] {
            let client = site.clone();
            let client = tokio::spawn(async move { open(&client, Version::HTTP_11, "/").await });
            let incoming = match is_seen {
                true => Some(listener.accept().await.context("a request")?),
                false => None,
            };
            until(&listener, |stats| stats.conns == 1).await;
            client.abort();
            until(&listener, |stats| stats.conns == 0 && stats.links == 0).await;
            if let Some(incoming) = incoming {
                let error = incoming.accept().expect_err("the client has gone");
                ensure!(error.kind() == ErrorKind::Truncated, "{error:?}");
            }
            until(&listener, |stats| stats.request_bytes == 0).await;
        }
        // Nothing of the first waits to be accepted.
        let (client, incoming) = asked(&mut listener, &site, "/next").await?;
        ensure!(incoming.uri().path() == "/next");
        let conn = incoming.accept()?;
        drop((client.await??, conn));
        Ok(())
    })
}

#[test]
fn a_program_that_comes_late_finds_the_requests() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let site = site.clone();
            clients.push(tokio::spawn(async move { open(&site, Version::HTTP_11, "/").await }));
        }
        until(&listener, |stats| stats.conns == 5).await;
        let mut conns = Vec::new();
        for client in clients {
            conns.push(accept(&mut listener).await?);
            drop(client);
        }
        Ok(())
    })
}

#[test]
fn max_links_counts_websockets() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder().max_links(2)).await?;
        let (one, incoming) = asked(&mut listener, &site, "/").await?;
        let first = incoming.accept()?;
        let (two, incoming) = asked(&mut listener, &site, "/").await?;
        let second = incoming.accept()?;
        let error = open(&site, Version::HTTP_11, "/").await.expect_err("there are two");
        ensure!(error.to_string().contains("max_links is 2"), "{error}");
        drop((one.await??, first));
        until(&listener, |stats| stats.links == 1).await;
        let (three, incoming) = asked(&mut listener, &site, "/").await?;
        drop((incoming.accept()?, three.await??, two.await??, second));
        Ok(())
    })
}

#[test]
fn unread_bytes_count_and_the_client_that_holds_most_makes_room() -> TestResult {
    const MEMORY: usize = 512 << 10;
    run(async {
        let (mut listener, site) =
            listen_with(Over::Cleartext, builder().max_memory(MEMORY)).await?;
        let (one, incoming) = asked(&mut listener, &site, "/").await?;
        let (mut reader, mut small) = (incoming.accept()?, one.await??);
        small.send(Message::Binary(noise(10_000, 1).into())).await?;
        let (two, incoming) = asked(&mut listener, &site, "/").await?;
        let (mut lazy, mut large) = (incoming.accept()?, two.await??);
        let sending = tokio::spawn(async move {
            while large.send(Message::Binary(noise(50_000, 1).into())).await.is_ok() {}
        });
        until(&listener, |stats| stats.unread_bytes > 100_000 || stats.conns == 1).await;
        let error = within(60, lazy.closed()).await.expect_err("it holds too much");
        ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        ensure!(error.to_string().contains("allow more memory"), "{error}");
        let error = lazy.read(&mut [0; 100]).await.expect_err("its bytes are dropped");
        ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        sending.await?;
        let mut heard = vec![0; 10_000];
        reader.read_exact(&mut heard).await?;
        ensure!(heard == noise(10_000, 1));
        until(&listener, |stats| stats.conns == 1 && stats.unread_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn a_drain_waits_for_websockets_and_refuses_those_that_wait() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let client = site.client_builder().reach(Reach::WebSocket).build()?;
        let ours = tokio::spawn({
            let (client, url) = (client.clone(), site.url("/"));
            async move { client.connect(url).await }
        });
        let server = accept(&mut listener).await?;
        let (ours, _) = ours.await??;
        let (theirs, incoming) = asked(&mut listener, &site, "/").await?;
        let (other, mut theirs) = (incoming.accept()?, theirs.await??);
        let waiting = site.clone();
        let waiting = tokio::spawn(async move { open(&waiting, Version::HTTP_11, "/").await });
        until(&listener, |stats| stats.conns == 3).await;
        let handle = listener.handle();
        let drain = tokio::spawn(listener.drain(Duration::from_secs(600)));
        tokio::join!(ours.draining(), server.draining(), other.draining());
        let error = waiting.await?.expect_err("nobody takes it").to_string();
        ensure!(error.starts_with("503 "), "{error}");
        // Both sides still have something to say.
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"the last").await?;
        writer.shutdown().await?;
        let mut heard = Vec::new();
        let mut server = server;
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last" && !drain.is_finished());
        server.close().await?;
        ensure!(reader.read(&mut [0]).await? == 0);
        ensure!(handle.stats().conns == 1 && !drain.is_finished(), "{:?}", handle.stats());
        drop(other);
        let end = read_to_close(&mut theirs, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 1001, "{end:?}");
        drop(theirs);
        ensure!(drain.await?, "all have ended by themselves");
        Ok(())
    })
}

#[test]
fn a_drain_whose_time_is_up_resets_websockets_and_they_are_told() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let client = site.client_builder().reach(Reach::WebSocket).build()?;
        let (connected, server) =
            tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let ((mut ours, _), mut server) = (connected?, server?);
        let (theirs, incoming) = asked(&mut listener, &site, "/").await?;
        let (_other, mut theirs) = (incoming.accept()?, theirs.await??);
        ensure!(!listener.drain(Duration::ZERO).await, "two were left");
        let error = ours.read(&mut [0]).await.expect_err("it was reset");
        ensure!(error.kind() == ConnectionReset, "{error}");
        ensure!(self::ours(&error).reason() == Some(Reason::CANCEL), "{error:?}");
        let end = read_to_close(&mut theirs, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 4008, "{end:?}");
        ensure!(server.closed().await.is_err());
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(error.to_string().contains("its time is up"), "{error}");
        Ok(())
    })
}

#[test]
fn a_drain_tells_that_a_dropped_websocket_has_lost_bytes() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let (client, incoming) = asked(&mut listener, &site, "/").await?;
        let (mut server, client) = (incoming.accept()?, client.await??);
        // More than the system takes.
        let much = noise(64 << 20, 1);
        let written = server.write_all(&much);
        // The client takes nothing, and then goes.
        ensure!(tokio::time::timeout(Duration::from_millis(100), written).await.is_err());
        drop(server);
        drop(client);
        ensure!(!listener.drain(Duration::from_secs(600)).await, "bytes were lost");
        Ok(())
    })
}

/// A client that leaves without a close frame has not said that it has everything, however little it was.
#[test]
fn a_drain_does_not_take_what_the_system_has_for_delivered() -> TestResult {
    run(async {
        for (bytes, is_closed, all_well) in
            [(10, false, false), (10, true, true), (0, false, true), (0, true, true)]
        {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let (client, incoming) = asked(&mut listener, &site, "/").await?;
            let (mut server, mut client) = (incoming.accept()?, client.await??);
            server.write_all(&noise(bytes, 1)).await?;
            drop(server);
            let end = read_to_close(&mut client, &mut Vec::new()).await?;
            ensure!(u16::from(end.code) == 1000, "{end:?}");
            if is_closed {
                // The answer to the close frame leaves.
                while client.next().await.is_some() {}
            }
            drop(client);
            let seen = listener.drain(Duration::from_secs(600)).await;
            ensure!(seen == all_well, "{bytes} bytes, closed: {is_closed}");
        }
        Ok(())
    })
}

/// The end of the client that gets 10 bytes and a close frame, from a program that has let it go.
async fn drained_with(
    builder: ListenerBuilder,
    end: impl AsyncFnOnce(&mut Socket) -> TestResult,
) -> TestResult<bool> {
    let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
    let (client, incoming) = asked(&mut listener, &site, "/").await?;
    let (mut server, mut client) = (incoming.accept()?, client.await??);
    server.write_all(&noise(10, 1)).await?;
    drop(server);
    end(&mut client).await?;
    Ok(listener.drain(Duration::from_secs(600)).await)
}

#[test]
fn an_answer_to_the_close_frame_that_comes_late_still_counts() -> TestResult {
    run(async {
        let idle = builder().idle_timeout(Duration::from_millis(100));
        let is_well = drained_with(idle, async |client| {
            tokio::time::sleep(Duration::from_millis(400)).await;
            while client.next().await.is_some() {}
            Ok(())
        });
        ensure!(is_well.await?, "the client has everything");
        Ok(())
    })
}

#[test]
fn a_close_frame_with_an_error_is_no_confirmation() -> TestResult {
    run(async {
        let is_well = drained_with(builder(), async |client| {
            let frame = CloseFrame { code: CloseCode::Size, reason: "too big".into() };
            client.close(Some(frame)).await?;
            while client.next().await.is_some() {}
            Ok(())
        });
        ensure!(!is_well.await?, "the client says that it has not taken them");
        Ok(())
    })
}

#[test]
fn a_refusal_with_a_good_status_opens_nothing() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let asking = tokio::spawn({
            let site = site.clone();
            let wanted = request(&site, Version::HTTP_11, "/health")?;
            async move { send(&site, Version::HTTP_11, wanted).await }
        });
        let mut answer = Response::new("all is well");
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
        listener.accept().await.context("a request")?.reject_with(answer);
        ensure!(told(asking.await??).await? == "200 all is well");
        Ok(())
    })
}

#[test]
fn a_message_that_comes_in_part_counts_also_with_pings_between() -> TestResult {
    const MEMORY: usize = 512 << 10;
    run(async {
        let (mut listener, site) =
            listen_with(Over::Cleartext, builder().max_memory(MEMORY)).await?;
        let (asking, incoming) = asked(&mut listener, &site, "/").await?;
        let (mut server, mut client) = (incoming.accept()?, asking.await??);
        let sending = tokio::spawn(async move {
            let part = |kind| {
                let bytes = bytes::Bytes::from(noise(10_000, 1));
                Message::Frame(Frame::message(bytes, OpCode::Data(kind), false))
            };
            let mut result = client.send(part(Data::Binary)).await;
            for _ in 0..100 {
                if result.is_err() {
                    return;
                }
                client.send(Message::Ping(bytes::Bytes::new())).await.ok();
                result = client.send(part(Data::Continue)).await;
            }
            // It must not go before the listener has seen all.
            while client.next().await.is_some_and(|message| message.is_ok()) {}
        });
        let error = server.read(&mut [0]).await.expect_err("it holds too much");
        ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        sending.await?;
        Ok(())
    })
}

#[test]
fn a_page_that_closes_before_the_last_bytes_is_a_loss() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let (client, incoming) = asked(&mut listener, &site, "/").await?;
        let (mut server, mut client) = (incoming.accept()?, client.await??);
        let much = noise(64 << 20, 1);
        let written = server.write_all(&much);
        ensure!(tokio::time::timeout(Duration::from_millis(100), written).await.is_err());
        drop(server);
        client.close(None).await?;
        while client.next().await.transpose()?.is_some() {}
        ensure!(!listener.drain(Duration::from_secs(600)).await, "bytes were lost");
        Ok(())
    })
}

#[test]
fn a_request_that_had_come_can_be_accepted_after_the_shutdown() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let asking = tokio::spawn({
            let site = site.clone();
            let wanted = request(&site, Version::HTTP_11, "/")?;
            async move { send(&site, Version::HTTP_11, wanted).await }
        });
        until(&listener, |stats| stats.conns == 1).await;
        listener.handle().shut_down();
        let server = accept(&mut listener).await?;
        let response = asking.await??;
        ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        ensure!(response.headers()[header::CONNECTION] == "upgrade");
        ensure!(response.headers().get_all(header::CONNECTION).iter().count() == 1);
        server.draining().await;
        drop(response);
        ensure!(listener.accept().await.is_none());
        Ok(())
    })
}

#[test]
fn subprotocols_and_lines_are_those_of_the_settings() -> TestResult {
    run(async {
        let settings = WebSockets::new().text_lines().subprotocols(["chat"]);
        let builder = Listener::builder().websockets(settings).linger_timeout(GRACE);
        let (mut listener, site) = listen_with(Over::Tls, builder).await?;
        let asking = tokio::spawn({
            let site = site.clone();
            let mut wanted = request(&site, Version::HTTP_11, "/")?;
            let offered = HeaderValue::from_static("other, chat");
            wanted.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
            async move { send(&site, Version::HTTP_11, wanted).await }
        });
        let server = accept(&mut listener).await?;
        let told = server.response().await?;
        ensure!(told.headers()[header::SEC_WEBSOCKET_PROTOCOL] == "chat");
        let response = asking.await??;
        ensure!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL] == "chat");
        let mut client = websocket::upgraded(response, Role::Client).await?;
        tokio::spawn(echo(server));
        client.send(Message::text("a line")).await?;
        let back = client.next().await.context("an answer")??;
        ensure!(back == Message::text("a line"), "{back:?}");
        Ok(())
    })
}

#[test]
fn a_program_that_begins_to_serve_leaves_waiting_websockets_to_try_again() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        // The listener is known to accept.
        let by_http2 = site.connect();
        let (by_http2, server) = tokio::join!(by_http2, accept(&mut listener));
        drop((by_http2?, server?));
        until(&listener, |stats| stats.conns == 0).await;
        let waiting = site.clone();
        let waiting = tokio::spawn(async move { open(&waiting, Version::HTTP_11, "/").await });
        until(&listener, |stats| stats.conns == 1).await;
        let app = axum::Router::new().fallback(async || "not a WebSocket");
        tokio::spawn(h2conn::serve(listener, app).into_future());
        let error = waiting.await?.expect_err("nobody takes it").to_string();
        ensure!(error.starts_with("503 "), "{error}");
        let again = send(&site, Version::HTTP_11, request(&site, Version::HTTP_11, "/")?).await?;
        ensure!(told(again).await? == "200 not a WebSocket");
        Ok(())
    })
}

#[test]
fn connections_go_on_after_their_listener() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let (client, incoming) = asked(&mut listener, &site, "/").await?;
        let (server, client) = (incoming.accept()?, client.await??);
        let (waiting, incoming) = asked(&mut listener, &site, "/").await?;
        drop(listener);
        server.draining().await;
        tokio::spawn(echo(server));
        check_echo(client, &noise(100_000, 2)).await?;
        drop(incoming);
        ensure!(waiting.await?.is_err());
        Ok(())
    })
}

#[test]
fn a_transport_of_the_programs_own_can_carry_one() -> TestResult {
    run(async {
        let (near, far) = duplex(64 << 10);
        let mut listener = builder().build_over(far)?;
        let client = tokio::spawn(websocket::open_over(near, Version::HTTP_11));
        let server = accept(&mut listener).await?;
        tokio::spawn(echo(server));
        check_echo(client.await??, &noise(300_000, 2)).await?;
        ensure!(listener.accept().await.is_none(), "the only transport has ended");
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn the_listeners_timeouts_hold_for_websockets() -> TestResult {
    let silent = || builder().keep_alive_interval(Duration::from_secs(20));
    let idle = || builder().idle_timeout(Duration::from_secs(7));
    // Also while the request waits.
    let (near, far) = duplex(64 << 10);
    let mut listener = idle().build_over(far)?;
    let client = tokio::spawn(websocket::open_over(near, Version::HTTP_11));
    let incoming = listener.accept().await.context("a request")?;
    let error = client.await?.expect_err("nobody answers").to_string();
    ensure!(error.starts_with("503 "), "{error}");
    ensure!(incoming.accept().expect_err("too late").kind() == ErrorKind::TimedOut);
    for (builder, seconds, why) in [(silent(), 35, "vanished"), (idle(), 7, "idle_timeout")] {
        let (near, far) = duplex(64 << 10);
        let mut listener = builder.build_over(far)?;
        let client = tokio::spawn(websocket::open_over(near, Version::HTTP_11));
        let mut server = accept(&mut listener).await?;
        // It reads nothing, so it answers no ping.
        let _client = client.await??;
        let began = tokio::time::Instant::now();
        let error = server.read(&mut [0]).await.expect_err("nothing comes");
        ensure!(ours(&error).kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().contains(why), "{error}");
        ensure!(began.elapsed().as_secs() == seconds, "{:?}", began.elapsed());
    }
    Ok(())
}

/// Passes connections on, but those that begin with HTTP/2.
async fn http1_only(to: SocketAddr) -> TestResult<SocketAddr> {
    tcp_server(move |mut io| async move {
        let mut first = [0; 3];
        io.peek(&mut first).await?;
        if &first == b"PRI" {
            return Ok(());
        }
        let mut there = TcpStream::connect(to).await?;
        tokio::io::copy_bidirectional(&mut io, &mut there).await?;
        Ok(())
    })
    .await
}

#[test]
fn a_client_that_finds_its_way_reaches_a_listener() -> TestResult {
    run(async {
        let (listener, site) = listen_with(Over::Cleartext, builder()).await?;
        serve(listener, echo);
        let boxed = Site::cleartext(http1_only(site.addr).await?);
        for (site, way) in [(site, Transport::Request), (boxed, Transport::WebSocketHttp1)] {
            let client = site.client_builder().reach(Reach::Auto).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            ensure!(*conn.transport() == way, "{}", conn.transport());
            crate::support::check_echo(conn, &noise(100_000, 4)).await?;
            client.close().await?;
        }
        let settings = WebSockets::new().max_message_size(0);
        let error = Listener::builder().websockets(settings).bind("127.0.0.1:0").await;
        ensure!(error.expect_err("no message fits").kind() == ErrorKind::InvalidInput);
        Ok(())
    })
}
