//! Extended CONNECT (RFC 8441) between our own ends, and scripted peers that break its rules.

mod strangers;

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::ext::Protocol;
use h2conn::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use h2conn::{Client, Conn, ErrorKind, Listener, Reason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinSet;

use crate::support::foreign::{h2_read, io_to, server};
use crate::support::raw::{ACK, END_HEADERS, HEADERS, OK, PREFACE, Raw, SETTINGS, frame};
use crate::support::{
    Over, Site, TestResult, accept, check_echo, checked, echo, io_kind, listen, listen_with, noise,
    ours, run, serve, within,
};

/// More than any window on the path.
const MUCH: usize = 3 << 20;

const NAME: &str = "h2conn-test";

/// SETTINGS_ENABLE_CONNECT_PROTOCOL = 1.
const OFFER: &[u8] = &[0, 8, 0, 0, 0, 1];

fn on_connect() -> Transport {
    Transport::ExtendedConnect(NAME.into())
}

fn client(site: &Site) -> h2conn::Result<Client> {
    site.client_builder().protocol(NAME).build()
}

async fn listen_to_connect(over: Over) -> h2conn::Result<(Listener, Site)> {
    listen_with(over, Listener::builder().protocols([NAME])).await
}

/// Both ends of a connection through CONNECT: the client's, then the server's.
pub(crate) async fn connect_pair(over: Over) -> TestResult<(Conn, Conn)> {
    let (mut listener, site) = listen_to_connect(over).await?;
    let (client, url) = (client(&site)?, site.url("/a/path?query"));
    let connect = async { Ok(client.connect(url).await?.0) };
    tokio::try_join!(connect, accept(&mut listener))
}

#[test]
fn both_ends_tell_what_they_ride_on() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (client, server) = connect_pair(over).await?;
            for conn in [&client, &server] {
                ensure!(*conn.transport() == on_connect(), "{conn:?}");
                ensure!(*conn.method() == Method::CONNECT, "{conn:?}");
                ensure!(conn.uri().path_and_query().context("a path")? == "/a/path?query");
                ensure!(conn.uri().authority().is_some(), "{conn:?}");
            }
            let (mut listener, site) = listen(over).await?;
            let (client, server) = tokio::join!(site.connect(), accept(&mut listener));
            ensure!(*client?.transport() == Transport::Request);
            ensure!(*server?.transport() == Transport::Request);
        }
        Ok(())
    })
}

#[test]
fn an_echo_by_connect_gives_back_everything_and_many_share_a_link() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_to_connect(over).await?;
            serve(listener, echo);
            let client = client(&site)?;
            let (conn, _) = client.connect(site.url("/")).await?;
            let link = conn.local_addr().clone();
            check_echo(conn, &noise(MUCH, 1)).await.with_context(|| format!("{over:?}"))?;
            let mut conns = JoinSet::new();
            for number in 0..100 {
                let (client, url, link) = (client.clone(), site.url("/"), link.clone());
                conns.spawn(async move {
                    let (conn, _) = client.connect(url).await?;
                    ensure!(*conn.local_addr() == link, "one link for all");
                    check_echo(conn, &noise(5_000, number)).await
                });
            }
            while let Some(conn) = conns.join_next().await {
                conn??;
            }
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn either_end_can_finish_first_and_the_other_goes_on() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for swapped in [false, true] {
                let (client, server) = connect_pair(over).await?;
                let (mut first, mut last) =
                    if swapped { (server, client) } else { (client, server) };
                first.write_all(b"all I say").await?;
                first.shutdown().await?;
                let mut heard = String::new();
                last.read_to_string(&mut heard).await?;
                ensure!(heard == "all I say", "{heard:?}");
                let said = noise(MUCH, 2);
                let write = async {
                    last.write_all(&said).await?;
                    last.shutdown().await
                };
                let mut heard = Vec::new();
                let (written, read) = tokio::join!(write, first.read_to_end(&mut heard));
                written?;
                read?;
                ensure!(heard == said, "{} bytes of {}", heard.len(), said.len());
                first.close().await?;
                last.close().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_reset_by_either_end_reaches_the_other_with_its_reason() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for swapped in [false, true] {
                let (client, server) = connect_pair(over).await?;
                let (first, mut last) = if swapped { (server, client) } else { (client, server) };
                first.reset(Reason::CONNECT_ERROR);
                let error = last.read(&mut [0; 1]).await.expect_err("it was reset");
                ensure!(ours(&error).kind() == ErrorKind::Reset, "{error:?}");
                ensure!(ours(&error).reason() == Some(Reason::CONNECT_ERROR), "{error:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn another_protocol_is_answered_501_with_a_text_that_names_both() -> TestResult {
    run(async {
        let builder = Listener::builder().protocols([NAME, "second"]);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        serve(listener, echo);
        let stranger = site.client_builder().protocol("websocket").build()?;
        let error = stranger.connect(site.url("/")).await.expect_err("it is not among them");
        ensure!(error.status() == Some(StatusCode::NOT_IMPLEMENTED), "{error:?}");
        let text = String::from_utf8(error.body().context("a body")?.to_vec())?;
        ensure!(text.contains("\"websocket\"") && text.contains("h2conn-test, second"), "{text}");
        ensure!(
            text.contains("takes no WebSockets") && text.contains("`ListenerBuilder::websockets`"),
            "{text}"
        );
        for name in [NAME, "Second"] {
            let client = site.client_builder().protocol(name).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            ensure!(*conn.transport() == Transport::ExtendedConnect(name.into()), "{conn:?}");
            check_echo(conn, b"this one is").await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_does_not_offer_it_is_named_and_the_link_goes_on() -> TestResult {
    run(async {
        let (client_io, server_io) = duplex(1 << 16);
        let client = Client::builder().protocol(NAME).build_over(client_io).await?;
        let mut server = Raw::server(server_io).await?;
        for _ in 0..2 {
            // Only the SETTINGS can wake the client before the time limit of its handshake.
            let told = within(5, client.connect("http://raw/")).await;
            let error = told.expect_err("it was not offered");
            ensure!(error.kind() == ErrorKind::Unsupported, "{error:?}");
            ensure!(io_kind(&error) == std::io::ErrorKind::Unsupported, "{error:?}");
            ensure!(!error.was_not_processed(), "{error:?}");
            let text = error.to_string();
            for part in ["CONNECT http://raw/", NAME, "SETTINGS_ENABLE_CONNECT_PROTOCOL = 1"] {
                ensure!(text.contains(part), "{text}");
            }
        }
        let mut opened = client.open("http://raw/").await?;
        let error = opened.write_all(&noise(MUCH, 3)).await.expect_err("it was not offered");
        ensure!(ours(&error).kind() == ErrorKind::Unsupported, "{error:?}");
        // The same link, on which no stream was used up, works once the server has changed.
        server.send(SETTINGS, 0, 0, OFFER).await?;
        for _ in 0..2 {
            while server.wait_for(SETTINGS, 0).await?.flags & ACK == 0 {}
        }
        let answer = async {
            server.wait_for(HEADERS, 1).await?;
            server.send(HEADERS, END_HEADERS, 1, OK).await
        };
        let (conn, answered) = tokio::join!(client.connect("http://raw/"), answer);
        answered?;
        conn?.0.reset(Reason::CANCEL);
        Ok(())
    })
}

#[tokio::test]
async fn a_request_waits_for_the_last_byte_of_the_settings() -> TestResult {
    // There is one thread, and a pipe of one byte. The client therefore handles each byte before
    // the next one is written.
    checked(30, async {
        let (client_io, mut server_io) = duplex(1);
        let client = Client::builder().protocol(NAME).build_over(client_io).await?;
        let conn = client.open("http://raw/").await?;
        server_io.read_exact(&mut [0; PREFACE.len()]).await?;
        server_io.write_all(&frame(SETTINGS, 0, 0, OFFER)).await?;
        let mut server = Raw { io: server_io };
        let mut acknowledged = false;
        loop {
            let frame = server.next().await?.context("a request")?;
            acknowledged |= frame.kind == SETTINGS && frame.flags & ACK != 0;
            if frame.kind == HEADERS {
                ensure!(acknowledged, "the request came before the SETTINGS were seen");
                break;
            }
        }
        server.send(HEADERS, END_HEADERS, 1, OK).await?;
        ensure!(conn.response().await?.status() == StatusCode::OK);
        conn.reset(Reason::CANCEL);
        Ok(())
    })
    .await
}

#[test]
fn a_request_does_not_wait_for_settings_longer_than_the_handshake_may_take() -> TestResult {
    run(async {
        let (client_io, _server_io) = duplex(1 << 16);
        let builder = Client::builder().protocol(NAME).handshake_timeout(Duration::from_millis(50));
        let client = builder.build_over(client_io).await?;
        let error = client.connect("http://raw/").await.expect_err("nothing was said");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        Ok(())
    })
}

#[test]
fn it_is_not_offered_unless_asked_for() -> TestResult {
    run(async {
        let (listener, site) = listen(Over::Cleartext).await?;
        serve(listener, echo);
        let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
        tokio::spawn(connection);
        let post = || Request::post(site.url("/")).body(());
        let (response, _) = send.clone().ready().await?.send_request(post()?, true)?;
        ensure!(h2_read(response.await?.into_body()).await?.is_empty());
        ensure!(!send.is_extended_connect_protocol_enabled());
        // A client that tries anyway gets an error, and the link goes on.
        let connect = connect_to(&site, Some(NAME))?;
        let (response, _) = send.clone().ready().await?.send_request(connect, false)?;
        let error = response.await.err().context("it was not offered")?;
        ensure!(error.reason() == Some(h2::Reason::PROTOCOL_ERROR), "{error:?}");
        let (response, _) = send.clone().ready().await?.send_request(post()?, true)?;
        ensure!(response.await?.status() == StatusCode::OK);
        Ok(())
    })
}

/// A CONNECT request for the bare `h2` crate.
fn connect_to(site: &Site, protocol: Option<&str>) -> TestResult<Request<()>> {
    let uri = if protocol.is_some() { site.url("/") } else { site.addr.to_string() };
    let mut request = Request::builder().method(Method::CONNECT).uri(uri).body(())?;
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from(protocol));
    }
    Ok(request)
}

#[test]
fn both_kinds_of_request_and_refused_ones_share_a_link() -> TestResult {
    run(async {
        let builder = Listener::builder().protocols([NAME]).methods([Method::PUT]);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
        tokio::spawn(connection);
        let put = Request::put(site.url("/")).body(())?;
        let post = Request::post(site.url("/")).body(())?;
        let mut answers = Vec::new();
        for request in [
            put,
            connect_to(&site, None)?,
            connect_to(&site, Some(NAME))?,
            connect_to(&site, Some("other"))?,
            post,
        ] {
            answers.push(send.clone().ready().await?.send_request(request, true)?.0);
        }
        let mut accepted = Vec::new();
        for _ in 0..2 {
            let conn = accept(&mut listener).await?;
            accepted.push(conn.transport().to_string());
            tokio::spawn(echo(conn));
        }
        ensure!(accepted == ["HTTP/2 request", "HTTP/2 extended CONNECT, h2conn-test"]);
        // The refusal is sent when the next connection is accepted.
        let refusing = tokio::spawn(async move { listener.accept().await.is_some() });
        let mut statuses = Vec::new();
        for answer in answers {
            let response = answer.await?;
            statuses.push(response.status().as_u16());
            let text = h2_read(response.into_body()).await?;
            let refused = statuses.last() != Some(&200);
            ensure!(text.is_empty() != refused, "{statuses:?}: {text:?}");
        }
        ensure!(statuses == [200, 405, 200, 501, 405], "{statuses:?}");
        refusing.abort();
        Ok(())
    })
}

#[test]
fn trailers_on_such_a_stream_break_the_rules_at_either_end() -> TestResult {
    fn trailers() -> HeaderMap {
        HeaderMap::from_iter([(header::EXPIRES, header::HeaderValue::from_static("0"))])
    }
    run(async {
        // Sent to our listener.
        let (mut listener, site) = listen_to_connect(Over::Cleartext).await?;
        let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
        tokio::spawn(connection);
        let request = connect_to(&site, Some(NAME))?;
        let (response, mut body) = send.clone().ready().await?.send_request(request, false)?;
        let mut conn = accept(&mut listener).await?;
        ensure!(response.await?.status() == StatusCode::OK);
        body.send_data(Bytes::from_static(b"before"), false)?;
        body.send_trailers(trailers())?;
        check_broken(&mut conn).await?;
        let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await?;
        ensure!(reason == h2::Reason::PROTOCOL_ERROR, "{reason:?}");

        // Sent to our client.
        let site = server(Over::Cleartext, |io| async {
            let mut builder = h2::server::Builder::new();
            let mut connection = builder.enable_connect_protocol().handshake(io).await?;
            while let Some(arrival) = connection.accept().await {
                let mut send = arrival?.1.send_response(Response::new(()), false)?;
                send.send_data(Bytes::from_static(b"before"), false)?;
                send.send_trailers(trailers())?;
            }
            Ok(())
        })
        .await?;
        let (mut conn, _) = client(&site)?.connect(site.url("/")).await?;
        check_broken(&mut conn).await
    })
}

/// Earlier bytes are read first, then the error, and again the error.
async fn check_broken(conn: &mut Conn) -> TestResult {
    let mut heard = [0; 6];
    conn.read_exact(&mut heard).await?;
    ensure!(&heard == b"before");
    for _ in 0..2 {
        let error = conn.read(&mut [0; 1]).await.expect_err("it is no end of file");
        ensure!(ours(&error).kind() == ErrorKind::Protocol, "{error:?}");
        ensure!(error.to_string().contains("trailers"), "{error}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_used_is_refused_at_once() -> TestResult {
    run(async {
        for bad in ["", "no token", "name/1"] {
            let error = Client::builder().protocol(bad).build().expect_err(bad);
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            let error = Listener::builder().protocols([NAME, bad]).bind("127.0.0.1:0").await;
            ensure!(error.expect_err(bad).kind() == ErrorKind::InvalidInput);
        }
        for method in [Method::POST, Method::CONNECT] {
            let error = Client::builder().protocol(NAME).method(method).build();
            let error = error.expect_err("they contradict each other");
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains("one of the two"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_connect_is_not_accepted_with_a_length() -> TestResult {
    run(async {
        let (mut listener, site) = listen_to_connect(Over::Cleartext).await?;
        let (client, url) = (client(&site)?, site.url("/"));
        let answer = async {
            let incoming = listener.accept().await.context("a request")?;
            ensure!(*incoming.transport() == on_connect(), "{incoming:?}");
            let response = Response::builder().header(header::CONTENT_LENGTH, "6").body(())?;
            let error = incoming.accept_with(response).expect_err("it has a length");
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            TestResult::Ok(())
        };
        let (conn, answered) = tokio::join!(client.connect(url), answer);
        answered?;
        let error = conn.expect_err("the server was wrong");
        ensure!(error.status() == Some(StatusCode::INTERNAL_SERVER_ERROR), "{error:?}");
        Ok(())
    })
}
