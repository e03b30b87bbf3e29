//! WebSockets at a listener: what its program sees of a request, and the listener's limits and ends.

mod by_http2;
mod ends;
mod limits;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::http::{HeaderValue, Method, Response, StatusCode, Version, header};
use h2conn::{ErrorKind, Incoming, Listener, ListenerBuilder, Reach, Transport, WebSockets};
use tokio::io::duplex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::check_echo;
use crate::support::websocket::{self, BOTH, Socket, open, request, send, told};
use crate::support::{
    GRACE, Over, Site, TestResult, accept, echo, listen_with, noise, run, serve, tcp_server,
};

fn builder() -> ListenerBuilder {
    Listener::builder().websockets(WebSockets::new()).linger_timeout(GRACE)
}

/// A client that asks for a WebSocket, and the listener's end of the request.
async fn asked(
    listener: &mut Listener,
    site: &Site,
    by: Version,
    path: &'static str,
) -> TestResult<(JoinHandle<TestResult<Socket>>, Incoming)> {
    let client = site.clone();
    let client = tokio::spawn(async move { open(&client, by, path).await });
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
        for by in BOTH {
            for over in Over::BOTH {
                let (listener, site) = listen_with(over, builder()).await?;
                serve(listener, echo);
                let socket = open(&site, by, "/").await?;
                let by_http2 = site.connect().await?;
                check_echo(socket, &noise(3 << 20, 5)).await?;
                crate::support::check_echo(by_http2, b"by HTTP/2").await?;
            }
        }
        Ok(())
    })
}

#[test]
fn the_program_sees_the_request_and_its_client_the_answer() -> TestResult {
    run(async {
        for by in BOTH {
            for over in Over::BOTH {
                // Methods do not concern WebSockets.
                let (mut listener, site) =
                    listen_with(over, builder().methods([Method::POST])).await?;
                let mut wanted = request(&site, by, "/a%20b?c=d")?;
                wanted.headers_mut().insert("x-name", HeaderValue::from_static("value"));
                let asking = tokio::spawn({
                    let site = site.clone();
                    async move { send(&site, by, wanted).await }
                });
                let incoming = listener.accept().await.context("a request")?;
                let (form, method, status) = match by {
                    Version::HTTP_2 => (Transport::WebSocketHttp2, Method::CONNECT, StatusCode::OK),
                    _ => (Transport::WebSocketHttp1, Method::GET, StatusCode::SWITCHING_PROTOCOLS),
                };
                ensure!(*incoming.transport() == form);
                ensure!(incoming.method() == method);
                let uri = incoming.uri().to_string();
                ensure!(uri == site.url("/a%20b?c=d"), "{uri}");
                ensure!(incoming.headers()["x-name"] == "value");
                ensure!(incoming.peer_addr().socket_addr().is_some());
                ensure!(incoming.local_addr().socket_addr() == Some(site.addr));
                until(&listener, |stats| (stats.links, stats.conns) == (1, 1)).await;
                ensure!(listener.stats().request_bytes > 5000, "{:?}", listener.stats());
                let mut answer = Response::new(());
                *answer.status_mut() = StatusCode::ACCEPTED;
                answer.headers_mut().insert("x-answer", HeaderValue::from_static("here"));
                answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
                let conn = incoming.accept_with(answer)?;
                // At once, and as it is sent.
                let told = conn.response().await?;
                ensure!(told.status() == status);
                ensure!(told.headers()["x-answer"] == "here");
                let response = asking.await??;
                let upgrade = response.headers().get(header::CONNECTION);
                ensure!(upgrade.is_none() == (by == Version::HTTP_2), "{upgrade:?}");
                ensure!(response.status() == status);
                ensure!(response.headers()["x-answer"] == "here");
                ensure!(!response.headers().contains_key(header::CONTENT_LENGTH));
                ensure!(*conn.transport() == form);
                drop(response);
                until(&listener, |stats| stats.conns == 0).await;
                ensure!(listener.stats().accepted == 1);
                drop(conn);
                until(&listener, |stats| stats.request_bytes == 0 && stats.links == 0).await;
            }
        }
        Ok(())
    })
}

#[test]
fn a_refusal_reaches_the_client_whole() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let long = "why ".repeat(200_000);
            for text in ["no", "", &long] {
                let refused = tokio::spawn({
                    let site = site.clone();
                    let wanted = request(&site, by, "/")?;
                    async move { send(&site, by, wanted).await }
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
            let (refused, incoming) = asked(&mut listener, &site, by, "/").await?;
            incoming.reject(StatusCode::NOT_FOUND);
            let error = refused.await?.expect_err("it was refused");
            ensure!(error.to_string() == "404 404 Not Found\n", "{error}");
            let (dropped, incoming) = asked(&mut listener, &site, by, "/").await?;
            drop(incoming);
            let error = dropped.await?.expect_err("it was dropped").to_string();
            ensure!(error == "503 the server has not taken the connection; try again\n", "{error}");
            until(&listener, |stats| stats.links == 0 && stats.conns == 0).await;
            let stats = listener.stats();
            ensure!(
                (stats.accepted, stats.rejected, stats.request_bytes) == (0, 4, 0),
                "{stats:?}"
            );
        }
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
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            for is_seen in [false, true] {
                let client = site.clone();
                let client = tokio::spawn(async move { open(&client, by, "/").await });
                let incoming = match is_seen {
                    true => Some(listener.accept().await.context("a request")?),
                    false => None,
                };
                until(&listener, |stats| stats.conns == 1).await;
                client.abort();
                until(&listener, |stats| stats.conns == 0 && stats.links == 0).await;
                if let Some(incoming) = incoming {
                    let error = incoming.accept().expect_err("the client has gone");
                    let kind = match by {
                        Version::HTTP_2 => ErrorKind::Reset,
                        _ => ErrorKind::Truncated,
                    };
                    ensure!(error.kind() == kind, "{error:?}");
                }
                until(&listener, |stats| stats.request_bytes == 0).await;
            }
            // Nothing of the first waits to be accepted.
            let (client, incoming) = asked(&mut listener, &site, by, "/next").await?;
            ensure!(incoming.uri().path() == "/next");
            let conn = incoming.accept()?;
            drop((client.await??, conn));
        }
        Ok(())
    })
}

#[test]
fn a_program_that_comes_late_finds_the_requests() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let mut clients = Vec::new();
            for _ in 0..5 {
                let site = site.clone();
                clients.push(tokio::spawn(async move { open(&site, by, "/").await }));
            }
            until(&listener, |stats| stats.conns == 5).await;
            let mut conns = Vec::new();
            for client in clients {
                conns.push(accept(&mut listener).await?);
                drop(client);
            }
        }
        Ok(())
    })
}

#[test]
fn a_refusal_with_a_good_status_opens_nothing() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let asking = tokio::spawn({
                let site = site.clone();
                let wanted = request(&site, by, "/health")?;
                async move { send(&site, by, wanted).await }
            });
            let mut answer = Response::new("all is well");
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
            listener.accept().await.context("a request")?.reject_with(answer);
            // Over HTTP/2 a 200 would open it.
            let status = if by == Version::HTTP_2 { "500" } else { "200" };
            let answer = told(asking.await??).await?;
            ensure!(answer == format!("{status} all is well"), "{answer}");
        }
        Ok(())
    })
}

#[test]
fn subprotocols_and_lines_are_those_of_the_settings() -> TestResult {
    run(async {
        for by in BOTH {
            let settings = WebSockets::new().text_lines().subprotocols(["chat"]);
            let builder = Listener::builder().websockets(settings).linger_timeout(GRACE);
            let (mut listener, site) = listen_with(Over::Tls, builder).await?;
            let asking = tokio::spawn({
                let site = site.clone();
                let mut wanted = request(&site, by, "/")?;
                let offered = HeaderValue::from_static("other, chat");
                wanted.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
                async move { send(&site, by, wanted).await }
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
        }
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
fn a_transport_of_the_programs_own_can_carry_one() -> TestResult {
    run(async {
        for by in BOTH {
            let (near, far) = duplex(64 << 10);
            let mut listener = builder().build_over(far)?;
            let client = tokio::spawn(websocket::open_over(near, by));
            let server = accept(&mut listener).await?;
            tokio::spawn(echo(server));
            check_echo(client.await??, &noise(300_000, 2)).await?;
            ensure!(listener.accept().await.is_none(), "the only transport has ended");
        }
        Ok(())
    })
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
            // An answer that is late on a busy machine is none of the reasons.
            let builder = site.client_builder().reach(Reach::Auto);
            let client = builder.fallback_delay(Duration::from_secs(60)).build()?;
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
