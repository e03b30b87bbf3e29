//! The ends of requests that become no connection.

use anyhow::{Context, Result, ensure};
use h2conn::http::{Method, Request, Response, StatusCode, header};
use h2conn::{Client, ErrorKind, Listener, OnDrop, Reason};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw::{self, DATA, END_STREAM, HEADERS, PING, RST_STREAM, Raw};
use crate::support::{checked, ours};

#[tokio::test]
async fn a_request_that_nobody_answers_is_refused_and_may_be_tried_again() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let client = Client::new()?;
        let conn = client.open(&url).await?;
        drop(listener.accept().await.context("a request")?);
        let error = conn.response().await.err().context("it was dropped")?;
        ensure!(error.kind() == ErrorKind::Refused && error.was_not_processed(), "{error}");
        // `connect` tries again by itself.
        let connecting = tokio::spawn(async move { client.connect(&url).await });
        drop(listener.accept().await.context("the first try")?);
        listener.accept().await.context("the second try")?.accept()?;
        connecting.await??;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let io = tokio::net::TcpStream::connect(listener.local_addr().to_string()).await?;
        tokio::spawn(async move { while listener.accept().await.is_some() {} });
        let mut raw = Raw::client(io).await?;
        // `HEAD http://raw/`, with a literal method and an indexed name.
        let request = b"\x02\x04HEAD\x86\x84\x41\x03raw";
        raw.send(HEADERS, raw::END_HEADERS | END_STREAM, 1, request).await?;
        let answer = raw.wait_for(HEADERS, 1).await?;
        ensure!(answer.is_end(), "{answer:?}");
        Ok(())
    })
    .await
}

/// A client counts the content, and throws away an answer that does not fit its head.
#[tokio::test]
async fn a_refusal_is_well_formed_whatever_is_asked_of_it() -> Result<()> {
    const TEXT: &str = "a text";
    checked(30, async {
        let mut listener = Listener::builder().protocols(["any"]).bind("127.0.0.1:0").await?;
        let io = tokio::net::TcpStream::connect(listener.local_addr().to_string()).await?;
        let (mut send, connection) = h2::client::handshake(io).await?;
        let driven = tokio::spawn(connection);
        for (method, status, length, told, content, told_length) in [
            (Method::POST, 403, None, 403, TEXT, None),
            (Method::POST, 403, Some("6"), 403, TEXT, Some("6")),
            (Method::POST, 403, Some("3"), 403, TEXT, None),
            (Method::POST, 403, Some("many"), 403, TEXT, None),
            (Method::POST, 200, Some("7"), 200, TEXT, None),
            (Method::POST, 204, Some("6"), 204, "", None),
            (Method::POST, 205, Some("6"), 205, "", None),
            (Method::POST, 304, Some("6"), 304, "", Some("6")),
            (Method::CONNECT, 200, None, 500, TEXT, None),
        ] {
            let mut asked = Request::builder().method(&method).uri("http://raw/").body(())?;
            if method == Method::CONNECT {
                while !send.is_extended_connect_protocol_enabled() {
                    tokio::task::yield_now().await;
                }
                asked.extensions_mut().insert(h2::ext::Protocol::from_static("any"));
            }
            let (response, _content) = send.send_request(asked, false)?;
            let incoming = listener.accept().await.context("a request")?;
            let mut refusal = Response::builder().status(status);
            if let Some(length) = length {
                refusal = refusal.header(header::CONTENT_LENGTH, length);
            }
            incoming.reject_with(refusal.body(TEXT)?);
            let case = format!("{method} {status} {length:?}");
            let (head, mut body) = response.await.with_context(|| case.clone())?.into_parts();
            let mut heard = Vec::new();
            while let Some(data) = body.data().await {
                heard.extend(data.with_context(|| case.clone())?);
            }
            ensure!(
                head.status == told && heard == content.as_bytes(),
                "{case}: {head:?} {heard:?}"
            );
            let seen = head.headers.get(header::CONTENT_LENGTH).map(|length| length.to_str());
            ensure!(seen.transpose()? == told_length, "{case}: {head:?}");
        }
        for status in [204, 205] {
            let asked = Request::builder().method("POST").uri("http://raw/").body(())?;
            let (response, _content) = send.send_request(asked, false)?;
            let incoming = listener.accept().await.context("a request")?;
            let error = incoming.accept_with(Response::builder().status(status).body(())?);
            let error = error.err().context("there is no content to write")?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error}");
            ensure!(response.await?.status() == 500, "{status}");
        }
        driven.abort();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_refusal_ends_with_a_reset_that_is_no_error() -> Result<()> {
    for on_drop in [OnDrop::Finish, OnDrop::Reset] {
        checked(30, a_refusal(on_drop)).await.with_context(|| format!("{on_drop:?}"))?;
    }
    Ok(())
}

/// The frames of a refusal, from a listener with this behaviour on drop.
async fn a_refusal(on_drop: OnDrop) -> Result<()> {
    let mut listener = Listener::builder().on_drop(on_drop).bind("127.0.0.1:0").await?;
    let io = tokio::net::TcpStream::connect(listener.local_addr().to_string()).await?;
    let mut raw = Raw::client(io).await?;
    raw.send(HEADERS, raw::END_HEADERS, 1, raw::REQUEST).await?;
    listener.accept().await.context("a request")?.reject(http::StatusCode::FORBIDDEN);
    let mut body: Vec<u8> = Vec::new();
    loop {
        let frame = raw.wait_for(DATA, 1).await?;
        body.extend(&frame.payload);
        if frame.is_end() {
            break;
        }
    }
    ensure!(body == b"403 Forbidden\n");
    ensure!(raw.wait_for(RST_STREAM, 1).await?.payload == [0, 0, 0, 0]);
    Ok(())
}

/// Many servers count a reset against the link, because resets look like a port scan.
#[tokio::test]
async fn a_client_ends_its_request_in_order_when_a_refusal_is_complete() -> Result<()> {
    checked(30, async {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", socket.local_addr()?);
        let server = tokio::spawn(async move {
            let mut raw = Raw::server(socket.accept().await?.0).await?;
            let mut ends = Vec::new();
            for (stream, is_complete) in [(1, true), (3, true), (5, false)] {
                raw.wait_for(HEADERS, stream).await?;
                if stream == 3 {
                    // All of the window, and some bytes of control frames before it.
                    let mut seen = 0;
                    while seen < 65_535 {
                        seen += raw.wait_for(DATA, stream).await?.payload.len();
                    }
                }
                // `:status: 404`.
                raw.send(HEADERS, raw::END_HEADERS, stream, b"\x8d").await?;
                let flags = if is_complete { END_STREAM } else { 0 };
                raw.send(DATA, flags, stream, b"nothing here").await?;
                // Content that was written before this does not matter.
                ends.push(loop {
                    let frame = raw.next().await?.context("an end")?;
                    if frame.stream == stream && (frame.is_end() || frame.kind == RST_STREAM) {
                        break (frame.kind, frame.payload);
                    }
                });
            }
            Result::<_>::Ok(ends)
        });
        let client = Client::new()?;
        let error = client.connect(&url).await.err().context("it was refused")?;
        ensure!(error.kind() == ErrorKind::Rejected, "{error}");
        let conn = client.open(&url).await?;
        // An end behind a part of the bytes would look like the end of all of them.
        (&conn).write_all(&[7; 70_000]).await?;
        let error = (&conn).read(&mut [0]).await.err().context("it was refused")?;
        ensure!(ours(&error).kind() == ErrorKind::Rejected, "{error}");
        let error = client.connect(&url).await.err().context("it was refused")?;
        ensure!(error.to_string().contains("nothing here"), "{error}");
        let cancel = Reason::CANCEL.code().to_be_bytes().to_vec();
        let expected = [(DATA, vec![]), (RST_STREAM, cancel.clone()), (RST_STREAM, cancel)];
        ensure!(server.await?? == expected);
        Ok(())
    })
    .await
}

/// The user learns as much of a refusal as has arrived, even if the rest never comes.
#[tokio::test]
async fn a_refusal_whose_server_hangs_up_in_the_middle_is_still_one() -> Result<()> {
    checked(30, async {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", socket.local_addr()?);
        let server = tokio::spawn(async move {
            let mut raw = Raw::server(socket.accept().await?.0).await?;
            raw.wait_for(HEADERS, 1).await?;
            // `:status: 404`.
            raw.send(HEADERS, raw::END_HEADERS, 1, b"\x8d").await?;
            raw.send(DATA, 0, 1, b"nothing h").await?;
            // Both frames are read before the end arrives.
            raw.send(PING, 0, 0, b"have you").await?;
            raw.wait_for(PING, 0).await?;
            Result::<()>::Ok(())
        });
        let error = Client::new()?.connect(&url).await.err().context("it was refused")?;
        server.await??;
        ensure!(error.kind() == ErrorKind::Rejected, "{error}");
        ensure!(error.status().is_some_and(|status| status == 404), "{error:?}");
        ensure!(error.to_string().contains("nothing h"), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_interim_status_is_no_refusal() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let client = Client::new()?;
        let conn = client.open(&url).await?;
        listener.accept().await.context("a request")?.reject(StatusCode::CONTINUE);
        let error = conn.response().await.err().context("there is none")?;
        ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
        Ok(())
    })
    .await
}
